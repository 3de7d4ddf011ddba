"""Columns of sparse vectors: between Arrow, where batches hold them, and compressed rows, where models compute.

A contract's helper: the one place that knows how `penstock.schema.SPARSE` is laid out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.schema import SPARSE

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def as_sparse(matrix: Any) -> pa.StructArray:
    """A column of vectors from a SciPy matrix of shape (rows, width); zeros are left out, places ascend.

    Example:
        >>> from scipy.sparse import csr_matrix
        >>> as_sparse(csr_matrix([[0, 2.0], [0, 0]])).to_pylist()
        [{'indices': [1], 'values': [2.0]}, {'indices': [], 'values': []}]
    """
    from scipy.sparse import csr_matrix

    rows = csr_matrix(matrix, dtype=np.float32, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    rows.sort_indices()
    return sparse_column(rows.indptr, rows.indices, rows.data)


def sparse_column(
    offsets: npt.NDArray[Any], places: npt.NDArray[Any], values: npt.NDArray[np.float32]
) -> pa.StructArray:
    """A column of vectors from compressed rows: row ``i`` has ``places[offsets[i]:offsets[i + 1]]``, ascending."""
    bounds = pa.array(offsets.astype(np.int32, copy=False))
    indices = pa.array(places.astype(np.int32, copy=False))
    held = pa.array(values.astype(np.float32, copy=False))
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(bounds, indices, type=SPARSE.field(0).type),
            pa.ListArray.from_arrays(bounds, held, type=SPARSE.field(1).type),
        ],
        fields=list(SPARSE),
    )


def as_matrix(column: pa.Array | pa.ChunkedArray, width: int) -> csr_matrix:
    """A column of vectors as a SciPy matrix in compressed rows, float32, shape (rows, width); a null is zeros.

    Example:
        >>> column = pa.array([{"indices": [0, 2], "values": [1.0, 3.0]}, None], SPARSE)
        >>> as_matrix(column, 3).toarray().tolist()
        [[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]]
    """
    from scipy.sparse import csr_matrix

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    indices, values = column.flatten()  # applies the column's own offset, and its nulls to the children
    counts = np.asarray(indices.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return csr_matrix(
        (np.asarray(values.flatten()), np.asarray(indices.flatten()), offsets), shape=(len(column), width)
    )
