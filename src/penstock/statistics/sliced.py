"""Another statistic once for each slice of the rows: metrics by country, by year, by quartile of age. A statistic."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.registry import find
from penstock.statistic import Statistic
from penstock.statistics.classification import codes
from penstock.statistics.values import Integers, array_of, microseconds

_STATE = pa.schema([("slice", pa.int64()), ("state", pa.large_binary())])


class Sliced(Statistic[dict[int, Any]]):
    """The values of a statistic by slice: the place of the slice -> its value, for slices that have rows.

    Slices are given beforehand, so that which ones there are never depends on the order of the rows. Of texts they are
    the ``values``, by their canonical text, and one more for all others; of numbers and times the ranges between
    ascending ``edges``, each without its lower and with its upper end. Last come the rows without a value.

    Args:
        column: what is sliced by.
        kind: the statistic's name in the registry.
        arguments: what it is made with.
        values: texts, or
        edges: numbers, ascending; times in microseconds since 1970.
        times: whether the edges are times, and so are told as dates and times of day (ISO 8601).

    Raises:
        UsageError: there are neither values nor edges, or both.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch({"color": ["red", "blue", "red"], "x": [1.0, 2.0, 4.0]})
        >>> sliced = Sliced("color", "moments", {"column": "x"}, values=["red"])
        >>> sliced.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> {sliced.names[place]: value.mean for place, value in sliced.value().items()}
        {'red': 2.5, 'all others': 2.0}
    """

    kind = "sliced"

    def __init__(
        self,
        column: str,
        kind: str,
        arguments: Mapping[str, Any],
        values: Sequence[str] = (),
        edges: Sequence[float] = (),
        *,
        times: bool = False,
    ) -> None:
        if bool(values) == bool(edges):
            raise UsageError("slices are of values or of edges", where=f"column {column!r}", expected="one of them")
        self._column = column
        self._kind = kind
        self._arguments = dict(arguments)
        self._values = tuple(values)
        self._edges = tuple(float(edge) for edge in edges)
        self._times = times
        self._empty: Statistic[Any] = find("statistics", kind)(**arguments)
        self._slices: dict[int, Statistic[Any]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that is sliced by, and those of the statistic."""
        return tuple(dict.fromkeys((self._column, *self._empty.columns)))

    @property
    def names(self) -> tuple[str, ...]:
        """What each slice is called; of edges only the last two, ``""`` elsewhere: see `ranges`."""
        return (*self._values, "all others", "no value") if self._values else (*self.ranges, "no value")

    @property
    def ranges(self) -> tuple[str, ...]:
        """The ranges between the edges, as text."""
        shown = [_time(edge) if self._times else _number(edge) for edge in self._edges]
        middle = (f"{low} to {high}" for low, high in pairwise(shown))
        return (f"up to {shown[0]}", *middle, f"above {shown[-1]}")

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {
            "column": self._column,
            "kind": self._kind,
            "arguments": self._arguments,
            "values": list(self._values),
            "edges": list(self._edges),
            "times": self._times,
        }

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch."""
        place = self._places(array_of(batch, self._column))
        for number in np.unique(place).tolist():
            mask = place == number
            rows = batch if mask.all() else batch.filter(mask)
            self._slices.setdefault(number, self._empty.empty()).update(rows)

    def _places(self, values: pa.Array) -> Integers:
        """The slice of each row."""
        missing = np.asarray(values.is_null().to_numpy(zero_copy_only=False))
        if self._values:
            found = codes(values, self._values)
            found[(found < 0) & ~missing] = len(self._values)
            found[missing] = len(self._values) + 1
            return found
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            values = microseconds(values)
        numbers = np.asarray(values.cast(pa.float64()).fill_null(math.nan).to_numpy(zero_copy_only=False))
        found = np.searchsorted(np.array(self._edges), numbers, side="left").astype(np.int64)
        found[missing] = len(self._edges) + 1
        return found

    def merge(self, other: Self) -> None:
        """Take in another's slices."""
        for number, statistic in other._slices.items():
            self._slices.setdefault(number, self._empty.empty()).merge(statistic)

    def value(self) -> dict[int, Any]:
        """The value of each slice that has rows, in the slices' order."""
        return {number: self._slices[number].value() for number in sorted(self._slices)}

    @property
    def slices(self) -> Mapping[int, Statistic[Any]]:
        """The statistic of each slice that has rows, in the slices' order."""
        return {number: self._slices[number] for number in sorted(self._slices)}

    def state(self) -> pa.Table:
        """A row for each slice that has rows: its place, and its own state as an Arrow stream."""
        numbers = sorted(self._slices)
        states = [_bytes(self._slices[number].state()) for number in numbers]
        return pa.table([pa.array(numbers, pa.int64()), pa.array(states, pa.large_binary())], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._slices = {
            row["slice"]: self._empty.from_state(pa.ipc.open_stream(row["state"]).read_all())
            for row in state.to_pylist()
        }

    @property
    def nbytes(self) -> int:
        """What the states hold in memory [bytes]."""
        return sum(statistic.nbytes for statistic in self._slices.values())


def _number(edge: float) -> str:
    """Six digits; whole numbers with all that they have, as far as floats tell whole numbers apart."""
    return f"{edge:.0f}" if edge.is_integer() and abs(edge) < 2**53 else f"{edge:.6g}"


def _time(edge: float) -> str:
    """A time in microseconds since 1970, as text; beyond the years 1 to 9999 as a number."""
    try:
        found = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=edge)
    except OverflowError:
        return _number(edge)
    return found.isoformat()


def _bytes(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())
