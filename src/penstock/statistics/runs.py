"""Sorted counts on disk: what frequencies fall back on when distinct values outgrow memory.

Part of the room of statistics. A run is an Arrow IPC file of (value, count), values ascending by their bytes and
distinct; several are merged batch by batch. A run's file lives as long as an object refers to it.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import ResourceError

COUNTS = pa.schema([("value", pa.large_string()), ("count", pa.int64())])
"""The columns of counts by value."""
RUN_ROWS = 65_536
"""Rows of a batch of counts; all but the last are of this length, so that the same counts are the same bytes."""


class Run:
    """Counts by value in a temporary file, ascending and distinct; immutable.

    Attributes:
        path: the Arrow IPC file, removed when nothing refers to the run any more.
        rows: distinct values.
        total: the sum of their counts.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self.rows = 0
        self.total = 0
        try:
            handle, name = tempfile.mkstemp(prefix="penstock-counts-", suffix=".arrow")
            os.close(handle)
            self.path = Path(name)
            weakref.finalize(self, _remove, self.path, os.getpid())
            with pa.OSFile(name, "wb") as file, pa.ipc.new_file(file, COUNTS) as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    self.rows += batch.num_rows
                    self.total += pc.sum(batch.column(1)).as_py() or 0
        except OSError as error:
            raise ResourceError(
                "counts of distinct values could not be written to a temporary file",
                where=tempfile.gettempdir(),
                expected="a folder with space for them",
                got=str(error),
                remedy="free space there, or set TMPDIR to another folder",
            ) from error

    def table(self) -> pa.Table:
        """All counts, memory-mapped: file pages, not held by the process."""
        # An open mapping keeps the pages of a file that was removed.
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The counts, batch by batch."""
        with pa.OSFile(str(self.path), "rb") as file:
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child shares the file, and leaves it
        path.unlink(missing_ok=True)


def summed(counts: pa.Table) -> pa.Table:
    """Counts of equal values added up; in order of first appearance, each column one array."""
    # One thread: integers add up to the same in any order, but rows of several threads come in any order.
    grouped = counts.group_by("value", use_threads=False).aggregate([("count", "sum")])
    return grouped.select(["value", "count_sum"]).rename_columns(["value", "count"]).combine_chunks()


def ascending(counts: pa.Table) -> pa.Table:
    """The same rows, values ascending by the bytes of their UTF-8, which is by code points."""
    return counts.take(pc.array_sort_indices(counts["value"].combine_chunks()))


def even(batches: Iterable[pa.RecordBatch | pa.Table], rows: int = RUN_ROWS) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``rows`` each, the last one shorter; none where there are no rows."""
    held: list[pa.Table] = []
    size = 0
    for item in batches:
        table = item if isinstance(item, pa.Table) else pa.Table.from_batches([item])
        held.append(table)
        size += table.num_rows
        if size >= rows:
            table = pa.concat_tables(held).combine_chunks()
            whole = size - size % rows
            yield from table.slice(0, whole).to_batches(max_chunksize=rows)
            held, size = [table.slice(whole)], size - whole
    if size:
        yield from pa.concat_tables(held).combine_chunks().to_batches(max_chunksize=rows)


def merged(sources: Iterable[Iterator[pa.RecordBatch]]) -> Iterator[pa.Table]:
    """Ascending distinct counts of several ascending sources, piece by piece.

    In each round the least of the sources' last values is the horizon: whatever is at or below it is complete, is
    summed and given out. So memory holds one batch of each source.
    """
    heads: list[tuple[pa.RecordBatch, Iterator[pa.RecordBatch]]] = []
    for source in sources:
        heads += _advanced(source)
    while heads:
        horizon = min(_last(batch) for batch, _ in heads)
        parts, remaining = [], []
        for batch, source in heads:
            stop = int(np.searchsorted(_below(batch, horizon), True))
            parts.append(batch.slice(0, stop))
            if stop < batch.num_rows:
                remaining.append((batch.slice(stop), source))
            else:
                remaining += _advanced(source)
        heads = remaining
        yield ascending(summed(pa.Table.from_batches(parts, schema=COUNTS)))


def _advanced(source: Iterator[pa.RecordBatch]) -> list[tuple[pa.RecordBatch, Iterator[pa.RecordBatch]]]:
    for batch in source:
        if batch.num_rows:
            return [(batch, source)]
    return []


def _last(batch: pa.RecordBatch) -> bytes:
    value: bytes = batch.column(0)[batch.num_rows - 1].as_buffer().to_pybytes()
    return value


def _below(batch: pa.RecordBatch, horizon: bytes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """False for values up to the horizon, true for those above it."""
    above = pc.greater(batch.column(0), pa.scalar(horizon.decode(), pa.large_string()))
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = above.to_numpy(zero_copy_only=False)
    return found
