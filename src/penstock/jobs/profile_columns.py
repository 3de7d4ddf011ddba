"""Profile: what is collected of a column of each kind, and what is told of it. Part of the room of jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from penstock.schema import Field, Role, Schema
from penstock.statistic import Statistic
from penstock.statistics.calendar import Calendar
from penstock.statistics.correlation import Correlation
from penstock.statistics.count import Count
from penstock.statistics.distinct import Distinct
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.duplicates import Duplicates
from penstock.statistics.frequencies import Frequencies
from penstock.statistics.histogram import Histogram
from penstock.statistics.lengths import Lengths
from penstock.statistics.moments import Moments
from penstock.statistics.sample import Sample
from penstock.statistics.values import Floats

Kind = Literal["number", "boolean", "time", "category", "text", "list", "bytes", "tensor", "other"]

MOST_CORRELATED = 100
"""Columns of numbers that are correlated with one another; the state grows with the square of them."""
TOP = 12
"""Frequent values that are told of a column."""
BINS = 30
LONGEST = 80
"""Characters of a value that are told."""
SAMPLE_ROWS = 25_000
SAMPLE_CELLS = 4_000_000
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
FENCE = 3.0
"""Interquartile ranges beyond the quartiles at which a value is far out (J. W. Tukey, "Exploratory data analysis")."""
_FEW = 24
_LOG_SPAN = 1000.0
_UNITS: tuple[tuple[str, int], ...] = (
    ("s", 1),
    ("m", 60),
    ("h", 3600),
    ("D", 86_400),
    ("W", 604_800),
    ("M", 2_629_746),
    ("Y", 31_556_952),
)
_BY_TYPE: tuple[tuple[Any, Kind], ...] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_floating, "number"),
    (pa.types.is_integer, "number"),
    (pa.types.is_decimal, "number"),
    (pa.types.is_timestamp, "time"),
    (pa.types.is_date, "time"),
    (pa.types.is_list, "list"),
    (pa.types.is_large_list, "list"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_large_binary, "bytes"),
)


def kind_of(field: Field) -> Kind:
    """What a column's values are, as far as telling of them goes.

    Example:
        >>> kind_of(Field("a", pa.string(), Role.key)), kind_of(Field("b", pa.float64(), Role.target))
        ('text', 'number')
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for is_type, found in _BY_TYPE:
        if is_type(kind):
            return found
    if field.shape is not None:
        return "tensor"
    if field.kind is Role.clip and not pa.types.is_binary(kind):
        return "other"  # where it is says nothing
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        whole = field.kind in (Role.text, Role.key, Role.ignored, Role.list)
        return "text" if whole else "category"
    return "other"


def statistics_for(schema: Schema, target: str | None = None, *, seed: int = 0) -> tuple[Statistic[Any], ...]:
    """Everything that a profile is made of, to be folded over the columns in one scan.

    Args:
        schema: the columns, as they are read.
        target: the column to predict, where there is one.
        seed: of the sample of rows.

    Example:
        >>> len(statistics_for(Schema((Field("x", pa.float64(), Role.number),))))
        6
    """
    kinds = {field.name: kind_of(field) for field in schema}
    found: list[Statistic[Any]] = []
    for name, kind in kinds.items():
        found += _of_column(name, kind)
    numbers = [name for name, kind in kinds.items() if kind in ("number", "boolean")]
    first = [target] if target in numbers else []
    numbers = [name for name in dict.fromkeys((*first, *numbers)) if name is not None]
    found.append(Correlation(numbers[:MOST_CORRELATED]))
    hashed = [name for name, kind in kinds.items() if kind != "other"]
    found.append(Duplicates(hashed))
    plain = [name for name, kind in kinds.items() if kind in ("number", "boolean", "time")]
    labels = [name for name, kind in kinds.items() if kind == "category"]
    size = max(1_000, min(SAMPLE_ROWS, SAMPLE_CELLS // max(len(plain) + 2 * len(labels), 1)))
    found.append(Sample(plain, labels, size, seed))
    return tuple(found)


def _of_column(name: str, kind: Kind) -> list[Statistic[Any]]:
    if kind == "number":
        return [Moments(name), Histogram(name), Distinct(name)]
    if kind == "time":
        return [Histogram(name), Calendar(name), Distinct(name)]
    if kind in ("boolean", "category"):
        return [Frequencies(name)]
    if kind == "text":
        return [Lengths(name), Distinct(name)]
    return [Lengths(name)] if kind in ("list", "bytes") else [Count(name)]


def column_figures(field: Field, states: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """What is told of one column, as JSON values.

    Args:
        field: the column.
        states: the values of its statistics, by their kinds.
        rows: all rows.
    """
    kind = kind_of(field)
    found: dict[str, Any] = {"name": field.name, "role": field.role.value, "type": str(field.type), "kind": kind}
    if field.reason:
        found["reason"] = field.reason
    told = {
        "number": _number,
        "time": _time,
        "boolean": _category,
        "category": _category,
        "text": _lengths,
        "list": _lengths,
        "bytes": _lengths,
        "tensor": _other,
        "other": _other,
    }[kind](states)
    missing = int(told.pop("missing"))
    if told.get("distinct") is not None:
        told["distinct"] = min(told["distinct"], rows - missing)  # an estimate may be above what there can be
    return {**found, "missing": missing, "missing_share": figure(missing / rows) if rows else None, **told}


def _number(states: Mapping[str, Any]) -> dict[str, Any]:
    moments, histogram = states["moments"], states["histogram"]
    count = moments.count
    found: dict[str, Any] = {"missing": moments.nulls, **_distinct(states, histogram)}
    if not count:
        return found
    sample = math.sqrt(moments.variance * (count / (count - 1))) if count > 1 else math.nan
    zero, below = histogram.cdf([0.0, np.nextafter(0.0, -1.0)])
    low, high = _fences(histogram)
    outside = 1.0 - float(histogram.cdf(high)) + float(histogram.cdf(np.nextafter(low, -math.inf)))
    found["number"] = {
        "mean": figure(moments.mean),
        "deviation": figure(sample),
        "minimum": figure(moments.minimum),
        "maximum": figure(moments.maximum),
        "skewness": figure(moments.skewness),
        "zeros": round(float(zero - below) * count),
        "negative": round(float(below) * count),
        "quantiles": {f"{q:g}": figure(v) for q, v in zip(QUANTILES, histogram.quantile(QUANTILES), strict=True)},
        "far_out": {"rows": round(max(outside, 0.0) * count), "low": figure(low), "high": figure(high)},
    }
    found["bins"] = number_bins(histogram)
    if histogram.exact and len(histogram.keys) <= TOP:
        order = np.argsort(-histogram.counts, kind="stable")
        values = histogram.lower
        found["top"] = [[figure(values[i]), int(histogram.counts[i])] for i in order]
    return found


def _fences(histogram: HistogramValue) -> tuple[float, float]:
    first, third = (float(value) for value in histogram.quantile([0.25, 0.75]))
    return first - FENCE * (third - first), third + FENCE * (third - first)


def _distinct(states: Mapping[str, Any], histogram: HistogramValue | None = None) -> dict[str, Any]:
    if histogram is not None and histogram.exact:
        return {"distinct": len(histogram.keys), "distinct_exact": True}
    return {"distinct": states["distinct"].count, "distinct_exact": states["distinct"].exact}


def _category(states: Mapping[str, Any]) -> dict[str, Any]:
    value = states["frequencies"]
    top = value.top(TOP)
    return {
        "missing": value.nulls,
        "distinct": value.distinct,
        "distinct_exact": True,
        "top": [[shown(text), count] for text, count in top],
        "other": value.total - sum(count for _, count in top),
    }


def _lengths(states: Mapping[str, Any]) -> dict[str, Any]:
    value = states["lengths"]
    found: dict[str, Any] = {"missing": value.nulls}
    if "distinct" in states:
        found |= _distinct(states)
    if value.distribution.count:
        found["length"] = {
            "mean": figure(value.mean),
            "minimum": figure(value.distribution.minimum),
            "median": figure(value.distribution.median),
            "maximum": figure(value.distribution.maximum),
            "blank": value.blank,
        }
        found["bins"] = number_bins(value.distribution)
    return found


def _other(states: Mapping[str, Any]) -> dict[str, Any]:
    return {"missing": states["count"].nulls}


def _time(states: Mapping[str, Any]) -> dict[str, Any]:
    histogram, calendar = states["histogram"], states["calendar"]
    found: dict[str, Any] = {"missing": histogram.nulls, **_distinct(states, histogram)}
    if not histogram.count:
        return found
    dates = calendar.midnight == calendar.count
    found["time"] = {
        "minimum": time_text(histogram.minimum, dates=dates),
        "median": time_text(histogram.median, dates=dates),
        "maximum": time_text(histogram.maximum, dates=dates),
        "dates": dates,
        "hours": list(calendar.hours),
        "weekdays": list(calendar.weekdays),
        "months": list(calendar.months),
    }
    found["bins"] = time_bins(histogram)
    return found


def time_text(microseconds: float, *, dates: bool = False) -> str:
    """A time as text, ISO 8601; only the date, where it has nothing else.

    Example:
        >>> time_text(0.0), time_text(86_400_000_000.0, dates=True)
        ('1970-01-01 00:00:00', '1970-01-02')
    """
    text = str(np.datetime64(int(microseconds), "us")).replace("T", " ").removesuffix(".000000")
    return text[:-9] if dates else text


def number_bins(histogram: HistogramValue) -> dict[str, Any]:
    """Counts to draw: by value where there are few, else by bins of one width, or of one ratio for wide spans.

    Values so far out that the rest would be one bar are left out, and counted as ``below`` and ``above``.
    """
    if histogram.exact and len(histogram.keys) <= _FEW:
        return {"values": [figure(v) for v in histogram.lower], "counts": histogram.counts.tolist()}
    low, high = histogram.minimum, histogram.maximum
    inner = [float(v) for v in histogram.quantile([0.005, 0.995])]
    if low > 0.0 and inner[1] > _LOG_SPAN * inner[0]:
        edges = np.geomspace(low, high, BINS + 1)
        return {"scale": "log", **_binned(histogram, edges)}
    if high - low > 3.0 * (inner[1] - inner[0]) > 0.0:
        low, high = inner
    if histogram.exact and bool((histogram.lower == np.rint(histogram.lower)).all()) and high < 2.0**52:
        # Whole numbers: bins of as many of them each, or they stand like the teeth of a comb.
        width = max(math.ceil((high - low + 1.0) / BINS), 1)
        return _binned(
            histogram, np.arange(math.floor(low), math.ceil(high) + width + 1, width, dtype=np.float64) - 0.5
        )
    return _binned(histogram, low + (high - low) * np.linspace(0.0, 1.0, BINS + 1))


def _binned(histogram: HistogramValue, edges: Floats) -> dict[str, Any]:
    edges = np.unique(edges)
    below = np.nextafter(edges[0], -math.inf)
    ends = np.rint(histogram.cdf(np.concatenate(([below], edges[1:]))) * histogram.count).astype(np.int64)
    found: dict[str, Any] = {"edges": [figure(edge) for edge in edges], "counts": np.diff(ends).tolist()}
    if ends[0]:
        found["below"] = int(ends[0])
    if histogram.count > ends[-1]:
        found["above"] = histogram.count - int(ends[-1])
    return found


def time_bins(histogram: HistogramValue) -> dict[str, Any]:
    """Counts by a unit of the calendar, the finest that gives few enough bins; edges as text."""
    seconds = (histogram.maximum - histogram.minimum) / 1e6
    unit, step = next(((unit, 1) for unit, size in _UNITS if seconds / size <= BINS), ("Y", 1))
    if unit == "Y":
        step = max(1, math.ceil(seconds / _UNITS[-1][1] / BINS))
    first = np.datetime64(int(histogram.minimum), "us").astype(f"datetime64[{unit}]")
    last = np.datetime64(int(histogram.maximum), "us").astype(f"datetime64[{unit}]")
    starts = np.arange(first, last + 1 + step, step)
    edges = starts.astype("datetime64[us]").astype(np.int64).astype(np.float64)
    ends = np.rint(histogram.cdf(np.nextafter(edges, -math.inf)) * histogram.count).astype(np.int64)
    return {"unit": unit, "edges": [str(start) for start in starts], "counts": np.diff(ends).tolist()}


def figure(value: Any) -> float | int | None:
    """A number for JSON: ten digits, whole numbers as such, null where it is not finite.

    Example:
        >>> figure(1 / 3), figure(2.0), figure(float("nan"))
        (0.3333333333, 2, None)
    """
    number = float(value)
    if not math.isfinite(number):
        return None
    if number == int(number) and abs(number) < 2**53:
        return int(number)
    return float(f"{number:.10g}")


def shown(text: str) -> str:
    """A value as it is told: cut where it is long, with the length said.

    Example:
        >>> shown("a" * 100)[-22:]
        'aaaa… (100 characters)'
    """
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def values_of(statistics: Sequence[Statistic[Any]]) -> dict[str, dict[str, Any]]:
    """The values of statistics of one column, by column and kind; equal ones once."""
    found: dict[str, dict[str, Any]] = {}
    for one in statistics:
        if len(one.columns) == 1 and one.kind in _SINGLE and one.kind not in found.setdefault(one.columns[0], {}):
            found[one.columns[0]][one.kind] = one.value()
    return found


_SINGLE = {"moments", "histogram", "distinct", "calendar", "frequencies", "lengths", "count"}
