"""Deduplicate: of rows that are equal in some columns, one stays.

A relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.batch import Count
from penstock.relation import Outcome, Relation, Shape, Workbench, names_of, one_of, require
from penstock.schema import Schema
from penstock.source import Note


@dataclass(frozen=True)
class Deduplicate(Relation):
    """Of the rows that are equal in ``columns``, one stays; missing values are equal to one another.

    Args:
        columns: the columns that are compared; None for all.
        keep: which row stays, in the order of the rows or of ``by``: "first", "last", or "none" of those that have an
            equal.
        by: a column that decides instead of the order of the rows: the row of its least value is the first, and that
            of its greatest the last. Of rows with the same value the earlier one is first; rows without a value stay
            only where there is no other.
        descending: whether the greatest value of ``by`` is first.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Deduplicate("id", keep="last", by="updated")
        Deduplicate(columns=('id',), keep='last', by='updated', descending=False)
    """

    columns: str | tuple[str, ...] | None = None
    keep: Literal["first", "last", "none"] = "first"
    by: str | None = None
    descending: bool = False

    name = "deduplicate"

    def __post_init__(self) -> None:
        if self.columns is not None:
            object.__setattr__(self, "columns", names_of(self.columns, "columns"))
        one_of(self.keep, ("first", "last", "none"), "keep")

    def _columns(self, schema: Schema) -> tuple[str, ...]:
        return schema.names if self.columns is None else names_of(self.columns, "columns")

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The same columns."""
        columns = self._columns(incoming)
        by = () if self.by is None else (self.by,)
        require(incoming, columns, "deduplicate: columns")
        require(incoming, by, "deduplicate: by")
        return Shape(incoming, tuple(dict.fromkeys((*columns, *by))), {name: name for name in incoming.names})

    def run(self, bench: Workbench) -> Outcome:
        """Mark the rows that stay."""
        columns = self._columns(bench.shape.schema)
        keys = ", ".join(f"c{i}" for i in range(len(columns)))
        decide = {"first": "min(position)", "last": "max(position)", "none": "min(position)"}[self.keep]
        query = f"SELECT {decide} AS position FROM rows GROUP BY {keys}"
        if self.keep == "none":
            query += " HAVING count(*) = 1"
        read = columns
        if self.by is not None and self.keep != "none":
            by = f"c{len(columns)}"
            read = (*columns, self.by)
            down = self.descending is not (self.keep == "last")
            ties = "DESC" if self.keep == "last" else "ASC"
            order = f"{by} {'DESC' if down else 'ASC'} NULLS LAST, position {ties}"
            query = (
                f"SELECT position FROM (SELECT position, row_number() OVER (PARTITION BY {keys} ORDER BY {order}) AS n "
                "FROM rows) WHERE n = 1"
            )
        stays = bench.array("repeats.npy", "uint8", bench.rows.rows)
        rows = 0
        for batch in bench.query(query, read):
            stays[batch.column(0).to_numpy()] = 1
            rows += batch.num_rows
        gone = bench.rows.rows - rows
        compared = "all columns" if self.columns is None else ", ".join(map(repr, columns))
        note = Note("deduplicate", f"{gone:,} of {bench.rows.rows:,} rows are dropped", f"equal in {compared}")
        count = Count(self.name, rows_in=bench.rows.rows, out=rows, dropped=gone)
        return Outcome(rows, count, "repeats.npy", notes=(note,))
