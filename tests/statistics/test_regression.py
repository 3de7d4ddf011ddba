"""Metrics of numbers against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded, moderate

from penstock.errors import DataError
from penstock.statistics.regression import Regression
from penstock.testing.statistics import check_statistic

rows = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.1, 2.0])), st.floats(-1e6, 1e6)),
    max_size=50,
)


def batches_of(items, size=7):
    parts = [items[at : at + size] for at in range(0, len(items) or 1, size)]
    return [
        batch(
            {
                "y": pa.array([y for y, _ in part], pa.float64()),
                "prediction": pa.array([p for _, p in part], pa.float64()),
            }
        )
        for part in parts
    ]


@settings(max_examples=60, deadline=None)
@given(rows)
def test_metrics_are_those_of_scikit_learn(items):
    value = folded(Regression("y"), batches_of(items)).value()
    known = [(y, p) for y, p in items if y is not None]
    assert (value["rows"], value["unlabelled"]) == (len(known), len(items) - len(known))
    if not known:
        assert all(math.isnan(value[name]) for name in ("rmse", "mae", "r2"))
        return
    truth, predicted = zip(*known, strict=True)
    assert value["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, predicted), rel=1e-9)
    assert value["mae"] == pytest.approx(sk.mean_absolute_error(truth, predicted), rel=1e-9)
    if len(known) < 2:
        assert math.isnan(value["r2"])
    elif np.std(truth) > 1e-6 * np.abs(truth).max():
        assert value["r2"] == pytest.approx(sk.r2_score(truth, predicted), rel=1e-6, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), moderate), moderate), max_size=40))
def test_the_laws_hold(items):
    check_statistic(lambda: Regression("y"), batches_of(items), exact=False)


@pytest.mark.parametrize("predicted", [[3.0, 3.0, 3.0], [3.0, 3.0, 4.0]])
def test_a_constant_truth_is_judged_as_scikit_learn_does(predicted):
    value = folded(Regression("y"), batches_of([(3.0, p) for p in predicted], 2)).value()
    assert value["r2"] == sk.r2_score([3.0] * 3, predicted)


def test_whole_numbers_and_rows_without_truth_are_taken():
    columns = {"y": pa.array([1, None, 3]), "prediction": pa.array([1.0, None, 2.0])}
    value = folded(Regression("y"), [batch(columns)]).value()
    assert (value["rows"], value["unlabelled"], value["mae"], value["r2"]) == (2, 1, 0.5, 0.5)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_row_without_a_finite_prediction_is_refused(bad):
    with pytest.raises(DataError, match="'prediction'"):
        Regression("y").update(batch({"y": [1.0, 2.0], "prediction": pa.array([1.0, bad], pa.float64())}))
