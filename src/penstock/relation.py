"""The contract of relational work: what needs other rows, and is done once, before the steps. See `relations/`.

A relation is a frozen definition, as a step is. It is not run by itself: `relational.py` lays down on disk what it
asks for, runs it, and reads the result back as a source. Most relations keep the order of the rows, and then nothing
is copied: what is laid down is how often each row comes out, and the columns that are new.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Count
from penstock.errors import SchemaError, UsageError
from penstock.schema import Schema
from penstock.source import Note, ReadOptions, Source

POSITION = "position"
"""The column of a query's tables that says which row it is, from 0, in the order of the rows."""

Other: TypeAlias = str | tuple[str, ...] | Source
"""The other side of a join: a path, a glob, a folder, several of them, or an open source."""


@dataclass(frozen=True)
class Shape:
    """What a relation makes of the columns, known before it is run.

    Attributes:
        schema: the columns that come out.
        reads: the incoming columns that it has to see to be run.
        origins: of the outgoing columns that are incoming ones, which; the others are new.
        others: of the outgoing columns that are those of the other side, which.
        scales: of outgoing columns whose numbers change: by what they are multiplied, then what is added.
        rewrites: whether rows change their order, or come from elsewhere: then all of them are laid down anew.
        notes: what was decided.
    """

    schema: Schema
    reads: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rewrites: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a relation laid down, as names of files in its folder.

    Attributes:
        rows: how many rows come out.
        count: the ledger.
        repeats: a NumPy array: how often each incoming row comes out, copies one after the other; None for once each.
        beside: the new columns, each as Arrow files and the column in them, in the order of the rows that come out.
        order: a NumPy array: which incoming row each outgoing one is; None where the order stays.
        tail: an Arrow file of rows of the other side that come after all others, with the columns of the schema and
            the row keys' `PATH` and `ROW`.
        notes: what was found.
    """

    rows: int
    count: Count
    repeats: str | None = None
    beside: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    order: str | None = None
    tail: str | None = None
    notes: tuple[Note, ...] = ()


PATH, ROW = "__path__", "__row__"
"""Columns of the row keys, where rows are laid down whole."""


class Table(ABC):
    """Rows that lie on disk, in their order.

    Attributes:
        schema: the columns.
        rows: how many rows there are.
        paths: the Arrow files that hold them, where they lie there whole.
        rejected: how many rows were rejected while they were read.
    """

    schema: Schema
    rows: int
    paths: tuple[Path, ...] = ()
    rejected: int = 0

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of all rows, in order."""

    @abstractmethod
    def gather(self, index: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.RecordBatch:
        """The rows at these positions, in the order given; where one is below 0, a row of nulls."""

    @abstractmethod
    def gathered(self, index: npt.NDArray[np.int64], name: str, at_once: int) -> Iterator[pa.RecordBatch]:
        """One column of the rows at these positions, so many rows at once."""


class Workbench(ABC):
    """What a relation is run with.

    Attributes:
        shape: what the relation said of the columns.
        rows: the incoming rows, with the columns that it reads.
        other: the other side, all of it.
        folder: where it lays down what it makes.
        cores: how many threads it may use.
    """

    shape: Shape
    rows: Table
    other: Table | None
    folder: Path
    cores: int

    @abstractmethod
    def query(
        self, sql: str, rows: Sequence[str] = (), other: Sequence[str] = (), **files: str
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, run by DuckDB, which spills to disk.

        Args:
            sql: one SELECT over the tables ``rows`` and ``other``, whose columns are `POSITION`, c0, c1, ...
            rows: the columns that c0, c1, ... of ``rows`` are.
            other: the same of ``other``.
            files: further tables: Arrow files in the folder.
        """

    @abstractmethod
    def array(self, name: str, kind: Any, rows: int) -> npt.NDArray[Any]:
        """A new array of zeros in a file of the folder, which the system may write back at any time."""

    @abstractmethod
    def write(self, name: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
        """Lay batches down in an Arrow file of the folder; gives the number of rows."""


class Relation(ABC):
    """What the user wrote: a frozen dataclass of plain values.

    Laws: the rows and their order are functions of the data alone, whatever the memory and the number of threads;
    every row is accounted for; row keys stay unique.
    """

    name: str = ""
    """The name in a pipeline file."""

    @property
    def by_row(self) -> bool:
        """Whether what becomes of a row does not depend on other rows of its side: then files that come in later can
        be taken by themselves."""
        return False

    @property
    def beside(self) -> Other | None:
        """The other side's data; None where there is none."""
        return None

    @property
    def reading(self) -> ReadOptions:
        """How the other side is read."""
        return ReadOptions()

    def located(self, folder: Path) -> Relation:
        """The same with paths that are relative to a folder made absolute."""
        return self

    def possible(self, incoming: Schema, needed: Collection[str]) -> Relation | None:
        """The same for rows that lack columns: without what it would make of those and nobody needs; None where
        nothing is left to do. So a target that is derived need not be there to predict it."""
        return self

    @abstractmethod
    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """What it makes of the columns.

        Raises:
            SchemaError: a column is missing, or of a type that it can't work on.
        """

    @abstractmethod
    def run(self, bench: Workbench) -> Outcome:
        """Do it.

        Raises:
            DataError: the data are not as the definition says.
        """


# ---------------------------------------------------------------------- what definitions ask of their arguments


def names_of(value: Any, where: str, *, empty: bool = False) -> tuple[str, ...]:
    """Columns' names from what users write: one, or several.

    Raises:
        UsageError: it is neither, a name stands twice, or there is none.

    Example:
        >>> names_of("id", "on"), names_of(["a", "b"], "on")
        (('id',), ('a', 'b'))
    """
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else None
    if names is None or not all(isinstance(name, str) for name in names) or (not names and not empty):
        raise UsageError("not columns", where=where, expected="a column's name, or a list of them", got=repr(value))
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise UsageError("a column stands twice", where=where, got=repr(doubled[0]), remedy="name it once")
    return names


def one_of(value: Any, known: Sequence[str], where: str) -> None:
    """Refuse what is not one of these words.

    Raises:
        UsageError: it is not.
    """
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise UsageError(
            "not one of its values",
            where=where,
            expected="one of " + ", ".join(map(repr, known)),
            got=repr(value),
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )


def require(schema: Schema, names: Sequence[str], where: str) -> None:
    """Refuse names that are none of the columns.

    Raises:
        SchemaError: one is not; the message gives the nearest.
    """
    for name in names:
        if name not in schema:
            near = difflib.get_close_matches(name, schema.names, n=1)
            shown = ", ".join(map(repr, schema.names[:12])) + (", ..." if len(schema) > 12 else "")
            raise SchemaError(
                "no such column",
                where=where,
                expected=f"one of {shown}" if len(schema) else "a column",
                got=repr(name),
                remedy=f"did you mean {near[0]!r}?" if near else "name a column that is there at this place of `data`",
            )


def located(other: Other, folder: Path) -> Other:
    """Paths that are relative to a folder made absolute; addresses (``s3://...``) and open sources as they are.

    Example:
        >>> located("b.csv", Path("/data")), located(("/a.csv", "s3://x/y"), Path("/data"))
        ('/data/b.csv', ('/a.csv', 's3://x/y'))
    """
    if isinstance(other, str):
        return other if "://" in other or not other else str(folder / Path(other).expanduser())
    return tuple(str(located(one, folder)) for one in other) if isinstance(other, tuple) else other


def as_other(value: Any, where: str) -> Other:
    """The other side from what users write: a path, several, or a source.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, Path)) and str(value):
        return str(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (str, Path)) for item in value):
        return tuple(str(item) for item in value)
    raise UsageError("not data that can be read", where=where, expected="a path, or a list of them", got=repr(value))
