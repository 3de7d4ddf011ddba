"""What is to be predicted, and which rows serve for what: labels, the task, splits by the hash of the row key.

Part of the pipeline's machinery, used by the jobs that train and evaluate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, Count
from penstock.engine import Transform
from penstock.model import Target
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.hashing import hash_texts, mix
from penstock.statistics.values import as_text

_SALTS = {"holdout": 1, "model": 2, "sample": 3, "choice": 4}
_SEEDS = 8


def salted(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that splits made for different purposes are independent.

    Purposes: "holdout", "model" (validation and folds), "sample", "choice" (among several models).
    """
    return (seed * _SEEDS + _SALTS[purpose] + 2**63) % 2**64 - 2**63


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
class Weighed(Transform):
    """Rejects rows whose weight says nothing: one that is missing, or not above zero."""

    column: str

    def transform(self, batch: Batch) -> Batch:
        """The rows that have a weight."""
        before = len(batch)
        above = pc.greater(batch.column(self.column).cast(pa.float64()), 0.0).fill_null(False)
        batch = batch.reject(
            ~above.to_numpy(zero_copy_only=False),
            step="weight",
            column=self.column,
            code="no_weight",
            reason="the weight is missing, or not above zero",
        )
        count = Count("weight", rows_in=before, out=len(batch), rejected=before - len(batch))
        return replace(batch, counts=(*batch.counts, count))


@dataclass(frozen=True, eq=False)
class Splitting:
    """What decides on which side of a split a row falls.

    By itself the row key does. Rows of one group stay together: the hash of the group's value decides (a row without
    a group is a group of its own). By time, the place of a row in the order of time does, so that the latest rows
    are those judged on: 0 for the latest, towards 1 for the earliest and for rows without a time.

    Attributes:
        group: the column of groups.
        time: the column of times.
        order: their distribution, in microseconds since 1970.
    """

    group: str | None = None
    time: str | None = None
    order: HistogramValue | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(name for name in (self.group, self.time) if name is not None)

    def hashes(self, batch: Batch, seed: int) -> npt.NDArray[np.uint64]:
        """A number of 64 bits for each row: uniform for (seed, row key or group), or its place in the order of time."""
        if self.time is not None and self.order is not None:
            return as_hashes(self._places(batch.column(self.time)))
        found = batch.keys.hash(seed)
        if self.group is None:
            return found
        values = batch.column(self.group)
        values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        distinct = pc.unique(values).drop_null()
        mixed = mix(hash_texts(as_text(distinct).cast(pa.large_string())) ^ np.uint64(seed % 2**64))
        place = pc.index_in(values, distinct)
        known = values.is_valid().to_numpy(zero_copy_only=False)
        found[known] = mixed[place.drop_null().to_numpy()]
        return found

    def _places(self, times: pa.Array) -> npt.NDArray[np.float64]:
        assert self.order is not None
        missing = times.is_null().to_numpy(zero_copy_only=False)
        values = times.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0).to_numpy().astype(np.float64)
        below = np.asarray(self.order.cdf(values), np.float64)
        return np.where(missing, 1.0 - 2.0**-53, np.clip(1.0 - below, 0.0, 1.0 - 2.0**-53))


def as_hashes(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """The inverse of `share_of`: numbers in [0, 1) as 64 bits."""
    return (shares * 2.0**53).astype(np.uint64) << np.uint64(11)


@dataclass(frozen=True, eq=False)
class Portion(Transform):
    """Keeps the rows whose hash falls into a share of [0, 1); the others are dropped, and counted as ``name``."""

    name: str
    seed: int
    start: float
    stop: float
    splitting: Splitting = field(default_factory=Splitting)

    def transform(self, batch: Batch) -> Batch:
        """The rows of this portion."""
        share = share_of(self.splitting.hashes(batch, self.seed))
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


@dataclass(frozen=True, eq=False)
class Learnable(Transform):
    """Rows ready to be laid down: encoded, with the target as codes or numbers and the hash that splits follow from.

    Target, weight and hash are taken from the rows as they were read, whatever the steps make of those columns.

    Attributes:
        encode: the fitted steps, for the columns to learn from.
        target: what is to be predicted.
        features: the columns to learn from.
        seed: of the splits.
        weight: the column of weights.
        splitting: what splits follow from.
        start: by time, the share of the latest rows that are not here: places are told among the rest.
    """

    encode: Transform
    target: Target
    features: tuple[str, ...]
    seed: int
    weight: str | None = None
    splitting: Splitting = field(default_factory=Splitting)
    start: float = 0.0

    def transform(self, batch: Batch) -> Batch:
        """The features, `LABEL`, `HASH` and, where there are weights, `WEIGHT`."""
        encoded = self.encode.transform(batch)
        read = those_left(batch, encoded)
        if not self.target.has_labels:
            label = pa.array(np.zeros(len(read), np.int32))
        elif self.target.task == "regression":
            label = read.column(self.target.column).cast(pa.float64())
        else:
            label = pa.array(codes_of(as_labels(read.column(self.target.column)), self.target.classes))
        found = self.splitting.hashes(read, salted(self.seed, "model"))
        if self.splitting.time is not None and self.start:
            shares = (share_of(found) - self.start) / (1.0 - self.start)
            found = as_hashes(np.clip(shares, 0.0, 1.0 - 2.0**-53))
        columns = [*(encoded.column(name) for name in self.features), label, pa.array(found)]
        names = [*self.features, LABEL, HASH]
        if self.weight is not None:
            columns.append(read.column(self.weight).cast(pa.float64()))
            names.append(WEIGHT)
        return encoded.with_columns(pa.RecordBatch.from_arrays(columns, names=names))


def those_left(batch: Batch, after: Batch) -> Batch:
    """The rows of a batch that are left in what was made of it, as they were before."""
    if len(batch) == len(after):
        return batch
    return batch.filter(np.isin(batch.keys.hash(0), after.keys.hash(0)))
