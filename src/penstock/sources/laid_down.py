"""Data that are no local files, laid down as such once: in a temporary folder, and read from there by another source.

Part of the sources: what queries, databases, standard input and remote objects have in common. `LaidDownSource` speaks
of the data by their own names, never by those of the temporary files.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from penstock import registry
from penstock.batch import Batch
from penstock.durable import writing
from penstock.errors import PenstockError
from penstock.schema import Role
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.files import DataFile, Limits, find_files, folders_of

_PIECE = 2**20
_VECTOR = 2048
"""Rows that databases hand out at once, at the least."""
_TEXT_BYTES = 64
"""What a text, list or other value of no fixed size is taken to hold, before any was seen [bytes]."""


class TemporaryFolder:
    """A folder for files that are laid down; removed with `close`, or when nobody holds this object any more."""

    def __init__(self) -> None:
        with writing(Path(tempfile.gettempdir())):
            self.path = Path(tempfile.mkdtemp(prefix="penstock-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def close(self) -> None:
        """Remove it and all that is in it."""
        self._finalizer()


@dataclass(frozen=True, slots=True)
class Laid:
    """One file that was laid down.

    Attributes:
        path: where it lies; its name says its format.
        key: the path of its row keys, and its name in messages.
        digest: BLAKE2b of all its content, the same whenever the content is.
        mtime_ns: when the original changed, where that is known [ns].
    """

    path: Path
    key: str
    digest: str
    mtime_ns: int = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """By content: laid down again, the same data have the same."""
        return Fingerprint(self.key, self.path.stat().st_size, self.mtime_ns, self.digest)


class LaidDownSource(Source):
    """Rows of files that were laid down in a temporary folder, until `close`.

    Args:
        laid: the files, in order, all of one format.
        folder: the folder that they lie in.
        options: how to read.
        notes: what was decided in laying them down.
        limits: how large blocks and chunks may become.

    Raises:
        SourceError: a file can't be read.
        SchemaError: the files do not agree.
    """

    def __init__(
        self,
        laid: Sequence[Laid],
        folder: TemporaryFolder,
        options: ReadOptions,
        notes: Iterable[Note] = (),
        limits: Limits | None = None,
    ) -> None:
        self._folder = folder
        keys = {one.path: one.key for one in laid}
        self._told = {**{str(path): key for path, key in keys.items()}, str(folder.path): laid[0].key}
        self._fingerprints = tuple(one.fingerprint for one in laid)
        self._notes = tuple(notes)
        with self._own_names():
            files = find_files([one.path for one in laid], options)
            kept = tuple(_renamed(file, keys[file.path]) for file in files)
            self._set(registry.find("sources", kept[0].format)(replace(files, files=kept), options, limits))

    def _set(self, inner: Source) -> None:
        self._inner = inner
        self.schema = inner.schema
        self.notes = (*self._notes, *inner.notes)
        self.reading = inner.reading

    @contextmanager
    def _own_names(self) -> Iterator[None]:
        """Errors about the temporary files, in the names of what lies in them."""
        try:
            yield
        except PenstockError as error:
            for path, key in self._told.items():
                for part in ("message", "where", "expected", "got", "remedy"):
                    setattr(error, part, getattr(error, part).replace(path, key))
            raise

    def chunks(self) -> Iterator[Chunk]:
        """The plan."""
        with self._own_names():
            yield from self._inner.chunks()

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk."""
        with self._own_names():
            yield from self._inner.read(chunk, columns)

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the whole content of each file."""
        return self._fingerprints

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        other = copy.copy(self)
        with self._own_names():
            other._set(self._inner.only(paths))
        other._fingerprints = tuple(one for one in self._fingerprints if one.path in set(paths))
        return other

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows with other roles for some columns."""
        other = copy.copy(self)
        with self._own_names():
            other._set(self._inner.with_roles(roles))
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same rows with other ways of writing for some columns."""
        other = copy.copy(self)
        with self._own_names():
            other._set(self._inner.with_written(written))
        return other

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return self._inner.planned_nbytes

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]."""
        return self._inner.block_nbytes

    def close(self) -> None:
        """Remove the temporary files: nothing can be read any more."""
        self._inner.close()
        self._folder.close()


def _renamed(file: DataFile, key: str) -> DataFile:
    key = f"{key}/{file.member}" if file.member else key
    folders = folders_of(Path("/"), key)
    return replace(file, key=key, fingerprint=replace(file.fingerprint, path=key), folders=folders)


def rows_at_once(schema: pa.Schema) -> int:
    """About `BLOCK_BYTES` of rows with these columns, by their types alone; at most `BLOCK_ROWS`."""
    width = sum(_width(field.type) for field in schema)
    return max(_VECTOR, min(BLOCK_ROWS, BLOCK_BYTES // max(width, 1)))


def _width(of: pa.DataType) -> int:
    try:
        return max(1, int(of.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES


def recut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly ``size`` rows but for the last, however they come.

    Example:
        >>> batch = pa.record_batch({"x": [1, 2, 3]})
        >>> [len(one) for one in recut([batch, batch.slice(0, 0), batch], 4)]
        [4, 2]
    """
    held: list[pa.RecordBatch] = []
    have = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            held.append(batch.slice(0, size - have))
            have += held[-1].num_rows
            batch = batch.slice(held[-1].num_rows)
            if have == size:
                yield _joined(held)
                held, have = [], 0
    if held:
        yield _joined(held)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def lay_down(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> tuple[int, str]:
    """Write rows as one Parquet file, a row group for each batch, and give their number and their digest.

    The digest is of the schema and of the encoded values: of what is null nothing is encoded, so equal rows in equal
    batches have equal digests, whatever lay in memory beside them.

    Raises:
        ResourceError: there is no space.
    """
    rows = 0
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for batch in batches:
            rows += batch.num_rows
            with writing(path):  # and not while the batches are made: their errors are others
                writer.write_table(pa.Table.from_batches([batch], schema), row_group_size=max(1, batch.num_rows))
    digest = hashlib.blake2b(str(schema).encode(), digest_size=16)
    with writing(path), path.open("rb") as file:
        # What follows the values, the footer, names the versions of libraries.
        file.seek(-8, os.SEEK_END)
        left = file.tell() - int.from_bytes(file.read(4), "little")
        file.seek(0)
        while left and (piece := file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
    return rows, digest.hexdigest()
