"""Moments against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import HUGE, batch, columns, folded, moderate, number_batches, present

from penstock.errors import DataError, SchemaError
from penstock.statistics.moments import Moments
from penstock.testing.statistics import check_statistic


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), moderate), min_size=1, max_size=80))
def test_moments_are_those_of_numpy_and_scipy(values):
    value = folded(Moments("x"), number_batches(values)).value()
    x = present(values)
    assert (value.count, value.nulls) == (len(x), len(values) - len(x))
    if len(x) == 0:
        return
    scale = np.abs(x).max()
    assert value.mean == pytest.approx(x.mean(), rel=1e-12, abs=1e-13 * scale)
    assert (value.minimum, value.maximum) == (x.min(), x.max())
    if x.min() == x.max():
        assert value.variance == 0.0
        assert value.mean == x[0]
        assert math.isnan(value.skewness)
        return
    exact = x / scale  # so that the reference itself neither overflows nor vanishes
    assert value.variance == pytest.approx(exact.var() * scale**2, rel=1e-9, abs=1e-24 * scale**2)
    assert value.deviation == pytest.approx(exact.std() * scale, rel=1e-9, abs=1e-12 * scale)
    if exact.std() > 1e-6:
        assert value.skewness == pytest.approx(scipy.stats.skew(exact), rel=1e-7, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(columns)
def test_any_finite_column_is_taken_in(values):
    value = folded(Moments("x"), number_batches(values)).value()
    x = present(values)
    assert value.count == len(x)
    if len(x):
        assert value.minimum <= value.mean <= value.maximum
        assert value.variance >= 0.0
    else:
        assert all(map(math.isnan, (value.mean, value.variance, value.skewness, value.minimum, value.maximum)))


def test_a_small_deviation_on_a_large_mean_is_kept():
    rng = np.random.default_rng(1)
    x = 1e9 + rng.normal(size=20_000) * 1e-2
    value = folded(Moments("x"), number_batches(x.tolist(), (6_000,))).value()
    shifted = x - 1e9  # exact, by Sterbenz
    assert value.variance == pytest.approx(shifted.var(), rel=1e-9)
    assert value.skewness == pytest.approx(scipy.stats.skew(shifted), rel=1e-6)


def test_the_mean_of_many_blocks_is_not_rounded_more_than_once():
    rng = np.random.default_rng(4)
    x = (1e9 + rng.normal(size=4_000)).tolist()
    value = folded(Moments("x"), number_batches(x, (1, 2))).value()
    assert abs(value.mean - math.fsum(x) / len(x)) <= math.ulp(1e9)


def test_a_constant_column_has_no_variance_however_it_is_rounded():
    value = folded(Moments("x"), number_batches([0.1] * 1000, (333,))).value()
    assert (value.mean, value.variance, value.minimum, value.maximum) == (0.1, 0.0, 0.1, 0.1)
    assert math.isnan(value.skewness)


def test_the_mean_of_huge_numbers_is_finite():
    value = folded(Moments("x"), number_batches([HUGE] * 30 + [-HUGE] * 10, (10,))).value()
    assert value.mean == pytest.approx(HUGE / 2)
    assert value.variance == math.inf
    assert math.isnan(value.skewness)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), moderate), max_size=60), moderate)
def test_the_laws_hold(values, fill):
    check_statistic(lambda: Moments("x"), number_batches(values), exact=False, fills=[fill])


def test_other_types_are_read_as_numbers():
    for values, expected in (
        (pa.array([True, None, False, True]), 2 / 3),
        (pa.array([1, None, 2], pa.int32()), 1.5),
        (pa.array([1.5, None, 2.5], pa.float32()), 2.0),
        (pa.array([10**6, None, 3 * 10**6], pa.timestamp("us")), 2e6),
        (pa.array([1, 2, None], pa.timestamp("s")), 1.5e6),
        (pa.array([None, None]), math.nan),
    ):
        value = folded(Moments("x"), [batch({"x": values})]).value()
        assert value.mean == pytest.approx(expected, nan_ok=True)
        assert value.nulls == values.null_count


def test_a_fill_that_is_no_number_is_not_known():
    moments = folded(Moments("x"), number_batches([1.0, None]))
    assert moments.with_nulls_as("a") is None
    assert moments.with_nulls_as(math.inf) is None


def test_text_is_refused_with_the_column_and_the_remedy():
    with pytest.raises(SchemaError, match=r"(?s)column 'x'.*got:\s+string"):
        Moments("x").update(batch({"x": ["a"]}))


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(SchemaError, match=r"(?s)expected: 'y'.*got:\s+'x'"):
        Moments("y").update(batch({"x": [1.0]}))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(bad):
    with pytest.raises(DataError, match=r"(?s)column 'x'.*finite"):
        Moments("x").update(batch({"x": [1.0, bad, 2.0]}))
