"""How far the distributions of two folds are apart, column by column. Part of the room of jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.jobs.profile_columns import figure, shown, time_text
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.frequencies import FrequenciesValue

Floats = npt.NDArray[np.float64]

PARTS = 10
"""Bins of as many rows each, in the first data, by which numbers are compared."""
VALUES = 20
"""Frequent values by which categories are compared; the others count as one."""
_LEAST = 1e-4
"""The share that stands for none, so that its logarithm is finite."""


def stability_index(before: Floats, after: Floats) -> float:
    """The population stability index of two distributions over the same cells: the sum of (b - a) ln(b / a).

    Below 0.1 is usual, above 0.25 another population (N. Siddiqi, "Credit risk scorecards", 2006). It is the
    symmetric Kullback-Leibler divergence. Empty cells count as 0.01 %.

    Args:
        before: counts, shape (cells,).
        after: counts, shape (cells,).

    Returns:
        The index; nan where one of them is empty.

    Example:
        >>> round(stability_index(np.array([50.0, 50.0]), np.array([60.0, 40.0])), 4)
        0.0405
    """
    if before.sum() == 0 or after.sum() == 0:
        return math.nan
    a = np.maximum(before / before.sum(), _LEAST)
    b = np.maximum(after / after.sum(), _LEAST)
    return float(np.add.reduce((b - a) * np.log(b / a)))


def number_drift(before: HistogramValue, after: HistogramValue) -> dict[str, Any]:
    """The stability index over tenths of the first (missing is a cell too), and Kolmogorov and Smirnov's test."""
    found: dict[str, Any] = {"index": figure(stability_index(*_tenths(before, after)))}
    if not before.count or not after.count:
        return found
    points = np.union1d(before.upper, after.upper)
    distance = float(np.abs(before.cdf(points) - after.cdf(points)).max())
    weight = math.sqrt(before.count / (before.count + after.count) * after.count)
    from scipy.special import kolmogorov

    return {
        **found,
        "test": "kolmogorov-smirnov",
        "statistic": figure(distance),
        "p": figure(kolmogorov(distance * weight)),
        "before": figure(before.median),
        "after": figure(after.median),
    }


def _tenths(before: HistogramValue, after: HistogramValue) -> tuple[Floats, Floats]:
    edges = np.unique(before.quantile(np.linspace(0.0, 1.0, PARTS + 1)[1:-1])) if before.count else np.zeros(0)
    cells = []
    for one in (before, after):
        below = np.concatenate(([0.0], one.cdf(edges) * one.count if one.count else 0.0 * edges, [float(one.count)]))
        cells.append(np.append(np.diff(below), one.nulls))
    met = (cells[0] > 0) | (cells[1] > 0)
    return cells[0][met], cells[1][met]


def category_drift(before: FrequenciesValue, after: FrequenciesValue) -> dict[str, Any]:
    """The stability index over the most frequent values of the first, and Pearson's chi-square test of homogeneity."""
    top = before.top(VALUES)
    labels = [label for label, _ in top]
    wanted = set(labels)
    there = dict.fromkeys(labels, 0)
    known = _values(before) if before.distinct <= _MOST_KNOWN else None
    new_rows, new = 0, []
    for batch in after.iter_batches():
        for label, count in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            if label in wanted:
                there[label] = count
            if known is not None and label not in known:
                new_rows += count
                new.append((count, label))
    a = np.array([*(count for _, count in top), before.total - sum(c for _, c in top), before.nulls], np.float64)
    b = np.array([*there.values(), after.total - sum(there.values()), after.nulls], np.float64)
    met = (a > 0) | (b > 0)
    found: dict[str, Any] = {"index": figure(stability_index(a[met], b[met]))}
    if new:
        found["new_rows"] = new_rows
        found["new"] = [shown(label) for _, label in sorted(new, key=lambda pair: (-pair[0], pair[1]))[:5]]
    return {**found, **_homogeneity(a[met], b[met])}


_MOST_KNOWN = 100_000


def _values(value: FrequenciesValue) -> set[str]:
    return {label for batch in value.iter_batches() for label in batch.column(0).to_pylist()}


def _homogeneity(a: Floats, b: Floats) -> dict[str, Any]:
    if len(a) < 2 or a.sum() == 0 or b.sum() == 0:
        return {}
    both = a + b
    statistic = 0.0
    for cells in (a, b):
        expected = both * (cells.sum() / both.sum())
        statistic += float(np.add.reduce(np.square(cells - expected) / expected))
    from scipy.special import chdtrc

    return {
        "test": "chi-square",
        "statistic": figure(statistic),
        "p": figure(chdtrc(len(a) - 1, statistic)),
    }


def _compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """The drift of one column, by what both have of it; None where they have nothing in common."""
    both = before.keys() & after.keys()
    if "frequencies" in both:
        return category_drift(before["frequencies"], after["frequencies"])
    if "lengths" in both:
        first, second = (replace(one["lengths"].distribution, nulls=one["lengths"].nulls) for one in (before, after))
        return {**number_drift(first, second), "of": "lengths"}
    if "histogram" not in both:
        return None
    found = number_drift(before["histogram"], after["histogram"])
    if "calendar" in both:
        found |= {side: time_text(found[side]) for side in ("before", "after") if found.get(side) is not None}
    return found


def drift_of(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], on: str
) -> dict[str, Any]:
    """What changed between two folds, the furthest apart first.

    Args:
        before: the statistics' values by column and kind, of the data to compare with.
        after: the same of the data to compare.
        on: what the second are, in words.
    """
    columns = []
    for name in before:
        if name not in after:
            continue
        found = _compared(before[name], after[name])
        if found is not None:
            columns.append({"name": name, **found})
    columns.sort(key=lambda one: -(one["index"] if one["index"] is not None else -1.0))
    return {
        "on": on,
        "columns": columns,
        "gone": [name for name in before if name not in after],
        "new": [name for name in after if name not in before],
    }
