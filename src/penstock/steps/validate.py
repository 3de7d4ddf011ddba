"""The step that holds rows to rules: `Validate`. Every rule is about one cell; see `Rule`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import polars as pl

from penstock.errors import SchemaError, UsageError
from penstock.expression_functions import moment
from penstock.schema import Field, Schema
from penstock.selector import as_selector
from penstock.step import Check, Columns, Step, TableStep, Use
from penstock.steps.arguments import Family, family
from penstock.steps.columns import TypeName, cast
from penstock.steps.missing import NOT_FEATURES

TypeRule: TypeAlias = Literal["number", "integer", "boolean", "text", "time"]

_MOST_PATTERN = 1_000
_CASTS: dict[str, TypeName] = {"number": "float64", "integer": "int64", "boolean": "boolean", "time": "time"}
_FITTING: dict[Family, tuple[str, ...]] = {
    "numbers": ("number", "integer", "boolean"),
    "truth values": ("boolean",),
    "text": ("number", "integer", "boolean", "text", "time"),
    "times": ("time",),
}
"""The types that values of a family can be of: a text can be a number, a number no time."""
_BOUNDS = ("min", "max", "above", "below")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the cells of a column have to meet. Null meets every rule but ``not_null``.

    Attributes:
        type: what a value has to be: a number, a whole number ("integer"), a truth value (0 or 1; of text also true,
            false, yes, no), text, a time in ISO 8601. A column of text is held to it cell by cell, and stays text.
        min: the least value; a number, or for times a text in ISO 8601.
        max: the greatest value.
        above: what every value is greater than.
        below: what every value is less than.
        values: the values allowed.
        pattern: a regular expression (of Rust's kind, which takes linear time) that a text meets from its beginning to
            its end.
        max_length: how many characters a text has at most.
        not_null: whether there has to be a value.
    """

    type: TypeRule | None = None
    min: float | str | None = None
    max: float | str | None = None
    above: float | str | None = None
    below: float | str | None = None
    values: tuple[Any, ...] | None = None
    pattern: str | None = None
    max_length: int | None = None
    not_null: bool = False

    @classmethod
    def of(cls, column: str, given: Any) -> Rule:
        """A rule from what users write.

        Raises:
            UsageError: it is none; the message says what is wrong.
        """
        if not isinstance(given, Mapping) or not given:
            raise _wrong(column, "not a rule", expected="settings such as {min: 0, not_null: true}", got=given)
        known = [field.name for field in fields(cls)]
        for key in given:
            if key == "unique":
                raise _wrong(
                    column,
                    "whether a value is unique is not to be seen from its row",
                    expected="rules about one cell: " + ", ".join(known),
                    got=key,
                    remedy="use the relational part: deduplicate, before the steps",
                )
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else ""
                raise _wrong(column, "no such rule", expected=", ".join(known), got=key, remedy=remedy)
        settings = {key: value for key, value in given.items() if value is not None}
        if isinstance(settings.get("values"), list):
            settings["values"] = tuple(settings["values"])
        rule = cls(**settings)
        rule._check(column)
        return rule

    def _check(self, column: str) -> None:
        if self.type is not None and self.type not in (*_CASTS, "text"):
            raise _wrong(column, "type: not a type", expected=", ".join((*_CASTS, "text")), got=self.type)
        for name in _BOUNDS:
            _check_bound(column, name, getattr(self, name))
        if self.values is not None and (not isinstance(self.values, tuple) or not all(map(_is_plain, self.values))):
            raise _wrong(
                column, "values: not a list of values", expected="numbers, texts, true, false", got=self.values
            )
        if self.values == ():
            raise _wrong(column, "values: nothing is allowed", expected="at least one value", got=[])
        _check_pattern(column, self.pattern)
        length = self.max_length
        if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 0):
            raise _wrong(column, "max_length: not a length", expected="a whole number from 0", got=length)
        if not isinstance(self.not_null, bool):
            raise _wrong(column, "not_null: not a truth value", expected="true or false", got=self.not_null)

    def to_json(self) -> dict[str, Any]:
        """The settings that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None and value is not False
        }


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) and not (isinstance(value, float) and not math.isfinite(value))


def _check_bound(column: str, name: str, value: Any) -> None:
    if value is None or (isinstance(value, str) and moment(value) is not None):
        return
    if isinstance(value, (bool, str)) or not _is_plain(value):
        raise _wrong(column, f"{name}: not a bound", expected="a number, or a time such as '2026-11-20'", got=value)


def _check_pattern(column: str, pattern: Any) -> None:
    if pattern is None:
        return
    if not isinstance(pattern, str) or len(pattern) > _MOST_PATTERN:
        shown = pattern if not isinstance(pattern, str) else f"{len(pattern)} characters"
        raise _wrong(
            column, "pattern: not a pattern", expected=f"a text of up to {_MOST_PATTERN:,} characters", got=shown
        )
    try:
        for whole in (pattern, _whole(pattern)):
            pl.Series([""]).str.contains(whole)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())
        raise _wrong(
            column,
            "pattern: not a regular expression",
            expected="one of Rust's kind: no look-around, no back references",
            got=pattern,
            remedy=reason[:200],
        ) from error


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


def _wrong(column: str, message: str, *, expected: str, got: Any, remedy: str = "") -> UsageError:
    return UsageError(
        f"{column!r}: {message}", where="validate: rules", expected=expected, got=repr(got), remedy=remedy
    )


@dataclass(frozen=True, slots=True)
class Validate(Step):
    """Rows whose cells don't meet the rules are rejected, with the column, a code and the reason; or the job fails.

    Codes: "missing", "wrong_type", "below_minimum", "above_maximum", "not_allowed", "pattern", "too_long". A row is
    rejected once, by the first rule it does not meet: rules in the columns' order, and in the order of these codes.
    Values stay as they are. Rows are held to the rules when predicting too; only a target, weight or group is not
    looked at then.

    Args:
        rules: by column (a name, a glob or a kind such as "numeric") the settings of `Rule`: type, min, max, above,
            below, values, pattern, max_length, not_null.
        on_failure: "reject": the row leaves; "fail": the job ends with the first such row.

    Raises:
        UsageError: a rule is none, a pattern is no regular expression, or "unique" is asked for, which is no matter of
            one row.
        SchemaError: a column is not there, or is of a type that a rule does not go with.
        DataError: a row does not meet a rule, with ``on_failure="fail"``.

    Example:
        >>> step = Validate({"age": {"type": "integer", "min": 0, "max": 130}, "email": {"pattern": "[^@]+@[^@]+"}})
        >>> step.rules["age"]
        {'type': 'integer', 'min': 0, 'max': 130}
    """

    rules: Mapping[str, Mapping[str, Any]]
    on_failure: Literal["reject", "fail"] = "reject"

    name = "validate"

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping) or not self.rules:
            raise UsageError(
                "there are no rules",
                where="validate: rules",
                expected="a mapping of columns to settings, such as {age: {min: 0}}",
                got=repr(self.rules),
            )
        rules = {column: Rule.of(column, given).to_json() for column, given in self.rules.items()}
        object.__setattr__(self, "rules", rules)
        if self.on_failure not in ("reject", "fail"):
            raise UsageError(
                "not one of its values",
                where="validate: on_failure",
                expected="reject or fail",
                got=repr(self.on_failure),
            )

    def _ruled(self, schema: Schema) -> tuple[tuple[Field, Rule], ...]:
        """Each column with each of its rules, in the schema's order."""
        ruled: list[tuple[Field, Rule]] = []
        for column, given in self.rules.items():
            rule = Rule.of(column, given)
            for name in as_selector(column).resolve(schema):
                _refuse_misfit(schema[name], rule)
                ruled.append((schema[name], rule))
        place = {name: i for i, name in enumerate(schema.names)}
        return tuple(sorted(ruled, key=lambda pair: place[pair[0].name]))

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns; rows may go."""
        names = dict.fromkeys(field.name for field, _ in self._ruled(schema))
        return Columns(reads=tuple(names), writes=(), rows=True)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedValidate:
        """The step for this schema."""
        return FittedValidate(self, schema, self._ruled(schema))


def _refuse_misfit(field: Field, rule: Rule) -> None:
    """Refuse a rule that no value of the column could meet or break."""
    kind = family(field)
    where = f"step 'validate', column {field.name!r}"
    got = f"{kind} ({field.type}, role {field.role.value})"
    if rule.type is not None and rule.type not in _FITTING.get(kind, ()):
        raise SchemaError(f"the values are never of type {rule.type!r}", where=where, got=got, remedy="cast it before")
    held = _held_as(field, rule)
    given = [name for name in _BOUNDS if getattr(rule, name) is not None]
    for name in given:
        wanted = "times" if isinstance(getattr(rule, name), str) else "numbers"
        if held != wanted:
            remedy = "give its type: number, integer or time" if kind == "text" else "leave the bound out"
            raise SchemaError(f"{name!r} is for {wanted}", where=where, expected=wanted, got=got, remedy=remedy)
    if (rule.pattern is not None or rule.max_length is not None) and kind != "text":
        raise SchemaError("'pattern' and 'max_length' are for text", where=where, expected="text", got=got)
    if rule.values is not None:
        wrong = [one for one in rule.values if _families_value(one) != held]
        if wrong:
            raise SchemaError(
                "a value that is allowed is not of the column's type", where=where, expected=held, got=repr(wrong[0])
            )


def _families_value(value: Any) -> str:
    """The family that a plain value is of."""
    return "truth values" if isinstance(value, bool) else "text" if isinstance(value, str) else "numbers"


def _held_as(field: Field, rule: Rule) -> str:
    """What the values are for bounds and for the values allowed: text of a type counts as that."""
    kind = family(field)
    if kind == "text" and rule.type not in (None, "text"):
        return {"number": "numbers", "integer": "numbers", "boolean": "truth values", "time": "times"}[str(rule.type)]
    return kind


@dataclass(frozen=True, slots=True)
class FittedValidate(TableStep):
    """`Validate` for a schema.

    Attributes:
        ruled: each column with each of its rules.
    """

    step: Validate
    schema: Schema
    ruled: tuple[tuple[Field, Rule], ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Nothing is written."""
        return {}

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """That every rule is met."""
        ruled = [
            (field, rule) for field, rule in self.ruled if use.purpose != "predict" or field.role not in NOT_FEATURES
        ]
        return tuple(
            Check(predicate, code, field.name, reason, self.step.on_failure)
            for field, rule in ruled
            for predicate, code, reason in _conditions(field, rule, inputs[field.name])
        )

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The rows that are left are as they were."""
        return {}


def _conditions(field: Field, rule: Rule, value: pl.Expr) -> Iterator[tuple[pl.Expr, str, str]]:
    """(condition, code, reason) of each part of a rule."""
    if rule.not_null:
        yield value.is_not_null(), "missing", "the value is missing"
    held, typed = _held(field, rule, value)
    if typed is not None:
        yield typed, "wrong_type", f"not of type {rule.type}"
    yield from _bounded(rule, held)
    if rule.values is not None:
        shown = ", ".join(_shown(one) for one in rule.values[:8]) + (", ..." if len(rule.values) > 8 else "")
        yield held.is_in(_series(rule.values).implode()), "not_allowed", f"not one of {shown}"
    if rule.pattern is not None:
        yield value.str.contains(_whole(rule.pattern)), "pattern", f"does not match {rule.pattern!r} as a whole"
    if rule.max_length is not None:
        yield value.str.len_chars() <= rule.max_length, "too_long", f"longer than {rule.max_length} characters"


def _held(field: Field, rule: Rule, value: pl.Expr) -> tuple[pl.Expr, pl.Expr | None]:
    """The values as bounds and allowed values are compared with, and whether they are of the rule's type."""
    kind, typed = family(field), None
    held = value
    if kind == "text" and rule.type not in (None, "text"):
        held = cast(value, kind, _CASTS[str(rule.type)])
        typed = value.is_null() | held.is_not_null()
    elif kind == "numbers" and rule.type == "integer":
        typed = value == value.floor()
    elif kind == "numbers" and rule.type == "boolean":
        typed = (value == 0) | (value == 1)
    if _held_as(field, rule) == "numbers":
        held = held.cast(pl.Float64)
    elif _held_as(field, rule) == "times":
        held = held.cast(pl.Datetime("us"))
    return held, typed


def _bounded(rule: Rule, held: pl.Expr) -> Iterator[tuple[pl.Expr, str, str]]:
    if rule.min is not None:
        yield held >= _bound(rule.min), "below_minimum", f"less than {_shown(rule.min)}"
    if rule.above is not None:
        yield held > _bound(rule.above), "below_minimum", f"not greater than {_shown(rule.above)}"
    if rule.max is not None:
        yield held <= _bound(rule.max), "above_maximum", f"greater than {_shown(rule.max)}"
    if rule.below is not None:
        yield held < _bound(rule.below), "above_maximum", f"not less than {_shown(rule.below)}"


def _bound(value: float | str) -> pl.Expr:
    if isinstance(value, str):
        return pl.lit(moment(value), pl.Datetime("us"))
    return pl.lit(float(value), pl.Float64)


def _series(values: tuple[Any, ...]) -> pl.Series:
    if all(isinstance(one, (bool, str)) for one in values):
        return pl.Series(list(values))
    return pl.Series([float(one) for one in values])


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
