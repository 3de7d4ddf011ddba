"""Group and Rolling, beside Polars, pandas and SciPy, however the rows are cut into parts."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from related_rows import batches_of, counts_of, frame_of, keys_of, laid, rows_of, same, source_of
from scipy.signal import savgol_filter

from penstock.errors import SchemaError, UsageError
from penstock.relations import runs
from penstock.relations.filter import Filter
from penstock.relations.group import FUNCTIONS, Group
from penstock.relations.rolling import Rolling, duration

LAWS = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBER = st.none() | st.integers(-1000, 1000).map(lambda n: n / 8)
START = datetime(2024, 1, 1)


@pytest.fixture(params=[5, 2**18], ids=["small parts", "one part"], autouse=True)
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PART_ROWS", request.param)


@LAWS
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]), NUMBER), min_size=1),
    by=st.sampled_from([("c",), ("c", "k"), ()]),
)
def test_groups_are_those_of_polars(tmp_path: Path, rows: list[Any], by: tuple[str, ...]) -> None:
    roles = {"c": "category", "k": "integer", "x": "number"}
    data = {name: (role, [row[i] for row in rows]) for i, (name, role) in enumerate(roles.items())}
    wanted = {f"x {function}": (function, "x") for function in FUNCTIONS}
    relation = Group(by, {"rows": ("count", "*"), **wanted, "least": ("min", "c")})
    x, present = pl.col("x"), pl.col("x").drop_nulls()
    expected = {
        "count": x.count(), "sum": x.sum(), "mean": x.mean(), "min": x.min(), "max": x.max(), "first": present.first(),
        "last": present.last(), "std": x.std(), "n_unique": present.n_unique(), "median": x.median(),
    }  # fmt: skip
    columns = [
        pl.len().cast(pl.Float64).alias("rows"),
        *(expected[function].cast(pl.Float64).alias(f"x {function}") for function in FUNCTIONS),
        pl.col("c").min().alias("least"),
    ]
    frame = frame_of(data)
    found, _ = laid(source_of(tmp_path, data), relation)
    reference = frame.group_by(list(by), maintain_order=True).agg(columns) if by else frame.select(columns)
    same(rows_of(found), reference)
    firsts = frame.with_row_index("row").unique(list(by), keep="first", maintain_order=True)["row"] if by else [0]
    assert [row for _, row in keys_of(batches_of(found))] == list(firsts)
    count = counts_of(found)[-1]
    assert (count.rows_in, count.out, count.dropped) == (len(rows), len(firsts), len(rows) - len(firsts))


def test_sums_do_not_lose_what_is_small_beside_a_large_mean(tmp_path: Path) -> None:
    values = [1e9 + x for x in (4.0, 7.0, 13.0, 16.0)] * 5
    data = {"k": ("integer", [1] * 20), "x": ("number", values)}
    found, _ = laid(source_of(tmp_path, data), Group("k", {"s": ("std", "x"), "m": ("mean", "x")}))
    row = rows_of(found).row(0, named=True)
    assert row["s"] == pytest.approx(math.sqrt(22.5 * 20 / 19), rel=1e-9)
    assert row["m"] == 1e9 + 10


def test_a_sum_beyond_what_a_float_holds_is_missing(tmp_path: Path) -> None:
    data = {"k": ("integer", [1, 1, 2]), "x": ("number", [1e308, 1e308, 5.0])}
    found, _ = laid(source_of(tmp_path, data), Group("k", {"s": ("sum", "x")}))
    assert rows_of(found)["s"].to_list() == [None, 5.0]


def test_relations_go_on_after_a_group(tmp_path: Path) -> None:
    data = {"k": ("integer", [1, 2, 1, 3, 2, 1]), "x": ("number", [1.0, 2, 3, 4, 5, 6])}
    steps = (Filter("x > 1"), Group("k", {"total": ("sum", "x")}), Rolling("total", "sum", 2), Filter("k != 2"))
    rows = rows_of(laid(source_of(tmp_path, data), *steps)[0])
    assert rows.rows() == [(1.0, 9.0, 16.0), (3.0, 4.0, 13.0)]


def rolling_data(rows: list[Any]) -> dict[str, tuple[str, list[Any]]]:
    """Entities, times (some missing), values (some missing)."""
    entity, hours, values = ([row[i] for row in rows] for i in range(3))
    times = [None if hour is None else START + timedelta(hours=hour) for hour in hours]
    return {"e": ("category", entity), "t": ("time", times), "x": ("number", values)}


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 12), NUMBER), min_size=1, max_size=40)
SIMPLE = ("median", "mean", "sum", "count", "min", "max", "std")


@pytest.mark.parametrize("centered", [False, True])
@LAWS
@given(rows=ROWS, window=st.integers(1, 6), least=st.integers(1, 3), function=st.sampled_from(SIMPLE))
def test_windows_of_rows_are_those_of_pandas(
    tmp_path: Path, centered: bool, rows: list[Any], window: int, least: int, function: Any
) -> None:
    data, least = rolling_data(rows), min(least, window)
    relation = Rolling("x", function, window, by="e", order="t", centered=centered, min_rows=least, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, data), relation)[0])
    frame = pd.DataFrame({name: values for name, (_, values) in data.items()})
    frame["x"] = frame["x"].astype(float)
    parts = []
    for _, part in frame.sort_values("t", kind="stable").groupby("e", dropna=False, sort=False):
        rolled = part["x"].rolling(window, min_periods=0 if function == "count" else least, center=centered)
        parts.append(getattr(rolled, function)())
    expected = pd.concat(parts).sort_index()
    if function == "std":
        expected = expected.where(_present(frame, window, centered) >= max(2, least))
    assert found["x_new"].to_list() == [None if math.isnan(v) else pytest.approx(v, abs=1e-6) for v in expected]


def _present(frame: pd.DataFrame, window: int, centered: bool) -> Any:
    parts = []
    for _, part in frame.sort_values("t", kind="stable").groupby("e", dropna=False, sort=False):
        parts.append(part["x"].rolling(window, min_periods=0, center=centered).count())
    return pd.concat(parts).sort_index()


@LAWS
@given(rows=ROWS, hours=st.integers(1, 6), function=st.sampled_from(SIMPLE[:-1]))
def test_windows_of_time_are_those_of_pandas(tmp_path: Path, rows: list[Any], hours: int, function: Any) -> None:
    data = rolling_data(rows)
    relation = Rolling("x", function, f"{hours}h", by="e", order="t", suffix="_new")
    found = rows_of(laid(source_of(tmp_path, data), relation)[0])
    frame = pd.DataFrame({name: values for name, (_, values) in data.items()})
    frame["x"] = frame["x"].astype(float)
    parts = []
    for _, part in frame.sort_values("t", kind="stable").groupby("e", dropna=False, sort=False):
        rolled = part.rolling(f"{hours}h", on="t", min_periods=0 if function == "count" else 1)["x"]
        parts.append(getattr(rolled, function)())
    expected = pd.concat(parts).sort_index()
    assert found["x_new"].to_list() == [None if math.isnan(v) else pytest.approx(v, abs=1e-6) for v in expected]


@LAWS
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.none() | st.integers(0, 9), NUMBER), min_size=1),
    hours=st.integers(1, 8),
)
def test_a_window_of_time_around_a_row_holds_half_of_it_on_either_side(
    tmp_path: Path, rows: list[Any], hours: int
) -> None:
    relation = Rolling("x", "sum", f"{hours}h", by="e", order="t", centered=True, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, rolling_data(rows)), relation)[0])
    for (entity, hour, _), value in zip(rows, found["x_new"].to_list(), strict=True):
        if hour is None:
            assert value is None
            continue
        inside = [
            x
            for other, at, x in rows
            if other == entity and at is not None and x is not None and -hours < 2 * (at - hour) <= hours
        ]
        assert value == (pytest.approx(sum(inside)) if inside else None)


def test_a_window_never_looks_into_the_future(tmp_path: Path) -> None:
    rows = [("a", hour, float(hour)) for hour in (5, 1, 3, 3, 9, 7)]
    changed = [(entity, hour, -99.0 if hour > 5 else x) for entity, hour, x in rows]
    for window in (3, "4h"):
        relation = Rolling("x", "mean", window, by="e", order="t", suffix="_new")
        one, two = (rows_of(laid(source_of(tmp_path, rolling_data(some)), relation)[0]) for some in (rows, changed))
        assert one["x_new"].to_list()[:4] == two["x_new"].to_list()[:4]
    assert rows_of(laid(source_of(tmp_path, rolling_data(rows)), Rolling("x", "sum", "2h", order="t"))[0])[
        "x_sum_2h"
    ].to_list() == [5.0, 1.0, 3.0, 6.0, 9.0, 7.0]


CLOSED = ("right", "left", "both", "neither")


@LAWS
@given(
    rows=ROWS, window=st.integers(2, 6), least=st.integers(1, 2), closed=st.sampled_from(CLOSED),
    function=st.sampled_from(SIMPLE[:-1]),
)  # fmt: skip
def test_ends_of_windows_of_rows_are_those_of_pandas(
    tmp_path: Path, rows: list[Any], window: int, least: int, closed: Any, function: Any
) -> None:
    data, least = rolling_data(rows), 1 if closed == "neither" else least
    relation = Rolling("x", function, window, by="e", order="t", closed=closed, min_rows=least, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, data), relation)[0])
    frame = pd.DataFrame({name: values for name, (_, values) in data.items()})
    frame["x"] = frame["x"].astype(float)
    parts = []
    for _, part in frame.sort_values("t", kind="stable").groupby("e", dropna=False, sort=False):
        rolled = part["x"].rolling(window, min_periods=0 if function == "count" else least, closed=closed)
        parts.append(getattr(rolled, function)())
    expected = pd.concat(parts).sort_index()
    assert found["x_new"].to_list() == [None if math.isnan(v) else pytest.approx(v, abs=1e-6) for v in expected]


@LAWS
@given(
    rows=st.lists(st.integers(0, 20), min_size=1, max_size=30), hours=st.integers(1, 6),
    offset=st.integers(-9, 4), closed=st.sampled_from(CLOSED),
)  # fmt: skip
def test_windows_with_an_offset_are_those_of_polars(
    tmp_path: Path, rows: list[int], hours: int, offset: int, closed: Any
) -> None:
    offset = offset if (offset, closed) != (-hours, "right") else offset - 1  # that one ends with the row, not its time
    data = rolling_data([("a" if hour % 2 else "b", hour, float(i)) for i, hour in enumerate(rows)])
    relation = Rolling("x", "sum", f"{hours}h", "e", "t", closed=closed, offset=f"{offset}h", min_rows=0, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, data), relation)[0])
    frame = frame_of(data).with_row_index("row").sort("t", maintain_order=True)
    ends: Any = "none" if closed == "neither" else closed
    rolled = frame.rolling("t", period=f"{hours}h", offset=f"{offset}h", closed=ends, group_by="e")
    sums = rolled.agg(pl.col("x").sum().alias("sum")).unique(["e", "t"])
    expected = frame.join(sums, on=["e", "t"]).sort("row")["sum"].to_list()
    assert found["x_new"].to_list() == expected


@LAWS
@given(values=st.lists(NUMBER, min_size=1), offset=st.integers(-8, 4), window=st.integers(1, 4))
def test_a_window_of_rows_with_an_offset_lies_after_it(
    tmp_path: Path, values: list[Any], offset: int, window: int
) -> None:
    relation = Rolling("x", "sum", window, offset=offset, min_rows=0, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, {"x": ("number", values)}), relation)[0])["x_new"].to_list()
    for place, value in enumerate(found):
        inside = range(max(0, place + offset + 1), max(0, place + offset + window + 1))
        assert value == pytest.approx(sum(values[i] or 0.0 for i in inside if i < len(values)))


def test_a_window_that_is_not_closed_at_the_row_holds_nothing_of_its_day(tmp_path: Path) -> None:
    rows = [("a", 24 * day, 1.0) for day in (0, 1, 1, 1, 2)]
    changed = [(entity, hour, 100.0 if hour == 24 else x) for entity, hour, x in rows]
    relation = Rolling("x", "sum", "2d", by="e", order="t", closed="left", suffix="_new")
    one, two = (
        rows_of(laid(source_of(tmp_path, rolling_data(some)), relation)[0])["x_new"] for some in (rows, changed)
    )
    assert one.to_list() == [None, 1.0, 1.0, 1.0, 4.0]
    assert two.to_list() == [None, 1.0, 1.0, 1.0, 301.0]


def test_rows_without_an_order_are_in_no_window_and_counted(tmp_path: Path) -> None:
    data = {"x": ("number", [1.0, 2.0, 3.0, 4.0]), "t": ("number", [1.0, None, 2.0, None])}
    found, heard = laid(source_of(tmp_path, data), Rolling("x", "sum", 2, order="t", suffix="_new"))
    assert rows_of(found)["x_new"].to_list() == [1.0, None, 4.0, None]
    assert "2 of 4 rows have no 't'" in heard.text
    whole = {"x": ("number", [1.0, 2.0]), "t": ("number", [1.0, 2.0])}
    assert "have no" not in laid(source_of(tmp_path, whole), Rolling("x", "sum", 2, order="t"))[1].text


def test_a_large_value_leaves_no_trace_in_the_windows_after_it(tmp_path: Path) -> None:
    data = {"x": ("number", [1e17, 0.1, 0.2, 0.3, 0.4])}
    rows = rows_of(laid(source_of(tmp_path, data), Rolling("x", "sum", 2))[0])
    assert rows["x_sum_2"].to_list()[2:] == [0.1 + 0.2, 0.2 + 0.3, 0.3 + 0.4]


@LAWS
@given(st.lists(st.floats(-100, 100), min_size=9, max_size=30), st.sampled_from([(5, 2), (7, 3), (9, 0)]))
def test_savitzky_golay_is_that_of_scipy_inside_and_a_fit_at_the_edges(
    tmp_path: Path, values: list[float], settings_: tuple[int, int]
) -> None:
    window, order = settings_
    relation = Rolling("x", "savitzky_golay", window, centered=True, polyorder=order, suffix="_new")
    found = rows_of(laid(source_of(tmp_path, {"x": ("number", values)}), relation)[0])["x_new"].to_numpy()
    half = window // 2
    inside = slice(half, len(values) - half)
    assert np.allclose(found[inside], savgol_filter(values, window, order)[inside], atol=1e-8)
    for place in [*range(half), *range(len(values) - half, len(values))]:
        rows = np.arange(max(0, place - half), min(len(values), place + half + 1))
        degree = min(order, len(rows) - 1)
        fit = np.polynomial.Polynomial.fit(rows, np.array(values)[rows], degree)
        assert found[place] == pytest.approx(fit(place), abs=1e-6)


def test_savitzky_golay_before_a_row_and_with_values_missing_is_a_fit_of_those_there_are(tmp_path: Path) -> None:
    values = [1.0, None, 9.0, 16.0, None, 36.0, 49.0, 64.0]  # squares: a parabola gives them back
    relation = Rolling("x", "savitzky_golay", 5, polyorder=2, min_rows=3, suffix="")
    rows = rows_of(laid(source_of(tmp_path, {"x": ("number", values)}), relation)[0])
    assert rows["x"].to_list() == [None, None, None] + [pytest.approx(n * n) for n in range(4, 9)]


def test_columns_of_any_kind_are_counted_and_several_at_once(tmp_path: Path) -> None:
    data = {"c": ("category", ["a", None, "b", None]), "b": ("boolean", [True, False, None, True])}
    rows = rows_of(laid(source_of(tmp_path, data), Rolling(["c", "b"], "count", 2))[0])
    assert rows["c_count_2"].to_list() == [1, 1, 1, 1]
    assert rows["b_count_2"].to_list() == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("text", "microseconds"), [("24h", 86_400 * 10**6), ("1m30s", 90 * 10**6), ("2w", 14 * 86_400 * 10**6), ("5us", 5)]
)
def test_durations(text: str, microseconds: int) -> None:
    assert duration(text) == microseconds


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: duration("24"), "not a duration"),
        (lambda: duration("0h"), "not a duration"),
        (lambda: duration("-1h"), "not a duration"),
        (lambda: Rolling("x", "mean", 0), "out of range"),
        (lambda: Rolling("x", "mean", True), "out of range"),
        (lambda: Rolling("x", "mean", "1h"), "a window of time"),
        (lambda: Rolling("x", "mean", 2, min_rows=3), "more rows than the window has"),
        (lambda: Rolling("x", "savitzky_golay", "1h", order="t"), "a window of time"),
        (lambda: Rolling("x", "savitzky_golay", 2), "too short for the polynomial"),
        (lambda: Rolling("x", "mean", 2, closed="none"), "not one of its values"),  # type: ignore[arg-type]
        (lambda: Rolling("x", "mean", 1, closed="neither"), "more rows than the window has"),
        (lambda: Rolling("x", "mean", 2, offset="7d"), "not a number of rows"),
        (lambda: Rolling("x", "mean", 2, offset=True), "not a number of rows"),
        (lambda: Rolling("x", "mean", "7d", order="t", offset=7), "not a duration"),
        (lambda: Rolling("x", "mean", "7d", order="t", offset="+7d"), "offset: not a duration"),
        (lambda: Rolling("x", "mean", 3, centered=True, closed="left"), "said already"),
        (lambda: Rolling("x", "savitzky_golay", 5, offset=0), "said already"),
        (lambda: Rolling("x", "average", 2), "not one of its values"),  # type: ignore[arg-type]
        (lambda: Group("k", {}), "no new columns"),
        (lambda: Group("k", {"a": ("avg", "x")}), "not one of its values"),
        (lambda: Group("k", {"k": ("sum", "x")}), "two meanings"),
        (lambda: Group("k", {"a": "sum"}), "not a function of a column"),  # type: ignore[dict-item]
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("relation", "message"),
    [
        (Group("c", {"a": ("sum", "c")}), "no sum of these values"),
        (Group("c", {"a": ("sum", "y")}), "no such column"),
        (Group("z", {"a": ("count", "*")}), "no such column"),
        (Rolling("c", "mean", 2), "no mean of these values"),
        (Rolling("x", "mean", "1h", order="x"), "can't be ordered by this column"),
        (Rolling("x", "mean", 2, order="c"), "can't be ordered by this column"),
        (Rolling("x", "mean", 2, suffix="_taken"), "the new column is there already"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_the_work(tmp_path: Path, relation: Any, message: str) -> None:
    data = {"c": ("category", ["a", "b"]), "x": ("number", [1.0, 2.0]), "x_taken": ("number", [1.0, 2.0])}
    with pytest.raises(SchemaError, match=message):
        laid(source_of(tmp_path, data), relation)
