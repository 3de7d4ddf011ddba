"""How sure a figure is: sums by random groups of rows, drawn again and again. Part of the room of statistics.

The bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, ch. 13) draws rows with replacement; that
needs all rows. Here every row falls into one of some hundred groups by the hash of its key, each group keeps sums, and
groups are drawn. Groups made at random are as good as rows: the sum of a group has the variance of the rows in it.
Fewer rows than groups are, but for a few that share one, drawn one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from penstock.batch import RowKeys
from penstock.statistics.values import Floats, Integers

GROUPS = 512
REPLICATES = 400
LEVEL = 0.95
_SALT = 0x626F6F74
_MOST_CELLS = 65_536


class GroupSums:
    """Sums of some figures over the rows of each group; a float state.

    Attributes:
        sums: shape (groups, figures).
    """

    def __init__(self, figures: int) -> None:
        self.sums: Floats = np.zeros((GROUPS, figures))

    def add(self, keys: RowKeys, *figures: Floats) -> None:
        """Take in rows: a value of each figure for each row."""
        group = (keys.hash(_SALT) % np.uint64(GROUPS)).astype(np.int64)
        for place, values in enumerate(figures):
            self.sums[:, place] += np.bincount(group, values, GROUPS)

    def interval(self, figure: Callable[[Floats], Floats]) -> tuple[float, float] | None:
        """The interval of a figure that is computed from sums, of shape (replicates, figures) to (replicates,)."""
        drawn = _random().multinomial(GROUPS, np.full(GROUPS, 1.0 / GROUPS), REPLICATES).astype(np.float64)
        totals = np.empty((REPLICATES, self.sums.shape[1]))
        for place in range(self.sums.shape[1]):
            totals[:, place] = np.add.reduce(drawn * self.sums[:, place], axis=1)
        return _ends(figure(totals))


def interval_of_counts(counts: Integers, figure: Callable[[Integers], float]) -> tuple[float, float] | None:
    """The interval of a figure of counts, each drawn again from the Poisson distribution of its mean.

    For rows that are alike but for the cell that they are counted in, it is the bootstrap with a random number of rows
    (Chamandy et al., "Estimating uncertainty for massive data streams", Google 2012).
    """
    random = _random()
    replicates = REPLICATES if counts.size <= _MOST_CELLS else REPLICATES // 4
    return _ends(np.array([figure(random.poisson(counts)) for _ in range(replicates)]))


def _random() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[_SALT, 0]))


def _ends(figures: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    found = figures[np.isfinite(figures)]
    if len(found) < len(figures) * LEVEL:
        return None  # too few rows: the figure is not defined for most that could have been drawn
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
