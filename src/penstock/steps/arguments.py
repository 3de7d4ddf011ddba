"""What all steps ask of their arguments: which columns are meant, what their values are, whether a range is one.

Beside the steps, and no step itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector

Family: TypeAlias = Literal["numbers", "truth values", "text", "times", "codes", "other values"]


def family(field: Field) -> Family:
    """What a column's values are for arithmetic, whatever they are used for.

    "text" is every text, categories included; "codes" are categories that were turned into whole numbers.

    Example:
        >>> family(Field("age", pa.float64(), Role.integer))
        'numbers'
        >>> family(Field("color", pa.int32(), Role.category))
        'codes'
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_boolean(kind):
        return "truth values"
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return "codes" if field.kind is Role.category else "numbers"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "times"
    return "other values"


def chosen(columns: ColumnsLike, schema: Schema) -> tuple[Field, ...]:
    """The fields that a selection meets, in the schema's order.

    Raises:
        SchemaError: it meets none.
    """
    return tuple(schema[name] for name in as_selector(columns).resolve(schema))


def chosen_of(columns: ColumnsLike, schema: Schema, step: str, *families: Family) -> tuple[Field, ...]:
    """The fields that a selection meets, all of them of one of these families.

    Raises:
        SchemaError: it meets none, or one of another family.

    Example:
        >>> chosen_of("color", Schema((Field("color", pa.string(), Role.category),)), "standardize", "numbers")
        Traceback (most recent call last):
        penstock.errors.SchemaError: step 'standardize', column 'color': not a column that the step can work on
          expected: numbers
          got:      text (string, role category)
          remedy:   leave it out of `columns`, or cast it first
    """
    fields = chosen(columns, schema)
    for field in fields:
        if family(field) not in families:
            raise SchemaError(
                "not a column that the step can work on",
                where=f"step {step!r}, column {field.name!r}",
                expected=" or ".join(families),
                got=f"{family(field)} ({field.type}, role {field.role.value})",
                remedy="leave it out of `columns`, or cast it first",
            )
    return fields


def retyped(field: Field, kind: pa.DataType, values: Role) -> Field:
    """The field with values of another type. What it is used for stays: a target is still a target."""
    if field.role.is_feature:
        return Field(field.name, kind, values, field.reason)
    return replace(field, type=kind, categories=None, values=values)


def float_field(field: Field) -> Field:
    """The field as numbers with fractions: float32 stays float32, all else becomes float64."""
    return retyped(field, pa.float32() if field.type == pa.float32() else pa.float64(), Role.number)


def largest(field: Field) -> float:
    """The greatest finite number of a column of floats."""
    return float(np.finfo(np.float32 if field.type == pa.float32() else np.float64).max)


def as_float64(value: pl.Expr, field: Field) -> pl.Expr:
    """The values of a column of numbers as float64, so that float32 columns are computed in full precision too."""
    return value if field.type == pa.float64() else value.cast(pl.Float64)


def as_type(value: pl.Expr, field: Field) -> pl.Expr:
    """Numbers (float64) in the type of a field; for whole numbers rounded."""
    if field.type == pa.float64():
        return value
    if field.type == pa.float32():
        return value.cast(pl.Float32)
    return value.round().cast(_INTEGERS[field.type], strict=False)


_INTEGERS: dict[pa.DataType, type[pl.DataType]] = {
    pa.int8(): pl.Int8,
    pa.int16(): pl.Int16,
    pa.int32(): pl.Int32,
    pa.int64(): pl.Int64,
    pa.uint8(): pl.UInt8,
    pa.uint16(): pl.UInt16,
    pa.uint32(): pl.UInt32,
    pa.uint64(): pl.UInt64,
}


def ascending(pair: Any, *, where: str, low: float, high: float) -> tuple[float, float]:
    """Two finite numbers, the first below the second, both within ``low`` and ``high``.

    Raises:
        UsageError: they are not.
    """
    numbers = tuple(pair) if isinstance(pair, (tuple, list)) else ()
    good = len(numbers) == 2 and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
    if not good or not (low <= numbers[0] < numbers[1] <= high) or not np.isfinite(numbers).all():
        bounds = "" if np.isinf(high) else f" from {low:g} to {high:g}"
        raise UsageError(
            "not a range", where=where, expected=f"two numbers{bounds}, the first below the second", got=repr(pair)
        )
    return float(numbers[0]), float(numbers[1])


def truth_value(where: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        raise UsageError("not a truth value", where=where, expected="true or false", got=repr(value))


def whole_number(where: str, value: Any, low: int, high: int | None = None) -> None:
    """Refuse what is no whole number from ``low`` to ``high``.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        expected = f"a whole number from {low}" + ("" if high is None else f" to {high:,}")
        raise UsageError("out of range", where=where, expected=expected, got=repr(value))
