"""Functions of windows: of each window of a column's values one number, computed from its own values alone.

Beside the relations, and none itself. No sum is carried from one window to the next, so nothing drifts, and a large
value leaves no trace in the windows after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

_CELLS = 2**21
"""Values of windows that are laid out side by side at once."""


def reduced(function: str, values: Floats, starts: Index, stops: Index, least: int) -> Floats:
    """One number for each window; NaN where it has fewer than ``least`` values, or the result is beyond a float.

    Args:
        function: "count", "sum", "mean", "min", "max", "std" (of the sample) or "median".
        values: the values; NaN for missing ones, which are left out.
        starts: where each window begins.
        stops: before which it ends.
        least: the fewest values; the sum of none is 0 where it is 0.

    Example:
        >>> values, ends = np.array([1.0, np.nan, 5.0]), np.array([1, 2, 3])
        >>> reduced("mean", values, np.array([0, 0, 0]), ends, 1).tolist()
        [1.0, 1.0, 3.0]
    """
    valid = ~np.isnan(values)
    before = np.concatenate(([0], np.cumsum(valid)))
    dense = np.append(values[valid], 0.0)
    first, last = before[starts], before[stops]
    count = last - first
    if function == "count":
        return count.astype(np.float64)
    result = np.full(len(starts), 0.0 if function == "sum" and not least else np.nan)
    enough = np.flatnonzero(count >= max(least, 2 if function == "std" else 1))
    if not len(enough):
        return result
    first, last, count = first[enough], last[enough], count[enough]
    with np.errstate(over="ignore", invalid="ignore"):
        if function in ("sum", "mean"):
            found = _over(np.add, dense, first, last)
            found = found / count if function == "mean" else found
        elif function in ("min", "max"):
            found = _over(np.minimum if function == "min" else np.maximum, dense, first, last)
        else:
            found = _laid_out(function, dense, first, count)
    result[enough] = np.where(np.isfinite(found), found, np.nan)
    return result


def _over(how: Any, values: Floats, first: Index, last: Index) -> Floats:
    bounds = np.empty(2 * len(first), np.int64)
    bounds[::2], bounds[1::2] = first, last
    found: Floats = how.reduceat(values, bounds)[::2]
    return found


def _laid_out(function: str, values: Floats, first: Index, count: Index) -> Floats:
    """Functions that need a window's values side by side, windows of like length together."""
    found = np.empty(len(first))
    order = np.argsort(count, kind="stable")
    start = 0
    while start < len(order):
        # The longest of those taken decides how wide the rows are: so few that they fit.
        rows = max(1, _CELLS // int(count[order[min(len(order), start + _CELLS // int(count[order[start]])) - 1]]))
        some = order[start : start + rows]
        width = int(count[some[-1]])
        inside = np.arange(width) < count[some, None]
        cells = values[np.where(inside, first[some, None] + np.arange(width), 0)]
        if function == "median":
            cells = np.sort(np.where(inside, cells, np.inf), axis=1)
            lower = np.take_along_axis(cells, (count[some, None] - 1) // 2, 1)[:, 0]
            upper = np.take_along_axis(cells, count[some, None] // 2, 1)[:, 0]
            found[some] = lower * 0.5 + upper * 0.5
        else:
            mean = np.add.reduce(np.where(inside, cells, 0.0), axis=1) / count[some]
            spread = np.where(inside, cells - mean[:, None], 0.0)
            found[some] = np.sqrt(np.add.reduce(spread * spread, axis=1) / (count[some] - 1))
        start += rows
    return found


def fitted(values: Floats, starts: Index, stops: Index, places: Index, *, polyorder: int, least: int) -> Floats:
    """Savitzky and Golay's filter: at each place the value of the polynomial that fits its window best.

    "Smoothing and differentiation of data by simplified least squares procedures", Analytical Chemistry 36, 1964. At
    edges, and where values are missing, the polynomial is fitted to those that there are, of a lower degree where they
    are too few.

    Args:
        values: the values; NaN for missing ones.
        starts: where each window begins.
        stops: before which it ends.
        places: the row that each window is for.
        polyorder: the degree of the polynomial.
        least: the fewest values; where there are fewer, the result is NaN.
    """
    valid = ~np.isnan(values)
    before = np.concatenate(([0], np.cumsum(valid)))
    count = before[stops] - before[starts]
    result = np.full(len(starts), np.nan)
    widths, lead = stops - starts, places - starts
    whole = (count == widths) & (count >= least)
    # Windows of one width and place share their weights, whatever they hold.
    kinds, kind = np.unique(np.stack([widths[whole], lead[whole]]), axis=1, return_inverse=True)
    where = np.flatnonzero(whole)
    for number, (width, at) in enumerate(kinds.T.tolist()):
        some = where[kind.reshape(-1) == number]
        weights = _weights(np.arange(width, dtype=np.int64).tobytes(), at, polyorder)
        total = np.zeros(len(some))
        for place in range(width):
            total += weights[place] * values[starts[some] + place]
        result[some] = total
    for one in np.flatnonzero(~whole & (count >= max(1, least))).tolist():
        present = np.flatnonzero(valid[starts[one] : stops[one]]).astype(np.int64)
        weights = _weights(present.tobytes(), int(lead[one]), polyorder)
        result[one] = np.add.reduce(weights * values[starts[one] + present])
    return np.where(np.isfinite(result), result, np.nan)


@lru_cache(maxsize=4096)
def _weights(present: bytes, at: int, polyorder: int) -> Floats:
    """By what the values at these places are weighed to give that of the fitted polynomial at ``at``."""
    places = np.frombuffer(present, np.int64)
    scaled = (places - at) / max(1, int(np.abs(places - at).max()))
    powers = np.vander(scaled, min(polyorder, len(places) - 1) + 1, increasing=True)
    found: Floats = np.linalg.pinv(powers)[0]
    return found


@dataclass(frozen=True)
class Bounds:
    """Where a window begins and ends, seen from its row, and whether these ends belong to it.

    Attributes:
        low: where it begins: rows, or [us].
        high: where it ends.
        left: whether what lies at ``low`` is in it.
        right: whether what lies at ``high`` is in it.
    """

    low: int
    high: int
    left: bool
    right: bool

    @property
    def rows(self) -> int:
        """How many rows it holds, where it is one of rows."""
        return self.high - self.low - 1 + self.left + self.right


def by_rows(begins: Index, ends: Index, bounds: Bounds) -> tuple[Index, Index]:
    """Windows of rows before, around or after each row, within its run.

    Args:
        begins: of each row, where its run begins.
        ends: before which it ends.
        bounds: of the window [rows].

    Example:
        >>> begins, ends = np.array([0, 0, 0]), np.array([3, 3, 3])
        >>> [x.tolist() for x in by_rows(begins, ends, Bounds(-2, 0, left=True, right=False))]
        [[0, 0, 0], [0, 1, 2]]
    """
    place = np.arange(len(begins), dtype=np.int64)
    starts = np.clip(place + (bounds.low + (not bounds.left)), begins, ends)
    return starts, np.clip(place + (bounds.high + bounds.right), starts, ends)


def by_time(begins: Index, ends: Index, times: Index, bounds: Bounds) -> tuple[Index, Index]:
    """Windows of time before, around or after each row. One that is closed at the row's own time ends with the row.

    Args:
        begins: of each row, where its run begins.
        ends: before which it ends.
        times: of each row [us]; ascending within a run.
        bounds: of the window [us].
    """
    starts, stops = np.empty(len(times), np.int64), np.arange(1, len(times) + 1, dtype=np.int64)
    for some, clock, offset in _clocks(begins, times, max(abs(bounds.low), abs(bounds.high))):
        starts[some] = offset + np.searchsorted(clock, clock + bounds.low, "left" if bounds.left else "right")
        if bounds.high or not bounds.right:
            stops[some] = offset + np.searchsorted(clock, clock + bounds.high, "right" if bounds.right else "left")
    starts = np.clip(starts, begins, ends)
    return starts, np.clip(stops, starts, ends)


def _clocks(begins: Index, times: Index, span: int) -> Iterator[tuple[slice, Index, int]]:
    """Times of several runs as one ascending clock, with more than a window between two runs."""
    if not len(times):
        return
    runs = np.concatenate(([0], np.cumsum(begins[1:] != begins[:-1])))
    least = int(times.min())
    width = int(times.max()) - least + 2 * span + 2
    at_once = max(1, 2**62 // width)
    for first in range(0, int(runs[-1]) + 1, at_once):
        start, stop = np.searchsorted(runs, [first, first + at_once])
        some = slice(int(start), int(stop))
        yield some, (runs[some] - first) * width + (times[some] - least), int(start)
