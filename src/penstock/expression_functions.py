"""What expressions can compute: the signs and the functions, each as a Polars expression over its arguments.

Part of the expressions (`expression.py`). Numbers are float64 and finite: a result that is not (a division by zero,
the logarithm of -1, an overflow) is null, at the place where it arises, so that nothing is computed from infinity.
No function uses an argument twice: an expression inside another would double with every level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import add, sub
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Kind: TypeAlias = Literal["number", "text", "truth value", "time", "null", "other"]
Floats: TypeAlias = npt.NDArray[np.float64]

TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "text": pl.String(),
    "truth value": pl.Boolean(),
    "time": pl.Datetime("us"),
}
_DAY = 86_400_000_000  # [us]


@dataclass(frozen=True, eq=False)
class Value:
    """A part of an expression, computed.

    Attributes:
        kind: what its values are.
        expr: the values, of the type that `TYPES` has for the kind.
        at: where it stands in the text.
        constant: whether it is the same for every row; then ``literal`` is it.
        literal: the constant, None for null.
        whole: of numbers, whether all of them are whole.
        free: of text, whether it is free text, no category.
    """

    kind: Kind
    expr: pl.Expr
    at: int
    constant: bool = False
    literal: Any = None
    whole: bool = False
    free: bool = False


def literal(value: Any, kind: Kind, at: int) -> Value:
    """A constant."""
    whole = kind in ("number", "null") and (value is None or float(value).is_integer())
    expr = pl.lit(value, TYPES[kind]) if kind != "null" else pl.lit(None)
    return Value(kind, expr, at, True, value, whole)


# ------------------------------------------------------------------ numbers


def _finite_series(values: pl.Series) -> pl.Series:
    total = values.sum()
    if math.isfinite(total or 0.0):  # one pass, and it is so nearly always
        return values
    return values.set(~values.is_finite(), None)


def finite(expr: pl.Expr) -> pl.Expr:
    """Numbers, null in place of what is not finite."""
    return expr.map_batches(_finite_series, return_dtype=pl.Float64)


def _nulled(values: Floats) -> pl.Series:
    return pl.Series(np.where(np.isfinite(values), values, np.nan)).fill_nan(None)


def _by_numpy(operator: Callable[..., Floats], left: Value, right: Value) -> pl.Expr:
    """Division and what is made of it, by NumPy.

    Polars divides many rows by one number by multiplying with the reciprocal (49 // 49 is 0 then), and a single row
    not, so that a row alone would not give what it gives in its batch.
    """

    def compute(values: Sequence[pl.Series]) -> pl.Series:
        given = iter(values)
        a, b = (
            side.literal if side.constant and side.literal is not None else next(given).cast(pl.Float64).to_numpy()
            for side in (left, right)
        )
        with np.errstate(all="ignore"):
            return _nulled(operator(a, b))

    inputs = [side.expr for side in (left, right) if not (side.constant and side.literal is not None)]
    return pl.map_batches(inputs, compute, return_dtype=pl.Float64)


def divided(left: Value, right: Value) -> pl.Expr:
    """The quotient, as IEEE 754 rounds it."""
    return _by_numpy(np.divide, left, right)


def _summed(operator: Callable[..., Any], left: Value, right: Value) -> pl.Expr:
    """The sum or difference. Polars leaves 0 out of many rows' and not of a single row's: -0.0 + 0.0 is 0.0 there."""
    if any(side.constant and side.literal == 0.0 for side in (left, right)):
        return _by_numpy(operator, left, right)
    return finite(operator(left.expr, right.expr))


def _round(arguments: Sequence[Value]) -> pl.Expr:
    digits = int(arguments[1].literal) if len(arguments) > 1 else 0
    return finite(arguments[0].expr.round(digits, mode="half_to_even"))


def _clip(arguments: Sequence[Value]) -> pl.Expr:
    value, low, high = arguments
    return value.expr.clip(low.literal, high.literal)


UNITS = {
    "minute": "1m", "hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y",
}  # fmt: skip
"""The units of `date_trunc`, and what they are to Polars."""


def _days(values: pl.Series) -> pl.Series:
    return pl.Series(values.to_numpy() / _DAY).fill_nan(None)


def _days_between(arguments: Sequence[Value]) -> pl.Expr:
    ticks = (arguments[1].expr - arguments[0].expr).dt.total_microseconds().cast(pl.Float64)
    return ticks.map_batches(_days, return_dtype=pl.Float64)


BINARY: dict[str, Callable[[Value, Value], pl.Expr]] = {
    "+": lambda a, b: _summed(add, a, b),
    "-": lambda a, b: _summed(sub, a, b),
    "*": lambda a, b: finite(a.expr * b.expr),
    "/": divided,
    "//": lambda a, b: _by_numpy(np.floor_divide, a, b),
    "%": lambda a, b: _by_numpy(np.mod, a, b),
    "**": lambda a, b: finite(a.expr.pow(b.expr)),
    "=": lambda a, b: a.expr == b.expr,
    "!=": lambda a, b: a.expr != b.expr,
    "<": lambda a, b: a.expr < b.expr,
    "<=": lambda a, b: a.expr <= b.expr,
    ">": lambda a, b: a.expr > b.expr,
    ">=": lambda a, b: a.expr >= b.expr,
    "and": lambda a, b: a.expr & b.expr,
    "or": lambda a, b: a.expr | b.expr,
}
WHOLE = frozenset({"+", "-", "*", "//", "%"})
"""Signs that give whole numbers of whole numbers."""


# ------------------------------------------------------------------ functions


@dataclass(frozen=True, eq=False)
class Function:
    """One function.

    Attributes:
        takes: the kinds of its arguments. "same": all of these are of one kind, and so is the result where it ``gives``
            "same"; "ordered": the same, of numbers or times; "any": any kind.
        gives: the kind of the result.
        build: the result of the arguments.
        optional: how many of the last arguments may be left out.
        repeats: whether the last argument may come more than once.
        whole: whether the result is whole: always, never, or where the arguments are.
        constants: places of arguments that have to be constants, and of which sort.
        shown: how it is called.
    """

    takes: tuple[str, ...]
    gives: str
    build: Callable[[Sequence[Value]], pl.Expr]
    shown: str
    optional: int = 0
    repeats: bool = False
    whole: bool | None = False
    constants: tuple[tuple[int, str], ...] = ()


def _of_number(build: Callable[[pl.Expr], pl.Expr], whole: bool | None = False) -> Function:
    return Function(("number",), "number", lambda given: finite(build(given[0].expr)), "(number)", whole=whole)


def _of_time(build: Callable[[pl.Expr], pl.Expr]) -> Function:
    return Function(("time",), "number", lambda given: build(given[0].expr).cast(pl.Float64), "(time)", whole=True)


_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def _number(given: Sequence[Value]) -> pl.Expr:
    """The number that a text writes, with a point; null for a text that is none, however Polars would read it."""
    text = given[0].expr.str.strip_chars()
    return finite(pl.when(text.str.contains(_NUMBER)).then(text).cast(pl.Float64, strict=False))


def _of_text(build: Callable[[pl.Expr], pl.Expr]) -> Function:
    return Function(("text",), "text", lambda given: build(given[0].expr), "(text)")


def _substring(arguments: Sequence[Value]) -> pl.Expr:
    length = int(arguments[2].literal) if len(arguments) > 2 else None
    return arguments[0].expr.str.slice(int(arguments[1].literal) - 1, length)


def _if(arguments: Sequence[Value]) -> pl.Expr:
    condition, yes, no = arguments
    return pl.when(condition.expr).then(yes.expr).otherwise(no.expr)


def _exprs(arguments: Sequence[Value]) -> list[pl.Expr]:
    return [argument.expr for argument in arguments]


_TWO_TEXTS = (("text", "text"), "truth value")

FUNCTIONS: dict[str, Function] = {
    "abs": _of_number(lambda x: x.abs(), whole=None),
    "sqrt": _of_number(lambda x: x.sqrt()),
    "exp": _of_number(lambda x: x.exp()),
    "log": _of_number(lambda x: x.log()),
    "log10": _of_number(lambda x: x.log10()),
    "log1p": _of_number(lambda x: x.log1p()),
    "sin": _of_number(lambda x: x.sin()),
    "cos": _of_number(lambda x: x.cos()),
    "tan": _of_number(lambda x: x.tan()),
    "floor": _of_number(lambda x: x.floor(), whole=True),
    "ceil": _of_number(lambda x: x.ceil(), whole=True),
    "sign": _of_number(lambda x: x.sign(), whole=True),
    "round": Function(
        ("number", "number"), "number", _round, "(number, digits)", optional=1, whole=None, constants=((1, "whole"),)
    ),
    "min": Function(
        ("ordered",), "same", lambda given: pl.min_horizontal(_exprs(given)), "(a, b, ...)", repeats=True, whole=None
    ),
    "max": Function(
        ("ordered",), "same", lambda given: pl.max_horizontal(_exprs(given)), "(a, b, ...)", repeats=True, whole=None
    ),
    "clip": Function(
        ("number",) * 3, "number", _clip, "(number, low, high)", whole=None, constants=((1, "bound"), (2, "bound"))
    ),
    "coalesce": Function(
        ("same",), "same", lambda given: pl.coalesce(_exprs(given)), "(a, b, ...)", repeats=True, whole=None
    ),
    "if": Function(("truth value", "same", "same"), "same", _if, "(condition, yes, no)", whole=None),
    "is_missing": Function(("any",), "truth value", lambda given: given[0].expr.is_null(), "(value)"),
    "length": Function(
        ("text",), "number", lambda given: given[0].expr.str.len_chars().cast(pl.Float64), "(text)", whole=True
    ),
    "number": Function(("text",), "number", _number, "(text)"),
    "lower": _of_text(lambda x: x.str.to_lowercase()),
    "upper": _of_text(lambda x: x.str.to_uppercase()),
    "trim": _of_text(lambda x: x.str.strip_chars()),
    "contains": Function(
        *_TWO_TEXTS, lambda given: given[0].expr.str.contains(given[1].expr, literal=True), "(text, part)"
    ),
    "starts_with": Function(*_TWO_TEXTS, lambda given: given[0].expr.str.starts_with(given[1].expr), "(text, part)"),
    "ends_with": Function(*_TWO_TEXTS, lambda given: given[0].expr.str.ends_with(given[1].expr), "(text, part)"),
    "replace": Function(
        ("text",) * 3,
        "text",
        lambda given: given[0].expr.str.replace_all(given[1].literal, given[2].literal, literal=True),
        "(text, 'old', 'new')",
        constants=((1, "text"), (2, "text")),
    ),
    "concat": Function(("text",), "text", lambda given: pl.concat_str(_exprs(given)), "(a, b, ...)", repeats=True),
    "substring": Function(
        ("text", "number", "number"),
        "text",
        _substring,
        "(text, start, length)",
        optional=1,
        constants=((1, "place"), (2, "whole")),
    ),
    "year": _of_time(lambda t: t.dt.year()),
    "month": _of_time(lambda t: t.dt.month()),
    "day": _of_time(lambda t: t.dt.day()),
    "weekday": _of_time(lambda t: t.dt.weekday()),
    "hour": _of_time(lambda t: t.dt.hour()),
    "minute": _of_time(lambda t: t.dt.minute()),
    "second": _of_time(lambda t: t.dt.second()),
    "date": Function(
        ("text",), "time", lambda given: pl.lit(moment(given[0].literal), TYPES["time"]), "('2026-11-20')",
        constants=((0, "date"),),
    ),
    "date_trunc": Function(
        ("text", "time"), "time", lambda given: given[1].expr.dt.truncate(UNITS[given[0].literal]), "('week', time)",
        constants=((0, "unit"),),
    ),
    "days_between": Function(("time", "time"), "number", _days_between, "(from, to)"),
}  # fmt: skip


def moment(text: str) -> datetime | None:
    """A date, or a date and time of day, in ISO 8601 without a zone; None where the text is none.

    Example:
        >>> moment("2026-11-20"), moment("2026-11-20 08:30")
        (datetime.datetime(2026, 11, 20, 0, 0), datetime.datetime(2026, 11, 20, 8, 30))
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return None if found.tzinfo is not None else found


def computed(build: Callable[[Sequence[Value]], pl.Expr], arguments: Sequence[Value], kind: Kind) -> Any:
    """The result of constants, as a constant."""
    rows = [pl.Series(f"{i}", [one.literal], TYPES.get(one.kind, pl.Null())) for i, one in enumerate(arguments)]
    given = [replace(one, expr=pl.col(f"{i}"), constant=False) for i, one in enumerate(arguments)]
    return pl.DataFrame(rows).select(build(given).cast(TYPES[kind]).alias("result")).item()
