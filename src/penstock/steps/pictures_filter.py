"""Steps on the pixels of decoded pictures and clips by what is around them in place or time: `BlurPicture`,
`ErasePicture`, `FrameDifference`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import UsageError
from penstock.schema import Field
from penstock.selector import ColumnsLike, as_selector
from penstock.statistics.hashing import mix
from penstock.steps.arguments import ascending, truth_value, whole_number
from penstock.steps.pictures_columns import PictureStep, Pixels, Shape, frames_of, number_between, one_of
from penstock.steps.pictures_libraries import opencv
from penstock.steps.pictures_random import Chance

_ATTEMPTS = 10


@dataclass(frozen=True)
class BlurPicture(PictureStep):
    """Each frame smoothed: noise goes, and with it what is finer than the window.

    A median takes out single wrong pixels and keeps edges; a gaussian or a mean takes out fine noise.

    Args:
        columns: columns of decoded pictures or clips.
        method: "gaussian", "median" or "mean".
        size: of the window, an odd number of pixels.
        sigma: the standard deviation of the gaussian [pixels]; null for 0.3 ((size - 1) / 2 - 1) + 0.8, as OpenCV.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips; for a median, not of bytes.

    Example:
        >>> BlurPicture("role:picture", "median", 5).size
        5
    """

    columns: ColumnsLike
    method: Literal["gaussian", "median", "mean"] = "gaussian"
    size: int = 3
    sigma: float | None = None

    name = "blur_picture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        one_of("blur_picture: method", self.method, "gaussian", "median", "mean")
        whole_number("blur_picture: size", self.size, 1, 63)
        if self.size % 2 == 0:
            raise UsageError("out of range", where="blur_picture: size", expected="an odd number", got=repr(self.size))
        if self.sigma is not None:
            number_between("blur_picture: sigma", self.sigma, 1e-3, 63)
            if self.method != "gaussian":
                raise UsageError(
                    "a sigma without a gaussian", where="blur_picture", expected="method: gaussian", got=self.method
                )

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """The same shape and type."""
        if self.method == "median" and field.type.value_type != pa.uint8():
            raise self.refused(field, "uint8, for a median", "put it before `normalize_picture`")
        return shape, field.type.value_type

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Each frame smoothed."""
        cv2 = opencv()
        out = np.empty_like(pixels, order="C")
        for frame, made in zip(frames_of(pixels), frames_of(out), strict=True):
            if self.method == "median":
                found = cv2.medianBlur(frame, self.size)
            elif self.method == "mean":
                found = cv2.blur(frame, (self.size, self.size))
            else:
                found = cv2.GaussianBlur(frame, (self.size, self.size), self.sigma or 0.0)
            made[:] = found.reshape(made.shape)
        return out


@dataclass(frozen=True)
class ErasePicture(PictureStep):
    """A rectangle of each picture or clip erased with a probability, in training; elsewhere as it is.

    Zhong et al., "Random erasing data augmentation", AAAI 2020, algorithm 1: its share of the area and its ratio of
    sides are drawn (the ratio by its logarithm, as torchvision), up to ten times until it fits within the picture.

    Args:
        columns: columns of decoded pictures or clips.
        probability: that one is erased, 0 to 1.
        area: the least and the greatest share of the picture.
        ratio: the least and the greatest height divided by width.
        value: what stands there: a number for all channels, or "noise" (of bytes, uniform).

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips, or can't hold the value.

    Example:
        >>> ErasePicture("role:picture", area=(0.1, 0.2)).area
        (0.1, 0.2)
    """

    columns: ColumnsLike
    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | Literal["noise"] = 0.0

    name = "erase_picture"
    random = True
    needs_opencv = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        number_between("erase_picture: probability", self.probability, 0, 1)
        object.__setattr__(self, "area", ascending(self.area, where="erase_picture: area", low=0, high=1))
        object.__setattr__(self, "ratio", ascending(self.ratio, where="erase_picture: ratio", low=0.01, high=100))
        if self.value != "noise":
            number_between("erase_picture: value", self.value, -1e30, 1e30)

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """The same shape and type."""
        kind = field.type.value_type
        if self.value == "noise":
            if kind != pa.uint8():
                raise self.refused(field, "uint8, for noise", "put it before `normalize_picture`")
        elif kind in (pa.uint8(), pa.uint16()):
            most = 255 if kind == pa.uint8() else 65_535
            if not (0 <= self.value <= most and float(self.value).is_integer()):
                raise self.refused(field, f"pixels that can be {self.value:g}: `value` 0 to {most:,}, whole")
        return shape, kind

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Some of them with a rectangle erased."""
        tops, lefts, heights, widths = self._rectangles(pixels.shape[2], pixels.shape[3], chance)
        out = pixels.copy()
        seeds = chance.bits(1, 1 + 4 * _ATTEMPTS)[:, 0] if self.value == "noise" else None
        for place in np.flatnonzero(heights).tolist():
            top, left = int(tops[place]), int(lefts[place])
            there = out[place, :, top : top + int(heights[place]), left : left + int(widths[place])]
            there[:] = self.value if seeds is None else _noise(seeds[place], there[0].shape)
        return out

    def _rectangles(self, height: int, width: int, chance: Chance) -> tuple[npt.NDArray[np.int64], ...]:
        """Top, left, height and width for each row; zeros where nothing is erased."""
        draws = chance.uniform(1 + 4 * _ATTEMPTS)
        erased = draws[:, 0] < self.probability
        areas, ratios, downs, acrosses = (draws[:, 1 + part :: 4] for part in range(4))
        low, high = self.area
        area = (low + (high - low) * areas) * height * width
        first, last = (math.log(end) for end in self.ratio)
        ratio = np.exp(first + (last - first) * ratios)
        heights, widths = (np.rint(np.sqrt(side)).astype(np.int64) for side in (area * ratio, area / ratio))
        fits = (heights < height) & (widths < width) & (heights > 0) & (widths > 0) & erased[:, None]
        which = fits.argmax(axis=1)[:, None]
        some = fits.any(axis=1)
        heights, widths = (np.take_along_axis(side, which, 1)[:, 0] * some for side in (heights, widths))
        down, across = (np.take_along_axis(draw, which, 1)[:, 0] for draw in (downs, acrosses))
        tops = (down * (height - heights + 1)).astype(np.int64)
        lefts = (across * (width - widths + 1)).astype(np.int64)
        return tops, lefts, heights, widths


def _noise(seed: np.uint64, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Bytes that follow from a seed, the same on every machine."""
    count = math.prod(shape)
    words = mix(seed + np.arange(-(-count // 8), dtype=np.uint64))
    return words.astype("<u8").view(np.uint8)[:count].reshape(shape)


@dataclass(frozen=True)
class FrameDifference(PictureStep):
    """Of each clip, how much each frame differs from the one before: what moves. One frame less comes out.

    Args:
        columns: columns of decoded clips.
        absolute: whether the sign is left out, so that bytes stay bytes; otherwise differences are float32 (of
            float64 float64).

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of clips of two frames or more.

    Example:
        >>> FrameDifference("role:clip").absolute
        True
    """

    columns: ColumnsLike
    absolute: bool = True

    name = "frame_difference"
    needs_opencv = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        truth_value("frame_difference: absolute", self.absolute)

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """One frame less."""
        if shape[0] < 2:
            raise self.refused(field, "clips of two frames or more: (frames, height, width, channels)")
        kind = field.type.value_type
        signed = pa.float64() if kind == pa.float64() else pa.float32()
        return (shape[0] - 1, *shape[1:]), kind if self.absolute else signed

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Each frame but the first, less the one before."""
        before, after = pixels[:, :-1], pixels[:, 1:]
        if self.absolute:
            return np.asarray(np.maximum(before, after) - np.minimum(before, after))
        kind = np.float64 if pixels.dtype == np.float64 else np.float32
        return np.subtract(after, before, dtype=kind)
