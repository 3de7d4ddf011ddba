"""Padding: a row's padded length follows from that row alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.models.networks.padding import pad, padded_length

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=40), max_size=8)


def flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    return np.array([token for row in rows for token in row], np.int32), offsets


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_a_padded_row_is_its_tokens_and_one_more_each_then_zeros(rows: list[list[int]]) -> None:
    found = pad(*flat(rows))
    assert found.dtype == np.int64
    assert found.shape == (len(rows), max([8, *(padded_length(np.array([len(row)]))[0] for row in rows)]))
    for place, row in enumerate(rows):
        assert found[place].tolist() == [token + 1 for token in row] + [0] * (found.shape[1] - len(row))


def test_rows_from_the_middle_of_a_column_are_padded_by_their_own_places() -> None:
    values, offsets = flat([[9, 9, 9], [4], [5, 6]])
    assert pad(values, offsets[1:])[:, :3].tolist() == [[5, 0, 0], [6, 7, 0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=10))
def test_a_padded_length_depends_on_its_row_alone_and_wastes_at_most_half(lengths: list[int]) -> None:
    found = padded_length(np.array(lengths))
    assert found.tolist() == [int(padded_length(np.array([length]))[0]) for length in lengths]
    assert (found >= lengths).all()
    assert all(size == 8 or size < 1.5 * length for size, length in zip(found.tolist(), lengths, strict=True))
    steps = {8 * 2**power for power in range(16)} | {12 * 2**power for power in range(16)}
    assert set(found.tolist()) <= steps
