"""Rows laid down on disk for whoever needs several passes over them: encoded training data.

Part of the pipeline's machinery. Parts are Arrow IPC, read by memory mapping: pages of files, which the system may
take back at any time, not memory that the process holds.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.augmenting import Late
from penstock.batch import Batch, RowKeys, record_batch
from penstock.durable import read_json, write_json, writing
from penstock.engine import Engine, Listener, Resources, Station, Task, Transform
from penstock.model import Target, TrainingBatch, TrainingData, in_matrix, spans_of
from penstock.order import Bijection, by_length
from penstock.schema import Field, Role, Schema
from penstock.sink import Receipt
from penstock.sinks.parts import PartsSink
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, Source
from penstock.step import Use
from penstock.target import HASH, LABEL, WEIGHT, Learnable, Then
from penstock.vectors import as_matrix

_WINDOW_BYTES = 64 * 2**20
"""About the bytes of the rows that are shuffled together, and held for it [bytes]."""
_TENSOR_WINDOW_BYTES = 2**30
"""The same for rows with tensors, which are gathered from their file batch by batch, and not held [bytes]."""
_TOGETHER_BYTES = 2 * 2**20
"""About the bytes of batches with tensors that are gathered and augmented together [bytes]."""
_LAID_DOWN = "laid-down.json"

T = TypeVar("T")
Augment: TypeAlias = Callable[[npt.NDArray[np.int64]], Mapping[str, npt.NDArray[Any]]]
"""From the numbers of some rows to their tensors, augmented or not."""


class LaidDown(TrainingData):
    """Encoded rows in Arrow IPC parts, memory-mapped.

    Args:
        folder: where the parts are.
        parts: their names, in order.
        late: the augmentations and what follows them, done to each batch; None where there are none. An attribute too.
        other arguments: the attributes of `TrainingData`.
    """

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
        late: Late | None = None,
        checkpoints: Path | None = None,
        history: Path | None = None,
    ) -> None:
        self.weighted = weighted
        self.ordered = ordered
        self.schema = schema
        self.target = target
        self.seed = seed
        self.resources = resources
        self.listener = listener
        self.checkpoints = checkpoints
        self.history = history
        self.late = late
        self.mirrored = () if late is None else late.mirrored
        laid = laid_schema(schema, late)
        names = pa.schema([(field.name, field.type) for field in laid])
        names = names.append(pa.field(LABEL, _label_type(target))).append(pa.field(HASH, pa.uint64()))
        if weighted:
            names = names.append(pa.field(WEIGHT, pa.float64()))
        tables = [pa.ipc.open_file(pa.memory_map(str(folder / part))).read_all() for part in parts]
        self._table = pa.concat_tables(tables) if tables else names.empty_table()
        self.rows = self._table.num_rows
        self._tensors = {field.name: _Tensors(self._table.column(field.name)) for field in laid if field.shape}
        tokens = [field.name for field in laid if field.role is Role.tokens]
        self._tokens = {name: _Tokens(self._table.column(name)) for name in tokens}

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The feature columns, memory-mapped; those that are augmented as they are before."""
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

    def before(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Some rows of the columns that are augmented, as they are before; their keys are those of an epoch's."""
        names = () if self.late is None else self.late.inputs
        given = [self._tensors[name].column(rows) for name in names]
        return Batch(record_batch(given, names, len(rows)), RowKeys(("",), rows))

    def epoch(
        self,
        number: int,
        batch_rows: int,
        *,
        start: int = 0,
        keep: npt.NDArray[np.bool_] | None = None,
        threads: int = 0,
    ) -> Iterator[TrainingBatch]:
        """One pass in a shuffled order: blocks in a random order, then rows within a window of blocks; of those with
        tokens, rows of like length in a batch."""
        augment = self._augmenting(Use("train", self.seed, number))
        found = (rows for place, rows in enumerate(self._shuffled(number, batch_rows, keep)) if place >= start)
        yield from self._batches(found, batch_rows, augment, threads)

    def in_order(
        self, batch_rows: int, *, keep: npt.NDArray[np.bool_] | None = None, threads: int = 0
    ) -> Iterator[TrainingBatch]:
        """One pass in plan order, nothing augmented."""
        plain = self._augmenting(Use("predict", self.seed))
        yield from self._batches(self._in_plan_order(batch_rows, keep), batch_rows, plain, threads)

    def _batches(
        self, found: Iterator[_Rows], batch_rows: int, augment: Augment, threads: int
    ) -> Iterator[TrainingBatch]:
        """The batches of some rows. Small ones are gathered and augmented several together: what is done for each of
        them takes longer than the pixels of a few small pictures; what comes out is the same."""
        size = batch_rows * sum(each.row_bytes for each in self._tensors.values())
        together = max(1, _TOGETHER_BYTES // size) if size else 1
        groups = iter(lambda: list(islice(found, together)), [])
        for batches in ahead(groups, lambda group: self._made(group, augment), threads):
            yield from batches

    def _in_plan_order(self, batch_rows: int, keep: npt.NDArray[np.bool_] | None) -> Iterator[_Rows]:
        rest: _Rows | None = None
        for block in range(-(-self.rows // self._block_rows)):
            rows = self._block(block, keep)
            rows = rows if rest is None else _Rows.concat([rest, rows])
            whole = len(rows) // batch_rows * batch_rows
            yield from (rows.take(slice(at, at + batch_rows)) for at in range(0, whole, batch_rows))
            rest = rows.take(slice(whole, None))
        if rest is not None and len(rest):
            yield rest

    def _shuffled(self, number: int, batch_rows: int, keep: npt.NDArray[np.bool_] | None) -> Iterator[_Rows]:
        count = -(-self.rows // self._block_rows)
        blocks = Bijection(count, self.seed, number)(np.arange(count))
        size = self._block_rows * self._row_bytes
        window = max(1, (_TENSOR_WINDOW_BYTES if self._tensors else _WINDOW_BYTES) // size)
        rest: _Rows | None = None
        for first in range(0, count, window):
            rows = _Rows.concat([self._block(int(block), keep) for block in blocks[first : first + window]])
            rows = rows.take(Bijection(len(rows), self.seed, number, first)(np.arange(len(rows))))
            rows = rows if rest is None else _Rows.concat([rest, rows])
            last = first + window >= count
            whole = len(rows) if last else len(rows) // batch_rows * batch_rows
            if self._tokens:
                lengths = np.sum([tokens.lengths[rows.rows] for tokens in self._tokens.values()], axis=0)
                rows = rows.take(by_length(lengths, batch_rows, self.seed, number, first))
            for at in range(0, whole, batch_rows):
                yield rows.take(slice(at, min(at + batch_rows, whole)))
            rest = rows.take(slice(whole, None))

    @property
    def _row_bytes(self) -> int:
        """About what a row holds in a window: sparse vectors by the places they use on average [bytes]."""
        vectors = [field.name for field in self.schema if field.width is not None]
        used = sum(self._table.column(name).nbytes for name in vectors)
        scalars = sum(in_matrix(field) for field in self.schema) - len(vectors)
        tensors = sum(each.row_bytes for each in self._tensors.values())
        return int(4 * max(1, scalars) + used // max(1, self.rows)) + tensors

    @property
    def _block_rows(self) -> int:
        """Rows that stay together when blocks are shuffled."""
        if not self._tensors:
            return BLOCK_ROWS
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // self._row_bytes))

    def _block(self, block: int, keep: npt.NDArray[np.bool_] | None) -> _Rows:
        start = block * self._block_rows
        table = self._table.slice(start, self._block_rows)
        matrix = [field for field in self.schema if in_matrix(field)]
        scalars = [field.name for field in matrix if field.width is None]
        dense = np.empty((table.num_rows, len(scalars)), np.float32)
        for place, name in enumerate(scalars):
            values = table.column(name)
            if values.null_count:
                values = values.cast(pa.float64())
            dense[:, place] = values.to_numpy()
        weights = np.asarray(table.column(WEIGHT).to_numpy()) if self.weighted else None
        rows = _Rows(
            dense,
            tuple(as_matrix(table.column(field.name), field.width) for field in matrix if field.width is not None),
            np.asarray(table.column(LABEL).to_numpy()),
            weights,
            np.arange(start, start + table.num_rows),
        )
        return rows if keep is None else rows.take(keep[start : start + table.num_rows])

    def _augmenting(self, use: Use) -> Augment:
        """What gives the tensors of some rows, augmented or not."""
        made = {field.name for field in self.schema if field.shape}
        if self.late is None:
            return lambda rows: {name: self._tensors[name].take(rows) for name in made}
        chain, late = self.late.chain(use), set(self.late.outputs)

        def tensors(rows: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[Any]]:
            after = chain.transform(self.before(rows))
            found = {name: after.column(name).to_numpy_ndarray() for name in late}
            return found | {name: self._tensors[name].take(rows) for name in made - late}

        return tensors

    def _made(self, group: Sequence[_Rows], augment: Augment) -> list[TrainingBatch]:
        """Batches as a model takes them: one matrix, vectors written out in it; tensors and tokens beside."""
        rows = np.concatenate([one.rows for one in group]) if len(group) > 1 else group[0].rows
        tensors = augment(rows) if self._tensors else {}
        batches, end = [], 0
        for one in group:
            start, end = end, end + len(one)
            batches.append(
                TrainingBatch(
                    one.matrix(self.schema),
                    one.labels,
                    one.weights,
                    one.rows,
                    {name: each[start:end] for name, each in tensors.items()},
                    {name: tokens.take(one.rows) for name, tokens in self._tokens.items()},
                )
            )
        return batches


def ahead(items: Iterator[Any], make: Callable[[Any], T], threads: int) -> Iterator[T]:
    """What is made of each item, in order; by so many threads ahead of whoever takes it (0: only when it is asked for).

    Example:
        >>> list(ahead(iter([1, 2, 3]), lambda number: number * number, threads=2))
        [1, 4, 9]
    """
    if threads == 0:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(threads, "loading") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Tensors:
    """A column of tensors in memory-mapped parts, row by row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._type = column.type
        self._parts = [chunk.to_numpy_ndarray() for chunk in column.chunks if len(chunk)]
        self._ends = np.cumsum([len(part) for part in self._parts])
        self._begins = np.array([0, *self._ends], np.int64)
        empty = np.zeros((0, *column.type.shape), column.type.value_type.to_pandas_dtype())
        self._like = self._parts[0] if self._parts else empty
        self.row_bytes = int(self._like.dtype.itemsize * np.prod(column.type.shape))

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """These rows, shape (rows, *shape), in a buffer of their own."""
        out = np.empty((len(rows), *self._like.shape[1:]), self._like.dtype)
        owner = np.searchsorted(self._ends, rows, side="right")
        places = rows - self._begins[owner]
        # Row by row, each copied once: rows of one part lie together as seldom as there are parts.
        for at, (part, place) in enumerate(zip(owner.tolist(), places.tolist(), strict=True)):
            out[at] = self._parts[part][place]
        return out

    def column(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """These rows, as Arrow."""
        return pa.FixedShapeTensorArray.from_numpy_ndarray(self.take(rows))


class _Tokens:
    """A column of tokens in memory-mapped parts, row by row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._parts = [chunk for chunk in column.chunks if len(chunk)]
        self._ends = np.cumsum([len(part) for part in self._parts])

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """How many tokens each row has, shape (rows,)."""
        counts = [part.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for part in self._parts]
        return np.concatenate([np.zeros(0, np.int32), *counts]).astype(np.int32)

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The tokens of these rows, one row after the other, and where each begins, shape (rows + 1,)."""
        owner = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(owner, kind="stable")
        taken = [
            self._parts[place].take(
                pa.array(rows[order[owner[order] == place]] - self._ends[place] + len(self._parts[place]))
            )
            for place in np.unique(owner)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        found = pa.concat_arrays(taken).take(pa.array(back)) if taken else pa.array([], pa.list_(pa.int32()))
        counts = np.asarray(found.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
        values = np.asarray(found.flatten().to_numpy(zero_copy_only=False), np.int32)
        return values, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


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

    def matrix(self, schema: Schema) -> npt.NDArray[np.float32]:
        """Single values and vectors, written out, in the places of `spans_of`."""
        if not self.vectors:
            return self.dense
        spans = spans_of(schema)
        features = np.empty((len(self), max(span.stop for span in spans.values())), np.float32)
        vectors = iter(self.vectors)
        scalar = 0
        for field in filter(in_matrix, schema):
            span = spans[field.name]
            if field.width is None:
                features[:, span.start] = self.dense[:, scalar]
                scalar += 1
            else:
                features[:, span] = next(vectors).toarray()
        return features


def laid_schema(features: Schema, late: Late | None) -> Schema:
    """The columns that are laid down for these features: those that are augmented as they are before."""
    if late is None:
        return features
    return features.without(late.outputs).put(*(late.incoming[name] for name in late.inputs))


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
    late: Late | None = None,
    keep: bool = False,
    history: Path | None = None,
) -> tuple[LaidDown, tuple[Receipt, ...]]:
    """Encode all rows of a source and lay them down in ``folder``; rejected rows go to ``rejected``.

    ``rows`` says which rows count, ``learnable`` encodes them, ``late`` is what is done to each batch. Where they are
    to be kept (``keep``), they are made durable, and found again by a job that goes on with the same work.

    The receipts hold the ledger of every row.
    """
    target = learnable.target
    schema = laid_schema(features, late)
    schema = schema.put(Field(LABEL, _label_type(target), Role.target), Field(HASH, pa.uint64(), Role.ignored))
    if learnable.weight is not None:
        schema = schema.put(Field(WEIGHT, pa.float64(), Role.weight))
    record = folder / _LAID_DOWN
    if keep and record.exists():
        receipts = tuple(Receipt.from_json(one) for one in read_json(record)["receipts"])
    else:
        if folder.exists():
            with writing(folder):
                shutil.rmtree(folder)
        sink = PartsSink(folder / "encoded", rejected, folder / "unused", schema, kind="arrow", durable=keep)
        task = Task(
            "encode", source, tuple(columns), (Station(Then((rows, learnable))),), sink, max_rejected=max_rejected
        )
        receipts = tuple(engine.map(task))
        if keep:
            write_json(record, {"receipts": [receipt.to_json() for receipt in receipts]})
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
        late=late,
        checkpoints=folder / "checkpoints" if keep else None,
        history=history,
    )
    return data, receipts
