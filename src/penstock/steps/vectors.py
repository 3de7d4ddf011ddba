"""What steps that make columns of sparse vectors share: counting tokens by row. No step itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from penstock.batch import Batch
from penstock.schema import SPARSE, Field, Role
from penstock.statistics.tokens import Tokenizer, series_of
from penstock.vectors import sparse_column


def vector_field(field: Field, width: int, parts: Sequence[str] | None) -> Field:
    """The field as a column of vectors."""
    return replace(
        field,
        type=SPARSE,
        role=Role.vector,
        categories=None,
        values=None,
        width=width,
        parts=None if parts is None else tuple(parts),
    )


def counted_tokens(
    batch: Batch, column: str, tokenizer: Tokenizer, vocabulary: pl.DataFrame
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How often each token of a vocabulary stands in each row.

    Args:
        batch: the rows.
        column: of texts or lists.
        tokenizer: how they are cut.
        vocabulary: columns ``token`` and ``place``.

    Returns:
        Rows, places and counts, ascending by row and place.
    """
    tokens = tokenizer.tokens(series_of(batch, column))
    frame = pl.DataFrame({"row": pl.int_range(len(tokens), eager=True), "token": tokens}).explode("token").drop_nulls()
    found = frame.join(vocabulary, on="token", how="inner").group_by("row", "place").len("count").sort("row", "place")
    return (
        found["row"].cast(pl.Int64).to_numpy(),
        found["place"].cast(pl.Int64).to_numpy(),
        found["count"].cast(pl.Int64).to_numpy(),
    )


def column_of(
    rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64], values: npt.NDArray[np.float64], count: int
) -> pa.StructArray:
    """A column of vectors from entries ascending by row and place."""
    offsets = np.searchsorted(rows, np.arange(count + 1))
    return sparse_column(offsets, places, values.astype(np.float32))


def unit_length(rows: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The values of each row divided by their Euclidean length."""
    if len(rows) == 0:
        return values
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    lengths = np.sqrt(np.add.reduceat(np.square(values), starts))
    return np.asarray(values / np.repeat(lengths, np.diff(starts, append=len(rows))))


def vocabulary_of(tokens: Sequence[str]) -> pl.DataFrame:
    """Tokens and their places."""
    return pl.DataFrame({"token": pl.Series(tokens, dtype=pl.String), "place": pl.int_range(len(tokens), eager=True)})


def with_column(batch: Batch, names: Sequence[str], columns: Sequence[pa.Array]) -> Batch:
    """The batch with these columns in the places of those of the same names."""
    made = dict(zip(names, columns, strict=True))
    schema = batch.columns.schema
    arrays = [made.get(name, batch.columns.column(name)) for name in schema.names]
    return batch.with_columns(pa.RecordBatch.from_arrays(arrays, names=schema.names))
