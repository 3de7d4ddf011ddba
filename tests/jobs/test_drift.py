"""Drift against scipy's tests and hand-computed indices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.errors import UsageError
from penstock.jobs.drift import category_drift, number_drift, stability_index
from penstock.jobs.profile import Profile
from penstock.statistics.frequencies import Frequencies
from penstock.statistics.histogram import Histogram


def taken(statistic, values, kind):
    array = pa.array(values, kind)
    statistic.update(Batch(pa.record_batch({"x": array}), RowKeys.span("", 0, len(array))))
    return statistic.value()


numbers = st.lists(st.one_of(st.none(), st.integers(-9, 9).map(float)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_the_distance_of_two_distributions_is_that_of_scipy(before, after):
    found = number_drift(taken(Histogram("x"), before, pa.float64()), taken(Histogram("x"), after, pa.float64()))
    a, b = ([v for v in values if v is not None] for values in (before, after))
    if not a or not b:
        assert "statistic" not in found
        return
    wanted = scipy.stats.ks_2samp(a, b, method="asymp")
    assert found["statistic"] == pytest.approx(wanted.statistic, abs=1e-9)


def test_the_probability_of_a_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=900), rng.normal(0.1, 1, size=1_100)
    found = number_drift(taken(Histogram("x"), a, pa.float64()), taken(Histogram("x"), b, pa.float64()))
    wanted = scipy.stats.ks_2samp(a, b, method="asymp")
    distance = wanted.statistic * (900 * 1_100 / 2_000) ** 0.5
    assert found["p"] == pytest.approx(scipy.stats.kstwobign.sf(distance), rel=1e-6)
    assert (found["before"], found["after"]) == pytest.approx((np.median(a), np.median(b)), rel=1e-6)


def test_the_stability_index_is_the_sum_over_tenths():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=2_000), rng.normal(0.5, 1, size=1_000)
    found = number_drift(taken(Histogram("x"), a, pa.float64()), taken(Histogram("x"), b, pa.float64()))
    edges = np.concatenate(([-np.inf], np.quantile(a, np.linspace(0.1, 0.9, 9)), [np.inf]))
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (a, b))
    assert found["index"] == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-6)


def test_values_that_went_missing_are_drift():
    before = taken(Histogram("x"), [1.0, 2.0] * 50, pa.float64())
    after = taken(Histogram("x"), [1.0, 2.0, None, None] * 25, pa.float64())
    assert number_drift(before, before)["index"] == 0
    assert number_drift(before, after)["index"] > 1


def test_categories_are_tested_as_scipy_does():
    before = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    after = ["a"] * 20 + ["b"] * 50 + ["c"] * 10 + ["new"] * 5 + [None] * 3
    found = category_drift(taken(Frequencies("x"), before, pa.string()), taken(Frequencies("x"), after, pa.string()))
    wanted = scipy.stats.chi2_contingency([[50, 30, 20, 0, 0], [20, 50, 10, 5, 3]], correction=False)
    assert found["statistic"] == pytest.approx(wanted.statistic)
    assert found["p"] == pytest.approx(wanted.pvalue)
    assert (found["new"], found["new_rows"]) == (["new"], 5)


def test_the_index_of_nothing_is_not_a_number():
    assert np.isnan(stability_index(np.array([0.0]), np.array([1.0])))
    assert stability_index(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(
        2 * 0.9999 * np.log(1e4), rel=1e-3
    )


@pytest.fixture
def months(tmp_path):
    rng = np.random.default_rng(0)
    for name, shift in (("may", 0.0), ("june", 3.0)):
        columns = {
            "moved": rng.normal(shift, 1, 500),
            "same": rng.normal(0, 1, 500),
            "kind": rng.choice(["a", "b"], 500),
            "when": (np.datetime64("2024-05-01", "us") + rng.integers(0, 10**12, 500) + int(shift * 10**12)),
            "words": ["one two three four" + " five" * int(shift) + f" {i}" for i in range(500)],
            name: np.arange(500.0),
        }
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    return tmp_path / "may.parquet", tmp_path / "june.parquet"


def test_a_profile_against_other_data_names_what_moved(months):
    found = ps.profile(months[0], against=months[1])
    drift = found.document["drift"]
    assert "moved" in [one["name"] for one in drift["columns"][:3]]
    assert (drift["gone"], drift["new"]) == (["may"], ["june"])
    told = {(one["code"], *one["columns"]): one["severity"] for one in found.warnings}
    assert told[("drift", "moved")] == "high"
    assert ("drift", "same") not in told
    assert {("column_gone", "may"), ("column_new", "june")} <= told.keys()
    by_name = {one["name"]: one for one in drift["columns"]}
    assert by_name["when"]["before"].startswith("2024-05-0")
    assert ("drift", "when") not in told
    assert by_name["words"]["of"] == "lengths"
    assert by_name["words"]["after"] > by_name["words"]["before"] + 10


def test_a_profile_from_json_is_not_compared(months):
    found = ps.profile(months[0])
    with pytest.raises(UsageError, match="can't be compared"):
        Profile.from_json(found.to_json()).against(found)
