"""The step that takes times apart: `DateParts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.errors import SchemaError, UsageError
from penstock.expression_functions import moment
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of

Part: TypeAlias = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "weekday",
    "day_of_year",
    "hour",
    "minute",
    "is_weekend",
    "elapsed_seconds",
    "elapsed_days",
]
PARTS: tuple[str, ...] = Part.__args__  # type: ignore[attr-defined]
PERIODS: dict[str, tuple[int, int]] = {
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "weekday": (1, 7),
    "day_of_year": (1, 366),
    "hour": (0, 24),
    "minute": (0, 60),
}
"""Of the parts that come round: the first value, and how many there are."""

_SECOND = 1_000_000  # [us]
_DAY = 86_400  # [s]


@dataclass(frozen=True, slots=True)
class DateParts(Step):
    """Times taken apart, into columns ``NAME_PART``.

    - "year", "quarter", "month", "day", "day_of_year", "hour", "minute": whole numbers, as on a calendar, from 1 (hour
      and minute from 0).
    - "week": of ISO 8601, 1 to 53; the days around New Year may be of the other year's week. "weekday": of ISO 8601,
      from 1 (Monday) to 7.
    - "is_weekend": whether it is Saturday or Sunday.
    - "elapsed_seconds", "elapsed_days": since the moment ``since``, with fractions; negative before it.

    What is in ``cyclic`` becomes two columns ``NAME_PART_sin`` and ``NAME_PART_cos``, so that the last value is beside
    the first: the sine and cosine of 2 pi (value - first) / period, the period being the most values that the part can
    have (12 months, 31 days, 53 weeks, 366 days of a year). Times are taken as they stand, without a zone. A null gives
    nulls.

    Args:
        columns: columns of times.
        parts: the parts wanted, see above.
        cyclic: the parts wanted as sine and cosine: quarter, month, week, day, weekday, day_of_year, hour, minute.
        since: of the elapsed parts, a date or a date and time of day in ISO 8601.
        keep: whether the column itself stays.

    Raises:
        UsageError: an argument is none of these, or no part is wanted.
        SchemaError: a column is not of times, or a new column's name is there already.

    Example:
        >>> DateParts("sold_at", parts=["year", "is_weekend"], cyclic=["month"]).parts
        ('year', 'is_weekend')
    """

    columns: ColumnsLike
    parts: tuple[Part, ...] = ("year", "month", "day", "weekday")
    cyclic: tuple[Part, ...] = ()
    since: str = "1970-01-01"
    keep: bool = False

    name = "date_parts"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "parts", _parts(self.parts, PARTS, "date_parts: parts"))
        object.__setattr__(self, "cyclic", _parts(self.cyclic, tuple(PERIODS), "date_parts: cyclic"))
        if not self.parts and not self.cyclic:
            raise UsageError("no part is wanted", where="date_parts: parts", expected=", ".join(PARTS), got="none")
        if not isinstance(self.since, str) or moment(self.since) is None:
            raise UsageError(
                "not a moment",
                where="date_parts: since",
                expected="a date such as '2026-11-20', or a date and time of day without a zone",
                got=repr(self.since),
            )

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "times")

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns, writes the parts; removes the columns unless they are kept."""
        names = tuple(field.name for field in self._fields(schema))
        made = tuple(field.name for name in names for field in self._made(name))
        left = set(schema.names) - (set() if self.keep else set(names))
        for i, name in enumerate(made):
            if name in left or name in made[:i]:
                raise SchemaError(
                    "a column of the part's name is there already",
                    where="step 'date_parts'",
                    got=repr(name),
                    remedy="rename or drop it before this step",
                )
        return Columns(reads=names, writes=made, removes=() if self.keep else names)

    def _made(self, name: str) -> list[Field]:
        """The columns that a column becomes."""
        fields = []
        for part in self.parts:
            kind, role = pa.float64(), Role.number if part.startswith("elapsed") else Role.integer
            if part == "is_weekend":
                kind, role = pa.bool_(), Role.boolean
            fields.append(Field(f"{name}_{part}", kind, role, f"{part} of {name!r}"))
        for part in self.cyclic:
            for wave in ("sin", "cos"):
                reason = f"{wave} of {part} of {name!r}"
                fields.append(Field(f"{name}_{part}_{wave}", pa.float64(), Role.number, reason))
        return fields

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedDateParts:
        """The step for this schema."""
        touched = self.touches(schema)
        made = {name: self._made(name) for name in touched.reads}
        fields: list[Field] = []
        for field in schema:
            if field.name not in made or self.keep:
                fields.append(field)
            fields += made.get(field.name, ())
        return FittedDateParts(self, Schema(tuple(fields)), touched.reads)


def _parts(given: Any, known: tuple[str, ...], where: str) -> tuple[str, ...]:
    parts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else (given,)
    wrong = [part for part in parts if part not in known]
    if wrong:
        raise UsageError("not a part of a time", where=where, expected=", ".join(known), got=repr(wrong[0]))
    doubled = [part for part in parts if parts.count(part) > 1]
    if doubled:
        raise UsageError("a part stands twice", where=where, got=repr(doubled[0]), remedy="name it once")
    return parts


@dataclass(frozen=True, slots=True)
class FittedDateParts(TableStep):
    """`DateParts` for a schema.

    Attributes:
        times: the columns that are taken apart.
    """

    step: DateParts
    schema: Schema
    times: tuple[str, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The parts."""
        written = {}
        for name in self.times:
            time = inputs[name].cast(pl.Datetime("us"))
            for part in self.step.parts:
                written[f"{name}_{part}"] = self._part(time, part)
            for part in self.step.cyclic:
                first, period = PERIODS[part]
                angle = (self._part(time, part) - first) * (2 * math.pi / period)
                written[f"{name}_{part}_sin"] = angle.sin()
                written[f"{name}_{part}_cos"] = angle.cos()
        return written

    def _part(self, time: pl.Expr, part: str) -> pl.Expr:
        if part == "is_weekend":
            return time.dt.weekday() >= 6
        if part.startswith("elapsed"):
            return elapsed(time, self.step.since, _DAY if part == "elapsed_days" else 1)
        dt = time.dt
        found = {
            "year": dt.year,
            "quarter": dt.quarter,
            "month": dt.month,
            "week": dt.week,
            "day": dt.day,
            "weekday": dt.weekday,
            "day_of_year": dt.ordinal_day,
            "hour": dt.hour,
            "minute": dt.minute,
        }
        return found[part]().cast(pl.Float64)


def elapsed(time: pl.Expr, since: str, seconds: int) -> pl.Expr:
    """How many times so many seconds have passed since a moment, correctly rounded.

    Divided is by NumPy: Polars multiplies with the reciprocal, and of a single row it does not.
    """
    start = moment(since)
    ticks = (time - pl.lit(start, pl.Datetime("us"))).dt.total_microseconds().cast(pl.Float64)
    unit = float(seconds * _SECOND)

    def divide(values: pl.Series) -> pl.Series:
        return pl.Series(np.divide(values.to_numpy(), unit)).fill_nan(None)

    return ticks.map_batches(divide, return_dtype=pl.Float64)
