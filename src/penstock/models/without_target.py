"""What models without a target share: encoding, rows as one matrix, samples, products. A helper of models.

Every function that serves predictions treats a row by itself, to the bit: products go through compressed rows, whose
sums run over a row's own values in their order, where BLAS would round a row differently among other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import DataError, SchemaError, UsageError
from penstock.model import Placed, TrainingData, spans_of
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.prediction import model_matrix
from penstock.schema import Role, Schema
from penstock.statistics.hashing import mix
from penstock.step import Step

_FARTHEST = 1e15
"""What a number counts as at most: its square, and sums of squares, are finite."""
_CHUNK_BYTES = 8 * 2**20
READ_ROWS = 4096
_MOST_COLUMNS = 50
"""Columns of 0 and 1 that a category becomes before it is a column of vectors."""


def matrix_steps(name: str, schema: Schema, max_categories: int, max_tokens: int) -> list[Step]:
    """Numbers imputed by the median and standardized (truth values and parts of times too), categories one-hot, texts
    and lists as vectors: as a linear model's.

    Raises:
        SchemaError: there is no column that can be encoded so, or categories are codes.
    """
    from penstock.steps.columns import Cast, Select
    from penstock.steps.encode import OneHot
    from penstock.steps.impute import Impute
    from penstock.steps.scale import Standardize

    usable = schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time)
    _refuse_unusable(name, schema, usable)
    truths = schema.of_role(Role.boolean)
    dates, parts = time_steps(schema, cyclic=True)
    categories = schema.of_role(Role.category)
    apart = (Role.category, Role.time, *WORDS)
    numbers = (*(one for one in usable if schema[one].role not in apart), *parts)
    steps: list[Step] = [Select(usable), *dates]
    if truths:
        steps.append(Cast(truths, "float32"))
    if numbers:
        steps += [Impute(numbers, "median"), Standardize(numbers)]
    if categories:
        steps.append(OneHot(categories, max_categories=max_categories, max_columns=_MOST_COLUMNS))
    return [*steps, *word_steps(schema, max_tokens)]


def _refuse_unusable(name: str, schema: Schema, usable: Sequence[str]) -> None:
    if not usable:
        pictures = schema.of_role(Role.picture, Role.clip)
        raise SchemaError(
            f"there is no feature that {name} can learn from",
            where=name,
            expected="numbers, truth values, categories, times, texts or lists",
            got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
            remedy="--model autoencoder learns from pictures; its features (penstock predict --output features) are "
            "numbers that this model can learn from"
            if pictures
            else "give a column another role, or derive numbers from it by steps",
        )
    coded = [one for one in schema.of_role(Role.category) if pa.types.is_integer(schema[one].type)]
    if coded:
        raise SchemaError(
            f"{name} can't learn from codes of categories",
            where=f"{name}, column {coded[0]!r}",
            expected="categories as text (the model encodes them itself), or one-hot columns",
            got=f"codes ({schema[coded[0]].type})",
            remedy="leave the step `ordinal` out",
        )


def width_of(features: Schema) -> int:
    """Places of a row's matrix."""
    return max((span.stop for span in spans_of(features).values()), default=0)


def names_of(data: TrainingData) -> list[str]:
    """What each place of the matrix is called, for people; of a sensitive column its name alone, never a value."""
    found = []
    masking = data.resources.masking
    for field in data.schema:
        hidden = [
            name
            for name in sorted(masking.columns if masking is not None else ())
            if field.name == name or field.name.startswith(f"{name}_")
        ]
        if hidden:
            found += hidden[-1:] * (1 if field.width is None else field.width)
        elif field.width is None:
            found.append(field.name)
        else:
            parts = field.parts or tuple(str(place) for place in range(field.width))
            found += [part if field.parts else f"{field.name}[{part}]" for part in parts]
    return found


def settled(matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Float64; 0 for what is missing (the mean of a standardized column), 1e15 for what is beyond."""
    found = np.nan_to_num(matrix.astype(np.float64), nan=0.0, posinf=_FARTHEST, neginf=-_FARTHEST)
    return np.clip(found, -_FARTHEST, _FARTHEST, out=found)


def chunks_of(batch: Batch, features: Schema) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """A batch's rows as dense matrices of a few MiB, and which rows they are.

    Raises:
        SchemaError: a feature is missing, or is not a number.
    """
    whole = model_matrix(batch.columns, features, np.float64)
    rows = max(1, _CHUNK_BYTES // (8 * max(1, width_of(features))))
    for start in range(0, len(batch), rows):
        part = whole[start : start + rows]
        yield (
            slice(start, min(start + rows, len(batch))),
            settled(part if isinstance(part, np.ndarray) else part.toarray()),
        )


def products(matrix: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``matrix @ weights``, shapes (rows, width) and (width, outputs): each row summed by itself, in order.

    Example:
        >>> products(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])).tolist()
        [[11.0]]
    """
    from scipy.sparse import csr_matrix

    rows, width = matrix.shape
    indices = np.tile(np.arange(width, dtype=np.int32), rows)
    starts = np.arange(0, rows * width + 1, max(width, 1), dtype=np.int32)[: rows + 1]
    made = csr_matrix((np.ascontiguousarray(matrix).reshape(-1), indices, starts), shape=(rows, width))
    return np.asarray(made @ np.ascontiguousarray(weights))


def squares_of(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of squares of each row, shape (rows,)."""
    return products(matrix * matrix, np.ones((matrix.shape[1], 1)))[:, 0]


def placed_by_features(batch: Batch, features: Schema, mean: npt.NDArray[np.float64]) -> Placed:
    """Where rows lie by the features themselves; ``mean`` is that of the rows learned from, shape (width,)."""
    places, spread = np.empty((len(batch), len(mean))), np.empty(len(batch))
    for rows, matrix in chunks_of(batch, features):
        places[rows] = matrix
        spread[rows] = squares_of(matrix - mean) / len(mean)
    return Placed(places, spread)


def drawn(data: TrainingData, most: int, salt: int = 0) -> npt.NDArray[np.bool_] | None:
    """At most so many rows, drawn evenly by a hash of their place, shape (rows,); None where that is all of them."""
    if data.rows <= most:
        return None
    hashes = mix(np.arange(data.rows, dtype=np.uint64) ^ mix(np.array([data.seed % 2**63 + salt], np.uint64)))
    return np.asarray(hashes <= np.partition(hashes, most - 1)[most - 1])


def sample_of(
    data: TrainingData, most: int, salt: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """The matrix of at most so many rows, shape (rows, width), and their weights where rows have any."""
    keep = drawn(data, most, salt)
    parts = list(data.in_order(READ_ROWS, keep=keep))
    weights = [part.weights for part in parts if part.weights is not None]
    return settled(np.concatenate([part.features for part in parts])), np.concatenate(weights) if weights else None


def mean_of_features(data: TrainingData) -> npt.NDArray[np.float64]:
    """The mean of each place of the matrix, shape (width,)."""
    total = np.zeros(width_of(data.schema))
    for batch in data.in_order(READ_ROWS):
        total += np.add.reduce(settled(batch.features), axis=0)
    return total / data.rows


def refuse_few(data: TrainingData, name: str, least: int, why: str) -> None:
    """Refuse too few rows.

    Raises:
        DataError: there are fewer.
    """
    if data.rows < least:
        raise DataError(
            "too few rows to learn from",
            where=name,
            expected=f"{least:,} rows or more: {why}",
            got=f"{data.rows:,}",
            remedy="more rows; see what the steps dropped or rejected",
        )


def refuse_weights(data: TrainingData, name: str) -> None:
    """Refuse weights of rows, for a model that takes none.

    Raises:
        UsageError: there are some.
    """
    if data.weights() is not None:
        raise UsageError(
            f"the model {name!r} learns from every row alike: it takes no weights",
            where="--weight",
            expected="no weights, or the model 'kmeans' or 'autoencoder'",
            got="a column of weights",
        )


@contextmanager
def alone() -> Iterator[None]:
    """Within it libraries compute on one thread: sums over several would round differently from run to run."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
        yield
