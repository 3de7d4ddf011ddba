"""The step that makes columns of others: `Derive`. What can be written is in `penstock.expression`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from penstock.errors import SchemaError, UsageError
from penstock.expression import Typed, parse
from penstock.schema import Role, Schema
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import retyped


@dataclass(frozen=True, slots=True)
class Derive(Step):
    """New columns, each computed from the row by an expression such as ``weight / height ** 2``.

    See `penstock.expression` for the grammar and the functions. All expressions see the columns that come in; what
    needs a column derived here is a further step. A column of a name that is there is replaced, at its place. Numbers
    come out as float64 (whole where every part is), texts as categories (as text where free text is in them), true
    and false as truth values, times as times.

    Args:
        columns: the expression of each column, by its name.

    Raises:
        UsageError: an expression is not of the grammar; the message gives the place.
        SchemaError: a column is not there, kinds don't go together, or the target is read: when rows are predicted
            it is not known.

    Example:
        >>> Derive({"bmi": "weight / height ** 2", "adult": "age >= 18"}).columns["adult"]
        'age >= 18'
    """

    columns: Mapping[str, str]

    name = "derive"

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping) or not self.columns:
            raise UsageError(
                "no columns to derive",
                where="derive: columns",
                expected="a mapping of names to expressions, such as {bmi: weight / height ** 2}",
                got=repr(self.columns),
            )
        object.__setattr__(self, "columns", dict(self.columns))
        for name, text in self.columns.items():
            if not isinstance(name, str):
                raise UsageError("not a name", where="derive: columns", expected="a text", got=repr(name))
            try:
                parse(text)
            except UsageError as error:
                raise UsageError(
                    f"{name!r}: {error.message}",
                    where="derive: columns",
                    expected=error.expected,
                    got=error.got,
                    remedy=error.remedy,
                ) from error

    def _typed(self, schema: Schema) -> dict[str, Typed]:
        typed = {}
        for name, text in self.columns.items():
            where = f"step 'derive', column {name!r}"
            expression = parse(text, where)
            for read in expression.columns:
                if read in schema and schema[read].role is Role.target:
                    raise SchemaError(
                        "the expression reads what is to be predicted",
                        where=where,
                        expected="columns that are known when rows are predicted",
                        got=f"the target {read!r}",
                        remedy="derive the target's column before, by `penstock prepare`, or leave it out here",
                    )
            typed[name] = expression.typed(schema)
        return typed

    def touches(self, schema: Schema) -> Columns:
        """Reads what the expressions read, writes the new columns."""
        typed = self._typed(schema)
        reads = dict.fromkeys(name for one in typed.values() for name in one.expression.columns)
        return Columns(reads=tuple(reads), writes=tuple(typed))

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedDerive:
        """The step for this schema."""
        typed = self._typed(schema)
        fields = []
        for name, one in typed.items():
            field = one.field(name)
            if name in schema and not schema[name].role.is_feature:  # what it is used for stays
                field = retyped(schema[name], field.type, field.role)
            fields.append(field)
        return FittedDerive(self, schema.put(*fields), tuple(typed.items()))


@dataclass(frozen=True, slots=True)
class FittedDerive(TableStep):
    """`Derive` for a schema.

    Attributes:
        typed: (name, expression) for each column.
    """

    step: Derive
    schema: Schema
    typed: tuple[tuple[str, Typed], ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The new columns."""
        return {name: typed.to_polars(inputs) for name, typed in self.typed}
