"""How many rows a column has, and how many of them are null. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from penstock.batch import Batch
from penstock.statistic import Statistic
from penstock.statistics.values import array_of

_STATE = pa.schema([("rows", pa.int64()), ("nulls", pa.int64())])


@dataclass(frozen=True, slots=True)
class CountValue:
    """How many rows there are.

    Attributes:
        rows: all rows, nulls included.
        nulls: rows without a value.
    """

    rows: int
    nulls: int

    @property
    def missing(self) -> float:
        """The share of rows without a value, 0 to 1; nan where there are no rows."""
        return self.nulls / self.rows if self.rows else float("nan")


class Count(Statistic[CountValue]):
    """Rows and nulls of one column, of any type. An integer state: any grouping gives the same bytes.

    Args:
        column: the column's name.

    Example:
        >>> from penstock.batch import RowKeys
        >>> count = Count("x")
        >>> count.update(Batch(pa.record_batch({"x": pa.array(["a", None])}), RowKeys.span("", 0, 2)))
        >>> count.value()
        CountValue(rows=2, nulls=1)
    """

    kind = "count"

    def __init__(self, column: str) -> None:
        self._column = column
        self._rows = 0
        self._nulls = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column."""
        return {"column": self._column}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch."""
        values = array_of(batch, self._column)
        self._rows += len(values)
        self._nulls += nulls_of(values)

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._rows += other._rows
        self._nulls += other._nulls

    def value(self) -> CountValue:
        """The counts so far."""
        return CountValue(self._rows, self._nulls)

    def state(self) -> pa.Table:
        """One row: rows, nulls."""
        return pa.table({"rows": [self._rows], "nulls": [self._nulls]}, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        row = state.to_pylist()[0]
        self._rows, self._nulls = row["rows"], row["nulls"]

    def with_nulls_as(self, value: Any) -> Self | None:
        """The same rows, none of them null; None where ``value`` is None itself."""
        if value is None:
            return None
        new = self.empty()
        new._rows = self._rows
        return new


def nulls_of(values: pa.Array) -> int:
    """How many rows have no value; also those whose entry of a dictionary is null."""
    if pa.types.is_dictionary(values.type) and values.dictionary.null_count:
        values = values.dictionary_decode()
    return int(values.null_count)
