"""The order of an epoch: a permutation that is computed, place by place, and never kept.

Part of the machinery that lays rows down. The order follows from the numbers in the key alone, so a place in an epoch
is a number: whoever goes on from it, with however many workers, meets the same rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ROUNDS = 6
_GROUP = 50
"""Batches whose rows are put in order of length together: enough for little padding, few enough to stay a shuffle."""


class Bijection:
    """A permutation of the numbers from 0 to ``size - 1``, drawn by a key.

    A balanced Feistel network (Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom
    functions", SIAM J. Computing 1988) over the next even power of two, whose rounds mix with the finalizer of
    SplitMix64; what falls outside is put through again until it does not ("cycle walking": Black and Rogaway, "Ciphers
    with arbitrary finite domains", CT-RSA 2002).

    Args:
        size: how many numbers there are.
        key: whole numbers; other ones give another permutation.

    Example:
        >>> import numpy as np
        >>> found = Bijection(10, 7, 0)(np.arange(10))
        >>> sorted(found.tolist()) == list(range(10))
        True
    """

    def __init__(self, size: int, *key: int) -> None:
        self._size = size
        self._half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        state = 0
        for part in key:
            state = int(_mix(np.array([(state ^ part) & (2**64 - 1)], np.uint64))[0])
        with np.errstate(over="ignore"):
            self._keys = _mix(np.uint64(state) + np.arange(1, _ROUNDS + 1, dtype=np.uint64))

    def __call__(self, places: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """What stands at these places, int64 of the same shape."""
        found = self._once(np.asarray(places).astype(np.uint64))
        outside = np.flatnonzero(found >= self._size)
        while len(outside):
            found[outside] = self._once(found[outside])
            outside = outside[found[outside] >= self._size]
        return found.astype(np.int64)

    def _once(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right + key) & self._mask)
        return (left << self._half) | right


def by_length(lengths: npt.NDArray[Any], batch_rows: int, *key: int) -> npt.NDArray[np.int64]:
    """Rows in an order in which those of a batch are about as long: sequences side by side are padded to the longest.

    Rows are sorted by length within groups of 50 batches, and the batches of a group drawn in a random order
    (Khomenko et al., "Accelerating recurrent neural network training using sequence bucketing and multi-GPU data
    parallelization", IEEE DSMP 2016). Rows that fill no batch stay at the end. Where the rows come in a random order,
    rows of one length do so too.

    Args:
        lengths: of each row, shape (rows,).
        batch_rows: rows of a batch.
        key: whole numbers that the order of the batches follows from.

    Returns:
        Places of the rows, int64 of shape (rows,), each once.

    Example:
        >>> by_length(np.array([3, 9, 1, 8, 2, 5]), 2, 7).reshape(-1, 2).tolist()
        [[0, 5], [3, 1], [2, 4]]
    """
    whole = len(lengths) // batch_rows * batch_rows
    order = np.arange(len(lengths))
    for first in range(0, whole, _GROUP * batch_rows):
        last = min(first + _GROUP * batch_rows, whole)
        batches = (first + np.argsort(lengths[first:last], kind="stable")).reshape(-1, batch_rows)
        order[first:last] = batches[Bijection(len(batches), *key, first)(np.arange(len(batches)))].reshape(-1)
    return order


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
