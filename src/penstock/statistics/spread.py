"""Counts, means and squared distances of many groups of numbers at once. Part of the room of statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.statistics.values import Floats, Integers


def grown(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """The same array with at least so many rows, the new ones zeros; grown by doubling."""
    if rows <= len(values):
        return values
    more = np.zeros((max(rows, 2 * len(values)) - len(values), *values.shape[1:]), values.dtype)
    return np.concatenate((values, more))


@dataclass(frozen=True, eq=False)
class Spread:
    """Counts, means and sums of squared distances from the mean, of one shape."""

    counts: Integers
    means: Floats
    squares: Floats

    @classmethod
    def of(cls, places: int, folds: int) -> Spread:
        """Places without values."""
        return cls(np.zeros((places, folds), np.int64), np.zeros((places, folds)), np.zeros((places, folds)))

    @classmethod
    def of_values(cls, cells: Integers, values: Floats, places: int, folds: int) -> Spread:
        """Of some values, each in a cell (place times folds plus fold)."""
        size = places * folds
        counts = np.bincount(cells, minlength=size)
        safe = np.maximum(counts, 1)
        means = np.bincount(cells, values / safe[cells], size).astype(np.float64)
        distance = values - means[cells]
        means += np.bincount(cells, distance, size) / safe
        distance = values - means[cells]
        with np.errstate(over="ignore"):
            squares = np.bincount(cells, distance * distance, size).astype(np.float64)
        shape = (places, folds)
        return cls(counts.reshape(shape), means.reshape(shape), squares.reshape(shape))

    def at(self, places: Integers) -> Spread:
        """These places."""
        return Spread(self.counts[places], self.means[places], self.squares[places])

    def longer(self, places: int) -> Spread:
        """The same with room for so many places."""
        return Spread(grown(self.counts, places), grown(self.means, places), grown(self.squares, places))

    def merged(self, places: Integers, other: Spread) -> Spread:
        """With other values taken in at these places (each once); may change this one."""
        new = self.longer(int(places.max(initial=-1)) + 1)
        row, fold = np.nonzero(other.counts)  # of many categories a block has few in most folds
        cells = places[row], fold
        mine = Spread(new.counts[cells], new.means[cells], new.squares[cells])
        theirs = Spread(other.counts[row, fold], other.means[row, fold], other.squares[row, fold])
        new.counts[cells], new.means[cells], new.squares[cells] = combined(mine, theirs)
        return new


def combined(a: Spread, b: Spread) -> tuple[Integers, Floats, Floats]:
    """Counts, means and squares of both, by Pébay's formulas 1.1 and 1.2."""
    counts = a.counts + b.counts
    share = b.counts / np.maximum(counts, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        delta = b.means - a.means
        means = a.means + delta * share
        squares = a.squares + b.squares + delta * delta * a.counts * share
    for only, other in ((a.counts == 0, b), (b.counts == 0, a)):
        means, squares = np.where(only, other.means, means), np.where(only, other.squares, squares)
    return counts, means, squares
