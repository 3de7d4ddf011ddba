"""Curves from counts by score: ROC, precision and recall, calibration, lift. Part of the room of statistics.

They are computed from the counts that ranking metrics keep (`penstock.statistics.scores`): no row is kept for them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.statistics.collapse import key_values
from penstock.statistics.scores import ScoreCounts
from penstock.statistics.values import Floats

POINTS = 101
BINS = 10
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(tenth / 10 for tenth in range(1, 11)))


def curves_of(scores: ScoreCounts) -> dict[str, Any]:
    """All curves as JSON values: ``roc`` and ``precision_recall`` as points, ``calibration`` and ``lift`` as rows."""
    scores.settle()
    return {
        "roc": _roc(scores),
        "precision_recall": _precision_recall(scores),
        "calibration": calibration(scores),
        "lift": lift(scores),
    }


def _descending(scores: ScoreCounts) -> tuple[Floats, Floats]:
    """Others and members with at least each score, from none to all."""
    counts = np.concatenate([np.zeros((1, 2)), np.cumsum(scores.counts[::-1], axis=0)])
    return counts[:, 0], counts[:, 1]


def _roc(scores: ScoreCounts) -> list[list[float]]:
    others, members = _descending(scores)
    if members[-1] == 0 or others[-1] == 0:
        return []
    return _thinned(others / others[-1], members / members[-1])


def _precision_recall(scores: ScoreCounts) -> list[list[float]]:
    others, members = _descending(scores)
    if members[-1] == 0:
        return []
    return _thinned(members[1:] / members[-1], members[1:] / (members + others)[1:])


def _thinned(x: Floats, y: Floats) -> list[list[float]]:
    """At most so many of the points, spread along x, the ends among them."""
    if len(x) > POINTS:
        places = np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], POINTS), side="right") - 1)
        places = np.unique(np.concatenate([[0], places, [len(x) - 1]]))
        x, y = x[places], y[places]
    return [[float(a), float(b)] for a, b in zip(x, y, strict=True)]


def calibration(scores: ScoreCounts) -> list[dict[str, float]]:
    """Rows in bins of (nearly) equal size by ascending score: their mean score, and the share of members.

    Rows of one score are never torn apart. The mean score of collapsed scores is that of their buckets' lower ends.
    """
    scores.settle()
    rows = scores.counts.sum(axis=1)
    total = int(rows.sum())
    if total == 0:
        return []
    values = key_values(scores.keys << scores.shift)
    before = np.cumsum(rows) - rows
    # A score belongs to the bin that its middle row falls into.
    place = np.minimum(((before + rows / 2) * BINS / total).astype(np.int64), BINS - 1)
    found = []
    for number in np.unique(place):
        inside = place == number
        count = int(rows[inside].sum())
        found.append(
            {
                "predicted": float(np.add.reduce(values[inside] * rows[inside]) / count),
                "observed": float(scores.counts[inside, 1].sum() / count),
                "rows": count,
            }
        )
    return found


def calibration_error(scores: ScoreCounts) -> float:
    """The mean distance of mean score and share of members over bins of equal size, weighted by their rows.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015).
    """
    bins = calibration(scores)
    total = sum(each["rows"] for each in bins)
    if not total:
        return math.nan
    return math.fsum(abs(each["predicted"] - each["observed"]) * each["rows"] for each in bins) / total


def lift(scores: ScoreCounts) -> list[dict[str, float]]:
    """Of the rows with the highest scores, the share of all members (gain), and how many times more than by chance.

    Where a share ends among rows of one score, their members are counted in proportion.
    """
    others, members = _descending(scores)
    total = members + others
    if members[-1] == 0:
        return []
    found: list[dict[str, float]] = []
    for share in SHARES:
        gain = float(np.interp(share * total[-1], total, members) / members[-1])
        found.append({"share": share, "lift": gain / share, "gain": gain})
    return found


def drawn(scores: ScoreCounts, counts: npt.NDArray[np.int64]) -> ScoreCounts:
    """The same scores with other counts; a score that was not drawn is not there."""
    other = ScoreCounts(2**62)
    met = counts.any(axis=1)
    other.keys, other.counts, other.shift = scores.keys[met], counts[met], scores.shift
    return other
