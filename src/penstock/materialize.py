"""Rows laid down on disk for whoever needs several passes over them: encoded training data.

Part of the pipeline's machinery. Parts are Arrow IPC, read by memory mapping: pages of files, which the system may
take back at any time, not memory that the process holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.engine import Engine, Listener, Resources, Station, Task, Transform
from penstock.model import Target, TrainingData
from penstock.schema import Field, Role, Schema
from penstock.sink import Receipt
from penstock.sinks.parts import PartsSink
from penstock.source import BLOCK_ROWS, Source
from penstock.target import HASH, LABEL, Learnable, Then

_WINDOW_BYTES = 64 * 2**20
"""About the bytes of the rows that are shuffled together [bytes]."""


class LaidDown(TrainingData):
    """Encoded rows in Arrow IPC parts, memory-mapped."""

    def __init__(
        self,
        folder: Path,
        parts: Sequence[str],
        *,
        schema: Schema,
        target: Target,
        seed: int,
        resources: Resources,
        listener: Listener,
    ) -> None:
        self.schema = schema
        self.target = target
        self.seed = seed
        self.resources = resources
        self.listener = listener
        names = pa.schema([(field.name, field.type) for field in schema])
        names = names.append(pa.field(LABEL, _label_type(target))).append(pa.field(HASH, pa.uint64()))
        tables = [pa.ipc.open_file(pa.memory_map(str(folder / part))).read_all() for part in parts]
        self._table = pa.concat_tables(tables) if tables else names.empty_table()
        self.rows = self._table.num_rows

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The feature columns, memory-mapped."""
        return self._table.select(list(self.schema.names if columns is None else columns))

    def labels(self) -> npt.NDArray[Any]:
        """The target in plan order."""
        return np.asarray(self._table.column(LABEL).to_numpy())

    def hashes(self) -> npt.NDArray[np.uint64]:
        """The hash of (seed, row key) of every row."""
        return np.asarray(self._table.column(HASH).to_numpy())

    def epoch(
        self, number: int, batch_rows: int, *, start: int = 0, keep: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[Any]]]:
        """One pass in a shuffled order: blocks in a random order, then rows within a window of blocks."""
        random = np.random.Generator(np.random.Philox(key=[self.seed & (2**64 - 1), number]))
        blocks = random.permutation(-(-self.rows // BLOCK_ROWS))
        window = max(1, _WINDOW_BYTES // (BLOCK_ROWS * 4 * max(1, len(self.schema))))
        rest_x = np.empty((0, len(self.schema)), np.float32)
        rest_y = self.labels()[:0]
        given = 0
        for first in range(0, len(blocks), window):
            read = [self._block(int(block), keep) for block in blocks[first : first + window]]
            features = np.concatenate([x for x, _ in read])
            labels = np.concatenate([y for _, y in read])
            order = random.permutation(len(features))
            features = np.concatenate([rest_x, features[order]])
            labels = np.concatenate([rest_y, labels[order]])
            last = first + window >= len(blocks)
            whole = len(features) if last else len(features) // batch_rows * batch_rows
            for at in range(0, whole, batch_rows):
                if given >= start:
                    stop = min(at + batch_rows, whole)
                    yield features[at:stop], labels[at:stop]
                given += 1
            rest_x, rest_y = features[whole:], labels[whole:]

    def _block(
        self, block: int, keep: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        rows = self._table.slice(block * BLOCK_ROWS, BLOCK_ROWS)
        features = np.empty((rows.num_rows, len(self.schema)), np.float32)
        for place, name in enumerate(self.schema.names):
            values = rows.column(name)
            if values.null_count:
                values = values.cast(pa.float64())
            features[:, place] = values.to_numpy()
        labels = np.asarray(rows.column(LABEL).to_numpy())
        if keep is None:
            return features, labels
        mask = keep[block * BLOCK_ROWS : block * BLOCK_ROWS + rows.num_rows]
        return features[mask], labels[mask]


def _label_type(target: Target) -> pa.DataType:
    return pa.float64() if target.task == "regression" else pa.int32()


def lay_down(
    source: Source,
    columns: Sequence[str],
    transform: Transform,
    features: Schema,
    target: Target,
    *,
    seed: int,
    engine: Engine,
    listener: Listener,
    folder: Path,
    rejected: Path,
    max_rejected: float | None,
) -> tuple[LaidDown, tuple[Receipt, ...]]:
    """Encode all rows of a source and lay them down in ``folder``; rejected rows go to ``rejected``.

    The receipts hold the ledger of every row.
    """
    schema = features.put(Field(LABEL, _label_type(target), Role.target), Field(HASH, pa.uint64(), Role.ignored))
    sink = PartsSink(folder / "encoded", rejected, folder / "unused", schema, kind="arrow", durable=False)
    encode = Then((transform, Learnable(target, features.names, seed)))
    task = Task("encode", source, tuple(columns), (Station(encode),), sink, max_rejected=max_rejected)
    receipts = tuple(engine.map(task))
    parts = [part.name for receipt in receipts for part in receipt.parts]
    data = LaidDown(
        folder / "encoded",
        parts,
        schema=features,
        target=target,
        seed=seed,
        resources=engine.resources,
        listener=listener,
    )
    return data, receipts
