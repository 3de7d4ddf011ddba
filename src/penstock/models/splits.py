"""Which rows are held back, and in which fold a row is: pure functions of the rows' hashes.

A helper of models. A row's part depends on its hash alone: not on its neighbours, their number or their order. The
hashes are mixed again with a salt, so that a split does not follow from another use of the same hashes (a sample of
the rows, an order, another split).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import UsageError

_BLOCK = 1 << 20
_GOLDEN = 0x9E3779B97F4A7C15
_FOLD, _VALIDATION = 0x666F6C64, 0x76616C69  # two families of salts


def validation_mask(
    hashes: npt.NDArray[np.uint64], share: float, salt: int = 0, *, ordered: bool = False
) -> npt.NDArray[np.bool_]:
    """Which rows are held back for validation: each with probability ``share``; of rows in order, the latest share.

    Args:
        hashes: one uniform 64-bit hash for each row, shape (rows,).
        share: from 0 (none) to 1 (all).
        salt: another salt gives another split, independent of the first.
        ordered: whether the hashes are places in the order of time (see `TrainingData.ordered`).

    Raises:
        UsageError: ``share`` is not from 0 to 1.

    Example:
        >>> validation_mask(np.arange(5, dtype=np.uint64), 1.0).tolist()
        [True, True, True, True, True]
    """
    if not 0 <= share <= 1:
        raise UsageError("not a share", where="validation_share", expected="a number from 0 to 1", got=repr(share))
    if ordered:
        return np.asarray((hashes >> np.uint64(11)) * 2.0**-53 < share)
    mask = np.empty(len(hashes), bool)
    for rows, mixed in _mixed(hashes, _VALIDATION, salt):
        mask[rows] = (mixed >> np.uint64(11)) * 2.0**-53 < share
    return mask


def fold_of(hashes: npt.NDArray[np.uint64], folds: int, salt: int = 0) -> npt.NDArray[np.int32]:
    """The fold of each row, from 0: each of the folds is equally probable.

    Args:
        hashes: one uniform 64-bit hash for each row, shape (rows,).
        folds: how many folds, from 1.
        salt: another salt gives another partition, independent of the first.

    Raises:
        UsageError: there is not even one fold.

    Example:
        >>> fold_of(np.arange(4, dtype=np.uint64), 1).tolist()
        [0, 0, 0, 0]
    """
    if folds < 1:
        raise UsageError("not a number of folds", where="folds", expected="1 or more", got=repr(folds))
    fold = np.empty(len(hashes), np.int32)
    for rows, mixed in _mixed(hashes, _FOLD, salt):
        fold[rows] = mixed % np.uint64(folds)
    return fold


def held_back(hashes: npt.NDArray[np.uint64], share: float, *, ordered: bool = False) -> npt.NDArray[np.bool_]:
    """`validation_mask`; but where rows or groups are so few that it holds none back, one of them is: never all.

    Example:
        >>> held_back(np.array([3, 3, 5], np.uint64), 0.01).tolist() in ([True, True, False], [False, False, True])
        True
    """
    mask = validation_mask(hashes, share, ordered=ordered)
    if share == 0 or mask.any() or not len(hashes):
        return mask
    mixed = hashes if ordered else np.concatenate([each for _, each in _mixed(hashes, _VALIDATION, 0)])
    fewest = mixed == mixed.min()
    return mask if fewest.all() else fewest


def taught(
    held: npt.NDArray[np.bool_], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(rows to learn from, rows to judge on) of those held back: a class that would be judged but never learned is
    learned. Where that leaves none to judge on, as where each class has a single row, those learned from are.

    Args:
        held: rows that are to be held back.
        labels: the class of each row.

    Example:
        >>> learned, judged = taught(np.array([True, False, True]), np.array([0, 0, 1]))
        >>> learned.tolist(), judged.tolist()
        ([False, True, True], [True, False, False])
    """
    judged = held & np.isin(labels, labels[~held])
    return (~judged, judged) if judged.any() else (~judged, ~judged)


def parted(hashes: npt.NDArray[np.uint64], folds: int, salt: int = 0) -> npt.NDArray[np.int32]:
    """`fold_of`; but where rows or groups are so few that a fold would be empty, they are dealt out to them in turn.

    Example:
        >>> sorted(parted(np.array([3, 5, 7], np.uint64), 3).tolist())
        [0, 1, 2]
    """
    fold = fold_of(hashes, folds, salt)
    if len(hashes) == 0 or np.bincount(fold, minlength=folds).min() > 0:
        return fold
    mixed = np.concatenate([each for _, each in _mixed(hashes, _FOLD, salt)])
    _, rank = np.unique(mixed, return_inverse=True)
    return np.asarray(rank % folds, np.int32)


def _mixed(hashes: npt.NDArray[np.uint64], family: int, salt: int) -> Iterator[tuple[slice, npt.NDArray[np.uint64]]]:
    """The hashes mixed with a salt, a block at a time, so that no second array of all rows is held.

    The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
    """
    shift = np.uint64((((family << 32) + salt + 1) * _GOLDEN) % 2**64)
    for start in range(0, len(hashes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        x = hashes[rows] + shift
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        yield rows, x ^ (x >> np.uint64(31))
