"""How well rows lie in their groups: the silhouette. A figure of a sample of rows; a helper of jobs and models."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_BLOCK = 256


def silhouettes(places: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The silhouette of each row: near 1 in the midst of its group, 0 between two, below 0 nearer to another.

    Formula:
        s = (b - a) / max(a, b)
        a   mean distance to the other rows of its own group
        b   the least, over the other groups, of the mean distance to their rows
        of a row that is alone in its group s = 0

    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", J. Comput. Appl.
    Math. 20, 1987. The time grows with the square of the rows.

    Args:
        places: float64, shape (rows, dimensions).
        groups: int64, shape (rows,): the group of each, from 0.

    Returns:
        float64, shape (rows,); nan where there are fewer than two groups.

    Example:
        >>> silhouettes(np.array([[0.0], [0.0], [4.0], [4.0]]), np.array([0, 0, 1, 1])).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    _, own, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return np.full(len(places), math.nan)
    order = np.argsort(own, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sorted_places = places[order]
    found = np.zeros(len(places))
    for start in range(0, len(places), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(places)))
        sums = np.add.reduceat(_distances(places[rows], sorted_places), starts, axis=1)
        mine = own[rows]
        others = counts[mine] - 1
        within = sums[np.arange(len(rows)), mine] / np.maximum(others, 1)
        means = sums / counts
        means[np.arange(len(rows)), mine] = math.inf
        nearest = np.min(means, axis=1)
        larger = np.maximum(within, nearest)
        found[rows] = np.where((others > 0) & (larger > 0), (nearest - within) / np.where(larger > 0, larger, 1.0), 0.0)
    return found


def _distances(some: npt.NDArray[np.float64], all_rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distances, shape (some, all): dimension by dimension, so that what is near loses nothing."""
    squares = np.zeros((len(some), len(all_rows)))
    for dimension in range(all_rows.shape[1]):
        apart = some[:, dimension, None] - all_rows[None, :, dimension]
        squares += apart * apart
    return np.sqrt(squares)
