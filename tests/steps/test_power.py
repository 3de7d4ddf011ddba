"""The power transform and the quantile transform, against scikit-learn, scipy and values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.preprocessing import PowerTransformer, QuantileTransformer

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import FittedStep, Step, Use
from penstock.steps.power import FittedPower, Power, YeoJohnson
from penstock.steps.quantile_transform import QuantileTransform
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema((Field("x", pa.float64(), Role.number),))
SHORT = Schema((Field("x", pa.float32(), Role.number),))
RANDOM = np.random.default_rng(7)
SHAPES = {
    "log-normal": np.exp(RANDOM.normal(size=3000)),
    "exponential and negative": -RANDOM.exponential(5.0, 3000),
    "both signs, skewed": RANDOM.gamma(2.0, 3.0, 3000) - 4.0,
    "normal": RANDOM.normal(3.0, 0.5, 3000),
    "counts": RANDOM.poisson(2.0, 3000).astype(float),
    "two values": np.repeat([0.0, 9.0], [2500, 500]),
}
MANY = {
    name: RANDOM.permutation(np.repeat(values, 12) * RANDOM.uniform(0.9, 1.1, 36_000))
    for name, values in SHAPES.items()
}
"""More distinct values than the histogram keeps apart."""
few = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=30)


def fitted_on(step: Step, values: Any, schema: Schema = SCHEMA) -> FittedStep:
    return fit_step(step, schema, [batch_of(schema, {"x": values})])


def moved(fitted: FittedStep, values: Any, schema: Schema = SCHEMA) -> np.ndarray:
    return fitted.transform(batch_of(schema, {"x": values}), Use()).column("x").to_numpy(zero_copy_only=False)


def back(fitted: FittedStep, values: Any) -> np.ndarray:
    out = fitted.transform(batch_of(SCHEMA, {"x": values}), Use())
    return fitted.inverse(out).column("x").to_numpy(zero_copy_only=False)


# ---------------------------------------------------------------------- power


def exponent(fitted: FittedStep) -> float:
    assert isinstance(fitted, FittedPower)
    return fitted.maps[0].power


@pytest.mark.parametrize("name", SHAPES)
def test_the_exponent_and_the_values_are_those_of_scikit_learn(name: str) -> None:
    values = SHAPES[name]
    fitted = fitted_on(Power("x"), values)
    peer = PowerTransformer().fit(values[:, None])
    assert exponent(fitted) == pytest.approx(float(peer.lambdas_[0]), abs=1e-4)
    np.testing.assert_allclose(moved(fitted, values), peer.transform(values[:, None])[:, 0], atol=1e-3)
    np.testing.assert_allclose(back(fitted, values), values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", MANY)
def test_from_a_histogram_the_exponent_is_within_a_hundredth_of_scikit_learns(name: str) -> None:
    values = MANY[name]
    fitted = fitted_on(Power("x"), values)
    peer = PowerTransformer().fit(values[:, None])
    assert exponent(fitted) == pytest.approx(float(peer.lambdas_[0]), abs=1e-2)
    out = moved(fitted, values)
    assert abs(out.mean()) < 0.01 and abs(out.std() - 1) < 0.01
    np.testing.assert_allclose(out, peer.transform(values[:, None])[:, 0], atol=0.1)


@settings(max_examples=30, deadline=None)
@given(few)
def test_without_standardizing_it_is_scipys_transform_of_that_exponent(values: list[float]) -> None:
    fitted = fitted_on(Power("x", standardize=False), values)
    expected = stats.yeojohnson(np.array(values), exponent(fitted))
    np.testing.assert_allclose(moved(fitted, values), expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(few)
def test_no_exponent_within_the_range_is_likelier(values: list[float]) -> None:
    given_values = np.array(values)
    if float(np.ptp(given_values)) <= 1e-3 * float(np.max(np.abs(given_values))):
        return  # rounding decides
    fitted = fitted_on(Power("x"), values)
    best = stats.yeojohnson_llf(exponent(fitted), given_values)
    others = [stats.yeojohnson_llf(p, given_values) for p in np.linspace(-9, 9, 37)]
    finite = [value for value in others if np.isfinite(value)]  # of values next to nothing scipy tells none
    assert not finite or best >= max(finite) - 1e-6 * abs(best) - 1e-6


@pytest.mark.parametrize(
    ("power", "values"),
    [
        (0.0, [-4.0, 0.0, math.log(4)]),
        (2.0, [-math.log(3), 0.0, 7.5]),
        (1.0, [-2.0, 0.0, 3.0]),
        (0.5, [-2.7974, 0.0, 2.0]),
    ],
)
def test_the_formula_is_known_by_hand(power: float, values: list[float]) -> None:
    fitted = FittedPower(Power("x"), SCHEMA, (YeoJohnson(SCHEMA["x"], power, 0.0, 0.0, 1.0),))
    assert moved(fitted, [-2.0, 0.0, 3.0]).tolist() == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("values", [[], [None, None], [3.0], [3.0, 3.0, None], [0.0], [-1e300, -1e300]])
def test_columns_without_a_spread_keep_the_exponent_one(values: list[Any]) -> None:
    fitted = fitted_on(Power("x"), values)
    assert exponent(fitted) == 1.0
    known = [value for value in values if value is not None]
    assert [value for value in moved(fitted, known).tolist() if value != 0.0] == []


def test_nulls_stay_null_and_what_is_too_large_is_the_largest_float() -> None:
    fitted = fitted_on(Power("x"), np.exp(np.linspace(-3, 0, 50) ** 3))
    out = batch_of(SCHEMA, {"x": [None, 1e308, -1e308]})
    values = fitted.transform(out, Use()).column("x").to_pylist()
    assert values[0] is None and all(math.isfinite(value) for value in values[1:])
    short = fitted_on(Power("x"), SHAPES["log-normal"], SHORT)
    assert short.schema["x"].type == pa.float32()
    assert np.isfinite(moved(short, [3e38, -3e38], SHORT)).all()


def test_values_far_from_zero_and_close_together_stay_apart() -> None:
    values = 1e6 + np.arange(100.0) ** 2
    out = moved(fitted_on(Power("x"), values), values)
    assert (np.diff(out) > 0).all() and abs(out.std() - 1) < 1e-6


# ---------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("output", ["uniform", "normal"])
@pytest.mark.parametrize("name", SHAPES)
def test_places_are_those_of_scikit_learn(name: str, output: Any) -> None:
    values = SHAPES[name]
    fitted = fitted_on(QuantileTransform("x", output, quantiles=500), values)
    peer = QuantileTransformer(n_quantiles=500, output_distribution=output, subsample=None).fit(values[:, None])
    new = np.concatenate([values, [values.min() - 1, values.max() + 1, values.mean()]])
    np.testing.assert_allclose(moved(fitted, new), peer.transform(new[:, None])[:, 0], atol=1e-6)
    np.testing.assert_allclose(
        back(fitted, values), peer.inverse_transform(peer.transform(values[:, None]))[:, 0], atol=1e-6
    )


@pytest.mark.parametrize("name", ["log-normal", "normal", "both signs, skewed"])
def test_from_a_histogram_places_are_within_a_hundredth_of_scikit_learns(name: str) -> None:
    values = MANY[name]
    fitted = fitted_on(QuantileTransform("x"), values)
    peer = QuantileTransformer(subsample=None).fit(values[:, None])
    np.testing.assert_allclose(moved(fitted, values), peer.transform(values[:, None])[:, 0], atol=0.01)


def test_a_normal_output_is_the_normal_score_of_the_uniform_one() -> None:
    values = SHAPES["log-normal"]
    uniform, normal = (
        moved(fitted_on(QuantileTransform("x", output), values), values) for output in ("uniform", "normal")
    )
    inside = (uniform > 0) & (uniform < 1)
    np.testing.assert_allclose(normal[inside], stats.norm.ppf(uniform[inside]), atol=1e-9)
    assert float(np.abs(normal).max()) == pytest.approx(stats.norm.ppf(1 - 1e-7))


@pytest.mark.parametrize("values", [[], [None, None]])
def test_a_column_without_values_stays_null(values: list[Any]) -> None:
    fitted = fitted_on(QuantileTransform("x"), values)
    assert fitted.transform(batch_of(SCHEMA, {"x": [None]}), Use()).column("x").to_pylist() == [None]
    assert moved(fitted, [-1.0, 0.0, 1.0]).tolist() == [0.0, 0.0, 1.0]


def test_a_column_of_one_value_becomes_zero() -> None:
    fitted = fitted_on(QuantileTransform("x"), [5.0, 5.0, None])
    assert moved(fitted, [4.0, 5.0, 6.0]).tolist() == [0.0, 0.0, 1.0]


@settings(max_examples=30, deadline=None)
@given(few)
def test_places_rise_with_the_values(values: list[float]) -> None:
    fitted = fitted_on(QuantileTransform("x"), values)
    out = moved(fitted, sorted(values))
    assert (np.diff(out) >= 0).all() and out.min() >= 0 and out.max() <= 1


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Power("x", standardize="yes"), "power: standardize"),  # type: ignore[arg-type]
        (lambda: QuantileTransform("x", "flat"), "quantile_transform: output"),  # type: ignore[arg-type]
        (lambda: QuantileTransform("x", quantiles=1), "quantile_transform: quantiles"),
        (lambda: QuantileTransform("x", quantiles=10_000), "quantile_transform: quantiles"),
        (lambda: QuantileTransform("x", quantiles=True), "quantile_transform: quantiles"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("step", [Power("x"), QuantileTransform("x")])
def test_text_is_refused(step: Step) -> None:
    with pytest.raises(SchemaError, match="'x'"):
        step.touches(Schema((Field("x", pa.string(), Role.text),)))
