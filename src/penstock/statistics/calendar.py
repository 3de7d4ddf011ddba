"""When in the day, the week and the year the times of a column lie. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError
from penstock.statistic import Statistic
from penstock.statistics.values import Integers, array_of, microseconds, valid

_PARTS = {"hours": 24, "weekdays": 7, "months": 12}
_STATE = pa.schema(
    [("nulls", pa.int64()), ("midnight", pa.int64()), *((part, pa.list_(pa.int64())) for part in _PARTS)]
)
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class CalendarValue:
    """Counts of times by parts of the calendar, without a time zone.

    Attributes:
        nulls: rows without a value.
        midnight: values that are at midnight exactly: dates, if all are.
        hours: by hour of the day, 24 counts.
        weekdays: from Monday, 7 counts.
        months: from January, 12 counts.
    """

    nulls: int
    midnight: int
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    months: tuple[int, ...]

    @property
    def count(self) -> int:
        """Values that are not null."""
        return sum(self.hours)


class Calendar(Statistic[CalendarValue]):
    """Counts of the times of one column by hour of the day, day of the week and month of the year.

    In the proleptic Gregorian calendar. An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name; times or dates.

    Example:
        >>> from datetime import datetime
        >>> from penstock.batch import RowKeys
        >>> calendar = Calendar("t")
        >>> times = pa.record_batch({"t": [datetime(2024, 2, 29, 13), None]})
        >>> calendar.update(Batch(times, RowKeys.span("", 0, 2)))
        >>> value = calendar.value()
        >>> value.hours.index(1), value.weekdays.index(1), value.months.index(1)
        (13, 3, 1)
    """

    kind = "calendar"

    def __init__(self, column: str) -> None:
        self._column = column
        self._nulls = self._midnight = 0
        self._counts: dict[str, Integers] = {part: np.zeros(size, np.int64) for part, size in _PARTS.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column."""
        return {"column": self._column}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or not of times.
        """
        values = array_of(batch, self._column)
        self._nulls += values.null_count
        if pa.types.is_null(values.type):
            return
        if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
            raise SchemaError(
                "a statistic of times met a column that has none",
                where=f"column {self._column!r}",
                expected="times or dates",
                got=str(values.type),
                remedy="leave the column out, or read it as times: roles",
            )
        times = valid(microseconds(values))
        days = times // _DAY
        inside = times - days * _DAY
        self._midnight += int(np.count_nonzero(inside == 0))
        self._add("hours", inside // _HOUR)
        self._add("weekdays", (days + 3) % 7)  # 1970 began on a Thursday
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        self._add("months", months % 12)

    def _add(self, part: str, places: Integers) -> None:
        self._counts[part] += np.bincount(places, minlength=_PARTS[part])

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._nulls += other._nulls
        self._midnight += other._midnight
        for part in _PARTS:
            self._counts[part] = self._counts[part] + other._counts[part]

    def value(self) -> CalendarValue:
        """The counts so far."""
        parts = (tuple(self._counts[part].tolist()) for part in _PARTS)
        return CalendarValue(self._nulls, self._midnight, *parts)

    def state(self) -> pa.Table:
        """One row: nulls, midnights, the counts by part."""
        columns: list[Any] = [[self._nulls], [self._midnight], *([self._counts[part]] for part in _PARTS)]
        return pa.table(columns, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        row = state.to_pylist()[0]
        self._nulls, self._midnight = row["nulls"], row["midnight"]
        self._counts = {part: np.array(row[part], np.int64) for part in _PARTS}
