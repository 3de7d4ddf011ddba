"""Correlation against NumPy and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.errors import DataError, SchemaError, UsageError
from penstock.statistics.correlation import Correlation

cell = st.one_of(st.none(), st.integers(-9, 9).map(float), st.floats(-1e6, 1e6, allow_subnormal=False))
frames = st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=60)


def batches(frame: pd.DataFrame, sizes=(7, 1, 20)):
    out, at = [], 0
    while at < len(frame):
        size = sizes[len(out) % len(sizes)]
        part = frame.iloc[at : at + size]
        out.append(batch({name: pa.array(part[name], pa.float64(), from_pandas=True) for name in frame}, at))
        at += size
    return out


@settings(max_examples=60, deadline=None)
@given(frames)
def test_correlations_are_those_of_pandas_over_pairwise_complete_rows(rows):
    frame = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=float)
    value = folded(Correlation(["a", "b", "c"]), batches(frame)).value()
    for i, first in enumerate(frame):
        for j, second in enumerate(frame):
            both = frame[[first, second]].dropna().to_numpy()
            assert value.rows[i, j] == len(both)
            steady = len(both) < 2 or (both.min(axis=0) == both.max(axis=0)).any()
            if steady:
                assert np.isnan(value.matrix[i, j])
                continue
            spread = (both.std(axis=0) / frame[[first, second]].abs().max().to_numpy()).min()
            if spread > 1e-5:
                assert value.matrix[i, j] == pytest.approx(np.corrcoef(both.T)[0, 1], abs=1e-8 + 1e-14 / spread**2)


def test_many_rows_and_columns_agree_with_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9_000, 6)) @ rng.normal(size=(6, 6))
    frame = pd.DataFrame(x, columns=list("abcdef"))
    value = folded(Correlation(list("abcdef")), batches(frame, (4_000, 3_000))).value()
    np.testing.assert_allclose(value.matrix, np.corrcoef(x.T), atol=1e-12)
    assert (value.matrix == value.matrix.T).all()


def test_a_small_deviation_on_a_large_mean_is_kept():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(20_000, 2))
    noise[:, 1] += noise[:, 0]
    frame = pd.DataFrame(1e9 + noise * 1e-2, columns=["a", "b"])
    value = folded(Correlation(["a", "b"]), batches(frame, (6_000,))).value()
    shifted = frame.to_numpy() - 1e9
    assert value.matrix[0, 1] == pytest.approx(np.corrcoef(shifted.T)[0, 1], abs=1e-7)


def test_a_column_that_does_not_vary_has_no_correlation_not_even_by_rounding():
    frame = pd.DataFrame({"a": [0.1] * 50, "b": range(50), "c": [0.1] * 25 + [None] * 25})
    value = folded(Correlation(["a", "b", "c"]), batches(frame.astype(float))).value()
    assert np.isnan(value.matrix[0]).all()
    assert np.isnan(value.matrix[2]).all()
    assert value.pairs() == []


def test_pairs_come_strongest_first():
    frame = pd.DataFrame({"a": range(20), "b": [-2.0 * i for i in range(20)], "c": [i % 3 for i in range(20)]})
    value = folded(Correlation(["a", "b", "c"]), batches(frame.astype(float))).value()
    assert value.pairs()[0][:2] == ("a", "b")
    assert value.pairs()[0][2] == pytest.approx(-1.0)
    assert len(value.pairs()) == 3


def test_no_columns_and_no_rows_are_no_error():
    nothing = Correlation([])
    nothing.update(batch({"a": [1.0]}))
    assert nothing.value().matrix.shape == (0, 0)
    assert np.isnan(Correlation(["a"]).value().matrix).all()


def test_huge_numbers_give_nan_and_no_warning():
    frame = pd.DataFrame({"a": [1e308, -1e308] * 20, "b": range(40)}).astype(float)
    value = folded(Correlation(["a", "b"]), batches(frame)).value()
    assert np.isnan(value.matrix[0, 1])


def test_what_is_wrong_is_refused():
    with pytest.raises(UsageError, match="comes twice"):
        Correlation(["a", "a"])
    with pytest.raises(SchemaError, match="has none"):
        folded(Correlation(["a"]), [batch({"a": ["x"]})])
    with pytest.raises(SchemaError, match="not in the batch"):
        folded(Correlation(["b"]), [batch({"a": [1.0]})])
    with pytest.raises(DataError, match="not a finite number"):
        folded(Correlation(["a"]), [batch({"a": [1.0, float("inf")]})])
