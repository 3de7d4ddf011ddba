"""How columns of numbers go together, pair by pair: Pearson's correlation. A statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.values import Floats, array_of, extremes, numbers_of

_MATRICES = ("rows", "mean", "remainder", "second", "product")
_STATE = pa.schema([(name, pa.list_(pa.float64())) for name in _MATRICES])
_TILE = 1024
"""Rows whose products are summed at a time: as many as stay in the processor's cache."""
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class CorrelationValue:
    """Pearson's correlation of each pair of columns, over the rows in which both have a value.

    Attributes:
        columns: the columns' names.
        matrix: float64, shape (columns, columns), symmetric, from -1 to 1; nan where a pair has fewer than two rows,
            or one of the two does not vary in them.
        rows: int64, shape (columns, columns): the rows in which both have a value.
    """

    columns: tuple[str, ...]
    matrix: Floats
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def pairs(self) -> list[tuple[str, str, float]]:
        """Each pair that has a correlation, the strongest first; equal ones in the columns' order."""
        first, second = np.triu_indices(len(self.columns), 1)
        found = self.matrix[first, second]
        known = np.flatnonzero(~np.isnan(found))
        order = known[np.argsort(-np.abs(found[known]), kind="stable")]
        return [(self.columns[first[i]], self.columns[second[i]], float(found[i])) for i in order]


@dataclass(frozen=True, slots=True)
class _Sums:
    """For each pair (i, j): the rows with both, and of i in them the mean and the second moment around it; the
    co-moment of both. The mean is ``mean + remainder``, the latter being what the former is rounded by."""

    rows: Floats
    mean: Floats
    remainder: Floats
    second: Floats
    product: Floats


class Correlation(Statistic[CorrelationValue]):
    """Pearson's correlation of several columns of numbers, each pair over the rows in which both have a value.

    Each block is summed around its own means, and states are merged by the pairwise formulas of P. Pébay, "Formulas
    for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments" (Sandia report
    SAND2008-6212, 2008), equations 1.1, 1.2 and 3.1. A float state: the same blocks in the same order give the same
    bytes; another grouping agrees to about 1e-12.

    Where the rows of a pair vary by a share s of what the columns vary by in all their rows (an outlier beside a
    missing value), the pair's correlation is off by about 1e-16 / s^2.

    The state grows with the square of the number of columns: 40 bytes for each pair.

    Args:
        columns: their names, all different. Truth values count as 0 and 1, times as microseconds since 1970.

    Raises:
        UsageError: a column comes twice.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch({"x": [1.0, 2.0, 3.0, None], "y": [2.0, 4.0, 7.0, 1.0]})
        >>> correlation = Correlation(["x", "y"])
        >>> correlation.update(Batch(rows, RowKeys.span("", 0, 4)))
        >>> round(float(correlation.value().matrix[0, 1]), 6), int(correlation.value().rows[0, 1])
        (0.993399, 3)
    """

    kind = "correlation"

    def __init__(self, columns: Sequence[str]) -> None:
        if len(set(columns)) < len(columns):
            raise UsageError(
                "a column comes twice",
                where="correlation",
                expected="names that are all different",
                got=", ".join(map(repr, columns)),
                remedy="name it once",
            )
        self._columns = tuple(columns)
        self._sums = _Sums(*(np.zeros((len(columns),) * 2) for _ in _MATRICES))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return self._columns

    def parameters(self) -> Mapping[str, Any]:
        """The columns."""
        return {"columns": list(self._columns)}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or not of numbers.
            DataError: a value is not finite.
        """
        rows = len(batch)
        if not rows or not self._columns:
            return
        centred = np.zeros((len(self._columns), rows))
        present = np.ones((len(self._columns), rows))
        means = np.zeros(len(self._columns))
        for place, name in enumerate(self._columns):
            values = array_of(batch, name)
            plain = numbers_of(values, name)
            if len(plain) == 0:
                present[place] = 0.0
                continue
            means[place] = _mean(plain, *extremes(plain, name))
            with np.errstate(over="ignore", invalid="ignore"):
                if len(plain) == rows:
                    np.subtract(plain, means[place], out=centred[place])
                else:
                    known = values.is_valid().to_numpy(zero_copy_only=False)
                    centred[place, known] = plain - means[place]
                    present[place] = known
        self._sums = _merged(self._sums, _sums_of(centred, present, means))

    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after."""
        self._sums = _merged(self._sums, other._sums)

    def value(self) -> CorrelationValue:
        """The correlations so far."""
        s = self._sums
        count = np.maximum(s.rows, 1.0)
        with np.errstate(all="ignore"):
            # What rounding leaves of a column that does not vary is not a deviation.
            varies = s.second / count > np.square(_ROUNDING * s.mean)
            scale = np.sqrt(s.second) * np.sqrt(s.second.T)
            found = np.clip(s.product / scale, -1.0, 1.0)
        defined = (s.rows >= 2.0) & varies & varies.T & np.isfinite(scale) & (scale > 0.0)
        matrix = np.where(defined, found, np.nan)
        np.fill_diagonal(matrix, np.where(np.isnan(np.diagonal(matrix)), np.nan, 1.0))
        return CorrelationValue(self._columns, matrix, s.rows.astype(np.int64))

    def state(self) -> pa.Table:
        """One row: each matrix, row by row."""
        return pa.table([[getattr(self._sums, name).reshape(-1)] for name in _MATRICES], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        shape = (len(self._columns),) * 2
        flat = {name: np.array(state[name].combine_chunks().flatten(), np.float64) for name in _MATRICES}
        self._sums = _Sums(**{name: values.reshape(shape) for name, values in flat.items()})

    @property
    def nbytes(self) -> int:
        """What the state holds in memory [bytes]."""
        return 8 * len(_MATRICES) * len(self._columns) ** 2


def _mean(values: Floats, low: float, high: float) -> float:
    """The mean; of a constant the constant itself, since rounding must not make a deviation of it."""
    if low == high:
        return low
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.add.reduce(values))
        return total / len(values) if np.isfinite(total) else float(np.add.reduce(values / len(values)))


def _sums_of(centred: Floats, present: Floats, means: Floats) -> _Sums:
    """The sums of one block; ``centred`` is 0 and ``present`` is 0 where there is no value, both (columns, rows)."""
    complete = bool(present.all())
    size = (len(means), len(means))
    total, product = np.zeros(size), np.zeros(size)
    square, rows = np.zeros(size), np.zeros(size)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, centred.shape[1], _TILE):
            # Not NumPy's `@`: a matrix product of several threads adds in another order for another number of them.
            z = np.ascontiguousarray(centred[:, start : start + _TILE])
            product += np.einsum("ir,jr->ij", z, z)
            if complete:
                total += np.add.reduce(z, axis=1)[:, None]
                continue
            known = np.ascontiguousarray(present[:, start : start + _TILE])
            rows += np.einsum("ir,jr->ij", known, known)
            total += np.einsum("ir,jr->ij", z, known)
            square += np.einsum("ir,jr->ij", z * z, known)
        if complete:
            rows += centred.shape[1]
            square += np.diagonal(product)[:, None]
        count = np.maximum(rows, 1.0)
        shift = total / count
        second = square - shift * total
        second = np.where(second <= _ROUNDING * square, 0.0, second)
        product = product - shift * total.T
        mean, remainder = _two_sum(np.where(rows > 0.0, means[:, None], 0.0), shift)
    return _Sums(rows, mean, remainder, second, product)


def _merged(a: _Sums, b: _Sums) -> _Sums:
    """The sums of both, by Pébay's formulas; pairs that one of them has not met are the other's."""
    rows = a.rows + b.rows
    count = np.maximum(rows, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        delta = (b.mean - a.mean) + (b.remainder - a.remainder)
        high, low = _two_sum(a.mean, delta * (b.rows / count))
        mean, remainder = _two_sum(high, low + a.remainder)
        weight = a.rows / count * b.rows
        second = a.second + b.second + delta * delta * weight
        product = a.product + b.product + delta * delta.T * weight
    both = _Sums(rows, mean, remainder, second, product)
    chosen = [
        np.where(a.rows == 0.0, getattr(b, name), np.where(b.rows == 0.0, getattr(a, name), getattr(both, name)))
        for name in _MATRICES
    ]
    return _Sums(*chosen)


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rounded sum of two numbers and what it was rounded by, exactly (Knuth, TAOCP 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
