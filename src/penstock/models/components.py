"""Principal components, incrementally: the definition `PCA`, and `FittedPCA`. A model without a target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.model import FittedModel, Model, Placed, Target, TaskName, TrainingData
from penstock.models.arguments import real_number, whole_number
from penstock.models.arrays_file import read_arrays, write_arrays
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.limits import Progress, refuse_beyond_memory
from penstock.models.without_target import (
    alone,
    chunks_of,
    matrix_steps,
    names_of,
    products,
    refuse_few,
    refuse_weights,
    settled,
    squares_of,
    width_of,
)
from penstock.schema import Field, Role, Schema
from penstock.source import Note
from penstock.step import Step

COMPONENT, ERROR = "component_", "reconstruction_error"
_FILE = "components.arrow"
_MOST = 512
"""Components that are followed at most while rows are read, where a share of the variance is asked for."""
_TELLING, _TOLD = 6, 10
"""Features told of each component, and of how many components."""


@dataclass(frozen=True)
class PCA(Model):
    """Rows in fewer numbers: the directions in which they differ most (Ross, Lim, Lin and Yang, "Incremental learning
    for robust visual tracking", IJCV 77, 2008, as scikit-learn's IncrementalPCA).

    It holds a batch and the components at a time. Twice as many components as asked for are followed, so that little
    is lost where later rows differ in other directions; where there are no more features than that, nothing is. A
    prediction is a row's components, and the mean squared error of what they give back.

    Args:
        components: how many; or the share of the variance (0 to below 1) that they are to explain.
        batch_rows: rows of a batch [rows].
        max_categories: the most places that a category becomes.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> PCA(components=0.9).task
        'decomposition'
    """

    components: int | float = 0.95
    batch_rows: int = 4096
    max_categories: int = 1000
    max_tokens: int = 1_000
    max_rows: int | None = None

    name = "pca"
    task: ClassVar[TaskName | None] = "decomposition"

    def __post_init__(self) -> None:
        if isinstance(self.components, float):
            real_number("pca: components", self.components, 0, 0.999999, above=True)
        else:
            whole_number("pca: components", self.components, 1, 65_536)
        whole_number("pca: batch_rows", self.batch_rows, 2)
        whole_number("pca: max_categories", self.max_categories, 1)
        whole_number("pca: max_tokens", self.max_tokens, 1)
        whole_number("pca: max_rows", self.max_rows, 1, words=(None,))

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers imputed by the median and standardized, categories one-hot, texts and lists as vectors."""
        return matrix_steps(self.name, schema, self.max_categories, self.max_tokens)

    def _followed(self, width: int, rows: int) -> int:
        """Components that are followed while rows are read."""
        wanted = _MOST if isinstance(self.components, float) else max(2 * self.components, self.components + 10)
        return min(width, rows, wanted)

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """A batch beside the components, and what their decomposition takes [bytes]."""
        width = width_of(schema)
        followed = self._followed(width, rows)
        batch = min(rows, max(self.batch_rows, 2 * followed))
        return 40 * rows + 8 * width * (4 * batch + 6 * followed) + 8 * batch * min(batch, width) + 60 * 2**20

    def train(self, data: TrainingData) -> FittedPCA:
        """Learn.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two rows.
            UsageError: more components than features or rows, or rows have weights.
        """
        from sklearn.decomposition import IncrementalPCA

        refuse_weights(data, self.name)
        refuse_few(data, self.name, 2, "of one row nothing varies")
        width = width_of(data.schema)
        if not isinstance(self.components, float) and self.components > min(width, data.rows):
            raise UsageError(
                "more components than there are",
                where="pca: components",
                expected=f"at most {min(width, data.rows):,}: {width:,} encoded features, {data.rows:,} rows",
                got=f"{self.components:,}",
            )
        refuse_beyond_memory(self, data)
        followed = self._followed(width, data.rows)
        made = IncrementalPCA(followed)
        progress = Progress(data.listener, data.rows)
        rows = 0
        with alone(), np.errstate(all="ignore"):
            for batch in _batches(data, max(self.batch_rows, 2 * followed), followed):
                made.partial_fit(batch)
                rows += len(batch)
                progress.to(rows)
        progress.finish()
        shares = np.nan_to_num(np.asarray(made.explained_variance_ratio_, np.float64), nan=0.0)
        kept = self._kept(shares)
        fitted = FittedPCA(
            self.name,
            data.target,
            data.schema,
            self._summary(data, made, shares, kept),
            np.asarray(made.components_[:kept], np.float64),
            np.asarray(made.mean_, np.float64),
        )
        data.listener.said(
            Note(
                "pca",
                f"{kept:,} component{'s' if kept > 1 else ''} of {width:,} encoded features",
                f"they explain {math.fsum(shares[:kept]):.1%} of the variance",
                "components of the model",
            )
        )
        return fitted

    def _kept(self, shares: npt.NDArray[np.float64]) -> int:
        if not isinstance(self.components, float):
            return self.components
        reached = np.cumsum(shares) >= self.components - 1e-9
        return int(np.argmax(reached)) + 1 if reached.any() else max(1, int(np.count_nonzero(shares > 1e-12)))

    def _summary(self, data: TrainingData, made: Any, shares: npt.NDArray[np.float64], kept: int) -> dict[str, Any]:
        names = names_of(data)
        return {
            "rows": data.rows,
            "components": kept,
            "dimensions": len(names),
            "explained": math.fsum(shares[:kept]),
            "explained_by": shares[:kept].tolist(),
            "variance": math.fsum(np.asarray(made.var_, np.float64).tolist()),
            "made_of": [
                [[names[place], float(row[place])] for place in np.argsort(-np.abs(row), kind="stable")[:_TELLING]]
                for row in made.components_[: min(kept, _TOLD)]
            ],
        }


def _batches(data: TrainingData, batch_rows: int, least: int) -> Iterator[npt.NDArray[np.float64]]:
    """The rows in plan order, in batches of at least ``least``: a short last one goes with the one before."""
    waiting: npt.NDArray[np.float64] | None = None
    for batch in data.in_order(batch_rows):
        matrix = settled(batch.features)
        if waiting is not None and len(matrix) < least:
            matrix, waiting = np.concatenate([waiting, matrix]), None
        if waiting is not None:
            yield waiting
        waiting = matrix
    if waiting is not None:
        yield waiting


@dataclass(frozen=True, eq=False)
class FittedPCA(FittedModel):
    """Components that were found.

    Attributes:
        components: float64, shape (components, width of the features): each of length 1, that of the greatest variance
            first.
        mean: float64, shape (width,).
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    components: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]

    @cached_property
    def prediction_fields(self) -> tuple[Field, ...]:
        """A row's place along each component, and the mean squared error of what they give back."""
        names = [f"{COMPONENT}{number}" for number in range(1, len(self.components) + 1)]
        return tuple(Field(name, pa.float64(), Role.number) for name in (*names, ERROR))

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' components, and what they leave unexplained.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        scores, errors, _ = self._computed(batch)
        columns = [*(pa.array(np.ascontiguousarray(column)) for column in scores.T), pa.array(errors)]
        names = [field.name for field in self.prediction_fields]
        return batch.with_columns(pa.RecordBatch.from_arrays(columns, names))

    def placed(self, batch: Batch, *, threads: int = 1) -> Placed:
        """The components."""
        scores, _, spread = self._computed(batch)
        return Placed(scores, spread)

    def _computed(
        self, batch: Batch
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Scores, shape (rows, components), errors and spread, shape (rows,)."""
        scores = np.empty((len(batch), len(self.components)))
        errors, spread = np.empty(len(batch)), np.empty(len(batch))
        width = len(self.mean)
        for rows, matrix in chunks_of(batch, self.features):
            centered = matrix - self.mean
            scores[rows] = products(centered, self.components.T)
            errors[rows] = squares_of(centered - products(scores[rows], self.components)) / width
            spread[rows] = squares_of(centered) / width
        return scores, errors, spread

    def save(self, folder: Path) -> None:
        """Write ``model.json``, and ``components.arrow``.

        Raises:
            ResourceError: it can't be written.
        """
        write_arrays(folder / _FILE, {"components": self.components, "mean": self.mean})
        described = Described(self.target, self.features, self.summary, {})
        write_description(folder, self.name, described, ("scikit-learn", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, or does not fit the other.
        """
        described = read_description(folder, PCA.name)
        width = width_of(described.features)
        arrays = read_arrays(folder / _FILE, {"components": (None, width), "mean": (width,)})
        if not len(arrays["components"]):
            raise damaged(folder / _FILE, "no component", "one or more")
        return cls(
            PCA.name, described.target, described.features, described.summary, arrays["components"], arrays["mean"]
        )
