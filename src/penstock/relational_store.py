"""Rows and columns that relational work lays down: Arrow files, mapped, read by position.

Part of the pipeline's machinery, beside `relational.py`. What is mapped is pages of files, which the system may take
back at any time, and no memory that the process holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch, RowKeys, record_batch
from penstock.durable import writing
from penstock.relation import PATH, ROW, Table
from penstock.schema import Role, Schema
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, CHUNK_BYTES, Chunk, Fingerprint, Source

_WINDOW_BYTES = 64 * 2**20
"""About the bytes of the rows that are put in order at once [bytes]."""


class Store(Table):
    """Rows in Arrow files, one after the other.

    Args:
        paths: the files, in order.
        schema: the columns that are asked for; the files may hold others too.
        rejected: how many rows were rejected while they were laid down.

    Attributes:
        most_bytes: a column of up to so many bytes may be held in one piece [bytes].
    """

    def __init__(self, paths: Sequence[Path], schema: Schema, *, rejected: int = 0) -> None:
        self.paths = tuple(paths)
        self.schema = schema
        self.rejected = rejected
        self.most_bytes = 2**27
        self.rows = int(self._starts[-1])

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        """Views of all batches: the files are mapped, nothing is read."""
        found: list[pa.RecordBatch] = []
        for path in self.paths:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            found += (reader.get_batch(i) for i in range(reader.num_record_batches))
        return found

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(batch.num_rows for batch in self._batches)], dtype=np.int64)

    def sizes(self) -> list[int]:
        """The rows of each of its batches."""
        return [batch.num_rows for batch in self._batches]

    @property
    def nbytes(self) -> int:
        """Of all its batches [bytes]."""
        return sum(batch.nbytes for batch in self._batches)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of all rows, in the batches that they were written in."""
        for batch in self._batches:
            yield _select(batch, columns)

    def read(self, start: int, stop: int, columns: Sequence[str]) -> pa.RecordBatch:
        """These columns of the rows from ``start`` to before ``stop``."""
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        pieces = []
        while start < stop:
            batch = self._batches[first]
            begin = start - int(self._starts[first])
            piece = batch.slice(begin, stop - start)
            if piece.num_rows:
                pieces.append(_select(piece, columns))
            start += piece.num_rows
            first += 1
        return joined(pieces, columns, self._empty)

    @cached_property
    def _empty(self) -> pa.RecordBatch:
        """No rows, of the columns as they are in the files."""
        schema = pa.ipc.open_file(pa.memory_map(str(self.paths[0]))).schema if self.paths else self.schema.to_arrow()
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)

    def gather(self, index: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.RecordBatch:
        """The rows at these positions; below 0 a row of nulls.

        Each batch is visited once, in order, so that a file larger than memory is read through and not jumped about in.
        """
        arrays = [self._visited(index, name) for name in columns]
        return record_batch(arrays, columns, len(index))

    def gathered(self, index: npt.NDArray[np.int64], name: str, at_once: int) -> Iterator[pa.RecordBatch]:
        """One column of the rows at these positions, below 0 a null, so many rows at once.

        A column of up to ``most_bytes`` is held in one piece meanwhile and taken from directly.
        """
        parts = [batch.column(name) for batch in self._batches]
        small = sum(part.nbytes for part in parts) <= self.most_bytes
        whole = pa.concat_arrays(parts) if small and parts else None
        for start in range(0, len(index), at_once):
            places = np.asarray(index[start : start + at_once])
            if whole is None:
                yield self.gather(places, (name,))
                continue
            absent = places < 0
            where = pa.array(places, mask=absent) if absent.any() else pa.array(places)
            yield record_batch([whole.take(where)], (name,), len(places))

    def _visited(self, index: npt.NDArray[np.int64], name: str) -> pa.Array:
        present = np.flatnonzero(index >= 0)
        order = present[np.argsort(index[present], kind="stable")]
        ascending = index[order]
        cuts = np.searchsorted(ascending, self._starts)
        parts = [
            batch.column(name).take(pa.array(ascending[cuts[i] : cuts[i + 1]] - self._starts[i]))
            for i, batch in enumerate(self._batches)
            if cuts[i] < cuts[i + 1]
        ]
        values = pa.concat_arrays(parts) if parts else self._empty.column(name)
        place = np.full(len(index), -1, np.int64)
        place[order] = np.arange(len(order))
        return values.take(pa.array(place, mask=place < 0))


def _select(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    return record_batch([batch.column(name) for name in columns], columns, batch.num_rows)


def joined(pieces: Sequence[pa.RecordBatch], columns: Sequence[str], empty: pa.RecordBatch) -> pa.RecordBatch:
    """Batches of the same columns as one; of none, no rows of ``empty``."""
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return _select(empty, columns)
    arrays = [pa.concat_arrays([piece.column(i) for piece in pieces]) for i in range(len(columns))]
    return record_batch(arrays, columns, sum(piece.num_rows for piece in pieces))


def lay_down(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write batches to an Arrow file; gives the number of rows.

    Raises:
        ResourceError: there is no space.
    """
    rows = 0
    with writing(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
                rows += batch.num_rows
    return rows


def new_array(path: Path, kind: Any, rows: int) -> npt.NDArray[Any]:
    """A NumPy file of zeros, mapped to be written.

    Raises:
        ResourceError: there is no space.
    """
    with writing(path):
        if rows == 0:
            np.save(path, np.empty(0, kind))
            return np.empty(0, kind)
        array = np.lib.format.open_memmap(path, "w+", np.dtype(kind), (rows,))
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and not a signal when a page is written
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array


def open_array(path: Path) -> npt.NDArray[Any]:
    """A NumPy file, mapped to be read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except ValueError:  # of no rows: nothing to map
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]


def ordered(store: Store, order: npt.NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """All rows of a store in another order."""
    width = max(1, store.nbytes // max(1, store.rows))
    window = max(1024, min(2**20, _WINDOW_BYTES // width))
    block = max(1, min(BLOCK_ROWS, BLOCK_BYTES // width))
    for start in range(0, len(order), window):
        rows = store.gather(np.asarray(order[start : start + window]), store.schema.names)
        for first in range(0, rows.num_rows, block):
            yield rows.slice(first, block)


class StoredSource(Source):
    """Rows laid down whole, with their row keys; their ledger is in what is read before them."""

    def __init__(self, store: Store, prints: Sequence[Fingerprint]) -> None:
        self.store = store
        self.schema = store.schema
        self._fingerprints = prints
        self._limit = max(1, min(BLOCK_ROWS, BLOCK_BYTES * max(1, store.rows) // max(1, store.nbytes)))

    def chunks(self) -> Iterator[Chunk]:
        """Runs of rows of about 64 MiB; one at least."""
        width = self.store.nbytes / max(1, self.store.rows)
        rows = max(1, int(CHUNK_BYTES / max(width, 1)) // self._limit) * self._limit
        for index, start in enumerate(range(0, max(1, self.store.rows), rows)):
            stop = min(start + rows, self.store.rows)
            yield Chunk(index, ({"start": start, "stop": stop},), int(width * (stop - start)), stop - start)

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk; one at least."""
        names = tuple(self.schema.names if columns is None else columns)
        start, stop = int(chunk.parts[0]["start"]), int(chunk.parts[0]["stop"])
        for first in range(start, max(stop, start + 1), self._limit):
            last = min(stop, first + self._limit)
            rows = self.store.read(first, last, (*names, PATH, ROW))
            paths = rows.column(PATH).dictionary_encode()
            files = paths.indices.to_numpy().astype(np.int32)
            keys = RowKeys(tuple(paths.dictionary.to_pylist()) or ("",), rows.column(ROW).to_numpy(), files)
            yield Batch(record_batch(rows.columns[: len(names)], names, last - first), keys)

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files that the rows came from."""
        return self._fingerprints

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows: roles are given where they come from."""
        return self
