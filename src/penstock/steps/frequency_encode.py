"""The step that turns categories into how often they occur: `FrequencyEncode`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.errors import UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of, retyped
from penstock.steps.categories import Categories


@dataclass(frozen=True, slots=True)
class FrequencyEncode(Step):
    """Categories become how often they were seen when fitting: 0 for what was not.

    A missing value is a category of its own. Categories that are equally frequent are told apart no more.

    Formula:
        y = n(c) / n, or n(c) where `share` is false
        n(c) the rows of category c, n all rows, both when it was fitted

    Args:
        columns: columns of categories, text or truth values.
        share: whether it is the share of the rows (0 to 1), or their count.

    Raises:
        UsageError: ``share`` is no truth value.
        SchemaError: a column is of another type.
        DataError: when fitting, a column has more than a million categories.

    Example:
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("city", pa.string(), Role.category),))
        >>> batch = batch_of(schema, {"city": ["A", "B", "A", None]})
        >>> fit_step(FrequencyEncode("city"), schema, [batch]).transform(batch, Use()).column("city").to_pylist()
        [0.5, 0.25, 0.5, 0.25]
    """

    columns: ColumnsLike
    share: bool = True

    name = "frequency_encode"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if not isinstance(self.share, bool):
            raise UsageError(
                "not a truth value", where="frequency_encode: share", expected="true or false", got=repr(self.share)
            )

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text", "truth values")

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The frequencies of each column, under its name."""
        return {field.name: Frequencies(field.name) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedFrequencyEncode:
        """The step with the counts."""
        fields = self._fields(schema)
        known = []
        for field in fields:
            found = values[field.name]
            categories = Categories.of(field, found, None)
            counts = [*found.table().column("count").to_pylist(), found.nulls, 0]
            unit = 1.0 / max(found.total + found.nulls, 1) if self.share else 1.0
            figures = tuple((np.array(counts, np.float64) * unit).tolist())
            known.append(Occurrences(categories, figures))
        kind = Role.number if self.share else Role.integer
        outgoing = schema.put(*(retyped(field, pa.float64(), kind) for field in fields))
        return FittedFrequencyEncode(self, outgoing, tuple(known))


@dataclass(frozen=True, slots=True)
class Occurrences:
    """One column's categories, and how often each occurs; then that of nulls, and of what was not seen."""

    categories: Categories
    figures: tuple[float, ...]

    def of(self, value: pl.Expr) -> pl.Expr:
        """How often a value occurs."""
        many = len(self.categories.kept)
        code = self.categories.code(value)
        place = pl.when(value.is_null()).then(many).when(code < 0).then(many + 1).otherwise(code)
        figures = np.array(self.figures)

        def looked_up(series: pl.Series) -> pl.Series:
            return pl.Series(figures[series.to_numpy()])

        return place.map_batches(looked_up, return_dtype=pl.Float64)


@dataclass(frozen=True, slots=True)
class FittedFrequencyEncode(TableStep):
    """`FrequencyEncode` with its counts."""

    step: FrequencyEncode
    schema: Schema
    known: tuple[Occurrences, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """How often each value occurs."""
        return {one.categories.field.name: one.of(inputs[one.categories.field.name]) for one in self.known}
