"""Bounds against scipy and numpy, and what the three steps make of them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Purpose, Step, Use
from penstock.steps.outliers import Bounds, Clip, FlagOutliers, RejectOutliers
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema((Field("x", pa.float64(), Role.number),))
ORDINARY = [4.0, 5.0, 6.0, 5.0, 4.5, 5.5, None, 5.2, 4.8]
samples = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=60)


def bounds(rule: Bounds, values: list[float]) -> tuple[float, float] | None:
    statistic = rule.statistic("x")
    statistic.update(batch_of(SCHEMA, {"x": values}))
    return rule.of(statistic.value())


def clipped(step: Step, fit_to: list[float | None], values: list[float | None]) -> list[float | None]:
    fitted = fit_step(step, SCHEMA, [batch_of(SCHEMA, {"x": fit_to})])
    return fitted.transform(batch_of(SCHEMA, {"x": values}), Use()).column("x").to_pylist()


@settings(max_examples=50, deadline=None)
@given(samples)
def test_bounds_agree_with_numpy_and_scipy(values: list[float]) -> None:
    array = np.array(values)
    quartiles = np.quantile(array, [0.25, 0.75])
    iqr = stats.iqr(array)
    mad = stats.median_abs_deviation(array)
    deviation = array.std()
    expected = {
        Bounds("quantile", (0.05, 0.9)): tuple(np.quantile(array, [0.05, 0.9])),
        Bounds("iqr"): (quartiles[0] - 1.5 * iqr, quartiles[1] + 1.5 * iqr) if iqr > 0 else None,
        Bounds("mad"): (np.median(array) - 3.5 * 1.4826 * mad, np.median(array) + 3.5 * 1.4826 * mad)
        if mad > 0
        else None,
    }
    if deviation > 1e-6:
        expected[Bounds("zscore")] = (array.mean() - 3 * deviation, array.mean() + 3 * deviation)
    for rule, pair in expected.items():
        found = bounds(rule, values)
        if pair is None:
            assert found is None
        else:
            assert found == pytest.approx(pair, rel=1e-9, abs=1e-9 * float(np.abs(array).max(initial=1)))


def test_the_consistency_factor_is_that_of_the_normal_distribution() -> None:
    values = stats.norm.ppf((np.arange(100_001) + 0.5) / 100_001).tolist()
    low, high = bounds(Bounds("mad", factor=2), values) or (math.nan, math.nan)
    assert (low, high) == pytest.approx((-2, 2), rel=1e-3)


def test_no_spread_and_no_value_give_no_bounds() -> None:
    for method in ("iqr", "zscore", "mad"):
        assert bounds(Bounds(method), [3.0, 3.0, 3.0]) is None  # type: ignore[arg-type]
        assert bounds(Bounds(method), []) is None  # type: ignore[arg-type]
    assert bounds(Bounds("quantile"), []) is None
    assert bounds(Bounds("mad"), [0.0, 0.0, 0.0, 9.0]) is None


@settings(max_examples=40, deadline=None)
@given(samples)
def test_clip_agrees_with_numpy(values: list[float]) -> None:
    expected = np.clip(values, *np.quantile(values, [0.1, 0.8]))
    np.testing.assert_allclose(clipped(Clip("x", (0.1, 0.8)), values, values), expected, rtol=1e-12)


def test_clip_draws_new_values_in_and_leaves_nulls() -> None:
    assert clipped(Clip("x", (0.0, 1.0)), [1.0, 2.0], [-9.0, 1.5, None, 9.0]) == [1.0, 1.5, None, 2.0]


def test_a_column_without_bounds_passes_unchanged() -> None:
    assert clipped(Clip("x", method="mad"), [1.0, 1.0, 1.0], [1.0, 50.0]) == [1.0, 50.0]
    assert clipped(Clip("x"), [None, None], [3.0, None]) == [3.0, None]


@pytest.mark.parametrize(("values", "role"), [([1.0, 2.0, 3.0], Role.integer), ([1.0, 2.0], Role.number)])
def test_whole_numbers_stay_so_only_if_the_bounds_are_whole(values: list[float], role: Role) -> None:
    schema = Schema((Field("x", pa.float64(), Role.integer),))
    quantiles = (0.0, 0.5)
    assert fit_step(Clip("x", quantiles), schema, [batch_of(schema, {"x": values})]).schema["x"].role == role


def test_a_column_of_integers_is_clipped_to_fractions_exactly() -> None:
    schema = Schema((Field("x", pa.int32(), Role.integer),))
    batch = batch_of(schema, {"x": [1, 2, 3, 4]})
    out = fit_step(Clip("x", (0.25, 0.75)), schema, [batch]).transform(batch, Use()).column("x")
    assert (out.type, out.to_pylist()) == (pa.float64(), [1.75, 2.0, 3.0, 3.25])


def test_flags_mark_what_is_outside_and_no_null() -> None:
    fitted = fit_step(FlagOutliers("x"), SCHEMA, [batch_of(SCHEMA, {"x": ORDINARY})])
    out = fitted.transform(batch_of(SCHEMA, {"x": [5.0, 500.0, None, -500.0]}), Use())
    assert out.column("x_outlier").to_pylist() == [False, True, False, True]
    assert out.column("x").to_pylist() == [5.0, 500.0, None, -500.0]
    assert fitted.inverse(out).columns.schema.names == ["x"]


def test_flags_of_a_column_without_bounds_are_false() -> None:
    fitted = fit_step(FlagOutliers("x"), SCHEMA, [batch_of(SCHEMA, {"x": [None, None]})])
    assert fitted.transform(batch_of(SCHEMA, {"x": [1.0, None]}), Use()).column("x_outlier").to_pylist() == [
        False,
        False,
    ]


def test_a_flag_replaces_no_column() -> None:
    schema = Schema((*SCHEMA, Field("x_outlier", pa.bool_(), Role.boolean)))
    with pytest.raises(SchemaError, match="'x_outlier'"):
        fit_step(FlagOutliers("x"), schema, [batch_of(schema, {"x": ORDINARY, "x_outlier": [None] * len(ORDINARY)})])


@pytest.mark.parametrize(
    ("purpose", "when_predicting", "rejected"),
    [("fit", False, 2), ("train", False, 2), ("predict", False, 0), ("predict", True, 2)],
)
def test_outliers_are_rejected_with_their_value_and_not_when_predicting_unless_asked(
    purpose: Purpose, when_predicting: bool, rejected: int
) -> None:
    fitted = fit_step(RejectOutliers("x", when_predicting=when_predicting), SCHEMA, [batch_of(SCHEMA, {"x": ORDINARY})])
    out = run_step(fitted, SCHEMA, batch_of(SCHEMA, {"x": [5.0, 500.0, None, -500.0]}), Use(purpose))
    assert len(out) == 4 - rejected
    assert (out.counts[-1].rows_in, out.counts[-1].rejected) == (4, rejected)
    if rejected:
        assert out.rejected is not None
        first = out.rejected.to_pylist()[0]
        assert (first["row"], first["step"], first["column"], first["code"]) == (1, "reject_outliers", "x", "outlier")
        assert first["reason"].startswith("not from ") and first["reason"].endswith("(iqr, factor 1.5)")
        assert float(first["value"]) == 500


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "sigma"},
        {"method": "iqr", "quantiles": (0.1, 0.9)},
        {"method": "quantile", "factor": 3},
        {"method": "zscore", "factor": 0},
        {"method": "mad", "factor": True},
        {"quantiles": (0.9, 0.1), "method": "quantile"},
        {"quantiles": (1, 99), "method": "quantile"},
    ],
)
@pytest.mark.parametrize("make", [Clip, FlagOutliers, RejectOutliers])
def test_arguments_that_do_not_belong_together_are_refused(make: type[Clip], arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        make("x", **arguments)  # type: ignore[arg-type]


def test_a_step_says_its_defaults_in_full() -> None:
    assert (Clip("x").quantiles, Clip("x").factor) == ((0.01, 0.99), None)
    assert (Clip("x", method="zscore").quantiles, Clip("x", method="zscore").factor) == (None, 3.0)
