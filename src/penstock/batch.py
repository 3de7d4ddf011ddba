"""What is in memory at once: Arrow columns, the key of each row, the rows rejected on the way, and the counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

REJECTED = pa.schema(
    [
        ("path", pa.string()),  # of the file, relative to the source's root
        ("row", pa.int64()),  # from 0, in the file
        ("line", pa.int64()),  # from 1, in a text file; null elsewhere
        ("step", pa.string()),  # "read", or the step's name
        ("column", pa.string()),  # null where the whole record is at fault
        ("code", pa.string()),  # short, stable, for machines
        ("reason", pa.string()),  # for people
        ("value", pa.string()),  # the cell as it came
        ("record", pa.string()),  # the line as it came, or the row as JSON
    ]
)
"""The columns of a table of rejected rows: one row for each row rejected."""


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Where each row of a batch came from: the file's path relative to the source's root, and the row in it.

    Splits, randomness, rejects and order follow from it, whatever worker read the row and whenever.

    Attributes:
        paths: the files' paths.
        rows: int64, shape (rows,): the row's number in its file, from 0.
        files: int32, shape (rows,): index into ``paths``; None where all rows are of ``paths[0]``.
    """

    paths: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    files: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def span(cls, path: str, start: int, count: int) -> RowKeys:
        """Keys of ``count`` neighbouring rows of one file, from row ``start``."""
        return cls((path,), np.arange(start, start + count, dtype=np.int64))

    def take(self, index: npt.NDArray[Any]) -> RowKeys:
        """The keys at these positions (integers), or where a mask is true (booleans)."""
        return RowKeys(self.paths, self.rows[index], None if self.files is None else self.files[index])

    def slice(self, start: int, length: int) -> RowKeys:
        """A run of neighbouring rows, without copying."""
        stop = start + length
        return RowKeys(self.paths, self.rows[start:stop], None if self.files is None else self.files[start:stop])

    @classmethod
    def concat(cls, keys: Sequence[RowKeys]) -> RowKeys:
        """The keys of several batches, one after the other."""
        paths = tuple(dict.fromkeys(path for key in keys for path in key.paths))
        rows = np.concatenate([key.rows for key in keys]) if keys else np.empty(0, np.int64)
        if len(paths) <= 1:
            return cls(paths or ("",), rows)
        place = {path: i for i, path in enumerate(paths)}
        files = [
            np.array([place[path] for path in key.paths], np.int32)[
                np.zeros(len(key), np.int32) if key.files is None else key.files
            ]
            for key in keys
        ]
        return cls(paths, rows, np.concatenate(files))

    def path_column(self) -> pa.Array:
        """The path of each row, as text."""
        if self.files is None:
            return pa.repeat(pa.scalar(self.paths[0], pa.string()), len(self.rows))
        return pa.DictionaryArray.from_arrays(pa.array(self.files), pa.array(self.paths, pa.string())).cast(pa.string())

    def hash(self, seed: int) -> npt.NDArray[np.uint64]:
        """A uniform 64-bit hash of (seed, path, row) for each row: the one source of splits and randomness.

        The path is hashed by BLAKE2b; the row is mixed in by the finalizer of SplitMix64 (Steele, Lea and Flood,
        "Fast splittable pseudorandom number generators", OOPSLA 2014), applied twice.
        """
        bases = np.array([_path_hash(seed, path) for path in self.paths], np.uint64)
        base = bases[0] if self.files is None else bases[self.files]
        return _mix(_mix(self.rows.astype(np.uint64) + base) ^ base)


def _path_hash(seed: int, path: str) -> int:
    digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8, salt=b"rowkey")
    digest.update(seed.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Count:
    """What one step did to the number of rows. The law: ``rows_in + made = out + rejected + dropped``."""

    step: str
    rows_in: int = 0
    made: int = 0
    out: int = 0
    rejected: int = 0
    dropped: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows_in + self.made == self.out + self.rejected + self.dropped

    def __add__(self, other: Count) -> Count:
        return Count(
            self.step,
            self.rows_in + other.rows_in,
            self.made + other.made,
            self.out + other.out,
            self.rejected + other.rejected,
            self.dropped + other.dropped,
        )

    def to_json(self) -> dict[str, Any]:
        """The count as JSON values, under the ledger's words."""
        return {
            "step": self.step,
            "in": self.rows_in,
            "made": self.made,
            "out": self.out,
            "rejected": self.rejected,
            "dropped": self.dropped,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Count:
        """A count from what `to_json` gave."""
        return cls(
            str(value["step"]),
            int(value["in"]),
            int(value["made"]),
            int(value["out"]),
            int(value["rejected"]),
            int(value["dropped"]),
        )


def add_counts(*parts: Iterable[Count]) -> tuple[Count, ...]:
    """Counts summed by step, steps in the order in which they are first met."""
    total: dict[str, Count] = {}
    for part in parts:
        for count in part:
            total[count.step] = total[count.step] + count if count.step in total else count
    return tuple(total.values())


@dataclass(frozen=True, slots=True)
class Batch:
    """A block of rows.

    Attributes:
        columns: the values, one Arrow array per column. Missing is null, never NaN; numbers are finite.
        keys: where each row came from; as many as there are rows.
        rejected: rows that left on the way, of schema `REJECTED`; None where there are none.
        counts: what each step so far did to the number of rows, the reader first.
    """

    columns: pa.RecordBatch
    keys: RowKeys
    rejected: pa.Table | None = None
    counts: tuple[Count, ...] = ()

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def nbytes(self) -> int:
        """What the batch holds in memory [bytes]."""
        return int(self.columns.nbytes) + self.keys.rows.nbytes + (self.rejected.nbytes if self.rejected else 0)

    def column(self, name: str) -> pa.Array:
        """One column, as an Arrow array."""
        return self.columns.column(name)

    def filter(self, mask: npt.NDArray[np.bool_]) -> Batch:
        """The rows where ``mask`` is true; rejects and counts are kept as they are."""
        return replace(self, columns=self.columns.filter(pa.array(mask)), keys=self.keys.take(mask))

    def slice(self, start: int, length: int) -> Batch:
        """A run of rows, without copying and without the rejects and counts."""
        length = max(0, min(length, len(self) - start))
        return Batch(self.columns.slice(start, length), self.keys.slice(start, length))

    def with_columns(self, columns: pa.RecordBatch) -> Batch:
        """The same rows with other columns."""
        return replace(self, columns=columns)

    def select(self, names: Sequence[str]) -> Batch:
        """The same rows with only these columns."""
        return replace(self, columns=self.columns.select(list(names)))

    def reject(self, bad: npt.NDArray[np.bool_], *, step: str, column: str | None, code: str, reason: str) -> Batch:
        """Take the rows where ``bad`` is true out of the batch and into ``rejected``, with their values.

        The count of the step is not changed here: whoever runs the step compares before and after.
        """
        if not bad.any():
            return self
        table = self.rejections(bad, step=step, column=column, code=code, reason=reason)
        rejected = table if self.rejected is None else pa.concat_tables([self.rejected, table])
        return replace(self.filter(~bad), rejected=rejected)

    def rejections(
        self, bad: npt.NDArray[np.bool_], *, step: str, column: str | None, code: str, reason: str
    ) -> pa.Table:
        """The rows where ``bad`` is true, as a table of schema `REJECTED`; the batch stays as it is."""
        place = np.flatnonzero(bad)
        gone = self.columns.take(pa.array(place))
        keys = self.keys.take(place)
        value: pa.Array = pa.nulls(len(keys), pa.string())
        if column is not None and column in gone.schema.names:
            value = _as_text(gone.column(column))
        return pa.table(
            {
                "path": keys.path_column(),
                "row": pa.array(keys.rows),
                "line": pa.nulls(len(keys), pa.int64()),
                "step": pa.repeat(pa.scalar(step), len(keys)),
                "column": pa.repeat(pa.scalar(column, pa.string()), len(keys)),
                "code": pa.repeat(pa.scalar(code), len(keys)),
                "reason": pa.repeat(pa.scalar(reason), len(keys)),
                "value": value,
                "record": _records(gone),
            },
            schema=REJECTED,
        )


_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def _as_text(values: pa.Array) -> pa.Array:
    if isinstance(values.type, pa.FixedShapeTensorType) or any(kind(values.type) for kind in _BINARY):
        return pa.array([None if not v.is_valid else _told(v) for v in values], pa.string())
    try:
        return pc.cast(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())


def _told(value: pa.Scalar) -> str:
    """A picture or a clip is told by its size and digest: what it was is in its file."""
    if isinstance(value.type, pa.FixedShapeTensorType):
        return f"tensor of shape {list(value.type.shape)}"
    held = value.as_buffer()
    return f"{held.size:,} bytes, BLAKE2b {hashlib.blake2b(held, digest_size=8).hexdigest()}"


def _records(columns: pa.RecordBatch) -> pa.Array:
    import json

    plain = [column if _plain(column.type) else _as_text(column) for column in columns.columns]
    rows = (dict(zip(columns.schema.names, row, strict=True)) for row in _rows(plain, columns.num_rows))
    return pa.array([json.dumps(row, ensure_ascii=False, default=str) for row in rows], pa.string())


def _plain(kind: pa.DataType) -> bool:
    return not isinstance(kind, pa.FixedShapeTensorType) and not any(is_kind(kind) for is_kind in _BINARY)


def _rows(columns: Sequence[pa.Array], count: int) -> Iterable[tuple[Any, ...]]:
    if not columns:
        return iter([()] * count)
    return zip(*(column.to_pylist() for column in columns), strict=True)


def record_batch(columns: Sequence[pa.Array], names: Sequence[str], rows: int) -> pa.RecordBatch:
    """Columns under their names; of no columns, so many rows of nothing."""
    if columns:
        return pa.RecordBatch.from_arrays(list(columns), names=list(names))
    return pa.RecordBatch.from_struct_array(pa.StructArray.from_arrays([], fields=[], mask=pa.repeat(False, rows)))
