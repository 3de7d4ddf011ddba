"""How groups of rows (of Parquet, of Arrow, of tables) become chunks and blocks: from their counts and sizes alone.

Part of the sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.source import Chunk
from penstock.sources.files import Limits

_SPLIT_GROUPS = 8
_SPLIT_PIECES = 4


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: where its rows begin in the file, how many they are, and about what they hold in memory."""

    file: int
    group: int
    first: int
    rows: int
    nbytes: int

    def block_rows(self, limits: Limits) -> int:
        """Rows of its blocks, but for the last."""
        fitting = limits.block_bytes * self.rows // max(self.nbytes, 1)
        return max(1, min(limits.block_rows, fitting))


def cut(groups: Sequence[Group], limits: Limits, *, seekable: bool = False) -> Iterator[Chunk]:
    """Row groups as chunks; see `ParquetSource`.

    Args:
        groups: the row groups in order.
        limits: how large blocks and chunks may become.
        seekable: whether a run may begin anywhere in a group at no cost: then one that is too large is cut into as
            many as are needed.
    """
    index = 0
    parts: list[dict[str, int]] = []
    nbytes = rows = 0
    most = _SPLIT_PIECES if len(groups) < _SPLIT_GROUPS else 1
    if seekable:
        most = 2**31
    for group in groups:
        for part, size in _runs(group, limits, most):
            if parts and nbytes + size > limits.chunk_bytes:
                yield Chunk(index, tuple(parts), nbytes, rows)
                index, parts, nbytes, rows = index + 1, [], 0, 0
            parts.append(part)
            nbytes += size
            rows += part["stop"] - part["start"]
    if parts:
        yield Chunk(index, tuple(parts), nbytes, rows)


def _runs(group: Group, limits: Limits, most: int) -> Iterator[tuple[dict[str, int], int]]:
    """A row group as one part, or as up to so many of whole blocks, each with its size [bytes]."""
    if not group.rows:
        return
    block = group.block_rows(limits)
    blocks = -(-group.rows // block)
    pieces = 1
    if group.nbytes > 2 * limits.chunk_bytes:
        pieces = min(most, blocks, -(-group.nbytes // limits.chunk_bytes))
    for piece in range(pieces):
        start = blocks * piece // pieces * block
        stop = min(group.rows, blocks * (piece + 1) // pieces * block)
        part = {
            "file": group.file,
            "group": group.group,
            "start": start,
            "stop": stop,
            "block": block,
            "row": group.first + start,
        }
        yield part, group.nbytes * (stop - start) // group.rows


def recut(batches: Iterator[pa.RecordBatch], size: int, skip: int, rows: int) -> Iterator[pa.RecordBatch]:
    """So many rows after the skipped ones, in blocks of exactly ``size`` rows but for the last."""
    held: list[pa.RecordBatch] = []
    have = 0
    for whole in batches:
        batch = whole.slice(min(skip, whole.num_rows))
        skip -= whole.num_rows - batch.num_rows
        while batch.num_rows and rows:
            need = min(size, rows) - have
            held.append(batch.slice(0, need))
            have += held[-1].num_rows
            batch = batch.slice(held[-1].num_rows)
            if have == min(size, rows):
                yield _joined(held)
                rows -= have
                held, have = [], 0
        if not rows:
            return


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]
