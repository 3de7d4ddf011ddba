"""The step that makes numbers uniformly or normally distributed by their ranks: `QuantileTransform`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.histogram import Histogram
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import as_float64, as_type, chosen_of, float_field

_MOST = 4096
_EDGE = 1e-7
"""Shares nearer to 0 or 1 than this are taken as this, so that a normal score stays finite (about 5.2)."""


@dataclass(frozen=True, slots=True)
class QuantileTransform(Step):
    """Numbers by their place among those seen when fitting: uniform from 0 to 1, or normal.

    The place is interpolated between quantiles, as scikit-learn's QuantileTransformer does: a value that is seen often
    gets the middle of its places; one beyond all that were seen the place of the nearest. The quantiles are those of
    the histogram: exact for up to 4,096 distinct values, and else off by less than a bucket's width. A column of one
    value becomes 0 where it is at most that value, and 1 above it; a column without any stays null. Nulls stay null.
    Comes out as float64 (float32 stays so).

    Formula:
        u = (F1(x) + F2(x)) / 2
        F1 and F2 interpolate between the kept quantiles, from below and above
        uniform    y = u
        normal     y = Phi^-1(min(max(u, 1e-7), 1 - 1e-7))

        As scikit-learn's QuantileTransformer, with the quantiles of all rows instead of a sample.

    Args:
        columns: columns of numbers.
        output: "uniform" or "normal" (standard normal, from about -5.2 to 5.2).
        quantiles: how many quantiles are kept, 2 to 4096; no more than there are values.

    Raises:
        UsageError: an argument is not one of these.
        SchemaError: a column is not of numbers.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("x", pa.float64(), Role.number),))
        >>> batch = batch_of(schema, {"x": [1.0, 10.0, 1000.0]})
        >>> fit_step(QuantileTransform("x"), schema, [batch]).transform(batch, Use()).column("x").to_pylist()
        [0.0, 0.5, 1.0]
    """

    columns: ColumnsLike
    output: Literal["uniform", "normal"] = "uniform"
    quantiles: int = 1000

    name = "quantile_transform"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.output not in ("uniform", "normal"):
            raise UsageError(
                "not a distribution",
                where="quantile_transform: output",
                expected="uniform or normal",
                got=repr(self.output),
            )
        number = isinstance(self.quantiles, int) and not isinstance(self.quantiles, bool)
        if not number or not 2 <= self.quantiles <= _MOST:
            raise UsageError(
                "not a number of quantiles",
                where="quantile_transform: quantiles",
                expected=f"a whole number from 2 to {_MOST}",
                got=repr(self.quantiles),
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

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedQuantileTransform:
        """The transform with these quantiles."""
        maps = []
        for field in self._fields(schema):
            histogram = values[field.name]
            shares = np.linspace(0.0, 1.0, max(1, min(self.quantiles, histogram.count)))
            found = np.maximum.accumulate(histogram.quantile(shares)) if histogram.count else np.zeros(1)
            maps.append(Ranks(field, self.output, tuple(found.tolist()), tuple(shares.tolist())))
        return FittedQuantileTransform(self, schema.put(*(float_field(rule.field) for rule in maps)), tuple(maps))


@dataclass(frozen=True, slots=True)
class Ranks:
    """One column's quantiles (ascending), and the share of the values at or below each."""

    field: Field
    output: Literal["uniform", "normal"]
    quantiles: tuple[float, ...]
    shares: tuple[float, ...]

    def forward(self, value: pl.Expr) -> pl.Expr:
        """The place of a value."""
        out = float_field(self.field)
        return as_type(_by_numpy(as_float64(value, self.field), self._places), out)

    def backward(self, value: pl.Expr) -> pl.Expr:
        """The quantile of a place."""
        return as_type(_by_numpy(as_float64(value, float_field(self.field)), self._values), self.field)

    def _places(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        quantiles, shares = np.array(self.quantiles), np.array(self.shares)
        # From both sides: of equal quantiles the first is found from one, the last from the other.
        low = np.interp(x, quantiles, shares)
        high = -np.interp(-x, -quantiles[::-1], -shares[::-1])
        places = 0.5 * (low + high)
        places[x <= quantiles[0]] = 0.0
        places[(x >= quantiles[-1]) & (x > quantiles[0])] = 1.0
        if self.output == "uniform":
            return np.asarray(places, np.float64)
        from scipy.special import ndtri

        return np.asarray(ndtri(np.clip(places, _EDGE, 1.0 - _EDGE)), np.float64)

    def _values(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.output == "normal":
            from scipy.special import ndtr

            shares = ndtr(places)
            shares[shares <= _EDGE * (1.0 + 1e-6)] = 0.0
            shares[shares >= 1.0 - _EDGE * (1.0 + 1e-6)] = 1.0
            places = shares
        return np.asarray(np.interp(places, np.array(self.shares), np.array(self.quantiles)), np.float64)


def _by_numpy(value: pl.Expr, function: Any) -> pl.Expr:
    """A function of arrays, value by value; null stays null."""

    def mapped(series: pl.Series) -> pl.Series:
        values = series.to_numpy()
        found = np.full(len(values), np.nan)
        known = ~np.isnan(values)
        found[known] = function(values[known])
        return pl.Series(found).fill_nan(None)

    return value.map_batches(mapped, return_dtype=pl.Float64)


@dataclass(frozen=True, slots=True)
class FittedQuantileTransform(TableStep):
    """`QuantileTransform` with its quantiles."""

    step: QuantileTransform
    schema: Schema
    maps: tuple[Ranks, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The places."""
        return {rule.field.name: rule.forward(inputs[rule.field.name]) for rule in self.maps}

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """Values at these places: those that went in to the distance between quantiles, within what was seen."""
        return {
            rule.field.name: rule.backward(outputs[rule.field.name]) for rule in self.maps if rule.field.name in outputs
        }
