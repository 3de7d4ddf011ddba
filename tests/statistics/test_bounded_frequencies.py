"""Counts of few distinct values are exact; of too many only that is known, however the rows are grouped."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.statistics.bounded_frequencies import BoundedFrequencies


def batch(values: list[Any], kind: pa.DataType | None = None) -> Batch:
    columns = pa.record_batch({"c": pa.array(values, kind or pa.string())})
    return Batch(columns, RowKeys.span("", 0, len(values)))


@given(st.lists(st.lists(st.none() | st.text("abé", max_size=2), max_size=8), max_size=5), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_counts_are_those_of_a_counter_up_to_the_bound(blocks: list[list[str | None]], most: int) -> None:
    whole = BoundedFrequencies("c", most)
    for block in blocks:
        part = BoundedFrequencies("c", most)
        part.update(batch(block))
        whole.merge(part)
    expected = Counter(value for block in blocks for value in block if value is not None)
    if len(expected) > most:
        assert whole.value() is None
        assert whole.state().num_rows == 1
    else:
        found = whole.value()
        assert found is not None
        assert list(found.items()) == sorted(expected.items())


def test_what_has_too_many_values_stays_so() -> None:
    many = BoundedFrequencies("c", 1)
    many.update(batch(["a", "b"]))
    again = many.from_state(many.state())
    for one in (many, again):
        one.update(batch(["a"]))
        one.merge(BoundedFrequencies("c", 1))
        assert one.value() is None
    fresh = BoundedFrequencies("c", 1)
    fresh.merge(many)
    assert fresh.value() is None


def test_a_state_of_one_value_or_none_is_read_again() -> None:
    for values in ([], [None], ["a"], [""]):
        one = BoundedFrequencies("c")
        one.update(batch(values))
        assert one.from_state(one.state()).value() == one.value() == dict(Counter(v for v in values if v is not None))


def test_numbers_are_counted_by_their_canonical_text() -> None:
    one = BoundedFrequencies("c")
    one.update(batch([3.0, 3.0, 0.5, -0.0, 0.0], pa.float64()))
    assert one.value() == {"3": 2, "0.5": 1, "0": 2}


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="no room"):
        BoundedFrequencies("c", 0)
    with pytest.raises(SchemaError):
        BoundedFrequencies("d").update(batch(["a"]))
    full = BoundedFrequencies("c", 1)
    full.update(batch(["a", "b"]))
    with pytest.raises(SchemaError):
        full.update(batch([[1]], pa.list_(pa.int64())))
