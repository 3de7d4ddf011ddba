"""Mean and variance of each channel of a column of pictures or clips. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import DataError, SchemaError
from penstock.schema import shape_of
from penstock.statistic import Statistic
from penstock.statistics.moments import Sums, merged_sums, sums_of
from penstock.statistics.values import array_of

_STATE = pa.schema(
    [
        ("rows", pa.int64()),
        ("nulls", pa.int64()),
        ("count", pa.int64()),
        ("total", pa.decimal128(38)),
        ("squares", pa.decimal128(38)),
        ("mean", pa.float64()),
        ("remainder", pa.float64()),
        ("second", pa.float64()),
        ("third", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
    ]
)
_BYTES = 2**20
"""Of pixels are summed at a time [bytes], so that they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class ChannelMomentsValue:
    """The moments of each channel; empty where there was no picture.

    Attributes:
        rows: pictures or clips that are not null.
        nulls: rows without one.
        means: of each channel.
        variances: of each channel, of the population (divided by the count).
    """

    rows: int
    nulls: int
    means: tuple[float, ...]
    variances: tuple[float, ...]

    @property
    def deviations(self) -> tuple[float, ...]:
        """The standard deviation of each channel."""
        return tuple(math.sqrt(variance) for variance in self.variances)


class ChannelMoments(Statistic[ChannelMomentsValue]):
    """Mean and variance of each channel, over all pixels of a column of tensors (their last axis is the channels).

    Of bytes the sums of values and of squares are whole numbers: any order and grouping gives the same bytes. Other
    numbers are summed as in `Moments`, around each block's own mean: the same blocks in the same order give the same
    bytes.

    Args:
        column: the column's name.

    Example:
        >>> from penstock.batch import RowKeys
        >>> pixels = np.array([[[[0, 7]], [[4, 7]]]], np.uint8)
        >>> column = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
        >>> moments = ChannelMoments("x")
        >>> moments.update(Batch(pa.record_batch({"x": column}), RowKeys.span("", 0, 1)))
        >>> moments.value().means, moments.value().deviations
        ((2.0, 7.0), (2.0, 0.0))
    """

    kind = "channel_moments"

    def __init__(self, column: str) -> None:
        self._column = column
        self._rows = self._nulls = self._count = 0
        self._totals: list[int] = []
        self._squares: list[int] = []
        self._sums: list[Sums] = []

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
            SchemaError: the column is missing, or not of tensors, or of another number of channels than before.
            DataError: a number is not finite.
        """
        values = array_of(batch, self._column)
        shape = shape_of(values.type)
        if shape is None:
            raise SchemaError(
                "a statistic of channels met a column that has none",
                where=f"column {self._column!r}",
                expected="decoded pictures or clips: tensors",
                got=str(values.type),
            )
        self._nulls += values.null_count
        pixels = values.storage.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)  # without the nulls
        if not len(pixels):
            return
        self._rows += len(pixels)
        count = pixels.size // shape[-1]
        if pixels.dtype == np.uint8:
            self._take_in(count, *_whole_sums(pixels), [Sums()] * shape[-1])
        else:
            zeros = [0] * shape[-1]
            self._take_in(count, zeros, zeros, self._sums_of(pixels))

    def _sums_of(self, pixels: npt.NDArray[Any]) -> list[Sums]:
        out = []
        for channel in range(pixels.shape[-1]):
            values = np.ascontiguousarray(pixels[..., channel], np.float64).reshape(-1)
            low, high = float(values.min()), float(values.max())
            if not math.isfinite(low) or not math.isfinite(high):
                raise DataError("a pixel is no finite number", where=f"column {self._column!r}", got=f"{low}, {high}")
            out.append(sums_of(values, low, high))
        return out

    def _take_in(self, count: int, totals: list[int], squares: list[int], sums: list[Sums]) -> None:
        if not self._totals:
            self._totals, self._squares, self._sums = [0] * len(totals), [0] * len(totals), [Sums()] * len(totals)
        if len(totals) != len(self._totals):
            raise SchemaError(
                "pictures of other numbers of channels",
                where=f"column {self._column!r}",
                expected=str(len(self._totals)),
                got=str(len(totals)),
            )
        self._count += count
        self._totals = [a + b for a, b in zip(self._totals, totals, strict=True)]
        self._squares = [a + b for a, b in zip(self._squares, squares, strict=True)]
        self._sums = [merged_sums(a, b) for a, b in zip(self._sums, sums, strict=True)]

    def merge(self, other: Self) -> None:
        """Take in another's sums, as though its batches came after."""
        self._nulls += other._nulls
        self._rows += other._rows
        if other._totals:
            self._take_in(other._count, other._totals, other._squares, other._sums)

    def value(self) -> ChannelMomentsValue:
        """The moments so far."""
        means, variances = [], []
        for total, squares, sums in zip(self._totals, self._squares, self._sums, strict=True):
            if sums.count:
                means.append(sums.mean)
                variances.append(sums.second / sums.count)
            else:  # the difference of whole numbers is exact; each is rounded once
                means.append(total / self._count)
                variances.append((squares * self._count - total * total) / self._count**2)
        return ChannelMomentsValue(self._rows, self._nulls, tuple(means), tuple(variances))

    def state(self) -> pa.Table:
        """A row for each channel: the sums; where there is none yet, one row of the counts alone."""
        fields = ("mean", "remainder", "second", "third", "minimum", "maximum")
        rows = [
            {
                "rows": self._rows,
                "nulls": self._nulls,
                "count": self._count,
                "total": total,
                "squares": squares,
                **{name: getattr(sums, name) for name in fields},
            }
            for total, squares, sums in zip(self._totals, self._squares, self._sums, strict=True)
        ]
        return pa.Table.from_pylist(rows or [{"rows": self._rows, "nulls": self._nulls}], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the sums."""
        rows = state.to_pylist()
        self._rows, self._nulls = rows[0]["rows"], rows[0]["nulls"]
        held = [row for row in rows if row["count"] is not None]
        self._count = held[0]["count"] if held else 0
        self._totals = [int(row["total"]) for row in held]
        self._squares = [int(row["squares"]) for row in held]
        self._sums = []
        for row in held:
            empty = row["minimum"] > row["maximum"]
            names = ("mean", "remainder", "second", "third", "minimum", "maximum")
            self._sums.append(Sums() if empty else Sums(self._count, *(row[name] for name in names)))


def _whole_sums(pixels: npt.NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """The sums of the values and of their squares, of each channel.

    Pictures are added up place by place, which processors do many at a time: 255^2 fits 16 bits, and 65,536 of it 32.
    """
    channels = pixels.shape[-1]
    flat = pixels.reshape(len(pixels), -1)
    step = max(1, min(65_536, _BYTES // flat.shape[1]))
    totals, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        wide = part.astype(np.uint16)
        np.multiply(wide, wide, out=wide)
        for values, sums in ((part, totals), (wide, squares)):
            places = np.add.reduce(values, axis=0, dtype=np.uint32)
            np.add(sums, places.reshape(-1, channels).sum(axis=0, dtype=np.int64), out=sums)
    return totals.tolist(), squares.tolist()
