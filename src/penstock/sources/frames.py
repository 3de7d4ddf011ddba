"""Tables in memory as a source: of pyarrow, Polars and pandas, and of whatever else gives its columns as Arrow.

A source. Polars and pandas are known by the names of their types, never imported: who gives such a table has them.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import hashlib
import numbers
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from penstock.batch import Batch, record_batch
from penstock.errors import SchemaError, SourceError, UsageError
from penstock.schema import Role, Schema
from penstock.source import BLOCK_ROWS, Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.files import DataFile, Limits
from penstock.sources.parquet_cut import Group, cut
from penstock.sources.typed import TypedColumns, checked_columns, sampled, translated

KEY = "table"
"""The path of the row keys of a table."""

_SINGLE = (str, bool, numbers.Real, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)
"""What objects of pandas may be to be read as text where they are mixed."""


class Table(Protocol):
    """A table in memory, by the Arrow PyCapsule interface: of pyarrow, Polars, pandas, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Its columns."""
        ...


def open_table(data: object, options: ReadOptions) -> Source:
    """The source over a table in memory.

    Raises:
        UsageError: it is none.
        SourceError: it has no row.
        SchemaError: columns are doubled, or none can be used.

    Example:
        >>> open_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), ReadOptions()).schema.names
        ('a', 'b')
    """
    if not is_table(data):
        raise UsageError(
            "not data that can be read",
            expected="a path, a glob, a folder, a list of paths, or a table of pyarrow, Polars or pandas",
            got=f"a list of {type(data[0]).__name__}" if isinstance(data, list) and data else type(data).__name__,
            remedy="make a table of it, such as pyarrow.Table.from_pylist(ROWS) or pyarrow.concat_tables(TABLES)",
        )
    return TableSource(data, options)


def is_table(data: object) -> bool:
    """Whether this is a table in memory, or a library's plan for one, rather than names of files.

    Example:
        >>> is_table(pa.table({"a": [1]})), is_table("a.csv")
        (True, False)
    """
    return _kind(data) != "" or hasattr(data, "__arrow_c_stream__")


def _kind(data: object) -> str:
    """``pandas.DataFrame`` and the like; "" for what is of another library."""
    for kind in type(data).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in ("pandas", "polars") and kind.__name__ in ("DataFrame", "LazyFrame", "Series"):
            return f"{library}.{kind.__name__}"
        if library == "pyarrow" and kind.__name__ in ("Table", "RecordBatch", "RecordBatchReader"):
            return f"pyarrow.{kind.__name__}"
    return ""


class TableSource(Source):
    """The rows of a table in memory; nothing may change it while it is used.

    Roles are inferred as for a Parquet file. The index of a pandas table is no column. Missing values are null: NaN,
    NaT, ``pandas.NA``.

    Args:
        table: see `open_table`.
        options: how to read.
        limits: how large blocks and chunks may become.

    Raises:
        UsageError: it is a plan and no table, or a single column.
        SourceError: it has no row.
        SchemaError: columns are doubled, or none can be used.
    """

    def __init__(self, table: Any, options: ReadOptions, limits: Limits | None = None) -> None:
        what = _kind(table) or type(table).__name__
        self._table, said = _as_arrow(table, what)
        rows = self._table.num_rows
        if not rows:
            raise SourceError("there are no rows", where=what, expected="at least one row", got="0 rows")
        self._limits = limits or Limits()
        self.reading = repr((KEY, sorted(options.missing or ()), self._limits))
        self._file = DataFile(Path(what), KEY, "", "", Fingerprint(KEY, self._table.nbytes, 0, ""))
        self._columns = TypedColumns((self._file,), (self._table.schema,), options)
        weight = self._columns.infer(self._sample(max(options.sample_rows, 1)), rows, options.roles)
        self._group = Group(0, 0, 0, rows, int(weight * rows) + 1)
        self._said = said
        self._clean: set[int] = set()
        self._show()

    def _show(self) -> None:
        self.schema = self._columns.schema
        self.notes = (*self._said, *self._columns.notes)

    def _sample(self, wanted: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        rows = self._table.num_rows
        third = -(-rows // 3)
        size = self._table.nbytes // 3
        groups = [Group(0, place, place * third, min(third, rows - place * third), size) for place in range(3)]
        chosen, share = sampled([group for group in groups if group.rows > 0], wanted, ())
        for group in chosen:
            yield 0, self._rows(group.first, min(share, group.rows), self._columns.names)

    def _rows(self, start: int, count: int, names: Sequence[str]) -> pa.RecordBatch:
        """Neighbouring rows of some columns, as they are stored."""
        columns: list[pa.Array] = []
        for name in names:
            pieces = self._table.column(name).slice(start, count)
            columns.append(pieces.chunk(0) if pieces.num_chunks == 1 else pa.concat_arrays(pieces.chunks))
        with translated(self._file, "Arrow"):
            return checked_columns(record_batch(columns, names, count))

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same table and plan with other roles for some columns."""
        other = copy.copy(self)
        other._clean = set()
        other._columns = self._columns.with_roles(roles)
        other._show()
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for some columns of text."""
        other = copy.copy(self)
        other._clean = set()
        other._columns = self._columns.with_written(written)
        other._show()
        return other

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        size = 0
        digest = hashlib.blake2b(self._table.schema.remove_metadata().serialize(), digest_size=16)
        for start in range(0, self._table.num_rows, BLOCK_ROWS):
            for column in self._table.slice(start, BLOCK_ROWS).columns:
                values = pa.concat_arrays(column.chunks)
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                data = pa.record_batch([values], names=[""]).serialize()
                digest.update(data)
                size += data.size
        return Fingerprint(KEY, size, 0, digest.hexdigest())

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the table: by all of its content."""
        return (self._fingerprint,)

    @property
    def nbytes(self) -> int:
        """What the table holds [bytes]."""
        return int(self._table.nbytes)

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return sum(chunk.nbytes for chunk in self._plan)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: the block in the schema's types, and half as much
        again while it is turned into them."""
        rows = min(self._group.block_rows(self._limits), self._group.rows)
        return rows * self._group.nbytes // self._group.rows * 3 // 2

    @cached_property
    def _plan(self) -> tuple[Chunk, ...]:
        return tuple(cut((self._group,), self._limits, seekable=True))

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the number of rows."""
        yield from self._plan

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk."""
        asked: Schema = self.schema if columns is None else self.schema.select(columns)
        # Which rows are rejected must not depend on the columns asked for: until a chunk is known to have no
        # reject, all its columns are read.
        checked = asked if chunk.index in self._clean else self.schema
        names = self._columns.of_file(0, checked.names)
        clean = True
        for part in chunk.parts:
            for start in range(part["start"], part["stop"], part["block"]):
                raw = self._rows(start, min(part["block"], part["stop"] - start), names)
                batch = self._columns.batch(0, raw, start, checked, asked)
                clean = clean and batch.rejected is None
                yield batch
        if clean:
            self._clean.add(chunk.index)


def _as_arrow(table: Any, what: str) -> tuple[pa.Table, list[Note]]:
    """The table as Arrow, and what is said of the way."""
    if what == "polars.LazyFrame":
        raise UsageError(
            "a query that was not run is no table",
            where=what,
            expected="a DataFrame, or the path of the files",
            got="a LazyFrame, whose result may be larger than memory",
            remedy="give its .collect(), or write it by .sink_parquet(FILE) and give FILE",
        )
    if what.endswith("Series"):
        raise UsageError(
            "a single column is no table", where=what, expected="a DataFrame", remedy="give its .to_frame()"
        )
    if what == "pandas.DataFrame":
        return _from_pandas(table)
    try:
        found = table if isinstance(table, pa.Table) else pa.table(table)
        found.validate()
        return found.unify_dictionaries(), []
    except Exception as error:  # a foreign table may raise anything of its own library
        raise SchemaError(
            "the table can't be given as Arrow",
            where=what,
            expected="columns of numbers, texts, truth values, times or lists of them",
            got=str(error).strip().split("\n")[0] or type(error).__name__,
            remedy="leave the column out, or turn it into one of these",
        ) from error


def _from_pandas(frame: Any) -> tuple[pa.Table, list[Note]]:
    notes: list[Note] = []
    index = frame.index
    if type(index).__name__ != "RangeIndex" or index.name is not None:
        named = ", ".join(repr(name) for name in index.names if name is not None)
        text = f"{named or 'of no name'}: not read"
        notes.append(Note("index", text, "an index is no column", "give frame.reset_index()"))
    names: list[str] = []
    columns: list[pa.Array] = []
    for place, label in enumerate(frame.columns):
        name = ".".join(map(str, label)) if isinstance(label, tuple) else str(label)
        values, said = _column(frame.iloc[:, place])
        if said:
            notes.append(Note(f"column {name!r}", said))
        if values is not None:
            names.append(name)
            columns.append(values)
    if not columns:
        raise SchemaError(
            "no column can be used",
            where="pandas.DataFrame",
            expected="columns of numbers, texts, truth values, times or lists of them",
            got="; ".join(str(note) for note in notes) or "no column",
        )
    return pa.Table.from_arrays(columns, names=names), notes


def _column(series: Any) -> tuple[Any, str]:
    """A column of pandas as Arrow, None where it can't be; and what is said of it."""
    kind = type(series.dtype).__name__
    if kind == "SparseDtype":
        series = series.sparse.to_dense()
    elif kind == "PeriodDtype":
        series = series.dt.to_timestamp()
    try:
        values = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _mixed(series)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(values.type) and not _is_text(values.type.value_type):
        # What the user calls categories are labels, whatever they are written as.
        values = pa.DictionaryArray.from_arrays(values.indices, values.dictionary.cast(pa.string()))
    return values, ""


def _mixed(series: Any) -> tuple[Any, str]:
    """Objects of several kinds, as text where each is a single value."""
    absent = series.isna().to_numpy()
    values = series.tolist()
    odd = next(
        (value for value, none in zip(values, absent, strict=True) if not (none or isinstance(value, _SINGLE))), None
    )
    if odd is not None:
        return None, f"objects of {type(odd).__name__}: not read"
    texts = [None if none else str(value) for value, none in zip(values, absent.tolist(), strict=True)]
    return pa.array(texts, pa.string()), "objects of several types: read as text"


def _is_text(of: pa.DataType) -> bool:
    return bool(pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_null(of))
