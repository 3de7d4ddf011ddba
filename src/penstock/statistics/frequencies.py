"""How often each distinct value of a column occurs, exactly. A statistic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.runs import COUNTS, Run, ascending, even, merged, summed
from penstock.statistics.values import array_of, as_text, counted, scalar_text

_TABLE = pa.schema([("value", pa.string()), ("count", pa.int64())])
_PENDING = 262_144
"""Rows of unsummed counts that are held before they are summed."""


@dataclass(frozen=True, eq=False)
class FrequenciesValue:
    """Counts of distinct values, ascending by value (by code points, which is by the bytes of UTF-8).

    Attributes:
        total: values that are not null.
        nulls: rows without a value.
        distinct: how many different values there are.
    """

    total: int
    nulls: int
    distinct: int
    _held: pa.Table | None
    _run: Run | None

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """The counts as batches of (value: string, count: int64), ascending; for more than fits in memory."""
        if self._run is not None:
            for batch in self._run.batches():
                yield batch.cast(_TABLE)
        elif self._held is not None:
            for batch in even([self._held]):
                yield batch.cast(_TABLE)

    def table(self) -> pa.Table:
        """The counts as one table of (value: string, count: int64), ascending by value."""
        return pa.Table.from_batches(list(self.iter_batches()), schema=_TABLE)

    def top(self, n: int) -> list[tuple[str, int]]:
        """The ``n`` most frequent values with their counts: by count descending, then by value ascending."""
        best: list[tuple[str, int]] = []
        for batch in self.iter_batches():
            order = np.argsort(-batch.column(1).to_numpy(), kind="stable")[: max(n, 0)]
            chosen = batch.take(pa.array(order))
            best += zip(chosen.column(0).to_pylist(), chosen.column(1).to_pylist(), strict=True)
            # Stable, and batches come ascending by value: equal counts stay in the order of their values.
            best = sorted(best, key=lambda item: -item[1])[: max(n, 0)]
        return best


class Frequencies(Statistic[FrequenciesValue]):
    """Exact counts of each distinct value of one column, as text.

    Numbers, truth values and times are counted under their canonical text (see
    `penstock.statistics.values.as_text`), so that 3.0 and 3 are one value, "3". Up to ``bound`` distinct values are
    held in memory; what is more goes to temporary files, sorted, and is merged when it is asked for: the result
    stays exact. An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name.
        bound: distinct values held in memory, at least 1.

    Raises:
        UsageError: ``bound`` is less than 1.

    Example:
        >>> from penstock.batch import RowKeys
        >>> colours = Frequencies("colour")
        >>> colours.update(Batch(pa.record_batch({"colour": ["red", "blue", "red", None]}), RowKeys.span("", 0, 4)))
        >>> colours.value().top(1), colours.value().nulls
        ([('red', 2)], 1)
    """

    kind = "frequencies"

    def __init__(self, column: str, bound: int = 1_000_000) -> None:
        if bound < 1:
            raise UsageError(
                "no room for any value in memory",
                where=f"frequencies of column {column!r}",
                expected="a bound of at least 1",
                got=str(bound),
                remedy="leave it at 1000000",
            )
        self._column = column
        self._bound = bound
        self._nulls = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._counts = COUNTS.empty_table()
        self._runs: list[Run] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column and the bound."""
        return {"column": self._column, "bound": self._bound}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or its values have no text.
            ResourceError: a temporary file could not be written.
        """
        column = array_of(batch, self._column)
        as_text(column.slice(0, 0))  # refuses a type without text before anything is counted
        values, counts = counted(column)
        texts = as_text(values)
        if texts.null_count:
            null = texts.is_null().to_numpy(zero_copy_only=False)
            self._nulls += int(counts[null].sum())
            texts, counts = texts.filter(pa.array(~null)), counts[~null]
        self._take(pa.table([texts, pa.array(counts, pa.int64())], schema=COUNTS))

    def merge(self, other: Self) -> None:
        """Take in another's counts; files on disk are shared, not copied."""
        self._nulls += other._nulls
        self._runs += other._runs
        for table in (other._counts, *other._pending):
            self._take(table)

    def value(self) -> FrequenciesValue:
        """The counts so far; where some are on disk, they are merged into one more temporary file."""
        if not self._runs:
            table = ascending(self._summed())
            total = pc.sum(table["count"]).as_py() or 0
            return FrequenciesValue(total, self._nulls, table.num_rows, table, None)
        run = Run(self._batches())
        return FrequenciesValue(run.total, self._nulls, run.rows, None, run)

    def state(self) -> pa.Table:
        """Columns value and count: first the number of nulls under a null value, then all counts, ascending.

        Counts on disk are in it too, memory-mapped from a file of their own.
        """
        nulls = pa.table([pa.nulls(1, pa.large_string()), [self._nulls]], schema=COUNTS)
        if self._runs:
            return pa.concat_tables([nulls, Run(self._batches()).table()])
        return pa.concat_tables([nulls, pa.Table.from_batches(list(self._batches()), schema=COUNTS)])

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        self._nulls = state["count"][0].as_py()
        self._pending, self._pending_rows, self._runs = [], 0, []
        self._counts = COUNTS.empty_table()
        counts = state.slice(1)
        for start in range(0, counts.num_rows, _PENDING):
            self._take(counts.slice(start, _PENDING))

    @property
    def nbytes(self) -> int:
        """What is held in memory; files on disk are not [bytes]."""
        return int(self._counts.nbytes) + sum(int(table.nbytes) for table in self._pending)

    def with_nulls_as(self, value: Any) -> Self | None:
        """The counts with as many more of ``value`` as there are nulls; None for what has no canonical text."""
        text = scalar_text(value)
        if text is None:
            return None
        new = self.empty()
        new.merge(self)
        new._nulls = 0
        if self._nulls:
            new._take(pa.table([[text], [self._nulls]], schema=COUNTS))
        return new

    def _take(self, counts: pa.Table) -> None:
        if counts.num_rows == 0:
            return
        self._pending.append(counts)
        self._pending_rows += counts.num_rows
        if self._pending_rows >= max(_PENDING, self._counts.num_rows):  # so that summing costs the same per row
            self._counts = self._summed()
            self._pending, self._pending_rows = [], 0
            if self._counts.num_rows > self._bound:
                self._runs.append(Run(even([ascending(self._counts)])))
                self._counts = COUNTS.empty_table()

    def _summed(self) -> pa.Table:
        """What is in memory, equal values added up; changes nothing."""
        return summed(pa.concat_tables([self._counts, *self._pending])) if self._pending else self._counts

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """All counts in batches of one length, ascending."""
        held = even([ascending(self._summed())])
        return even(merged([*(run.batches() for run in self._runs), held])) if self._runs else held
