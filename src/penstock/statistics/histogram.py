"""The distribution of a column of numbers in bounded memory: quantiles, cdf, buckets to draw. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.collapse import MAGNITUDE, combine, fit, least_shift, order_keys
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.values import Floats, Integers, extremes, numbers, scalar_number

_STATE = pa.schema(
    [
        ("count", pa.int64()),
        ("nulls", pa.int64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("shift", pa.int64()),
        ("keys", pa.list_(pa.int64())),
        ("counts", pa.list_(pa.int64())),
    ]
)

_WIDTH = 16_384
"""Neighbouring keys of one sign that a block is counted in by position; what lies below is sorted instead."""
_MANTISSA = 52


class Histogram(Statistic[HistogramValue]):
    """Counts by the leading bits of the numbers, of as many bits as fit in ``buckets`` distinct ones.

    A column of few distinct values is kept exactly; any other to a relative width of its buckets, the finest that
    fits (see `penstock.statistics.collapse`). An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name. Truth values count as 0 and 1, times as microseconds since 1970.
        buckets: the most distinct keys that are kept, at least 2.

    Raises:
        UsageError: ``buckets`` is less than 2.

    Example:
        >>> from penstock.batch import RowKeys
        >>> histogram = Histogram("x")
        >>> histogram.update(Batch(pa.record_batch({"x": pa.array([1.0, 2.0, 4.0])}), RowKeys.span("", 0, 3)))
        >>> histogram.value().median, histogram.value().quantile([0.25, 1.0]).tolist()
        (2.0, [1.5, 4.0])
    """

    kind = "histogram"

    def __init__(self, column: str, buckets: int = 4096) -> None:
        if buckets < 2:
            raise UsageError(
                "too few buckets for a histogram",
                where=f"column {column!r}",
                expected="buckets of at least 2",
                got=str(buckets),
                remedy="leave it at 4096",
            )
        self._column = column
        self._buckets = buckets
        self._nulls = 0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._shift = 0
        self._keys: Integers = np.empty(0, np.int64)
        self._counts: Integers = np.empty(0, np.int64)
        self._window: _Window | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column and the number of buckets."""
        return {"column": self._column, "buckets": self._buckets}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or not of numbers.
            DataError: a value is not finite.
        """
        values, nulls = numbers(batch, self._column)
        self._nulls += nulls
        if len(values) == 0:
            return
        low, high = extremes(values, self._column)
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        if low == high:
            self._absorb(order_keys(np.array([low])) >> self._shift, np.array([len(values)]))
            return
        if self._window is None and len(self._keys) == 0:
            self._shift = max(self._shift, _shift_of_sample(values, self._buckets))
        window, rest = _counted(values, low, high, self._shift, self._window.shift if self._window else 0)
        if len(rest):
            found, counts = _distinct(order_keys(rest) >> self._shift)
            self._absorb(found, counts)
        if window is None:
            return
        if self._window is None or not self._window.add(window):
            self._settle()
            self._window = window

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._settle()
        keys, counts, shift = other._settled()
        common = max(self._shift, shift)
        self._keys, self._counts = combine(self._keys >> (common - self._shift), self._counts)
        self._shift = common
        self._absorb(keys >> (common - shift), counts)
        self._nulls += other._nulls
        self._minimum, self._maximum = min(self._minimum, other._minimum), max(self._maximum, other._maximum)

    def value(self) -> HistogramValue:
        """The distribution so far."""
        keys, counts, shift = self._settled()
        empty = len(keys) == 0
        return HistogramValue(
            nulls=self._nulls,
            minimum=math.nan if empty else self._minimum,
            maximum=math.nan if empty else self._maximum,
            shift=shift,
            keys=keys,
            counts=counts.copy(),  # ours go on counting in place
        )

    def state(self) -> pa.Table:
        """One row: counts, extremes (inf and -inf where there is no value), the shift, keys and their counts."""
        keys, counts, shift = self._settled()
        row = [int(counts.sum()), self._nulls, self._minimum, self._maximum, shift]
        return pa.table([[item] for item in [*row, keys, counts]], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        row = state.select(["nulls", "minimum", "maximum", "shift"]).to_pylist()[0]
        self._nulls, self._minimum, self._maximum = row["nulls"], row["minimum"], row["maximum"]
        self._shift = row["shift"]
        self._keys = np.array(state["keys"].combine_chunks().flatten(), np.int64)
        self._counts = np.array(state["counts"].combine_chunks().flatten(), np.int64)
        self._window = None

    def with_nulls_as(self, value: Any) -> Self | None:
        """The histogram with as many copies of ``value`` as there are nulls; None where it is no finite number."""
        number = scalar_number(value)
        if number is None:
            return None
        new = self.from_state(self.state())
        new._nulls = 0
        if self._nulls:
            new._absorb(order_keys(np.array([number])) >> new._shift, np.array([self._nulls]))
            new._minimum, new._maximum = min(self._minimum, number), max(self._maximum, number)
        return new

    def _absorb(self, keys: Integers, counts: Integers) -> None:
        """Add counts of ascending keys at the current shift."""
        if len(self._keys):
            place = np.searchsorted(self._keys, keys)
            np.minimum(place, len(self._keys) - 1, out=place)
            if np.array_equal(self._keys[place], keys):
                np.add.at(self._counts, place, counts)
                return
        both = np.concatenate((self._keys, keys)), np.concatenate((self._counts, counts))
        self._keys, self._counts, self._shift = fit(*both, self._shift, self._buckets)

    def _settled(self) -> tuple[Integers, Integers, int]:
        """Keys, counts and shift with what the window holds, changing nothing."""
        if self._window is None:
            return self._keys, self._counts, self._shift
        keys, counts = self._window.keys_at(self._shift)
        both = np.concatenate((self._keys, keys)), np.concatenate((self._counts, counts))
        return fit(*both, self._shift, self._buckets)

    def _settle(self) -> None:
        self._keys, self._counts, self._shift = self._settled()
        self._window = None


class _Window:
    """Counts by position, of neighbouring magnitudes of both signs: where most blocks land without sorting.

    Its own shift may be less than the histogram's (then it is finer, and shifted when it is emptied) or more,
    where all bits below are zero in every value that it took (whole numbers as floats).

    Attributes:
        shift: bits that the magnitudes were shifted by.
        low: the magnitude's key at position 0.
        positive, negative: counts by position, of equal length.
        zeros: how many values are zero.
    """

    __slots__ = ("low", "negative", "positive", "shift", "zeros")

    def __init__(self, shift: int, low: int, positive: Integers, negative: Integers, zeros: int) -> None:
        self.shift, self.low, self.zeros = shift, low, zeros
        self.positive, self.negative = positive, negative

    def add(self, other: _Window) -> bool:
        """Take in another window, if it is of the same shift and near enough; False where it is not."""
        low = min(self.low, other.low)
        stop = max(self.low + len(self.positive), other.low + len(other.positive))
        if self.shift != other.shift or stop - low > 2 * _WIDTH:
            return False
        if low < self.low or stop > self.low + len(self.positive):
            around = (self.low - low, stop - self.low - len(self.positive))
            self.positive, self.negative = np.pad(self.positive, around), np.pad(self.negative, around)
            self.low = low
        place = slice(other.low - low, other.low - low + len(other.positive))
        self.positive[place] += other.positive
        self.negative[place] += other.negative
        self.zeros += other.zeros
        return True

    def keys_at(self, shift: int) -> tuple[Integers, Integers]:
        """Order keys at another shift, ascending, with their counts; the same key may come twice."""
        negative, positive = np.flatnonzero(self.negative)[::-1], np.flatnonzero(self.positive)
        up, down = max(self.shift - shift, 0), max(shift - self.shift, 0)
        below = ~(((negative + self.low) << up) >> down)
        above = ((positive + self.low) << up) >> down
        zero = np.zeros(1 if self.zeros else 0, np.int64)
        keys = np.concatenate((below, zero, above))
        counts = np.concatenate((self.negative[negative], zero + self.zeros, self.positive[positive]))
        return combine(keys, counts)


def _shift_of_sample(values: Floats, buckets: int) -> int:
    """The shift that a part of the values needs: all of them need at least as much, so it may be taken at once.

    It saves the first block the sorting of all its values.
    """
    sample = values[:: max(len(values) // (2 * buckets), 1)]
    return least_shift(np.unique(order_keys(sample)), buckets)


def _counted(values: Floats, low: float, high: float, shift: int, last_shift: int) -> tuple[_Window | None, Floats]:
    """What of the values can be counted by position, and the rest of them.

    ``last_shift`` is that of the window in use: to keep it, where it does, saves emptying the window.
    """
    top = max(abs(low), abs(high))
    one_sign = low > 0.0 or high < 0.0
    bottom = min(abs(low), abs(high)) if one_sign else 0.0
    first, last = _bits(bottom), _bits(top)
    if (last >> shift) - (first >> shift) >= _WIDTH:
        union = int(np.bitwise_or.reduce(values.view(np.int64))) & MAGNITUDE
        ending = max(shift, (union & -union).bit_length() - 1)  # zeros that all values end in
        # Of both signs: without knowing the least magnitude, ask that sixteen powers of two are within reach.
        near = (last >> last_shift) - (first >> last_shift) < _WIDTH
        keep = near if one_sign else last_shift >= _MANTISSA - 10
        shift = last_shift if shift <= last_shift < ending and keep else ending
    start = max(first >> shift, (last >> shift) - _WIDTH + 1, 1)
    if first >> shift < start and shift + _WIDTH.bit_length() - 1 < _MANTISSA and start > 1:
        return None, values  # less than one power of two would fit: most values would be left over
    return _by_position(values, shift, start, (last >> shift) - start + 2, low < 0.0)


def _by_position(values: Floats, shift: int, start: int, width: int, signed: bool) -> tuple[_Window | None, Floats]:
    """Count magnitudes from ``start``; position 0 is for those below, which are zeros or returned as the rest."""
    bits = values.view(np.int64)
    if signed:
        place = bits & MAGNITUDE
        place >>= shift
    else:
        place = bits >> shift
    place -= start - 1
    np.maximum(place, 0, out=place)
    if signed:
        sign = bits >> 63
        sign &= width
        place += sign
    counts = np.bincount(place, minlength=2 * width if signed else width)
    positive = counts[1:width]
    negative = counts[width + 1 :] if signed else np.zeros_like(positive)
    below = int(counts[0]) + (int(counts[width]) if signed else 0)
    zeros = len(values) - int(np.count_nonzero(values)) if below else 0
    rest = values[:0]
    if below > zeros:
        outside = (place == 0) | (place == width) if signed else place == 0
        rest = values[outside & (values != 0.0)]
    if below == len(values) and not zeros:
        return None, rest
    return _Window(shift, start, positive, negative, zeros), rest


def _distinct(keys: Integers) -> tuple[Integers, Integers]:
    """Distinct keys, ascending, with their counts. Arrow's hash table is five times faster than sorting where
    values repeat, and the few that are left are sorted then."""
    found = pa.array(keys).value_counts()
    distinct, counts = found.field(0).to_numpy(), found.field(1).to_numpy()
    order = np.argsort(distinct)
    return distinct[order], counts[order]


def _bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))
