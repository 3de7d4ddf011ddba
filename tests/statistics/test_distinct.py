"""Distinct counts against sets, and the hash against its promises."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistic_samples import batch, columns, folded, number_batches, present

from penstock.errors import SchemaError, UsageError
from penstock.statistics.distinct import Distinct
from penstock.statistics.hashing import hash_floats, hash_texts, hash_whole, hashes
from penstock.testing.statistics import check_statistic, state_bytes

WORD = 2**64


def splitmix(state: int) -> int:
    """SplitMix64's next output, as its authors wrote it, in Python's whole numbers."""
    z = (state + 0x9E3779B97F4A7C15) % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def text_hash(text: str) -> int:
    data = text.encode()
    if len(data) > 256:
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    found = splitmix(len(data))
    for at in range(0, len(data), 8):
        found = splitmix(found ^ int.from_bytes(data[at : at + 8], "little"))
    return found


def test_the_hash_starts_as_the_published_sequence_of_splitmix64_does():
    # The first output for the seed 1234567, from Rosetta Code's "Pseudo-random numbers/Splitmix64".
    assert splitmix(1234567) == 6457827717110365317


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_numbers_are_hashed_by_their_bits(values):
    expected = [splitmix(struct.unpack("<Q", struct.pack("<d", v + 0.0))[0]) for v in values]
    assert hash_floats(np.array(values, np.float64)).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=20), st.integers(0, 5), st.integers(250, 260))
def test_texts_are_hashed_by_their_bytes(values, skip, length):
    values = [*values, "x" * length, "é" * length]
    array = pa.array(values, pa.large_string())
    assert hash_texts(array).tolist() == [text_hash(v) for v in values]
    assert hash_texts(array.slice(skip)).tolist() == [text_hash(v) for v in values[skip:]]


def test_equal_numbers_of_any_type_have_one_hash():
    floats = pa.array([0.0, 1.0, 200.0, None])
    for kind in (pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64(), pa.float32()):
        assert hashes(floats.cast(kind)).tolist() == hashes(floats).tolist()
    assert hashes(pa.array([False, True])).tolist() == hashes(floats)[:2].tolist()
    assert hashes(pa.array([0, 1, 200], pa.timestamp("us"))).tolist() == hashes(floats).tolist()


def test_whole_numbers_beyond_two_to_the_53_stay_apart():
    values = np.arange(2**53 - 2, 2**53 + 1000)
    assert len(set(hash_whole(values).tolist())) == len(values)
    assert len(set(hash_whole(-values).tolist())) == len(values)


@settings(max_examples=60, deadline=None)
@given(columns)
def test_few_values_are_counted_exactly(values):
    value = folded(Distinct("x"), number_batches(values)).value()
    assert value.exact
    assert value.count == len(set(present(values).tolist()))
    assert value.nulls == values.count(None)


@settings(max_examples=30, deadline=None)
@given(columns, st.integers(4, 6), st.sampled_from([0.0, 1.5, -3.0]))
def test_the_laws_hold(values, precision, fill):
    check_statistic(lambda: Distinct("x", precision), number_batches(values), exact=True, fills=[fill])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=50), st.integers(4, 6))
def test_the_laws_hold_for_text(values, precision):
    batches = [batch({"x": pa.array(values[at : at + 9], pa.string())}) for at in range(0, len(values) or 1, 9)]
    check_statistic(lambda: Distinct("x", precision), batches, exact=True, fills=["", "new"])


@pytest.mark.parametrize("true", [3_000, 20_000, 50_000, 120_000, 400_000])
def test_many_values_are_counted_within_four_standard_errors(true):
    errors = []
    for seed in range(4):
        values = np.arange(true) * 1.25 + seed * 1e7
        batches = [batch({"x": values[at : at + 65_536]}) for at in range(0, true, 65_536)]
        value = folded(Distinct("x"), batches).value()
        assert not value.exact
        assert value.relative_error == pytest.approx(0.008125)
        errors.append(value.count / true - 1)
    assert max(map(abs, errors)) < 4 * 0.008125
    assert abs(np.mean(errors)) < 4 * 0.008125 / 2


def test_many_texts_are_counted_within_four_standard_errors():
    values = pa.array([f"user-{i:07}@example.org" for i in range(100_000)])
    batches = [batch({"x": values.slice(at, 30_000)}) for at in range(0, 100_000, 30_000)]
    statistic = folded(Distinct("x"), [*batches, *batches])
    assert statistic.value().count == pytest.approx(100_000, rel=4 * 0.008125)
    encoded = [batch({"x": item.column("x").dictionary_encode()}) for item in batches]
    assert state_bytes(folded(Distinct("x"), encoded)) == state_bytes(statistic)


def test_the_order_does_not_matter_when_hashes_give_way_to_registers():
    values = np.random.default_rng(5).permutation(5_000).astype(float)
    batches = [batch({"x": values[at : at + 700]}) for at in range(0, 5_000, 700)]
    few = batch({"x": values[:10]})
    states = {state_bytes(folded(Distinct("x"), order)) for order in ([*batches, few], [few, *batches[::-1]])}
    assert len(states) == 1


def test_dictionaries_with_nulls_and_unused_entries_are_counted_by_value():
    entries = pa.array(["a", "b", "a", None, "unused"])
    codes = pa.array([0, 1, 2, 3, None, 1], pa.int8())
    value = folded(Distinct("x"), [batch({"x": pa.DictionaryArray.from_arrays(codes, entries)})]).value()
    assert (value.count, value.nulls) == (2, 2)


@pytest.mark.parametrize("fill", [2**60, 2.0**60, float("nan"), None])
def test_a_fill_whose_hash_depends_on_the_column_is_not_known(fill):
    assert folded(Distinct("x"), [batch({"x": [1.0, None]})]).with_nulls_as(fill) is None


def test_what_has_no_hash_is_refused():
    with pytest.raises(SchemaError):
        Distinct("x").update(batch({"x": [[1]]}))


@pytest.mark.parametrize("precision", [3, 19])
def test_a_precision_out_of_range_is_refused(precision):
    with pytest.raises(UsageError, match="4 to 18"):
        Distinct("x", precision)
