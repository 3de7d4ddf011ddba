"""The step that makes skewed numbers more like a normal distribution: `Power`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.histogram import Histogram
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import as_float64, as_type, chosen_of, float_field, largest

_RANGE = 10.0
_GRID = 0.25
_NEAR = 1e-8
"""An exponent nearer than this to 0 is 0: the formula beside it would lose more than it gains."""
_SMALL = 0.1
_REFUSED = 1e18
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Power(Step):
    """Numbers by the power transform of Yeo and Johnson, with the exponent that makes them most normal, then to mean 0
    and deviation 1.

    The exponent p, from -10 to 10, has the greatest likelihood; it, the mean and the deviation are found on the
    histogram's buckets, so that one scan is enough: exactly for up to 4,096 distinct values, and else within about
    0.01 of scikit-learn's exponent. A constant column keeps p = 1. Nulls stay null. A value whose power is too large
    for a float is the largest float. Comes out as float64 (float32 stays so).

    Formula:
        x >= 0   y = ((x + 1)^p - 1) / p,               log(x + 1) for p = 0
        x < 0    y = -((1 - x)^(2 - p) - 1) / (2 - p),  -log(1 - x) for p = 2
        then (y - mean) / s

        Yeo and Johnson, "A new family of power transformations to improve normality or symmetry", Biometrika 87,
        2000. As scikit-learn's PowerTransformer.

    Args:
        columns: columns of numbers.
        standardize: whether the result is brought to mean 0 and deviation 1.

    Raises:
        UsageError: ``standardize`` is no truth value.
        SchemaError: a column is not of numbers.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("x", pa.float64(), Role.number),))
        >>> batch = batch_of(schema, {"x": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]})
        >>> fitted = fit_step(Power("x"), schema, [batch])
        >>> round(fitted.maps[0].power, 3)
        -0.144
    """

    columns: ColumnsLike
    standardize: bool = True

    name = "power"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if not isinstance(self.standardize, bool):
            raise UsageError(
                "not a truth value", where="power: standardize", expected="true or false", got=repr(self.standardize)
            )

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "numbers")

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The histogram of each column, under its name."""
        return {field.name: Histogram(field.name) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedPower:
        """The transform with these exponents."""
        maps = []
        for field in self._fields(schema):
            points, counts = points_of(values[field.name])
            power = likeliest(points, counts)
            offset, center, scale = 0.0, 0.0, 1.0
            if self.standardize and len(points):
                offset = _offset(points, power)
                center, scale = _moments(transformed(points, power, offset), counts)
            maps.append(YeoJohnson(field, power, offset, center, scale))
        return FittedPower(self, schema.put(*(float_field(rule.field) for rule in maps)), tuple(maps))


def points_of(histogram: HistogramValue) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The middle of each bucket, and how many values it stands for."""
    middle = histogram.lower / 2 + histogram.upper / 2
    exact = histogram.lower == histogram.upper
    return np.where(exact, histogram.lower, middle), histogram.counts.astype(np.float64)


def _offset(x: npt.NDArray[np.float64], power: float) -> float:
    """What is added to the transform of values all of one sign, so that their common constant cancels.

    Far from zero a power is small against the 1 that the formula takes from it, and would be lost in it.
    """
    if power == 1.0:
        return 0.0  # the values themselves
    if float(x.min()) >= 0.0 and abs(power) > _SMALL:
        return 1.0 / power
    if float(x.max()) < 0.0 and abs(2.0 - power) > _SMALL:
        return -1.0 / (2.0 - power)
    return 0.0


def transformed(x: npt.NDArray[np.float64], power: float, offset: float = 0.0) -> npt.NDArray[np.float64]:
    """Yeo and Johnson's transform, plus the offset; infinite where it is too large."""
    out = np.empty_like(x)
    above = x >= 0
    with np.errstate(over="ignore"):
        for where, sign, p in ((above, 1.0, power), (~above, -1.0, 2.0 - power)):
            if p == 1.0:
                out[where] = x[where] + offset
                continue
            size = np.log1p(sign * x[where])
            if p == 0.0:
                out[where] = sign * size + offset
            elif offset == sign / p:
                out[where] = sign * np.exp(p * size) / p
            else:
                out[where] = sign * np.expm1(p * size) / p + offset
    return out


def _moments(values: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and population deviation; a deviation that rounding could have made is 1, as where values overflow."""
    top = float(np.max(np.abs(values)))
    if not 0.0 < top < math.inf:
        return 0.0, 1.0
    values = values / top  # so that squares stay within range
    total = np.add.reduce(counts)
    mean = float(np.add.reduce(values * counts) / total)
    variance = float(np.add.reduce(np.square(values - mean) * counts) / total)
    return mean * top, math.sqrt(variance) * top if variance > _ROUNDING**2 else 1.0


def likeliest(x: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> float:
    """The exponent of the greatest likelihood, from -10 to 10: the best of a grid, then Brent's method beside it."""
    from scipy.optimize import minimize_scalar

    if len(x) < 2:
        return 1.0
    total = np.add.reduce(counts)
    jacobian = float(np.add.reduce(np.sign(x) * np.log1p(np.abs(x)) * counts) / total)

    def cost(power: float) -> float:
        """The negative log likelihood per value, without constants; very large where the transform overflows."""
        values = transformed(x, power, _offset(x, power))
        top = float(np.max(np.abs(values)))
        if not 0.0 < top < math.inf:
            return _REFUSED
        values = values / top
        mean = np.add.reduce(values * counts) / total
        variance = float(np.add.reduce(np.square(values - mean) * counts) / total)
        if variance <= _ROUNDING**2:
            return _REFUSED  # all that is left is rounding
        return 0.5 * math.log(variance) + math.log(top) - (power - 1.0) * jacobian

    grid = np.arange(-_RANGE, _RANGE + _GRID, _GRID).tolist()
    costs = [cost(power) for power in grid]
    if min(costs) == _REFUSED:
        return 1.0
    best = float(grid[int(np.argmin(costs))])
    bounds = (max(best - _GRID, -_RANGE), min(best + _GRID, _RANGE))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    power = float(found.x) if found.fun < min(costs) else best
    return next((exact for exact in (0.0, 2.0) if abs(power - exact) < _NEAR), power)


@dataclass(frozen=True, slots=True)
class YeoJohnson:
    """One column's transform: the power plus an offset, then ``(y - center) / scale``."""

    field: Field
    power: float
    offset: float
    center: float
    scale: float

    def forward(self, value: pl.Expr) -> pl.Expr:
        """The transformed value."""
        x = as_float64(value, self.field)
        above = self._raised(pl.when(x >= 0).then(x), 1.0, self.power)
        below = self._raised(pl.when(x < 0).then(-x), -1.0, 2.0 - self.power)
        y = (pl.coalesce(above, below) - self.center) * (1.0 / self.scale)
        out = float_field(self.field)
        return as_type(y.clip(-largest(out), largest(out)), out)

    def _raised(self, size: pl.Expr, sign: float, power: float) -> pl.Expr:
        """The transform of a size from 0, of one sign."""
        if power == 0.0:
            return size.log1p() * sign + self.offset
        if power == 1.0:
            return size * sign + self.offset
        raised = (size + 1.0).pow(power)
        if self.offset == sign / power:
            return raised * (sign / power)
        return (raised - 1.0) * (sign / power) + self.offset

    def backward(self, value: pl.Expr) -> pl.Expr:
        """The value that was transformed; null where no value gives this one."""
        y = as_float64(value, float_field(self.field)) * self.scale + self.center
        above = self._lowered(pl.when(y >= self.offset).then(y), 1.0, self.power)
        below = -self._lowered(pl.when(y < self.offset).then(y), -1.0, 2.0 - self.power)
        x = pl.coalesce(above, below)
        return as_type(pl.when(x.is_finite()).then(x), self.field)

    def _lowered(self, y: pl.Expr, sign: float, power: float) -> pl.Expr:
        """The size that was raised."""
        if power == 0.0:
            return ((y - self.offset) * sign).exp() - 1.0
        if power == 1.0:
            return (y - self.offset) * sign
        base = y * (sign * power) if self.offset == sign / power else (y - self.offset) * (sign * power) + 1.0
        return pl.when(base > 0).then(base).pow(1.0 / power) - 1.0


@dataclass(frozen=True, slots=True)
class FittedPower(TableStep):
    """`Power` with its exponents."""

    step: Power
    schema: Schema
    maps: tuple[YeoJohnson, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The transformed columns."""
        return {rule.field.name: rule.forward(inputs[rule.field.name]) for rule in self.maps}

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The columns as they were before, to rounding; an exponent far from 1 loses the far end of its side."""
        return {
            rule.field.name: rule.backward(outputs[rule.field.name]) for rule in self.maps if rule.field.name in outputs
        }
