"""How often each distinct value of a column occurs, as long as there are not too many. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.runs import COUNTS, ascending, summed
from penstock.statistics.values import array_of, as_text, counted

_MANY = -1
"""The count beside the null value of a state that has more values than it holds."""


class BoundedFrequencies(Statistic[Mapping[str, int] | None]):
    """Exact counts of each distinct value of one column, as text, where there are at most ``most``; else none.

    For columns that matter only while they have few values: what is held, and kept in an artifact, is bounded, where
    `penstock.statistics.frequencies.Frequencies` is exact whatever comes. The value is a mapping from values, ascending
    by code points, to counts; or None, where there are more. Nulls are skipped. An integer state: any order and
    grouping gives the same bytes, since values only ever become more.

    Args:
        column: the column's name.
        most: how many distinct values there may be, at least 1.

    Raises:
        UsageError: ``most`` is less than 1.

    Example:
        >>> from penstock.batch import RowKeys
        >>> batch = Batch(pa.record_batch({"colour": ["red", "blue", "red", None]}), RowKeys.span("", 0, 4))
        >>> two, one = BoundedFrequencies("colour", 2), BoundedFrequencies("colour", 1)
        >>> two.update(batch), one.update(batch)
        (None, None)
        >>> dict(two.value()), one.value()
        ({'blue': 1, 'red': 2}, None)
    """

    kind = "bounded_frequencies"

    def __init__(self, column: str, most: int = 20_000) -> None:
        if most < 1:
            raise UsageError(
                "no room for any value",
                where=f"bounded frequencies of column {column!r}",
                expected="1 or more",
                got=str(most),
            )
        self._column = column
        self._most = most
        self._counts: pa.Table | None = COUNTS.empty_table()

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column and the bound."""
        return {"column": self._column, "most": self._most}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or its values have no text.
        """
        column = array_of(batch, self._column)
        as_text(column.slice(0, 0))  # refuses a type without text, however few rows there are
        if self._counts is None:
            return
        values, counts = counted(column)
        table = pa.table([as_text(values), pa.array(counts, pa.int64())], schema=COUNTS)
        self._take(table.filter(table.column("value").is_valid()))

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._take(other._counts)

    def _take(self, counts: pa.Table | None) -> None:
        if self._counts is not None and counts is not None:
            both = summed(pa.concat_tables([self._counts, counts]))
            self._counts = both if both.num_rows <= self._most else None
        else:
            self._counts = None

    def value(self) -> Mapping[str, int] | None:
        """The counts, or None where there are too many values."""
        if self._counts is None:
            return None
        table = ascending(self._counts)
        return dict(zip(table.column("value").to_pylist(), table.column("count").to_pylist(), strict=True))

    def state(self) -> pa.Table:
        """Columns value and count, ascending; of too many values one row of a null."""
        if self._counts is None:
            return pa.table([pa.nulls(1, pa.large_string()), [_MANY]], schema=COUNTS)
        return ascending(self._counts)

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        many = state.num_rows == 1 and state["count"][0].as_py() == _MANY
        self._counts = None if many else state.cast(COUNTS)
