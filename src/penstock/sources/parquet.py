"""Parquet files as a source: row groups cut in blocks from their metadata, types turned into those of roles.

A source. Row groups are decoded in slices and never materialised whole, so that one larger than memory is read.
Statistics in the metadata are never trusted for values; only counts and sizes are used.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.batch import Batch, record_batch
from penstock.errors import SourceError
from penstock.schema import Field, Role, Schema
from penstock.source import Chunk, Fingerprint, ReadOptions, Source
from penstock.sources.files import DataFiles, Limits
from penstock.sources.parquet_cut import Group, cut, recut
from penstock.sources.parquet_footer import column_chunks
from penstock.sources.parquet_types import is_usable
from penstock.sources.typed import TypedColumns, sampled, translated

_BUFFER = 2**18
"""What is read of a column at a time [bytes]; a file is not mapped, since one cut short would end the process."""
_PAGES = 2 * 2**20
"""What pages of one column hold while they are decoded [bytes]: most writers make pages of 1 MiB."""
_KEPT_METADATA = 64
"""Metadata of so many files is kept between chunks."""


class ParquetSource(Source):
    """Parquet files, their columns matched by name.

    Chunks are whole row groups, as many as fit; a chunk never splits one, except that where the files have fewer
    than 8 row groups one of more than two chunks is cut into up to 4 runs of blocks, so that there is work for several
    threads (a run skips by decoding what lies before it, hence no more of them).

    What files have different columns or types is resolved by `TypedColumns`.

    Raises:
        SourceError: a file is no Parquet, or is damaged.
        SchemaError: columns are doubled or of types that have nothing in common, or a file has none of the first's.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._options = options
        self.reading = repr((sorted(options.missing or ()), limits or Limits()))
        self._limits = limits or Limits()
        self._metadata: dict[int, Any] = {}
        self._clean: set[int] = set()
        self._groups: list[Group] = []
        self._plain: set[str] = set()
        schemas = [self._take_in(index) for index in range(len(files))]
        rows = sum(group.rows for group in self._groups)
        if not rows:
            where = files.root if len(files) > 1 else files[0].path
            raise SourceError("there are no rows", where=str(where), expected="at least one row", got="0 rows")
        self._columns = TypedColumns(tuple(files), schemas, options)
        self._width = max(len(schema) for schema in schemas)
        self._weigh(self._columns.infer(self._sample(), rows, options.roles))
        self.schema = self._columns.schema
        self.notes = (*files.notes, *self._columns.notes)

    # --- opening

    def _take_in(self, index: int) -> pa.Schema:
        """Read one file's metadata: its columns and row groups."""
        file = self._files[index]
        if file.compression:
            raise SourceError(
                "a compressed Parquet file can't be read in parts",
                where=str(file.path),
                expected="a name that ends in .parquet",
                got=file.compression,
                remedy="decompress it once; Parquet is compressed inside",
            )
        with translated(file, "Parquet"), self._open(index, ()) as reader:
            metadata, schema = reader.metadata, reader.schema_arrow
            usable = {field.name for field in schema if is_usable(field.type)}
            first = 0
            groups = column_chunks(file.path, metadata.serialized_size)
            if len(groups) != metadata.num_row_groups:
                raise ValueError("its footer is damaged")
            for number, chunks in enumerate(groups):
                rows = metadata.row_group(number).num_rows
                size = sum(chunk.nbytes for chunk in chunks if chunk.path[0] in usable)
                if rows < 0:
                    raise SourceError("a row group of a negative number of rows", where=str(file.path))
                self._groups.append(Group(index, number, first, rows, size))
                first += rows
                self._plain |= {".".join(chunk.path) for chunk in chunks if not chunk.dictionary}
        if index < _KEPT_METADATA:
            self._metadata[index] = metadata
        return schema

    def _open(self, index: int, categories: Sequence[str]) -> Any:
        return pq.ParquetFile(
            self._files[index].path,
            metadata=self._metadata.get(index),
            memory_map=False,
            pre_buffer=False,
            buffer_size=_BUFFER,
            page_checksum_verification=True,
            read_dictionary=list(categories),
        )

    def _sample(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows of some row groups, each with its file's number."""
        chosen, share = sampled(self._groups, max(self._options.sample_rows, 1), self._columns.needed)
        for group in chosen:
            names = self._columns.of_file(group.file, self._columns.names)
            with translated(self._files[group.file], "Parquet"), self._open(group.file, ()) as reader:
                batches = reader.iter_batches(
                    min(share, group.rows), row_groups=[group.group], columns=names, use_threads=False
                )
                taken = 0
                for batch in batches:
                    yield group.file, batch.slice(0, share - taken)
                    taken += batch.num_rows
                    if taken >= share:
                        break

    def _weigh(self, weight: float) -> None:
        """Sizes of row groups in memory: as encoded in the file, or as in the sample, whichever is more."""
        self._groups = [
            Group(group.file, group.group, group.first, group.rows, max(group.nbytes, int(weight * group.rows)))
            for group in self._groups
        ]

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
        other = copy.copy(self)
        other._clean = set()
        other._columns = self._columns.with_roles(roles)
        other.schema = other._columns.schema
        other.notes = (*self._files.notes, *other._columns.notes)
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for some columns of text."""
        other = copy.copy(self)
        other._clean = set()
        other._columns = self._columns.with_written(written)
        other.schema = other._columns.schema
        other.notes = (*self._files.notes, *other._columns.notes)
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
        """About what reading one block holds at its peak [bytes]: the decoded block, as much again while it is turned
        into the schema's types, and of every column the page that is being decoded."""
        most = pages = 0
        for group in self._groups:
            rows = min(group.block_rows(self._limits), group.rows)
            most = max(most, rows * group.nbytes // max(group.rows, 1))
            pages = max(pages, min(group.nbytes, _PAGES * self._width))
        return 2 * most + pages + _BUFFER * self._width

    # --- the plan

    @cached_property
    def _plan(self) -> tuple[Chunk, ...]:
        return tuple(cut(self._groups, self._limits))

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the metadata alone."""
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
            for raw in self._decode(part, checked):
                batch = self._columns.batch(part["file"], raw, row, checked, asked)
                clean = clean and batch.rejected is None
                row += raw.num_rows
                yield batch
            file.check()
        if clean:
            self._clean.add(chunk.index)

    def _decode(self, part: Mapping[str, Any], schema: Schema) -> Iterator[pa.RecordBatch]:
        """The blocks of a part as they are in the file, cut exactly."""
        file = self._files[part["file"]]
        size, skip, left = int(part["block"]), int(part["start"]), int(part["stop"]) - int(part["start"])
        names = self._columns.of_file(part["file"], schema.names)
        while left and not names:
            yield record_batch([], [], min(size, left))
            left -= min(size, left)
        categories = [name for name in names if self._keeps_dictionary(schema[name])]
        if not names:
            return
        with translated(file, "Parquet"), self._open(part["file"], categories) as reader:
            batches = reader.iter_batches(size, row_groups=[part["group"]], columns=names, use_threads=False)
            for block in recut(batches, size, skip, left):
                left -= block.num_rows
                yield block
        if left:
            raise SourceError(
                "a row group ends too early",
                where=str(file.path),
                expected=f"{part['stop']} rows in row group {part['group']}",
                got=f"{int(part['stop']) - left} rows",
                remedy="the file is damaged: write it anew",
            )

    def _keeps_dictionary(self, field: Field) -> bool:
        return field.name not in self._plain and self._columns.has_words(field)
