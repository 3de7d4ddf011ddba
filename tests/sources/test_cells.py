"""Texts become numbers, truth values and times one by one, whatever their neighbours are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sources.cells import ISO, TIME_FORMATS, Cells, boolean_cells, find_time_format, number_cells, time_cells

numbers = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.text(alphabet="0123456789.eE+-_x nif", max_size=8),
)
iso = st.one_of(
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)).map(str),
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)).map(lambda t: t.isoformat()),
    st.dates().map(str),
    st.text(alphabet="0123456789-:T Z+.", max_size=20),
    st.sampled_from(["2024-01-01T10:00:00Z", "2024-01-01 10:00:00.1234567+02:00", "2024-02-30", "2024-1-2"]),
)


def alone_and_together(read: Callable[[pa.Array], Cells], texts: list[str]) -> None:
    together = read(pa.array(texts, pa.string()))
    for i, text in enumerate(texts):
        alone = read(pa.array([text], pa.string()))
        assert str(together.values[i]) == str(alone.values[0])
        assert bool(together.bad is not None and together.bad[i]) == bool(alone.bad is not None and alone.bad[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, max_size=6))
def test_a_number_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    alone_and_together(number_cells, texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(iso, max_size=6))
def test_a_time_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    alone_and_together(lambda cells: time_cells(cells, ISO), texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, max_size=6))
def test_numbers_are_those_of_python(texts: list[str]) -> None:
    found = number_cells(pa.array(texts, pa.string())).values.to_pylist()
    for text, value in zip(texts, found, strict=True):
        try:
            expected = None if "_" in text or text != text.strip() else float(text)
        except ValueError:
            expected = None
        assert str(value) == str(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=5))
def test_iso_times_survive(times: list[datetime]) -> None:
    for texts in ([str(t) for t in times], [t.isoformat() for t in times]):
        assert time_cells(pa.array(texts), ISO).values.to_pylist() == times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T12:00:00+02:00", datetime(2024, 3, 1, 10)),
        ("2024-03-01 12:00:00-0530", datetime(2024, 3, 1, 17, 30)),
        ("2024-03-01T12:00:00Z", datetime(2024, 3, 1, 12)),
        ("2024-03-01 12:00:00.1234567", datetime(2024, 3, 1, 12, 0, 0, 123456)),
        ("2024-03-01 12", datetime(2024, 3, 1, 12)),
        ("2024-13-01", None),
        ("2024-02-30", None),
        ("20240301", None),
        ("yesterday", None),
    ],
)
def test_iso_times(text: str, expected: datetime | None) -> None:
    for texts in ([text], [text, "2024-01-01", "2024-01-01T00:00:00Z", "no"]):
        assert time_cells(pa.array(texts), ISO).values[0].as_py() == expected


@pytest.mark.parametrize(
    ("texts", "time_format", "first"),
    [
        (["2024-01-31", "2023-05-06 10:00"], ISO, datetime(2024, 1, 31)),
        (["31/1/2024", "1/2/2024"], "%d/%m/%Y", datetime(2024, 1, 31)),
        (["1/31/2024", "1/2/2024"], "%m/%d/%Y", datetime(2024, 1, 31)),
        (["1/2/2024", "3/4/2024"], "%m/%d/%Y", datetime(2024, 1, 2)),
        (["12/1/2010 8:26", "12/13/2010 18:05"], "%m/%d/%Y %H:%M", datetime(2010, 12, 1, 8, 26)),
        (["31.01.2024 10:20:30", "01.02.2024 00:00:00"], "%d.%m.%Y %H:%M:%S%.f", datetime(2024, 1, 31, 10, 20, 30)),
        (["2024/01/31", "2023/12/05"], "%Y/%m/%d", datetime(2024, 1, 31)),
        (["1/31/24", "12/5/69"], "%m/%d/%y", datetime(2024, 1, 31)),
        (["1/31/2024 3:04 PM", "1/1/2024 12:00 AM"], "%m/%d/%Y %I:%M %p", datetime(2024, 1, 31, 15, 4)),
        (["10/11", "12/13"], None, None),
        (["1.5", "2.25"], None, None),
    ],
)
def test_the_format_of_times_is_found(texts: list[str], time_format: str | None, first: Any) -> None:
    assert find_time_format(pa.array(texts), 0.99) == time_format
    if time_format:
        assert time_format in TIME_FORMATS
        assert time_cells(pa.array(texts), time_format).values[0].as_py() == first


def test_a_year_of_two_digits_is_not_the_year_ten() -> None:
    cells = time_cells(pa.array(["1/2/2010", "1/2/10"]), "%m/%d/%Y")
    assert cells.values.to_pylist() == [datetime(2010, 1, 2), None]
    assert cells.bad is not None and cells.bad.tolist() == [False, True]


def test_truth_values_are_read_in_any_case() -> None:
    cells = boolean_cells(pa.array(["TRUE", "f", "Yes", "0", None, "maybe"]))
    assert cells.values.to_pylist() == [True, False, True, False, None, None]
    assert cells.bad is not None and cells.bad.tolist() == [False] * 5 + [True]
