"""How many rows of a class, and how many others, got each score: areas under curves without keeping the rows.

Part of the room of statistics: the state that ranking metrics of `penstock.statistics.classification` share.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from penstock.statistics.collapse import fit, order_keys
from penstock.statistics.values import Floats, Integers

_PENDING = 262_144


class ScoreCounts:
    """Counts of (others, members of the class) by distinct score, scores from 0 to 1.

    Exact up to ``limit`` distinct scores; beyond it scores are told apart by their leading bits, as many as fit
    (see `penstock.statistics.collapse`). Integers: any order and grouping gives the same counts.

    Attributes:
        keys: int64, shape (scores,), ascending: the order keys of the scores, shifted right by ``shift``.
        counts: int64, shape (scores, 2): others, members.
        shift: bits of the scores that are not told apart.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: list[Integers] = []
        self._pending_rows = 0
        self.keys: Integers = np.empty(0, np.int64)
        self.counts: Integers = np.empty((0, 2), np.int64)
        self.shift = 0

    def add(self, scores: Floats, members: npt.NDArray[np.bool_]) -> None:
        """Take in rows: their scores, and which of them are members of the class."""
        # Keys of scores up to 1 leave the highest bits free: the label goes below the key, so that one sort does.
        self._pending.append((order_keys(scores) << 1) | members)
        self._pending_rows += len(scores)
        if self._pending_rows >= max(_PENDING, len(self.keys)):
            self.settle()

    def settle(self) -> None:
        """Count what is pending; the counts stay a function of all that was taken in."""
        if not self._pending:
            return
        rows = np.sort(np.concatenate(self._pending))
        self._pending, self._pending_rows = [], 0
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        counts = np.zeros((len(starts), 2), np.int64)
        counts[np.arange(len(starts)), rows[starts] & 1] = np.diff(starts, append=len(rows))
        self.put(rows[starts] >> 1, counts, 0)

    def put(self, keys: Integers, counts: Integers, shift: int) -> None:
        """Take in counts by keys that were shifted right by ``shift``."""
        common = max(self.shift, shift)
        both = np.concatenate((self.keys >> (common - self.shift), keys >> (common - shift)))
        self.keys, self.counts, self.shift = fit(both, np.concatenate((self.counts, counts)), common, self._limit)

    def merge(self, other: ScoreCounts) -> None:
        """Take in another's counts; ``other`` is left as it was."""
        self.settle()
        self.put(other.keys, other.counts, other.shift)
        for rows in other._pending:
            self._pending.append(rows)
            self._pending_rows += len(rows)

    @property
    def nbytes(self) -> int:
        """What it holds in memory [bytes]."""
        return self.keys.nbytes + self.counts.nbytes + 8 * self._pending_rows

    def roc_auc(self) -> float:
        """The area under the receiver operating characteristic; nan where there are no members or no others.

        It is the share of pairs of a member and another in which the member has the higher score, pairs of equal
        score counted half (Hanley and McNeil, 1982): in whole numbers, so without rounding.
        """
        self.settle()
        others, members = self.counts[:, 0], self.counts[:, 1]
        pairs = int(others.sum()) * int(members.sum())
        if pairs == 0:
            return math.nan
        doubled = members * (2 * (np.cumsum(others) - others) + others)
        exact = 2 * pairs < 2**63
        return (int(doubled.sum()) if exact else float(doubled.astype(np.float64).sum())) / (2 * pairs)

    def roc_auc_error(self) -> float:
        """The most that collapsing can have changed `roc_auc` by: half the share of pairs within one bucket.

        0 where all distinct scores are kept; nan where the area is.
        """
        self.settle()
        others, members = self.counts[:, 0].astype(np.float64), self.counts[:, 1].astype(np.float64)
        pairs = others.sum() * members.sum()
        if pairs == 0:
            return math.nan
        return float((others * members).sum() / (2.0 * pairs)) if self.shift else 0.0

    def average_precision(self) -> float:
        """The sum of precision over the steps of recall, scores descending, as scikit-learn defines it.

        nan where there are no members or no others.
        """
        self.settle()
        others, members = np.cumsum(self.counts[::-1], axis=0).T
        if len(members) == 0 or members[-1] == 0 or others[-1] == 0:
            return math.nan
        precision = members / (members + others)
        return float(np.add.reduce(precision * self.counts[::-1, 1]) / members[-1])
