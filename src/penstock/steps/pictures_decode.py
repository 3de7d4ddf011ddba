"""The step that turns the bytes of pictures' files into pixels of one size: `DecodePicture`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import DataError, SchemaError
from penstock.schema import Field, Role, Schema, tensor
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.picture_headers import BadPicture
from penstock.statistics.picture_sizes import PictureSizes, PictureSizesValue
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen, whole_number
from penstock.steps.pictures_bytes import Limits, decode
from penstock.steps.pictures_columns import Pixels, Size, column_of_pixels, one_of, size_of
from penstock.steps.pictures_fitting import INTERPOLATIONS, MODES, Interpolation, Mode, bring, ground, inner_size
from penstock.steps.pictures_libraries import jpeg_decoder, opencv
from penstock.steps.vectors import with_column

_LARGEST_SIDE = 128
_STEP = 16


@dataclass(frozen=True)
class DecodePicture(Step):
    """Bytes of pictures' files -> pixels of one size: uint8, (height, width, channels), red, green, blue.

    JPEG, PNG, GIF, BMP, WebP and TIFF are read. Decoding and resizing are one step. What comes out is what Pillow's
    ``convert("RGB")`` gives for the picture upright (EXIF orientation 1 to 8 is followed), but for these: samples of 16
    bits are scaled to 8; of an animation the first frame is taken. Transparency is left out, as Pillow does. Inks
    (CMYK, YCCK) become colors without a profile.

    A picture that is missing, damaged, cut off, or beyond a limit is rejected, by what its header says before anything
    is decoded. Never is a part of a picture taken for the whole.

    The size "auto" is that of the pictures where all have one of at most 128 on the shorter side; else a square, its
    side the median of the shorter sides, rounded down to a multiple of 16, at most 128. The channels "auto" are 1
    where all pictures are gray, else 3.

    With the interpolation "auto" a JPEG that is to shrink is decoded at a half, a quarter or an eighth of its size, if
    that is still one and a half times what is asked for, and the rest is done by the mean of areas. On photos that is
    about 1 of 255 from decoding it whole, less than two filters differ.

    Args:
        columns: columns of encoded pictures.
        size: [height, width], one number for both, or "auto".
        mode: "exact": stretched to the size; "fit": as large as goes within it, on a ground of ``color``; "fill": as
            small as covers it, of what is too long the middle.
        channels: 3, 1 (gray, by ITU-R BT.601), or "auto".
        interpolation: "auto" ("area" where it shrinks, "linear" where it grows), "area", "linear", "cubic", "lanczos"
            or "nearest".
        color: of the ground for "fit": 0 to 255, one number or three.
        max_pixels: a picture with more is rejected [pixels].
        max_bytes: a file with more is rejected [bytes].
        max_ratio: how many bytes may come of one byte of the file; looked at where more than 16 MiB come.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of bytes.
        DataError: something is "auto", and no picture can be read.
        MissingExtra: OpenCV or simplejpeg is not installed.

    Example:
        >>> DecodePicture("role:picture", 64, mode="fill").size
        (64, 64)
    """

    columns: ColumnsLike
    size: Literal["auto"] | int | tuple[int, int] = "auto"
    mode: Mode = "exact"
    channels: Literal["auto", 1, 3] = "auto"
    interpolation: Interpolation = "auto"
    color: int | tuple[int, int, int] = 0
    max_pixels: int = 2**26
    max_bytes: int = 2**26
    max_ratio: int = 10_000

    name = "decode_picture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.size != "auto":
            object.__setattr__(self, "size", size_of("decode_picture: size", self.size))
        one_of("decode_picture: mode", self.mode, *MODES)
        one_of("decode_picture: interpolation", self.interpolation, *INTERPOLATIONS)
        if self.channels != "auto" and (isinstance(self.channels, bool) or self.channels not in (1, 3)):
            one_of("decode_picture: channels", self.channels, "auto", "1", "3")
        color = ground("decode_picture: color", self.color)
        object.__setattr__(self, "color", color if len(color) == 3 else color[0])
        for limit in ("max_pixels", "max_bytes", "max_ratio"):
            whole_number(f"decode_picture: {limit}", getattr(self, limit), 1, 2**40)

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written; rows may be rejected."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names, rows=True)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        fields = chosen(self.columns, schema)
        for field in fields:
            if not (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)):
                raise SchemaError(
                    "not a column that the step can work on",
                    where=f"step {self.name!r}, column {field.name!r}",
                    expected="binary, the bytes of the pictures' files",
                    got=f"{field.type} (role {field.role.value})",
                    remedy="use `resize_picture`" if field.shape else "leave it out of `columns`",
                )
        return fields

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The sizes of each column, where one is to be chosen."""
        if "auto" not in (self.size, self.channels):
            return {}
        return {field.name: PictureSizes(field.name) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedDecodePicture:
        """The step with the size and the channels of each column."""
        opencv(), jpeg_decoder()
        shapes = []
        fields = self._fields(schema)
        for field in fields:
            found: PictureSizesValue | None = values.get(field.name)
            if found is not None and not found.count:
                raise DataError(
                    "no picture can be read, so that no size can be chosen",
                    where=f"step {self.name!r}, column {field.name!r}",
                    expected="JPEG, PNG, GIF, BMP, WebP or TIFF",
                    got=f"{found.nulls:,} rows without a picture, {found.bad:,} with other bytes",
                    remedy="say `size` and `channels`, or name the column of the pictures",
                )
            size = self.size if isinstance(self.size, tuple) else _chosen_size(found)
            channels = self.channels if isinstance(self.channels, int) else _chosen_channels(found)
            shapes.append((*size, channels))
        made = (_as_decoded(field, shape) for field, shape in zip(fields, shapes, strict=True))
        return FittedDecodePicture(self, schema.put(*made), tuple(field.name for field in fields), tuple(shapes))

    @property
    def limits(self) -> Limits:
        """What a file may ask for."""
        return Limits(self.max_pixels, self.max_bytes, self.max_ratio)


def _chosen_size(found: PictureSizesValue | None) -> Size:
    assert found is not None
    if found.least == found.greatest and min(found.least) <= _LARGEST_SIDE:
        return found.least
    side = found.median_side
    side = min(_LARGEST_SIDE, side // _STEP * _STEP if side >= _STEP else side)
    return side, side


def _chosen_channels(found: PictureSizesValue | None) -> int:
    assert found is not None
    return 1 if found.gray == found.count else 3


def _as_decoded(field: Field, shape: tuple[int, ...]) -> Field:
    role = Role.picture if field.role.is_feature else field.role
    return replace(field, type=tensor(pa.uint8(), shape), role=role)


@dataclass(frozen=True)
class FittedDecodePicture(FittedStep):
    """`DecodePicture` with the size and the channels of each column."""

    step: DecodePicture
    schema: Schema
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its pictures decoded; rows whose pictures can't be are rejected."""
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name in batch.columns.schema.names:
                batch = self._decoded(batch, name, shape)
        return batch

    def _decoded(self, batch: Batch, name: str, shape: tuple[int, ...]) -> Batch:
        pixels = np.empty((len(batch), *shape), np.uint8)
        faults: dict[tuple[str, str], list[int]] = {}
        for place, value in enumerate(batch.column(name)):
            try:
                if not value.is_valid:
                    raise BadPicture("missing", "no picture")
                self._one(memoryview(value.as_buffer()).cast("B"), pixels[place])
            except BadPicture as error:
                faults.setdefault((error.code, error.reason), []).append(place)
        kept = np.ones(len(batch), bool)
        tables = [] if batch.rejected is None else [batch.rejected]
        for (code, reason), places in faults.items():
            bad = np.zeros(len(batch), bool)
            bad[places] = True
            kept &= ~bad
            tables.append(batch.rejections(bad, step=self.step.name, column=name, code=code, reason=reason))
        if faults:
            batch = replace(batch.filter(kept), rejected=pa.concat_tables(tables))
            pixels = pixels[kept]
        return with_column(batch, [name], [column_of_pixels(pixels, self.schema[name])])

    def _one(self, data: memoryview, out: Pixels) -> None:
        """Decode one picture into its place.

        Raises:
            BadPicture: it can't be.
        """
        step, size, channels = self.step, (out.shape[0], out.shape[1]), out.shape[2]

        def needed(height: int, width: int) -> Size:
            return inner_size(height, width, size, step.mode)

        picture = decode(data, channels, step.limits, needed if step.interpolation == "auto" else None)
        color: tuple[int, ...] = step.color if isinstance(step.color, tuple) else (step.color,)
        if len(color) > channels:  # gray, by the weights of ITU-R BT.601
            color = (round(sum(part * weight for part, weight in zip(color, (0.299, 0.587, 0.114), strict=True))),)
        bring(picture.reshape(*picture.shape[:2], channels), out, step.mode, step.interpolation, color)
