"""Count, mean, variance, skewness, least and greatest of a column of numbers. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.statistic import Statistic
from penstock.statistics.values import Floats, extremes, numbers, scalar_number

_STATE = pa.schema(
    [
        ("count", pa.int64()),
        ("nulls", pa.int64()),
        ("mean", pa.float64()),
        ("remainder", pa.float64()),
        ("second", pa.float64()),
        ("third", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class MomentsValue:
    """The moments of the values that are not null; nan where they are not defined.

    Attributes:
        count: values that are not null.
        nulls: rows without a value.
        mean: the arithmetic mean.
        variance: the population variance, divided by ``count``, as scikit-learn's scalers take it.
        skewness: m3 / m2^1.5 of the central moments, as ``scipy.stats.skew``; nan where the variance is 0.
        minimum: the least value.
        maximum: the greatest value.
    """

    count: int
    nulls: int
    mean: float
    variance: float
    skewness: float
    minimum: float
    maximum: float

    @property
    def deviation(self) -> float:
        """The standard deviation, the root of `variance`."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Sums:
    """The mean of some numbers, the sums of the second and third power of their distances from it, and the extremes.

    The mean is ``mean + remainder``, the latter being what the former is rounded by: without it, means of blocks
    that are large against the deviation would not be told apart well enough.
    """

    count: int = 0
    mean: float = 0.0
    remainder: float = 0.0
    second: float = 0.0
    third: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf


class Moments(Statistic[MomentsValue]):
    """Mean, variance, skewness, least and greatest value of one column of numbers.

    Each block is summed around its own mean in two passes, and states are merged by the pairwise formulas of
    P. Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
    moments" (Sandia report SAND2008-6212, 2008), equations 1.1 to 2.1, which are stable where the mean is large
    against the deviation. A float state: the same blocks in the same order give the same bytes; another grouping
    agrees to about 1e-12 of the values' range.

    The second power of distances above 1e154, and the third above 1e102, overflows: the variance is then inf and
    the skewness nan, as in NumPy.

    Args:
        column: the column's name. Truth values count as 0 and 1, times as microseconds since 1970.

    Example:
        >>> from penstock.batch import RowKeys
        >>> moments = Moments("x")
        >>> moments.update(Batch(pa.record_batch({"x": pa.array([1.0, None, 3.0])}), RowKeys.span("", 0, 3)))
        >>> moments.value().mean, moments.value().variance, moments.value().nulls
        (2.0, 1.0, 1)
    """

    kind = "moments"

    def __init__(self, column: str) -> None:
        self._column = column
        self._nulls = 0
        self._sums = Sums()

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column."""
        return {"column": self._column}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or not of numbers.
            DataError: a value is not finite.
        """
        values, nulls = numbers(batch, self._column)
        self._nulls += nulls
        if len(values):
            self._sums = merged_sums(self._sums, sums_of(values, *extremes(values, self._column)))

    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after."""
        self._nulls += other._nulls
        self._sums = merged_sums(self._sums, other._sums)

    def value(self) -> MomentsValue:
        """The moments so far."""
        s, nan = self._sums, math.nan
        if s.count == 0:
            return MomentsValue(0, self._nulls, nan, nan, nan, nan, nan)
        variance = s.second / s.count
        defined = 0.0 < variance < math.inf and math.isfinite(s.third)
        cubed = variance * math.sqrt(variance) if defined else 0.0
        skewness = s.third / s.count / cubed if 0.0 < cubed < math.inf else nan
        mean = min(max(s.mean, s.minimum), s.maximum)
        return MomentsValue(s.count, self._nulls, mean, variance, skewness, s.minimum, s.maximum)

    def state(self) -> pa.Table:
        """One row: counts, the mean, the sums around it, the extremes (inf and -inf where there is no value)."""
        s = self._sums
        row = [s.count, self._nulls, s.mean, s.remainder, s.second, s.third, s.minimum, s.maximum]
        return pa.table([[item] for item in row], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        row = state.to_pylist()[0]
        self._nulls = row.pop("nulls")
        self._sums = Sums(**row)

    def with_nulls_as(self, value: Any) -> Self | None:
        """The moments with as many copies of ``value`` as there are nulls; None where it is no finite number."""
        number = scalar_number(value)
        if number is None:
            return None
        new = self.empty()
        same = Sums(self._nulls, number, 0.0, 0.0, 0.0, number, number) if self._nulls else Sums()
        new._sums = merged_sums(self._sums, same)
        return new


def sums_of(values: Floats, low: float, high: float) -> Sums:
    """The sums of one block, around its own mean."""
    count = len(values)
    if low == high:  # exactly constant: rounding must not make a variance of it
        return Sums(count, low, 0.0, 0.0, 0.0, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.add.reduce(values))
        mean = total / count if math.isfinite(total) else float(np.add.reduce(values / count))
        distance = values - mean
        power = distance * distance
        rest = float(np.add.reduce(distance))
        second = float(np.add.reduce(power))
        np.multiply(power, distance, out=power)
        third = float(np.add.reduce(power))
    # `mean` is rounded: move the sums to the mean corrected by what is left over (the binomial theorem).
    shift = rest / count if math.isfinite(rest) else 0.0
    third += shift * (2.0 * shift * rest - 3.0 * second)
    second = max(second - shift * rest, 0.0) if math.isfinite(second) else math.inf
    return Sums(count, *_two_sum(mean, shift), second, third, low, high)


def merged_sums(a: Sums, b: Sums) -> Sums:
    """The sums of both, by Pébay's formulas 1.1 (mean), 1.2 (second) and 1.3 (third)."""
    if a.count == 0 or b.count == 0:
        return a if b.count == 0 else b
    count = a.count + b.count
    left, right = a.count / count, b.count / count
    delta = (b.mean - a.mean) + (b.remainder - a.remainder)
    if math.isfinite(delta):
        high, low = _two_sum(a.mean, delta * right)
        mean, remainder = _two_sum(high, low + a.remainder)
    else:  # a difference of two huge values overflows where their weighted mean does not
        mean, remainder = a.mean * left + b.mean * right, 0.0
    between = delta * delta * left * b.count
    third = a.third + b.third + delta * between * (left - right) + 3.0 * delta * (left * b.second - right * a.second)
    least, greatest = min(a.minimum, b.minimum), max(a.maximum, b.maximum)
    return Sums(count, mean, remainder, a.second + b.second + between, third, least, greatest)


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """The rounded sum of two numbers and what it was rounded by, exactly (Knuth, TAOCP 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
