"""The step that brings the channels of pictures and clips to mean 0 and deviation 1: `NormalizePicture`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.channel_moments import ChannelMoments, ChannelMomentsValue
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.pictures_columns import Pixels, column_of_pixels, decoded, pixels_of, reshaped, shape_in
from penstock.steps.vectors import with_column


@dataclass(frozen=True)
class NormalizePicture(Step):
    """The channels of pictures and clips to mean 0 and standard deviation 1, as float32.

    Formula:
        y = (x - mean) / deviation, for each channel
        over all pixels of all pictures; the deviation is that of the population, and 1 where it is 0

    Args:
        columns: columns of decoded pictures or clips.
        mean: of each channel (or one for all), in the units of the pixels: 0 to 255 for bytes; null to take that of
            the data.
        deviation: the same for the standard deviation; above 0.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips, or has another number of channels.

    Example:
        >>> NormalizePicture("role:picture", mean=[127.5], deviation=[127.5]).mean
        (127.5,)
    """

    columns: ColumnsLike
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None

    name = "normalize_picture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        for word in ("mean", "deviation"):
            value = getattr(self, word)
            if value is not None:
                object.__setattr__(self, word, _numbers(f"normalize_picture: {word}", value, word == "deviation"))

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = decoded(self.columns, schema, self.name)
        for field in fields:
            for word in ("mean", "deviation"):
                value = getattr(self, word)
                if value is not None and len(value) not in (1, shape_in(field)[3]):
                    raise UsageError(
                        "not a number for each channel",
                        where=f"step {self.name!r}: {word}, column {field.name!r}",
                        expected=f"{shape_in(field)[3]} numbers, or one",
                        got=str(len(value)),
                    )
        return fields

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The moments of the channels of each column, where they are not given."""
        if self.mean is not None and self.deviation is not None:
            return {}
        return {field.name: ChannelMoments(field.name) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedNormalizePicture:
        """The step with a mean and a deviation for each channel; 0 and 1 where there was no picture."""
        fields = self._fields(schema)
        scales = []
        for field in fields:
            channels = shape_in(field)[3]
            found: ChannelMomentsValue | None = values.get(field.name)
            mean, deviation = (found.means, found.deviations) if found and found.rows else ((0.0,), (1.0,))
            mean, deviation = self.mean or mean, self.deviation or deviation
            both = ((*one, *one[-1:] * (channels - len(one))) for one in (mean, deviation))
            scales.append(tuple((center, width or 1.0) for center, width in zip(*both, strict=True)))
        made = (reshaped(field, shape_in(field), pa.float32()) for field in fields)
        return FittedNormalizePicture(self, schema.put(*made), fields, tuple(scales))


@dataclass(frozen=True)
class FittedNormalizePicture(FittedStep):
    """`NormalizePicture` with (mean, deviation) for each channel of each column."""

    step: NormalizePicture
    schema: Schema
    fields: tuple[Field, ...]
    scales: tuple[tuple[tuple[float, float], ...], ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with normalized pixels; nulls stay null."""
        return self._mapped(batch, self.fields, self.schema, _forward)

    def inverse(self, batch: Batch) -> Batch:
        """The batch with the pixels as they were: bytes rounded, and so exactly."""
        outgoing = tuple(self.schema[field.name] for field in self.fields)
        return self._mapped(batch, outgoing, Schema(self.fields), _backward)

    def _mapped(self, batch: Batch, given: tuple[Field, ...], made: Schema, way: Any) -> Batch:
        names, columns = [], []
        for field, scales in zip(given, self.scales, strict=True):
            if field.name not in batch.columns.schema.names:
                continue
            column, shape = batch.column(field.name), shape_in(field)
            pixels = pixels_of(column, shape)
            lines = np.array(scales, np.float64).astype(np.float32)
            center, width = (np.tile(line, shape[2]) for line in lines.T)
            dtype = made[field.name].type.value_type.to_pandas_dtype()
            # whole lines of pixels at a time: a loop over two or three channels would be slow
            found = way(pixels.reshape(-1, shape[2] * shape[3]), center, width, dtype)
            names.append(field.name)
            columns.append(column_of_pixels(found.reshape(pixels.shape), made[field.name], column))
        return with_column(batch, names, columns)


def _forward(pixels: Pixels, center: Pixels, width: Pixels, dtype: Any) -> npt.NDArray[Any]:
    found = np.subtract(pixels, center, dtype=np.float32, casting="unsafe")
    found *= np.float32(1.0) / width
    return found


def _backward(pixels: Pixels, center: Pixels, width: Pixels, dtype: Any) -> npt.NDArray[Any]:
    found = pixels * width
    found += center
    if np.issubdtype(dtype, np.integer):
        found = np.clip(np.rint(found), 0, np.iinfo(dtype).max)
    return found.astype(dtype)


def _numbers(where: str, value: Any, positive: bool) -> tuple[float, ...]:
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    good = all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts) and parts
    if not good or not all(math.isfinite(part) and (part > 0 or not positive) for part in parts):
        expected = "a finite number" + (" above 0" if positive else "") + " for each channel"
        raise UsageError("out of range", where=where, expected=expected, got=repr(value))
    return tuple(float(part) for part in parts)
