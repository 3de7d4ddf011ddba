"""Duplicate rows against sets of Python tuples, and estimates against what is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.batch import Batch, RowKeys
from penstock.errors import UsageError
from penstock.statistics.duplicates import Duplicates
from penstock.statistics.hashing import aligned_hashes, row_hashes

row = st.tuples(
    st.one_of(st.none(), st.integers(0, 2).map(float)),
    st.one_of(st.none(), st.sampled_from(["", "a", "b"])),
    st.one_of(st.none(), st.lists(st.sampled_from(["p", "q"]), max_size=2).map(tuple)),
)


def batches(rows, size=5):
    types = [pa.float64(), pa.string(), pa.list_(pa.string())]
    columns = [pa.array(list(column), kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)]
    table = pa.table(columns, names=["x", "y", "z"])
    return [
        batch({name: table[name].slice(at, size).combine_chunks() for name in table.column_names}, at)
        for at in range(0, len(rows), size)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=40))
def test_duplicates_are_rows_beyond_the_distinct_ones(rows):
    found = folded(Duplicates(["x", "y", "z"]), batches(rows)).value()
    assert (found.rows, found.exact, found.error) == (len(rows), True, 0.0)
    assert found.duplicates == len(rows) - len(set(rows))


@pytest.mark.parametrize(
    ("copies", "share"), [(1, 0.0), (2, 0.5), (20, 0.95)], ids=["none", "all twice", "all twenty times"]
)
def test_beyond_the_bound_repeats_are_told_nearly_exactly(copies, share):
    values = np.tile(np.arange(60_000 // copies, dtype=float), copies)
    parts = [batch({"x": values[at : at + 7_000]}, at) for at in range(0, len(values), 7_000)]
    found = folded(Duplicates(["x"], bound=1024), parts).value()
    assert not found.exact
    assert found.share == pytest.approx(share, abs=1e-3)


def test_one_row_that_repeats_very_often_is_not_missed():
    values = np.concatenate((np.zeros(30_000), np.arange(1.0, 30_001.0)))
    found = folded(Duplicates(["x"], bound=1024), [batch({"x": values})]).value()
    assert found.duplicates == pytest.approx(29_999, abs=5 * max(found.error, 1.0))


def test_null_is_like_null_and_unlike_anything_else():
    columns = {"x": pa.array([None, None, 0.0]), "y": pa.array([None, None, ""])}
    assert folded(Duplicates(["x", "y"]), [batch(columns)]).value().duplicates == 1


def test_the_order_of_columns_counts():
    one = row_hashes([pa.array([1.0, 2.0]), pa.array([2.0, 1.0])])
    assert one[0] != one[1]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 1], pa.int8()),
        pa.array([True, None, True]),
        pa.array([b"a", b"b", b"a"]),
        pa.array([1, None, 1], pa.timestamp("ns")),
        pa.array([1, 2, 1], pa.date32()),
        pa.array([1, 2, 1], pa.decimal128(10, 2)),
        pa.array(["x" * 300, None, "x" * 300]),
        pa.array([["a"], None, ["a"]]),
        pa.array([[1], [], [1]]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", None])),
    ],
    ids=lambda values: str(values.type),
)
def test_hashes_stand_in_the_order_of_the_rows(values):
    found = aligned_hashes(values)
    assert found[0] == found[2] != found[1]


def test_no_columns_make_no_two_rows_alike():
    assert folded(Duplicates([]), [batch({"x": [1.0, 1.0]})]).value().duplicates == 0


def test_a_bound_that_is_too_small_is_refused():
    with pytest.raises(UsageError, match="too few hashes"):
        Duplicates(["x"], bound=2)


def test_pictures_that_are_equal_are_duplicates() -> None:
    pictures = np.zeros((6, 4, 4, 3), np.uint8)
    pictures[1, 3, 3, 2] = 1
    pictures[4, 0, 0, 0] = 1
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(pictures)
    for part, expected in ((column, 3), (column.slice(1, 3), 1)):
        duplicates = Duplicates(["x"])
        duplicates.update(Batch(pa.record_batch([part], names=["x"]), RowKeys.span("", 0, len(part))))
        assert duplicates.value().duplicates == expected
