"""How k-means learns: a beginning on a sample, then mini-batches of all rows. A helper of `clusters.py`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.model import TrainingData
from penstock.models.clusters import nearest, sample_rows
from penstock.models.limits import Progress
from penstock.models.without_target import (
    READ_ROWS,
    alone,
    mean_of_features,
    names_of,
    refuse_few,
    sample_of,
    settled,
    width_of,
)
from penstock.source import Note
from penstock.statistics.silhouette import silhouettes

if TYPE_CHECKING:
    from penstock.models.clusters import KMeans

_MOST_AUTO = 10
_JUDGED, _WORK = 2_000, 1e8
"""Rows that a number of clusters is judged on, at most; and how many differences of numbers that may take."""
_REST = 1e-4
"""Centers rest when they move less than this share of the deviation of the features."""
_TELLING = 6
"""Features that are told of each cluster."""


def learned(
    model: KMeans, data: TrainingData
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], dict[str, Any]]:
    """Centers, shape (clusters, width), the mean of the rows, and what is to be said of the training."""
    least = 1 if model.clusters == "auto" else model.clusters
    refuse_few(data, model.name, least, "one for each cluster")
    mean = mean_of_features(data)
    width = width_of(data.schema)
    rows, weights = sample_of(data, sample_rows(width, _MOST_AUTO if model.clusters == "auto" else model.clusters))
    with alone():
        tried = _tried(model, data, rows, weights) if model.clusters == "auto" else {}
        wanted = _best(tried) if model.clusters == "auto" else model.clusters
        centers, _ = _lloyd(model, data, rows, weights, wanted)
        epochs = 0
        if len(rows) < data.rows:
            centers, epochs = _moved(model, data, centers)
    sizes, squares, deviation = _measured(data, centers, mean)
    order = [int(place) for place in np.argsort(-sizes, kind="stable") if sizes[place] > 0]
    centers, sizes = centers[order], sizes[order]
    if len(centers) < wanted:
        text = f"{len(centers)} clusters: there are no more places where rows differ"
        data.listener.said(Note("kmeans", text, f"{wanted} were asked for", "clusters of the model"))
    summary = {
        "rows": data.rows,
        "clusters": len(centers),
        "dimensions": width,
        "sample_rows": len(rows),
        "epochs": epochs,
        "inertia": squares,
        "sizes": sizes.tolist(),
        "silhouette_by_clusters": {str(count): score for count, score in tried.items()},
        "told_by": _told_by(centers, mean, deviation, names_of(data)),
    }
    return centers, mean, summary


def _lloyd(
    model: KMeans,
    data: TrainingData,
    rows: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64] | None,
    clusters: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    from sklearn.cluster import KMeans as Lloyd

    made = Lloyd(clusters, n_init=model.tries, random_state=data.seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than clusters: said in our words
        made.fit(rows, sample_weight=weights)
    return np.asarray(made.cluster_centers_, np.float64), np.asarray(made.labels_, np.int64)


def _tried(
    model: KMeans, data: TrainingData, rows: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None
) -> dict[int, float]:
    """The silhouette on the sample of each number of clusters that could be found."""
    judged = slice(0, max(200, min(_JUDGED, int(math.sqrt(_WORK / rows.shape[1])))))
    found: dict[int, float] = {}
    distinct = len(np.unique(rows[: 50 * _MOST_AUTO], axis=0)) if len(rows) else 0
    for clusters in range(2, min(_MOST_AUTO, distinct - 1) + 1):
        _, groups = _lloyd(model, data, rows, weights, clusters)
        found[clusters] = float(np.mean(silhouettes(rows[judged], groups[judged])))
    told = ", ".join(f"{count}: {score:.3f}" for count, score in found.items())
    chosen = _best(found)
    reason = f"silhouettes by number: {told}" if told else "there are too few different rows for more"
    data.listener.said(
        Note(
            "kmeans", f"{chosen} cluster{'s' if chosen > 1 else ''}", reason, "clusters of the model: --model kmeans:N"
        )
    )
    return found


def _best(tried: dict[int, float]) -> int:
    """The number of the greatest silhouette; of equal ones the least; 1 where none could be tried."""
    told = {count: score for count, score in tried.items() if not math.isnan(score)}
    return min(told, key=lambda count: (-told[count], count), default=1)


def _moved(model: KMeans, data: TrainingData, centers: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """The centers after mini-batches of all rows, and how many epochs it took."""
    from sklearn.cluster import MiniBatchKMeans

    made = MiniBatchKMeans(len(centers), init=centers, n_init=1, random_state=data.seed % 2**32, reassignment_ratio=0.0)
    progress = Progress(data.listener, data.rows * model.epochs)
    for epoch in range(model.epochs):
        before = centers
        # A mini-batch is to hold rows of every cluster.
        for place, batch in enumerate(data.epoch(epoch, max(model.batch_rows, 4 * len(centers)))):
            if epoch == 0 and place == 0 and len(batch) < len(centers):
                return centers, 0
            made.partial_fit(settled(batch.features), sample_weight=batch.weights)
            progress.to(data.rows * epoch + min(data.rows, (place + 1) * model.batch_rows))
        centers = np.asarray(made.cluster_centers_, np.float64).copy()
        if float(np.max(np.abs(centers - before))) < _REST:
            break
    progress.finish()
    return centers, epoch + 1


def _measured(
    data: TrainingData, centers: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], float, npt.NDArray[np.float64]]:
    """How many rows each center has, the sum of squared distances to them, and the deviation of each feature."""
    sizes = np.zeros(len(centers), np.int64)
    total = 0.0
    squares = np.zeros(len(mean))
    for batch in data.in_order(READ_ROWS):
        matrix = settled(batch.features)
        groups, distances = nearest(matrix, centers)
        sizes += np.bincount(groups, minlength=len(centers))
        total += math.fsum(distances * distances)
        squares += np.add.reduce((matrix - mean) ** 2, axis=0)
    return sizes, total, np.sqrt(squares / data.rows)


def _told_by(
    centers: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    deviation: npt.NDArray[np.float64],
    names: list[str],
) -> list[list[list[Any]]]:
    """Of each center the features by which it differs most from the mean of all rows, in their deviations."""
    apart = (centers - mean) / np.where(deviation > 0, deviation, 1.0)
    return [
        [[names[place], float(row[place])] for place in np.argsort(-np.abs(row), kind="stable")[:_TELLING]]
        for row in apart
    ]
