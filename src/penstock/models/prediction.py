"""From a batch to a matrix of features, and from scores to the columns of a prediction.

A helper of models: what all of them do before and after their own arithmetic. Every function treats a row by itself,
to the bit: no sum runs over rows, and none depends on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError
from penstock.model import PREDICTION, PROBABILITY, Target
from penstock.schema import SPARSE, Field, Schema
from penstock.vectors import as_matrix

_EXACT_IN_FLOAT32 = 2**24


def matrix_type(features: Schema) -> type[np.float32] | type[np.float64]:
    """float32 where it holds every value of these features exactly, else float64."""
    small = all(
        field.width is not None
        or field.type in (pa.float32(), pa.bool_(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16())
        or (field.categories is not None and len(field.categories) < _EXACT_IN_FLOAT32)
        for field in features
    )
    return np.float32 if small else np.float64


def feature_columns(columns: pa.RecordBatch, features: Schema) -> Iterator[npt.NDArray[Any]]:
    """The features one by one, shape (rows,) each, NaN for null.

    Values take the type that the model was trained on first, so that a number falls on the same side of a threshold.

    Raises:
        SchemaError: a feature is missing, or is not a number.
    """
    missing = [name for name in features.names if name not in columns.schema.names]
    if missing:
        raise SchemaError(
            "the batch lacks features that the model was trained on",
            expected=", ".join(map(repr, features.names)),
            got=f"no {', '.join(map(repr, missing))}",
            remedy="give the batch the same columns, through the same steps, as in training",
        )
    for field in features:
        yield _numbers(columns.column(field.name), field.name, field.type)


def model_matrix(columns: pa.RecordBatch, features: Schema, dtype: type[np.float32] | type[np.float64]) -> Any:
    """The features as one matrix of shape (rows, width of `penstock.model.spans_of`): dense, or, where a feature is a
    column of vectors, in compressed rows.

    Raises:
        SchemaError: a feature is missing, or is not a number.
    """
    if all(field.width is None for field in features):
        return feature_matrix(columns, features, dtype)
    from scipy.sparse import csr_matrix, hstack

    scalars = features.select([field.name for field in features if field.width is None])
    values = dict(zip(scalars.names, feature_columns(columns, scalars), strict=True))
    parts: list[Any] = []
    for field in features:
        if field.width is not None:
            parts.append(as_matrix(vector_column(columns, field), field.width).astype(dtype))
        else:
            parts.append(csr_matrix(values[field.name].astype(dtype).reshape(-1, 1)))
    return hstack(parts, format="csr")


def vector_column(columns: pa.RecordBatch, field: Field) -> pa.Array:
    """A column of vectors of the batch.

    Raises:
        SchemaError: it is missing, or no column of vectors.
    """
    if field.name not in columns.schema.names or columns.column(field.name).type != SPARSE:
        raise SchemaError(
            "the batch lacks features that the model was trained on",
            expected=f"{field.name!r}, a column of vectors of width {field.width}",
            got=f"no {field.name!r}" if field.name not in columns.schema.names else "a column of another type",
            remedy="give the batch the same columns, through the same steps, as in training",
        )
    return columns.column(field.name)


def feature_matrix(
    columns: pa.RecordBatch, features: Schema, dtype: type[np.float32] | type[np.float64]
) -> npt.NDArray[Any]:
    """The features as one matrix of shape (rows, features), C-contiguous; see `feature_columns`."""
    out = np.empty((columns.num_rows, len(features)), dtype)
    for place, values in enumerate(feature_columns(columns, features)):
        out[:, place] = values
    return out


def _numbers(values: pa.Array, name: str, kind: pa.DataType) -> npt.NDArray[Any]:
    """The values as floats, NaN for null; in the type trained on where that is narrower."""
    given = values.type
    if not (pa.types.is_floating(given) or pa.types.is_integer(given) or pa.types.is_boolean(given)):
        raise SchemaError(
            "a feature is not a number",
            where=f"column {name!r}",
            expected=str(kind),
            got=str(given),
            remedy="give the batch the same steps as in training",
        )
    if pa.types.is_boolean(given):
        values = values.cast(pa.uint8())
    if not pa.types.is_floating(given):
        return np.asarray((values.cast(pa.float64()) if values.null_count else values).to_numpy(zero_copy_only=False))
    array: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array.astype(np.float32) if kind == pa.float32() and array.dtype != np.float32 else array


def sigmoid(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``1 / (1 + exp(-score))``, by scipy's scalar loop: a row's bits do not depend on its place in the array."""
    from scipy.special import expit

    return np.asarray(expit(score), np.float64)


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities from scores, both of shape (rows, classes).

    Example:
        >>> softmax(np.array([[0.0, 0.0]])).tolist()
        [[0.5, 0.5]]
    """
    classes = scores.shape[1]
    top = scores[:, 0].copy()
    for place in range(1, classes):
        np.maximum(top, scores[:, place], out=top)
    odds = np.exp(scores - top[:, None])
    return normalized(odds)


def normalized(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows divided by their sums; shape (rows, classes). A row of zeros becomes equal shares."""
    total = odds[:, 0].copy()
    for place in range(1, odds.shape[1]):  # in this order, whatever the number of rows
        total += odds[:, place]
    empty = total == 0
    if empty.any():
        odds = np.where(empty[:, None], 1.0, odds)
        total = np.where(empty, float(odds.shape[1]), total)
    return np.asarray(odds / total[:, None], np.float64)


def two_classes(positive: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of both classes, shape (rows, 2), from that of the second, shape (rows,)."""
    out = np.empty((len(positive), 2))
    out[:, 0] = 1.0 - positive
    out[:, 1] = positive
    return out


def class_batch(batch: Batch, target: Target, probabilities: npt.NDArray[np.float64]) -> Batch:
    """The rows' predicted labels and probabilities; of equal ones the lower code wins."""
    code = np.argmax(probabilities, axis=1).astype(np.int32)
    labels = pa.DictionaryArray.from_arrays(pa.array(code), pa.array(target.classes, pa.string()))
    columns = [labels, *(pa.array(np.ascontiguousarray(column)) for column in probabilities.T)]
    return batch.with_columns(_record(columns, [PREDICTION, *(PROBABILITY + label for label in target.classes)]))


def value_batch(batch: Batch, values: npt.NDArray[np.float64]) -> Batch:
    """The rows' predicted numbers."""
    return batch.with_columns(_record([pa.array(values)], [PREDICTION]))


def _record(columns: Sequence[pa.Array], names: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), names=list(names))
