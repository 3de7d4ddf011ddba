"""CSV files as a source: tolerant of what real files hold, and strict about saying so.

A source. Dialect, encoding, header and types are inferred from a sample and then held to: a cell or a line that does
not fit is rejected with its place and its original, and the rest goes on. The plan is cut at record ends while the
files are read, the same each time.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from penstock.batch import Batch, Count, RowKeys, record_batch
from penstock.errors import SchemaError
from penstock.inference import Inferred, make_schema, notes_of
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, ReadOptions, Source
from penstock.sources.columns import FolderColumns, repeated
from penstock.sources.conform import STEP, RejectedRow, Wanted, rejected_table
from penstock.sources.csv_block import Block, Layout, read_block
from penstock.sources.csv_dialect import MISSING
from penstock.sources.csv_open import Opened, open_files
from penstock.sources.csv_sample import Sample, take_sample
from penstock.sources.files import DataFile, DataFiles, Limits
from penstock.sources.spool import SpoolFolder
from penstock.sources.text_plan import TextPlan
from penstock.sources.written import as_written


class CsvSource(Source):
    """CSV, TSV and other delimited text, plain or compressed (.gz, .zst, .zip), in any usual encoding.

    Every record is a row or a reject; empty lines are no records. Blanks around cells are stripped. Compressed files
    and those that are not UTF-8 are spooled, decompressed, in a temporary folder until `close`. Columns of several
    files are matched by their names; one that a file lacks is null there.

    Raises:
        SourceError: a file has no record, or can't be decompressed.
        SchemaError: columns are doubled, or a file has none of those of the first one.
        UsageError: an option is not one of those that exist.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._options = options
        self._limits = limits or Limits()
        self._missing = frozenset((*(MISSING if options.missing is None else options.missing), ""))
        self._folder = SpoolFolder()
        self._opened: Opened = open_files(files, options, self._missing, self._folder, self._limits)
        sample: Sample = take_sample(self._opened, self._missing, options.sample_rows, self._limits)
        self._folders = FolderColumns(tuple(files))
        self._names = self._folders.added(self._opened.names)
        folders = self._folders.inferred
        self._columns = {**sample.columns, **folders}
        self._cell_bytes = {**sample.cell_bytes, **dict.fromkeys(folders, 8.0)}
        self._row_bytes = sample.row_bytes
        self.reading = repr((self._opened.dialect, sorted(self._missing), self._limits))
        said = self._folders.notes(self._opened.names)
        self._notes = (*files.notes, *self._opened.notes, *sample.notes, *said)
        begins = [(beginning.start, beginning.line) for beginning in self._opened.beginnings]
        opened = self._opened
        self._plan = TextPlan(files, opened.texts, begins, opened.dialect, limits=self._limits, weight=self._weight)
        self._set_roles(options.roles, options.written)

    def _set_roles(self, roles: Mapping[str, Role], written: Mapping[str, str]) -> None:
        names = self._names
        inferred: dict[str, Inferred] = as_written({name: self._columns[name] for name in names}, written)
        self._roles, self._written = dict(roles), dict(written)
        self.schema = make_schema(names, inferred, roles, text=frozenset(names))
        refuse_lists(self.schema, self._files[0])
        self._constants = self._folders.values(self.schema)
        self._wanted = {
            field.name: Wanted(
                field.type,
                field.kind,
                self._missing,
                field.written,
                dictionary=field.kind in (Role.category, Role.boolean),
            )
            for field in self.schema
        }
        self.notes = (*self._notes, *notes_of(self.schema, inferred, roles))

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
        other = copy.copy(self)
        other._set_roles({**self._roles, **roles}, self._written)
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same files and plan with other ways of writing for some columns."""
        other = copy.copy(self)
        other._set_roles(self._roles, {**self._written, **written})
        return other

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order."""
        return self._files.fingerprints

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        other = copy.copy(self)
        other._files = self._files.only(paths)
        other._plan = self._plan.only(other._files)
        return other

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together; unknown for compressed files, whose size says little [bytes]."""
        return self._plan.nbytes

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: its bytes, the texts parsed from them, the typed
        columns, and one column more while it is cast."""
        texts = sum(self._cell_bytes.values())
        row = self._row_bytes + texts + self._typed_bytes() + 2 * max(8.0, *self._cell_bytes.values())
        rows = min(self._limits.block_rows, self._limits.block_bytes / self._row_bytes)
        if not any(file.compression for file in self._files):
            rows = min(rows, self.nbytes / self._row_bytes)
        return int(1.1 * rows * row)

    def _typed_bytes(self) -> float:
        """What a row of typed columns holds, in the roles that were inferred: other roles do not change the plan
        [bytes]."""
        found = self._columns
        return sum(
            self._cell_bytes[name]
            if Role.key is inferred.role or inferred.kind is Role.text
            else 4.0
            if inferred.kind is Role.category
            else 8.0
            for name, inferred in found.items()
        )

    def close(self) -> None:
        """Remove the spool files; reading on makes them anew."""
        self._folder.close()

    # --- the plan

    def _weight(self, nbytes: int) -> int:
        return int(nbytes * self._typed_bytes() / self._row_bytes)

    def chunks(self) -> Iterator[Chunk]:
        """The plan; it grows as the files are read, and is remembered.

        Raises:
            SourceError: a compressed file is damaged; the chunks before the damage were given.
            ChangedError: a file is not what it was.
        """
        return iter(self._plan)

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            ChangedError: a file is not what it was.
            SourceError: a file can't be read.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        layouts: dict[int, Layout] = {}
        for index, part in self._plan.parts(chunk):
            if index not in layouts:
                layouts[index] = self._layout(index, asked)
            yield self._batch(index, part, layouts[index], asked)

    def _layout(self, index: int, asked: Schema) -> Layout:
        """What is parsed: what is asked for, and whatever might have a bad cell, since which rows are rejected must not
        depend on what is asked for."""
        own = self._opened.beginnings[index].names
        wanted = {
            name: wanted
            for name, wanted in self._wanted.items()
            if name in own and name not in self._constants and (name in asked or not pa.types.is_string(wanted.type))
        }
        return Layout(self._opened.dialect, own, wanted, self._missing)

    def _column(self, name: str, index: int, block: Block) -> pa.Array:
        """One column of a block of a file: as it was read, or from its folder's name, or null."""
        if name in self._constants:
            return repeated(self._constants[name], index, block.count)
        values = block.columns.get(name)
        return pa.nulls(block.count, self.schema[name].type) if values is None else values

    def _batch(self, index: int, part: Mapping[str, Any], layout: Layout, asked: Schema) -> Batch:
        file = self._files[index]
        block = read_block(self._opened.texts[index].read, part, layout, str(file.path))
        first = int(part["row"])
        keys = RowKeys.span(file.key, first, part["rows"])
        if block.rows is not None:
            keys = keys.take(block.rows)
        arrays = [self._column(name, index, block) for name in asked.names]
        columns = record_batch(arrays, asked.names, block.count)
        rejected = rejected_table(
            file.key,
            (RejectedRow(first + row.row, row.line, row.verdict, row.value, row.record) for row in block.rejected),
        )
        count = Count(STEP, rows_in=part["rows"], out=block.count, rejected=len(block.rejected))
        return Batch(columns, keys, rejected, (count,))


def refuse_lists(schema: Schema, file: DataFile) -> None:
    """See that no column of text is to be lists, unless it is known how they are written.

    Raises:
        SchemaError: one is.
    """
    for field in schema:
        if pa.types.is_list(field.type) and not field.written:
            raise SchemaError(
                f"column {field.name!r} can't be a list",
                where=str(file.path),
                expected="lists with a mark between their items, or a role for single values",
                got="text",
                remedy=f"say how lists are written, as in read: {{written: {{{field.name}: 'a;b'}}}}",
            )
