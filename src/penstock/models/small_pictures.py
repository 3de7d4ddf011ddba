"""Pictures, small, as data that stand in a page: what an autoencoder shows of what it gives back. A helper of models.

Without a library: a PNG is a few numbers around what zlib packs (ISO/IEC 15948, section 11).
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 64


def shrunk(pixels: npt.NDArray[Any], side: int = SIDE) -> npt.NDArray[np.float64]:
    """Pictures, shape (rows, height, width, channels), by means of squares of pixels, at most ``side`` wide and high.

    Example:
        >>> shrunk(np.array([0.0, 2.0, 4.0, 6.0]).reshape(1, 1, 4, 1), 2).ravel().tolist()
        [1.0, 5.0]
    """
    rows, height, width, channels = pixels.shape
    step = -(-max(height, width) // side)
    high, wide = max(1, height // step), max(1, width // step)
    down, over = min(step, height), min(step, width)
    cut = pixels[:, : high * down, : wide * over].astype(np.float64)
    return np.asarray(cut.reshape(rows, high, down, wide, over, channels).mean(axis=(2, 4)))


def image(pixels: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """A picture, uint8, shape (height, width, 1 or 3), as ``height``, ``width`` and ``data``, an address that holds it.

    Example:
        >>> image(np.zeros((2, 3, 1), np.uint8))["data"][:30]
        'data:image/png;base64,iVBORw0K'
    """
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # before each line the kind of its filter: 0 for none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    held = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    address = "data:image/png;base64," + base64.b64encode(held).decode("ascii")
    return {"height": height, "width": width, "data": address}


def side_by_side(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pictures and what came back of them, shape (rows, height, width, channels) both, in the range of the former."""
    whole = before.dtype == np.uint8
    found = []
    for one, other in zip(shrunk(before[..., :3]), shrunk(after[..., :3]), strict=True):
        low, high = (0.0, 255.0) if whole else (float(one.min()), float(one.max()))
        scale = 255.0 / (high - low) if high > low else 0.0
        both = [np.rint(np.clip((each - low) * scale, 0, 255)).astype(np.uint8) for each in (one, other)]
        shown = [image(each if each.shape[2] in (1, 3) else each[..., :1]) for each in both]
        found.append((shown[0], shown[1]))
    return found
