"""What one relation laid down, put to use: incoming blocks to outgoing ones, by position.

Part of the pipeline's machinery, beside `relational.py`. A link knows how often each incoming row comes out and where
the new columns lie; blocks of any chunk can be taken through it, in any order and by any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Count, RowKeys, record_batch
from penstock.errors import UsageError
from penstock.relation import Outcome, Shape, Table
from penstock.relational_store import Store, open_array
from penstock.schema import Schema

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """Rows that come out of a block: which of its rows they are (None for all, in order), and their columns."""

    columns: pa.RecordBatch
    index: Index | None
    copies: Index | None


@dataclass(frozen=True, eq=False)
class Link:
    """A relation that was run.

    Attributes:
        label: its name in the ledger.
        shape: what it makes of the columns.
        outcome: what it laid down.
        folder: where that lies.
        block_rows: the most rows of an outgoing block.
    """

    label: str
    shape: Shape
    outcome: Outcome
    folder: Path
    block_rows: int

    @cached_property
    def repeats(self) -> npt.NDArray[Any] | None:
        """How often each incoming row comes out."""
        return None if self.outcome.repeats is None else open_array(self.folder / self.outcome.repeats)

    @cached_property
    def _beside(self) -> dict[tuple[str, ...], Store]:
        return {
            files: Store([self.folder / name for name in files], Schema(()))
            for files, _ in self.outcome.beside.values()
        }

    def incoming(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The incoming columns that these outgoing ones need."""
        found = [self.shape.origins[name] for name in columns if name in self.shape.origins]
        return tuple(dict.fromkeys(found))

    def count(self, start: int, stop: int) -> Count:
        """The ledger of incoming rows."""
        rows = stop - start
        if self.repeats is None:
            return Count(self.label, rows_in=rows, out=rows)
        repeats = self.repeats[start:stop]
        out, kept = int(repeats.sum(dtype=np.int64)), int(np.count_nonzero(repeats))
        return Count(self.label, rows_in=rows, made=out - kept, out=out, dropped=rows - kept)

    def pieces(self, batch: pa.RecordBatch, start: int, out: int, columns: Sequence[str]) -> Iterator[Piece]:
        """What comes out of incoming rows; at least one piece, which may have no rows.

        Args:
            batch: the columns of `incoming`.
            start: the position of its first row among the incoming ones.
            out: the position of its first outgoing row.
            columns: the columns to give.
        """
        rows = batch.num_rows
        repeats = None if self.repeats is None else np.asarray(self.repeats[start : start + rows])
        if repeats is None or (rows <= self.block_rows and bool(np.all(repeats == 1))):
            yield Piece(self._columns(batch, None, out, rows, columns), None, None)
            return
        ends = np.cumsum(repeats, dtype=np.int64)
        total = int(ends[-1]) if rows else 0
        for first in range(0, max(total, 1), self.block_rows):
            last = min(total, first + self.block_rows)
            places = np.arange(first, last, dtype=np.int64)
            index = np.searchsorted(ends, places, "right")
            copies = places - (ends[index] - repeats[index].astype(np.int64))
            taken = self._columns(batch, index, out + first, last - first, columns)
            yield Piece(taken, index, copies if copies.any() else None)

    def _columns(
        self, batch: pa.RecordBatch, index: Index | None, out: int, rows: int, columns: Sequence[str]
    ) -> pa.RecordBatch:
        where = None if index is None else pa.array(index)
        arrays = []
        for name in columns:
            if name in self.shape.origins:
                values = batch.column(self.shape.origins[name])
                values = values if where is None else values.take(where)
            else:
                files, column = self.outcome.beside[name]
                values = self._beside[files].read(out, out + rows, (column,)).column(0)
            arrays.append(self._scaled(name, values))
        return record_batch(arrays, columns, rows)

    def _scaled(self, name: str, values: pa.Array) -> pa.Array:
        if name not in self.shape.scales:
            return values
        scale, offset = self.shape.scales[name]
        return pc.add(pc.multiply(values, scale), offset)


class Linked(Table):
    """Rows as they come out of a link, for the next relation."""

    def __init__(self, rows: Table, link: Link) -> None:
        self._rows = rows
        self._link = link
        self.schema = link.shape.schema
        self.rows = link.outcome.rows

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of all rows, in order."""
        start = out = 0
        for batch in self._rows.batches(self._link.incoming(columns)):
            for piece in self._link.pieces(batch, start, out, columns):
                out += piece.columns.num_rows
                yield piece.columns
            start += batch.num_rows

    def gather(self, index: Index, columns: Sequence[str]) -> pa.RecordBatch:
        """Not of incoming rows: relations go through them in order."""
        raise UsageError("incoming rows are read in order", got="a position")

    def gathered(self, index: Index, name: str, at_once: int) -> Iterator[pa.RecordBatch]:
        """Not of incoming rows: relations go through them in order."""
        raise UsageError("incoming rows are read in order", got="a position")


def copied(keys: RowKeys, piece: Piece) -> RowKeys:
    """The keys of a piece's rows. A row's first copy keeps its key; the second has ``#1`` after its path, and so on.

    Example:
        >>> piece = Piece(pa.record_batch({"x": [1, 1, 2]}), np.array([0, 0, 1]), np.array([0, 1, 0]))
        >>> copied(RowKeys.span("a.csv", 5, 2), piece).path_column().to_pylist()
        ['a.csv', 'a.csv#1', 'a.csv']
    """
    if piece.index is None:
        return keys
    taken = keys.take(piece.index)
    if piece.copies is None:
        return taken
    files = np.zeros(len(taken), np.int64) if taken.files is None else taken.files.astype(np.int64)
    most = int(piece.copies.max()) + 1
    pairs, places = np.unique(files * most + piece.copies, return_inverse=True)
    paths = tuple(taken.paths[pair // most] + (f"#{pair % most}" if pair % most else "") for pair in pairs.tolist())
    return RowKeys(paths, taken.rows, places.astype(np.int32))
