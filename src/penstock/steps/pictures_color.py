"""Steps that change the colors of decoded pictures and clips: `JitterColor`, `GrayPicture`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.schema import Field
from penstock.selector import ColumnsLike, as_selector
from penstock.steps.pictures_columns import PictureStep, Pixels, Shape, number_between
from penstock.steps.pictures_libraries import opencv
from penstock.steps.pictures_random import Chance

_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""How much red, green and blue add to the brightness (ITU-R BT.601)."""
_TO_YIQ = np.array([_WEIGHTS, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class JitterColor(PictureStep):
    """Brightness, contrast, saturation and hue of each picture or clip changed at random, in training; elsewhere as it
    is.

    The four are one linear map of the colors, rounded once at the end. On gray pictures brightness and contrast work
    alone.

    Formula:
        x' = R(h) (s c b x + (1 - s) c b gray(x)) + (1 - c) b mean(gray)
        b, c, s uniform in [1 - width, 1 + width], not below 0; h uniform in [-hue, hue] turns
        gray(x) = 0.299 red + 0.587 green + 0.114 blue; R turns the plane of colors (I, Q of YIQ) by h

        Haeberli, "Matrix operations for image processing", Silicon Graphics, 1993. Brightness, contrast and saturation
        are those of torchvision's ColorJitter, in this order; its hue turns in HSV.

    Args:
        columns: columns of decoded pictures or clips of bytes, of 1 or 3 channels.
        brightness: how far the factor may be from 1, 0 to 1.
        contrast: the same.
        saturation: the same.
        hue: the largest turn, 0 to 0.5 of a full one.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is not of decoded pictures or clips, or not of bytes.

    Example:
        >>> JitterColor("role:picture", brightness=0.4).brightness
        0.4
    """

    columns: ColumnsLike
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    name = "jitter_color"
    random = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        for word in ("brightness", "contrast", "saturation"):
            number_between(f"jitter_color: {word}", getattr(self, word), 0, 1)
        number_between("jitter_color: hue", self.hue, 0, 0.5)

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """The same shape and type."""
        if field.type.value_type != pa.uint8() or shape[3] not in (1, 3):
            raise self.refused(field, "uint8, 1 or 3 channels", "put it before `normalize_picture`")
        return shape, field.type.value_type

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """Each with colors of its own."""
        cv2 = opencv()
        draws = 2.0 * chance.uniform(4) - 1.0
        widths = np.array([self.brightness, self.contrast, self.saturation])
        factors = 1.0 + draws[:, :3] * widths
        turns = self._turns(draws[:, 3] * self.hue)
        channels = pixels.shape[-1]
        weights = _WEIGHTS if channels == 3 else np.ones(1)
        out = np.empty_like(pixels)
        for place, (bright, contrast, vivid) in enumerate(factors.tolist()):
            frames = np.ascontiguousarray(pixels[place]).reshape(-1, pixels.shape[3], channels)
            gray = float((np.array(cv2.mean(frames)[:channels]) * weights).sum())
            mixed = vivid * np.eye(channels) + (1.0 - vivid) * weights
            colors = (turns[place] @ mixed if channels == 3 else np.eye(1)) * (bright * contrast)
            shift = np.full((channels, 1), (1.0 - contrast) * bright * gray)
            found = cv2.transform(frames, np.concatenate((colors, shift), axis=1))
            out[place] = found.reshape(out.shape[1:])
        return out

    def _turns(self, hues: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The matrices that turn hues, shape (rows, 3, 3)."""
        sine, cosine = np.sin(2 * np.pi * hues), np.cos(2 * np.pi * hues)
        turn = np.zeros((len(hues), 3, 3))
        turn[:, 0, 0] = 1.0
        turn[:, 1, 1] = turn[:, 2, 2] = cosine
        turn[:, 1, 2], turn[:, 2, 1] = -sine, sine
        return np.asarray(_FROM_YIQ @ turn @ _TO_YIQ)


@dataclass(frozen=True)
class GrayPicture(PictureStep):
    """Colors -> gray, one channel: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), as Pillow's ``convert("L")``.

    Gray pictures stay as they are.

    Args:
        columns: columns of decoded pictures or clips, of 1 or 3 channels.

    Raises:
        SchemaError: a column is not of decoded pictures or clips.

    Example:
        >>> GrayPicture("role:picture").name
        'gray_picture'
    """

    columns: ColumnsLike

    name = "gray_picture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))

    def made_of(self, field: Field, shape: Shape) -> tuple[Shape, pa.DataType]:
        """One channel."""
        if shape[3] not in (1, 3):
            raise self.refused(field, "1 or 3 channels")
        return (*shape[:3], 1), field.type.value_type

    def changed(self, pixels: Pixels, chance: Chance) -> Pixels:
        """The brightness of each pixel."""
        if pixels.shape[-1] == 1 or not pixels.size:
            return pixels[..., :1]
        if pixels.dtype == np.float64:  # OpenCV has it not
            return np.asarray((pixels * _WEIGHTS).sum(axis=-1, keepdims=True))
        cv2: Any = opencv()
        tall = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[3], 3)
        return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)).reshape(*pixels.shape[:-1], 1)
