"""Pictures, clips and texts as sources: every file is a row.

A source. The folders below the root give each row its label (the first of them) and the columns that they are named
after (``dt=2026-11-20``). A file that is empty, unreadable or too large is a rejected row, and nothing else.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import SourceError
from penstock.inference import Inferred
from penstock.schema import Role, Schema
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.columns import FolderColumns
from penstock.sources.conform import Verdict
from penstock.sources.csv_encoding import Encoding, find_encoding, named_encoding
from penstock.sources.files import DataFile, DataFiles, Limits, folders_of, unreadable
from penstock.sources.made_columns import MadeColumns, coded, inferred_labels
from penstock.sources.whole_files import EMPTY, FINE, MOST_BYTES, TOO_LARGE, WholeFiles

PATH, LABEL = "path", "label"
CHUNK_FILES = 1024
"""The most files of a chunk."""
_ROW_BYTES = 300
"""About what a row holds beside its content: its path and its key [bytes]."""
_SAMPLED_FILES = 64
_SAMPLED_BYTES = 2**16


class FilesSource(Source):
    """Files that are a row each; what their content becomes is the business of those below.

    Args:
        files: the files.
        options: how to read.
        limits: how large blocks and chunks may become.

    Raises:
        SourceError: there is no file.
        SchemaError: a role is for a column that is not there.
    """

    a_row_each = True
    content: str
    """The name of the column, and the kind of the files."""
    block_files: int
    """The most files of a block."""

    def __init__(self, files: WholeFiles | DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = WholeFiles.of(files) if isinstance(files, DataFiles) else files
        if not len(self._files):
            raise SourceError("there is no file", where=str(self._files.root))
        self._limits = limits or Limits()
        self._clean: set[tuple[int, int]] = set()
        self._said = self._opened(options)
        self.reading = repr((self.content, self._limits, *self._way()))
        self._folders = _FolderValues(self._files)
        inferred: dict[str, Inferred] = {
            PATH: Inferred(Role.key, Role.category, "where each file is"),
            self.content: Inferred(self._role, self._role, f"the content of each file, a {self.content}"),
            **self._folders.inferred,
        }
        fixed = {} if self._type is None else {self.content: self._type}
        self._set(MadeColumns(inferred, fixed, options.roles, options.written))

    def _set(self, columns: MadeColumns) -> None:
        self._columns = columns
        self.schema = columns.schema
        self.notes = (*self._files.notes, *self._said, *self._folders.notes, *columns.notes)

    # --- what is to be said of each kind of files

    @property
    def _role(self) -> Role:
        return Role(self.content)

    _type: pa.DataType | None = None
    """The type of the content; None for text, whose role decides."""

    def _opened(self, options: ReadOptions) -> Sequence[Note]:
        """Find out how they are read, and say so."""
        return ()

    def _way(self) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def _content(self, rows: range) -> tuple[pa.Array, dict[int, Verdict]]:
        """The content of files, and which of them are no rows."""

    def _needs_content(self, rows: range, asked: Schema) -> bool:
        """Whether the files have to be read."""
        return self.content in asked

    # --- the plan

    def _sizes(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """What some rows hold in memory [bytes]; of files that are rejected nothing is read."""
        return np.where(self._files.faults[start:stop] == FINE, self._files.sizes[start:stop], 0)

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the sizes of the files alone."""
        ends = np.cumsum(self._sizes())
        for index, (start, stop) in enumerate(runs(ends, 0, len(self._files), CHUNK_FILES, self._limits.chunk_bytes)):
            nbytes = int(ends[stop - 1] - (ends[start - 1] if start else 0)) + _ROW_BYTES * (stop - start)
            yield Chunk(index, ({"start": start, "stop": stop},), nbytes, stop - start)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        most = min(self.block_files, self._limits.block_rows)
        return runs(np.cumsum(self._sizes(start, stop)), start, stop, most, self._limits.block_bytes)

    @property
    def nbytes(self) -> int:
        """The size of the files [bytes]."""
        return int(self._files.sizes.sum())

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return int(self._sizes().sum()) + _ROW_BYTES * len(self._files)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]."""
        sizes = self._sizes()
        largest = int(sizes.max(initial=0))
        held = min(int(sizes.sum()), self.block_files * largest, max(self._limits.block_bytes, largest))
        return held + _ROW_BYTES * self.block_files

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files, in order; digests are of the size, the first and the last 4 KiB."""
        return self._files.fingerprints()

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        other = copy.copy(self)
        other._files = self._files.only(paths)
        other._folders = self._folders.of(other._files)
        other._clean = set()
        return other

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same files with other roles for some columns."""
        other = copy.copy(self)
        other._set(self._columns.with_roles(roles))
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for the columns that folders give."""
        other = copy.copy(self)
        other._set(self._columns.with_written(written))
        return other

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            ChangedError: a file is not what it was.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        for part in chunk.parts:
            for start, stop in self._blocks(int(part["start"]), int(part["stop"])):
                yield self._block(range(start, stop), asked)

    def _block(self, rows: range, asked: Schema) -> Batch:
        place = np.arange(rows.start, rows.stop)
        keys = tuple(self._files.key(row) for row in rows)
        raw: dict[str, pa.Array] = {PATH: pa.array(keys, pa.string()), **self._folders.values(place)}
        bad = {int(i): self._verdict(int(rows[i])) for i in np.flatnonzero(self._files.faults[rows.start : rows.stop])}
        if self._needs_content(rows, asked):
            raw[self.content], more = self._content(rows)
            bad |= {row: verdict for row, verdict in more.items() if row not in bad}
        elif self._type is None:
            raw[self.content] = pa.nulls(len(rows), pa.string())
        row_keys = RowKeys(keys, np.zeros(len(rows), np.int64), np.arange(len(rows), dtype=np.int32))
        return self._columns.batch(raw, row_keys, asked, bad)

    def _verdict(self, row: int) -> Verdict:
        fault = int(self._files.faults[row])
        if fault == EMPTY:
            return Verdict(self.content, "empty_file", "the file is empty")
        if fault == TOO_LARGE:
            size, most = int(self._files.sizes[row]), MOST_BYTES[self.content]
            return Verdict(self.content, "too_large", f"{size:,} bytes, and at most {most:,} are read")
        return Verdict(self.content, "unreadable", "the file can't be read")

    def _read_whole(self, rows: range) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """The content of files, one after the other, and where each begins; nothing of those that are rejected."""
        sizes = self._sizes(rows.start, rows.stop)
        ends = np.append(0, np.cumsum(sizes)).astype(np.int32)
        held = np.empty(int(ends[-1]), np.uint8)
        view = memoryview(held.data)
        for i, row in enumerate(rows):
            if sizes[i]:
                self._files.read(row, view[ends[i] : ends[i + 1]])
        return held, ends


class PictureFiles(FilesSource):
    """Pictures, each a row: ``path``, ``picture`` (the bytes of the file, encoded) and, where they lie in folders,
    ``label``: the name of the first one below the root. Nothing is decoded here; a step does that.

    Blocks have at most 64 files or about 16 MiB, chunks 1,024 files or about 64 MiB. Where pictures are not asked for,
    no file is opened.
    """

    content = "picture"
    block_files = 64
    _type = pa.binary()

    def _content(self, rows: range) -> tuple[pa.Array, dict[int, Verdict]]:
        held, ends = self._read_whole(rows)
        return pa.BinaryArray.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(ends), pa.py_buffer(held)]), {}


class ClipFiles(FilesSource):
    """Clips, each a row: ``path``, ``clip`` (where the file is: a step opens it, once) and ``label``.

    Blocks have at most 8 files, chunks 1,024 or about 64 MiB of them.
    """

    content = "clip"
    block_files = 8
    _type = pa.string()

    def _content(self, rows: range) -> tuple[pa.Array, dict[int, Verdict]]:
        # As the system has it: a name that is no UTF-8 can't be a text, and is rejected.
        paths: list[str | None] = []
        bad: dict[int, Verdict] = {}
        for i, row in enumerate(rows):
            try:
                paths.append(self._files.path(row).encode().decode())
            except UnicodeEncodeError:
                paths.append(None)
                bad[i] = Verdict(self.content, "bad_encoding", "the file's name is not UTF-8")
        return pa.array(paths, pa.string()), bad

    def _needs_content(self, rows: range, asked: Schema) -> bool:
        return True  # which costs nothing, and says which names are no UTF-8

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds [bytes]: the files are not read here."""
        return 2 * _ROW_BYTES * self.block_files


class TextFiles(FilesSource):
    """Texts, each file a row: ``path``, ``text`` and ``label``; where `ReadOptions.each` is "file".

    The encoding is found as for CSV, one for all of them; what can't be decoded is rejected.
    """

    content = "text"
    block_files = 1024

    def _opened(self, options: ReadOptions) -> Sequence[Note]:
        step = max(1, len(self._files) // _SAMPLED_FILES)
        pieces = [self._head(row) for row in range(0, len(self._files), step)]
        pieces = [piece for piece in pieces if piece] or [b""]
        if options.encoding is not None:
            self._encoding: Encoding = named_encoding(options.encoding, pieces[0])
            return ()
        self._encoding = find_encoding(pieces)
        if not self._encoding.guessed:
            return ()
        return (Note("encoding", self._encoding.codec, self._encoding.reason, "--encoding NAME"),)

    def _head(self, row: int) -> bytes:
        if self._files.faults[row] != FINE:
            return b""
        path = Path(self._files.path(row))
        try:
            with path.open("rb") as file:
                return file.read(_SAMPLED_BYTES) + b"\n"
        except OSError as error:
            raise unreadable(path, error) from error

    def _way(self) -> tuple[str, ...]:
        return (self._encoding.codec,)

    def _needs_content(self, rows: range, asked: Schema) -> bool:
        # Which rows are rejected must not depend on the columns asked for.
        return self.content in asked or (rows.start, rows.stop) not in self._clean

    def _content(self, rows: range) -> tuple[pa.Array, dict[int, Verdict]]:
        held, ends = self._read_whole(rows)
        texts: list[str | None] = []
        bad: dict[int, Verdict] = {}
        for i in range(len(rows)):
            try:
                texts.append(bytes(held[ends[i] : ends[i + 1]]).decode(self._encoding.codec).removeprefix("\ufeff"))
            except UnicodeDecodeError as error:
                texts.append(None)
                reason = f"not {self._encoding.codec}, from byte {error.start} on"
                bad[i] = Verdict(self.content, "bad_encoding", reason)
        if not bad:
            self._clean.add((rows.start, rows.stop))
        return pa.array(texts, pa.string()), bad

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: bytes, texts of Python, texts of Arrow."""
        return 4 * super().block_nbytes


class _FolderValues:
    """What the folders give: the label, and the columns that they are named after."""

    def __init__(self, files: WholeFiles, known: _FolderValues | None = None) -> None:
        self._folder_of = files.folder_of
        self._parts = [[part for part in folder.split("/") if part and "=" not in part] for folder in files.folders]
        self._labels = [parts[0] if parts else None for parts in self._parts]
        named = [_named(files.root, folder) for folder in files.folders]
        self._named = FolderColumns(named)
        self._texts = {name: pa.array([dict(one.folders).get(name) for one in named]) for name in self._named.inferred}
        self.inferred: dict[str, Inferred] = {} if known is None else known.inferred
        self.notes: tuple[Note, ...] = () if known is None else known.notes
        if known is None:
            self._infer()

    def of(self, files: WholeFiles) -> _FolderValues:
        """The same columns, of some of the files."""
        return _FolderValues(files, self)

    def _infer(self) -> None:
        used = [self._labels[place] for place in np.unique(self._folder_of)]
        if any(used):
            texts = pa.array(self._labels, pa.string()).take(pa.array(self._folder_of))
            classes = len(texts.drop_null().unique())
            reason = f"the first folder below the root, {classes:,} of them"
            self.inferred[LABEL] = inferred_labels(texts, reason)
            deep = " (folders below it are not told)" if any(len(parts) > 1 for parts in self._parts) else ""
            text = f"{LABEL!r}, the name of the first folder below the root{deep}"
            alone = f"; {texts.null_count:,} files lie in the root itself, and have none" if texts.null_count else ""
            self.notes = (Note("labels", text, f"{classes:,} folders hold files{alone}", "read a folder below it"),)
        self.inferred |= {name: found for name, found in self._named.inferred.items() if name not in (PATH, LABEL)}

    def values(self, rows: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
        """The columns of some rows, as texts."""
        places = self._folder_of[rows]
        found: dict[str, pa.Array] = {}
        for name in self.inferred:
            if name == LABEL:
                found[name] = coded(places, self._labels)
            else:
                texts = self._texts.get(name)
                found[name] = pa.nulls(len(rows), pa.string()) if texts is None else texts.take(pa.array(places))
        return found


def _named(root: Path, folder: str) -> DataFile:
    """A folder as the files in it would have it."""
    key = f"{folder}/-" if folder else "-"
    return DataFile(root, key, "", "", Fingerprint(key, 0, 0, ""), "", folders_of(root, key))


def runs(ends: npt.NDArray[np.int64], start: int, stop: int, most: int, nbytes: int) -> Iterator[tuple[int, int]]:
    """Rows ``start`` to ``stop`` in runs of at most so many rows, and of so many bytes unless it is one row.

    Args:
        ends: int64, shape (stop - start,): the sum of the sizes up to and with each row [bytes].
        start: the first row.
        stop: the row after the last.
        most: rows of a run.
        nbytes: about the bytes of a run [bytes].

    Example:
        >>> list(runs(np.cumsum([5, 5, 5, 20, 1]), 0, 5, most=2, nbytes=10))
        [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    row = 0
    while row < stop - start:
        before = int(ends[row - 1]) if row else 0
        fitting = int(np.searchsorted(ends, before + nbytes, side="right"))
        end = max(row + 1, min(row + most, fitting))
        yield start + row, start + end
        row = end
