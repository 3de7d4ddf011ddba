"""Tar shards as a source, by the naming of WebDataset (Aizman, Maltby and Breuel, "High performance I/O for large scale
deep learning", IEEE Big Data 2019): neighbouring files of one name but for what follows its first dot are a sample, a
row.

A source. Only heads are read to plan; nothing is ever unpacked, and names in an archive are names, never places.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import SourceError
from penstock.inference import Inferred
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.conform import Verdict
from penstock.sources.csv_types import infer_column
from penstock.sources.files import DataFiles, Limits
from penstock.sources.made_columns import MadeColumns, inferred_labels
from penstock.sources.picture_files import PATH, runs
from penstock.sources.spool import UTF_8, SpoolFolder, TextFile
from penstock.sources.tar_index import JSON, Index, index_of
from penstock.sources.whole_files import MOST_BYTES

BLOCK_SAMPLES = 1024
"""The most samples of a block."""
_ROW_BYTES = 300
_JSON_SAMPLED = 200
_SAID = 5


@dataclass(frozen=True, slots=True)
class _Shard:
    """One shard: its bytes, and where in them each member of each sample is."""

    text: TextFile
    index: Index


class TarSource(Source):
    """Tar shards, plain or compressed: ``path`` (the name of the sample), ``picture`` (.jpg, .png, ...) or ``clip``
    (.mp4, ...), ``label`` (.cls), ``text`` (.txt), and the fields of .json.

    ``0001.seg.png`` is a column ``seg`` beside ``0001.jpg``. Other members are passed over, which is said. What a
    sample lacks is null. Compressed shards are spooled, decompressed, until `close`.

    Raises:
        SourceError: a shard is damaged, or holds no sample.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self._folder = SpoolFolder()
        texts = [TextFile(file, UTF_8, self._folder, number) for number, file in enumerate(files)]
        self._shards = [_Shard(text, index_of(file, text)) for file, text in zip(files, texts, strict=True)]
        if not sum(map(len, (shard.index.names for shard in self._shards))):
            raise SourceError("there is no sample", where=str(files[0].path), expected="files in the archive")
        self._members = {name: kind for shard in self._shards for name, kind in shard.index.kinds.items()}
        self._has_json = any(JSON in shard.index.starts for shard in self._shards)
        self._json: tuple[str, ...] = ()
        inferred = self._infer(max(1, options.sample_rows))
        fixed = {name: pa.binary() for name, kind in self._members.items() if kind in (Role.picture, Role.clip)}
        self.reading = repr((self._limits, sorted(self._members), self._json))
        self._set(MadeColumns(inferred, fixed, options.roles, options.written))

    def _set(self, columns: MadeColumns) -> None:
        self._columns = columns
        self.schema = columns.schema
        self.notes = (*self._files.notes, *self._said(), *columns.notes)

    def _said(self) -> Iterator[Note]:
        samples = sum(len(shard.index.names) for shard in self._shards)
        yield Note(
            "samples", f"{samples:,} in {len(self._shards):,} shards", "files of one name but for its extensions"
        )
        others = sorted({one for shard in self._shards for one in shard.index.others})
        if others:
            more = ", ..." if len(others) > _SAID else ""
            yield Note("other members", f"those with {', '.join(others[:_SAID])}{more} are passed over")

    # --- the columns

    def _infer(self, rows: int) -> dict[str, Inferred]:
        found = {PATH: Inferred(Role.key, Role.category, "the name of each sample")}
        for name, kind in self._members.items():
            if kind in (Role.picture, Role.clip):
                found[name] = Inferred(kind, kind, f"members that are {kind}s")
        shard = next(shard for shard in self._shards if shard.index.names)
        number = self._shards.index(shard)
        count = min(len(shard.index.names), rows)
        if self._has_json:
            records, _ = self._records(number, 0, min(count, _JSON_SAMPLED))
            self._json = _fields(records, {*found, *self._members})
        count = min(count, BLOCK_SAMPLES)
        texts, _ = self._texts(number, 0, count)
        complete = count == sum(len(one.index.names) for one in self._shards)
        for name in (name for name, kind in self._members.items() if kind is Role.category):
            found[name] = inferred_labels(texts[name], "members .cls", complete=complete)
        for name in (name for name, kind in self._members.items() if kind is Role.text):
            found[name] = Inferred(Role.text, Role.text, "members .txt")
        for name in self._json:
            found[name] = infer_column(name, texts[name], complete=complete)
        return found

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same samples with other roles for some columns."""
        other = copy.copy(self)
        other._set(self._columns.with_roles(roles))
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for columns of text."""
        other = copy.copy(self)
        other._set(self._columns.with_written(written))
        return other

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the shards, in order."""
        return self._files.fingerprints

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these shards alone."""
        other = copy.copy(self)
        other._files = self._files.only(paths)
        other.__dict__.pop("_plan", None)  # it is of all shards
        return other

    def close(self) -> None:
        """Remove the spool files; reading on makes them anew."""
        self._folder.close()

    # --- the plan

    @cached_property
    def _plan(self) -> tuple[Chunk, ...]:
        found: list[Chunk] = []
        for number, shard in enumerate(self._shards):
            if not self._files.is_chosen(number):
                continue
            count, ends = len(shard.index.names), np.cumsum(shard.index.sizes())
            for start, stop in runs(ends, 0, count, count, self._limits.chunk_bytes):
                nbytes = int(ends[stop - 1] - (ends[start - 1] if start else 0)) + _ROW_BYTES * (stop - start)
                found.append(Chunk(len(found), ({"file": number, "start": start, "stop": stop},), nbytes, stop - start))
        return tuple(found)

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the heads in the shards; a chunk is of one shard."""
        yield from self._plan

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return sum(chunk.nbytes for chunk in self._plan)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: members as read, and as columns."""
        largest = max(int(shard.index.sizes().max(initial=0)) for shard in self._shards)
        rows = min(self._limits.block_rows, BLOCK_SAMPLES)
        whole = max(int(shard.index.sizes().sum()) for shard in self._shards)
        return 2 * min(max(self._limits.block_bytes, largest), whole) + _ROW_BYTES * rows

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            ChangedError: a shard is not what it was.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        for part in chunk.parts:
            number, first, last = int(part["file"]), int(part["start"]), int(part["stop"])
            file, shard = self._files[number], self._shards[number]
            file.check()
            ends = np.cumsum(shard.index.sizes()[first:last])
            most = min(self._limits.block_rows, BLOCK_SAMPLES)
            for start, stop in runs(ends, first, last, most, self._limits.block_bytes):
                yield self._block(number, start, stop, asked)
            file.check()

    def _block(self, number: int, start: int, stop: int, asked: Schema) -> Batch:
        # All texts are read, whatever is asked for: which rows are rejected must not depend on it.
        raw, bad = self._texts(number, start, stop)
        for name, kind in self._members.items():
            if kind in (Role.picture, Role.clip):
                held, more = self._held(number, name, start, stop, name in asked)
                raw[name] = held
                bad |= {row: verdict for row, verdict in more.items() if row not in bad}
        keys = RowKeys.span(self._files[number].key, start, stop - start)
        return self._columns.batch(raw, keys, asked, bad)

    def _held(self, number: int, name: str, start: int, stop: int, asked: bool) -> tuple[pa.Array, dict[int, Verdict]]:
        sizes = self._shards[number].index.lengths(name, start, stop)
        bad: dict[int, Verdict] = {}
        for row, size in enumerate(sizes.tolist()):
            if size == 0:
                bad[row] = Verdict(name, "empty_file", "the file is empty")
            elif size > MOST_BYTES["picture"]:
                bad[row] = Verdict(name, "too_large", f"{size:,} bytes, and at most {MOST_BYTES['picture']:,} are read")
        if not asked:
            return pa.nulls(stop - start, pa.binary()), bad
        return pa.array(self._bytes(number, name, start, stop, bad), pa.binary()), bad

    def _bytes(
        self, number: int, name: str, start: int, stop: int, without: Collection[int] = ()
    ) -> list[bytes | None]:
        """The members of samples, None where there is none."""
        shard = self._shards[number]
        places = zip(shard.index.places(name, start, stop), shard.index.lengths(name, start, stop), strict=True)
        return [
            None if size < 0 or row in without else shard.text.window(int(place), int(size))[0]
            for row, (place, size) in enumerate(places)
        ]

    def _texts(self, number: int, start: int, stop: int) -> tuple[dict[str, pa.Array], dict[int, Verdict]]:
        """The columns of text: names, labels, texts, fields."""
        names = self._shards[number].index.names[start:stop]
        found: dict[str, pa.Array] = {PATH: pa.array(names, pa.string())}
        bad: dict[int, Verdict] = {}
        for name, kind in self._members.items():
            if kind in (Role.category, Role.text):
                cells: list[str | None] = []
                for row, value in enumerate(self._bytes(number, name, start, stop)):
                    try:
                        text = None if value is None else value.decode("utf-8")
                    except UnicodeDecodeError:
                        text = None
                        bad.setdefault(row, Verdict(name, "bad_encoding", "not UTF-8"))
                    cells.append(text.strip() if text is not None and kind is Role.category else text)
                found[name] = pa.array(cells, pa.string())
        if self._has_json:
            records, more = self._records(number, start, stop)
            bad |= {row: verdict for row, verdict in more.items() if row not in bad}
            for name in self._json:
                found[name] = pa.array([_cell(record.get(name)) for record in records], pa.string())
        return found, bad

    def _records(self, number: int, start: int, stop: int) -> tuple[list[dict[str, Any]], dict[int, Verdict]]:
        records: list[dict[str, Any]] = []
        bad: dict[int, Verdict] = {}
        for row, value in enumerate(self._bytes(number, JSON, start, stop)):
            record: Any = {}
            try:
                record = {} if value is None else json.loads(value)
            except (ValueError, RecursionError) as error:
                bad[row] = Verdict(None, "bad_json", f"the member .json is no JSON: {str(error).splitlines()[0]}")
            if not isinstance(record, dict):
                bad[row] = Verdict(None, "bad_json", "the member .json is no object")
            records.append(record if isinstance(record, dict) else {})
        return records, bad


def _fields(records: Sequence[Mapping[str, Any]], taken: Collection[str]) -> tuple[str, ...]:
    """The fields with single values, in the order in which they first appear."""
    names: dict[str, None] = {}
    for record in records:
        names |= dict.fromkeys(name for name, value in record.items() if not isinstance(value, (dict, list)))
    return tuple(name for name in names if name not in taken)


def _cell(value: Any) -> str | None:
    """A value of JSON as a cell of text; none of what holds others."""
    if value is None or isinstance(value, (dict, list)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
