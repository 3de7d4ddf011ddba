"""Rows with pictures and clips, encoded and decoded, and examples of the steps and statistics on them."""

from __future__ import annotations

import io
import math

import numpy as np
import pyarrow as pa
from PIL import Image

from penstock.batch import Batch, RowKeys
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Step
from penstock.steps.clips import DecodeClip
from penstock.steps.pictures_color import GrayPicture, JitterColor
from penstock.steps.pictures_decode import DecodePicture
from penstock.steps.pictures_filter import BlurPicture, ErasePicture, FrameDifference
from penstock.steps.pictures_geometry import CropPicture, FlipPicture, RandomCrop, ResizePicture, RotatePicture
from penstock.steps.pictures_normalize import NormalizePicture

SHAPES = {"picture": (6, 8, 3), "gray": (5, 5, 1), "clip": (3, 6, 4, 3)}
PICTURES = Schema(
    (
        Field("file", pa.binary(), Role.picture),
        *(Field(name, tensor(pa.uint8(), shape), Role.picture) for name, shape in SHAPES.items()),
        Field("wide", tensor(pa.float32(), (4, 6, 3)), Role.picture),
        Field("number", pa.float64(), Role.number),
    )
)
"""Names as in `test_step_laws`, where they are the same."""

EXAMPLES: dict[str, tuple[Step, ...]] = {
    "decode_picture": (
        DecodePicture("file"),
        DecodePicture("file", (6, 9), "fit", 3, "linear", (9, 8, 7)),
        DecodePicture("file", 8, "fill", 1, max_pixels=300),
    ),
    "decode_clip": (DecodeClip("file", 2, (4, 5)), DecodeClip("file", 1, 6, "fill", 1, "every", end=0.5)),
    "resize_picture": (
        ResizePicture(["picture", "clip", "wide"], (4, 5)),
        ResizePicture("gray", 9, "fit", "cubic", 3),
    ),
    "crop_picture": (CropPicture(["picture", "clip"], (5, 4)), CropPicture(["gray", "wide"], 3, (1, 2))),
    "random_crop": (RandomCrop(["picture", "clip"], (5, 4)), RandomCrop(["gray", "wide"], padding=2, border="reflect")),
    "flip_picture": (FlipPicture(["picture", "clip"], "both"), FlipPicture(["gray", "wide"], probability=0.9)),
    "rotate_picture": (RotatePicture(["picture", "clip", "gray", "wide"], 40, "edge"),),
    "jitter_color": (JitterColor(["picture", "clip", "gray"], 0.5, 0.5, 0.5, 0.2),),
    "gray_picture": (GrayPicture(["picture", "clip", "gray", "wide"]),),
    "blur_picture": (
        BlurPicture(["picture", "clip", "wide"]),
        BlurPicture(["gray", "clip"], "median", 5),
        BlurPicture("picture", "mean", 5),
    ),
    "erase_picture": (
        ErasePicture(["picture", "clip", "wide"], 1.0, value=7),
        ErasePicture(["picture", "gray"], 0.8, (0.1, 0.9), value="noise"),
    ),
    "normalize_picture": (
        NormalizePicture(["picture", "gray", "clip"]),
        NormalizePicture(["picture", "wide"], mean=(127.5,)),
        NormalizePicture("clip", (1, 2, 3), (4, 5, 6)),
    ),
    "frame_difference": (FrameDifference("clip"), FrameDifference("clip", absolute=False)),
}


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """The bytes of a file of this format, written by Pillow."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind, **options)
    return written.getvalue()


def column(pixels: np.ndarray, null: np.ndarray | None = None) -> pa.Array:
    """A column of tensors, null where told."""
    kind = tensor(pa.from_numpy_dtype(pixels.dtype), pixels.shape[1:])
    mask = None if null is None else pa.array(null)
    held = pa.FixedSizeListArray.from_arrays(pa.array(pixels.reshape(-1)), math.prod(pixels.shape[1:]), mask=mask)
    return pa.ExtensionArray.from_storage(kind, held.cast(kind.storage_type))


def file(random: np.random.Generator, place: int) -> bytes | None:
    """A picture of any format and size, and now and then what is none."""
    height, width = random.integers(3, 24, 2)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    kind = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")[place % 6]
    whole = encoded(pixels, kind)
    odd = {7: None, 11: b"", 13: b"no picture", 17: whole[: len(whole) // 2], 19: encoded(pixels[..., 0], "PNG")}
    return odd.get(place % 23, whole)


def pictures(path: str, rows: int, seed: int, nulls: bool = True, start: int = 0) -> Batch:
    """A batch of random pictures and clips."""
    random = np.random.default_rng(seed)
    null = random.random(rows) < (0.2 if nulls else 0.0)
    columns = {
        "file": pa.array([file(random, place + seed) for place in range(rows)], pa.binary()),
        **{name: column(random.integers(0, 256, (rows, *SHAPES[name]), np.uint8), null) for name in SHAPES},
        "wide": column(random.normal(size=(rows, 4, 6, 3)).astype(np.float32), null),
        "number": pa.array(random.normal(size=rows), mask=null),
    }
    return Batch(pa.record_batch(columns, schema=PICTURES.to_arrow()), RowKeys.span(path, start, rows))


def picture_blocks(seed: int, sizes: tuple[int, ...]) -> list[Batch]:
    """Batches of one file, the second without nulls."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [
        pictures("file", rows, 100 * seed + place, place != 1, start)
        for place, (rows, start) in enumerate(zip(sizes, starts, strict=True))
    ]
