"""Steps that move the pixels of decoded pictures and clips: `ResizePicture`, `CropPicture`, and at random `RandomCrop`,
`FlipPicture`, `RotatePicture`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from penstock.errors import UsageError
from penstock.schema import Field
from penstock.selector import ColumnsLike, as_selector
from penstock.steps.arguments import whole_number
from penstock.steps.pictures_columns import PictureStep, Pixels, Shape, Size, frames_of, number_between, one_of, size_of
from penstock.steps.pictures_fitting import INTERPOLATIONS, MODES, Interpolation, Mode, bring, ground
from penstock.steps.pictures_libraries import opencv, opencv_if_there
from penstock.steps.pictures_random import Chance


@dataclass(frozen=True)
class ResizePicture(PictureStep):
    """Decoded pictures and clips brought to another size.

    Args:
        columns: columns of decoded pictures or clips.
        size: [height, width], or one number for both.
        mode: "exact": stretched; "fit": as large as goes within the size, on a ground of ``color``; "fill": as small
            as covers it, of what is too long the middle.
        interpolation: "auto" (the mean of areas where it shrinks, "linear" where it grows), "area", "linear",
            "cubic", "lanczos" or "nearest".
        color: of the ground for "fit", one number for all channels or one for each of three.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips.

    Example:
        >>> ResizePicture("role:picture", [48, 64], mode="fit").size
        (48, 64)
    """

    columns: ColumnsLike
    size: int | tuple[int, int]
    mode: Mode = "exact"
    interpolation: Interpolation = "auto"
    color: int | tuple[int, int, int] = 0

    name = "resize_picture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "size", size_of("resize_picture: size", self.size))
        one_of("resize_picture: mode", self.mode, *MODES)
        one_of("resize_picture: interpolation", self.interpolation, *INTERPOLATIONS)
        color = ground("resize_picture: color", self.color)
        object.__setattr__(self, "color", color if len(color) == 3 else color[0])

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """Pictures of the size."""
        if isinstance(self.color, tuple) and shape[3] != len(self.color):
            raise self.refused(field, "three channels, as `color` has", "give one number as `color`")
        return (shape[0], *self._size, shape[3]), field.type.value_type

    @property
    def _size(self) -> Size:
        assert isinstance(self.size, tuple)
        return self.size

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Each frame resized."""
        frames = frames_of(pixels)
        out = np.empty((len(frames), *self._size, pixels.shape[-1]), pixels.dtype)
        color = self.color if isinstance(self.color, tuple) else (self.color,)
        for frame, place in zip(frames, out, strict=True):
            bring(frame, place, self.mode, self.interpolation, color)
        return out.reshape(*pixels.shape[:2], *out.shape[1:])


@dataclass(frozen=True)
class CropPicture(PictureStep):
    """A part of each picture or clip, the same of all.

    Args:
        columns: columns of decoded pictures or clips.
        size: [height, width] of the part, or one number for both.
        corner: [top, left] of the part, in pixels; null for the middle.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips, or the part goes beyond them.

    Example:
        >>> CropPicture("role:picture", 24).size
        (24, 24)
    """

    columns: ColumnsLike
    size: int | tuple[int, int]
    corner: tuple[int, int] | None = None

    name = "crop_picture"
    needs_opencv = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        object.__setattr__(self, "size", size_of("crop_picture: size", self.size))
        if self.corner is not None:
            good = isinstance(self.corner, (tuple, list)) and len(self.corner) == 2
            if not good:
                raise UsageError(
                    "not a corner", where="crop_picture: corner", expected="[top, left]", got=repr(self.corner)
                )
            for one in self.corner:
                whole_number("crop_picture: corner", one, 0)
            object.__setattr__(self, "corner", tuple(self.corner))

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """Pictures of the size."""
        assert isinstance(self.size, tuple)
        top, left = self.corner or (0, 0)
        if top + self.size[0] > shape[1] or left + self.size[1] > shape[2]:
            raise self.refused(
                field, f"at least {top + self.size[0]} x {left + self.size[1]} pixels", "resize before, or crop less"
            )
        return (shape[0], *self.size, shape[3]), field.type.value_type

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """The part of each."""
        assert isinstance(self.size, tuple)
        return _part(pixels, self.size, self.corner)


def _part(pixels: Pixels, size: Size, corner: tuple[int, int] | None) -> Pixels:
    """A part of each frame: from a corner, or the middle (of an odd rest one pixel more is left below and right)."""
    height, width = pixels.shape[2:4]
    top, left = corner if corner is not None else ((height - size[0]) // 2, (width - size[1]) // 2)
    if (height, width) == size:
        return pixels
    return pixels[:, :, top : top + size[0], left : left + size[1]]


Border = Literal["constant", "edge", "reflect"]
_BORDERS = ("constant", "edge", "reflect")
_PADDING = 4
_LARGE = 2**14
"""Of a picture, from which on a copy of it takes longer than the slices that spare one [bytes]."""


@dataclass(frozen=True)
class RandomCrop(PictureStep):
    """A part of each picture or clip at a random place, in training; the middle elsewhere.

    With padding the picture is first widened on each side, so that a part of its own size moves it by up to so many
    pixels: the usual augmentation of small pictures (He et al., "Deep residual learning", CVPR 2016, section 4.2).

    Args:
        columns: columns of decoded pictures or clips.
        size: [height, width] of the part, one number for both, or null for the size of the pictures.
        padding: pixels added on each side before, or below 1 a share of each side of the picture; null for none where
            there is a size, else 4.
        border: what they are: "constant" (zeros), "edge" (the nearest pixel) or "reflect".

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips, or they are smaller than the part.

    Example:
        >>> RandomCrop("role:picture").padding
        4
    """

    columns: ColumnsLike
    size: int | tuple[int, int] | None = None
    padding: int | float | None = None
    border: Border = "constant"

    name = "random_crop"
    random = True
    needs_opencv = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.size is not None:
            object.__setattr__(self, "size", size_of("random_crop: size", self.size))
        if self.padding is None:
            object.__setattr__(self, "padding", 0 if self.size is not None else _PADDING)
        if isinstance(self.padding, float) and self.padding < 1:
            number_between("random_crop: padding", self.padding, 0, 1)
        else:
            whole_number("random_crop: padding", self.padding, 0, 1024)
        one_of("random_crop: border", self.border, *_BORDERS)
        if self.size is None and not self.padding:
            raise UsageError(
                "nothing to choose from", where="random_crop", expected="a size, or padding", got="neither"
            )

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """Pictures of the size."""
        size = self._size(shape)
        if size[0] > shape[1] or size[1] > shape[2]:
            raise self.refused(field, f"at least {size[0]} x {size[1]} pixels", "resize before, or crop less")
        padding = self._around((shape[1], shape[2]))
        if self.border == "reflect" and (padding[0] >= shape[1] or padding[1] >= shape[2]):
            raise self.refused(field, f"more than {max(padding)} pixels each way, to reflect", "pad less")
        return (shape[0], *size, shape[3]), field.type.value_type

    def _around(self, size: Size) -> Size:
        """Pixels added above and below, and left and right."""
        padding = self.padding or 0
        if isinstance(padding, int):
            return padding, padding
        return (max(1, round(padding * size[0])), max(1, round(padding * size[1]))) if padding else (0, 0)

    def _size(self, shape: tuple[int, ...]) -> Size:
        return self.size if isinstance(self.size, tuple) else (shape[1], shape[2])

    def still(self, pixels: Pixels) -> Pixels:
        """The middle of each."""
        return _part(pixels, self._size(pixels.shape[1:]), None)

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """A part of each, at its own place."""
        frames, height, width, channels = pixels.shape[1:]
        size = self._size(pixels.shape[1:])
        above, beside = self._around((height, width))
        draws = chance.uniform(2)
        top = (draws[:, 0] * (height + 2 * above - size[0] + 1)).astype(np.int64)
        left = (draws[:, 1] * (width + 2 * beside - size[1] + 1)).astype(np.int64)
        out = np.empty((len(pixels), frames, *size, channels), pixels.dtype)
        if self.border == "constant" and pixels[:1].nbytes > _LARGE:  # copied once, and not to be padded before
            for place, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
                _cut(pixels[place], out[place], y - above, x - beside)
            return out
        if above or beside:
            around = ((0, 0), (0, 0), (above, above), (beside, beside), (0, 0))
            pixels = np.pad(pixels, around, self.border)
        for place, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
            out[place] = pixels[place, :, y : y + size[0], x : x + size[1]]
        return out


@dataclass(frozen=True)
class FlipPicture(PictureStep):
    """Each picture or clip mirrored with a probability, in training; elsewhere as it is.

    Args:
        columns: columns of decoded pictures or clips.
        direction: "horizontal" (left becomes right), "vertical" (top becomes bottom), or "both", each drawn by itself.
        probability: of a mirroring, 0 to 1.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips.

    Example:
        >>> FlipPicture("role:picture").direction
        'horizontal'
    """

    columns: ColumnsLike
    direction: Literal["horizontal", "vertical", "both"] = "horizontal"
    probability: float = 0.5

    name = "flip_picture"
    random = True
    needs_opencv = False

    @property
    def mirrors(self) -> bool:
        """Left becomes right."""
        return self.direction != "vertical" and self.probability > 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        one_of("flip_picture: direction", self.direction, "horizontal", "vertical", "both")
        number_between("flip_picture: probability", self.probability, 0, 1)

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Some of them mirrored."""
        chosen = chance.uniform(2) < self.probability
        across = chosen[:, 0] & (self.direction != "vertical")
        down = chosen[:, 1] & (self.direction != "horizontal")
        out = np.empty(pixels.shape, pixels.dtype)
        for place, (right, below) in enumerate(zip(across.tolist(), down.tolist(), strict=True)):
            if right or below:
                mirror(pixels[place], out[place], right, below)
            else:
                out[place] = pixels[place]
        return out


def _cut(picture: Pixels, out: Pixels, top: int, left: int) -> None:
    """Write a part of the frames of a picture into ``out``; zeros where it reaches beyond them."""
    height, width = out.shape[1:3]
    above, beside = min(height, max(0, -top)), min(width, max(0, -left))
    below = max(above, min(height, picture.shape[1] - top))
    right = max(beside, min(width, picture.shape[2] - left))
    out[:, :above] = out[:, below:] = 0
    inner = out[:, above:below]
    inner[:, :, :beside] = inner[:, :, right:] = 0
    inner[:, :, beside:right] = picture[:, top + above : top + below, left + beside : left + right]


def mirror(frames: Pixels, out: Pixels, right: bool, below: bool) -> None:
    """Write frames into ``out``, mirrored left to right, or top to bottom, or both.

    By OpenCV where it is installed, which takes a tenth of the time and gives the same.
    """
    cv2 = opencv_if_there()
    if cv2 is None:
        out[:] = frames[:, :: -1 if below else 1, :: -1 if right else 1]
        return
    for frame, made in zip(frames, out, strict=True):
        made[:] = cv2.flip(frame, -1 if right and below else int(right)).reshape(made.shape)


@dataclass(frozen=True)
class RotatePicture(PictureStep):
    """Each picture or clip turned about its middle by a random angle, in training; elsewhere as it is.

    The size stays; pixels are interpolated linearly.

    Args:
        columns: columns of decoded pictures or clips.
        degrees: the largest angle, either way; angles are drawn uniformly.
        border: what comes in at the corners: "constant" (zeros), "edge" (the nearest pixel) or "reflect".

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips.

    Example:
        >>> RotatePicture("role:picture", 10).degrees
        10
    """

    columns: ColumnsLike
    degrees: float = 15.0
    border: Border = "constant"

    name = "rotate_picture"
    random = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        number_between("rotate_picture: degrees", self.degrees, 0, 180)
        one_of("rotate_picture: border", self.border, *_BORDERS)

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Each turned by its own angle."""
        cv2 = opencv()
        borders = {
            "constant": cv2.BORDER_CONSTANT,
            "edge": cv2.BORDER_REPLICATE,
            "reflect": cv2.BORDER_REFLECT_101,
        }
        height, width = pixels.shape[2:4]
        angles = (2.0 * chance.uniform(1)[:, 0] - 1.0) * self.degrees
        out = np.empty_like(pixels)
        for place, angle in enumerate(angles.tolist()):
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
            for frame, made in zip(pixels[place], out[place], strict=True):
                found = cv2.warpAffine(
                    frame, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=borders[self.border]
                )
                made[:] = found.reshape(made.shape)
        return out
