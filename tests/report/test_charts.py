"""Charts of odd figures."""

from __future__ import annotations

import re

import pytest

from penstock.report import charts


def numbers_in(drawn: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", drawn)


def test_an_area_is_as_high_as_its_counts():
    drawn = charts.histogram({"edges": [0, 1, 2, 3], "counts": [1, 4, 2]}, "three bins")
    heights = sorted({float(y) for y in re.findall(r" L [\d.]+ ([\d.]+)", re.search(r'd="([^"]+)" clip', drawn)[1])})
    base = heights[-1]
    tall = [base - y for y in heights[:-1]]
    assert tall[0] / tall[2] == pytest.approx(4.0, abs=0.05)
    assert tall[1] / tall[2] == pytest.approx(2.0, abs=0.05)
    assert 'aria-label="three bins"' in drawn


@pytest.mark.parametrize(
    "bins",
    [
        {"values": [3], "counts": [9]},
        {"values": [-1e300, 0, 1e300], "counts": [1, 2, 3]},
        {"values": list(range(24)), "counts": [0] * 23 + [1]},
        {"edges": [0.0, 1e-300], "counts": [5]},
        {"edges": [1e-9, 1.0, 1e9], "counts": [5, 5], "scale": "log"},
        {"edges": [1e15, 1e15 + 2], "counts": [5]},
        {"unit": "D", "edges": ["2024-01-01", "2024-01-02"], "counts": [5]},
        {"unit": "Y", "edges": [str(year) for year in range(1, 9_000, 300)], "counts": [1] * 29},
    ],
)
def test_any_bins_are_drawn(bins):
    drawn = charts.histogram(bins, "any")
    assert "nan" not in drawn
    assert numbers_in(drawn)


def test_ticks_of_time_are_dates():
    drawn = charts.line([(0.0, 1.0), (86_400e6, 2.0)], "t", times=True)
    assert {"1970-01-01", "1970-01-02"} <= set(numbers_in(drawn))


def test_long_lines_are_thinned_and_keep_their_ends():
    points = [(place / 1e5, place % 7) for place in range(100_001)]
    thin = charts.thinned(points)
    assert len(thin) <= 120
    assert (thin[0], thin[-1]) == (points[0], points[-1])


def test_counts_stand_under_their_labels():
    assert {"Mo", "Su"} <= set(
        numbers_in(charts.counts_by(["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"], [1] * 7, "days"))
    )


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 17.0
    first = charts.counts_by(["a"], [1], "one")
    assert mpl.rcParams["font.size"] == 17.0
    mpl.rcParams["font.size"] = 10.0
    assert charts.counts_by(["a"], [1], "one") == first
