"""An isolation forest: the definition `IsolationForest`, and `FittedIsolationForest`. A model without a target."""

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
from penstock.models.arguments import real_number, whole_number
from penstock.models.arrays_file import read_arrays, write_arrays
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.limits import refuse_beyond_memory
from penstock.models.without_target import (
    alone,
    chunks_of,
    matrix_steps,
    mean_of_features,
    placed_by_features,
    refuse_few,
    refuse_weights,
    sample_of,
    width_of,
)
from penstock.schema import Field, Role, Schema
from penstock.source import Note
from penstock.step import Step

SCORE = "anomaly_score"
NAMES = ("normal", "anomaly")
_FILE = "trees.arrow"
_ARRAYS = ("roots", "feature", "threshold", "left", "right", "path")
_MOST_SAMPLE, _SAMPLE_BYTES = 100_000, 128 * 2**20
_TOGETHER = 1 << 19
"""Places in trees that are followed together."""


@dataclass(frozen=True)
class IsolationForest(Model):
    """What is unlike the rest: rows that random cuts set apart soon (Liu, Ting and Zhou, "Isolation forest", ICDM
    2008).

    Each tree is grown on a few rows, drawn from a sample of up to 100,000. A prediction is "normal" or "anomaly", and
    the score, from 0 to 1: 2 to the power of minus the mean depth at which a row is alone, in units of the depth
    expected of any row. About 0.5 is usual, near 1 is alone at once.

    Args:
        trees: how many.
        tree_rows: the most rows of each tree [rows].
        contamination: the share of rows (0 to 0.5) that are to be anomalies; "auto" takes those scored above 0.5, as
            in the paper.
        max_categories: the most places that a category becomes.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> IsolationForest(contamination=0.01).task
        'anomaly_detection'
    """

    trees: int = 100
    tree_rows: int = 256
    contamination: float | Literal["auto"] = "auto"
    max_categories: int = 1000
    max_tokens: int = 1_000
    max_rows: int | None = None

    name = "isolation_forest"
    task: ClassVar[TaskName | None] = "anomaly_detection"

    def __post_init__(self) -> None:
        whole_number("isolation_forest: trees", self.trees, 1, 10_000)
        whole_number("isolation_forest: tree_rows", self.tree_rows, 2, 65_536)
        real_number("isolation_forest: contamination", self.contamination, 0, 0.5, above=True, words=("auto",))
        whole_number("isolation_forest: max_categories", self.max_categories, 1)
        whole_number("isolation_forest: max_tokens", self.max_tokens, 1)
        whole_number("isolation_forest: max_rows", self.max_rows, 1, words=(None,))

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers imputed by the median and standardized, categories one-hot, texts and lists as vectors."""
        return matrix_steps(self.name, schema, self.max_categories, self.max_tokens)

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """The sample, thrice, the trees, and an order of the rows [bytes]."""
        sample = min(rows, _sample_rows(width_of(schema)))
        return 24 * rows + 24 * sample * width_of(schema) + 500 * self.trees * self.tree_rows + 60 * 2**20

    def train(self, data: TrainingData) -> FittedIsolationForest:
        """Learn.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two rows.
            UsageError: rows have weights.
        """
        from sklearn.ensemble import IsolationForest as Forest

        refuse_weights(data, self.name)
        refuse_few(data, self.name, 2, "one row is unlike no other")
        refuse_beyond_memory(self, data)
        rows, _ = sample_of(data, _sample_rows(width_of(data.schema)))
        forest = Forest(
            n_estimators=self.trees, max_samples=min(self.tree_rows, len(rows)), random_state=data.seed % 2**32
        )
        with alone():
            forest.fit(rows)
        arrays = _as_arrays(forest)
        fitted = FittedIsolationForest(
            self.name, data.target, data.schema, {}, arrays, mean_of_features(data), 0.5, float(arrays["unit"][0])
        )
        scores = fitted.scores(rows)
        threshold = 0.5 if self.contamination == "auto" else float(np.quantile(scores, 1.0 - self.contamination))
        flagged = int(np.count_nonzero(scores > threshold))
        summary = {
            "rows": data.rows,
            "trees": self.trees,
            "tree_rows": min(self.tree_rows, len(rows)),
            "dimensions": width_of(data.schema),
            "sample_rows": len(rows),
            "threshold": threshold,
            "anomalies": flagged / len(rows),
        }
        data.listener.said(
            Note(
                "isolation forest",
                f"a score above {threshold:.4g} is an anomaly: {flagged:,} of {len(rows):,} rows learned from",
                "0.5 is the score of a usual row" if self.contamination == "auto" else "contamination is set",
                "contamination of the model",
            )
        )
        return FittedIsolationForest(
            self.name, data.target, data.schema, summary, arrays, fitted.mean, threshold, fitted.unit
        )


def _sample_rows(width: int) -> int:
    return max(1_000, min(_MOST_SAMPLE, _SAMPLE_BYTES // (8 * max(1, width))))


def _mean_path(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean depth at which a row is found in a binary search tree of so many rows (the paper's c(n))."""
    harmonic = np.log(np.maximum(rows - 1.0, 1.0)) + np.euler_gamma
    many = 2.0 * harmonic - 2.0 * (rows - 1.0) / np.maximum(rows, 1.0)
    return np.where(rows > 2, many, np.where(rows == 2, 1.0, 0.0))


def _as_arrays(forest: Any) -> dict[str, npt.NDArray[np.float64]]:
    """scikit-learn's trees one after the other: a node leads to others, a leaf to itself; ``path`` is the length of the
    way to a leaf, with what would be expected below it."""
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _ARRAYS}
    start = 0
    for tree, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        made = tree.tree_
        here = np.arange(made.node_count)
        leaf = made.children_left < 0
        found["roots"].append(np.array([start]))
        found["feature"].append(np.where(leaf, 0, np.asarray(columns)[np.maximum(made.feature, 0)]))
        found["threshold"].append(np.where(leaf, 0.0, made.threshold))
        found["left"].append(start + np.where(leaf, here, made.children_left))
        found["right"].append(start + np.where(leaf, here, made.children_right))
        depth = made.compute_node_depths() - 1.0
        found["path"].append(np.where(leaf, depth + _mean_path(made.n_node_samples.astype(np.float64)), 0.0))
        start += made.node_count
    arrays = {name: np.concatenate(parts).astype(np.float64) for name, parts in found.items()}
    arrays["unit"] = _mean_path(np.array([float(forest.max_samples_)])) * len(forest.estimators_)
    return arrays


@dataclass(frozen=True, eq=False)
class FittedIsolationForest(FittedModel):
    """Trees that were grown.

    Attributes:
        trees: of all nodes, one tree after the other, the feature and threshold that are asked (at or below goes left),
            where that leads, the length of the way to a leaf; and where each tree begins.
        mean: float64, shape (width,): of the rows learned from.
        threshold: the score above which a row is an anomaly.
        unit: what sums of lengths over the trees are measured in.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    trees: Mapping[str, npt.NDArray[np.float64]]
    mean: npt.NDArray[np.float64]
    threshold: float
    unit: float

    @cached_property
    def prediction_fields(self) -> tuple[Field, ...]:
        """Whether a row is an anomaly, and its score."""
        return (
            Field(PREDICTION, pa.string(), Role.category, categories=NAMES),
            Field(SCORE, pa.float64(), Role.number),
        )

    @cached_property
    def _nodes(self) -> tuple[Any, Any, Any, Any]:
        """Roots, feature, threshold, and children as (left of node 0, right of node 0, left of node 1, ...)."""
        children = np.stack([self.trees["right"], self.trees["left"]], axis=1).reshape(-1).astype(np.int32)
        roots, feature = (self.trees[name].astype(np.int32) for name in ("roots", "feature"))
        return roots, feature, self.trees["threshold"], children

    def scores(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The scores of rows, shape (rows,): 2 ^ -(sum of lengths / unit)."""
        roots, feature, threshold, children = self._nodes
        found = np.empty(len(matrix))
        short = np.clip(matrix, -3e38, 3e38).astype(np.float32)
        step = max(1, _TOGETHER // len(roots))
        for start in range(0, len(matrix), step):
            rows = np.ascontiguousarray(short[start : start + step])
            width, flat = rows.shape[1], rows.reshape(-1)
            begin = np.arange(len(rows), dtype=np.int64) * width
            node = np.repeat(roots[:, None], len(rows), axis=1)
            while True:
                below = flat[begin[None, :] + feature[node]] <= threshold[node]
                after = children[2 * node + below]
                if np.array_equal(after, node):
                    break
                node = after
            total = np.zeros(len(rows))
            for tree in node:  # tree by tree, so that a row's sum is the same whatever rows are beside it
                total += self.trees["path"][tree]
            found[start : start + step] = np.exp2(-total / self.unit) if self.unit > 0 else 0.5
        return found

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """Whether each row is an anomaly, and its score.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        scores = np.empty(len(batch))
        for rows, matrix in chunks_of(batch, self.features):
            scores[rows] = self.scores(matrix)
        codes = pa.array((scores > self.threshold).astype(np.int32))
        labels = pa.DictionaryArray.from_arrays(codes, pa.array(NAMES, pa.string()))
        return batch.with_columns(pa.RecordBatch.from_arrays([labels, pa.array(scores)], [PREDICTION, SCORE]))

    def placed(self, batch: Batch, *, threads: int = 1) -> Placed:
        """The features themselves."""
        return placed_by_features(batch, self.features, self.mean)

    def save(self, folder: Path) -> None:
        """Write ``model.json``, and ``trees.arrow``.

        Raises:
            ResourceError: it can't be written.
        """
        write_arrays(folder / _FILE, {**{name: self.trees[name] for name in _ARRAYS}, "mean": self.mean})
        own = {"threshold": self.threshold, "unit": self.unit}
        described = Described(self.target, self.features, self.summary, own)
        write_description(folder, self.name, described, ("scikit-learn", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, or does not fit the other; or a tree leads outside itself.
        """
        described = read_description(folder, IsolationForest.name)
        path, width = folder / _FILE, width_of(described.features)
        arrays = read_arrays(path, {**dict.fromkeys(_ARRAYS, (None,)), "mean": (width,)})
        mean = arrays.pop("mean")
        _check_places(path, arrays, width)
        threshold, unit = (described.own.get(name) for name in ("threshold", "unit"))
        if not isinstance(threshold, float) or not isinstance(unit, float) or unit < 0:
            raise damaged(path, f"threshold {threshold!r}, unit {unit!r}")
        return cls(
            IsolationForest.name,
            described.target,
            described.features,
            described.summary,
            arrays,
            mean,
            threshold,
            unit,
        )


def _check_places(path: Path, arrays: Mapping[str, npt.NDArray[np.float64]], width: int) -> None:
    """That every way through the trees ends: a node leads to later nodes, a leaf to itself.

    Raises:
        ArtifactError: one does not.
    """
    count = len(arrays["feature"])
    here = np.arange(count)
    sides = [arrays["left"], arrays["right"]]
    fits = (
        len({len(arrays[name]) for name in _ARRAYS[1:]}) == 1
        and len(arrays["roots"]) > 0
        and all((array == np.floor(array)).all() for array in (arrays["roots"], arrays["feature"], *sides))
        and bool(((arrays["roots"] >= 0) & (arrays["roots"] < count)).all())
        and bool(((arrays["feature"] >= 0) & (arrays["feature"] < width)).all())
        and all(bool(((side >= here) & (side < count)).all()) for side in sides)
        and bool(((sides[0] == here) == (sides[1] == here)).all())
    )
    if not fits:
        raise damaged(path, "trees whose nodes lead outside them", "trees as Penstock wrote them")
