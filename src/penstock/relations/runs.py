"""Rows in the order of their groups, in parts of a size that the data alone decide: for what is summed or windowed.

Beside the relations, and none itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.relation import Workbench

PART_ROWS = 2**18
"""Rows of a part, but for the last: sums are made part by part, so this is a matter of bytes, not of taste."""


@dataclass
class Run:
    """Rows that lie next to one another in the order of groups; a run is a group's rows in this part.

    Attributes:
        columns: the values.
        positions: of each row, its position.
        starts: where each run begins in this part.
        lengths: how many rows it has.
        first: of each run, the position of its group's first row.
        goes_on: whether the first run is of the group that the part before ended in.
        carried: what was carried over from the part before.
    """

    columns: Mapping[str, pa.Array]
    positions: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    goes_on: bool
    carried: Any = None
    _next: list[Any] = field(default_factory=list)

    def carry(self, value: Any) -> None:
        """What the next part shall find in ``carried``."""
        self._next.append(value)


def runs_of(
    bench: Workbench, by: Sequence[str], values: Sequence[str], order: Sequence[str] = (), where: str = ""
) -> Iterator[Run]:
    """All rows, group by group: in each in the order of these columns, then of the rows.

    Args:
        bench: what to query.
        by: the columns that say the group; none for one group of all rows.
        values: the columns to give.
        order: columns, ascending, that order the rows of a group; missing values last.
        where: a condition in SQL over c0, c1, ... of ``by``, ``order`` and ``values`` in this order; "" for none.
    """
    read = tuple(dict.fromkeys((*by, *order, *values)))
    keys = [f"c{read.index(name)}" for name in by]
    given = [f"c{read.index(name)}" for name in (*values, *order)]
    # The first row of the group stands for it: one number to sort by and to compare, whatever the key's types.
    partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
    inner = f"SELECT *, min(position) OVER ({partition}) AS g FROM rows {where and 'WHERE ' + where}"
    ordered = ", ".join(["g", *(f"c{read.index(name)} ASC NULLS LAST" for name in order), "position"])
    query = f"SELECT g, position{''.join(', ' + one for one in given)} FROM ({inner}) ORDER BY {ordered}"
    last: int | None = None
    carried: Any = None
    names = list(dict.fromkeys((*values, *order)))
    for table in _recut(bench.query(query, read), PART_ROWS):
        groups = table.column(0).to_numpy()
        starts = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
        columns = {name: table.column(2 + (*values, *order).index(name)) for name in names}
        lengths = np.diff(np.append(starts, len(groups)))
        goes_on = last is not None and int(groups[0]) == last
        part = Run(columns, table.column(1).to_numpy(), starts, lengths, groups[starts], goes_on, carried)
        yield part
        carried = part._next[-1] if part._next else None
        last = int(groups[-1])


def _recut(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly so many, but for the last."""
    held: list[pa.RecordBatch] = []
    have = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            held.append(batch.slice(0, rows - have))
            have += held[-1].num_rows
            batch = batch.slice(held[-1].num_rows)
            if have == rows:
                yield _one(held)
                held, have = [], 0
    if held:
        yield _one(held)


def _one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    arrays = [pa.concat_arrays([batch.column(i) for batch in batches]) for i in range(batches[0].num_columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=batches[0].schema)
