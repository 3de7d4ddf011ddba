"""A statistic of one column for each group of rows that other columns give: the mean age by class and sex.

Statistics. Unlike in `sliced.py` the groups are not known beforehand, so their number is bounded: what has more is
refused. `group_key` says which group a row is of, for statistics and for the steps that look groups up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, RowKeys
from penstock.errors import DataError, UsageError
from penstock.statistic import Statistic
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.histogram import Histogram
from penstock.statistics.values import Floats, Integers, array_of, extremes, numbers_of


def group_key(values: Sequence[tuple[pl.Expr, pa.DataType]]) -> pl.Expr:
    """The group of a row, as text, from the values of some columns; null where one of them is null.

    Different values never give one key. Numbers are taken as float64, times as microseconds.

    Args:
        values: of each column its values and their Arrow type.

    Example:
        >>> rows = pl.DataFrame({"a": ["x", None], "b": [1.0, 2.0]})
        >>> rows.select(group_key([(pl.col("a"), pa.string()), (pl.col("b"), pa.float64())]))["a"].to_list()
        ['1:x3:1.0', None]
    """
    texts = [_text(expr, kind.value_type if pa.types.is_dictionary(kind) else kind) for expr, kind in values]
    if len(texts) == 1:
        return texts[0]
    return pl.concat_str([part for text in texts for part in (text.str.len_bytes().cast(pl.String), pl.lit(":"), text)])


def _text(value: pl.Expr, kind: pa.DataType) -> pl.Expr:
    if pa.types.is_floating(kind):
        # -0.0 and 0.0 are one number. Adding 0.0 would not do: Polars leaves it out, but for a single row.
        return pl.when(value == 0.0).then(pl.lit(0.0)).otherwise(value.cast(pl.Float64)).cast(pl.String)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return value.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.String)
    return value.cast(pl.String)


def coded(batch: Batch, by: Sequence[str]) -> tuple[Integers, list[str]]:
    """The group of each row as a number (-1 for none), and the groups' keys."""
    series, values = [], []
    for i, name in enumerate(by):
        column = array_of(batch, name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        series.append(pl.Series(f"{i}", column))
        values.append((pl.col(f"{i}"), column.type))
    keys = pl.DataFrame(series).select(group_key(values).alias("key"))["key"].to_arrow()
    found = pc.dictionary_encode(keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys)
    codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, found.dictionary.to_pylist()


def refuse_more(count: int, most: int, by: Sequence[str], column: str) -> None:
    """Refuse more groups than there may be.

    Raises:
        DataError: there are more.
    """
    if count > most:
        raise DataError(
            "too many groups",
            where=f"column {column!r} by " + ", ".join(map(repr, by)),
            expected=f"at most {most:,} groups",
            got=f"more than {most:,}",
            remedy="group by fewer columns, or by ones with fewer values",
        )


def check_arguments(by: Sequence[str], column: str, most: int) -> None:
    """Refuse a grouping by nothing, or without room for a group.

    Raises:
        UsageError: it is one.
    """
    if not by or most < 1:
        raise UsageError(
            "not a grouping",
            where=f"column {column!r}",
            expected="columns to group by, and room for groups",
            got=repr(by),
        )


class GroupedMeans(Statistic[dict[str, float]]):
    """The mean of a column of numbers in each group that has values: the group's key -> its mean, ascending by key.

    Rows of no group (null in a column that is grouped by) are not taken in. Blocks are summed around their own means,
    and means merged by the formula of `penstock.statistics.moments`. A float state.

    Args:
        by: the columns that are grouped by.
        column: the column of numbers.
        most: how many groups there may be.

    Raises:
        UsageError: there is nothing to group by.

    Example:
        >>> rows = pa.record_batch({"sex": ["f", "m", "f"], "age": [30.0, 40.0, 50.0]})
        >>> means = GroupedMeans(["sex"], "age")
        >>> means.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> means.value()
        {'f': 40.0, 'm': 40.0}
    """

    kind = "grouped_means"

    def __init__(self, by: Sequence[str], column: str, most: int = 10_000) -> None:
        check_arguments(by, column, most)
        self._by = tuple(by)
        self._column = column
        self._most = most
        self._places: dict[str, int] = {}
        self._means = _Means.of(0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are grouped by, and the column."""
        return tuple(dict.fromkeys((*self._by, self._column)))

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"by": list(self._by), "column": self._column, "most": self._most}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or the column is not of numbers.
            DataError: there are more groups than there may be, or a value is not finite.
        """
        codes, keys = coded(batch, self._by)
        column = array_of(batch, self._column)
        values = numbers_of(column, self._column)
        codes = codes[column.is_valid().to_numpy(zero_copy_only=False)]
        if len(values):
            extremes(values, self._column)
        self._take(keys, _Means.of_values(codes[codes >= 0], values[codes >= 0], len(keys)))

    def _take(self, keys: Sequence[str], means: _Means) -> None:
        places = np.array([self._places.setdefault(key, len(self._places)) for key in keys], np.int64)
        refuse_more(len(self._places), self._most, self._by, self._column)
        if len(self._places) > len(self._means.counts):
            self._means = self._means.longer(max(len(self._places), 2 * len(self._means.counts)))
        self._means.merge(places, means)

    def merge(self, other: Self) -> None:
        """Take in another's groups.

        Raises:
            DataError: there are more groups than there may be.
        """
        self._take(list(other._places), other._means.first(len(other._places)))

    def value(self) -> dict[str, float]:
        """The mean of each group that has values."""
        found = zip(self._places, self._means.counts.tolist(), self._means.means.tolist(), strict=False)
        return dict(sorted((key, mean) for key, count, mean in found if count))

    def state(self) -> pa.Table:
        """A row for each group: its key, how many values it has, their mean, and what that is rounded by."""
        keys = sorted(self._places)
        held = self._means.at(np.array([self._places[key] for key in keys], np.int64))
        columns = [pa.array(keys, pa.large_string()), held.counts, held.means, held.remainders]
        return pa.table(columns, names=["group", "count", "mean", "remainder"])

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._places = {key: place for place, key in enumerate(state["group"].to_pylist())}
        self._means = _Means(
            state["count"].to_numpy().copy(), state["mean"].to_numpy().copy(), state["remainder"].to_numpy().copy()
        )


@dataclass(frozen=True, eq=False)
class _Means:
    """Counts and means of groups, by place. The mean is ``means + remainders``; see `penstock.statistics.moments`."""

    counts: Integers
    means: Floats
    remainders: Floats

    @classmethod
    def of(cls, places: int) -> _Means:
        """Groups without values."""
        return cls(np.zeros(places, np.int64), np.zeros(places), np.zeros(places))

    @classmethod
    def of_values(cls, codes: Integers, values: Floats, places: int) -> _Means:
        """The groups of some values, summed around the mean that a first sum gives."""
        counts = np.bincount(codes, minlength=places)
        safe = np.maximum(counts, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            means: Floats = np.bincount(codes, values, places) / safe
            if not np.isfinite(means).all():
                means = np.bincount(codes, values / safe[codes], places).astype(np.float64)
            rest = np.bincount(codes, values - means[codes], places) / safe
        return cls(counts, *_two_sums(means, np.where(np.isfinite(rest), rest, 0.0)))

    def at(self, places: Integers) -> _Means:
        """The groups at these places."""
        return _Means(self.counts[places], self.means[places], self.remainders[places])

    def first(self, places: int) -> _Means:
        """The groups at the first places."""
        return _Means(self.counts[:places], self.means[:places], self.remainders[:places])

    def longer(self, places: int) -> _Means:
        """The same with room for more groups."""
        more = places - len(self.counts)
        return _Means(
            np.concatenate((self.counts, np.zeros(more, np.int64))),
            np.concatenate((self.means, np.zeros(more))),
            np.concatenate((self.remainders, np.zeros(more))),
        )

    def merge(self, places: Integers, other: _Means) -> None:
        """Take other groups in at these places (each once): Pebay's formula 1.1."""
        mine = self.at(places)
        counts = mine.counts + other.counts
        left, right = mine.counts / np.maximum(counts, 1), other.counts / np.maximum(counts, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            delta = (other.means - mine.means) + (other.remainders - mine.remainders)
            high, low = _two_sums(mine.means, delta * right)
            means, rests = _two_sums(high, low + mine.remainders)
            plain = mine.means * left + other.means * right
        far = ~np.isfinite(delta)  # a difference of two huge values overflows where their weighted mean does not
        means, rests = np.where(far, plain, means), np.where(far, 0.0, rests)
        for only, group in ((mine.counts == 0, other), (other.counts == 0, mine)):
            means, rests = np.where(only, group.means, means), np.where(only, group.remainders, rests)
        self.counts[places], self.means[places], self.remainders[places] = counts, means, rests


def _two_sums(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Rounded sums of pairs, and what they were rounded by (Knuth, TAOCP 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


class GroupedHistograms(Statistic[dict[str, HistogramValue]]):
    """The distribution of a column of numbers in each group: the group's key -> its histogram, ascending by key.

    Rows of no group (null in a column that is grouped by) are not taken in.

    Args:
        by: the columns that are grouped by.
        column: the column of numbers.
        most: how many groups there may be.

    Raises:
        UsageError: there is nothing to group by.

    Example:
        >>> rows = pa.record_batch({"sex": ["f", "m", "f"], "age": [30.0, 40.0, 50.0]})
        >>> grouped = GroupedHistograms(["sex"], "age")
        >>> grouped.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> {key: value.median for key, value in grouped.value().items()}
        {'f': 40.0, 'm': 40.0}
    """

    kind = "grouped_histograms"

    def __init__(self, by: Sequence[str], column: str, most: int = 1_000) -> None:
        check_arguments(by, column, most)
        self._by = tuple(by)
        self._column = column
        self._most = most
        self._groups: dict[str, Histogram] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are grouped by, and the column."""
        return tuple(dict.fromkeys((*self._by, self._column)))

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"by": list(self._by), "column": self._column, "most": self._most}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or the column is not of numbers.
            DataError: there are more groups than there may be, or a value is not finite.
        """
        codes, keys = coded(batch, self._by)
        refuse_more(len({*keys, *self._groups}), self._most, self._by, self._column)
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(keys) + 1))
        values = array_of(batch, self._column).take(pa.array(order))
        for place, key in enumerate(keys):
            start, count = int(ends[place]), int(ends[place + 1] - ends[place])
            rows = pa.RecordBatch.from_arrays([values.slice(start, count)], names=[self._column])
            self._group(key).update(Batch(rows, RowKeys.span("", 0, count)))

    def _group(self, key: str) -> Histogram:
        if key not in self._groups:
            self._groups[key] = Histogram(self._column)
        return self._groups[key]

    def merge(self, other: Self) -> None:
        """Take in another's groups.

        Raises:
            DataError: there are more groups than there may be.
        """
        refuse_more(len({*other._groups, *self._groups}), self._most, self._by, self._column)
        for key, histogram in other._groups.items():
            self._group(key).merge(histogram)

    def value(self) -> dict[str, HistogramValue]:
        """The distribution in each group."""
        return {key: self._groups[key].value() for key in sorted(self._groups)}

    def state(self) -> pa.Table:
        """A row for each group: its key, and the histogram's own state, which is one row."""
        keys = sorted(self._groups)
        empty = Histogram(self._column).state().slice(0, 0)
        states = pa.concat_tables([empty, *(self._groups[key].state() for key in keys)])
        return states.add_column(0, "group", pa.array(keys, pa.large_string())).combine_chunks()

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        states = state.drop_columns(["group"])
        self._groups = {
            key: Histogram(self._column).from_state(states.slice(place, 1))
            for place, key in enumerate(state["group"].to_pylist())
        }

    @property
    def nbytes(self) -> int:
        """What the states hold in memory [bytes]."""
        return sum(histogram.nbytes for histogram in self._groups.values())
