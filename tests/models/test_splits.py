"""Splits by hash: even, independent of one another and of the rows' order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from penstock.batch import RowKeys
from penstock.errors import UsageError
from penstock.models.splits import fold_of, held_back, parted, taught, validation_mask

ROWS = 20_000


def hashes(seed: int, rows: int = ROWS) -> np.ndarray:
    return RowKeys.span("table", 0, rows).hash(seed)


def plausible(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a chi-squared test does not refuse these counts (one in ten million would be by chance)."""
    return bool(stats.chisquare(counts, expected).pvalue > 1e-7)


@given(seed=st.integers(0, 2**31), folds=st.integers(2, 20), salt=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_folds_are_even(seed: int, folds: int, salt: int) -> None:
    counts = np.bincount(fold_of(hashes(seed), folds, salt), minlength=folds)
    assert len(counts) == folds
    assert plausible(counts, np.full(folds, ROWS / folds))


@given(seed=st.integers(0, 2**31), share=st.floats(0.01, 0.99), salt=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_as_many_rows_are_held_back_as_asked_for(seed: int, share: float, salt: int) -> None:
    held = int(validation_mask(hashes(seed), share, salt).sum())
    assert plausible(np.array([held, ROWS - held]), np.array([share * ROWS, (1 - share) * ROWS]))


@given(seed=st.integers(0, 1000), order=st.integers(0, 1000), share=st.floats(0, 1), folds=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_a_rows_part_depends_on_its_hash_alone(seed: int, order: int, share: float, folds: int) -> None:
    keys = hashes(seed, 3000)
    places = np.random.default_rng(order).permutation(3000)[:1000]
    assert np.array_equal(validation_mask(keys[places], share), validation_mask(keys, share)[places])
    assert np.array_equal(fold_of(keys[places], folds), fold_of(keys, folds)[places])


def test_a_larger_share_holds_back_the_same_rows_and_more() -> None:
    small, large = (validation_mask(hashes(1), share) for share in (0.1, 0.3))
    assert (large | ~small).all()


@pytest.mark.parametrize("sample", [0.05, 0.5])
def test_a_sample_by_the_same_hash_is_split_as_evenly(sample: float) -> None:
    keys = hashes(7, 200_000)
    for sampled in (keys[keys < np.uint64(sample * 2**64)], keys[keys % np.uint64(1000) < 1000 * sample]):
        held = int(validation_mask(sampled, 0.1).sum())
        assert plausible(np.array([held, len(sampled) - held]), len(sampled) * np.array([0.1, 0.9]))
        assert plausible(np.bincount(fold_of(sampled, 5)), np.full(5, len(sampled) / 5))


def test_splits_of_other_salts_and_kinds_are_independent() -> None:
    keys = hashes(3, 100_000)
    one, other = fold_of(keys, 4, 0), fold_of(keys, 4, 1)
    together = np.bincount(one * 4 + other, minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(together).pvalue > 1e-7
    held = validation_mask(keys, 0.25).astype(int)
    assert stats.chi2_contingency(np.bincount(one * 2 + held, minlength=8).reshape(4, 2)).pvalue > 1e-7


def test_blocks_do_not_show_in_a_split() -> None:
    keys = hashes(5, (1 << 20) + 10)
    assert np.array_equal(fold_of(keys, 7)[-20:], fold_of(keys[-20:], 7))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="validation_share"):
        validation_mask(hashes(0, 5), share)


def test_no_folds_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="folds"):
        fold_of(hashes(0, 5), 0)


@given(seed=st.integers(0, 1000), groups=st.integers(2, 12), share=st.floats(0.001, 0.5), folds=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_of_few_groups_some_are_held_back_and_never_all(seed: int, groups: int, share: float, folds: int) -> None:
    keys = np.repeat(hashes(seed, groups), 5)
    held = held_back(keys, share)
    assert held.sum() > 0
    assert all(len(set(held[keys == key].tolist())) == 1 for key in keys)
    if not validation_mask(keys, share).all():
        assert not held.all()
    fold = parted(keys, folds)
    assert all(len(set(fold[keys == key].tolist())) == 1 for key in keys)
    assert len(set(fold.tolist())) == min(folds, groups)


def test_of_many_rows_the_share_is_held_back_and_the_folds_are_by_hash() -> None:
    keys = hashes(3)
    assert np.array_equal(held_back(keys, 0.1), validation_mask(keys, 0.1))
    assert np.array_equal(parted(keys, 5), fold_of(keys, 5))


@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=40), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_class_is_judged_that_is_never_learned_and_every_class_is_learned(labels: list[int], seed: int) -> None:
    classes = np.array(labels)
    held = np.random.default_rng(seed).random(len(classes)) < 0.4
    learned, judged = taught(held, classes)
    assert set(classes[learned].tolist()) == set(labels)
    assert judged.any()
    if (learned & judged).any():  # no row held back would have a class that others teach
        assert learned.all() and judged.all() and not set(classes[held].tolist()) & set(classes[~held].tolist())
    else:
        assert (learned ^ judged).all() and not (judged & ~held).any()
        lone = set(classes[held].tolist()) - set(classes[~held].tolist())
        assert np.array_equal(judged, held & ~np.isin(classes, sorted(lone)))
