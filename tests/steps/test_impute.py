"""Imputation against scikit-learn, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer

from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.statistics.count import Count
from penstock.statistics.frequencies import Frequencies
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
