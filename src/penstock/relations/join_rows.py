"""JoinRows: columns of other data beside the rows, row by row.

A relation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.batch import Count
from penstock.errors import DataError
from penstock.relation import Other, Outcome, Relation, Shape, Workbench, as_other, located
from penstock.relations.keys import fields_beside, names_beside
from penstock.schema import Schema
from penstock.source import ReadOptions


@dataclass(frozen=True)
class JoinRows(Relation):
    """Columns of other data beside the rows, row by row: the first row to the first, and so on.

    For features of the same rows that lie in another file. When rows are evaluated or predicted, the other data have
    to be theirs.

    Args:
        other: the other data: a path (in a pipeline file relative to it), several, or in Python an open source.
        read: how to read them.

    Raises:
        UsageError: ``other`` is no data.

    Example:
        >>> JoinRows("features.parquet").other
        'features.parquet'
    """

    other: Any
    read: ReadOptions = ReadOptions()  # noqa: RUF009  frozen

    name = "join_rows"

    def __post_init__(self) -> None:
        object.__setattr__(self, "other", as_other(self.other, "other"))

    @property
    def beside(self) -> Other | None:
        """The other data."""
        found: Other = self.other
        return found

    @property
    def reading(self) -> ReadOptions:
        """How they are read."""
        return self.read

    def located(self, folder: Path) -> Relation:
        """The same with the path of the other data made absolute."""
        return replace(self, other=located(self.other, folder))

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The columns of both sides."""
        assert other is not None
        found, notes = names_beside(incoming, other, ())
        schema = Schema((*incoming.fields, *fields_beside(found, other)))
        return Shape(schema, (), {name: name for name in incoming.names}, found, notes=tuple(notes))

    def run(self, bench: Workbench) -> Outcome:
        """See that there are as many rows on both sides."""
        other = bench.other
        assert other is not None
        if other.rows != bench.rows.rows:
            raise DataError(
                "not as many rows on both sides",
                where="join_rows",
                expected=f"{bench.rows.rows:,} rows, as there are on the left",
                got=f"{other.rows:,} rows" + (f", {other.rejected:,} more were rejected" if other.rejected else ""),
                remedy="join by a key, or mend what was rejected",
            )
        files = tuple(path.relative_to(bench.folder).as_posix() for path in other.paths)
        count = Count(self.name, rows_in=other.rows, out=other.rows)
        return Outcome(other.rows, count, None, {new: (files, name) for new, name in bench.shape.others.items()})
