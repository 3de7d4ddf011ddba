"""Lengths of texts, lists and bytes, against Python's own."""

from __future__ import annotations

import statistics

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.errors import SchemaError
from penstock.statistics.lengths import Lengths

texts = st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(texts)
def test_lengths_of_texts_are_characters(values):
    array = pa.array(values, pa.string())
    found = folded(Lengths("x"), [batch({"x": array[:5]}), batch({"x": array[5:]}, 5)]).value()
    present = [len(value) for value in values if value is not None]
    assert found.nulls == len(values) - len(present)
    assert (found.total, found.distribution.count) == (sum(present), len(present))
    if present:
        assert found.mean == pytest.approx(statistics.mean(present))
        assert found.distribution.median == statistics.median(present)
        assert (found.distribution.minimum, found.distribution.maximum) == (min(present), max(present))


def test_blank_texts_are_those_of_white_space_alone():
    found = folded(Lengths("x"), [batch({"x": ["", "  ", "\t\n", "\u3000", " a ", None]})]).value()
    assert (found.blank, found.nulls) == (4, 1)


def test_lists_are_measured_in_items_and_bytes_in_bytes():
    lists = folded(Lengths("x"), [batch({"x": pa.array([["a", "b"], [], None], pa.list_(pa.string()))})]).value()
    assert (lists.total, lists.blank, lists.nulls) == (2, 1, 1)
    raw = folded(Lengths("x"), [batch({"x": pa.array([b"abc", b"", None])})]).value()
    assert (raw.total, raw.blank, raw.nulls) == (3, 1, 1)


def test_a_column_of_nulls_alone_has_no_lengths():
    found = folded(Lengths("x"), [batch({"x": pa.nulls(3)})]).value()
    assert (found.nulls, found.distribution.count) == (3, 0)


def test_a_long_text_is_not_blank_and_costs_no_trimming():
    found = folded(Lengths("x"), [batch({"x": [" " * 5000]})]).value()
    assert (found.blank, found.total) == (0, 5000)


def test_numbers_have_no_length():
    with pytest.raises(SchemaError, match="has none"):
        folded(Lengths("x"), [batch({"x": [1.0]})])
