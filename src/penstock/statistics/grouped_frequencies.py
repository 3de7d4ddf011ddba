"""How often each value of a column occurs in each group of rows that other columns give. A statistic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, RowKeys
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies, FrequenciesValue
from penstock.statistics.grouped import check_arguments, coded, refuse_more
from penstock.statistics.values import array_of, as_text

_PAIR = "pair"


@dataclass(frozen=True, eq=False)
class GroupedFrequenciesValue:
    """How often each value occurs in each group."""

    _counts: FrequenciesValue

    def iter_groups(self) -> Iterator[tuple[str, list[tuple[str, int]]]]:
        """(key, [(value, count), ...]) of each group, keys in no order that means anything, values ascending."""
        current = ""
        found: list[tuple[str, int]] = []
        for batch in self._counts.iter_batches():
            for pair, count in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                length, _, rest = pair.partition(":")
                key, value = rest[: int(length)], rest[int(length) :]
                if found and key != current:
                    yield current, found
                    found = []
                current = key
                found.append((value, count))
        if found:
            yield current, found

    def table(self) -> dict[str, dict[str, int]]:
        """The counts by value by group."""
        return {key: dict(counts) for key, counts in self.iter_groups()}


class GroupedFrequencies(Statistic[GroupedFrequenciesValue]):
    """Exact counts of each distinct value of a column in each group, as text; many of them go to temporary files.

    Rows of no group (null in a column that is grouped by), and nulls, are not taken in.

    Args:
        by: the columns that are grouped by.
        column: the column.
        most: how many groups there may be.
        bound: how many pairs of group and value are held in memory.

    Raises:
        UsageError: there is nothing to group by.

    Example:
        >>> rows = pa.record_batch({"sex": ["f", "m", "f"], "color": ["red", "blue", "red"]})
        >>> grouped = GroupedFrequencies(["sex"], "color")
        >>> grouped.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> grouped.value().table()
        {'f': {'red': 2}, 'm': {'blue': 1}}
    """

    kind = "grouped_frequencies"

    def __init__(self, by: Sequence[str], column: str, most: int = 10_000, bound: int = 1_000_000) -> None:
        check_arguments(by, column, most)
        self._by = tuple(by)
        self._column = column
        self._most = most
        self._bound = bound
        self._pairs = Frequencies(_PAIR, bound)
        self._keys: set[str] = set()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are grouped by, and the column."""
        return tuple(dict.fromkeys((*self._by, self._column)))

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {"by": list(self._by), "column": self._column, "most": self._most, "bound": self._bound}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or its values have no text.
            DataError: there are more groups than there may be.
        """
        codes, keys = coded(batch, self._by)
        column = array_of(batch, self._column)
        values = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
        texts = as_text(values.dictionary).to_pylist()
        places = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        known = (codes >= 0) & (places >= 0)
        width = max(len(texts), 1)
        pairs, rows = np.unique(codes[known] * width + places[known], return_inverse=True)
        written = [
            None
            if texts[pair % width] is None
            else f"{len(keys[pair // width])}:{keys[pair // width]}{texts[pair % width]}"
            for pair in pairs.tolist()
        ]
        met = {keys[pair // width] for pair in pairs.tolist() if texts[pair % width] is not None}
        self._take_keys(met)
        found = pa.DictionaryArray.from_arrays(pa.array(rows, pa.int64()), pa.array(written, pa.string()))
        counted = pa.RecordBatch.from_arrays([found], names=[_PAIR])
        self._pairs.update(Batch(counted, RowKeys.span("", 0, len(found))))

    def _take_keys(self, keys: set[str]) -> None:
        self._keys |= keys
        refuse_more(len(self._keys), self._most, self._by, self._column)

    def merge(self, other: Self) -> None:
        """Take in another's counts.

        Raises:
            DataError: there are more groups than there may be.
        """
        self._take_keys(other._keys)
        self._pairs.merge(other._pairs)

    def value(self) -> GroupedFrequenciesValue:
        """The counts so far."""
        return GroupedFrequenciesValue(self._pairs.value())

    def state(self) -> pa.Table:
        """The counts of all pairs, as `Frequencies.state` has them."""
        return self._pairs.state()

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        self._pairs.load(state)
        self._keys = {key for key, _ in self.value().iter_groups()}

    @property
    def nbytes(self) -> int:
        """What is held in memory [bytes]."""
        return self._pairs.nbytes


def modes(value: GroupedFrequenciesValue, *, numbers: bool) -> dict[str, str]:
    """The most frequent value of each group; of several the least, as a number or as text."""
    found = {}
    for key, counts in value.iter_groups():
        greatest = max(count for _, count in counts)
        best = [text for text, count in counts if count == greatest]
        found[key] = min(best, key=float) if numbers else best[0]
    return found
