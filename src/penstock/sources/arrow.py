"""Arrow IPC as a source: files (also called Feather) and streams, mapped into memory, record batches cut in blocks.

A source. What is not compressed is never copied as a whole, so that a record batch larger than memory is read.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from penstock.batch import Batch, record_batch
from penstock.errors import SourceError
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, ReadOptions, Source
from penstock.sources.files import DataFile, DataFiles, Limits
from penstock.sources.parquet_cut import Group, cut, recut
from penstock.sources.typed import TypedColumns, checked_columns, sampled, translated

_FORMAT = "Arrow"


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is where in one file.

    Attributes:
        streamed: whether it is a stream, which has no index.
        schema: its columns.
        rows: of each record batch.
        places: where each begins [bytes]; empty where it is not read from there.
        mapped: whether batches are read in place; compressed ones are not.
    """

    streamed: bool
    schema: pa.Schema
    rows: tuple[int, ...]
    places: tuple[int, ...]
    mapped: bool


class ArrowSource(Source):
    """Arrow IPC files and streams, their columns matched by name.

    The files are mapped into memory: nothing may write to them while they are read. Chunks are whole record batches,
    as many as fit, or runs of blocks of a large one. Batches that are compressed are decompressed one at a time.
    What files have different columns or types is resolved by `TypedColumns`.

    Raises:
        SourceError: a file is no Arrow IPC, or is damaged.
        SchemaError: columns are doubled or of types that have nothing in common, or a file has none of the first's.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self.reading = repr((sorted(options.missing or ()), self._limits))
        self._layouts = [_look(file) for file in files]
        counts = [
            (index, batch, rows) for index, own in enumerate(self._layouts) for batch, rows in enumerate(own.rows)
        ]
        rows = sum(count for _, _, count in counts)
        if not rows:
            where = files.root if len(files) > 1 else files[0].path
            raise SourceError("there are no rows", where=str(where), expected="at least one row", got="0 rows")
        groups: list[Group] = []
        for index, batch, count in counts:
            first = groups[-1].first + groups[-1].rows if batch else 0
            groups.append(Group(index, batch, first, count, files[index].fingerprint.size * count // max(rows, 1)))
        self._columns = TypedColumns(tuple(files), [own.schema for own in self._layouts], options)
        weight = self._columns.infer(self._sample(groups, max(options.sample_rows, 1)), rows, options.roles)
        self._groups = [Group(own.file, own.group, own.first, own.rows, int(weight * own.rows) + 1) for own in groups]
        self._clean: set[int] = set()
        self._show()

    def _show(self) -> None:
        self.schema = self._columns.schema
        self.notes = (*self._files.notes, *self._columns.notes)

    def _sample(self, groups: Sequence[Group], rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        chosen, share = sampled(groups, rows, self._columns.needed)
        for group in chosen:
            names = self._columns.of_file(group.file, self._columns.names)
            with self._batch(group.file, group.group, names) as batch:
                yield group.file, checked_columns(batch.slice(0, share))

    @contextmanager
    def _batch(self, index: int, number: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of one record batch, as they are stored."""
        file, layout = self._files[index], self._layouts[index]
        with translated(file, _FORMAT), pa.memory_map(str(file.path)) as mapped:
            # Of a batch in place all columns cost nothing; to ask for some of them would copy them.
            places = [] if layout.mapped else sorted(layout.schema.get_field_index(name) for name in names)
            options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=places)
            if not layout.streamed:
                batch = pa.ipc.open_file(mapped, options=options).get_batch(number)
            elif layout.places:
                mapped.seek(layout.places[number])
                batch = pa.ipc.read_record_batch(pa.ipc.read_message(mapped), layout.schema)
            else:
                reader = pa.ipc.open_stream(mapped, options=options)
                for _ in range(number):
                    reader.read_next_batch()
                batch = reader.read_next_batch()
            batch.validate()
            yield batch.select(list(names))

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
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

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order."""
        return self._files.fingerprints

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        other = copy.copy(self)
        other._files = self._files.only(paths)
        other._clean = set()
        other._groups = [group for group in self._groups if other._files.is_chosen(group.file)]
        other.__dict__.pop("_plan", None)  # it is of all files
        return other

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return sum(chunk.nbytes for chunk in self._plan)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: the block in the schema's types, half as much again
        while it is turned into them, and a whole record batch where it is compressed."""
        most = 0
        for group in self._groups:
            size = min(group.block_rows(self._limits), group.rows) * group.nbytes // max(group.rows, 1)
            packed = 0 if self._layouts[group.file].mapped else group.nbytes
            most = max(most, size + size // 2 + packed)
        return most

    # --- the plan

    @cached_property
    def _plan(self) -> tuple[Chunk, ...]:
        return tuple(cut(self._groups, self._limits, seekable=all(layout.mapped for layout in self._layouts)))

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the lengths of record batches."""
        yield from self._plan

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            SourceError: a file is damaged.
            ChangedError: a file is not what it was.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        # Which rows are rejected must not depend on the columns asked for: until a chunk is known to have no
        # reject, all its columns are read.
        checked = asked if chunk.index in self._clean else self.schema
        clean = True
        for part in chunk.parts:
            file = self._files[part["file"]]
            file.check()
            row = int(part["row"])
            for raw in self._blocks(part, checked):
                batch = self._columns.batch(part["file"], raw, row, checked, asked)
                clean = clean and batch.rejected is None
                row += raw.num_rows
                yield batch
            file.check()
        if clean:
            self._clean.add(chunk.index)

    def _blocks(self, part: Mapping[str, Any], schema: Schema) -> Iterator[pa.RecordBatch]:
        size, start, stop = int(part["block"]), int(part["start"]), int(part["stop"])
        names = self._columns.of_file(part["file"], schema.names)
        if not names:
            for place in range(start, stop, size):
                yield record_batch([], [], min(size, stop - place))
            return
        with self._batch(part["file"], part["group"], names) as batch:
            for block in recut(iter((batch,)), size, start, stop - start):
                yield checked_columns(block)


def _look(file: DataFile) -> _Layout:
    """Read one file's schema, and how many rows its record batches have."""
    if file.compression:
        raise SourceError(
            "a compressed Arrow file can't be read in place",
            where=str(file.path),
            expected="a name that ends in .arrow, .feather or .ipc",
            got=file.compression,
            remedy="decompress it once",
        )
    with translated(file, _FORMAT), pa.memory_map(str(file.path)) as mapped:
        head = mapped.read(6)
        mapped.seek(0)
        if head.startswith(b"FEA1"):
            raise SourceError(
                "the first version of Feather is not read",
                where=str(file.path),
                expected="the Arrow IPC format, which is Feather's second version",
                remedy="write it anew with pyarrow.feather.write_feather, or as Parquet",
            )
        return _indexed(mapped) if head == b"ARROW1" else _streamed(mapped)


def _indexed(mapped: pa.MemoryMappedFile) -> _Layout:
    reader = pa.ipc.open_file(mapped)
    schema = reader.schema
    inside = True
    rows: list[int] = []
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        rows.append(batch.num_rows)
        if inside and not _is_inside(mapped, batch):  # then the others are decompressed as little as can be
            inside = False
            narrow = pa.ipc.IpcReadOptions(use_threads=False, included_fields=_narrowest(schema))
            reader = pa.ipc.open_file(mapped, options=narrow)
    return _Layout(False, schema, tuple(rows), (), inside)


def _streamed(mapped: pa.MemoryMappedFile) -> _Layout:
    reader = pa.ipc.open_stream(mapped)
    rows: list[int] = []
    places: list[int] = []
    inside = True
    while True:
        place = mapped.tell()
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            break
        rows.append(batch.num_rows)
        places.append(place)
        inside = inside and _is_inside(mapped, batch)
    has_words = any(_has_dictionary(field.type) for field in reader.schema)
    return _Layout(True, reader.schema, tuple(rows), () if has_words else tuple(places), inside)


def _narrowest(schema: pa.Schema) -> list[int]:
    """The column that is the least work to decompress."""
    widths = [(_width(field.type), place) for place, field in enumerate(schema)]
    return [min(widths)[1]] if widths else []


def _width(of: pa.DataType) -> int:
    try:
        return int(of.bit_width)
    except ValueError:
        return 2**20  # of no fixed width


def _has_dictionary(of: pa.DataType) -> bool:
    if pa.types.is_dictionary(of):
        return True
    return any(_has_dictionary(of.field(place).type) for place in range(of.num_fields))


def _is_inside(mapped: pa.MemoryMappedFile, batch: pa.RecordBatch) -> bool:
    """Whether a batch lies in the mapped file, and not in memory that it was decompressed into."""
    place = mapped.tell()
    mapped.seek(0)
    whole = mapped.read_buffer()
    mapped.seek(place)
    return all(
        whole.address <= buffer.address <= whole.address + whole.size
        for column in batch.columns
        for buffer in column.buffers()
        if buffer is not None and buffer.size
    )
