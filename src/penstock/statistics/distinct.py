"""About how many different values a column has, in a few kilobytes. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.count import nulls_of
from penstock.statistics.hashing import hash_floats, hash_texts, hashes
from penstock.statistics.values import Words, array_of, scalar_number

_STATE = pa.schema(
    [("nulls", pa.int64()), ("exact", pa.bool_()), ("hashes", pa.list_(pa.uint64())), ("registers", pa.binary())]
)


@dataclass(frozen=True, slots=True)
class DistinctValue:
    """About how many different values there are.

    Attributes:
        count: different values, nulls not among them; the estimate, rounded.
        nulls: rows without a value.
        exact: whether the count is exact (but for one chance in 2^41 of two equal hashes).
        relative_error: the standard error of the count, relative to it; 0 where it is exact.
    """

    count: int
    nulls: int
    exact: bool
    relative_error: float


class Distinct(Statistic[DistinctValue]):
    """The number of different values of one column, by HyperLogLog.

    Each value's hash chooses one of ``2**precision`` registers by its first bits, which keeps the greatest place of
    the first one among the others (Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog: the analysis of a
    near-optimal cardinality estimation algorithm", 2007), of 64 bits and with a sparse beginning (Heule, Nunkesser
    and Hall, "HyperLogLog in practice", 2013): up to ``2**precision / 8`` different hashes are kept themselves and
    counted. The estimate is that of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
    (arXiv 1702.01284, algorithm 6), without bias at any count and without tables. Its standard error is
    ``1.04 / sqrt(2**precision)``, 0.8 % by default.

    An integer state, a function of the set of values alone: any order and grouping gives the same bytes.

    Args:
        column: the column's name; numbers, truth values, times or text.
        precision: bits that choose the register, 4 to 18.

    Raises:
        UsageError: the precision is not within 4 to 18.

    Example:
        >>> from penstock.batch import RowKeys
        >>> distinct = Distinct("x")
        >>> distinct.update(Batch(pa.record_batch({"x": ["a", "b", "a", None]}), RowKeys.span("", 0, 4)))
        >>> distinct.value()
        DistinctValue(count=2, nulls=1, exact=True, relative_error=0.0)
    """

    kind = "distinct"

    def __init__(self, column: str, precision: int = 14) -> None:
        if not 4 <= precision <= 18:
            raise UsageError(
                "not a precision of a count of distinct values",
                where=f"column {column!r}",
                expected="4 to 18 bits",
                got=str(precision),
                remedy="leave it at 14",
            )
        self._column = column
        self._precision = precision
        self._nulls = 0
        self._hashes: Words = np.empty(0, np.uint64)
        self._registers: npt.NDArray[np.uint8] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column and the precision."""
        return {"column": self._column, "precision": self._precision}

    @property
    def _limit(self) -> int:
        """The most hashes that are kept themselves: as many bytes as the registers are."""
        return (1 << self._precision) // 8

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or its values have no hash.
        """
        values = array_of(batch, self._column)
        self._nulls += nulls_of(values)
        self._take(hashes(values))

    def _take(self, new: Words) -> None:
        if self._registers is None:
            # A part with too many different hashes tells without looking at all of them.
            part = new[: 2 * self._limit]
            if len(np.unique(part)) <= self._limit:
                # Arrow's hash table is faster than sorting where values repeat.
                different = pa.array(new.view(np.int64)).unique().to_numpy().view(np.uint64)
                known = np.unique(np.concatenate((self._hashes, different)))
                if len(known) <= self._limit:
                    self._hashes = known
                    return
            self._registers = np.zeros(2**self._precision, np.uint8)
            self._register(self._hashes)
            self._hashes = self._hashes[:0]
        self._register(new)

    def _register(self, new: Words) -> None:
        assert self._registers is not None
        bits = np.uint64(self._precision)
        place = (new >> (np.uint64(64) - bits)).astype(np.int64)
        # The bits that are left, closed by a one, as a float: its exponent tells where the first one is.
        rest = (new << bits) | np.uint64(1 << (self._precision - 1))
        high = (rest >> np.uint64(11)).astype(np.float64)
        first = 53 + 1023 - (high.view(np.int64) >> 52)
        np.maximum.at(self._registers, place, first.astype(np.uint8))

    def merge(self, other: Self) -> None:
        """Take in another's values: the union of the hashes, or the greater of each register."""
        self._nulls += other._nulls
        if other._registers is None:
            if len(other._hashes):
                self._take(other._hashes)
        elif self._registers is None:
            self._registers = other._registers.copy()
            self._register(self._hashes)
            self._hashes = self._hashes[:0]
        else:
            np.maximum(self._registers, other._registers, out=self._registers)

    def value(self) -> DistinctValue:
        """The count so far."""
        if self._registers is None:
            return DistinctValue(len(self._hashes), self._nulls, True, 0.0)
        error = 1.04 / math.sqrt(len(self._registers))
        return DistinctValue(round(_estimate(self._registers)), self._nulls, False, error)

    def state(self) -> pa.Table:
        """One row: nulls, whether hashes are kept, the hashes ascending, the registers."""
        kept = self._registers is None
        registers = b"" if self._registers is None else self._registers.tobytes()
        return pa.table([[self._nulls], [kept], [self._hashes], [registers]], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._nulls = state["nulls"][0].as_py()
        self._hashes = np.array(state["hashes"].combine_chunks().flatten(), np.uint64)
        registers = np.frombuffer(state["registers"][0].as_py(), np.uint8).copy()
        self._registers = None if state["exact"][0].as_py() else registers

    def with_nulls_as(self, value: Any) -> Self | None:
        """The same with one more value where there are nulls; None where it is no text and no
        finite number, or a whole one beyond 2^53, whose hash depends on the column's type."""
        found = _hash_of(value)
        if found is None:
            return None
        new = self.from_state(self.state())
        new._nulls = 0
        if self._nulls:
            new._take(found)
        return new


def _hash_of(value: Any) -> Words | None:
    """The hash of a Python value as it would be in a column; None where that depends on the column's type."""
    if isinstance(value, str):
        return hash_texts(pa.array([value], pa.large_string()))
    number = scalar_number(value)
    if number is None or (abs(number) > 2**53 and number == int(number)):
        return None
    return hash_floats(np.array([number]))


def _estimate(registers: npt.NDArray[np.uint8]) -> float:
    """Ertl's improved raw estimate (his algorithm 6) from the number of registers of each value."""
    size = len(registers)
    most = 64 - (size.bit_length() - 1) + 1  # the greatest value of a register
    counts = np.bincount(registers, minlength=most + 1).tolist()
    total = size * _tau(1.0 - counts[most] / size)
    for count in reversed(counts[1:most]):
        total = 0.5 * (total + count)
    total += size * _sigma(counts[0] / size)
    return size * size / (2.0 * math.log(2.0) * total)


def _sigma(x: float) -> float:
    """The sum of x^(2^k) 2^(k-1), which corrects for registers never met."""
    if x == 1.0:
        return math.inf
    factor, total, before = 1.0, x, math.nan
    while total != before:
        x *= x
        before = total
        total += x * factor
        factor += factor
    return total


def _tau(x: float) -> float:
    """The correction for registers at their greatest value."""
    if x in (0.0, 1.0):
        return 0.0
    factor, total, before = 1.0, 1.0 - x, math.nan
    while total != before:
        x = math.sqrt(x)
        before = total
        factor *= 0.5
        total -= (1.0 - x) ** 2 * factor
    return total / 3.0
