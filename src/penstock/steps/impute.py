"""The step that fills missing values: `Impute`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies, FrequenciesValue
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import Family, chosen_of, family, retyped

Strategy: TypeAlias = Literal["mean", "median", "most_frequent", "constant"]
Fill: TypeAlias = bool | int | float | str

_FAMILIES: dict[str, tuple[Family, ...]] = {
    "mean": ("numbers",),
    "median": ("numbers",),
    "most_frequent": ("numbers", "truth values", "text"),
    "constant": ("numbers", "truth values", "text"),
}
_DERIVED = frozenset({"count", "moments", "histogram", "frequencies", "distinct"})


@dataclass(frozen=True, slots=True)
class Impute(Step):
    """Nulls become a value: the column's mean, median or most frequent value, or a constant.

    Of values that are equally frequent the least is taken. Whole numbers stay whole numbers where the value is one.

    Args:
        columns: columns of numbers, or for "most_frequent" and "constant" also of truth values, categories, text.
        strategy: where the value comes from.
        value: the value of the strategy "constant"; of the columns' type.

    Raises:
        UsageError: the strategy is unknown, or ``value`` is missing or not wanted.
        SchemaError: a column is of a type that the strategy can't work on.
        DataError: when fitting, a column has no value at all to take the mean, median or most frequent of.

    Example:
        >>> Impute("numeric").strategy
        'median'
        >>> Impute(["city"], strategy="constant", value="unknown").value
        'unknown'
    """

    columns: ColumnsLike
    strategy: Strategy = "median"
    value: bool | int | float | str | None = None

    name = "impute"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.strategy not in _FAMILIES:
            raise UsageError(
                "not a strategy", where="impute: strategy", expected=", ".join(_FAMILIES), got=repr(self.strategy)
            )
        if self.strategy == "constant":
            plain = isinstance(self.value, (bool, int, float, str))
            if not plain or (isinstance(self.value, float) and not math.isfinite(self.value)):
                raise UsageError(
                    "the strategy 'constant' needs its value",
                    where="impute: value",
                    expected="a finite number, a text, or true or false",
                    got=repr(self.value),
                )
        elif self.value is not None:
            raise UsageError(
                f"the strategy {self.strategy!r} takes no value",
                where="impute: value",
                got=repr(self.value),
                remedy="leave it out, or say strategy='constant'",
            )

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = chosen_of(self.columns, schema, self.name, *_FAMILIES[self.strategy])
        if self.strategy == "constant":
            for field in fields:
                _refuse_other_type(field, self.value)
        return fields

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """Under each column's name its moments, histogram or frequencies; none for a constant."""
        fields = self._fields(schema)
        if self.strategy == "mean":
            return {field.name: Moments(field.name) for field in fields}
        if self.strategy == "median":
            return {field.name: Histogram(field.name) for field in fields}
        if self.strategy == "most_frequent":
            return {field.name: Frequencies(field.name) for field in fields}
        return {}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedImpute:
        """The step with a value for each column."""
        fills = []
        fields = []
        for field in self._fields(schema):
            fill = self._fill(field, values.get(field.name))
            if field.type == pa.float32():
                fill = float(np.float32(fill))  # as it is stored, or what is derived would differ from what comes out
            fills.append((field.name, fill))
            fields.append(_filled(field, fill))
        return FittedImpute(self, schema.put(*fields), tuple(fills))

    def _fill(self, field: Field, statistic: Any) -> Fill:
        if self.strategy == "constant":
            assert self.value is not None
            return float(self.value) if family(field) == "numbers" else self.value
        if self.strategy == "most_frequent":
            if statistic.total:
                return most_frequent(statistic, field)
        elif statistic.count:
            return float(statistic.mean if self.strategy == "mean" else statistic.median)
        raise DataError(
            "the column has no value to fill it with",
            where=f"step 'impute', column {field.name!r}",
            expected="at least one value",
            got="nulls only",
            remedy="drop the column, or impute it with strategy='constant' and a value",
        )

    def derives(self, statistic: Statistic[Any]) -> bool:
        """What is known of one column with nulls is known with the nulls filled."""
        return statistic.kind in _DERIVED and len(statistic.columns) == 1


@dataclass(frozen=True, slots=True)
class FittedImpute(TableStep):
    """`Impute` with its values.

    Attributes:
        fills: (column, value) for each column.
    """

    step: Impute
    schema: Schema
    fills: tuple[tuple[str, Fill], ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The filled columns."""
        return {name: self._filled(inputs[name], name, fill) for name, fill in self.fills}

    def _filled(self, value: pl.Expr, name: str, fill: Fill) -> pl.Expr:
        kind = self.schema[name].type
        if pa.types.is_integer(kind):
            return value.fill_null(int(fill))
        if kind == pa.float32():
            return value.fill_null(pl.lit(fill, pl.Float32))
        if kind == pa.float64():
            # A column of integers comes out as float64 where the value is a fraction; else the cast does nothing.
            return value.cast(pl.Float64).fill_null(pl.lit(fill, pl.Float64))
        return value.fill_null(pl.lit(fill))

    def derive(self, statistic: Statistic[Any]) -> Statistic[Any] | None:
        """The same statistic had the nulls been the value."""
        fills = dict(self.fills)
        (column,) = statistic.columns
        return statistic.with_nulls_as(fills[column]) if column in fills else statistic


def most_frequent(frequencies: FrequenciesValue, field: Field) -> Fill:
    """The value that is most frequent; of several the least, as scikit-learn's SimpleImputer takes it."""
    if family(field) != "numbers":
        (text, _), *_ = frequencies.top(1)
        return text == "true" if family(field) == "truth values" else text
    # The least number is not the least text, so all of the most frequent are looked at.
    most, least = 0, math.inf
    for batch in frequencies.iter_batches():
        counts = batch.column(1).to_numpy()
        greatest = int(counts.max(initial=0))
        if greatest < most or greatest == 0:
            continue
        number = min(map(float, batch.column(0).filter(pa.array(counts == greatest)).to_pylist()))
        most, least = greatest, number if greatest > most else min(least, number)
    return least


def _filled(field: Field, fill: Fill) -> Field:
    if family(field) == "numbers":
        whole = float(fill).is_integer()
        if field.kind is Role.integer and not whole:
            return retyped(field, pa.float32() if field.type == pa.float32() else pa.float64(), Role.number)
        if pa.types.is_integer(field.type) and not whole:
            return retyped(field, pa.float64(), Role.number)
    if field.categories is not None and str(fill) not in field.categories:
        return replace(field, categories=tuple(sorted((*field.categories, str(fill)))))
    return field


def _refuse_other_type(field: Field, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = {"numbers": number, "truth values": isinstance(value, bool), "text": isinstance(value, str)}
    if not right[family(field)]:
        raise SchemaError(
            "the value is not of the column's type",
            where=f"step 'impute', column {field.name!r}",
            expected={"numbers": "a number", "truth values": "true or false", "text": "a text"}[family(field)],
            got=repr(value),
            remedy="choose the columns by kind, and impute each kind by a step of its own",
        )
