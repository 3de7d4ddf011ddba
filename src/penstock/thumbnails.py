"""Pictures and clips, small: what a page shows of a row.

Part of the pipeline's machinery: it knows how pictures and clips are stored, in files or as tensors, and brings them to
what a person recognizes, within so many pixels, as data that stand in a page.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.schema import Field
from penstock.statistics.picture_headers import BadPicture
from penstock.steps.clips import DecodeClip
from penstock.steps.clips_frames import Picture, decoded
from penstock.steps.clips_reading import BadClip, opened, reading
from penstock.steps.pictures_bytes import decode
from penstock.steps.pictures_columns import pixels_of, shape_in
from penstock.steps.pictures_decode import DecodePicture
from penstock.steps.pictures_fitting import inner_size, resize
from penstock.steps.pictures_libraries import opencv

Image: TypeAlias = dict[str, Any]
"""``height``, ``width`` [pixels] and ``data``: an address that holds the picture itself, for a page."""
Pixels: TypeAlias = npt.NDArray[Any]

SIDE = 96
"""The longer side of a thumbnail [pixels]."""
FRAMES = 8
"""The most frames that are shown of a clip."""
_EXACT = 32 * 32
"""Up to so many pixels nothing is lost in a thumbnail: digits and signs are small, and their edges are what counts."""
_QUALITY = 80


@dataclass(frozen=True)
class Thumbnails:
    """Makes thumbnails of one column's values.

    Attributes:
        field: the column: encoded pictures or clips, or decoded ones of any type.
        picture: the step that decodes it in the pipeline, whose limits hold here too.
        clip: the step that samples it in the pipeline: its frames are shown.
        side: the longer side [pixels].
        frames: the most frames of a clip, evenly of those that the step takes.
    """

    field: Field
    picture: DecodePicture
    clip: DecodeClip
    side: int = SIDE
    frames: int = FRAMES

    def of(self, column: pa.Array) -> list[list[Image]]:
        """For each row its images: one of a picture, several of a clip, none where nothing can be shown."""
        if self.field.shape is not None:
            pixels = pixels_of(column, shape_in(self.field))
            there = column.is_valid().to_numpy(zero_copy_only=False)
            return [self.of_tensor(one) if given else [] for one, given in zip(pixels, there, strict=True)]
        return [self._of_file(value) if value.is_valid else [] for value in column]

    def of_tensor(self, pixels: Pixels) -> list[Image]:
        """Of decoded frames, shape (frames, height, width, channels)."""
        seen = as_bytes(pixels)
        return [image(self._small(seen[place])) for place in evenly(len(seen), self.frames)]

    def _of_file(self, value: pa.Scalar) -> list[Image]:
        # A file that can't be decoded is a rejected row where it counts; here there is nothing to show.
        try:
            if self.field.kind.value == "clip":
                return [image(frame) for frame in self._frames(value)]
            data = memoryview(value.as_buffer()).cast("B")
            return [image(self._small(decode(data, 3, self.picture.limits, self._size)))]
        except (BadPicture, BadClip):
            return []

    def _frames(self, value: pa.Scalar) -> list[Pixels]:
        """Frames that the pipeline takes of a clip, upright, their pixels square."""
        given = value.as_py() if pa.types.is_string(value.type) else memoryview(value.as_buffer()).cast("B")
        limits, sampling = self.clip.limits, self.clip.chosen
        with reading(given, limits) as file, opened(file, limits, sampling.need) as clip:
            keys = np.array([bool(clip.packets[place].is_keyframe) for place in clip.places])
            wanted = sampling.of(clip.times, keys, clip.duration, clip.tick)
            chosen = np.unique(wanted[evenly(len(wanted), self.frames)])
            picture, found = Picture(clip, limits, "fill"), []
            for frame in decoded(clip, chosen):
                pixels = np.empty((*self._size(*picture.shown(frame)), 3), np.uint8)
                picture.write(frame, pixels)
                found.append(pixels)
        return found

    def _size(self, height: int, width: int) -> tuple[int, int]:
        return inner_size(height, width, (self.side, self.side), "fit")

    def _small(self, pixels: Pixels) -> Pixels:
        """Pixels, shape (height, width, channels), within the side; smaller ones stay as they are."""
        if max(pixels.shape[:2]) <= self.side:
            return pixels
        out = np.empty((*self._size(*pixels.shape[:2]), pixels.shape[2]), np.uint8)
        resize(np.ascontiguousarray(pixels), out, "auto")
        return out


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the places 0 to ``count - 1``, the first and the last among them.

    Example:
        >>> evenly(16, 4), evenly(3, 8), evenly(5, 1)
        ([0, 5, 10, 15], [0, 1, 2], [2])
    """
    if most == 1:
        return [count // 2]
    return [round(place) for place in np.linspace(0, count - 1, min(count, most)).tolist()]


def as_bytes(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels of any type as a person sees them: what is wider than a byte is scaled; of numbers that have lost their
    range, the least becomes black and the greatest white. Transparency is left out.

    Example:
        >>> as_bytes(np.array([-1.0, 0.0, 1.0]).reshape(1, 1, 3, 1)).ravel().tolist()
        [0, 128, 255]
    """
    pixels = pixels[..., :3] if pixels.shape[-1] == 4 else pixels
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.asarray(pixels >> 8, np.uint8)
    low, high = (float(bound) for bound in (pixels.min(initial=np.inf), pixels.max(initial=-np.inf)))
    scaled = (pixels - low) * (255 / (high - low) if high > low else 0.0)
    return np.asarray(np.rint(scaled), np.uint8)


def image(pixels: Pixels) -> Image:
    """A picture as data: uint8, shape (height, width, 1 or 3), red, green, blue."""
    cv2: Any = opencv()
    height, width, channels = pixels.shape
    exact = height * width <= _EXACT
    given = np.ascontiguousarray(pixels if channels == 1 else pixels[..., ::-1])
    kind, settings = ("png", []) if exact else ("webp", [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    _, held = cv2.imencode("." + kind, given, settings)
    text = base64.b64encode(held.tobytes()).decode("ascii")
    return {"height": height, "width": width, "data": f"data:image/{kind};base64,{text}"}


def nbytes_of(images: Sequence[Image]) -> int:
    """What images take in a page [bytes]."""
    return sum(len(one["data"]) for one in images)
