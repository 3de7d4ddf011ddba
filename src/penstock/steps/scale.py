"""Steps that bring numbers to a common scale: `Standardize`, `MinMax`, `Robust`.

Here belongs what maps a column of numbers by one linear function; what cuts values off is in `outliers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from penstock.errors import DataError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import as_float64, as_type, ascending, chosen_of, float_field

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Linear:
    """One column's map: ``(x - center) / scale * width + low``.

    Divided is by multiplying with the reciprocal: Polars does so too where it divides many rows by one number, but not
    where it divides a single row, and a row must get the same bits alone as in its batch.
    """

    field: Field
    center: float
    scale: float
    width: float = 1.0
    low: float = 0.0

    def forward(self, value: pl.Expr) -> pl.Expr:
        """The scaled value."""
        scaled = (as_float64(value, self.field) - self.center) * (1.0 / self.scale)
        if (self.width, self.low) != (1.0, 0.0):
            scaled = scaled * self.width + self.low
        return as_type(scaled, float_field(self.field))

    def backward(self, value: pl.Expr) -> pl.Expr:
        """The value that was scaled."""
        scaled = as_float64(value, float_field(self.field))
        if (self.width, self.low) != (1.0, 0.0):
            scaled = (scaled - self.low) * (1.0 / self.width)
        return as_type(scaled * self.scale + self.center, self.field)


@dataclass(frozen=True, slots=True)
class FittedScale(TableStep):
    """A fitted scaler: a linear map for each column. Nulls stay null."""

    step: Standardize | MinMax | Robust
    schema: Schema
    maps: tuple[Linear, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The scaled columns."""
        return {rule.field.name: rule.forward(inputs[rule.field.name]) for rule in self.maps}

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The columns as they were before, to rounding."""
        return {
            rule.field.name: rule.backward(outputs[rule.field.name]) for rule in self.maps if rule.field.name in outputs
        }


def _numbers(step: Standardize | MinMax | Robust, schema: Schema) -> tuple[Field, ...]:
    return chosen_of(step.columns, schema, step.name, "numbers")


def _touched(step: Standardize | MinMax | Robust, schema: Schema) -> Columns:
    names = tuple(field.name for field in _numbers(step, schema))
    return Columns(reads=names, writes=names)


def _fitted(step: Standardize | MinMax | Robust, schema: Schema, maps: tuple[Linear, ...]) -> FittedScale:
    return FittedScale(step, schema.put(*(float_field(rule.field) for rule in maps)), maps)


def _or_one(scale: float) -> float:
    # A range that rounding alone could have made: the same bound as scikit-learn's scalers use.
    return scale if scale >= 10 * _EPSILON else 1.0


@dataclass(frozen=True, slots=True)
class Standardize(Step):
    """Numbers to mean 0 and standard deviation 1: ``(x - mean) / deviation``.

    The deviation is that of the population (divided by the count). A constant column is divided by 1, so it
    becomes 0; a column without any value stays null. Nulls stay null. Comes out as float64 (float32 stays so).

    Formula:
        y = (x - mean) / s
        s = sqrt(sum((x - mean)^2) / n), and 1 where it is 0

        As scikit-learn's StandardScaler. Mean and squares are merged block by block (Pébay, "Formulas for
        robust, one-pass parallel computation of covariances and arbitrary-order statistical moments", Sandia report
        SAND2008-6212, 2008).

    Args:
        columns: columns of numbers.

    Raises:
        SchemaError: a column is not of numbers.

    Example:
        >>> Standardize("numeric")
        Standardize(columns=Selector(patterns=('numeric',), excluded=()))
    """

    columns: ColumnsLike

    name = "standardize"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        return _touched(self, schema)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The moments of each column, under its name."""
        return {field.name: Moments(field.name) for field in _numbers(self, schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedScale:
        """The scaler of these means and deviations."""
        maps = []
        for field in _numbers(self, schema):
            moments = values[field.name]
            if moments.count == 0:
                maps.append(Linear(field, 0.0, 1.0))
                continue
            # The rounding error of a variance, after scikit-learn's StandardScaler: below it a column is constant.
            if not math.isfinite(moments.variance):
                raise DataError(
                    "the values are too far apart to be scaled",
                    where=f"step 'standardize', column {field.name!r}",
                    expected="a deviation within the range of float64",
                    got=f"values from {moments.minimum:g} to {moments.maximum:g}",
                    remedy="clip the column before, or leave it out",
                )
            floor = moments.count * _EPSILON * moments.variance + (moments.count * moments.mean * _EPSILON) ** 2
            scale = 1.0 if moments.variance <= floor else float(np.sqrt(moments.variance))
            maps.append(Linear(field, float(moments.mean), scale))
        return _fitted(self, schema, tuple(maps))


@dataclass(frozen=True, slots=True)
class MinMax(Step):
    """Numbers to a range: the least to its low end, the greatest to its high end.

    A value beyond what was seen when fitting goes beyond the range (put `Clip` before). A constant column comes
    to the low end; a column without any value stays null. Nulls stay null. Comes out as float64 (float32 stays so).

    Formula:
        y = low + (x - min) / (max - min) * (high - low)
        max - min is 1 where they are equal

        As scikit-learn's MinMaxScaler.

    Args:
        columns: columns of numbers.
        range: the low and the high end.

    Raises:
        UsageError: the range is not two ascending finite numbers.
        SchemaError: a column is not of numbers.

    Example:
        >>> MinMax("age", range=(-1, 1)).range
        (-1.0, 1.0)
    """

    columns: ColumnsLike
    range: tuple[float, float] = (0.0, 1.0)

    name = "min_max"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "range", ascending(self.range, where="min_max: range", low=-np.inf, high=np.inf))

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        return _touched(self, schema)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The moments of each column (they keep its ends), under its name."""
        return {field.name: Moments(field.name) for field in _numbers(self, schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedScale:
        """The scaler between these ends."""
        low, high = self.range
        maps = []
        for field in _numbers(self, schema):
            moments = values[field.name]
            least, scale = 0.0, 1.0
            if moments.count:
                least, scale = float(moments.minimum), _or_one(float(moments.maximum) - float(moments.minimum))
            maps.append(Linear(field, least, scale, high - low, low))
        return _fitted(self, schema, tuple(maps))


@dataclass(frozen=True, slots=True)
class Robust(Step):
    """Numbers to median 0 and interquartile range 1: ``(x - median) / (upper - lower quantile)``.

    Unlike mean and deviation these don't follow outliers. A column whose quantiles are equal is divided by 1; a
    column without any value stays null. Nulls stay null. Comes out as float64 (float32 stays so).

    Formula:
        y = (x - median) / (Q(upper) - Q(lower))
        the distance is 1 where they are equal

        As scikit-learn's RobustScaler. Q is the quantile, interpolated linearly (type 7 of Hyndman and Fan, "Sample
        quantiles in statistical packages", The American Statistician 50, 1996): exact for up to 4,096 distinct
        values, else within a bucket.

    Args:
        columns: columns of numbers.
        quantiles: the quantiles whose distance becomes 1, between 0 and 1.

    Raises:
        UsageError: the quantiles are not ascending between 0 and 1.
        SchemaError: a column is not of numbers.

    Example:
        >>> Robust("numeric", quantiles=(0.1, 0.9)).quantiles
        (0.1, 0.9)
    """

    columns: ColumnsLike
    quantiles: tuple[float, float] = (0.25, 0.75)

    name = "robust"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "quantiles", ascending(self.quantiles, where="robust: quantiles", low=0, high=1))

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        return _touched(self, schema)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The histogram of each column, under its name."""
        return {field.name: Histogram(field.name) for field in _numbers(self, schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedScale:
        """The scaler of these medians and quantiles."""
        maps = []
        for field in _numbers(self, schema):
            histogram = values[field.name]
            center, scale = 0.0, 1.0
            if histogram.count:
                lower, upper = (float(histogram.quantile(q)) for q in self.quantiles)
                center, scale = float(histogram.median), _or_one(upper - lower)
            maps.append(Linear(field, center, scale))
        return _fitted(self, schema, tuple(maps))
