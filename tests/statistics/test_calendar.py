"""Calendar counts against Python's datetime."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.errors import SchemaError
from penstock.statistics.calendar import Calendar

times = st.lists(st.one_of(st.none(), st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))), max_size=40)


@settings(max_examples=60, deadline=None)
@given(times)
def test_parts_are_those_of_datetime(values):
    array = pa.array(values, pa.timestamp("us"))
    found = folded(Calendar("t"), [batch({"t": array[:7]}), batch({"t": array[7:]}, 7)]).value()
    present = [value for value in values if value is not None]
    assert (found.nulls, found.count) == (len(values) - len(present), len(present))
    for counts, part in (
        (found.hours, lambda time: time.hour),
        (found.weekdays, lambda time: time.weekday()),
        (found.months, lambda time: time.month - 1),
    ):
        assert {place: count for place, count in enumerate(counts) if count} == Counter(map(part, present))
    assert found.midnight == sum(time.time() == dt.time() for time in present)


def test_dates_and_finer_times_are_taken():
    dates = folded(Calendar("t"), [batch({"t": pa.array([dt.date(2024, 2, 29), None])})]).value()
    assert (dates.midnight, dates.months[1], dates.weekdays[3]) == (1, 1, 1)
    fine = folded(Calendar("t"), [batch({"t": pa.array([1], pa.timestamp("ns"))})]).value()
    assert fine.hours[0] == 1


def test_what_is_no_time_is_refused():
    with pytest.raises(SchemaError, match="has none"):
        folded(Calendar("t"), [batch({"t": ["2024-01-01"]})])
    assert folded(Calendar("t"), [batch({"t": pa.nulls(2)})]).value().nulls == 2
