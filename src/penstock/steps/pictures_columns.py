"""Columns of decoded pictures and clips: which are meant, their pixels as NumPy arrays, and what steps on them share.

A picture is a clip of one frame here, so that each step is written once: pixels are always of shape (rows, frames,
height, width, channels). No step itself.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Schema, tensor
from penstock.selector import ColumnsLike
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen
from penstock.steps.pictures_libraries import opencv
from penstock.steps.pictures_random import Chance
from penstock.steps.vectors import with_column

Pixels: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, int, int, int]
"""Frames, height, width, channels."""
Size: TypeAlias = tuple[int, int]
"""Height, width."""

_MOST_SIDE = 16_384
_CHANNELS = (1, 3, 4)
_NUMBERS = (pa.uint8(), pa.uint16(), pa.float32(), pa.float64())


def decoded(columns: ColumnsLike, schema: Schema, step: str) -> tuple[Field, ...]:
    """The fields that a selection meets, all of them of tensors with three axes (pictures) or four (clips).

    Raises:
        SchemaError: it meets none, or one of something else.
    """
    fields = chosen(columns, schema)
    for field in fields:
        shape = field.shape or ()
        if len(shape) not in (3, 4) or shape[-1] not in _CHANNELS or field.type.value_type not in _NUMBERS:
            encoded = pa.types.is_binary(field.type)
            raise SchemaError(
                "not a column that the step can work on",
                where=f"step {step!r}, column {field.name!r}",
                expected="decoded pictures (height, width, channels) or clips (frames, height, width, channels), of "
                "1, 3 or 4 channels, of " + ", ".join(map(str, _NUMBERS)),
                got=f"{field.type} (role {field.role.value})",
                remedy="put `decode_picture` before" if encoded else "leave it out of `columns`",
            )
    return fields


def shape_in(field: Field) -> Shape:
    """The shape of a field's values as that of clips."""
    shape = field.shape or ()
    return (1, *shape) if len(shape) == 3 else shape  # type: ignore[return-value]


def reshaped(field: Field, shape: Shape, values: pa.DataType) -> Field:
    """The field with tensors of another shape and type; a picture stays a picture."""
    plain = shape[1:] if field.shape is not None and len(field.shape) == 3 else shape
    return replace(field, type=tensor(values, plain))


def pixels_of(column: pa.Array, shape: Shape) -> Pixels:
    """The pixels of a column, shape (rows, frames, height, width, channels); zeros where a row is null.

    A view of the column where no row is null: not to be written to.
    """
    held, size = column.storage, math.prod(shape)
    values = held.values.slice(held.offset * size, len(held) * size)
    if values.null_count:  # without a value NumPy would be given floats
        values = values.fill_null(0)
    pixels: Pixels = values.to_numpy(zero_copy_only=False).reshape(len(held), *shape)
    if held.null_count:
        pixels = pixels.copy()
        pixels[held.is_null().to_numpy(zero_copy_only=False)] = 0
    return pixels


def column_of_pixels(pixels: Pixels, field: Field, like: pa.Array | None = None) -> pa.Array:
    """A column of a field's type with these pixels; null where ``like`` is."""
    values = pa.array(np.ascontiguousarray(pixels).reshape(-1))
    mask = like.is_null() if like is not None and like.null_count else None
    held = pa.FixedSizeListArray.from_arrays(values, type=field.type.storage_type, mask=mask)
    return pa.ExtensionArray.from_storage(field.type, held)


class PictureStep(Step):
    """A step that changes the pixels of decoded pictures and clips, and nothing else; nulls stay null.

    What is drawn at random is drawn once for each row: all frames of a clip, and all columns of the step (a picture
    and its mask), get the same.
    """

    columns: ColumnsLike
    needs_opencv: ClassVar[bool] = True

    @property
    def mirrors(self) -> bool:
        """Whether it mirrors, left to right, at random."""
        return False

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in decoded(self.columns, schema, self.name))
        return Columns(names, names)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedStep:
        """The step for columns of these shapes."""
        return self.fitted(schema)

    def fitted(self, schema: Schema) -> FittedPictures:
        """The step for columns of these shapes; it learns nothing."""
        if self.needs_opencv:
            opencv()
        fields = decoded(self.columns, schema, self.name)
        made = (reshaped(field, *self.made_of(field, shape_in(field))) for field in fields)
        return FittedPictures(self, schema.put(*made), fields)

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """The shape and the type of what comes out, from those that come in.

        Raises:
            SchemaError: it can't work on such pictures.
        """
        return shape, field.type.value_type

    @abstractmethod
    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Other pixels from those of some rows; a new array, or the same one where nothing changes."""

    def still(self, pixels: Pixels) -> Pixels:
        """Of a step that augments: what it does where it does not augment."""
        return pixels

    def refused(self, field: Field, expected: str, remedy: str = "") -> SchemaError:
        """The error for a column of another kind than the step works on."""
        return SchemaError(
            "not pictures that the step can work on",
            where=f"step {self.name!r}, column {field.name!r}",
            expected=expected,
            got=f"{field.type.value_type} of shape {list(field.shape or ())}",
            remedy=remedy,
        )


@dataclass(frozen=True)
class FittedPictures(FittedStep):
    """A `PictureStep` and the columns that it works on."""

    step: PictureStep
    schema: Schema
    fields: tuple[Field, ...]

    @property
    def mirrored(self) -> tuple[str, ...]:
        """Its columns, where it mirrors."""
        return tuple(field.name for field in self.fields) if self.step.mirrors else ()

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with other pixels."""
        chance = Chance(batch.keys, use, repr(self.step))
        names, columns = [], []
        for field in self.fields:
            if field.name not in batch.columns.schema.names:
                continue
            given = batch.column(field.name)
            pixels = pixels_of(given, shape_in(field))
            if self.step.random and use.purpose != "train":
                found = self.step.still(pixels)
            else:
                found = self.step.changed(pixels, chance)
            self._refuse_other_rows(field, pixels, found)
            names.append(field.name)
            columns.append(given if found is pixels else column_of_pixels(found, self.schema[field.name], given))
        return with_column(batch, names, columns)

    def _refuse_other_rows(self, field: Field, given: Pixels, found: Pixels) -> None:
        """A step of someone else's may give pixels of another shape than it said."""
        shape = self.schema[field.name].shape or ()
        if len(found) != len(given) or found[:1].size != len(given[:1]) * math.prod(shape):
            raise UsageError(
                "the step gives pixels of another shape than it says",
                where=f"step {self.step.name!r}, column {field.name!r}",
                expected=f"(rows, frames, height, width, channels) for {len(given)} rows of {list(shape)}",
                got=str(list(found.shape)),
            )


def frames_of(pixels: Pixels) -> Pixels:
    """Every frame of every row, shape (rows * frames, height, width, channels)."""
    return pixels.reshape(-1, *pixels.shape[2:])


def size_of(where: str, size: Any) -> Size:
    """A height and a width from what users write: two numbers, or one for both.

    Raises:
        UsageError: it is neither.

    Example:
        >>> size_of("resize_picture: size", 32)
        (32, 32)
    """
    both = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(both) != 2 or not all(
        isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= _MOST_SIDE for one in both
    ):
        raise UsageError(
            "not a size",
            where=where,
            expected=f"pixels from 1 to {_MOST_SIDE:,}: [height, width] or one number",
            got=repr(size),
        )
    return both


def number_between(where: str, value: Any, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, both allowed.

    Raises:
        UsageError: it is none.
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not good:
        raise UsageError("out of range", where=where, expected=f"a number from {low:g} to {high:g}", got=repr(value))
    return float(value)


def one_of(where: str, value: Any, *allowed: str) -> None:
    """Refuse what is not one of these words.

    Raises:
        UsageError: it is not.
    """
    if value not in allowed:
        raise UsageError(
            "no such choice", where=where, expected=" or ".join(repr(one) for one in allowed), got=repr(value)
        )
