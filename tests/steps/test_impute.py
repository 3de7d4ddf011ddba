"""Imputation against scikit-learn, and what it refuses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer

from penstock.batch import Batch
from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.statistics.count import Count
from penstock.statistics.frequencies import Frequencies
from penstock.statistics.grouped_frequencies import GroupedFrequencies
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Use
from penstock.steps.impute import Impute
from penstock.testing.steps import batch_of, fit_step

NUMBER = Schema((Field("x", pa.float64(), Role.number),))
WHOLE = Schema((Field("x", pa.float64(), Role.integer),))
TEXT = Schema((Field("x", pa.string(), Role.category, categories=("a", "b")),))
TRUTH = Schema((Field("x", pa.bool_(), Role.boolean),))


def filled(step: Impute, schema: Schema, values: list[Any]) -> list[Any]:
    batch = batch_of(schema, {"x": values})
    return fit_step(step, schema, [batch]).transform(batch, Use()).column("x").to_pylist()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["mean", "median", "most_frequent"]),
    st.lists(st.one_of(st.none(), st.floats(-100, 100, allow_subnormal=False), st.integers(-12, 12)), max_size=40),
)
def test_numbers_agree_with_scikit_learn(strategy: Any, values: list[float | None]) -> None:
    values = [*values, 3.0]
    array = np.array([np.nan if value is None else value for value in values])[:, None]
    expected = SimpleImputer(strategy=strategy).fit_transform(array)[:, 0]
    np.testing.assert_allclose(filled(Impute("x", strategy), NUMBER, values), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from(["b", "a", "Z", "é", ""])), max_size=30))
def test_categories_agree_with_scikit_learn(values: list[str | None]) -> None:
    values = [*values, "b"]
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None)
    expected = imputer.fit_transform(np.array(values, object)[:, None])[:, 0].tolist()
    assert filled(Impute("x", "most_frequent"), TEXT, values) == expected


def test_the_least_of_equally_frequent_numbers_is_taken_as_a_number_not_as_text() -> None:
    assert filled(Impute("x", "most_frequent"), NUMBER, [10.0, 9.0, None]) == [10.0, 9.0, 9.0]


def test_truth_values_and_constants_are_filled() -> None:
    assert filled(Impute("x", "most_frequent"), TRUTH, [True, None, True, False]) == [True, True, True, False]
    assert filled(Impute("x", "constant", False), TRUTH, [True, None]) == [True, False]
    assert filled(Impute("x", "constant", -1), NUMBER, [0.5, None]) == [0.5, -1.0]
    assert filled(Impute("x", "constant", "?"), TEXT, ["a", None]) == ["a", "?"]


def test_a_constant_needs_no_statistics_and_fills_a_column_of_nulls() -> None:
    assert Impute("x", "constant", 0).statistics(NUMBER) == {}
    assert filled(Impute("x", "constant", 0), NUMBER, [None, None]) == [0.0, 0.0]


def test_a_new_category_is_added_to_the_closed_list() -> None:
    assert fit_step(Impute("x", "constant", "?"), TEXT, []).schema["x"].categories == ("?", "a", "b")


@pytest.mark.parametrize(("values", "role"), [([1.0, 3.0], Role.integer), ([1.0, 2.0], Role.number)])
def test_whole_numbers_stay_whole_where_the_value_is(values: list[float], role: Role) -> None:
    fitted = fit_step(Impute("x", "mean"), WHOLE, [batch_of(WHOLE, {"x": values})])
    assert fitted.schema["x"].role == role


@pytest.mark.parametrize(("kind", "out"), [(pa.int32(), pa.float64()), (pa.float32(), pa.float32())])
def test_a_fraction_fits_into_the_type_that_comes_out(kind: pa.DataType, out: pa.DataType) -> None:
    schema = Schema((Field("x", kind, Role.integer),))
    batch = batch_of(schema, {"x": [1, 2, None]})
    column = fit_step(Impute("x", "mean"), schema, [batch]).transform(batch, Use()).column("x")
    assert (column.type, column.to_pylist()) == (out, [1.0, 2.0, 1.5])


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
def test_a_column_without_any_value_is_refused_with_a_remedy(strategy: Any) -> None:
    with pytest.raises(DataError, match=r"step 'impute', column 'x': the column has no value.*(?s:.)*constant"):
        filled(Impute("x", strategy), NUMBER, [None, None])


@pytest.mark.parametrize(
    "arguments",
    [
        {"strategy": "mode"},
        {"strategy": "constant"},
        {"strategy": "constant", "value": float("nan")},
        {"strategy": "constant", "value": [1]},
        {"strategy": "mean", "value": 0},
    ],
)
def test_arguments_that_do_not_belong_together_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="impute"):
        Impute("x", **arguments)


@pytest.mark.parametrize(
    ("schema", "step"),
    [
        (TEXT, Impute("x", "mean")),
        (TRUTH, Impute("x", "median")),
        (TEXT, Impute("x", "constant", 0)),
        (NUMBER, Impute("x", "constant", "missing")),
        (NUMBER, Impute("x", "constant", True)),
        (Schema((Field("x", pa.timestamp("us"), Role.time),)), Impute("x", "most_frequent")),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(schema: Schema, step: Impute) -> None:
    with pytest.raises(SchemaError, match="step 'impute', column 'x'"):
        step.touches(schema)


def test_statistics_after_it_are_derived_from_those_before_it() -> None:
    assert all(Impute("x").derives(one("x")) for one in (Count, Moments, Histogram, Frequencies))
    batch = batch_of(NUMBER, {"x": [1.0, None, 2.0]})
    moments = Moments("x")
    moments.update(batch)
    derived = fit_step(Impute("x", "constant", 6), NUMBER, [batch]).derive(moments)
    assert derived is not None
    assert derived.value().mean == 3.0
    assert moments.value().mean == 1.5


GROUPED = Schema(
    (
        Field("x", pa.float64(), Role.number),
        Field("n", pa.float64(), Role.integer),
        Field("color", pa.string(), Role.category),
        Field("truth", pa.bool_(), Role.boolean),
        Field("g", pa.string(), Role.category),
        Field("h", pa.float64(), Role.integer),
        Field("t", pa.timestamp("us"), Role.time),
        Field("label", pa.string(), Role.target),
    )
)
GROUPED_ROW = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats(-100, 100, allow_subnormal=False),
        "n": st.none() | st.integers(-3, 3).map(float),
        "color": st.none() | st.sampled_from(["red", "Green", "é", ""]),
        "truth": st.none() | st.booleans(),
        "g": st.none() | st.sampled_from(["a", "b", "1:a", ""]),
        "h": st.none() | st.sampled_from([0.0, -0.0, 1.5, 2.0]),
        "t": st.none() | st.sampled_from([datetime(2026, 1, 1), datetime(1960, 1, 1, 5)]),
        "label": st.just("yes"),
    }
)
WHOLE_ROW = {"x": 1.0, "n": 1.0, "color": "red", "truth": True, "g": "a", "h": 1.5, "t": None, "label": "no"}


def grouped_batch(rows: list[dict[str, Any]], start: int = 0) -> Batch:
    return batch_of(GROUPED, {name: [row[name] for row in rows] for name in GROUPED.names}, start=start)


def by_pandas(rows: list[dict[str, Any]], column: str, by: list[str], statistic: str) -> list[Any]:
    """The reference: pandas' groupby, then its value for all rows."""
    frame = pd.DataFrame([{key: row[key] for key in (column, *by)} for row in rows])
    frame[column] = frame[column].astype("float64" if column in "xn" else "object")

    def one(values: pd.Series) -> Any:
        known = values.dropna()
        if known.empty:
            return None
        if statistic == "most_frequent":
            counts = known.value_counts()
            return min(counts[counts == counts.max()].index)
        return float(known.mean() if statistic == "mean" else known.median())

    whole = one(frame[column])
    fills: dict[Any, Any] = {}
    for key, part in frame.groupby(by, dropna=True):
        fills[key] = one(part[column])
    out = []
    for row in rows:
        key = tuple(row[name] for name in by)
        found = None if any(part is None for part in key) else fills.get(key)
        out.append(row[column] if row[column] is not None else whole if found is None else found)
    return out


@settings(max_examples=25, deadline=None)
@given(
    st.lists(GROUPED_ROW, max_size=14),
    st.sampled_from(
        [("x", "mean"), ("x", "median"), ("n", "most_frequent"), ("color", "most_frequent"), ("truth", "most_frequent")]
    ),
    st.sampled_from([("g",), ("g", "h"), ("t", "h"), ("h",)]),
)
def test_by_group_agrees_with_pandas(rows: list[dict[str, Any]], what: tuple[str, Any], by: tuple[str, ...]) -> None:
    rows = [WHOLE_ROW, *rows]
    column, strategy = what
    step = Impute(column, strategy, by=by)
    half = len(rows) // 2
    fitted = fit_step(step, GROUPED, [grouped_batch(rows[:half]), grouped_batch(rows[half:], half)])
    out = fitted.transform(grouped_batch(rows), Use()).column(column).to_pylist()
    expected = by_pandas(rows, column, list(by), strategy)
    if strategy == "most_frequent":
        assert out == expected
    else:
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


def test_an_unseen_group_and_a_missing_one_get_the_value_of_all_rows() -> None:
    rows = [{**WHOLE_ROW, "x": 1.0}, {**WHOLE_ROW, "x": 3.0}, {**WHOLE_ROW, "g": "b", "x": 11.0}]
    fitted = fit_step(Impute("x", "mean", by="g"), GROUPED, [grouped_batch(rows)])
    new = [{**WHOLE_ROW, "g": group, "x": None} for group in ("a", "b", "new", None)]
    assert fitted.transform(grouped_batch(new), Use()).column("x").to_pylist() == [2.0, 11.0, 5.0, 5.0]


def test_the_columns_that_are_grouped_by_are_left_alone() -> None:
    step = Impute("numeric", "mean", by="h")
    assert set(step.touches(GROUPED).writes) == {"x", "n"}
    assert set(step.touches(GROUPED).reads) == {"x", "n", "h"}


def test_too_many_groups_are_refused_with_a_remedy() -> None:
    rows = [{**WHOLE_ROW, "g": f"{i}"} for i in range(1001)]
    with pytest.raises(DataError, match=r"too many groups(?s:.)*at most 1,000(?s:.)*fewer columns"):
        fit_step(Impute("x", "median", by="g"), GROUPED, [grouped_batch(rows)])
    fit_step(Impute("x", "mean", by="g"), GROUPED, [grouped_batch(rows)])
    with pytest.raises(DataError, match="too many groups"):
        one, other = (GroupedFrequencies(["g"], "color", most=600) for _ in range(2))
        one.update(grouped_batch(rows[:600]))
        other.update(grouped_batch(rows[600:]))
        one.merge(other)


@pytest.mark.parametrize(
    ("by", "words"),
    [(("nope",), "no such column"), (("label",), "not a column to group by"), (("x",), "no column is met")],
)
def test_columns_that_can_not_be_grouped_by_are_refused(by: tuple[str, ...], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Impute("x", "mean", by=by).touches(GROUPED)


@pytest.mark.parametrize("by", [("g", "g"), (1,)])
def test_what_is_not_columns_to_group_by_is_refused(by: Any) -> None:
    with pytest.raises(UsageError, match="impute: by"):
        Impute("x", by=by)
    with pytest.raises(UsageError, match="the same in every group"):
        Impute("x", "constant", 1, by="g")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | st.floats(-100, 100, allow_subnormal=False), max_size=20))
def test_indicators_agree_with_scikit_learn(values: list[float | None]) -> None:
    values = [*values, None, 3.0]
    array = np.array([np.nan if value is None else value for value in values])[:, None]
    expected = SimpleImputer(strategy="mean", add_indicator=True).fit_transform(array)
    fitted = fit_step(Impute("x", "mean", indicator=True), NUMBER, [batch_of(NUMBER, {"x": values})])
    out = fitted.transform(batch_of(NUMBER, {"x": values}), Use())
    assert out.columns.schema.names == ["x", "x_missing"]
    np.testing.assert_allclose(out.column("x").to_numpy(), expected[:, 0], rtol=1e-12, atol=1e-12)
    assert out.column("x_missing").to_pylist() == (expected[:, 1] == 1).tolist()


def test_an_indicator_whose_name_is_taken_is_refused() -> None:
    schema = NUMBER.put(Field("x_missing", pa.bool_(), Role.boolean))
    with pytest.raises(SchemaError, match=r"the indicator's column is there already(?s:.)*'x_missing'"):
        Impute("x", indicator=True).touches(schema)
    with pytest.raises(UsageError, match="impute: indicator"):
        Impute("x", indicator="yes")  # type: ignore[arg-type]
