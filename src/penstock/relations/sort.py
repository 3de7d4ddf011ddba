"""Sort: the rows in another order.

A relation; the only one that lays all rows down anew for the order alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.batch import Count
from penstock.errors import UsageError
from penstock.relation import Outcome, Relation, Shape, Workbench, names_of, require
from penstock.schema import Schema


@dataclass(frozen=True)
class Sort(Relation):
    """The rows in the order of some columns. Missing values come last; equal rows keep their order, as do row keys.

    Args:
        by: the columns, the first decides first.
        descending: whether the greatest comes first: for all, or for each of the columns.

    Raises:
        UsageError: there are not as many directions as columns.

    Example:
        >>> Sort(["customer", "time"], descending=[False, True]).descending
        (False, True)
    """

    by: str | tuple[str, ...]
    descending: bool | tuple[bool, ...] = False

    name = "sort"

    def __post_init__(self) -> None:
        by = names_of(self.by, "by")
        object.__setattr__(self, "by", by)
        given = self.descending
        ways = (
            (given,) * len(by) if isinstance(given, bool) else tuple(given) if isinstance(given, (tuple, list)) else ()
        )
        if len(ways) != len(by) or not all(isinstance(way, bool) for way in ways):
            raise UsageError(
                "not a direction for each column",
                where="descending",
                expected=f"true or false, or {len(by)} of them",
                got=repr(given),
            )
        object.__setattr__(self, "descending", ways)

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The same columns."""
        by = names_of(self.by, "by")
        require(incoming, by, "sort: by")
        return Shape(incoming, by, {name: name for name in incoming.names}, rewrites=True)

    def run(self, bench: Workbench) -> Outcome:
        """Find the order."""
        by, ways = names_of(self.by, "by"), self.descending
        assert isinstance(ways, tuple)
        keys = [f"c{i} {'DESC' if down else 'ASC'} NULLS LAST" for i, down in enumerate(ways)]
        order = bench.array("order.npy", "int64", bench.rows.rows)
        at = 0
        for batch in bench.query(f"SELECT position FROM rows ORDER BY {', '.join(keys)}, position", by):
            order[at : at + batch.num_rows] = batch.column(0).to_numpy()
            at += batch.num_rows
        return Outcome(at, Count(self.name, rows_in=at, out=at), order="order.npy")
