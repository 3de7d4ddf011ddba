"""Steps about whole columns: `Select` and `Drop` say which there are, `Rename` what they are called, `Cast` of which
type they are.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import polars as pl
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Check, Columns, Step, TableStep, Use
from penstock.steps.arguments import Family, chosen, family, retyped

TypeName: TypeAlias = Literal["float32", "float64", "int32", "int64", "boolean", "text", "category", "time"]

_TYPES: dict[str, tuple[pa.DataType, Role]] = {
    "float32": (pa.float32(), Role.number),
    "float64": (pa.float64(), Role.number),
    "int32": (pa.int32(), Role.integer),
    "int64": (pa.int64(), Role.integer),
    "boolean": (pa.bool_(), Role.boolean),
    "text": (pa.string(), Role.text),
    "category": (pa.string(), Role.category),
    "time": (pa.timestamp("us"), Role.time),
}
_NUMBERS = ("float32", "float64", "int32", "int64")
_TEXTS = ("text", "category")
_CASTABLE: dict[Family, tuple[str, ...]] = {
    "numbers": tuple(_TYPES),
    "truth values": (*_NUMBERS, "boolean", *_TEXTS),
    "text": tuple(_TYPES),
    "times": (*_NUMBERS, *_TEXTS, "time"),
    "codes": _NUMBERS,
    "other values": (),
}
_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800  # [s] since 1970
_EXACT = 2.0**53
_ALWAYS_KEPT = (Role.target, Role.weight, Role.group)


@dataclass(frozen=True, slots=True)
class Select(Step):
    """Keep only these columns, in the order they come in.

    Target, weight and group stay, chosen or not: a model learns by them, not from them.

    Args:
        columns: the columns to keep.

    Raises:
        SchemaError: no column is met.

    Example:
        >>> Select(["age", "price_*"]).columns.patterns
        ('age', 'price_*')
    """

    columns: ColumnsLike

    name = "select"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))

    def touches(self, schema: Schema) -> Columns:
        """Removes the other columns."""
        kept = {field.name for field in chosen(self.columns, schema)} | set(schema.of_role(*_ALWAYS_KEPT))
        return Columns(reads=(), writes=(), removes=tuple(name for name in schema.names if name not in kept))

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedColumns:
        """The step for this schema."""
        return FittedColumns(self, schema.without(self.touches(schema).removes))


@dataclass(frozen=True, slots=True)
class Drop(Step):
    """Leave these columns out.

    Args:
        columns: the columns to leave out.

    Raises:
        SchemaError: no column is met.

    Example:
        >>> Drop("comment").columns.patterns
        ('comment',)
    """

    columns: ColumnsLike

    name = "drop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))

    def touches(self, schema: Schema) -> Columns:
        """Removes the columns."""
        return Columns(reads=(), writes=(), removes=tuple(field.name for field in chosen(self.columns, schema)))

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedColumns:
        """The step for this schema."""
        return FittedColumns(self, schema.without(self.touches(schema).removes))


@dataclass(frozen=True, slots=True)
class FittedColumns(TableStep):
    """`Select` or `Drop` for a schema."""

    step: Select | Drop
    schema: Schema

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Nothing is written."""
        return {}


@dataclass(frozen=True, slots=True)
class Rename(Step):
    """Columns under other names, at their places. All are renamed at once, so that two can change their names.

    Args:
        columns: the new name of each column, by its old one.

    Raises:
        UsageError: no name is given, or one new name for two columns.
        SchemaError: a column is not there, is of vectors, or a new name is one that is there and stays.

    Example:
        >>> Rename({"Sex": "sex", "Age (years)": "age"}).columns["Sex"]
        'sex'
    """

    columns: Mapping[str, str]

    name = "rename"

    def __post_init__(self) -> None:
        given = self.columns
        good = isinstance(given, Mapping) and all(isinstance(name, str) for pair in given.items() for name in pair)
        if not good or not given:
            raise UsageError(
                "not names", where="rename: columns", expected="a mapping of old names to new ones", got=repr(given)
            )
        doubled = [name for name, count in Counter(given.values()).items() if count > 1]
        if doubled:
            raise UsageError(
                "two columns would have one name",
                where="rename: columns",
                got=repr(doubled[0]),
                remedy="give each column a name of its own",
            )
        object.__setattr__(self, "columns", dict(given))

    def touches(self, schema: Schema) -> Columns:
        """Reads and removes the old names, writes the new ones."""
        for name in self.columns:
            require(schema, name, "step 'rename'")
            if schema[name].type == SPARSE:
                raise SchemaError(
                    "a column of vectors keeps its name",
                    where="step 'rename'",
                    got=repr(name),
                    remedy="rename the column that the vectors are made of, before the step that makes them",
                )
        taken = [new for new in self.columns.values() if new in schema and new not in self.columns]
        if taken:
            raise SchemaError(
                "a column of the new name is there already",
                where="step 'rename'",
                got=repr(taken[0]),
                remedy="rename that one too, or drop it before this step",
            )
        changed = {old: new for old, new in self.columns.items() if old != new}
        removed = tuple(name for name in changed if name not in changed.values())
        return Columns(reads=tuple(changed), writes=tuple(changed.values()), removes=removed)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedRename:
        """The step for this schema."""
        self.touches(schema)
        fields = (replace(field, name=self.columns.get(field.name, field.name)) for field in schema)
        return FittedRename(self, Schema(tuple(fields)))


@dataclass(frozen=True, slots=True)
class FittedRename(TableStep):
    """`Rename` for a schema."""

    step: Rename
    schema: Schema

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The columns under their new names."""
        return {new: inputs[old] for old, new in self.step.columns.items() if old != new}

    def inverse(self, batch: Batch) -> Batch:
        """The columns under their old names."""
        old = {new: old for old, new in self.step.columns.items()}
        return batch.with_columns(
            batch.columns.rename_columns([old.get(name, name) for name in batch.columns.schema.names])
        )


def require(schema: Schema, name: str, where: str) -> None:
    """Refuse a name that is none of the columns.

    Raises:
        SchemaError: it is not; the message gives the nearest.
    """
    if name not in schema:
        near = difflib.get_close_matches(name, schema.names, n=1)
        shown = ", ".join(map(repr, schema.names[:12])) + (", ..." if len(schema) > 12 else "")
        raise SchemaError(
            "no such column",
            where=where,
            expected=f"one of {shown}",
            got=repr(name),
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )


@dataclass(frozen=True, slots=True)
class Cast(Step):
    """Columns as another type. A row with a value that can't be cast is rejected, with the code "not_castable".

    - To "float32", "float64": text is read as a decimal number, spaces around it skipped; false and true are 0 and 1;
      a time is the seconds since 1970-01-01T00:00. What is too large for the type can't be cast.
    - To "int32", "int64": the same, and a fraction can't be cast ("3.0" is 3, "3.5" is not castable).
    - To "boolean": the numbers 0 and 1, and the texts true, false, yes, no, 1, 0, in small or large letters.
    - To "text", "category": a whole number without ".0", another number in the fewest digits that give it back, a time
      as ISO 8601.
    - To "time" (microseconds): text in ISO 8601 (a date, or date and time of day, without a zone); a number as
      seconds since 1970-01-01T00:00, of the years 1 to 9999.

    Nulls stay null. What the column is used for stays: a target is still a target.

    Args:
        columns: columns of any of these types.
        type: the name of the new type.

    Raises:
        UsageError: the type is none of these.
        SchemaError: a column is of a type that has no such cast.

    Example:
        >>> Cast("zip", "category").type
        'category'
    """

    columns: ColumnsLike
    type: TypeName

    name = "cast"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.type not in _TYPES:
            raise UsageError(
                "not a type", where="cast: type", expected=", ".join(get_args(TypeName)), got=repr(self.type)
            )

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = chosen(self.columns, schema)
        for field in fields:
            if self.type not in _CASTABLE[family(field)]:
                raise SchemaError(
                    f"there is no cast of {family(field)} to {self.type}",
                    where=f"step 'cast', column {field.name!r}",
                    expected=", ".join(_CASTABLE[family(field)]) or "another column",
                    got=f"{field.type}, role {field.role.value}",
                    remedy="leave it out of `columns`",
                )
        return fields

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns; rows may go."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(reads=names, writes=names, rows=True)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedCast:
        """The step for this schema."""
        fields = self._fields(schema)
        kind, role = _TYPES[self.type]
        return FittedCast(self, schema.put(*(retyped(field, kind, role) for field in fields)), fields)


@dataclass(frozen=True, slots=True)
class FittedCast(TableStep):
    """`Cast` for a schema.

    Attributes:
        fields: the columns as they come in.
    """

    step: Cast
    schema: Schema
    fields: tuple[Field, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The columns of the new type."""
        return {field.name: cast(inputs[field.name], family(field), self.step.type) for field in self.fields}

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """That no value becomes null."""
        return tuple(
            Check(
                _castable(inputs[field.name], family(field), self.step.type),
                "not_castable",
                field.name,
                f"not a value of type {self.step.type}",
            )
            for field in self.fields
            if not (family(field) == "text" and self.step.type in _TEXTS)
        )


def _castable(value: pl.Expr, kind: Family, to: TypeName) -> pl.Expr:
    """Whether a value can be cast; null counts as castable."""
    if kind == "numbers" and to == "float32":
        return ~value.cast(pl.Float32).is_infinite()
    return value.is_null() | cast(value, kind, to).is_not_null()


def cast(value: pl.Expr, kind: Family, to: TypeName) -> pl.Expr:
    """A value as another type; where it can't be cast, null, or infinite for a number too large for float32."""
    if kind == "text":
        return _from_text(value, to)
    if to == "time":
        return value.cast(pl.Datetime("us")) if kind == "times" else _time_from_seconds(value.cast(pl.Float64))
    if kind == "times":
        stamp = value.cast(pl.Datetime("us"))
        if to in _TEXTS:
            return stamp.dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
        ticks = stamp.dt.epoch("us")
        value = ticks // 1_000_000 + (ticks % 1_000_000) * 1e-6  # so that whole seconds are exact
    if kind == "truth values" and to in ("boolean", *_TEXTS):
        return value if to == "boolean" else value.cast(pl.String)
    return _from_number(value, to)


def _from_number(value: pl.Expr, to: TypeName) -> pl.Expr:
    number = value.cast(pl.Float64)
    if to == "float64":
        return number
    if to == "float32":
        return value.cast(pl.Float32)
    if to == "boolean":
        return pl.when(number == 1).then(pl.lit(True)).when(number == 0).then(pl.lit(False))
    if to in ("int32", "int64"):
        whole = value.cast(pl.Int32 if to == "int32" else pl.Int64, strict=False)
        return pl.when(number == number.floor()).then(whole)
    digits = value.cast(pl.Int64, strict=False).cast(pl.String)
    return pl.when((number == number.floor()) & (number.abs() < _EXACT)).then(digits).otherwise(value.cast(pl.String))


def _from_text(value: pl.Expr, to: TypeName) -> pl.Expr:
    if to in _TEXTS:
        return value
    bare = value.str.strip_chars()
    if to == "boolean":
        small = bare.str.to_lowercase()
        yes, no = small.is_in(["true", "yes", "1"]), small.is_in(["false", "no", "0"])
        return pl.when(yes).then(pl.lit(True)).when(no).then(pl.lit(False))
    if to == "time":
        return pl.coalesce([bare.str.strptime(pl.Datetime("us"), form, strict=False) for form in _TIME_FORMATS])
    number = bare.cast(pl.Float64, strict=False)
    number = pl.when(number.is_finite()).then(number)
    if to in ("float32", "float64"):
        short = _from_number(number, to)
        return pl.when(short.is_finite()).then(short)
    exact = bare.cast(pl.Int32 if to == "int32" else pl.Int64, strict=False)  # beyond 2^53 only digits are exact
    return pl.coalesce([exact, _from_number(number, to)])


def _time_from_seconds(seconds: pl.Expr) -> pl.Expr:
    ticks = (seconds * 1e6).round().cast(pl.Int64, strict=False)
    return pl.when((seconds >= _YEAR_1) & (seconds < _YEAR_10000)).then(ticks.cast(pl.Datetime("us")))
