"""Parts of times, against pandas."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import parse_config
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.dates import PARTS, PERIODS, DateParts
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema((Field("t", pa.timestamp("us"), Role.time), Field("x", pa.float64(), Role.number)))


def parts_of(step: DateParts, times: list[Any], schema: Schema = SCHEMA) -> dict[str, list[Any]]:
    batch = batch_of(schema, {"t": times, **({"x": [None] * len(times)} if "x" in schema else {})})
    return run_step(fit_step(step, schema, []), schema, batch, Use()).columns.to_pydict()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=12))
def test_parts_agree_with_pandas(times: list[datetime | None]) -> None:
    out = parts_of(DateParts("t", PARTS, tuple(PERIODS), since="2000-02-29 12:00"), times)
    series = pd.Series(times, dtype="datetime64[us]")
    dt, week = series.dt, series.dt.isocalendar().week
    elapsed = (series - pd.Timestamp("2000-02-29 12:00")).dt
    expected: dict[str, pd.Series] = {
        "year": dt.year,
        "quarter": dt.quarter,
        "month": dt.month,
        "week": week,
        "day": dt.day,
        "weekday": dt.day_of_week + 1,
        "day_of_year": dt.day_of_year,
        "hour": dt.hour,
        "minute": dt.minute,
        "elapsed_seconds": elapsed.total_seconds(),
        "elapsed_days": elapsed.total_seconds() / 86_400,
    }
    for part, values in expected.items():
        got = pd.Series(out[f"t_{part}"], dtype="float64")
        np.testing.assert_allclose(got, values.astype("float64"), rtol=1e-12, equal_nan=True, err_msg=part)
    weekend = [None if one is None else one.weekday() >= 5 for one in times]
    assert out["t_is_weekend"] == weekend
    for part, (first, period) in PERIODS.items():
        angle = 2 * np.pi * (expected[part].astype("float64") - first) / period
        for wave, function in (("sin", np.sin), ("cos", np.cos)):
            got = pd.Series(out[f"t_{part}_{wave}"], dtype="float64")
            np.testing.assert_allclose(got, function(angle), atol=1e-12, equal_nan=True, err_msg=part)


def test_elapsed_days_of_midnights_are_whole() -> None:
    times = [datetime(2026, 11, 20), datetime(1999, 12, 31), datetime(2000, 1, 2, 12)]
    out = parts_of(DateParts("t", ["elapsed_days"], since="2000-01-01"), times)  # type: ignore[arg-type]
    assert out["t_elapsed_days"] == [(datetime(2026, 11, 20) - datetime(2000, 1, 1)).days, -1.0, 1.5]


def test_dates_are_taken_apart_too() -> None:
    schema = Schema((Field("t", pa.date32(), Role.time),))
    out = parts_of(DateParts("t", ("year", "hour")), [date(2026, 11, 20), None], schema)
    assert out == {"t_year": [2026.0, None], "t_hour": [0.0, None]}


def test_the_parts_stand_where_the_column_stood_and_it_may_stay() -> None:
    assert fit_step(DateParts("t", ("year",)), SCHEMA, []).schema.names == ("t_year", "x")
    assert fit_step(DateParts("t", ("year",), keep=True), SCHEMA, []).schema.names == ("t", "t_year", "x")
    fitted = fit_step(DateParts("t", ("year", "is_weekend", "elapsed_days"), ("hour",)), SCHEMA, [])
    assert [field.role for field in fitted.schema] == [Role.integer, Role.boolean, *[Role.number] * 4]


def test_a_name_that_is_taken_is_refused() -> None:
    schema = SCHEMA.put(Field("t_year", pa.float64(), Role.number))
    with pytest.raises(SchemaError, match="'t_year'"):
        DateParts("t").touches(schema)
    twice = Schema((Field("t", pa.date32(), Role.time), Field("t_month", pa.date32(), Role.time)))
    with pytest.raises(SchemaError, match="'t_month_sin'"):
        DateParts("time", (), ("month",)).touches(twice.put(Field("t_month_sin", pa.float64(), Role.number)))
    with pytest.raises(SchemaError, match="times"):
        DateParts("x").touches(SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parts": ["fortnight"]}, "not a part of a time"),
        ({"parts": ["year", "year"]}, "stands twice"),
        ({"parts": 3}, "not a part of a time"),
        ({"cyclic": ["year"]}, "date_parts: cyclic"),
        ({"parts": []}, "no part is wanted"),
        ({"since": "yesterday"}, "date_parts: since"),
        ({"since": None}, "date_parts: since"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        DateParts("t", **arguments)


def test_it_stands_in_a_pipeline_file() -> None:
    text = "steps:\n  - date_parts: {columns: t, parts: [year], cyclic: [month], since: '2020-01-01', keep: true}\n"
    (step,) = parse_config(text, "p.yaml").steps
    assert step == DateParts("t", ("year",), ("month",), "2020-01-01", True)
