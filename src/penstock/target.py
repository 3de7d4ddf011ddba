"""What is to be predicted, and which rows serve for what: labels, the task, splits by the hash of the row key.

Part of the pipeline's machinery, used by the jobs that train and evaluate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, Count
from penstock.engine import Transform
from penstock.model import Target
from penstock.statistics.values import as_text

_SALTS = {"holdout": 1, "model": 2, "sample": 3}


def salted(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that splits made for different purposes are independent.

    Purposes: "holdout", "model" (validation and folds), "sample".
    """
    return seed * 4 + _SALTS[purpose]


def share_of(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Hashes as uniform numbers in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def as_labels(values: pa.Array) -> pa.Array:
    """The values of a target as text: labels, in the canonical form that frequencies are counted in.

    Example:
        >>> import pyarrow as pa
        >>> as_labels(pa.array([1.0, 2.5, None])).to_pylist()
        ['1', '2.5', None]
    """
    if pa.types.is_dictionary(values.type):
        return pc.take(as_labels(values.dictionary), values.indices)
    distinct = pc.unique(values)
    return pc.take(as_text(distinct).cast(pa.string()), pc.index_in(values, distinct))


def codes_of(labels: pa.Array, classes: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """The place of each label among the classes; -1 for a label that is null or not among them."""
    found = pc.index_in(labels, pa.array(classes, pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int32)


@dataclass(frozen=True)
class Labelled(Transform):
    """Rejects rows that have no target, or one that can't be learned from."""

    column: str
    classes: tuple[str, ...] | None = None

    def transform(self, batch: Batch) -> Batch:
        """The rows that have a target."""
        before = len(batch)
        missing = batch.column(self.column).is_null().to_numpy(zero_copy_only=False)
        batch = batch.reject(
            missing, step="target", column=self.column, code="missing_target", reason="the target has no value"
        )
        if self.classes is not None:
            unknown = codes_of(as_labels(batch.column(self.column)), self.classes) < 0
            batch = batch.reject(
                unknown,
                step="target",
                column=self.column,
                code="unknown_class",
                reason="the target is none of the classes that the model knows",
            )
        count = Count("target", rows_in=before, out=len(batch), rejected=before - len(batch))
        return replace(batch, counts=(*batch.counts, count))


@dataclass(frozen=True)
class Portion(Transform):
    """Keeps the rows whose hash falls into a share of [0, 1); the others are dropped, and counted as ``name``."""

    name: str
    seed: int
    start: float
    stop: float

    def transform(self, batch: Batch) -> Batch:
        """The rows of this portion."""
        share = share_of(batch.keys.hash(self.seed))
        kept = batch.filter((share >= self.start) & (share < self.stop))
        count = Count(self.name, rows_in=len(batch), out=len(kept), dropped=len(batch) - len(kept))
        return replace(kept, counts=(*batch.counts, count))


@dataclass(frozen=True)
class Then(Transform):
    """Several transforms, one after the other."""

    transforms: tuple[Transform, ...]

    def transform(self, batch: Batch) -> Batch:
        """The batch after all of them."""
        for one in self.transforms:
            batch = one.transform(batch)
        return batch


LABEL = "\x01label"
"""The column of encoded targets in laid-down training data; no column of a file can have this name."""
HASH = "\x01hash"
"""The column of row-key hashes in laid-down training data."""


WEIGHT = "\x01weight"
"""The column of row weights in laid-down training data, where rows have any."""


@dataclass(frozen=True)
class Learnable(Transform):
    """Turns the target into codes or numbers and adds the row-key hash, ready to be laid down."""

    target: Target
    features: tuple[str, ...]
    seed: int

    def transform(self, batch: Batch) -> Batch:
        """The features, `LABEL` and `HASH`."""
        values = batch.column(self.target.column)
        if self.target.task == "regression":
            label = values.cast(pa.float64())
        else:
            label = pa.array(codes_of(as_labels(values), self.target.classes))
        hashes = pa.array(batch.keys.hash(salted(self.seed, "model")))
        columns = [*(batch.column(name) for name in self.features), label, hashes]
        return batch.with_columns(pa.RecordBatch.from_arrays(columns, names=[*self.features, LABEL, HASH]))
