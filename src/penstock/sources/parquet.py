"""Parquet files as a source: row groups cut in blocks from their metadata, types turned into those of roles.

A source. Row groups are decoded in slices and never materialised whole, so that one larger than memory is read.
Statistics in the metadata are never trusted for values; only counts and sizes are used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.batch import Batch, Count, RowKeys
from penstock.errors import SchemaError, SourceError
from penstock.inference import ColumnSample, Inferred, infer_role, make_schema, role_note
from penstock.schema import ROLE_TYPES, Field, Role, Schema
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.conform import (
    STEP,
    Verdicts,
    Wanted,
    can_conform,
    conform,
    is_text,
    rejected_rows,
    rejected_table,
)
from penstock.sources.files import DataFile, DataFiles, Limits, unreadable
from penstock.sources.parquet_cut import Group, cut, recut
from penstock.sources.parquet_types import NATURAL, described, is_usable, is_whole, kind_of

_BUFFER = 2**18
"""What is read of a column at a time [bytes]; a file is not mapped, since one cut short would end the process."""
_PAGES = 2 * 2**20
"""What pages of one column hold while they are decoded [bytes]: most writers make pages of 1 MiB."""
_KEPT_METADATA = 64
"""Metadata of so many files is kept between chunks."""


class ParquetSource(Source):
    """Parquet files of the same columns.

    Chunks are whole row groups, as many as fit; a chunk never splits one, except that where the files have fewer
    than 8 row groups one of more than two chunks is cut into up to 4 runs of blocks, so that there is work for several
    threads (a run skips by decoding what lies before it, hence no more of them).

    Columns that can't be used (nested, binary) are left out of the schema, which is said. Files may differ in the
    width of a type and in the order of columns.

    Raises:
        SourceError: a file is no Parquet, or is damaged.
        SchemaError: columns are missing, too many, doubled, or of another kind than in the first file.
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
        self._types: dict[str, list[pa.DataType]] = {}
        self._notes = list(files.notes)
        for index in range(len(files)):
            self._take_in(index)
        if sum(group.rows for group in self._groups) == 0:
            where = files.root if len(files) > 1 else files[0].path
            raise SourceError("there are no rows", where=str(where), expected="at least one row", got="0 rows")
        self._inferred, weight = self._infer()
        self._weigh(weight)
        self._set_roles(options.roles)

    # --- opening

    def _take_in(self, index: int) -> None:
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
        with _translated(file), self._open(index, ()) as reader:
            metadata, schema = reader.metadata, reader.schema_arrow
            usable = {field.name for field in schema if is_usable(field.type)}
            first = 0
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                size = sum(
                    group.column(i).total_uncompressed_size
                    for i in range(group.num_columns)
                    if group.column(i).path_in_schema.split(".")[0] in usable
                    or group.column(i).path_in_schema in usable
                )
                if group.num_rows < 0:
                    raise SourceError("a row group of a negative number of rows", where=str(file.path))
                self._groups.append(Group(index, number, first, group.num_rows, size))
                first += group.num_rows
                self._plain |= {
                    group.column(i).path_in_schema for i in range(group.num_columns) if _only_plain(group.column(i))
                }
        if index < _KEPT_METADATA:
            self._metadata[index] = metadata
        self._agree(file, schema)

    def _agree(self, file: DataFile, schema: pa.Schema) -> None:
        """Hold the columns of a file against those of the first."""
        names = schema.names
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SchemaError(
                "two columns have one name",
                where=str(file.path),
                got=", ".join(map(repr, doubled)),
                remedy="rename one of them",
            )
        if not self._types:
            self._types = {field.name: [field.type] for field in schema}
            return
        first = str(self._files[0].path)
        missing = [name for name in self._types if name not in names]
        extra = [name for name in names if name not in self._types]
        if missing or extra:
            raise SchemaError(
                "the columns are not those of the first file",
                where=str(file.path),
                expected=f"the columns of {first}",
                got="; ".join(
                    f"{word} {', '.join(map(repr, those))}"
                    for word, those in (("without", missing), ("with", extra))
                    if those
                ),
                remedy="read the files that agree by a glob, or write the columns that are missing",
            )
        for field in schema:
            kinds = {kind_of(of) for of in (*self._types[field.name], field.type)} - {"null"}
            if len(kinds) > 1:
                raise SchemaError(
                    f"column {field.name!r} has another type than in the first file",
                    where=str(file.path),
                    expected=f"{self._types[field.name][0]}, as in {first}",
                    got=str(field.type),
                    remedy="write the files with one type for each column",
                )
            if field.type not in self._types[field.name]:
                self._types[field.name].append(field.type)

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

    def _usable_names(self) -> tuple[str, ...]:
        return tuple(name for name, types in self._types.items() if all(map(is_usable, types)))

    def _infer(self) -> tuple[dict[str, Inferred], float]:
        """The roles by a sample, and what a row of the sample holds in memory [bytes]."""
        names = self._usable_names()
        if not names:
            raise SchemaError(
                "no column can be used",
                where=str(self._files[0].path),
                expected="columns of numbers, texts, truth values or times",
                got=", ".join(f"{name!r}: {types[0]}" for name, types in self._types.items()),
            )
        for name in self._types:
            if name not in names:
                text = f"{self._types[name][0]} is not read"
                self._notes.append(Note(f"column {name!r}", text, "no role takes nested or binary values"))
        pieces = list(self._sample(names))
        rows = sum(piece.num_rows for piece in pieces)
        complete = rows == sum(group.rows for group in self._groups)
        samples = [self._column_sample(name, [piece.column(name) for piece in pieces], complete) for name in names]
        weight = sum(sample.values.nbytes for sample in samples) / max(rows, 1)
        return {sample.name: infer_role(sample) for sample in samples}, weight

    def _sample(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows of the first, the middle and the last row group; all rows where there are few."""
        filled = [group for group in self._groups if group.rows]
        wanted = max(self._options.sample_rows, 1)
        few = sum(group.rows for group in filled) <= wanted
        chosen = filled if few else [filled[i] for i in sorted({0, len(filled) // 2, len(filled) - 1})]
        share = wanted if few else max(1, wanted // len(chosen))
        for group in chosen:
            with _translated(self._files[group.file]), self._open(group.file, ()) as reader:
                batches = reader.iter_batches(
                    min(share, group.rows), row_groups=[group.group], columns=list(names), use_threads=False
                )
                taken = 0
                for batch in batches:
                    yield batch.slice(0, share - taken).select(list(names))
                    taken += batch.num_rows
                    if taken >= share:
                        break

    def _column_sample(self, name: str, pieces: Sequence[pa.Array], complete: bool) -> ColumnSample:
        types = [of for of in self._types[name] if not pa.types.is_null(of)] or self._types[name]
        kind = kind_of(types[0])
        storage = ROLE_TYPES.get(NATURAL.get(kind, Role.category), pa.string())
        wanted = Wanted(storage, Role.number, frozenset(self._options.missing or ()))
        arrays = [conform(piece, wanted) for piece in pieces]
        large = any(fault.code == "too_large" for array in arrays for fault in array.faults) and kind == "number"
        if large:
            arrays = [conform(piece, Wanted(pa.string(), Role.category)) for piece in pieces]
        values = pa.concat_arrays([array.values for array in arrays])
        return ColumnSample(
            name,
            values,
            whole=all(is_whole(of) for of in types),
            complete=complete,
            stored_as_categories=all(pa.types.is_dictionary(of) for of in types),
            leading_zeros=large,
            was="whole numbers beyond 2^53, which float64 would round" if large else described(types[0]),
        )

    def _weigh(self, weight: float) -> None:
        """Sizes of row groups in memory: as encoded in the file, or as in the sample, whichever is more."""
        self._groups = [
            Group(group.file, group.group, group.first, group.rows, max(group.nbytes, int(weight * group.rows)))
            for group in self._groups
        ]

    def _set_roles(self, roles: Mapping[str, Role]) -> None:
        self._roles = dict(roles)
        names = tuple(self._inferred)
        texts = frozenset(name for name in names if any(kind_of(of) == "text" for of in self._types[name]))
        self.schema = make_schema(names, self._inferred, roles, text=texts)
        for field in self.schema:
            for of in self._types[field.name]:
                if not can_conform(of, field.type):
                    raise SchemaError(
                        f"column {field.name!r} can't be a {field.role}",
                        where=str(self._files[0].path),
                        expected=f"values that can become {field.type}",
                        got=str(of),
                        remedy="give it another role",
                    )
        said = [role_note(name, self._inferred[name]) for name in names if name not in roles]
        self.notes = (*self._notes, *said)

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
        other = copy.copy(self)
        other._clean = set()
        other._set_roles({**self._roles, **roles})
        return other

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order."""
        return tuple(file.fingerprint for file in self._files)

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
            pages = max(pages, min(group.nbytes, _PAGES * len(self._types)))
        return 2 * most + pages + _BUFFER * len(self._types)

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
                batch = self._batch(file, raw, row, checked, asked)
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
        categories = [field.name for field in schema if self._keeps_dictionary(field)]
        with _translated(file), self._open(part["file"], categories) as reader:
            batches = reader.iter_batches(
                size, row_groups=[part["group"]], columns=list(schema.names), use_threads=False
            )
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
        return (
            field.kind is Role.category
            and field.name not in self._plain
            and all(is_text(of) or pa.types.is_dictionary(of) for of in self._types[field.name])
        )

    def _batch(self, file: DataFile, raw: pa.RecordBatch, row: int, checked: Schema, asked: Schema) -> Batch:
        count = raw.num_rows
        keys = RowKeys.span(file.key, row, count)
        missing = frozenset(self._options.missing or ())
        verdicts = Verdicts()
        columns: dict[str, pa.Array] = {}
        for field in checked:
            wanted = Wanted(field.type, field.kind, missing, dictionary=field.kind is Role.category)
            done = conform(raw.column(field.name), wanted)
            verdicts.add(field.name, done.faults)
            columns[field.name] = done.values
        block = pa.RecordBatch.from_arrays([columns[name] for name in checked.names], names=list(checked.names))
        block = block.select(list(asked.names))
        if not verdicts.rows:
            return Batch(block, keys, None, (Count(STEP, rows_in=count, out=count),))
        kept = verdicts.kept(count)
        gone = len(verdicts.rows)
        return Batch(
            block.filter(pa.array(kept)),
            keys.take(kept),
            rejected_table(file.key, rejected_rows(raw, row, verdicts, checked.names)),
            (Count(STEP, rows_in=count, out=count - gone, rejected=gone),),
        )


def _only_plain(column: Any) -> bool:
    """Whether a column chunk has an encoding that can't be read as a dictionary."""
    return any(encoding.startswith("DELTA") or encoding == "BYTE_STREAM_SPLIT" for encoding in column.encodings)


@contextmanager
def _translated(file: DataFile) -> Iterator[None]:
    """Errors of Arrow about one file, in our words."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, EOFError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file.path, error) from error
        text = str(error).strip().splitlines()
        raise SourceError(
            "can't be read as Parquet",
            where=str(file.path),
            expected="an undamaged Parquet file",
            got=text[0] if text else type(error).__name__,
            remedy="write it anew, or leave it out",
        ) from error
