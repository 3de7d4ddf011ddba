"""Training data in memory for the tests of models: the whole contract, over an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.engine import Figures, Resources
from penstock.model import Target, TrainingBatch, TrainingData, spans_of
from penstock.schema import Field, Role, Schema
from penstock.source import Note
from penstock.vectors import as_matrix


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.figures: list[Figures] = []

    def said(self, note: Note) -> None:
        self.notes.append(note)

    def progressed(self, figures: Figures) -> None:
        self.figures.append(figures)


class TableData(TrainingData):
    """An Arrow table of features, and the labels beside it; rows are keyed as those of one file."""

    def __init__(
        self,
        table: pa.Table,
        schema: Schema,
        target: Target,
        labels: npt.NDArray[Any],
        *,
        seed: int = 0,
        cores: int = 2,
        memory: int = 2**33,
        listener: Any = None,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._weights = weights
        self._table = table.select(list(schema.names))
        self._labels = labels.astype(np.float64 if target.task == "regression" else np.int32)
        self._hashes = RowKeys.span("table", 0, table.num_rows).hash(seed)
        self.schema = schema
        self.target = target
        self.rows = table.num_rows
        self.seed = seed
        self.resources = Resources(cores, memory)
        self.listener = listener or Heard()

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        return self._table if columns is None else self._table.select(list(columns))

    def labels(self) -> npt.NDArray[Any]:
        return self._labels

    def weights(self) -> npt.NDArray[np.float64] | None:
        return self._weights

    def hashes(self) -> npt.NDArray[np.uint64]:
        return self._hashes

    def epoch(
        self,
        number: int,
        batch_rows: int,
        *,
        start: int = 0,
        keep: npt.NDArray[np.bool_] | None = None,
        threads: int = 0,
    ) -> Iterator[TrainingBatch]:
        rows = np.arange(self.rows) if keep is None else np.flatnonzero(keep)
        yield from self._batches(np.random.default_rng([self.seed, number]).permutation(rows), batch_rows, start)

    def in_order(
        self, batch_rows: int, *, keep: npt.NDArray[np.bool_] | None = None, threads: int = 0
    ) -> Iterator[TrainingBatch]:
        yield from self._batches(np.arange(self.rows) if keep is None else np.flatnonzero(keep), batch_rows, 0)

    def _batches(self, order: npt.NDArray[np.int64], batch_rows: int, start: int) -> Iterator[TrainingBatch]:
        spans = spans_of(self.schema)
        features = np.empty((self.rows, max((span.stop for span in spans.values()), default=0)), np.float32)
        for name, span in spans.items():
            column, width = self._table.column(name), self.schema[name].width
            if width is None:
                features[:, span.start] = column.to_numpy()
            else:
                features[:, span] = as_matrix(column, width).toarray()
        tensors = {field.name: tensors_of(self._table.column(field.name)) for field in self.schema if field.shape}
        tokens = [field.name for field in self.schema if field.role is Role.tokens]
        for begin in range(start * batch_rows, len(order), batch_rows):
            chosen = order[begin : begin + batch_rows]
            yield TrainingBatch(
                features[chosen],
                self._labels[chosen],
                None if self._weights is None else self._weights[chosen],
                chosen,
                {name: values[chosen] for name, values in tensors.items()},
                {name: tokens_of(self._table.column(name).take(pa.array(chosen))) for name in tokens},
            )


def tensors_of(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])


def tokens_of(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    rows = column.to_pylist()
    offsets = np.cumsum([0, *(len(row) for row in rows)])
    return np.array([each for row in rows for each in row], np.int32), offsets.astype(np.int64)


def number(name: str, kind: pa.DataType | None = None) -> Field:
    return Field(name, kind or pa.float64(), Role.number)


def codes(name: str, categories: Sequence[str]) -> Field:
    return Field(name, pa.int32(), Role.category, categories=tuple(categories))


def batch_of_table(table: pa.Table, start: int = 0, rows: int | None = None) -> Batch:
    """Rows of a table as one batch."""
    part = table.slice(start, rows).combine_chunks()
    batches = part.to_batches()
    columns = (
        batches[0]
        if batches
        else pa.RecordBatch.from_arrays([pa.array([], field.type) for field in part.schema], schema=part.schema)
    )
    return Batch(columns, RowKeys.span("table", start, columns.num_rows))


LETTERS = ("a", "b", "c", "d", "e")


def mixed(rows: int, seed: int = 0) -> tuple[pa.Table, Schema, npt.NDArray[np.float64]]:
    """Numbers (one with missing values, one float32) and categories (some missing), and a signal that they make."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    letter = random.integers(-1, len(LETTERS), rows).astype(np.int32)
    missing = random.random(rows) < 0.1
    table = pa.table(
        {
            "x": pa.array(x[:, 0]),
            "gappy": pa.array(x[:, 1], mask=missing),
            "short": pa.array(x[:, 2].astype(np.float32)),
            "letter": pa.array(letter),
        }
    )
    schema = Schema((number("x"), number("gappy"), number("short", pa.float32()), codes("letter", LETTERS)))
    effect = np.array([0.3, -1.0, 1.0, 0.0, 2.0, -2.0])[letter + 1]
    signal = x[:, 0] + np.where(missing, 0.0, x[:, 1]) * (x[:, 2] > 0) + effect
    return table, schema, signal + random.logistic(size=rows) * 0.5
