"""Frequencies against collections.Counter, in memory and on disk."""

from __future__ import annotations

import collections
import datetime
import gc
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, folded

from penstock.errors import ResourceError, SchemaError, UsageError
from penstock.statistics import frequencies as module
from penstock.statistics.frequencies import Frequencies
from penstock.testing.statistics import check_statistic, state_bytes

texts = st.lists(
    st.one_of(st.none(), st.sampled_from(["", "a", "é", "中", "𝄞", "ﬀ", "a\0"]), st.text(max_size=4)), max_size=40
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Temporary files of the statistic go here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def text_batches(values, sizes=(5, 1, 9)):
    out, at = [], 0
    while at < len(values) or not out:
        size = sizes[len(out) % len(sizes)]
        out.append(batch({"x": pa.array(values[at : at + size], pa.string())}))
        at += size
    return out


def expected(values):
    return sorted(collections.Counter(v for v in values if v is not None).items(), key=lambda item: item[0].encode())


def pairs(table):
    return list(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 8))
def test_counts_are_those_of_a_counter(values, n):
    value = folded(Frequencies("x"), text_batches(values)).value()
    counts = expected(values)
    assert pairs(value.table()) == counts
    assert (value.total, value.distinct) == (sum(c for _, c in counts), len(counts))
    assert value.nulls == values.count(None)
    assert value.top(n) == sorted(counts, key=lambda item: (-item[1], item[0].encode()))[:n]
    assert value.table().schema == pa.schema([("value", pa.string()), ("count", pa.int64())])


@settings(max_examples=25, deadline=None)
@given(texts, st.integers(1, 6), st.integers(1, 12))
def test_counts_on_disk_are_the_same_to_the_byte(values, bound, pending):
    with pytest.MonkeyPatch.context() as patch:
        batches = text_batches(values)
        memory = folded(Frequencies("x", bound), batches)
        patch.setattr(module, "_PENDING", pending)
        disk = folded(Frequencies("x", bound), batches)
        assert state_bytes(disk) == state_bytes(memory)
        value = disk.value()
        assert pairs(value.table()) == expected(values)
        assert (value.total, value.nulls) == (len(values) - values.count(None), values.count(None))
        assert value.top(3) == memory.value().top(3)
        check_statistic(lambda: Frequencies("x", bound), batches, exact=True, fills=["a", "new"])


@settings(max_examples=25, deadline=None)
@given(texts, st.text(max_size=3))
def test_the_laws_hold(values, fill):
    check_statistic(lambda: Frequencies("x"), text_batches(values), exact=True, fills=[fill])


def test_many_values_are_spilled_sorted_and_merged(folder, monkeypatch):
    monkeypatch.setattr(module, "_PENDING", 50_000)
    rng = np.random.default_rng(3)
    draws = rng.integers(0, 120_000, 300_000)
    values = [f"user{i}" for i in draws]
    batches = text_batches(values, (60_000,))
    statistic = Frequencies("x", bound=20_000)
    for item in batches:
        statistic.update(item)
    files = list(folder.glob("penstock-counts-*"))
    assert files, "more values than the bound go to disk"
    value = statistic.value()
    assert pairs(value.table()) == expected(values)
    assert value.distinct == len(set(values))
    sizes = [part.num_rows for part in value.iter_batches()]
    assert set(sizes[:-1]) == {65_536}
    assert state_bytes(statistic) == state_bytes(folded(Frequencies("x"), batches))
    del statistic, value
    gc.collect()
    assert not list(folder.iterdir()), "files are removed with what refers to them"


def test_a_merged_one_keeps_the_files_that_it_shares(folder, monkeypatch):
    monkeypatch.setattr(module, "_PENDING", 2)
    one = folded(Frequencies("x", 1), text_batches(["a", "b", "c", "a"], (2,)))
    other = Frequencies("x", 1)
    other.merge(one)
    del one
    gc.collect()
    assert pairs(other.value().table()) == [("a", 2), ("b", 1), ("c", 1)]


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_PENDING", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ResourceError, match=r"(?s)missing.*TMPDIR"):
        folded(Frequencies("x", 1), text_batches(["a", "b", "c"], (1,)))


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (
            pa.array([1.0, -0.0, 0.0, 0.1, 1e300, 2.0**53, None]),
            {"0": 2, "0.1": 1, "1": 1, "1e+300": 1, "9007199254740992.0": 1},
        ),
        (pa.array([3, 3, -1, None], pa.int16()), {"-1": 1, "3": 2}),
        (pa.array([1.5, 1.0], pa.float32()), {"1": 1, "1.5": 1}),
        (pa.array([True, None, True, False]), {"false": 1, "true": 2}),
        (pa.array([True, True]), {"true": 2}),
        (pa.array([datetime.datetime(2024, 1, 31, 10, 0, 0, 250), None]), {"2024-01-31 10:00:00.000250": 1}),
        (pa.array([datetime.date(2024, 1, 31)]), {"2024-01-31 00:00:00.000000": 1}),
        (pa.array(["b", "a", "b", None]).cast(pa.large_string()), {"a": 1, "b": 2}),
        (pa.array([None, None]), {}),
    ],
    ids=["floats", "whole", "float32", "truth", "true", "times", "dates", "large", "null"],
)
def test_other_types_are_counted_under_their_canonical_text(values, counts):
    value = folded(Frequencies("x"), [batch({"x": values})]).value()
    assert dict(pairs(value.table())) == counts
    assert value.nulls == values.null_count


@pytest.mark.parametrize("index", [pa.int8(), pa.uint8(), pa.int32(), pa.int64()])
def test_dictionaries_with_doubles_nulls_and_unused_entries_are_counted_by_value(index):
    entries = pa.array(["a", "b", "a", None, "unused"])
    codes = pa.array([0, 1, 2, 3, None, 1], index)
    value = folded(Frequencies("x"), [batch({"x": pa.DictionaryArray.from_arrays(codes, entries)})]).value()
    assert pairs(value.table()) == [("a", 2), ("b", 2)]
    assert value.nulls == 2


def test_a_full_dictionary_of_small_codes_leaves_room_for_null():
    entries = pa.array([f"{i:03}" for i in range(128)])
    codes = pa.array([*range(128), None], pa.int8())
    value = folded(Frequencies("x"), [batch({"x": pa.DictionaryArray.from_arrays(codes, entries)})]).value()
    assert (value.distinct, value.total, value.nulls) == (128, 128, 1)


def test_a_large_dictionary_shared_by_small_blocks_is_counted():
    entries = pa.array([str(i) for i in range(1000)])
    codes = pa.array([999, None, 5, 999], pa.int32())
    value = folded(Frequencies("x"), [batch({"x": pa.DictionaryArray.from_arrays(codes, entries)})]).value()
    assert pairs(value.table()) == [("5", 1), ("999", 2)]
    assert value.nulls == 1


@pytest.mark.parametrize("fill", [2**53, 2.0**60, -(2**64), float("inf"), None, [1]])
def test_a_fill_whose_text_depends_on_the_column_is_not_known(fill):
    assert folded(Frequencies("x"), [batch({"x": [1.0, None]})]).with_nulls_as(fill) is None


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string()])
def test_every_kind_of_text_is_counted(kind):
    values = pa.array(["b", "a", None, "b"]).cast(kind)
    for column in (values, pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0], pa.uint32()), values)):
        value = folded(Frequencies("x"), [batch({"x": column})]).value()
        assert pairs(value.table()) == [("a", 1), ("b", 2)]
        assert value.nulls == 1


def test_what_has_no_text_is_refused():
    with pytest.raises(SchemaError, match="text, numbers, truth values or times"):
        Frequencies("x").update(batch({"x": [[1]]}))


def test_a_bound_below_one_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        Frequencies("x", 0)


def test_no_file_is_written_below_the_bound(folder):
    folded(Frequencies("x"), text_batches(["a", "b"] * 100)).value()
    assert list(Path(folder).iterdir()) == []
