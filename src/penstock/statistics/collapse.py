"""Counts by the leading bits of a float64: the arithmetic that histograms and score counts share.

Part of the room of statistics. A float64 has an *order key*: its bits as int64, turned so that keys are ordered as
the numbers are. Shifting keys right by `s` bits groups neighbouring numbers into buckets; shifting all of them by
one more joins buckets in pairs: the uniform collapse of Epicoco, Melle, Cafaro and Pulimeno, "UDDSketch: accurate
tracking of quantiles in data streams" (arXiv 2004.08604), on bits in place of logarithms.

Why the result does not depend on order or grouping: let d(S, s) be the number of distinct keys of a multiset S of
numbers at shift s. d falls as s grows (keys equal at s are equal at s + 1) and rises with S (more numbers, not
fewer keys). Let f(S) be the least s with d(S, s) <= limit. A state of S at shift f(S) is a function of S alone.
Taking in T gives, at shift max(f(S), f(T)) <= f(S + T), the exact counts of S + T, since shifting twice is
shifting by the sum; and `least_shift` goes on from there to the least shift that fits, which is f(S + T) because
all smaller ones down to max(f(S), f(T)) don't fit and those below it don't either.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.statistics.values import Floats, Integers

MAGNITUDE = 0x7FFF_FFFF_FFFF_FFFF
"""All bits of a float64 but its sign."""


def order_keys(values: Floats) -> Integers:
    """Keys (int64) in the order of the numbers; -0.0 has the key of 0.0, which is 0.

    Example:
        >>> order_keys(np.array([-1.0, -0.0, 0.0, 5e-324])).tolist()
        [-4607182418800017409, 0, 0, 1]
    """
    bits: Integers = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & MAGNITUDE)


def key_values(keys: Integers) -> Floats:
    """The numbers of these keys: the inverse of `order_keys`."""
    bits: Integers = keys ^ ((keys >> 63) & MAGNITUDE)
    return bits.view(np.float64)


def combine(keys: Integers, counts: npt.NDArray[np.int64]) -> tuple[Integers, npt.NDArray[np.int64]]:
    """Keys made distinct and ascending, with the counts of equal keys added up.

    Args:
        keys: shape (rows,), in any order; sorted runs are merged in linear time.
        counts: shape (rows,) or (rows, columns).
    """
    if len(keys) == 0:
        return keys, counts
    if not (keys[1:] >= keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    if len(starts) == len(keys):
        return keys, counts
    return keys[starts], np.add.reduceat(counts, starts, axis=0)


def least_shift(keys: Integers, limit: int) -> int:
    """The least number of bits to shift by so that at most ``limit`` distinct keys are left.

    Neighbours among ascending keys stay distinct after a shift by s exactly if their exclusive or has a bit at s
    or above. So at most ``limit - 1`` of those may reach 2^s: the ``limit``-th largest decides.

    Args:
        keys: distinct and ascending.
        limit: at least 2.

    Example:
        >>> least_shift(np.array([0, 1, 4, 5]), 2)
        1
    """
    if len(keys) <= limit:
        return 0
    differences = (keys[1:] ^ keys[:-1]).view(np.uint64)
    place = len(differences) - limit
    return int(np.partition(differences, place)[place]).bit_length()


def fit(
    keys: Integers, counts: npt.NDArray[np.int64], shift: int, limit: int
) -> tuple[Integers, npt.NDArray[np.int64], int]:
    """Keys at ``shift`` made distinct and collapsed until they fit; returns them, their counts and the new shift."""
    keys, counts = combine(keys, counts)
    more = least_shift(keys, limit)
    if more:
        keys, counts = combine(keys >> more, counts)
    return keys, counts, shift + more
