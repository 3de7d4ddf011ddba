"""Features as the matrix that an estimator of scikit-learn takes: dense, or sparse where there are columns of vectors.

A helper of `sklearn_model.py` and `sklearn_training.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import SchemaError
from penstock.model import spans_of
from penstock.models.prediction import feature_columns
from penstock.models.sklearn_estimators import Estimator
from penstock.schema import Schema
from penstock.source import BLOCK_ROWS
from penstock.vectors import as_matrix

PREDICT_ROWS = 256
"""Rows that are predicted together, the last ones filled up: products of matrices round a row by its company's size."""

_FARTHEST = 1e32
"""What trees tell apart, as float32, and may add up to see whether all of it is finite."""


class Matrices:
    """From columns to matrices.

    Args:
        estimator: which encoding it wants.
        features: the columns.
    """

    def __init__(self, estimator: Estimator, features: Schema) -> None:
        self._features = features
        self._spans = spans_of(features)
        self._scalars = features.select([field.name for field in features if field.width is None])
        self.width = max((span.stop for span in self._spans.values()), default=0)
        self.sparse = estimator.sparse and len(self._scalars) < len(features)
        self._gaps = estimator.encoding == "gaps" and not self.sparse
        self._positive = estimator.encoding == "positive"
        self._short = bool(estimator.trees)

    def of(self, columns: pa.RecordBatch) -> Any:
        """Float64 of shape (rows, width): an array, or compressed rows.

        Raises:
            SchemaError: a feature is missing, or is not a number.
        """
        missing = [name for name in self._features.names if name not in columns.schema.names]
        if missing:
            raise SchemaError(
                "the batch lacks features that the model was trained on",
                expected=", ".join(map(repr, self._features.names)),
                got=f"no {', '.join(map(repr, missing))}",
                remedy="give the batch the same columns, through the same steps, as in training",
            )
        dense = np.empty((columns.num_rows, len(self._scalars) if self.sparse else self.width))
        for place, (name, values) in enumerate(
            zip(self._scalars.names, feature_columns(columns, self._scalars), strict=True)
        ):
            dense[:, place if self.sparse else self._spans[name].start] = values
        if self.sparse:
            return self._beside(self.filled(dense), columns)
        for field in self._features:
            if field.width is not None:
                dense[:, self._spans[field.name]] = as_matrix(columns.column(field.name), field.width).toarray()
        return self.filled(dense)

    def filled(self, dense: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """0 for what is missing, unless the estimator takes gaps; nothing below 0 where it counts. In place.

        Trees hold thresholds as float32: what is beyond 1e32 counts as that, on the same side of all of them.
        """
        if not self._gaps:
            dense[np.isnan(dense)] = 0.0
        if self._positive:
            np.maximum(dense, 0.0, out=dense)
        if self._short:
            np.clip(dense, -_FARTHEST, _FARTHEST, out=dense)
        return dense

    def _beside(self, dense: npt.NDArray[np.float64], columns: pa.RecordBatch) -> Any:
        """Scalars and vectors as compressed rows, in the order of the features."""
        from scipy.sparse import csr_matrix, hstack

        parts = []
        scalar = 0
        for field in self._features:
            if field.width is None:
                parts.append(csr_matrix(dense[:, scalar : scalar + 1]))
                scalar += 1
            else:
                parts.append(as_matrix(columns.column(field.name), field.width).astype(np.float64))
        rows = hstack(parts, format="csr")
        if self._positive:
            rows.data = np.maximum(rows.data, 0.0)
        rows.indices, rows.indptr = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
        rows.sort_indices()
        return rows

    def of_table(self, table: pa.Table, mask: npt.NDArray[np.bool_] | None = None) -> Any:
        """The rows of a table where the mask is true, block by block into one matrix."""
        blocks = self._blocks(table, mask)
        if self.sparse:
            from scipy.sparse import csr_matrix, vstack

            found = list(blocks)
            return vstack(found, format="csr") if found else csr_matrix((0, self.width))
        rows = table.num_rows if mask is None else int(np.count_nonzero(mask))
        out = np.empty((rows, self.width))
        start = 0
        for block in blocks:
            out[start : start + len(block)] = block
            start += len(block)
        return out

    def _blocks(self, table: pa.Table, mask: npt.NDArray[np.bool_] | None) -> Iterator[Any]:
        start = 0
        for batch in table.to_batches(max_chunksize=BLOCK_ROWS):
            part = None if mask is None else mask[start : start + batch.num_rows]
            start += batch.num_rows
            if part is None:
                yield self.of(batch)
            elif part.any():
                yield self.of(batch.filter(pa.array(part)))

    def padded(self, matrix: Any) -> Iterator[tuple[Any, int]]:
        """Parts of `PREDICT_ROWS` rows, the last one filled up with zeros, and how many of its rows count."""
        for start in range(0, matrix.shape[0], PREDICT_ROWS):
            part = matrix[start : start + PREDICT_ROWS]
            rows = part.shape[0]
            if rows == PREDICT_ROWS:
                yield part, rows
            elif self.sparse:
                part = part.copy()
                part.resize((PREDICT_ROWS, self.width))
                yield part, rows
            else:
                yield np.concatenate([part, np.zeros((PREDICT_ROWS - rows, self.width))]), rows
