"""A folder of part files, one per chunk, in Parquet, CSV or Arrow IPC; or all of them merged into one file.

A sink. Parts are written into a folder that nobody reads, made durable one by one, and published by one rename.
Any library reads the published folder: it holds data files only.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from penstock.batch import REJECTED, Batch, Count, add_counts
from penstock.durable import HashedFile, put_in_place, share_file, sync_folder, writing
from penstock.errors import RunError, UsageError
from penstock.schema import Schema
from penstock.sink import Part, Receipt, Sink, Writer
from penstock.sinks.csv_cells import csv_cells, csv_schema
from penstock.source import Chunk

Format: TypeAlias = Literal["parquet", "csv", "arrow"]
SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".arrow": "arrow"}

PLACED = REJECTED.append(pa.field("position", pa.int64()))
"""Rejected rows of a part, each with the row of the part that it would have stood before."""

_FILE_BITS = 44
"""A row's number in its file needs fewer."""
_GROUP_ROWS = 131_072
_GROUP_BYTES = 16 * 2**20


def format_of(path: Path) -> Format:
    """The format that a file's suffix stands for; Parquet for a folder.

    Raises:
        UsageError: no format has this suffix.
    """
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if path.suffix:
        raise UsageError(
            "no format has this suffix", where=str(path), expected=", ".join(SUFFIXES), got=repr(path.suffix)
        )
    return "parquet"


class PartFile:
    """One part file of batches of one Arrow schema; row groups of a size that depends on the data alone."""

    def __init__(self, path: Path, schema: pa.Schema, kind: Format) -> None:
        self._file = HashedFile(path)
        self._kind = kind
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._held_bytes = 0
        self.rows = 0
        self._writer: Any
        if kind == "parquet":
            floats = [field.name for field in schema if pa.types.is_floating(field.type)]
            texts = [field.name for field in schema if field.name not in floats]
            # Dictionaries of floats cost much and rarely pay; of text and codes they do.
            self._writer = pq.ParquetWriter(
                self._file, schema, use_dictionary=texts, compression="snappy", write_page_checksum=True
            )
        elif kind == "csv":
            self._writer = pacsv.CSVWriter(self._file, csv_schema(schema))
        else:
            self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, columns: pa.RecordBatch) -> None:
        """Append rows."""
        if columns.num_rows == 0:
            return
        columns = _conformed(columns, self._schema)
        self._held.append(columns)
        self._held_rows += columns.num_rows
        self._held_bytes += columns.nbytes
        self.rows += columns.num_rows
        if self._kind != "parquet" or self._held_rows >= _GROUP_ROWS or self._held_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._kind == "parquet":
            table = pa.Table.from_batches(self._held, self._schema)
            self._writer.write_table(table, row_group_size=max(1, self._held_rows))
        else:
            for columns in self._held:
                self._writer.write_batch(csv_cells(columns) if self._kind == "csv" else columns)
        self._held, self._held_rows, self._held_bytes = [], 0, 0

    def append(self, data: bytes) -> None:
        """Append rows of CSV as they are; they are not counted."""
        self._file.write(data)

    def seal(self, *, durable: bool = True) -> Part:
        """Finish the file and make it durable."""
        self._flush()
        self._writer.close()
        size, digest = self._file.seal(durable=durable)
        return Part(self._file.path.name, self.rows, size, digest)

    def abandon(self) -> None:
        """Close and remove it."""
        self._file.discard()
        with suppress(OSError, ValueError, pa.ArrowException):  # it may be the very writer that failed
            self._writer.close()
        self._file.close()


def _conformed(columns: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if columns.schema.equals(schema):
        return columns
    arrays = []
    for field in schema:
        values = columns.column(field.name)
        arrays.append(values if values.type == field.type else values.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class PartsSink(Sink):
    """Parts of a run.

    Attributes:
        folder: where the parts are written before the commit.
        rejected: where the rejected rows are written; they stay there.
        destination: the folder or the file that the commit makes.
        schema: of the batches.
        kind: the format of the parts.
        single: whether the commit makes one file.
        durable: whether parts survive a power cut (false for what is laid down for one job and removed after it).
        prefix: what the names of parts begin with.
        places: whether a rejected row's file says where in the part it would have stood (`PLACED`).
    """

    folder: Path
    rejected: Path
    destination: Path
    schema: Schema
    kind: Format = "parquet"
    single: bool = False
    durable: bool = True
    prefix: str = "part-"
    places: bool = False

    def open(self, chunk: Chunk) -> Writer:
        """Begin the part of one chunk."""
        return _PartWriter(self, chunk.index)

    def commit(self, receipts: Iterable[Receipt]) -> None:
        """Publish: one rename, and what it needs to last."""
        with writing(self.destination):
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(self.assemble(receipts), self.destination)

    def assemble(self, receipts: Iterable[Receipt], *, beside: Iterable[str] | None = None) -> Path:
        """What a commit publishes, complete and durable: the folder of the parts, or one file of them all.

        Args:
            receipts: whose parts are in it.
            beside: the files of the destination that stay in it, before these; None for none.
        """
        parts = [part.name for receipt in receipts for part in receipt.parts]
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.single:
                merged = self.folder.parent / f"merged{self.destination.suffix}"
                self._merge(
                    [*([] if beside is None else [self.destination]), *(self.folder / name for name in parts)], merged
                )
                sync_folder(merged.parent)
                return merged
            for path in self.folder.iterdir():
                if path.name not in parts:  # of a try that was killed
                    path.unlink()
            for name in beside or ():
                share_file(self.destination / name, self.folder / name)
            sync_folder(self.folder)
        return self.folder

    def _merge(self, parts: Sequence[Path], path: Path) -> None:
        file = HashedFile(path)
        if self.kind == "csv":
            header = io.BytesIO()
            pacsv.CSVWriter(header, csv_schema(self.schema.to_arrow())).close()
            for number, part in enumerate(parts):
                with part.open("rb") as lines:
                    if number:
                        lines.seek(len(header.getvalue()))
                    while data := lines.read(2**20):
                        file.write(data)
        else:
            schema = self.schema.to_arrow()
            writer: Any = (
                pq.ParquetWriter(file, schema, write_page_checksum=True)
                if self.kind == "parquet"
                else pa.ipc.new_file(file, schema)
            )
            for part in parts:
                for table in tables_of(part, self.kind):
                    writer.write_table(table)
            writer.close()
        file.seal()


def tables_of(path: Path, kind: Format) -> Iterable[pa.Table]:
    """The rows of a Parquet or Arrow file, some at a time."""
    if kind == "parquet":
        with pq.ParquetFile(path, memory_map=True) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)
    else:
        with pa.memory_map(str(path)) as mapped:
            reader = pa.ipc.open_file(mapped)
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])


def places_of(batch: Batch, rejected: pa.Table) -> npt.NDArray[np.int64]:
    """Before which row of a batch each rejected one would have stood: rows of a file are in its order."""
    files = {path: number for number, path in enumerate(batch.keys.paths)}
    gone = np.array([files.get(path, -1) for path in rejected.column("path").to_pylist()], np.int64)
    rows = batch.keys.rows + (0 if batch.keys.files is None else batch.keys.files.astype(np.int64) << _FILE_BITS)
    places: npt.NDArray[np.int64] = np.searchsorted(rows, (gone << _FILE_BITS) + rejected.column("row").to_numpy())
    return places


class _PartWriter(Writer):
    """The part of one chunk, and the part of its rejected rows where there are any."""

    def __init__(self, sink: PartsSink, chunk: int) -> None:
        self._sink = sink
        self._chunk = chunk
        self._counts: tuple[Count, ...] = ()
        self._files: dict[str, int] = {}
        self._part: PartFile | None = None
        self._rejects: PartFile | None = None
        self._rejects_path = sink.rejected / f"{sink.prefix}{chunk:05d}.parquet"
        with writing(sink.folder):
            sink.folder.mkdir(parents=True, exist_ok=True)
            self._rejects_path.unlink(missing_ok=True)
            path = sink.folder / f"{sink.prefix}{chunk:05d}.{sink.kind}"
            self._part = PartFile(path, sink.schema.to_arrow(), sink.kind)

    def write(self, batch: Batch) -> None:
        """Append the rows and the rejects of a batch."""
        if self._part is None:
            raise RunError("a writer was used after its end", got=f"chunk {self._chunk}")
        with writing(self._sink.folder):
            if batch.rejected is not None and batch.rejected.num_rows:
                self._reject(batch, batch.rejected, self._part.rows)
            self._part.write(batch.columns.select(list(self._sink.schema.names)))
        self._counts = add_counts(self._counts, batch.counts)
        if len(batch.keys.paths) == 1 and batch.counts:
            path = batch.keys.paths[0]
            self._files[path] = self._files.get(path, 0) + batch.counts[0].rows_in

    def _reject(self, batch: Batch, rejected: pa.Table, start: int) -> None:
        schema = PLACED if self._sink.places else REJECTED
        if self._rejects is None:
            self._sink.rejected.mkdir(parents=True, exist_ok=True)
            self._rejects = PartFile(self._rejects_path, schema, "parquet")
        if self._sink.places:
            rejected = rejected.append_column(PLACED.field(-1), pa.array(start + places_of(batch, rejected)))
        for columns in rejected.to_batches():
            self._rejects.write(columns)

    def finish(self) -> Receipt:
        """Make the parts durable."""
        if self._part is None:
            raise RunError("a writer was used after its end", got=f"chunk {self._chunk}")
        with writing(self._sink.folder):
            durable = self._sink.durable
            part = self._part.seal(durable=durable)
            rejected = self._rejects.seal() if self._rejects else None
            if durable:
                sync_folder(self._sink.folder)
            if rejected:
                sync_folder(self._sink.rejected)
        self._part = None
        return Receipt(self._chunk, self._counts, (part,), rejected, self._files)

    def abandon(self) -> None:
        """Remove what was written."""
        for file in (self._part, self._rejects):
            if file is not None:
                with writing(self._sink.folder):
                    file.abandon()
        self._part = self._rejects = None
