"""The kinds of an expression's parts, and what computes them: tree -> Polars expression over a schema's columns.

Part of the expressions (`expression.py`). Kinds are checked as the tree is computed, so that there is one place that
knows both.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, cast

import polars as pl
import pyarrow as pa

from penstock.errors import SchemaError
from penstock.expression_functions import (
    BINARY,
    FUNCTIONS,
    TYPES,
    UNITS,
    WHOLE,
    Function,
    Kind,
    Value,
    computed,
    literal,
    moment,
)
from penstock.expression_tree import (
    Between,
    Binary,
    Call,
    Case,
    Column,
    Constant,
    In,
    IsNull,
    Node,
    Unary,
    complaint,
)
from penstock.schema import ROLE_TYPES, Field, Role, Schema


def kind_of(field: Field) -> Kind | None:
    """What a column's values are in an expression; None for what expressions can't work on."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_boolean(kind):
        return "truth value"
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return None if field.kind is Role.category else "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "time" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else None


_PLURALS = {"number": "a number", "text": "a text", "truth value": "true or false", "time": "a time", "null": "null"}


class Computation:
    """A tree on its way to a Polars expression, its kinds checked as it goes."""

    def __init__(self, text: str, where: str, schema: Schema, inputs: Mapping[str, pl.Expr]) -> None:
        self._text = text
        self._where = where
        self._schema = schema
        self._inputs = inputs

    def _fail(self, at: int, message: str, *, expected: str = "", remedy: str = "") -> NoReturn:
        raise complaint(SchemaError, self._text, at, message, where=self._where, expected=expected, remedy=remedy)

    def value(self, node: Node) -> Value:
        """A node and all below it."""
        match node:
            case Constant():
                return self._constant(node)
            case Column():
                return self._column(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case IsNull():
                operand = self._of_any_kind(node.operand)
                return self._result(node.at, "truth value", _is_null(node.negated), [operand])
            case Between():
                return self._between(node)
            case In():
                return self._in(node)
            case Case():
                return self._case(node)
            case Call():
                return self._call(node)
        raise AssertionError(node)

    # ------------------------------------------------------------------ operands

    def _constant(self, node: Constant) -> Value:
        if node.value is None:
            return literal(None, "null", node.at)
        if isinstance(node.value, bool):
            return literal(node.value, "truth value", node.at)
        return literal(node.value, "text" if isinstance(node.value, str) else "number", node.at)

    def _of_any_kind(self, node: Node) -> Value:
        """A node that is only asked whether it is null: also a column that can't be computed with."""
        if isinstance(node, Column) and node.name in self._schema and kind_of(self._schema[node.name]) is None:
            return Value("other", self._inputs[node.name], node.at)
        return self.value(node)

    def _column(self, node: Column) -> Value:
        if node.name not in self._schema:
            self._no_column(node)
        field = self._schema[node.name]
        kind = kind_of(field)
        if kind is None:
            self._fail(
                node.at,
                f"column {node.name!r} can't be computed with",
                expected="numbers, text, truth values or times",
                remedy=f"it is of role {field.role.value} and type {field.type}"[:120] + ": leave it out, or cast it",
            )
        expr = self._inputs[node.name]
        if field.type != ROLE_TYPES[_ROLES[kind]]:
            expr = expr.cast(TYPES[kind])
        whole = kind == "number" and (field.kind is Role.integer or pa.types.is_integer(field.type))
        return Value(kind, expr, node.at, whole=whole, free=kind == "text" and field.kind is not Role.category)

    def _no_column(self, node: Column) -> NoReturn:
        near = difflib.get_close_matches(node.name, self._schema.names, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else ""
        if node.name.lower() in FUNCTIONS and not near:
            remedy = f"a function has brackets: {node.name.lower()}{FUNCTIONS[node.name.lower()].shown}"
        elif node.quoted and not near:
            remedy = f"a text stands between single quotes: '{node.name}'"
        shown = ", ".join(map(repr, self._schema.names[:12])) + (", ..." if len(self._schema) > 12 else "")
        self._fail(node.at, f"no column {node.name!r}", expected=f"one of {shown}", remedy=remedy)

    def _of(self, value: Value, kind: Kind, message: str, remedy: str = "") -> Value:
        """A value that has to be of a kind; null is of every kind."""
        if value.kind == "null":
            return literal(None, kind, value.at)
        if value.kind != kind:
            self._fail(
                value.at,
                f"{message} {_PLURALS[kind]}, and this is {_PLURALS[value.kind]}",
                remedy=remedy or self._conversion(value, kind),
            )
        return value

    def _conversion(self, value: Value, kind: Kind) -> str:
        if kind == "time" and value.kind == "text" and value.constant and moment(value.literal) is not None:
            return f"write date('{value.literal}')"
        if kind == "text" and value.kind == "number" and value.constant:
            return "a text stands between single quotes"
        if kind == "truth value" and value.kind == "number":
            return "compare it: x > 0"
        if kind == "number" and value.kind == "truth value":
            return "write if(condition, 1, 0)"
        return "cast the column by a step before, or use a function that gives it"

    def _alike(self, values: Sequence[Value], of: str) -> list[Value]:
        """Values that have to be of one kind."""
        kinds = [value.kind for value in values if value.kind != "null"]
        if not kinds:
            return list(values)
        return [self._of(value, kinds[0], f"{of}: as the first is, this has to be") for value in values]

    def _result(
        self,
        at: int,
        kind: Kind,
        build: Callable[[Sequence[Value]], pl.Expr],
        arguments: Sequence[Value],
        whole: bool = False,
    ) -> Value:
        """What is built of arguments; a constant where all of them are."""
        if all(argument.constant for argument in arguments):
            return literal(computed(build, arguments, kind), kind, at)
        free = kind == "text" and any(argument.free for argument in arguments)
        return Value(kind, build(arguments), at, whole=whole and kind == "number", free=free)

    # ------------------------------------------------------------------ signs

    def _unary(self, node: Unary) -> Value:
        operand = self.value(node.operand)
        if node.sign == "not":
            operand = self._of(operand, "truth value", "'not' needs")
            return self._result(node.at, "truth value", lambda given: ~given[0].expr, [operand])
        operand = self._of(operand, "number", f"{node.sign!r} needs")
        if node.sign == "+":
            return operand
        return self._result(node.at, "number", lambda given: -given[0].expr, [operand], operand.whole)

    def _binary(self, node: Binary) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        sign = node.sign

        def build(given: Sequence[Value]) -> pl.Expr:
            return BINARY[sign](given[0], given[1])

        if sign in ("and", "or"):
            pair = [self._of(one, "truth value", f"{sign!r} needs") for one in (left, right)]
            return self._result(node.at, "truth value", build, pair)
        if sign in ("=", "!=", "<", "<=", ">", ">="):
            pair = self._alike([left, right], f"{sign!r} compares like with like")
            if all(one.kind == "null" for one in pair):
                self._fail(node.at, "null is compared with null", remedy="write: x is null")
            if pair[0].kind == "truth value" and sign not in ("=", "!="):
                self._fail(node.at, f"true and false have no order for {sign!r}", remedy="use = or !=")
            return self._result(node.at, "truth value", build, pair)
        remedy = ""
        if sign == "+" and "text" in (left.kind, right.kind):
            remedy = "texts are joined by concat(a, b)"
        elif sign == "-" and "time" in (left.kind, right.kind):
            remedy = "the days from one time to another are days_between(from, to)"
        pair = [self._of(one, "number", f"{sign!r} needs", remedy) for one in (left, right)]
        return self._result(node.at, "number", build, pair, sign in WHOLE and left.whole and right.whole)

    def _between(self, node: Between) -> Value:
        operands = [self.value(one) for one in (node.operand, node.low, node.high)]
        operands = self._ordered(self._alike(operands, "'between' compares like with like"), "between")

        def build(given: Sequence[Value]) -> pl.Expr:
            inside = given[0].expr.is_between(given[1].expr, given[2].expr)
            return ~inside if node.negated else inside

        return self._result(node.at, "truth value", build, operands)

    def _ordered(self, values: list[Value], of: str) -> list[Value]:
        for value in values:
            if value.kind == "truth value":
                self._fail(value.at, f"true and false have no order for {of!r}", expected="numbers, times or texts")
        return values

    def _in(self, node: In) -> Value:
        if not node.options:
            self._fail(node.at, "'in' needs at least one value")
        given = [self.value(node.operand), *map(self.value, node.options)]
        for option in given[1:]:
            if not option.constant or option.kind == "null":
                self._fail(
                    option.at,
                    "what stands in the brackets of 'in' has to be constant",
                    remedy="write = and or; is null",
                )
        operand, *options = self._alike(given, "'in' compares like with like")
        values = pl.Series([option.literal for option in options], dtype=TYPES.get(operand.kind))

        def build(given: Sequence[Value]) -> pl.Expr:
            found = given[0].expr.is_in(values.implode())
            return ~found if node.negated else found

        return self._result(node.at, "truth value", build, [operand])

    def _case(self, node: Case) -> Value:
        conditions = [self._of(self.value(one), "truth value", "'when' needs") for one in node.conditions]
        values = self._alike([self.value(one) for one in (*node.values, node.otherwise)], "'case' gives one kind")

        def build(given: Sequence[Value]) -> pl.Expr:
            count = len(conditions)
            chosen = given[-1].expr
            for condition, value in reversed(list(zip(given[:count], given[count:-1], strict=True))):
                chosen = pl.when(condition.expr).then(value.expr).otherwise(chosen)
            return chosen

        return self._chosen(node.at, values, build, [*conditions, *values])

    def _chosen(
        self, at: int, values: Sequence[Value], build: Callable[[Sequence[Value]], pl.Expr], given: Sequence[Value]
    ) -> Value:
        """The result of a choice among values: of their kind, whole or free text where they are."""
        kind = values[0].kind
        if kind == "null":
            return literal(None, "null", at)
        result = self._result(at, kind, build, given, all(value.whole for value in values))
        return result if result.constant else replace(result, free=any(value.free for value in values))

    # ------------------------------------------------------------------ functions

    def _call(self, node: Call) -> Value:
        function = FUNCTIONS[node.name]
        any_kind = function.takes == ("any",)
        given = [self._of_any_kind(one) if any_kind else self.value(one) for one in node.arguments]
        takes = [*function.takes, *[function.takes[-1]] * max(0, len(given) - len(function.takes))]
        alike = [value for value, kind in zip(given, takes, strict=False) if kind in ("same", "ordered")]
        alike = self._alike(alike, repr(node.name))
        arguments: list[Value] = []
        rest = iter(alike)
        for value, kind in zip(given, takes, strict=False):
            if kind in ("same", "ordered"):
                arguments.append(next(rest))
            else:
                arguments.append(
                    value if kind == "any" else self._of(value, cast("Kind", kind), f"{node.name!r} needs")
                )
        if "ordered" in takes and arguments[0].kind not in ("number", "time", "null"):
            self._fail(arguments[0].at, f"{node.name!r} needs numbers or times", remedy="use case when")
        for place, of in function.constants:
            if place < len(arguments):
                self._check_constant(node, function, arguments[place], of)
        if function.gives == "same":
            return self._chosen(node.at, alike, function.build, arguments)
        numbers = [argument for argument in arguments if argument.kind == "number"]
        whole = all(one.whole for one in numbers) if function.whole is None else function.whole
        return self._result(node.at, cast("Kind", function.gives), function.build, arguments, whole)

    def _check_constant(self, node: Call, function: Function, value: Value, of: str) -> None:
        found = value.literal
        words, right = {
            "whole": ("a whole number from 0", isinstance(found, float) and found.is_integer() and 0 <= found < 2**31),
            "place": ("a whole number from 1", isinstance(found, float) and found.is_integer() and 1 <= found < 2**31),
            "text": ("a text", isinstance(found, str)),
            "bound": ("a number, or null for none", True),
            "unit": (f"one of {', '.join(map(repr, UNITS))}", isinstance(found, str) and found in UNITS),
            "date": ("a date such as '2026-11-20'", isinstance(found, str) and moment(found) is not None),
        }[of]
        if not (value.constant and right):
            self._fail(value.at, f"{node.name!r} needs a constant here: {words}", expected=node.name + function.shown)


_ROLES: dict[str, Role] = {
    "number": Role.number,
    "text": Role.text,
    "truth value": Role.boolean,
    "time": Role.time,
}


def _is_null(negated: bool) -> Callable[[Sequence[Value]], pl.Expr]:
    return lambda given: given[0].expr.is_not_null() if negated else given[0].expr.is_null()
