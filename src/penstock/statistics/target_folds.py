"""What the target is like for each category of a column, in each fold of the rows: for target encoding. Statistics.

The fold of a row follows from the hash of its key alone. With a state per fold, a row can be told what the target is
like for its category in all folds but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import DataError, UsageError
from penstock.statistic import Statistic
from penstock.statistics.spread import Spread, grown
from penstock.statistics.values import Floats, Integers, array_of, as_text, extremes, numbers_of

MOST_CELLS = 8_000_000
"""The most numbers that a state holds: categories times folds, times labels where they are counted."""
_SALT = 0x7A26_7E70_F01D


def folds_of(keys: RowKeys, folds: int, seed: int = 0) -> Integers:
    """The fold of each row, from 0; a function of (seed, row key) that no split of the rows shares."""
    return np.asarray(keys.hash(_SALT + seed) % np.uint64(folds), np.int64)


@dataclass(frozen=True, eq=False)
class TargetFoldsValue:
    """Of each category in each fold: rows, the mean of the target, and the sum of its squared distances from it.

    Attributes:
        categories: ascending by code points; after them, last, comes the place of nulls.
        labels: of a target of classes, in ascending order; empty for numbers.
        counts: int64, shape (categories + 1, folds).
        means: float64, shape (categories + 1, folds, outputs): the share of each label, or the mean; 0 without rows.
        squares: float64, of the same shape.
    """

    categories: tuple[str, ...]
    labels: tuple[str, ...]
    counts: Integers
    means: Floats
    squares: Floats


def _checked(column: str, folds: int, seed: int) -> None:
    if folds < 2 or not 0 <= seed < 2**31:
        raise UsageError(
            "not folds",
            where=f"column {column!r}",
            expected="at least 2 folds, and a seed from 0 to 2^31 - 1",
            got=f"{folds} folds, seed {seed}",
        )


def _refuse_more(column: str, cells: int) -> None:
    if cells > MOST_CELLS:
        raise DataError(
            "too many categories to tell the target of each",
            where=f"column {column!r}",
            expected=f"at most {MOST_CELLS:,} numbers: categories times folds, times labels",
            got=f"{cells:,}",
            remedy="use the step `hash`, or drop the column: what differs in every row is a key",
        )


def _with_target(batch: Batch, target: str) -> Batch:
    """The rows that have a target."""
    values = array_of(batch, target)
    return batch.filter(values.is_valid().to_numpy(zero_copy_only=False)) if values.null_count else batch


class _Places:
    """The places of texts in arrays, in order of first appearance; None (for null) may be among them."""

    def __init__(self) -> None:
        self.of: dict[str | None, int] = {}

    def distinct(self, values: pa.Array) -> tuple[Integers, Integers]:
        """The places of the different values, each once, and of each row which of these it has."""
        found = as_text(values).dictionary_encode()
        many = len(found.dictionary)
        codes = found.indices.fill_null(many).to_numpy().astype(np.int64)
        used = np.flatnonzero(np.bincount(codes, minlength=many + 1))
        texts: list[str | None] = found.dictionary.take(pa.array(used[used < many])).to_pylist()
        if len(texts) < len(used):
            texts.append(None)
        local = np.zeros(many + 1, np.int64)
        local[used] = np.arange(len(used))
        return self.all(texts), local[codes]

    def codes(self, values: pa.Array) -> Integers:
        """The place of each value."""
        places, rows = self.distinct(values)
        return places[rows]

    def all(self, texts: Sequence[str | None]) -> Integers:
        """The place of each text, each once."""
        places = np.fromiter(map(self.of.get, texts, repeat(-1)), np.int64, len(texts))
        for new in np.flatnonzero(places < 0).tolist():
            places[new] = self.of.setdefault(texts[new], len(self.of))
        return places

    def ascending(self) -> tuple[list[str], Integers]:
        """The texts that are not null, ascending, and their places."""
        texts = sorted(text for text in self.of if text is not None)
        return texts, np.array([self.of[text] for text in texts], np.int64)


class TargetCounts(Statistic[TargetFoldsValue]):
    """How many rows of each category have each label, by fold. An integer state. Rows without a target are left out.

    Args:
        column: the categories: text, truth values or codes; null is one of them.
        target: the column of labels.
        folds: how many folds, at least 2.
        seed: of the folds.

    Raises:
        UsageError: there are no folds, or the seed is not within 0 to 2^31 - 1.

    Example:
        >>> rows = pa.record_batch({"city": ["A", "A", "B"], "sold": [True, False, True]})
        >>> counts = TargetCounts("city", "sold")
        >>> counts.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> value = counts.value()
        >>> value.categories, value.labels, np.add.reduce(value.counts, axis=1).tolist()
        (('A', 'B'), ('false', 'true'), [2, 1, 0])
    """

    kind = "target_counts"

    def __init__(self, column: str, target: str, folds: int = 5, seed: int = 0) -> None:
        _checked(column, folds, seed)
        self._column, self._target, self._folds, self._seed = column, target, folds, seed
        self._categories, self._labels = _Places(), _Places()
        self._counts: Integers = np.zeros((0, 0, folds), np.int64)

    @property
    def columns(self) -> tuple[str, ...]:
        """The categories and the target."""
        return tuple(dict.fromkeys((self._column, self._target)))

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"column": self._column, "target": self._target, "folds": self._folds, "seed": self._seed}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or its values have no text.
            DataError: there are too many categories.
        """
        batch = _with_target(batch, self._target)
        labels = self._labels.codes(array_of(batch, self._target))
        categories = self._categories.codes(array_of(batch, self._column))
        folds = folds_of(batch.keys, self._folds, self._seed)
        self._make_room()
        shape = self._counts.shape
        flat = self._counts.reshape(-1)
        np.add.at(flat, (categories * shape[1] + labels) * shape[2] + folds, 1)

    def _make_room(self) -> None:
        categories, labels = len(self._categories.of), len(self._labels.of)
        _refuse_more(self._column, categories * max(labels, 1) * self._folds)
        if labels > self._counts.shape[1]:
            more = np.zeros((len(self._counts), labels - self._counts.shape[1], self._folds), np.int64)
            self._counts = np.concatenate((self._counts, more), axis=1)
        self._counts = grown(self._counts, categories)

    def merge(self, other: Self) -> None:
        """Take in another's counts.

        Raises:
            DataError: there are too many categories.
        """
        categories = self._categories.all(list(other._categories.of))
        labels = self._labels.all(list(other._labels.of))
        self._make_room()
        self._counts[np.ix_(categories, labels)] += other._counts[: len(categories), : len(labels)]

    def value(self) -> TargetFoldsValue:
        """The shares of the labels so far."""
        categories, labels, counts = self._sorted()
        rows = np.add.reduce(counts, axis=1)
        share = counts / np.maximum(rows, 1)[:, None, :]
        squares = counts * (1.0 - share)
        swap = (0, 2, 1)
        return TargetFoldsValue(categories, labels, rows, share.transpose(swap), squares.transpose(swap))

    def _sorted(self) -> tuple[tuple[str, ...], tuple[str, ...], Integers]:
        """Categories and labels ascending, and the counts in their order, with a last place for nulls."""
        categories, places = self._categories.ascending()
        labels, columns = self._labels.ascending()
        null = self._categories.of.get(None)
        last = np.zeros((1, len(labels), self._folds), np.int64)
        if null is not None:
            last = self._counts[null : null + 1, columns]
        found = np.concatenate((self._counts[np.ix_(places, columns)], last))
        used = np.flatnonzero(found[:-1].any(axis=(1, 2)))
        return tuple(categories[place] for place in used), tuple(labels), np.concatenate((found[used], found[-1:]))

    def state(self) -> pa.Table:
        """A row for each category (null last), label and fold that has rows: how many."""
        categories, labels, counts = self._sorted()
        place, label, fold = np.nonzero(counts)
        texts = pa.array([*categories, None], pa.large_string())
        return pa.table(
            {
                "category": texts.take(pa.array(place)),
                "label": pa.array(labels, pa.large_string()).take(pa.array(label)),
                "fold": fold,
                "rows": counts[place, label, fold],
            }
        )

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        self._categories, self._labels = _Places(), _Places()
        self._counts = np.zeros((0, 0, self._folds), np.int64)
        categories = self._categories.codes(state["category"].combine_chunks())
        labels = self._labels.codes(state["label"].combine_chunks())
        self._make_room()
        self._counts[categories, labels, state["fold"].to_numpy()] = state["rows"].to_numpy()

    @property
    def nbytes(self) -> int:
        """What is held in memory [bytes]."""
        return int(self._counts.nbytes) + 100 * len(self._categories.of)


class TargetMoments(Statistic[TargetFoldsValue]):
    """Mean and spread of a number for each category, by fold. A float state. Rows without a target are left out.

    Blocks are summed around their own means, and states merged by the pairwise formulas of P. Pébay (Sandia report
    SAND2008-6212, 2008).

    Args:
        column, folds, seed: as in `TargetCounts`.
        target: the column of numbers.

    Raises:
        UsageError: there are no folds, or the seed is not within 0 to 2^31 - 1.

    Example:
        >>> rows = pa.record_batch({"city": ["A", "A"], "price": [1.0, 3.0]})
        >>> moments = TargetMoments("city", "price", folds=2)
        >>> moments.update(Batch(rows, RowKeys.span("", 0, 2)))
        >>> int(moments.value().counts.sum())
        2
    """

    kind = "target_moments"

    def __init__(self, column: str, target: str, folds: int = 5, seed: int = 0) -> None:
        _checked(column, folds, seed)
        self._column, self._target, self._folds, self._seed = column, target, folds, seed
        self._categories = _Places()
        self._sums = Spread.of(0, folds)

    @property
    def columns(self) -> tuple[str, ...]:
        """The categories and the target."""
        return tuple(dict.fromkeys((self._column, self._target)))

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"column": self._column, "target": self._target, "folds": self._folds, "seed": self._seed}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, has no text, or the target is not of numbers.
            DataError: there are too many categories, or a value is not finite.
        """
        batch = _with_target(batch, self._target)
        values = numbers_of(array_of(batch, self._target), self._target)
        if not len(values):
            return
        extremes(values, self._target)
        used, place = self._categories.distinct(array_of(batch, self._column))
        folds = folds_of(batch.keys, self._folds, self._seed)
        _refuse_more(self._column, len(self._categories.of) * self._folds)
        self._sums = self._sums.merged(
            used, Spread.of_values(place * self._folds + folds, values, len(used), self._folds)
        )

    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after.

        Raises:
            DataError: there are too many categories.
        """
        places = self._categories.all(list(other._categories.of))
        _refuse_more(self._column, len(self._categories.of) * self._folds)
        self._sums = self._sums.merged(places, other._sums.at(np.arange(len(places))))

    def value(self) -> TargetFoldsValue:
        """The means so far."""
        categories, sums = self._sorted()
        return TargetFoldsValue(tuple(categories), (), sums.counts, sums.means[..., None], sums.squares[..., None])

    def _sorted(self) -> tuple[list[str], Spread]:
        categories, places = self._categories.ascending()
        null = self._categories.of.get(None)
        empty = len(self._categories.of)
        sums = self._sums.longer(empty + 1)
        return categories, sums.at(np.append(places, empty if null is None else null))

    def state(self) -> pa.Table:
        """A row for each category (null last) and fold that has rows: how many, their mean, the squared distances."""
        categories, sums = self._sorted()
        place, fold = np.nonzero(sums.counts)
        return pa.table(
            {
                "category": pa.array([*categories, None], pa.large_string()).take(pa.array(place)),
                "fold": fold,
                "rows": sums.counts[place, fold],
                "mean": sums.means[place, fold],
                "squares": sums.squares[place, fold],
            }
        )

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._categories = _Places()
        codes = self._categories.codes(state["category"].combine_chunks())
        self._sums = Spread.of(len(self._categories.of), self._folds)
        folds = state["fold"].to_numpy()
        for name, held in (("rows", self._sums.counts), ("mean", self._sums.means), ("squares", self._sums.squares)):
            held[codes, folds] = state[name].to_numpy()

    @property
    def nbytes(self) -> int:
        """What is held in memory [bytes]."""
        return 3 * int(self._sums.counts.nbytes) + 100 * len(self._categories.of)
