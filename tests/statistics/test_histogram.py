"""Histograms against numpy and scipy, and the uniform collapse against its definition."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import HUGE, TINY, batch, columns, floats, folded, number_batches, present

from penstock.errors import DataError, UsageError
from penstock.statistics.collapse import key_values, least_shift, order_keys
from penstock.statistics.histogram import Histogram
from penstock.testing.statistics import check_statistic, state_bytes

SHARES = [0.0, 0.01, 0.25, 0.3, 0.5, 0.75, 0.999, 1.0]


def brute_shift(x: np.ndarray, buckets: int) -> int:
    """The least shift that fits, by its definition."""
    keys = {int(key) for key in order_keys(x)}
    return next(s for s in range(65) if len({key >> s for key in keys}) <= buckets)


@settings(max_examples=60, deadline=None)
@given(columns.filter(len), st.lists(st.floats(0, 1), max_size=5))
def test_an_exact_histogram_gives_numpys_quantiles(values, shares):
    value = folded(Histogram("x"), number_batches(values)).value()
    x = present(values)
    assert value.exact
    assert (value.count, value.nulls) == (len(x), len(values) - len(x))
    shares = [*SHARES, *shares]
    if len(x) == 0:
        assert np.isnan(value.quantile(shares)).all()
        return
    assert (value.minimum, value.maximum) == (x.min(), x.max())
    got = value.quantile(shares)
    with np.errstate(all="ignore"):
        expected = np.quantile(x, shares)
    known = np.isfinite(expected)  # numpy's own overflows between huge values of both signs
    np.testing.assert_allclose(got[known], expected[known], rtol=1e-12, atol=0)
    assert ((got >= x.min()) & (got <= x.max())).all()


@settings(max_examples=60, deadline=None)
@given(columns.filter(len), st.lists(floats, max_size=5))
def test_an_exact_histogram_gives_the_share_of_values_up_to_a_point(values, points):
    value = folded(Histogram("x"), number_batches(values)).value()
    x = present(values)
    points = [*points, *x, -0.0, 0.0, HUGE, -HUGE]
    got = value.cdf(points)
    if len(x) == 0:
        assert np.isnan(got).all()
    else:
        np.testing.assert_array_equal(got, [(x <= point).mean() for point in points])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50))
def test_the_deviation_from_the_median_is_that_of_scipy(values):
    value = folded(Histogram("x"), number_batches(values)).value()
    assert value.mad() == pytest.approx(scipy.stats.median_abs_deviation(values), rel=1e-12, abs=0)


@settings(max_examples=60, deadline=None)
@given(columns, st.integers(2, 12), st.randoms(use_true_random=False))
def test_the_shift_is_the_least_that_fits_in_any_order(values, buckets, random):
    one = folded(Histogram("x", buckets), number_batches(values))
    shuffled = list(values)
    random.shuffle(shuffled)
    other = folded(Histogram("x", buckets), number_batches(shuffled, (3, 11)))
    assert state_bytes(one) == state_bytes(other)
    x = present(values)
    value = one.value()
    assert value.shift == brute_shift(x, buckets)
    keys, counts = np.unique(order_keys(x) >> value.shift, return_counts=True)
    np.testing.assert_array_equal(value.keys, keys)
    np.testing.assert_array_equal(value.counts, counts)


@settings(max_examples=40, deadline=None)
@given(columns, st.sampled_from([2, 3, 8, 4096]), floats)
def test_the_laws_hold(values, buckets, fill):
    check_statistic(lambda: Histogram("x", buckets), number_batches(values), exact=True, fills=[fill])


def wide(name: str, rows: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return {
        "normal": rng.normal(size=rows),
        "uniform": rng.random(rows),
        "lognormal": np.exp(6 * rng.normal(size=rows)),
        "cauchy": rng.standard_cauchy(rows),
        "whole": rng.integers(-(10**6), 10**6, rows).astype(float),
        "few whole": rng.integers(0, 300, rows).astype(float),
        "prices": np.round(rng.random(rows) * 20, 2),
        "signed prices": np.round(rng.normal(size=rows) * 400, 2),
        "mostly zero": np.where(rng.random(rows) < 0.9, 0.0, rng.random(rows)),
        "negative": -rng.random(rows) - 5,
        "wide": np.ldexp(rng.normal(size=rows), rng.integers(-1000, 1000, rows)),
        "subnormal": rng.integers(-9000, 9000, rows) * TINY,
        "offset": 1e9 + rng.random(rows),
        "descending": np.sort(rng.normal(size=rows))[::-1],
    }[name]


KINDS = (
    "normal",
    "uniform",
    "lognormal",
    "cauchy",
    "whole",
    "few whole",
    "prices",
    "signed prices",
    "mostly zero",
    "negative",
    "wide",
    "subnormal",
    "offset",
    "descending",
)


@pytest.mark.parametrize("name", KINDS)
def test_full_blocks_are_counted_as_by_sorting(name):
    x = wide(name, 150_000)
    batches = number_batches(x, (65_536, 20_000))
    value = folded(Histogram("x"), batches).value()
    keys = np.unique(order_keys(x))
    assert value.shift == least_shift(keys, 4096)
    expected = np.unique(order_keys(x) >> value.shift, return_counts=True)
    np.testing.assert_array_equal(value.keys, expected[0])
    np.testing.assert_array_equal(value.counts, expected[1])
    backwards = folded(Histogram("x"), batches[::-1])
    assert state_bytes(folded(Histogram("x"), batches)) == state_bytes(backwards)


@pytest.mark.parametrize("name", KINDS)
def test_order_statistics_are_within_the_width_of_their_bucket(name):
    x = np.sort(wide(name, 100_001))
    value = folded(Histogram("x", 512), number_batches(x, (65_536,))).value()
    shares = np.linspace(0, 1, 101)
    truth = x[(shares * 100_000).round().astype(int)]
    got = value.quantile(shares)
    assert (got[0], got[-1]) == (x[0], x[-1])
    bucket = np.searchsorted(value.keys, order_keys(truth) >> value.shift)
    width = value.upper[bucket] - value.lower[bucket]
    assert (np.abs(got - truth) <= width * (1 + 1e-9)).all()
    if value.shift <= 52:
        normal = np.abs(truth) > 1e-300
        assert (np.abs(got - truth)[normal] <= (value.relative_error * np.abs(truth) * (1 + 1e-9))[normal]).all()
    assert (np.diff(got) >= 0).all()


def test_a_point_far_beyond_a_narrow_bucket_overflows_nowhere():
    counts = np.concatenate([np.zeros(1000), np.arange(1.0, 10_001.0), [6.9e8]])
    value = folded(Histogram("x"), number_batches(counts.tolist())).value()
    assert not value.exact
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert value.cdf([-1.0, 0.5, 6.9e8]).tolist() == pytest.approx([0.0, 1000 / 11_001, 1.0], abs=1e-12)


def test_the_cdf_and_the_deviation_of_many_values_are_near():
    x = wide("normal", 150_000)
    value = folded(Histogram("x"), number_batches(x, (65_536,))).value()
    points = np.linspace(-4, 4, 81)
    truth = np.searchsorted(np.sort(x), points, side="right") / len(x)
    assert np.abs(value.cdf(points) - truth).max() < value.counts.max() / len(x)
    assert value.mad() == pytest.approx(scipy.stats.median_abs_deviation(x), rel=1e-2)
    assert value.median == pytest.approx(np.median(x), abs=1e-4)
    assert value.cdf(float(x.max())) == 1.0
    assert value.cdf(float(np.nextafter(x.min(), -np.inf))) == 0.0


def test_buckets_hold_the_values_they_count():
    x = wide("cauchy", 50_000)
    value = folded(Histogram("x", 64), number_batches(x, (8_192,))).value()
    assert len(value.keys) <= 64
    assert (value.lower <= value.upper).all()
    assert (value.upper[:-1] < value.lower[1:]).all()
    counts = [((x >= low) & (x <= high)).sum() for low, high in zip(value.lower, value.upper, strict=True)]
    np.testing.assert_array_equal(value.counts, counts)


@settings(max_examples=60, deadline=None)
@given(st.lists(floats, min_size=1))
def test_order_keys_are_in_the_order_of_numbers_and_go_back(values):
    x = np.array(values)
    keys = order_keys(x)
    np.testing.assert_array_equal(key_values(keys), x)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], x[:, None] < x[None, :])


def test_a_value_stays_as_it_was_while_the_histogram_goes_on():
    histogram = folded(Histogram("x"), number_batches([1.0, 1.0, 2.0], (1,)))
    value = histogram.value()
    folded(histogram, number_batches([1.0], (1,)))
    assert value.counts.tolist() == [2, 1]


def test_other_types_are_read_as_numbers():
    for values, median in (
        (pa.array([True, None, False, True]), 1.0),
        (pa.array([1, None, 2], pa.int64()), 1.5),
        (pa.array([5, 7, None], pa.timestamp("us")), 6.0),
    ):
        assert folded(Histogram("x"), [batch({"x": values})]).value().median == median


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_out_of_range_is_refused(share):
    value = folded(Histogram("x"), number_batches([1.0])).value()
    with pytest.raises(UsageError, match="numbers from 0 to 1"):
        value.quantile(share)


def test_too_few_buckets_are_refused():
    with pytest.raises(UsageError, match=r"(?s)column 'x'.*at least 2.*got:\s+1"):
        Histogram("x", 1)


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="finite"):
        Histogram("x").update(batch({"x": [1.0, math.inf]}))
