"""An even sample of the rows, in a bounded state: for what needs two columns at once. A statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.statistic import Statistic
from penstock.statistics.values import array_of, as_text, numbers_of

_KEYS = [("hash", pa.uint64()), ("path", pa.large_string()), ("row", pa.int64())]
_CHARACTERS = 64


@dataclass(frozen=True, eq=False)
class SampleValue:
    """Some of the rows, drawn evenly, in an order that is random too.

    Attributes:
        rows: how many rows they were drawn from.
        table: a column of float64 for each of the numbers, of ``large_string`` for each of the texts, of lists of
            float32 for each of the vectors.
        paths: the file of each row drawn.
        numbers: int64, shape (rows drawn,): the row's number in its file, from 0.
    """

    rows: int
    table: pa.Table
    paths: pa.ChunkedArray
    numbers: pa.ChunkedArray

    @property
    def complete(self) -> bool:
        """Whether it is all the rows there are."""
        return bool(self.table.num_rows == self.rows)


class Sample(Statistic[SampleValue]):
    """The rows whose keys have the least hashes: an even sample without replacement, the same on any engine.

    The state is a function of the rows alone: any order and grouping gives the same bytes. Texts are cut to 64
    characters.

    Args:
        numbers: columns to keep as float64: numbers, truth values and times (microseconds since 1970).
        texts: columns to keep as text.
        size: the most rows that are kept, at least 1.
        seed: of the hash.
        vectors: columns of ``pa.list_(pa.float32(), width)`` to keep, and the width of each.

    Raises:
        UsageError: a column comes twice, or there is no room for a row.

    Example:
        >>> from penstock.batch import RowKeys
        >>> sample = Sample(["x"], ["y"], size=2)
        >>> rows = pa.record_batch({"x": [1, 2, 3], "y": ["a", None, "c"]})
        >>> sample.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> sample.value().table.num_rows, sample.value().rows
        (2, 3)
    """

    kind = "sample"

    def __init__(
        self,
        numbers: Sequence[str],
        texts: Sequence[str] = (),
        size: int = 20_000,
        seed: int = 0,
        vectors: Mapping[str, int] | None = None,
    ) -> None:
        vectors = vectors or {}
        if size < 1 or len({*numbers, *texts, *vectors}) < len(numbers) + len(texts) + len(vectors):
            raise UsageError(
                "not a sample of rows",
                expected="at least 1 row, and columns that are all different",
                got=f"{size} rows of " + ", ".join(map(repr, [*numbers, *texts])),
                remedy="name each column once",
            )
        self._numbers, self._texts, self._vectors = tuple(numbers), tuple(texts), dict(vectors)
        self._size, self._seed = size, seed
        self._rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        # Columns by their place: their names may be any, and that of a key too.
        kinds = [*(pa.float64() for _ in self._numbers), *(pa.large_string() for _ in self._texts)]
        kinds += [pa.list_(pa.float32(), width) for width in self._vectors.values()]
        self._schema = pa.schema([*_KEYS, *((str(place), kind) for place, kind in enumerate(kinds))])
        self._kept = self._schema.empty_table()
        self._bound: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (*self._numbers, *self._texts, *self._vectors)

    def parameters(self) -> Mapping[str, Any]:
        """The columns, the size and the seed; vectors where there are any."""
        return {
            "numbers": list(self._numbers),
            "texts": list(self._texts),
            "size": self._size,
            "seed": self._seed,
            **({"vectors": self._vectors} if self._vectors else {}),
        }

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing or of another kind.
        """
        self._rows += len(batch)
        if not len(batch):
            return
        hashes = batch.keys.hash(self._seed)
        if self._bound is not None:
            chosen = np.flatnonzero(hashes <= np.uint64(self._bound))
        elif len(hashes) > self._size:
            # All that are at or below the last one kept: what is equal to it is told apart by the key later.
            chosen = np.flatnonzero(hashes <= np.partition(hashes, self._size - 1)[self._size - 1])
        else:
            chosen = np.arange(len(hashes))
        if not len(chosen):
            return
        place = pa.array(chosen)
        keys = batch.keys.take(chosen)
        columns: list[pa.Array] = [
            pa.array(hashes[chosen]),
            keys.path_column().cast(pa.large_string()),
            pa.array(keys.rows),
        ]
        columns += [_as_number(array_of(batch, name).take(place), name) for name in self._numbers]
        columns += [_as_short_text(array_of(batch, name).take(place)) for name in self._texts]
        columns += [array_of(batch, name).take(place) for name in self._vectors]
        self._take(pa.table(columns, schema=self._schema))

    def _take(self, rows: pa.Table) -> None:
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        if self._pending_rows > self._size:
            self._settle()

    def _settle(self) -> None:
        """Sort what is pending into what is kept; the state stays a function of all that was taken in."""
        self._kept = self._settled()
        self._pending, self._pending_rows = [], 0
        full = self._kept.num_rows == self._size
        self._bound = self._kept["hash"][self._size - 1].as_py() if full else None

    def _settled(self) -> pa.Table:
        if not self._pending:
            return self._kept
        rows = pa.concat_tables([self._kept, *self._pending])
        order = pc.sort_indices(rows.select(["hash", "path", "row"]), [(name, "ascending") for name, _ in _KEYS])
        return rows.take(order[: self._size]).combine_chunks()

    def merge(self, other: Self) -> None:
        """Take in another's rows."""
        self._rows += other._rows
        for table in (other._kept, *other._pending):
            rows = table if self._bound is None else table.filter(pc.less_equal(table["hash"], _word(self._bound)))
            if rows.num_rows:
                self._take(rows)

    def value(self) -> SampleValue:
        """The rows drawn so far."""
        kept = self._settled()
        table = kept.select(kept.schema.names[len(_KEYS) :]).rename_columns(list(self.columns))
        return SampleValue(self._rows, table, kept["path"], kept["row"])

    def state(self) -> pa.Table:
        """The rows drawn, by their hashes; before them one of nulls, whose ``row`` is how many they were drawn from."""
        head = [pa.nulls(1, field.type) for field in self._schema]
        head[2] = pa.array([self._rows], pa.int64())
        return pa.concat_tables([pa.table(head, schema=self._schema), self._settled()]).combine_chunks()

    def load(self, state: pa.Table) -> None:
        """Replace the rows."""
        self._rows = state["row"][0].as_py()
        self._pending, self._pending_rows = [state.slice(1)], state.num_rows - 1
        self._kept = self._schema.empty_table()
        self._settle()

    @property
    def nbytes(self) -> int:
        """What the state holds in memory [bytes]."""
        return int(self._kept.nbytes) + sum(int(table.nbytes) for table in self._pending)


def _word(value: int) -> pa.Scalar:
    return pa.scalar(value, pa.uint64())


def _as_number(values: pa.Array, name: str) -> pa.Array:
    """Numbers as float64, null where there is none."""
    plain = numbers_of(values, name)
    if len(plain) == len(values):
        return pa.array(plain)
    out = np.zeros(len(values))
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_dictionary(values.type):
        known = values.dictionary_decode().is_valid().to_numpy(zero_copy_only=False)
    out[known] = plain
    return pa.array(out, mask=~known)


def _as_short_text(values: pa.Array) -> pa.Array:
    texts = as_text(values)
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    return pc.utf8_slice_codeunits(texts, 0, _CHARACTERS)
