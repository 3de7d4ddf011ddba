"""How large the pictures of a column are, and whether they have colors, from their headers. A statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError
from penstock.statistic import Statistic
from penstock.statistics.picture_headers import BadPicture, read_header
from penstock.statistics.values import Integers, array_of

_LARGEST = 4096
"""Shorter sides beyond this count as this."""
_STATE = pa.schema(
    [
        ("nulls", pa.int64()),
        ("bad", pa.int64()),
        ("gray", pa.int64()),
        ("least_height", pa.int64()),
        ("least_width", pa.int64()),
        ("greatest_height", pa.int64()),
        ("greatest_width", pa.int64()),
        ("sides", pa.list_(pa.int64())),
        ("counts", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True)
class PictureSizesValue:
    """Sizes of pictures, upright.

    Attributes:
        count: pictures whose header can be read.
        nulls: rows without a picture.
        bad: rows whose bytes have no header of a picture.
        gray: pictures with one channel.
        least: the least height and the least width; zeros where there is no picture.
        greatest: the greatest height and the greatest width.
        median_side: the median of the shorter sides, the lower of two middle ones; at most 4,096.
    """

    count: int
    nulls: int
    bad: int
    gray: int
    least: tuple[int, int]
    greatest: tuple[int, int]
    median_side: int


class PictureSizes(Statistic[PictureSizesValue]):
    """Sizes and colors of one column of encoded pictures: nothing is decoded.

    An integer state: any order and grouping gives the same bytes.

    Args:
        column: the column's name; its values are bytes of files.

    Example:
        >>> from penstock.batch import RowKeys
        >>> picture = b"GIF89a" + bytes([30, 0, 20, 0, 0, 0, 0])
        >>> sizes = PictureSizes("x")
        >>> sizes.update(Batch(pa.record_batch({"x": pa.array([picture, None, b"?"])}), RowKeys.span("", 0, 3)))
        >>> value = sizes.value()
        >>> value.greatest, value.median_side, value.nulls, value.bad
        ((20, 30), 20, 1, 1)
    """

    kind = "picture_sizes"

    def __init__(self, column: str) -> None:
        self._column = column
        self._nulls = self._bad = self._gray = 0
        self._least = np.zeros(2, np.int64)
        self._greatest = np.zeros(2, np.int64)
        self._sides: dict[int, int] = {}

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
            SchemaError: the column is missing, or not of bytes.
        """
        values = array_of(batch, self._column)
        if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
            raise SchemaError(
                "a statistic of encoded pictures met a column that has none",
                where=f"column {self._column!r}",
                expected="binary, the bytes of the pictures' files",
                got=str(values.type),
            )
        shapes = []
        for value in values:
            if not value.is_valid:
                self._nulls += 1
                continue
            try:
                header = read_header(memoryview(value.as_buffer()))
            except BadPicture:
                self._bad += 1
                continue
            shapes.append(header.shown)
            self._gray += header.channels == 1
        if shapes:
            found = np.array(shapes, np.int64)
            self._widen(found.min(axis=0), found.max(axis=0))
            self._count(*np.unique(np.minimum(found.min(axis=1), _LARGEST), return_counts=True))

    def _widen(self, least: Integers, greatest: Integers) -> None:
        self._least = np.minimum(self._least, least) if self._sides else least
        self._greatest = np.maximum(self._greatest, greatest)

    def _count(self, sides: Integers, counts: Integers) -> None:
        for side, count in zip(sides.tolist(), counts.tolist(), strict=True):
            self._sides[side] = self._sides.get(side, 0) + count

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        self._nulls += other._nulls
        self._bad += other._bad
        self._gray += other._gray
        if other._sides:
            self._widen(other._least, other._greatest)
            self._count(np.array([*other._sides]), np.array([*other._sides.values()]))

    def value(self) -> PictureSizesValue:
        """The sizes so far."""
        sides = np.array(sorted(self._sides), np.int64)
        counts = np.array([self._sides[side] for side in sides.tolist()], np.int64)
        count = int(counts.sum())
        middle = int(sides[np.searchsorted(np.cumsum(counts), (count + 1) // 2)]) if count else 0
        least, greatest = self._least.tolist(), self._greatest.tolist()
        return PictureSizesValue(
            count, self._nulls, self._bad, self._gray, (least[0], least[1]), (greatest[0], greatest[1]), middle
        )

    def state(self) -> pa.Table:
        """One row: the counts, the extremes, and how often each shorter side was met, ascending."""
        sides = sorted(self._sides)
        extremes = [*self._least.tolist(), *self._greatest.tolist()]
        row = [self._nulls, self._bad, self._gray, *extremes, sides, [self._sides[side] for side in sides]]
        return pa.table([[item] for item in row], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        row = state.to_pylist()[0]
        self._nulls, self._bad, self._gray = row["nulls"], row["bad"], row["gray"]
        self._least = np.array([row["least_height"], row["least_width"]], np.int64)
        self._greatest = np.array([row["greatest_height"], row["greatest_width"]], np.int64)
        self._sides = dict(zip(row["sides"], row["counts"], strict=True))
