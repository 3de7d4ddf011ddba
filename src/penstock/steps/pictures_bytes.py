"""The bytes of a picture's file -> its pixels, upright, or the reason why not. No step itself.

Limits are held against what the header says, before anything is decoded. JPEGs are decoded by libjpeg-turbo, at a half,
a quarter or an eighth of their size where nothing more is asked for; other formats by OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.statistics.picture_headers import BadPicture, Header, check_png, check_tiff, read_header
from penstock.steps.pictures_libraries import jpeg_decoder, opencv

Pixels: TypeAlias = npt.NDArray[np.uint8]

_USUAL_SCANS = 16
_HARMLESS_BYTES = 16 * 2**20
_HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "Adobe color transform", "JFIF revision")
"""What libjpeg says of files that it can decode in full all the same; Pillow and browsers show them."""
_INKS = 4
_MOVED = 0.1
_UPRIGHT = "TIFF"
"""The format that OpenCV turns upright itself, even where it is told not to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for.

    Attributes:
        pixels: of the picture, height times width.
        bytes: of the file.
        ratio: decoded bytes for each byte of the file; looked at where more than 16 MiB come out.
    """

    pixels: int
    bytes: int
    ratio: int

    def check(self, header: Header, size: int) -> None:
        """Refuse a picture beyond the limits.

        Raises:
            BadPicture: it is.
        """
        shape = f"{header.height:,} x {header.width:,} pixels"
        if header.pixels > self.pixels:
            raise BadPicture("too_many_pixels", f"{shape}; at most {self.pixels:,} are decoded")
        if header.pixels * header.scans > self.pixels * _USUAL_SCANS:
            raise BadPicture("too_many_pixels", f"{shape} in {header.scans:,} scans, each of which takes time")
        decoded = header.pixels * 3
        if decoded > _HARMLESS_BYTES and decoded > self.ratio * size:
            raise BadPicture("too_compressed", f"{shape} of {size:,} bytes; at most 1:{self.ratio:,} is decoded")


def decode(
    data: memoryview, channels: int, limits: Limits, needed: Callable[[int, int], tuple[int, int]] | None = None
) -> Pixels:
    """The pixels of a picture, upright: uint8, shape (height, width, 3), or (height, width) for one channel.

    Args:
        data: the file's bytes.
        channels: 3 for red, green, blue; 1 for gray.
        limits: what it may ask for.
        needed: from the upright height and width to those that are asked for, so that a JPEG may be decoded at a
            reduced size; None to decode it whole.

    Raises:
        BadPicture: the file is beyond the limits, damaged, cut off, or no picture.
    """
    if len(data) > limits.bytes:
        raise BadPicture("too_many_bytes", f"a file of {len(data):,} bytes; at most {limits.bytes:,} are decoded")
    header = read_header(data)
    limits.check(header, len(data))
    jpeg = header.format == "JPEG"
    picture = _jpeg(data, header, channels, needed) if jpeg else _other(data, header, channels)
    return picture if header.format == _UPRIGHT else upright(picture, header.orientation)


def _jpeg(
    data: memoryview, header: Header, channels: int, needed: Callable[[int, int], tuple[int, int]] | None
) -> Pixels:
    if header.bits != 8:
        raise BadPicture("bad_picture", f"a JPEG of {header.bits} bits a sample; 8 are read")
    least = (header.height, header.width)
    if needed is not None:
        asked = needed(*header.shown)
        least = _reduced(header, asked if header.orientation < 5 else asked[::-1])
    if header.channels == _INKS:
        return _from_inks(_decompressed(data, "CMYK", least), channels)
    return _decompressed(data, "RGB" if channels == 3 else "GRAY", least)


def _reduced(header: Header, needed: tuple[int, int]) -> tuple[int, int]:
    """The smallest size, of the whole, a half, a quarter and an eighth, from which the size needed can be made well.

    It is one and a half times that size: with less to spare the result would be sharper than the mean of areas. And
    what it is rounded up by, where the picture can't be divided, moves no pixel by more than a tenth of one. libjpeg
    has other scales too (5/8, ...), but they take longer than the whole picture.
    """
    sides = tuple(zip((header.height, header.width), needed, strict=True))
    for part in (8, 4, 2):
        size = -(-header.height // part), -(-header.width // part)
        enough = all(2 * got >= 3 * asked for got, (_, asked) in zip(size, sides, strict=True))
        moved = max((-whole % part) * asked / whole for whole, asked in sides)
        if enough and moved <= _MOVED:
            return size
    return header.height, header.width


def _decompressed(data: memoryview, colors: str, least: tuple[int, int]) -> Pixels:
    decode_jpeg = jpeg_decoder()
    try:
        found = decode_jpeg(data, colors, min_height=least[0], min_width=least[1])
    except ValueError as error:
        if not any(words in str(error) for words in _HARMLESS):
            raise BadPicture("bad_picture", f"the JPEG is damaged or cut off: {error}") from error
        found = decode_jpeg(data, colors, min_height=least[0], min_width=least[1], strict=False)
    return np.asarray(found)[..., 0] if colors == "GRAY" else np.asarray(found)


def _from_inks(inks: Pixels, channels: int) -> Pixels:
    """Cyan, magenta, yellow and black, stored inverted as Adobe does, to colors: what is left of the light."""
    wide = inks.astype(np.uint16)
    light = wide[..., :3] * wide[..., 3:]
    return _in_channels(((light + 127) // 255).astype(np.uint8), channels)


def _other(data: memoryview, header: Header, channels: int) -> Pixels:
    cv2 = opencv()
    if header.format == "PNG":
        check_png(data)
    if header.format == "TIFF":
        check_tiff(data)
    found: Any = None
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadPicture("bad_picture", f"the {header.format} can't be decoded: {error.err}") from error
    if found is None:
        raise BadPicture("bad_picture", f"the {header.format} is damaged, cut off, or of a kind that is not read")
    size = header.shown if header.format == _UPRIGHT else (header.height, header.width)
    if found.shape != (*size, 3) or found.dtype != np.uint8:
        raise BadPicture("bad_picture", f"the {header.format} holds another picture than its header says")
    return _in_channels(found, channels)


def _in_channels(picture: Pixels, channels: int) -> Pixels:
    if channels == 3:
        return picture
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def upright(picture: Pixels, orientation: int) -> Pixels:
    """A picture turned as its orientation says (EXIF 2.32, tag 0x0112), to be seen upright.

    Example:
        >>> upright(np.array([[1, 2], [3, 4]], np.uint8), 6).tolist()
        [[3, 1], [4, 2]]
    """
    if orientation == 1:
        return picture
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
