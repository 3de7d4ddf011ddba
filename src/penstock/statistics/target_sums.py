"""What the target is for each value of a column, fold by fold: what target encoding is fitted from. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import DataError, UsageError
from penstock.statistic import Statistic
from penstock.statistics.values import array_of, as_text, numbers_of

MOST_VALUES = 1_000_000
MOST_LABELS = 1_000
_SALT = 0x746172676574
_STATE = pa.schema(
    [
        ("value", pa.large_string()),  # null for rows without one
        ("label", pa.large_string()),  # "" for a target of numbers
        ("fold", pa.int64()),
        ("rows", pa.int64()),
        ("sum", pa.float64()),
        ("squares", pa.float64()),
    ]
)


def folds_of(batch: Batch, folds: int) -> npt.NDArray[np.int64]:
    """The fold of each row, from 0, by the hash of its row key."""
    return np.asarray(batch.keys.hash(_SALT) % np.uint64(folds), np.int64)


@dataclass(frozen=True, eq=False)
class TargetSumsValue:
    """Sums of the target by value of the column and by fold.

    Attributes:
        values: the column's values as text, ascending; last None for rows without one.
        labels: the target's labels, ascending; empty for numbers.
        rows: how many rows, shape (values, folds).
        sums: of the target; of labels the rows that have each: shape (values, folds, labels or 1).
        squares: of a target of numbers the sum of squares, shape (values, folds).
    """

    values: tuple[str | None, ...]
    labels: tuple[str, ...]
    rows: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Which value, label and fold each row of a block belongs to."""

    names: list[str | None]
    labels: list[Any]
    place: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]


class TargetSums(Statistic[TargetSumsValue]):
    """Counts of rows and sums of the target for each value of a column (as text) and each fold of the row keys.

    Rows without a target are left out. Of labels the state is of integers; of numbers it is of floats.

    Args:
        column: the column's name.
        target: the target's column: of numbers, or of labels.
        folds: how many folds, at least 2.
        labels: whether the target's values are labels.

    Raises:
        UsageError: there are fewer than two folds.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch({"city": ["Ulm", "Bern", "Ulm"], "price": [1.0, 2.0, 5.0]})
        >>> statistic = TargetSums("city", "price")
        >>> statistic.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> value = statistic.value()
        >>> value.values, value.sums.sum(axis=(1, 2)).tolist()
        (('Bern', 'Ulm'), [2.0, 6.0])
    """

    kind = "target_sums"

    def __init__(self, column: str, target: str, folds: int = 5, labels: bool = False) -> None:
        if folds < 2:
            raise UsageError("too few folds", where="target sums", expected="2 or more", got=str(folds))
        self._column = column
        self._target = target
        self._folds = folds
        self._labels = labels
        # (value, label) -> rows, sum and squares by fold
        self._sums: dict[tuple[str | None, str], npt.NDArray[np.float64]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The column and the target."""
        return (self._column, self._target)

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"column": self._column, "target": self._target, "folds": self._folds, "labels": self._labels}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            DataError: there are more than a million values, or more than a thousand labels.
        """
        target = array_of(batch, self._target)
        known = np.asarray(target.is_valid().to_numpy(zero_copy_only=False))
        if not known.all():
            batch, target = batch.filter(known), target.filter(pa.array(known))
        if len(batch) == 0:
            return
        names, place = _coded(array_of(batch, self._column))
        fold = folds_of(batch, self._folds)
        if self._labels:
            labels, code = _coded(target)
            cells = _Cells(names, labels, place, code, fold)
            self._add(cells, np.zeros(len(batch)))
        else:
            code = np.zeros(len(batch), np.int64)
            self._add(_Cells(names, [""], place, code, fold), numbers_of(target, self._target))

    def _add(self, cells: _Cells, values: npt.NDArray[np.float64]) -> None:
        names, labels = cells.names, cells.labels
        shape = (len(names), len(labels), self._folds)
        cell = (cells.place * shape[1] + cells.code) * shape[2] + cells.fold
        size = int(np.prod(shape))
        figures = [np.bincount(cell, weights, size).reshape(shape) for weights in (None, values, np.square(values))]
        for row, column in zip(*np.nonzero(figures[0].sum(axis=2)), strict=True):
            found = np.stack([figure[row, column].astype(np.float64) for figure in figures])
            self._take((names[int(row)], str(labels[int(column)])), found)

    def _take(self, key: tuple[str | None, str], found: npt.NDArray[np.float64]) -> None:
        before = self._sums.get(key)
        self._sums[key] = found if before is None else before + found
        if before is None and len(self._sums) > MOST_VALUES:
            raise DataError(
                "too many values to encode by the target",
                where=f"column {self._column!r}",
                expected=f"at most {MOST_VALUES:,}",
                got=f"more, in {len(self._sums):,} combinations with labels",
                remedy="drop the column: what is nearly different in every row is a key; or hash it (step hash)",
            )

    def merge(self, other: Self) -> None:
        """Take in another's sums."""
        for key, found in other._sums.items():
            self._take(key, found)

    def value(self) -> TargetSumsValue:
        """The sums so far."""
        keys = self._keys()
        values = tuple(dict.fromkeys(value for value, _ in keys))
        labels = tuple(sorted({label for _, label in keys})) if self._labels else ()
        if len(labels) > MOST_LABELS:
            raise DataError(
                "too many labels",
                where=f"target {self._target!r}",
                expected=f"at most {MOST_LABELS:,}",
                got=f"{len(labels):,}",
            )
        row = {value: place for place, value in enumerate(values)}
        column = {label: place for place, label in enumerate(labels)} or {"": 0}
        rows, squares = (np.zeros((len(values), self._folds)) for _ in range(2))
        sums = np.zeros((len(values), self._folds, len(column)))
        for value, label in keys:
            count, total, square = self._sums[value, label]
            rows[row[value]] += count
            squares[row[value]] += square
            sums[row[value], :, column[label]] += count if self._labels else total
        return TargetSumsValue(values, labels, rows, sums, squares)

    def _keys(self) -> list[tuple[str | None, str]]:
        return sorted(self._sums, key=lambda key: (key[0] is None, key[0] or "", key[1]))

    def state(self) -> pa.Table:
        """A row for each value, label and fold that has rows."""
        rows: list[dict[str, Any]] = []
        for value, label in self._keys():
            found = self._sums[value, label]
            for fold in np.flatnonzero(found[0]):
                count, total, squares = found[:, fold]
                rows.append(
                    {
                        "value": value,
                        "label": label,
                        "fold": int(fold),
                        "rows": int(count),
                        "sum": float(total),
                        "squares": float(squares),
                    }
                )
        return pa.Table.from_pylist(rows, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the sums."""
        self._sums = {}
        for row in state.to_pylist():
            found = self._sums.setdefault((row["value"], row["label"]), np.zeros((3, self._folds)))
            found[:, row["fold"]] = row["rows"], row["sum"], row["squares"]

    @property
    def nbytes(self) -> int:
        """About what is held in memory [bytes]."""
        return len(self._sums) * (200 + 24 * self._folds)


def _coded(values: pa.Array) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """The different values as text (None for null), and the place of each row's among them."""
    if not pa.types.is_dictionary(values.type):
        as_text(values.slice(0, 0))  # refuses a type without text
        values = values.dictionary_encode()
    used = pc.unique(values.indices).drop_null()
    texts = as_text(values.dictionary.take(used))
    # Two entries of a dictionary can have one text.
    distinct = texts.dictionary_encode()
    table = np.full(len(values.dictionary) + 1, len(distinct.dictionary), np.int64)
    table[used.to_numpy()] = distinct.indices.to_numpy()
    place = table[values.indices.cast(pa.int64()).fill_null(len(values.dictionary)).to_numpy()]
    names: list[Any] = [*distinct.dictionary.to_pylist(), None]
    return names, place
