"""Rolling: of each row a number from the rows before it, or around it, of the same entity.

A relation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Count, record_batch
from penstock.errors import SchemaError, UsageError
from penstock.relation import Outcome, Relation, Shape, Workbench, names_of, one_of, require
from penstock.relations.runs import Run, runs_of
from penstock.relations.windows import Bounds, Floats, Index, by_rows, by_time, fitted, reduced
from penstock.schema import Field, Role, Schema
from penstock.source import Note

CLOSED = ("right", "left", "both", "neither")
FUNCTIONS = ("median", "mean", "sum", "count", "min", "max", "std", "savitzky_golay")
_UNITS = {"us": 1, "ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6}
_UNITS["w"] = 7 * _UNITS["d"]


def duration(text: str) -> int:
    """A duration such as "24h" or "1d12h" [us].

    Raises:
        UsageError: it is none, or of no length.

    Example:
        >>> duration("1m30s")
        90000000
    """
    parts = re.findall(r"(\d{1,9})(us|ms|s|m|h|d|w)", text)
    total = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < total < 2**60:
        raise UsageError(
            "not a duration",
            where="window",
            expected="such as 24h, 30m or 1d12h (us, ms, s, m, h, d, w)",
            got=repr(text),
        )
    return total


def shifted(offset: int | str) -> int:
    """An offset as it is counted: rows, or, of a duration with or without a minus sign, [us].

    Example:
        >>> shifted("-1m30s"), shifted("0d"), shifted(-7)
        (-90000000, 0, -7)
    """
    if isinstance(offset, int):
        return offset
    if re.fullmatch(r"-?0+(us|ms|s|m|h|d|w)", offset):
        return 0
    try:
        return -duration(offset[1:]) if offset.startswith("-") else duration(offset)
    except UsageError as error:
        raise UsageError(
            error.message, where="offset", expected="such as -14d, 0 or 7d (us, ms, s, m, h, d, w)", got=repr(offset)
        ) from error


@dataclass(frozen=True)
class Rolling(Relation):
    """New columns: at each row a number from a window of rows of the same entity.

    A window ends with the row itself, in the order of ``order`` and then of the rows, so it never looks into the
    future, unless it is ``centered`` or has an ``offset`` above ``-window``. ``closed="left"`` leaves the row itself
    out: what was known before it. At the edges of an entity windows are shorter: also those that look ahead, so leave
    out the last rows, whose future is not complete. Missing values are left out; where fewer than ``min_rows`` values
    are in the window, the result is missing, but for "count". A row whose ``order`` is missing gets a missing value,
    and is in no window; how many there are is told. Of windows of time all rows have to fit in memory that are in one
    of them.

    Ends of windows are those of pandas and Polars. With a duration a window is an interval of times, so
    ``closed="left"`` leaves out all rows of the row's own time, as in Polars.

    Formula:
        mean             sum(x) / n, over the n values of the window
        std              sqrt(sum((x - mean)^2) / (n - 1))
        savitzky_golay   p(0), the polynomial p of degree `polyorder` with the
                         least sum((p(i) - x[i])^2), i counted from the row

        Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares procedures",
        Analytical Chemistry 36, 1964.

    Args:
        columns: the columns of numbers, or with "count" any.
        function: "median", "mean", "sum", "count", "min", "max", "std" (of the sample), or "savitzky_golay", the value
            at the row of the polynomial that fits its window best.
        window: how many rows, the row itself included; or a duration such as "24h": then ``order`` is a column of
            times, and the window holds those later than that before the row's, up to the row.
        by: the columns that say the entity; missing values are an entity of their own. None: all rows are one.
        order: the column that orders the rows of an entity, ascending; None for the order that they have. Equal ones
            keep that order.
        centered: whether the window lies around the row; of an even number of rows one more before it. Of a duration
            one half lies before and one half after.
        polyorder: the degree of the polynomial.
        min_rows: the fewest values; with 0, the "sum" of none is 0.
        suffix: what follows the column's name in that of the new one; "" writes over the column. None for
            ``_FUNCTION_WINDOW``.
        closed: which ends belong to the window: "right", "left", "both" or "neither". Of rows, "right" is the row and
            those before it, "left" as many before it without it, "both" one more, "neither" one less.
        offset: where the window begins, seen from the row; None for ``-window``. A number of rows, or a duration with
            or without a minus sign: 0 looks ahead, to the rows after this one, such as for a target.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Rolling("price", "mean", "7d", by="shop", order="day").suffix
        '_mean_7d'
        >>> Rolling("sold", "sum", "7d", "shop", "day", closed="left", suffix="_last_week").closed  # without this day
        'left'
        >>> Rolling("sold", "sum", "7d", "shop", "day", offset=0, suffix="_next_week").offset  # a target
        0
    """

    columns: str | tuple[str, ...]
    function: Literal["median", "mean", "sum", "count", "min", "max", "std", "savitzky_golay"]
    window: int | str
    by: str | tuple[str, ...] = ()
    order: str | None = None
    centered: bool = False
    polyorder: int = 2
    min_rows: int = 1
    suffix: str | None = None
    closed: Literal["right", "left", "both", "neither"] = "right"
    offset: int | str | None = None

    name = "rolling"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", names_of(self.columns, "columns"))
        object.__setattr__(self, "by", names_of(self.by, "by", empty=True))
        one_of(self.function, FUNCTIONS, "function")
        if isinstance(self.window, str):
            duration(self.window)
            if self.order is None or self.function == "savitzky_golay":
                needs = "a number of rows" if self.order else "order: a column of times"
                raise UsageError("a window of time", where="window", expected=needs, got=repr(self.window))
        for name, least in (("window", 1), ("polyorder", 0), ("min_rows", 0)):
            value = getattr(self, name)
            if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UsageError("out of range", where=name, expected=f"a whole number from {least}", got=repr(value))
        one_of(self.closed, CLOSED, "closed")
        self._check_offset()
        most = self._bounds.rows if isinstance(self.window, int) else self.min_rows
        if self.min_rows > most:
            raise UsageError(
                "more rows than the window has",
                where="min_rows",
                expected=f"at most {most}",
                got=str(self.min_rows),
            )
        if self.function == "savitzky_golay" and int(self.window) <= self.polyorder:
            raise UsageError(
                "the window is too short for the polynomial",
                where="window",
                expected=f"more than polyorder, {self.polyorder}",
                got=repr(self.window),
            )
        if self.suffix is None:
            object.__setattr__(self, "suffix", f"_{self.function}_{self.window}")

    def _check_offset(self) -> None:
        if (self.centered or self.function == "savitzky_golay") and (self.closed != "right" or self.offset is not None):
            raise UsageError(
                "where this window lies is said already",
                where="offset" if self.offset is not None else "closed",
                expected="a window that is not centered, and no savitzky_golay",
                got=repr(self.closed if self.offset is None else self.offset),
                remedy="leave it out",
            )
        if self.offset is None or (self.offset == 0 and not isinstance(self.offset, bool)):
            return
        if isinstance(self.window, int):
            if isinstance(self.offset, bool) or not isinstance(self.offset, int) or abs(self.offset) >= 2**31:
                got = repr(self.offset)
                raise UsageError("not a number of rows", where="offset", expected="such as -7, 0 or 1", got=got)
            return
        if not isinstance(self.offset, str):
            raise UsageError("not a duration", where="offset", expected="such as -14d, 0 or 7d", got=repr(self.offset))
        shifted(self.offset)

    @property
    def _bounds(self) -> Bounds:
        """Where windows begin and end, seen from the row: in rows, or [us]."""
        span = duration(self.window) if isinstance(self.window, str) else self.window
        if self.centered:
            ahead = span // 2 if isinstance(self.window, str) else (span - 1) // 2
            return Bounds(ahead - span, ahead, left=False, right=True)
        low = -span if self.offset is None else shifted(self.offset)
        return Bounds(low, low + span, left=self.closed in ("left", "both"), right=self.closed in ("right", "both"))

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        order = () if self.order is None else (self.order,)
        return names_of(self.columns, "columns"), names_of(self.by, "by", empty=True), order

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The incoming columns and the new ones."""
        columns, by, order = self._names()
        for names, where in ((columns, "columns"), (by, "by"), (order, "order")):
            require(incoming, names, f"rolling: {where}")
        for name in columns if self.function != "count" else ():
            if not pa.types.is_float64(incoming[name].type):
                raise SchemaError(
                    f"no {self.function} of these values",
                    where="rolling: columns",
                    expected="a column of numbers",
                    got=f"{name!r} ({incoming[name].kind.value})",
                    remedy=f"roles: {{{name}: number}}, if its values are numbers",
                )
        for name in order:
            timed = pa.types.is_timestamp(incoming[name].type)
            if not timed and (isinstance(self.window, str) or not pa.types.is_float64(incoming[name].type)):
                raise SchemaError(
                    "rows can't be ordered by this column",
                    where="rolling: order",
                    expected="a column of times" + ("" if isinstance(self.window, str) else ", or of numbers"),
                    got=f"{name!r} ({incoming[name].kind.value})",
                    remedy=f"roles: {{{name}: time}}, if its values are times",
                )
        role = Role.integer if self.function == "count" else Role.number
        made = [
            Field(f"{n}{self.suffix}", pa.float64(), role, f"{self.function} of {self.window} of {n!r}")
            for n in columns
        ]
        new = {one.name for one in made}
        taken = sorted(new & set(incoming.names)) if self.suffix else []
        if taken:
            raise SchemaError(
                "the new column is there already", where="rolling", got=repr(taken[0]), remedy="give another suffix"
            )
        reads = tuple(dict.fromkeys((*columns, *by, *order)))
        return Shape(incoming.put(*made), reads, {name: name for name in incoming.names if name not in new})

    def run(self, bench: Workbench) -> Outcome:
        """Compute the windows, entity by entity, and lay the results down in the order of the rows."""
        columns, by, order = self._names()
        rows = bench.rows.rows
        found = [bench.array(f"window-{i}.npy", "float64", rows) for i in range(len(columns))]
        for array in found:
            array[:] = np.nan
        work = _Work(self, columns, order, self._bounds)
        # A row without an order stands in no window; c0, c1, ... are the columns of `by`, then of `order`.
        read = tuple(dict.fromkeys((*by, *order, *columns)))
        where = f"c{read.index(order[0])} IS NOT NULL" if order else ""
        met = 0
        for part in runs_of(bench, by, columns, order, where):
            met += len(part.positions)
            for positions, results in work.take(part):
                for array, result in zip(found, results, strict=True):
                    array[positions] = result
        for positions, results in work.end():
            for array, result in zip(found, results, strict=True):
                array[positions] = result
        beside = {}
        for number, (name, array) in enumerate(zip(columns, found, strict=True)):
            schema = pa.schema([(name, pa.float64())])
            bench.write(f"window-{number}.arrow", _batches(array, name), schema)
            beside[f"{name}{self.suffix}"] = ((f"window-{number}.arrow",), name)
        return Outcome(rows, Count(self.name, rows_in=rows, out=rows), None, beside, notes=self._said(rows - met, rows))

    def _said(self, lacking: int, rows: int) -> tuple[Note, ...]:
        if not lacking:
            return ()
        text = f"{lacking:,} of {rows:,} rows have no {self.order!r}"
        return (Note(self.name, text, "they get a missing value, and are in no window", "a filter before it"),)


def _batches(values: npt.NDArray[np.float64], name: str) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(values), 2**18):
        array = pa.array(np.asarray(values[start : start + 2**18]), from_pandas=True)
        yield record_batch([array], [name], len(array))


@dataclass
class _Rows:
    """Rows next to one another: of which entity, when, where they belong, their values, and whether they are done."""

    group: Index
    times: Index
    positions: Index
    values: list[Floats]
    done: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.group)

    def after(self, start: int) -> _Rows:
        """The rows from one on."""
        values = [column[start:] for column in self.values]
        return _Rows(self.group[start:], self.times[start:], self.positions[start:], values, self.done[start:])


@dataclass
class _Work:
    """Windows under way: the rows that windows to come still need are kept from part to part."""

    rolling: Rolling
    columns: tuple[str, ...]
    order: tuple[str, ...]
    bounds: Bounds
    kept: _Rows | None = field(default=None)

    def take(self, part: Run) -> Iterator[tuple[Index, list[Floats]]]:
        """Take in a part; gives the rows whose windows are complete."""
        group = np.repeat(part.first, part.lengths)
        times = np.zeros(len(group), np.int64)
        if isinstance(self.rolling.window, str):
            times = np.asarray(part.columns[self.order[0]].cast(pa.int64()).to_numpy())
        values = [_floats(part.columns[name]) for name in self.columns]
        rows = _Rows(group, times, part.positions, values, np.zeros(len(group), np.bool_))
        yield from self._computed(rows if self.kept is None else _concat(self.kept, rows), last=False)

    def end(self) -> Iterator[tuple[Index, list[Floats]]]:
        """The rows that are left."""
        if self.kept is not None and len(self.kept):
            yield from self._computed(self.kept, last=True)

    def _computed(self, rows: _Rows, *, last: bool) -> Iterator[tuple[Index, list[Floats]]]:
        starts = np.flatnonzero(np.concatenate(([True], rows.group[1:] != rows.group[:-1])))
        lengths = np.diff(np.append(starts, len(rows)))
        begins, ends = np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)
        first, stops = self._windows(rows, begins, ends)
        ready = ~rows.done
        keep = len(rows)
        if not last:
            tail = np.arange(int(starts[-1]), len(rows))
            waiting = tail[self._waits(rows, tail)]
            ready[waiting] = False
            keep = self._still_needed(rows, tail, waiting, first)
        where = np.flatnonzero(ready)
        if len(where):
            yield rows.positions[where], [self._of(column, first[where], stops[where], where) for column in rows.values]
        rows.done[where] = True
        self.kept = rows.after(keep)

    def _windows(self, rows: _Rows, begins: Index, ends: Index) -> tuple[Index, Index]:
        if isinstance(self.rolling.window, str):
            return by_time(begins, ends, rows.times, self.bounds)
        return by_rows(begins, ends, self.bounds)

    def _waits(self, rows: _Rows, tail: Index) -> npt.NDArray[np.bool_]:
        """Of the last entity's rows, which may still get rows into their windows."""
        if self.bounds.high <= 0:
            return np.zeros(len(tail), np.bool_)
        if isinstance(self.rolling.window, str):
            return np.asarray(rows.times[tail] + self.bounds.high >= rows.times[-1])
        return tail + self.bounds.high >= len(rows)

    def _still_needed(self, rows: _Rows, tail: Index, waiting: Index, first: Index) -> int:
        """The first row that is not done, or that a window to come may hold."""
        keep = min(int(waiting[0]), int(first[waiting[0]])) if len(waiting) else len(rows)
        if isinstance(self.rolling.window, str):
            oldest = rows.times[-1] + self.bounds.low
            return min(keep, int(tail[0]) + int(np.searchsorted(rows.times[tail], oldest, "left")))
        return min(keep, max(int(tail[0]), len(rows) + self.bounds.low))

    def _of(self, values: Floats, starts: Index, stops: Index, places: Index) -> Floats:
        rolling = self.rolling
        if rolling.function == "savitzky_golay":
            return fitted(values, starts, stops, places, polyorder=rolling.polyorder, least=rolling.min_rows)
        return reduced(rolling.function, values, starts, stops, rolling.min_rows)


def _floats(values: Any) -> Floats:
    """Numbers with NaN for missing ones; of other values, whether they are there."""
    if not pa.types.is_floating(values.type):
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), 1.0, np.nan)
    return np.array(values.to_numpy(zero_copy_only=False), np.float64)


def _concat(one: _Rows, other: _Rows) -> _Rows:
    return _Rows(
        np.concatenate([one.group, other.group]),
        np.concatenate([one.times, other.times]),
        np.concatenate([one.positions, other.positions]),
        [np.concatenate(pair) for pair in zip(one.values, other.values, strict=True)],
        np.concatenate([one.done, other.done]),
    )
