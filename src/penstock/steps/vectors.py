"""What steps that make columns of sparse vectors share: vocabularies, and matrices to columns. No step itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from penstock.batch import Batch, record_batch
from penstock.schema import SPARSE, Field, Role
from penstock.statistics.documents import DocumentFrequenciesValue
from penstock.statistics.tokens import Tokenizer
from penstock.vectors import sparse_column

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that have a place in a vector.

    Attributes:
        tokens: in the order of their places, each once.
        documents: in how many rows each was seen.
    """

    tokens: tuple[str, ...]
    documents: tuple[int, ...]

    @classmethod
    def of(cls, found: DocumentFrequenciesValue, *, min_df: int, max_df: float, most: int) -> Vocabulary:
        """The tokens that stand in enough rows and not in too many, in order; the ``most`` that occur most often.

        Of equally frequent ones the first in order are kept.
        """
        documents = found.table["documents"].to_numpy()
        kept = np.flatnonzero((documents >= min_df) & (documents <= max_df * max(found.documents, 1)))
        if len(kept) > most:
            often = found.table["occurrences"].to_numpy()[kept]
            kept = np.sort(kept[np.argsort(-often, kind="stable")[:most]])
        return cls(tuple(found.table["token"].take(pa.array(kept)).to_pylist()), tuple(documents[kept].tolist()))

    @cached_property
    def _places(self) -> pl.Enum:
        return pl.Enum(self.tokens)

    def count(self, values: pa.Array, tokenizer: Tokenizer) -> csr_matrix:
        """How often each token stands in each row, int64, shape (rows, tokens); places ascend within a row."""
        from scipy.sparse import csr_matrix

        counts, tokens = tokenizer.count(values)
        codes = pl.Series("", tokens).cast(self._places, strict=False).to_physical().cast(pl.Int64).fill_null(-1)
        place = codes.to_numpy()[counts.indices]
        known = place >= 0
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(known)))[counts.indptr]
        shape = (len(values), len(self.tokens))
        found = csr_matrix((counts.data[known], place[known], bounds), shape=shape)
        found.sort_indices()
        return found


def column_of(matrix: csr_matrix, values: npt.NDArray[np.float64]) -> pa.StructArray:
    """A column of vectors with the places of a matrix, which ascend, and these values."""
    return sparse_column(matrix.indptr, matrix.indices, values.astype(np.float32))


def unit_length(matrix: csr_matrix, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The values of each row divided by their Euclidean length."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, np.square(values), matrix.shape[0]))
    return np.asarray(values / lengths[rows])


def with_column(batch: Batch, names: Sequence[str], columns: Sequence[pa.Array]) -> Batch:
    """The batch with these columns in the places of those of the same names; new names at the end."""
    given = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
    given.update(zip(names, columns, strict=True))
    return batch.with_columns(record_batch(list(given.values()), list(given), len(batch)))
