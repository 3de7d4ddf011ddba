"""Scaling steps against scikit-learn and against values computed by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Step, Use
from penstock.steps.scale import MinMax, Robust, Standardize
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema((Field("x", pa.float64(), Role.number),))
numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False)), min_size=1, max_size=40).filter(
    lambda values: any(value is not None for value in values)
)


def apply(step: Step, values: list[float | None], schema: Schema = SCHEMA) -> list[float | None]:
    batch = batch_of(schema, {"x": values})
    return fit_step(step, schema, [batch]).transform(batch, Use()).column("x").to_pylist()


def as_column(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])[:, None]


def test_one_to_five_standardize_to_known_values() -> None:
    assert apply(Standardize("x"), [1, 2, 3, 4, 5]) == pytest.approx(
        [-np.sqrt(2), -np.sqrt(0.5), 0, np.sqrt(0.5), np.sqrt(2)]
    )


def test_one_to_five_scale_to_known_shares_of_the_range() -> None:
    assert apply(MinMax("x"), [1, 2, 3, 4, 5]) == [0, 0.25, 0.5, 0.75, 1]
    assert apply(MinMax("x", range=(-1, 1)), [1, 2, 3, 4, 5]) == [-1, -0.5, 0, 0.5, 1]


def test_one_to_five_scale_robustly_to_known_values() -> None:
    assert apply(Robust("x"), [1, 2, 3, 4, 5]) == [-1, -0.5, 0, 0.5, 1]


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_standardize_agrees_with_scikit_learn(values: list[float | None]) -> None:
    expected = StandardScaler().fit_transform(as_column(values))
    np.testing.assert_allclose(as_column(apply(Standardize("x"), values)), expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_min_max_agrees_with_scikit_learn(values: list[float | None]) -> None:
    expected = MinMaxScaler((-2, 3)).fit_transform(as_column(values))
    np.testing.assert_allclose(as_column(apply(MinMax("x", range=(-2, 3)), values)), expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(numbers, st.sampled_from([(0.25, 0.75), (0.1, 0.95)]))
def test_robust_agrees_with_scikit_learn(values: list[float | None], quantiles: tuple[float, float]) -> None:
    scaler = RobustScaler(quantile_range=(100 * quantiles[0], 100 * quantiles[1]))
    expected = scaler.fit_transform(as_column(values))
    np.testing.assert_allclose(
        as_column(apply(Robust("x", quantiles=quantiles), values)),
        expected,
        rtol=1e-7,
        atol=1e-7 * np.abs(expected[~np.isnan(expected)]).max(initial=1),
    )


@pytest.mark.parametrize("step", [Standardize("x"), MinMax("x"), Robust("x")])
def test_a_constant_column_becomes_zero_and_a_column_of_nulls_stays_null(step: Step) -> None:
    assert apply(step, [7.5, None, 7.5]) == [0, None, 0]
    assert apply(step, [None, None]) == [None, None]


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, -3e-9])
def test_rounding_makes_no_deviation_of_a_constant(value: float) -> None:
    assert apply(Standardize("x"), [value] * 1001) == pytest.approx([0] * 1001, abs=1e-6)


@pytest.mark.parametrize("step", [Standardize("x"), MinMax("x", range=(2, 5)), Robust("x")])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int32(), pa.int64()])
def test_the_inverse_gives_back_values_and_type(step: Step, kind: pa.DataType) -> None:
    schema = Schema((Field("x", kind, Role.number),))
    batch = batch_of(schema, {"x": [3, None, 1, 100, -7]})
    fitted = fit_step(step, schema, [batch])
    undone = fitted.inverse(fitted.transform(batch, Use())).column("x")
    assert undone.type == kind
    assert undone.is_null().to_pylist() == [False, True, False, False, False]
    assert undone.drop_null().to_pylist() == pytest.approx([3, 1, 100, -7], abs=1e-5 if kind == pa.float32() else 1e-12)


def test_values_not_seen_when_fitting_go_beyond_the_range() -> None:
    fitted = fit_step(MinMax("x"), SCHEMA, [batch_of(SCHEMA, {"x": [0.0, 10.0]})])
    assert fitted.transform(batch_of(SCHEMA, {"x": [-5.0, 20.0]}), Use()).column("x").to_pylist() == [-0.5, 2.0]


def test_whole_numbers_become_numbers_and_a_target_stays_one() -> None:
    schema = Schema((Field("x", pa.float64(), Role.target, values=Role.integer),))
    field = fit_step(Standardize("x"), schema, [batch_of(schema, {"x": [1, 2]})]).schema["x"]
    assert (field.role, field.values) == (Role.target, Role.number)


@pytest.mark.parametrize("range_", [(1, 0), (0, 0), (0, float("inf")), (0,), "01", (True, 2), (float("nan"), 1)])
def test_a_wrong_range_is_refused(range_: object) -> None:
    with pytest.raises(UsageError, match="min_max: range: not a range"):
        MinMax("x", range=range_)  # type: ignore[arg-type]


def test_quantiles_beyond_one_are_refused() -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        Robust("x", quantiles=(25, 75))


@pytest.mark.parametrize("make", [Standardize, MinMax, Robust])
def test_text_is_refused_by_name_of_step_and_column(make: type[Standardize]) -> None:
    schema = Schema((Field("x", pa.string(), Role.category),))
    with pytest.raises(SchemaError, match=r"step '\w+', column 'x': not a column that the step can work on"):
        make("x").statistics(schema)
