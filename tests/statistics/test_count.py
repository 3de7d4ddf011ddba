"""Counts of rows and nulls."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from statistic_samples import batch, folded

from penstock.statistics.count import Count, CountValue


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None, "b", None]),
        pa.array(["a", None, "a", None]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None], pa.int8()), pa.array(["a", None])),
        pa.array([1.5, None, 2.0, None]),
        pa.array([True, None, False, None]),
        pa.array([[1], None, [], None]),
    ],
    ids=["text", "dictionary", "null in a dictionary", "numbers", "truth values", "lists"],
)
def test_rows_and_nulls_of_any_type_are_counted(values):
    count = folded(Count("x"), [batch({"x": values})] * 3)
    assert count.value() == CountValue(12, 6)
    assert count.value().missing == 0.5
    assert count.with_nulls_as(0).value() == CountValue(12, 0)


def test_the_share_of_nothing_is_not_a_number():
    assert math.isnan(Count("x").value().missing)
