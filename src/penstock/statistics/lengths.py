"""How long the texts or lists of a column are. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import SchemaError
from penstock.statistic import Statistic
from penstock.statistics.count import nulls_of
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.histogram import Histogram
from penstock.statistics.values import array_of

_LENGTH = "length"
_STATE = pa.schema([("nulls", pa.int64()), ("blank", pa.int64()), ("total", pa.int64()), ("lengths", pa.binary())])


@dataclass(frozen=True, eq=False)
class LengthsValue:
    """How long the values are: texts in characters, lists in items, bytes in bytes.

    Attributes:
        nulls: rows without a value.
        blank: values of nothing: lists of no item, texts of no character but white space.
        total: the sum of all lengths.
        distribution: of the lengths.
    """

    nulls: int
    blank: int
    total: int
    distribution: HistogramValue

    @property
    def mean(self) -> float:
        """The mean length; nan where there is no value."""
        count = self.distribution.count
        return self.total / count if count else math.nan


class Lengths(Statistic[LengthsValue]):
    """The distribution of the lengths of one column of texts, lists or bytes.

    An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name.

    Example:
        >>> from penstock.batch import RowKeys
        >>> lengths = Lengths("x")
        >>> lengths.update(Batch(pa.record_batch({"x": ["né", "", None, "four"]}), RowKeys.span("", 0, 4)))
        >>> value = lengths.value()
        >>> value.mean, value.distribution.maximum, value.blank, value.nulls
        (2.0, 4.0, 1, 1)
    """

    kind = "lengths"

    def __init__(self, column: str) -> None:
        self._column = column
        self._nulls = self._blank = self._total = 0
        self._lengths = Histogram(_LENGTH)

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column it reads."""
        return (self._column,)

    def parameters(self) -> Mapping[str, Any]:
        """The column."""
        return {"column": self._column}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: the column is missing, or its values have no length.
        """
        values = array_of(batch, self._column)
        self._nulls += nulls_of(values)
        lengths, blank = _measured(values, self._column)
        found = lengths.drop_null().cast(pa.float64())
        self._blank += int(pc.sum(blank).as_py() or 0)
        self._total += int(pc.sum(lengths).as_py() or 0)
        self._lengths.update(Batch(pa.record_batch({_LENGTH: found}), batch.keys.slice(0, len(found))))

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._nulls += other._nulls
        self._blank += other._blank
        self._total += other._total
        self._lengths.merge(other._lengths)

    def value(self) -> LengthsValue:
        """The lengths so far."""
        return LengthsValue(self._nulls, self._blank, self._total, self._lengths.value())

    def state(self) -> pa.Table:
        """One row: the counts, and the state of the histogram of lengths as an Arrow stream."""
        sink = pa.BufferOutputStream()
        table = self._lengths.state()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        row = [self._nulls, self._blank, self._total, sink.getvalue().to_pybytes()]
        return pa.table([[item] for item in row], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        row = state.to_pylist()[0]
        self._nulls, self._blank, self._total = row["nulls"], row["blank"], row["total"]
        self._lengths = Histogram(_LENGTH).from_state(pa.ipc.open_stream(row["lengths"]).read_all())

    @property
    def nbytes(self) -> int:
        """What the state holds in memory [bytes]."""
        return self._lengths.nbytes


def _measured(values: pa.Array, column: str) -> tuple[pa.Array, pa.Array]:
    """The length of each value, and whether there is nothing in it; null where there is none."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths, blank = _measured(values.dictionary, column)
        return lengths.take(values.indices), blank.take(values.indices)
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.int64()), pa.nulls(len(values), pa.bool_())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        lengths = pc.utf8_length(values).cast(pa.int64())
        short = pc.if_else(pc.less_equal(lengths, _SHORT), values, pa.scalar("x", kind))
        return lengths, pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(short)), 0)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        lengths = pc.binary_length(values).cast(pa.int64())
        return lengths, pc.equal(lengths, 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.list_value_length(values).cast(pa.int64())
        return lengths, pc.equal(lengths, 0)
    raise SchemaError(
        "a statistic of lengths met a column that has none",
        where=f"column {column!r}",
        expected="texts, lists or bytes",
        got=str(kind),
        remedy="leave the column out",
    )


_SHORT = 1000
"""Characters beyond which a text is not looked through for something but white space."""
