"""Rows laid down on disk for whoever needs several passes over them: encoded training data.

Part of the pipeline's machinery. Parts are Arrow IPC, read by memory mapping: pages of files, which the system may
take back at any time, not memory that the process holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.engine import Engine, Listener, Resources, Station, Task, Transform
from penstock.model import Target, TrainingBatch, TrainingData, spans_of
from penstock.schema import Field, Role, Schema
from penstock.sink import Receipt
from penstock.sinks.parts import PartsSink
from penstock.source import BLOCK_ROWS, Source
from penstock.target import HASH, LABEL, WEIGHT, Learnable, Then
from penstock.vectors import as_matrix

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
        weighted: bool = False,
        ordered: bool = False,
    ) -> None:
        self.weighted = weighted
        self.ordered = ordered
        self.schema = schema
        self.target = target
        self.seed = seed
        self.resources = resources
        self.listener = listener
        names = pa.schema([(field.name, field.type) for field in schema])
        names = names.append(pa.field(LABEL, _label_type(target))).append(pa.field(HASH, pa.uint64()))
        if weighted:
            names = names.append(pa.field(WEIGHT, pa.float64()))
        tables = [pa.ipc.open_file(pa.memory_map(str(folder / part))).read_all() for part in parts]
        self._table = pa.concat_tables(tables) if tables else names.empty_table()
        self.rows = self._table.num_rows

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The feature columns, memory-mapped."""
        return self._table.select(list(self.schema.names if columns is None else columns))

    def labels(self) -> npt.NDArray[Any]:
        """The target in plan order."""
        return np.asarray(self._table.column(LABEL).to_numpy())

    def weights(self) -> npt.NDArray[np.float64] | None:
        """How much each row counts."""
        return np.asarray(self._table.column(WEIGHT).to_numpy()) if self.weighted else None

    def hashes(self) -> npt.NDArray[np.uint64]:
        """The hash of (seed, row key) of every row."""
        return np.asarray(self._table.column(HASH).to_numpy())

    def epoch(
        self, number: int, batch_rows: int, *, start: int = 0, keep: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[TrainingBatch]:
        """One pass in a shuffled order: blocks in a random order, then rows within a window of blocks."""
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed & (2**64 - 1), number], np.uint64)))
        blocks = random.permutation(-(-self.rows // BLOCK_ROWS))
        window = max(1, _WINDOW_BYTES // (BLOCK_ROWS * self._row_bytes))
        rest: _Rows | None = None
        given = 0
        for first in range(0, len(blocks), window):
            read = [self._block(int(block), keep) for block in blocks[first : first + window]]
            rows = _Rows.concat(read)
            rows = rows.take(random.permutation(len(rows)))
            rows = rows if rest is None else _Rows.concat([rest, rows])
            last = first + window >= len(blocks)
            whole = len(rows) if last else len(rows) // batch_rows * batch_rows
            for at in range(0, whole, batch_rows):
                if given >= start:
                    yield rows.take(slice(at, min(at + batch_rows, whole))).batch(self.schema)
                given += 1
            rest = rows.take(slice(whole, None))

    @property
    def _row_bytes(self) -> int:
        """About what a row holds in a window: vectors by the places they use on average [bytes]."""
        vectors = [field.name for field in self.schema if field.width is not None]
        used = sum(self._table.column(name).nbytes for name in vectors)
        return int(4 * max(1, len(self.schema) - len(vectors)) + used // max(1, self.rows))

    def _block(self, block: int, keep: npt.NDArray[np.bool_] | None) -> _Rows:
        start = block * BLOCK_ROWS
        table = self._table.slice(start, BLOCK_ROWS)
        scalars = [field.name for field in self.schema if field.width is None]
        dense = np.empty((table.num_rows, len(scalars)), np.float32)
        for place, name in enumerate(scalars):
            values = table.column(name)
            if values.null_count:
                values = values.cast(pa.float64())
            dense[:, place] = values.to_numpy()
        weights = np.asarray(table.column(WEIGHT).to_numpy()) if self.weighted else None
        rows = _Rows(
            dense,
            tuple(as_matrix(table.column(field.name), field.width) for field in self.schema if field.width is not None),
            np.asarray(table.column(LABEL).to_numpy()),
            weights,
            np.arange(start, start + table.num_rows),
        )
        return rows if keep is None else rows.take(keep[start : start + table.num_rows])


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows in memory, to be shuffled: single values as one matrix, each column of vectors as compressed rows."""

    dense: npt.NDArray[np.float32]
    vectors: tuple[Any, ...]
    labels: npt.NDArray[Any]
    weights: npt.NDArray[np.float64] | None
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: npt.NDArray[Any] | slice) -> _Rows:
        """These rows: by place, by mask or by slice."""
        return _Rows(
            self.dense[which],
            tuple(vector[which] for vector in self.vectors),
            self.labels[which],
            None if self.weights is None else self.weights[which],
            self.rows[which],
        )

    @classmethod
    def concat(cls, parts: Sequence[_Rows]) -> _Rows:
        """The rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        vectors: tuple[Any, ...] = ()
        if parts[0].vectors:
            from scipy.sparse import vstack

            vectors = tuple(
                vstack(column, format="csr") for column in zip(*(part.vectors for part in parts), strict=True)
            )
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            np.concatenate([part.dense for part in parts]),
            vectors,
            np.concatenate([part.labels for part in parts]),
            np.concatenate(weights) if weights else None,
            np.concatenate([part.rows for part in parts]),
        )

    def batch(self, schema: Schema) -> TrainingBatch:
        """The rows as a model takes them: one matrix, vectors written out in their places."""
        features = self.dense
        if self.vectors:
            spans = spans_of(schema)
            features = np.empty((len(self), max(span.stop for span in spans.values())), np.float32)
            vectors = iter(self.vectors)
            scalar = 0
            for field in schema:
                span = spans[field.name]
                if field.width is None:
                    features[:, span.start] = self.dense[:, scalar]
                    scalar += 1
                else:
                    features[:, span] = next(vectors).toarray()
        return TrainingBatch(features, self.labels, self.weights, self.rows)


def _label_type(target: Target) -> pa.DataType:
    return pa.float64() if target.task == "regression" else pa.int32()


def lay_down(
    source: Source,
    columns: Sequence[str],
    rows: Transform,
    learnable: Learnable,
    features: Schema,
    *,
    engine: Engine,
    listener: Listener,
    folder: Path,
    rejected: Path,
    max_rejected: float | None,
) -> tuple[LaidDown, tuple[Receipt, ...]]:
    """Encode all rows of a source and lay them down in ``folder``; rejected rows go to ``rejected``.

    ``rows`` says which rows count, ``learnable`` encodes them.

    The receipts hold the ledger of every row.
    """
    target = learnable.target
    schema = features.put(Field(LABEL, _label_type(target), Role.target), Field(HASH, pa.uint64(), Role.ignored))
    if learnable.weight is not None:
        schema = schema.put(Field(WEIGHT, pa.float64(), Role.weight))
    sink = PartsSink(folder / "encoded", rejected, folder / "unused", schema, kind="arrow", durable=False)
    encode = Then((rows, learnable))
    task = Task("encode", source, tuple(columns), (Station(encode),), sink, max_rejected=max_rejected)
    receipts = tuple(engine.map(task))
    parts = [part.name for receipt in receipts for part in receipt.parts]
    data = LaidDown(
        folder / "encoded",
        parts,
        schema=features,
        target=target,
        seed=learnable.seed,
        resources=engine.resources,
        listener=listener,
        weighted=learnable.weight is not None,
        ordered=learnable.splitting.time is not None,
    )
    return data, receipts
