"""Steps about rows that lack values: `DropMissing` leaves them out, `RejectMissing` sorts them out with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Check, Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen

How: TypeAlias = Literal["any", "all"]

NOT_FEATURES = (Role.target, Role.weight, Role.group)
"""What is known when a model is trained, and need not be when rows are predicted."""


def _complete(step: DropMissing | RejectMissing) -> None:
    object.__setattr__(step, "columns", as_selector(step.columns))
    if step.how not in ("any", "all"):
        raise UsageError("not one of its values", where=f"{step.name}: how", expected="any or all", got=repr(step.how))


def _fitted(step: DropMissing | RejectMissing, schema: Schema) -> FittedMissing:
    return FittedMissing(step, schema, chosen(step.columns, schema))


def _touched(step: DropMissing | RejectMissing, schema: Schema) -> Columns:
    return Columns(reads=tuple(field.name for field in chosen(step.columns, schema)), writes=(), rows=True)


@dataclass(frozen=True, slots=True)
class DropMissing(Step):
    """Rows with nulls in the columns are left out, and counted as dropped: it was asked for.

    When predicting, every row gets its prediction, unless ``when_predicting`` says otherwise.

    Args:
        columns: the columns, of any type.
        how: "any": a row with a null in one of them goes; "all": only one with nulls in all of them.
        when_predicting: whether rows go when predicting too; a target, weight or group is not looked at then.

    Raises:
        UsageError: ``how`` is neither.
        SchemaError: no column is met.

    Example:
        >>> DropMissing(["age", "income"]).how
        'any'
    """

    columns: ColumnsLike
    how: How = "any"
    when_predicting: bool = False

    name = "drop_missing"

    def __post_init__(self) -> None:
        _complete(self)

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns; rows may go."""
        return _touched(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedMissing:
        """The step for this schema."""
        return _fitted(self, schema)


@dataclass(frozen=True, slots=True)
class RejectMissing(Step):
    """Rows with nulls in the columns are rejected, with the code "missing" and the column at fault.

    Args:
        columns: the columns, of any type.
        how: "any": a row with a null in one of them goes; "all": only one with nulls in all of them.
        when_predicting: whether rows are rejected when predicting too; a target, weight or group is not looked at then.

    Raises:
        UsageError: ``how`` is neither.
        SchemaError: no column is met.

    Example:
        >>> RejectMissing("numeric", how="all").when_predicting
        False
    """

    columns: ColumnsLike
    how: How = "any"
    when_predicting: bool = False

    name = "reject_missing"

    def __post_init__(self) -> None:
        _complete(self)

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns; rows may go."""
        return _touched(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedMissing:
        """The step for this schema."""
        return _fitted(self, schema)


@dataclass(frozen=True, slots=True)
class FittedMissing(TableStep):
    """`DropMissing` or `RejectMissing` for a schema."""

    step: DropMissing | RejectMissing
    schema: Schema
    fields: tuple[Field, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Nothing is written."""
        return {}

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """That there are values."""
        fields = self.fields
        if use.purpose == "predict":
            fields = tuple(field for field in fields if field.role not in NOT_FEATURES)
            if not self.step.when_predicting:
                return ()
        action: Literal["drop", "reject"] = "drop" if isinstance(self.step, DropMissing) else "reject"
        if self.step.how == "any":
            return tuple(
                Check(inputs[field.name].is_not_null(), "missing", field.name, "the value is missing", action)
                for field in fields
            )
        if not fields:
            return ()
        present = pl.any_horizontal([inputs[field.name].is_not_null() for field in fields])
        names = ", ".join(repr(field.name) for field in fields[:8]) + (", ..." if len(fields) > 8 else "")
        return (Check(present, "missing", None, f"all values are missing: {names}", action),)

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The rows that are left are as they were."""
        return {}
