"""k-means by mini-batches: the definition `KMeans`, and `FittedKMeans`. A model without a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.model import PREDICTION, FittedModel, Model, Placed, Target, TaskName, TrainingData
from penstock.models.arguments import whole_number
from penstock.models.arrays_file import read_arrays, write_arrays
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.limits import refuse_beyond_memory
from penstock.models.without_target import (
    chunks_of,
    matrix_steps,
    placed_by_features,
    products,
    squares_of,
    width_of,
)
from penstock.schema import Field, Role, Schema
from penstock.step import Step

_FILE = "centers.arrow"
DISTANCE = "distance"
MOST_SAMPLE, SAMPLE_BYTES = 20_000, 64 * 2**20


@dataclass(frozen=True)
class KMeans(Model):
    """Rows in clusters around centers, each row in that of the nearest (Sculley, "Web-scale k-means clustering", WWW
    2010).

    Centers begin with those of k-means++ and Lloyd's iterations on a sample of up to 20,000 rows, the best of several
    tries (Arthur and Vassilvitskii, "k-means++", SODA 2007). Where there are more rows, they are moved by mini-batches
    of all of them, epoch by epoch, until they rest: in bounded memory. Clusters are named "0", "1", ... from the
    largest on. A prediction is the cluster, and the distance to its center.

    Args:
        clusters: how many; "auto" takes the number from 2 to 10 whose clusters are apart best, by the silhouette on a
            sample.
        tries: how often the beginning is drawn.
        epochs: the most passes over the rows.
        batch_rows: rows of a batch [rows].
        max_categories: the most places that a category becomes.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> KMeans(clusters=4).task
        'clustering'
    """

    clusters: int | Literal["auto"] = "auto"
    tries: int = 5
    epochs: int = 10
    batch_rows: int = 4096
    max_categories: int = 1000
    max_tokens: int = 5_000
    max_rows: int | None = None

    name = "kmeans"
    task: ClassVar[TaskName | None] = "clustering"

    def __post_init__(self) -> None:
        whole_number("kmeans: clusters", self.clusters, 1, 10_000, words=("auto",))
        whole_number("kmeans: tries", self.tries, 1)
        whole_number("kmeans: epochs", self.epochs, 1)
        whole_number("kmeans: batch_rows", self.batch_rows, 1)
        whole_number("kmeans: max_categories", self.max_categories, 1)
        whole_number("kmeans: max_tokens", self.max_tokens, 1)
        whole_number("kmeans: max_rows", self.max_rows, 1, words=(None,))

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers imputed by the median and standardized, categories one-hot, texts and lists as vectors."""
        return matrix_steps(self.name, schema, self.max_categories, self.max_tokens)

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """The sample, twice, distances of a batch, and an order of the rows [bytes]."""
        width, most = width_of(schema), 10 if self.clusters == "auto" else self.clusters
        sample = min(rows, sample_rows(width, most))
        return 24 * rows + 24 * sample * width + 8 * (self.batch_rows + sample) * most + 60 * 2**20

    def train(self, data: TrainingData) -> FittedKMeans:
        """Learn.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: there are fewer rows than clusters.
        """
        from penstock.models.clusters_training import learned

        refuse_beyond_memory(self, data)
        centers, mean, summary = learned(self, data)
        return FittedKMeans(self.name, data.target, data.schema, summary, centers, mean)


def sample_rows(width: int, clusters: int) -> int:
    """Rows that centers begin from: fewer of wide ones, but enough for so many clusters."""
    return max(20 * clusters, min(MOST_SAMPLE, SAMPLE_BYTES // (8 * max(1, width))))


@dataclass(frozen=True, eq=False)
class FittedKMeans(FittedModel):
    """Centers that were found.

    Attributes:
        centers: float64, shape (clusters, width of the features).
        mean: float64, shape (width,): of the rows learned from.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    centers: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]

    @cached_property
    def prediction_fields(self) -> tuple[Field, ...]:
        """The cluster, and the distance to its center."""
        names = tuple(str(number) for number in range(len(self.centers)))
        return (
            Field(PREDICTION, pa.string(), Role.category, categories=names),
            Field(DISTANCE, pa.float64(), Role.number),
        )

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' clusters; of equally near ones that of the lower number.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        codes, distances = np.empty(len(batch), np.int32), np.empty(len(batch))
        for rows, matrix in chunks_of(batch, self.features):
            codes[rows], distances[rows] = nearest(matrix, self.centers)
        names = pa.array(self.prediction_fields[0].categories, pa.string())
        labels = pa.DictionaryArray.from_arrays(pa.array(codes), names)
        return batch.with_columns(pa.RecordBatch.from_arrays([labels, pa.array(distances)], [PREDICTION, DISTANCE]))

    def placed(self, batch: Batch, *, threads: int = 1) -> Placed:
        """The features themselves."""
        return placed_by_features(batch, self.features, self.mean)

    def save(self, folder: Path) -> None:
        """Write ``model.json``, and ``centers.arrow``.

        Raises:
            ResourceError: it can't be written.
        """
        write_arrays(folder / _FILE, {"centers": self.centers, "mean": self.mean})
        described = Described(self.target, self.features, self.summary, {})
        write_description(folder, self.name, described, ("scikit-learn", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, or does not fit the other.
        """
        described = read_description(folder, KMeans.name)
        width = width_of(described.features)
        arrays = read_arrays(folder / _FILE, {"centers": (None, width), "mean": (width,)})
        if not len(arrays["centers"]):
            raise damaged(folder / _FILE, "no center", "one or more")
        return cls(
            KMeans.name, described.target, described.features, described.summary, arrays["centers"], arrays["mean"]
        )


def nearest(
    matrix: npt.NDArray[np.float64], centers: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The nearest center of each row, and the distance to it, shape (rows,) both.

    Example:
        >>> nearest(np.array([[1.0], [9.0]]), np.array([[0.0], [10.0]]))
        (array([0, 1]), array([1., 1.]))
    """
    # |x - c|^2 but for |x|^2, which is the same for all centers; the distance itself is summed without cancellation.
    apart = squares_of(centers)[None, :] - 2.0 * products(matrix, centers.T)
    found = np.argmin(apart, axis=1)
    return found, np.sqrt(squares_of(matrix - centers[found]))
