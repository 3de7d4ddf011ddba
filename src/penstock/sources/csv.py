"""CSV files as a source: tolerant of what real files hold, and strict about saying so.

A source. Dialect, encoding, header and types are inferred from a sample and then held to: a cell or a line that does
not fit is rejected with its place and its original, and the rest goes on. The plan is cut at record ends while the
files are read, the same each time.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from penstock.batch import Batch, Count, RowKeys
from penstock.errors import DataError
from penstock.inference import Inferred, make_schema, role_note
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, ReadOptions, Source
from penstock.sources.conform import STEP, RejectedRow, Wanted, rejected_table
from penstock.sources.csv_block import Layout, read_block
from penstock.sources.csv_dialect import MISSING
from penstock.sources.csv_open import Opened, open_files
from penstock.sources.csv_plan import blocks_of, chunks_of
from penstock.sources.csv_sample import Sample, take_sample
from penstock.sources.files import DataFiles, Limits
from penstock.sources.spool import SpoolFolder


class GrowingPlan:
    """Chunks that are found one after the other and remembered; the same for all who ask, from any thread."""

    def __init__(self, make: Callable[[], Iterator[Chunk]]) -> None:
        self._source = make()
        self._chunks: list[Chunk] = []
        self._complete = False
        self._failure: DataError | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Chunk]:
        index = 0
        while (chunk := self._get(index)) is not None:
            yield chunk
            index += 1

    def _get(self, index: int) -> Chunk | None:
        with self._lock:
            if index == len(self._chunks) and not self._complete:
                if self._failure is not None:
                    raise self._failure
                try:
                    chunk = next(self._source, None)
                except DataError as error:
                    self._failure = error
                    raise
                if chunk is None:
                    self._complete = True
                else:
                    self._chunks.append(chunk)
            return self._chunks[index] if index < len(self._chunks) else None


class CsvSource(Source):
    """CSV, TSV and other delimited text, plain or compressed (.gz, .zst, .zip), in any usual encoding.

    Every record is a row or a reject; empty lines are no records. Blanks around cells are stripped. Compressed files
    and those that are not UTF-8 are spooled, decompressed, in a temporary folder until `close`.

    Raises:
        SourceError: a file has no record, or can't be decompressed.
        SchemaError: columns are doubled, or not those of the first file.
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
        self._columns = sample.columns
        self._cell_bytes = sample.cell_bytes
        self._row_bytes = sample.row_bytes
        self.reading = repr((self._opened.dialect, sorted(self._missing), self._limits))
        self._notes = (*files.notes, *self._opened.notes, *sample.notes)
        self._plan = GrowingPlan(lambda: chunks_of(self._blocks(), self._limits, self._weight))
        self._set_roles(options.roles)

    def _set_roles(self, roles: Mapping[str, Role]) -> None:
        names = self._opened.names
        inferred: dict[str, Inferred] = {name: self._columns[name].inferred for name in names}
        self._roles = dict(roles)
        self.schema = make_schema(names, inferred, roles, text=frozenset(names))
        self._wanted = {
            field.name: Wanted(
                field.type,
                field.kind,
                self._missing,
                self._columns[field.name].time_format,
                dictionary=field.kind in (Role.category, Role.boolean),
            )
            for field in self.schema
        }
        said = [role_note(name, inferred[name]) for name in names if name not in roles]
        self.notes = (*self._notes, *said)

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
        other = copy.copy(self)
        other._set_roles({**self._roles, **roles})
        return other

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order."""
        return tuple(file.fingerprint for file in self._files)

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together; unknown for compressed files, whose size says little [bytes]."""
        if any(file.compression for file in self._files):
            return None
        return self._weight(self.nbytes)

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
        found = {name: column.inferred for name, column in self._columns.items()}
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

    def _blocks(self) -> Iterator[dict[str, Any]]:
        for index, beginning in enumerate(self._opened.beginnings):
            file = self._files[index]
            file.check()
            text = self._opened.texts[index]
            for block in blocks_of(text, beginning.start, beginning.line, self._opened.dialect, self._limits):
                yield {"file": index, **block}
            text.release()
            file.check()

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
        last = -1
        for part in chunk.parts:
            index = int(part["file"])
            if index != last:
                if last >= 0:
                    self._files[last].check()
                self._files[index].check()
                last = index
            if index not in layouts:
                layouts[index] = self._layout(index, asked)
            yield self._batch(index, part, layouts[index], asked)
        if last >= 0:
            self._files[last].check()

    def _layout(self, index: int, asked: Schema) -> Layout:
        """What is parsed: what is asked for, and whatever might have a bad cell, since which rows are rejected must not
        depend on what is asked for."""
        wanted = {
            name: wanted
            for name, wanted in self._wanted.items()
            if name in asked or not pa.types.is_string(wanted.type)
        }
        return Layout(self._opened.dialect, self._opened.beginnings[index].names, wanted, self._missing)

    def _batch(self, index: int, part: Mapping[str, Any], layout: Layout, asked: Schema) -> Batch:
        file = self._files[index]
        block = read_block(self._opened.texts[index].read, part, layout, str(file.path))
        first = int(part["row"])
        keys = RowKeys.span(file.key, first, part["rows"])
        if block.rows is not None:
            keys = keys.take(block.rows)
        arrays = [block.columns[name] for name in asked.names]
        columns = pa.RecordBatch.from_arrays(arrays, names=list(asked.names)) if arrays else _no_columns(block.count)
        rejected = rejected_table(
            file.key,
            (RejectedRow(first + row.row, row.line, row.verdict, row.value, row.record) for row in block.rejected),
        )
        count = Count(STEP, rows_in=part["rows"], out=block.count, rejected=len(block.rejected))
        return Batch(columns, keys, rejected, (count,))


def _no_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["none"]).select([])
