"""What a histogram knows of a distribution: quantiles, cdf, deviation from the median, buckets. A value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from penstock.errors import UsageError
from penstock.statistics.collapse import key_values, order_keys
from penstock.statistics.values import Floats, Integers


@dataclass(frozen=True, eq=False)
class HistogramValue:
    """A distribution by buckets. Where `exact` is true every bucket is one value, and all results are exact.

    Otherwise a value is known to lie in its bucket, [`lower`, `upper`]: each order statistic, and so a quantile, is
    off by less than the width of its bucket, which is ``2**(shift - 52)`` of its lower end's magnitude for shifts
    up to 52 (`relative_error`), and a bucket of several powers of two beyond.

    Attributes:
        nulls: rows without a value.
        minimum: the least value, exactly; nan where there is none.
        maximum: the greatest value, exactly.
        shift: how many of the lowest bits of the numbers are not told apart.
        keys: int64, shape (buckets,): the buckets, ascending; see `penstock.statistics.collapse`.
        counts: int64, shape (buckets,): how many values each holds, at least 1.
    """

    nulls: int
    minimum: float
    maximum: float
    shift: int
    keys: Integers
    counts: Integers

    @property
    def count(self) -> int:
        """Values that are not null."""
        return int(self.counts.sum())

    @property
    def exact(self) -> bool:
        """Whether all distinct values are kept apart."""
        return self.shift == 0

    @property
    def relative_error(self) -> float:
        """The greatest width of a bucket against its lower end's magnitude; 0 where exact, inf for shifts over 52."""
        if self.exact:
            return 0.0
        return math.ldexp(1.0, self.shift - 52) if self.shift <= 52 else math.inf

    @property
    def lower(self) -> Floats:
        """The least number of each bucket, not below `minimum`; shape (buckets,)."""
        return self._edge(self.keys << self.shift)

    @property
    def upper(self) -> Floats:
        """The greatest number of each bucket, not above `maximum`; shape (buckets,)."""
        return self._edge((self.keys << self.shift) | ((1 << self.shift) - 1))

    def _edge(self, keys: Integers) -> Floats:
        # Clipped as keys: beyond the greatest finite number they would be infinite or not a number.
        ends = order_keys(np.array([self.minimum, self.maximum])) if len(keys) else (0, 0)
        return key_values(np.clip(keys, ends[0], ends[1]))

    @overload
    def quantile(self, q: float) -> float: ...
    @overload
    def quantile(self, q: Sequence[float] | npt.NDArray[np.float64]) -> Floats: ...
    def quantile(self, q: float | Sequence[float] | npt.NDArray[np.float64]) -> float | Floats:
        """The value below which a share ``q`` of the values lies, interpolated linearly between order statistics.

        On an exact histogram this is NumPy's default (Hyndman and Fan's type 7). Otherwise an order statistic is
        taken from within its bucket as though the bucket's values were spread evenly; the first and the last
        order statistic are exact.

        Args:
            q: a share from 0 to 1, or several.

        Returns:
            A float for one share, an array for several; nan where there is no value.

        Raises:
            UsageError: a share is not within 0 to 1.
        """
        shares = np.asarray(q, np.float64)
        if not ((shares >= 0.0) & (shares <= 1.0)).all():
            raise UsageError("not a share", where="quantile", expected="numbers from 0 to 1", got=repr(q))
        if len(self.keys) == 0:
            found = np.full(shares.shape, np.nan)
        else:
            found = self._between(shares.reshape(-1) * (self.count - 1)).reshape(shares.shape)
        return found if found.ndim else float(found)

    def _between(self, ranks: Floats) -> Floats:
        """Values at fractional ranks from 0, by the two order statistics around each."""
        first = np.floor(ranks).astype(np.int64)
        last = np.minimum(first + 1, self.count - 1)
        share = ranks - first
        a, b = self._order_statistic(first), self._order_statistic(last)
        # As NumPy does it, to the bit: from the nearer end, so that the result never leaves [a, b].
        with np.errstate(over="ignore", invalid="ignore"):
            step = b - a
            found = np.where(share >= 0.5, b - step * (1.0 - share), a + step * share)
        return np.where(np.isfinite(step), found, a * (1.0 - share) + b * share)

    def _order_statistic(self, ranks: Integers) -> Floats:
        """The values of these ranks, from 0."""
        ends = np.cumsum(self.counts)
        bucket = np.searchsorted(ends, ranks, side="right")
        lower, upper, counts = self.lower[bucket], self.upper[bucket], self.counts[bucket]
        share = (ranks - (ends[bucket] - counts) + 0.5) / counts
        with np.errstate(over="ignore"):
            found = np.where(lower == upper, lower, lower * (1.0 - share) + upper * share)
        found = np.clip(found, lower, upper)
        found = np.where(ranks == 0, self.minimum, found)
        return np.where(ranks == self.count - 1, self.maximum, found)

    @property
    def median(self) -> float:
        """The quantile of one half."""
        return self.quantile(0.5)

    @overload
    def cdf(self, x: float) -> float: ...
    @overload
    def cdf(self, x: Sequence[float] | npt.NDArray[np.float64]) -> Floats: ...
    def cdf(self, x: float | Sequence[float] | npt.NDArray[np.float64]) -> float | Floats:
        """The share of values that are at most ``x``; nan where there is no value.

        Exact on an exact histogram. Otherwise off by less than the share of the bucket that ``x`` lies in, within
        which values are taken as spread evenly.
        """
        points = np.asarray(x, np.float64)
        if len(self.keys) == 0:
            found = np.full(points.shape, np.nan)
        else:
            flat = points.reshape(-1)
            lower, upper = self.lower, self.upper
            bucket = np.searchsorted(upper, flat, side="right")  # buckets wholly at or below x
            whole = np.concatenate(([0], np.cumsum(self.counts)))[bucket]
            inside = np.minimum(bucket, len(upper) - 1)
            width = np.where(upper > lower, upper / 2 - lower / 2, 1.0)[inside]
            with np.errstate(over="ignore"):  # far beyond a narrow bucket: clipped
                share = np.clip((flat / 2 - lower[inside] / 2) / width, 0.0, 1.0)
            part = np.where(bucket < len(upper), share * self.counts[inside], 0.0)
            part = np.where((flat < lower[inside]) | (upper == lower)[inside], 0.0, part)
            found = ((whole + part) / self.count).reshape(points.shape)
        return found if found.ndim else float(found)

    def mad(self) -> float:
        """The median absolute deviation: the median of the values' distances from their median, not scaled.

        Exact on an exact histogram. Otherwise every value is taken as the middle of its bucket, so that the result
        is off by at most half the width of the widest bucket near it, and the error of the median. nan where there
        is no value.
        """
        if len(self.keys) == 0:
            return math.nan
        lower, upper = self.lower, self.upper
        middle = np.where(lower == upper, lower, lower / 2 + upper / 2)
        with np.errstate(over="ignore"):
            distance = np.abs(middle - self.median)
        order = np.argsort(distance, kind="stable")
        ends = np.cumsum(self.counts[order])
        ranks = np.array([(self.count - 1) // 2, self.count // 2])
        low, high = distance[order][np.searchsorted(ends, ranks, side="right")]
        return float(low / 2 + high / 2) if low != high else float(low)
