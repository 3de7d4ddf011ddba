"""How much memory an estimator of scikit-learn asks for. A helper of `sklearn_model.py`."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from penstock.model import Target, spans_of
from penstock.schema import Schema

if TYPE_CHECKING:
    from penstock.models.sklearn_model import Sklearn

_LIBRARIES = 160 * 2**20
"""What scikit-learn and skops hold once they are loaded, measured [bytes]."""
_PLACES = 128
"""How many places of a sparse vector are taken to be used."""
_NODE = 64 + 32
"""A node of a tree while it grows, and its place in the saved bytes [bytes]; 8 more for each class, twice."""


def memory_needed(model: Sklearn, rows: int, schema: Schema, target: Target) -> int:
    """About the peak of a training, beyond the bare process [bytes].

    The matrix of features is held ``copies`` times, as float64, or for columns of vectors that stay sparse 12 bytes for
    each place used, of which 128 are reckoned for each vector. Fully grown trees are added: up to two nodes for each
    row, or what ``max_leaf_nodes``, ``max_depth`` and ``min_samples_leaf`` leave of them. Batch by batch it is a few
    batches, and the coefficients.
    """
    kind = model.kind
    width = max((span.stop for span in spans_of(schema).values()), default=1)
    vectors = [field.width or 0 for field in schema if field.width is not None]
    outputs = max(1, len(target.classes))
    libraries = 0 if "skops" in sys.modules else _LIBRARIES
    per_row = 8 * width
    if kind.sparse and vectors:
        per_row = 12 * (width - sum(vectors) + sum(min(each, _PLACES) for each in vectors))
    base = libraries + 100 * rows + 32 * outputs * width
    window = 3 * min(64 * 2**20, 4 * width * rows)
    if kind.epochs:
        held_back = per_row * min(rows, 50_000) * 2 if kind.scores_only else 0
        layers = model.parameters.get("hidden_layer_sizes", [100]) if model.estimator == "mlp" else []
        units = [width, *(layers if isinstance(layers, list) else [layers]), outputs]
        weights = 80 * sum(int(one) * int(other) for one, other in pairwise(units))
        return int(base + window + 40 * model.rows_of_batch * width + held_back + weights)
    matrix = kind.copies * per_row * rows
    cache = 2**20 * float(model.parameters.get("cache_size", 200)) if model.estimator == "svm" else 0.0
    return int(base + matrix + cache + 24 * rows * outputs + _trees(model, rows, outputs))


def _trees(model: Sklearn, rows: int, outputs: int) -> float:
    """What the trees hold, their bytes when saved included [bytes]."""
    kind = model.kind
    if not kind.trees:
        return 0.0
    count = float(model.parameters.get("n_estimators") or model.parameters.get("max_iter") or 100)
    if model.estimator == "decision_tree":
        count = 1.0
    if kind.trees == 1:
        count *= outputs
    leaf = model.parameters.get("min_samples_leaf") or 1
    smallest = leaf if isinstance(leaf, int) else max(1.0, leaf * rows)
    leaves = (0.64 if model.estimator == "random_forest" else 1.0) * rows / smallest  # of rows drawn with replacement
    depth = model.parameters.get("max_depth") or (8 if kind.trees == 1 else None)
    if depth is not None:
        leaves = min(leaves, 2.0**depth)
    if model.parameters.get("max_leaf_nodes"):
        leaves = min(leaves, float(model.parameters["max_leaf_nodes"]))
    return count * 2 * leaves * 2 * (_NODE + 8 * outputs)
