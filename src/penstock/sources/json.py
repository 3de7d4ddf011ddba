"""JSON lines as a source: one object per line, what is nested flattened, and a bad line a rejected row.

A source. Fields and types are inferred from a sample and then held to. The plan is cut at line ends while the files are
read, the same each time.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from penstock.batch import Batch, Count, RowKeys, record_batch
from penstock.errors import SchemaError, SourceError
from penstock.inference import make_schema, notes_of
from penstock.schema import Field, Role, Schema
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.columns import FolderColumns, needed, repeated, united
from penstock.sources.conform import STEP, RejectedRow, Verdict, Wanted, rejected_table
from penstock.sources.csv_block import Block, BlockRecords, segments_of
from penstock.sources.csv_open import open_text
from penstock.sources.csv_records import find_records
from penstock.sources.files import DataFiles, Limits
from penstock.sources.json_block import LINES, JsonLayout, read_json_block
from penstock.sources.json_fields import FieldSample, Path, name_of, parse_record, paths_of
from penstock.sources.spool import UTF_8_BOM, SpoolFolder, TextFile
from penstock.sources.text_plan import TextPlan
from penstock.sources.text_sample import Sampler
from penstock.sources.typed import refuse_role
from penstock.sources.written import as_written

_HEAD = 2**18
_FIRST = 100
"""Records of every file that are looked at, to see which fields it has."""


@dataclass(slots=True)
class _Parsed:
    """Lines of a sample: the objects, and why the others are none."""

    good: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Verdict] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.good)

    def add(self, data: bytes) -> None:
        record = parse_record(data)
        if isinstance(record, Verdict):
            self.rejected.append(record)
        else:
            self.good.append(record)


class JsonSource(Source):
    """JSON lines, plain or compressed (.gz, .zst, .zip): one object per line (jsonlines.org, ndjson).

    Every line that is not empty is a row or a reject. The fields of objects in a record are columns of their own,
    ``a.b``; lists of single values are lists of texts; lists of anything else are not read. A key that is missing is
    null. A field that the sample does not have is not read. NaN and Infinity are taken as numbers, though JSON has
    none. Files that are compressed or not UTF-8 are spooled in a temporary folder until `close`.

    Raises:
        SourceError: no line holds an object, or a file can't be decompressed.
        SchemaError: two fields have one name, a file has no field of the first one, or a role does not suit.
        UsageError: the encoding is not known.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self._missing = frozenset(options.missing or ())
        self._folder = SpoolFolder()
        self.reading = repr(("json", sorted(self._missing), self._limits))
        self._folders = FolderColumns(tuple(files))
        notes: list[Note] = [*files.notes]
        self._texts = tuple(open_text(file, options, self._folder, i, notes) for i, file in enumerate(files))
        heads = [_head(text) for text in self._texts]
        self._starts = [start for start, _ in heads]
        notes += self._find_fields([paths for _, paths in heads], max(options.sample_rows, 1))
        self._notes = tuple(notes)
        begins = [(start, 1) for start in self._starts]
        self._plan = TextPlan(files, self._texts, begins, LINES, limits=self._limits, weight=self._weight)
        self._clean: set[int] = set()
        self._set_roles(options.roles, options.written)

    def _find_fields(self, heads: Sequence[Sequence[Path]], rows: int) -> list[Note]:
        """Which fields there are, by the heads of all files and a sample of their records; what is said of them."""
        columns = [[name_of(path) for path in paths] for paths in heads]
        _, notes = united(tuple(self._files), columns, self._folders, by_head=True)
        taken = FieldSample()
        nbytes = rejected = 0
        complete = True
        sampler = Sampler(self._texts, self._starts, LINES, rows, self._limits, self._parsed, needed(columns))
        for piece in sampler.pieces():
            for record in piece.block.good:
                taken.add(record)
            rejected += len(piece.block.rejected)
            nbytes += piece.nbytes
            complete = complete and piece.ended
        self._row_bytes = nbytes / max(taken.count + rejected, 1)
        order = tuple(dict.fromkeys(path for paths in heads for path in paths))
        found, said = taken.fields(order, complete=complete)
        if not found:
            raise SchemaError(
                "no field can be used",
                where=str(self._files[0].path),
                expected="fields of numbers, texts, truth values or lists of them",
                got=", ".join(note.topic for note in said) or "empty objects",
            )
        self._fields = {one.name: one for one in found}
        self._names = self._folders.added(tuple(self._fields))
        if not complete:
            text = f"{len(found)} are in a sample of {taken.count:,} records; others that come later are not read"
            said.append(Note("fields", text))
        return [*notes, *said, *self._folders.notes(self._fields)]

    def _parsed(self, index: int, part: Mapping[str, Any]) -> _Parsed:
        """The records of one block, for the sample."""
        fetch = self._texts[index].read
        records = BlockRecords(fetch, part, segments_of(fetch, part), LINES)
        found = _Parsed()
        for row in range(len(records.starts)):
            found.add(records.bytes_of(row))
        return found

    def _set_roles(self, roles: Mapping[str, Role], written: Mapping[str, str]) -> None:
        self._roles, self._written = dict(roles), dict(written)
        found = {name: one.inferred for name, one in self._fields.items()} | self._folders.inferred
        inferred = as_written(found, written)
        texts = {name for name, one in self._fields.items() if pa.types.is_string(one.stored)}
        self.schema = make_schema(self._names, inferred, roles, text=frozenset((*texts, *self._folders.inferred)))
        self._constants = self._folders.values(self.schema)
        self._wanted: dict[str, Wanted] = {}
        for name, one in self._fields.items():
            of = self.schema[name]
            refuse_role(of, one.stored, self._files[0])
            typed = pa.types.is_string(one.stored) and not pa.types.is_string(of.type)
            missing = self._missing | {""} if typed else self._missing
            self._wanted[name] = Wanted(of.type, of.kind, missing, of.written)
        self.notes = (*self._notes, *notes_of(self.schema, inferred, roles))

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files and plan with other roles for some columns."""
        other = copy.copy(self)
        other._clean = set()
        other._set_roles({**self._roles, **roles}, self._written)
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same files and plan with other ways of writing for some columns."""
        other = copy.copy(self)
        other._clean = set()
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
        """About what reading one block holds at its peak [bytes]: its bytes, what the parser makes of them, the columns
        as they are stored, and in the schema's types."""
        stored = sum(max(8.0, one.width) for one in self._fields.values())
        row = 4.5 * self._row_bytes + stored + self._typed_bytes()
        rows = min(self._limits.block_rows, self._limits.block_bytes / self._row_bytes)
        if not any(file.compression for file in self._files):
            rows = min(rows, self.nbytes / self._row_bytes)
        return int(1.1 * rows * row)

    def _typed_bytes(self) -> float:
        """What a row holds in the roles that were inferred: other roles do not change the plan [bytes]."""
        return sum(one.typed_width for one in self._fields.values())

    def _weight(self, nbytes: int) -> int:
        return int(nbytes * self._typed_bytes() / self._row_bytes)

    def close(self) -> None:
        """Remove the spool files; reading on makes them anew."""
        self._folder.close()

    # --- the plan and reading

    def chunks(self) -> Iterator[Chunk]:
        """The plan; it grows as the files are read, and is remembered.

        Raises:
            SourceError: a compressed file is damaged; the chunks before the damage were given.
            ChangedError: a file is not what it was.
        """
        return iter(self._plan)

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            ChangedError: a file is not what it was.
            SourceError: a file can't be read.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        # Which rows are rejected must not depend on the columns asked for: until a chunk is known to have no
        # reject, all its columns are read.
        checked = asked if chunk.index in self._clean else self.schema
        layout = JsonLayout(
            tuple(self._fields[name] for name in checked.names if name in self._wanted and name not in self._constants),
            self._wanted,
            frozenset(one.path for one in self._fields.values()),
        )
        clean = True
        for index, part in self._plan.parts(chunk):
            batch = self._batch(index, part, layout, asked)
            clean = clean and batch.rejected is None
            yield batch
        if clean:
            self._clean.add(chunk.index)

    def _batch(self, index: int, part: Mapping[str, Any], layout: JsonLayout, asked: Schema) -> Batch:
        file = self._files[index]
        block = read_json_block(self._texts[index].read, part, layout, str(file.path))
        first = int(part["row"])
        keys = RowKeys.span(file.key, first, part["rows"])
        if block.rows is not None:
            keys = keys.take(block.rows)
        columns = record_batch([self._column(of, index, block) for of in asked], asked.names, block.count)
        rejected = rejected_table(
            file.key,
            (RejectedRow(first + row.row, row.line, row.verdict, row.value, row.record) for row in block.rejected),
        )
        count = Count(STEP, rows_in=part["rows"], out=block.count, rejected=len(block.rejected))
        return Batch(columns, keys, rejected, (count,))

    def _column(self, of: Field, index: int, block: Block) -> pa.Array:
        """One column of a block: as it was read, categories as dictionaries; or from its folder's name."""
        if of.name in self._constants:
            return repeated(self._constants[of.name], index, block.count)
        values = block.columns[of.name]
        return values.dictionary_encode() if of.kind is Role.category else values


def _head(text: TextFile) -> tuple[int, list[Path]]:
    """Where the first line begins, and the fields of the first records.

    Raises:
        SourceError: none of the first lines is an object.
    """
    data, final = text.window(0, _HEAD)
    text.release()
    skip = len(UTF_8_BOM) if data.startswith(UTF_8_BOM) else 0
    data = data[skip:]
    found = find_records(data, LINES.delimiter.encode(), quoting=False, final=final)
    parsed = _Parsed()
    for start, stop in zip(found.starts[:_FIRST].tolist(), found.stops[:_FIRST].tolist(), strict=True):
        parsed.add(data[start:stop])
    if parsed.rejected and not parsed.good:
        begins = data.lstrip()[:1]
        raise SourceError(
            "no line is a JSON object",
            where=str(text.file.path),
            expected="one object per line (JSON lines)",
            got="a list" if begins == b"[" else f"{parsed.rejected[0].reason}, in line 1",
            remedy=f"write it so, as with jq -c '{'.[]' if begins == b'[' else '.'}'",
        )
    if not parsed.good and final:
        raise SourceError("the file holds no record", where=str(text.file.path), expected="at least one", got="none")
    return skip, paths_of(parsed.good)
