"""How many rows are like another one, in a bounded state. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.collapse import combine
from penstock.statistics.hashing import row_hashes
from penstock.statistics.values import Integers, Words, array_of

_STATE = pa.schema(
    [
        ("rows", pa.int64()),
        ("full", pa.bool_()),
        ("hashes", pa.list_(pa.uint64())),
        ("counts", pa.list_(pa.int64())),
    ]
)
_SURE = 4.0
"""Standard errors beyond which two estimates are said to differ."""


@dataclass(frozen=True, slots=True)
class DuplicatesValue:
    """About how many rows repeat another one.

    Attributes:
        rows: all rows.
        duplicates: rows that are like an earlier one in every column; an estimate where not exact.
        exact: whether it is exact (but for one chance in 2^30 of two equal hashes).
        error: the standard error of ``duplicates`` [rows]; 0 where exact.
    """

    rows: int
    duplicates: int
    exact: bool
    error: float

    @property
    def share(self) -> float:
        """The share of rows that are duplicates, 0 to 1; nan where there are no rows."""
        return self.duplicates / self.rows if self.rows else math.nan


class Duplicates(Statistic[DuplicatesValue]):
    """Rows that are exactly like another one in some columns, by the hash of each row.

    The ``bound`` least hashes are kept, each with how often it came: an even sample of the distinct rows (Bar-Yossef
    and others, "Counting distinct elements in a data stream", RANDOM 2002, its first algorithm). Up to ``bound``
    distinct rows the count is exact. Beyond it there are two estimates of the number of distinct rows: all rows over
    the mean count of the sample, which is nearly exact where few rows repeat, and ``(bound - 1) / r``, r being the
    greatest kept hash as a share of all, with a standard error of ``1 / sqrt(bound)``. The latter is taken where they
    contradict one another: where few rows repeat very often.

    An integer state, a function of the rows alone: any order and grouping gives the same bytes.

    Args:
        columns: what makes two rows alike; null is like null.
        bound: the hashes kept, at least 16.

    Raises:
        UsageError: ``bound`` is too small.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch({"a": [1, 2, 1, None, None], "b": ["x", "x", "x", None, "x"]})
        >>> duplicates = Duplicates(["a", "b"])
        >>> duplicates.update(Batch(rows, RowKeys.span("", 0, 5)))
        >>> duplicates.value()
        DuplicatesValue(rows=5, duplicates=1, exact=True, error=0.0)
    """

    kind = "duplicates"

    def __init__(self, columns: Sequence[str], bound: int = 65_536) -> None:
        if bound < 16:
            raise UsageError(
                "too few hashes to count rows with",
                where="duplicates",
                expected="a bound of at least 16",
                got=str(bound),
                remedy="leave it at 65536",
            )
        self._columns = tuple(columns)
        self._bound = bound
        self._rows = 0
        self._full = False
        self._hashes: Integers = np.empty(0, np.int64)
        self._counts: Integers = np.empty(0, np.int64)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return self._columns

    def parameters(self) -> Mapping[str, Any]:
        """The columns and the bound."""
        return {"columns": list(self._columns), "bound": self._bound}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or its values have no hash.
        """
        self._rows += len(batch)
        if len(batch) and self._columns:
            new = _signed(row_hashes([array_of(batch, name) for name in self._columns]))
            if self._full:
                new = new[new <= self._hashes[-1]]
            self._take(new, np.ones(len(new), np.int64))

    def _take(self, hashes: Integers, counts: Integers) -> None:
        """Take in hashes with counts, in any order, and keep the least."""
        if len(hashes) == 0:
            return
        both = np.concatenate((self._hashes, hashes)), np.concatenate((self._counts, counts))
        self._hashes, self._counts = combine(*both)
        if len(self._hashes) > self._bound:
            self._full = True
            self._hashes = self._hashes[: self._bound].copy()
            self._counts = self._counts[: self._bound].copy()

    def merge(self, other: Self) -> None:
        """Take in another's hashes."""
        self._rows += other._rows
        self._full = self._full or other._full
        self._take(other._hashes, other._counts)

    def value(self) -> DuplicatesValue:
        """The count so far."""
        if not self._full or not self._columns:
            distinct = len(self._hashes) if self._columns else self._rows
            return DuplicatesValue(self._rows, self._rows - distinct, True, 0.0)
        size = len(self._hashes)
        share = (float(_unsigned(self._hashes[-1:])[0]) + 1.0) / 2.0**64
        by_hash = min((size - 1) / share, float(self._rows))
        error = by_hash / math.sqrt(size)
        mean = float(self._counts.sum()) / size
        by_count = self._rows / mean
        # Of what the mean count is off by: the counts' own deviation over the root of how many there are.
        spread = by_count / mean * float(np.std(self._counts)) / math.sqrt(size)
        if abs(by_count - by_hash) > _SURE * (error + spread) or spread > error:
            return DuplicatesValue(self._rows, round(self._rows - by_hash), False, error)
        return DuplicatesValue(self._rows, round(self._rows - by_count), False, spread)

    def state(self) -> pa.Table:
        """One row: rows, whether hashes were left out, the hashes ascending, their counts."""
        columns: list[Any] = [[self._rows], [self._full], [_unsigned(self._hashes)], [self._counts]]
        return pa.table(columns, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._rows, self._full = state["rows"][0].as_py(), state["full"][0].as_py()
        self._hashes = _signed(np.array(state["hashes"].combine_chunks().flatten(), np.uint64))
        self._counts = np.array(state["counts"].combine_chunks().flatten(), np.int64)

    @property
    def nbytes(self) -> int:
        """What the state holds in memory [bytes]."""
        return self._hashes.nbytes + self._counts.nbytes


_HIGHEST = np.uint64(1 << 63)


def _signed(hashes: Words) -> Integers:
    """Hashes as int64 in the same order, for the arithmetic that counts by keys share."""
    return (hashes ^ _HIGHEST).view(np.int64)


def _unsigned(hashes: Integers) -> Words:
    return hashes.view(np.uint64) ^ _HIGHEST
