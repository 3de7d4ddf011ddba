"""Bins and frequencies, against scikit-learn, NumPy and values computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import KBinsDiscretizer

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import FittedStep, Step, Use
from penstock.steps.bins import Bin
from penstock.steps.frequency_encode import FrequencyEncode
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema((Field("x", pa.float64(), Role.number),))
CITY = Schema((Field("city", pa.string(), Role.category),))
numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=60)


def fitted_on(step: Step, values: Any, schema: Schema = SCHEMA) -> FittedStep:
    (name,) = schema.names
    return fit_step(step, schema, [batch_of(schema, {name: values})])


def out(step: Step, values: Any, asked: Any = None, schema: Schema = SCHEMA) -> list[Any]:
    (name,) = schema.names
    batch = batch_of(schema, {name: values if asked is None else asked})
    return fitted_on(step, values, schema).transform(batch, Use()).column(name).to_pylist()


# ---------------------------------------------------------------------- bins


@settings(max_examples=40, deadline=None)
@given(numbers, st.integers(2, 6))
def test_bins_of_one_width_are_those_of_scikit_learn(values: list[float], bins: int) -> None:
    if min(values) == max(values):
        return
    peer = KBinsDiscretizer(bins, encode="ordinal", strategy="uniform", subsample=None).fit(np.array(values)[:, None])
    if len(np.unique(peer.bin_edges_[0])) < bins + 1:
        return  # values so near that a float has no room for the edges
    expected = peer.transform(np.array(values)[:, None])[:, 0]
    assert out(Bin("x", bins, "uniform"), values) == expected.tolist()


@pytest.mark.filterwarnings("ignore:Bins whose width")
@pytest.mark.parametrize("bins", [2, 3, 10, 50])
@pytest.mark.parametrize("shape", ["exponential", "poisson", "normal"])
def test_bins_of_quantiles_are_those_of_scikit_learn(shape: str, bins: int) -> None:
    random = np.random.default_rng(1)
    values = {
        "exponential": random.exponential(3, 2500),
        "poisson": random.poisson(2, 2500).astype(float),
        "normal": random.normal(size=2500),
    }[shape]
    peer = KBinsDiscretizer(bins, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None).fit(
        values[:, None]
    )
    expected = peer.transform(values[:, None])[:, 0]
    on_edge = np.isclose(values[:, None], peer.bin_edges_[0], rtol=1e-13, atol=0).any(axis=1)
    clear = ~on_edge | (values == np.round(values))  # the last bit of an interpolated edge is a matter of rounding
    np.testing.assert_array_equal(np.array(out(Bin("x", bins), values))[clear], expected[clear])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=6, unique=True), numbers)
def test_bins_between_given_edges_are_those_of_numpy(edges: list[int], values: list[float]) -> None:
    step = Bin("x", edges=sorted(edges))
    assert step.statistics(SCHEMA) == {}
    assert out(step, values) == np.digitize(values, sorted(edges)).astype(float).tolist()


def test_labels_and_columns_say_what_the_bins_are() -> None:
    ages = [17.0, 18.0, 64.9, 65.0, None]
    labelled = fitted_on(Bin("x", edges=[18, 65], output="label"), ages)
    assert labelled.schema["x"].role is Role.category
    assert labelled.schema["x"].categories == ("below 18", "[18, 65)", "65 and above")
    assert out(Bin("x", edges=[18, 65], output="label"), ages) == ["below 18", *["[18, 65)"] * 2, "65 and above", None]
    apart = fitted_on(Bin("x", edges=[18, 65], output="one_hot"), ages)
    assert apart.schema.names == ("x_below 18", "x_[18, 65)", "x_65 and above")
    made = apart.transform(batch_of(SCHEMA, {"x": ages}), Use()).columns
    assert [column.to_pylist() for column in made.columns] == [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]
    back = apart.inverse(apart.transform(batch_of(SCHEMA, {"x": ages}), Use()))
    assert back.column("x").to_pylist() == [18.0, 41.5, 41.5, 65.0, None]


@pytest.mark.parametrize("output", ["number", "label", "one_hot"])
def test_the_inverse_is_the_middle_of_the_bin(output: Any) -> None:
    fitted = fitted_on(Bin("x", 2, "uniform", output=output), [0.0, 10.0, None])
    back = fitted.inverse(fitted.transform(batch_of(SCHEMA, {"x": [1.0, 9.0, 99.0, None]}), Use()))
    assert back.column("x").to_pylist() == [2.5, 7.5, 7.5, None]


@pytest.mark.parametrize("values", [[], [None], [4.0], [4.0, 4.0]])
@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
def test_a_column_of_one_value_or_none_has_one_bin(values: list[Any], strategy: Any) -> None:
    assert out(Bin("x", 5, strategy), values, [-7.0, 4.0, 1e300, None]) == [0.0, 0.0, 0.0, None]
    assert out(Bin("x", 5, strategy, output="label"), values, [4.0, None]) == ["any", None]


def test_the_farthest_floats_have_bins_between_them() -> None:
    low, high = -1.7e308, 1.7e308
    assert out(Bin("x", 4, "uniform"), [low, high], [low, -1.0, 1.0, high]) == [0.0, 1.0, 2.0, 3.0]


def test_two_columns_of_one_name_are_refused() -> None:
    schema = Schema((SCHEMA["x"], Field("x_below 1", pa.float64(), Role.number)))
    batch = batch_of(schema, {"x": [1.0], "x_below 1": [1.0]})
    with pytest.raises(SchemaError, match="one name"):
        fit_step(Bin("x", edges=[1], output="one_hot"), schema, [batch])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bins": 1}, "bins"),
        ({"bins": True}, "bins"),
        ({"bins": 5000}, "bins"),
        ({"strategy": "kmeans"}, "strategy"),
        ({"output": "text"}, "output"),
        ({"edges": []}, "edges"),
        ({"edges": [2, 1]}, "edges"),
        ({"edges": [1, 1]}, "edges"),
        ({"edges": [float("nan")]}, "edges"),
        ({"edges": [0, float("inf")]}, "edges"),
        ({"edges": "12"}, "edges"),
        ({"edges": 3}, "edges"),
    ],
)
def test_arguments_out_of_range_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"bin: {message}"):
        Bin("x", **settings)


# ---------------------------------------------------------------------- frequencies


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.sampled_from(["a", "b", "é", "", "*"]), min_size=1, max_size=30))
def test_categories_become_how_often_they_occur(values: list[str | None]) -> None:
    counts = [float(values.count(value)) for value in values]
    assert out(FrequencyEncode("city", share=False), values, schema=CITY) == counts
    shares = [count / len(values) for count in counts]
    assert out(FrequencyEncode("city"), values, schema=CITY) == pytest.approx(shares, rel=1e-15)


def test_what_was_not_seen_occurs_never() -> None:
    assert out(FrequencyEncode("city"), ["A", "A", "B"], ["C", None, "A"], CITY) == pytest.approx([0, 0, 2 / 3])
    assert out(FrequencyEncode("city"), [], ["A", None], CITY) == [0.0, 0.0]
    assert out(FrequencyEncode("city", share=False), [None, None], ["A", None], CITY) == [0.0, 2.0]


def test_truth_values_have_frequencies() -> None:
    schema = Schema((Field("city", pa.bool_(), Role.boolean),))
    step = FrequencyEncode("city", share=False)
    assert out(step, [True, True, False, None], schema=schema) == [2.0, 2.0, 1.0, 1.0]
    assert fitted_on(step, [True], schema).schema["city"].role is Role.integer


def test_a_frequency_is_of_categories_and_a_share_is_a_truth_value() -> None:
    with pytest.raises(UsageError, match="frequency_encode: share"):
        FrequencyEncode("city", share=1)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="'x'"):
        FrequencyEncode("x").touches(SCHEMA)
    with pytest.raises(SchemaError, match="'city'"):
        Bin("city").touches(CITY)
