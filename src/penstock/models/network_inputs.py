"""What goes into a network: rows as tensors, padded so that no row depends on its neighbours. A helper of models.

torch is loaded when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import SchemaError
from penstock.model import TrainingBatch, TrainingData, in_matrix, spans_of
from penstock.models.networks.padding import pad, padded_length
from penstock.models.prediction import feature_columns
from penstock.schema import Role, Schema
from penstock.vectors import as_matrix

if TYPE_CHECKING:
    import torch

MATRIX = ""
"""The name under which the matrix of numbers, codes and sparse vectors goes in; no column has it."""
PREDICT_ROWS = 1024
"""The most rows of a batch that is predicted, the last one padded: a row's bits never depend on how many there are."""
_BATCH_BYTES = 16 * 2**20
"""About the bytes of a batch of pictures that is predicted, as float32 [bytes]."""
_BATCH_TOKENS = 4096
"""Tokens of a batch that is predicted, the padding counted: filling it up costs little, whatever the lengths."""


@dataclass(frozen=True)
class Inputs:
    """Some rows.

    Attributes:
        count: how many.
        matrix: float32, shape (rows, width of `spans_of`).
        tensors: by column, shape (rows, *shape).
        tokens: by column, places in the vocabulary and where each row begins (see `TrainingBatch`).
    """

    count: int
    matrix: npt.NDArray[np.float32]
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    tokens: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = field(default_factory=dict)

    @classmethod
    def of_training(cls, batch: TrainingBatch) -> Inputs:
        """The features of a batch of an epoch."""
        return cls(len(batch), batch.features, batch.tensors, batch.tokens)

    @classmethod
    def of_batch(cls, batch: Batch, features: Schema) -> Inputs:
        """The features of a batch: NaN for null, infinity for what is beyond float32.

        Raises:
            SchemaError: it lacks one, or one is of another type or shape.
        """
        _refuse_other(batch, features)
        spans = spans_of(features)
        matrix = np.empty((len(batch), max((span.stop for span in spans.values()), default=0)), np.float32)
        scalars = features.select([each.name for each in features if in_matrix(each) and each.width is None])
        with np.errstate(over="ignore"):
            for one, values in zip(scalars, feature_columns(batch.columns, scalars), strict=True):
                matrix[:, spans[one.name].start] = values
        for one in features:
            if one.width is not None:
                matrix[:, spans[one.name]] = as_matrix(batch.column(one.name), one.width).toarray()
        tensors = {each.name: batch.column(each.name).to_numpy_ndarray() for each in features if each.shape}
        tokens = {each.name: _tokens(batch.column(each.name)) for each in features if each.role is Role.tokens}
        return cls(len(batch), matrix, tensors, tokens)

    def take(self, rows: npt.NDArray[np.int64]) -> Inputs:
        """These rows, by place."""
        tokens = {}
        for name, (values, offsets) in self.tokens.items():
            counts = np.diff(offsets)[rows]
            starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
            places = np.arange(starts[-1]) - np.repeat(starts[:-1], counts) + np.repeat(offsets[:-1][rows], counts)
            tokens[name] = (values[places], starts)
        return Inputs(len(rows), self.matrix[rows], {name: each[rows] for name, each in self.tensors.items()}, tokens)

    def filled_up(self, rows: int) -> Inputs:
        """The rows, and rows of zeros up to so many."""
        more = rows - self.count
        if more == 0:
            return self
        return Inputs(
            rows,
            np.concatenate([self.matrix, np.zeros((more, self.matrix.shape[1]), np.float32)]),
            {
                name: np.concatenate([each, np.zeros((more, *each.shape[1:]), each.dtype)])
                for name, each in self.tensors.items()
            },
            {
                name: (values, np.concatenate([offsets, np.repeat(offsets[-1:], more)]))
                for name, (values, offsets) in self.tokens.items()
            },
        )

    def alike(self, most: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
        """Places of rows that are computed together, and how many they are filled up to for it, at most ``most``.

        Sequences that are padded to one length go together, of long ones fewer. Which rows those are does not change
        what comes out of each: its padding follows from it alone, and so does how many rows are computed with it.
        """
        if not self.tokens:
            yield from ((np.arange(at, min(at + most, self.count)), most) for at in range(0, self.count, most))
            return
        padded = np.column_stack([padded_length(np.diff(offsets)) for _, offsets in self.tokens.values()])
        kinds, kind = np.unique(padded, axis=0, return_inverse=True)
        for number, lengths in enumerate(kinds):
            rows = min(most, _tokens_together(lengths.max()))
            places = np.flatnonzero(kind.reshape(-1) == number)
            yield from ((places[at : at + rows], rows) for at in range(0, len(places), rows))

    def to_torch(self, device: str = "cpu") -> dict[str, torch.Tensor]:
        """By name: the matrix, where there is one, tensors as they are, tokens padded to the longest row's bucket."""
        import torch

        found: dict[str, torch.Tensor] = {}
        if self.matrix.shape[1]:
            found[MATRIX] = torch.from_numpy(self.matrix)
        for name, each in self.tensors.items():
            found[name] = torch.from_numpy(each if each.flags.writeable else each.copy())
        for name, (values, offsets) in self.tokens.items():
            found[name] = torch.from_numpy(pad(values, offsets))
        if device == "cpu":
            return found
        # From pinned memory the copy runs beside what the device computes.
        return {name: each.pin_memory().to(device, non_blocking=True) for name, each in found.items()}


def rows_together(features: Schema) -> int:
    """Rows of a batch that is predicted: a power of two, fewer where rows are pictures or clips."""
    size = sum(4 * int(np.prod(each.shape)) for each in features if each.shape)
    if not size:
        return PREDICT_ROWS
    return int(2 ** np.clip(np.floor(np.log2(_BATCH_BYTES / size)), 0, np.log2(PREDICT_ROWS)))


def mean_tokens(data: TrainingData) -> dict[str, float]:
    """By column of tokens: how many a row has on average."""
    names = [each.name for each in data.schema if each.role is Role.tokens]
    table = data.table(names)
    return {name: float(pc.mean(pc.list_value_length(table.column(name))).as_py() or 0.0) for name in names}


def _tokens_together(length: int) -> int:
    """How many sequences padded to this length are predicted together: a power of two."""
    return 1 << int(np.log2(max(1, _BATCH_TOKENS // int(length))))


def _tokens(column: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    counts = np.asarray(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.int32)
    return values, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _refuse_other(batch: Batch, features: Schema) -> None:
    missing = [name for name in features.names if name not in batch.columns.schema.names]
    if missing:
        raise SchemaError(
            "the batch lacks features that the model was trained on",
            expected=", ".join(map(repr, features.names)),
            got=f"no {', '.join(map(repr, missing))}",
            remedy="give the batch the same columns, through the same steps, as in training",
        )
    for one in features:
        given = batch.column(one.name).type
        if (one.shape or one.role is Role.tokens) and given != one.type:
            raise SchemaError(
                "a feature is not of the type that the model was trained on",
                where=f"column {one.name!r}",
                expected=one.values_in_words,
                got=replace(one, type=given).values_in_words,
                remedy="give the batch the same columns, through the same steps, as in training",
            )
