"""What the first bytes of a picture's file say: its format, size and orientation, before anything is decoded.

Part of the room of statistics: the sizes of a column of pictures are folded from it, and the step that decodes them
refuses by it what is too large. JPEG, PNG, GIF, BMP, WebP and TIFF are known.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.statistics.picture_tags import ORIENTATION, View, orientation_of, tags_of

_MOST_SEGMENTS = 10_000
_MOST_CHUNKS = 500_000
_SCAN = re.compile(b"\xff\xda")
_MOST_PARTS = 2**20
_DEFLATE = (8, 32_946)
_MIB = 2**20
_MASKED, _MASKED_WITH_ALPHA = 3, 6
_USUAL_MASKS = (0xFF0000, 0x00FF00, 0x0000FF)
_WHOLE_BYTES = {0xFF000000, *_USUAL_MASKS}
_OTHERS = (
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"qoif", "a QOI picture"),
    (0, b"farbfeld", "a farbfeld picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (4, b"ftypavi", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyp", "a film (MP4)"),
)


class BadPicture(Exception):
    """A picture that can't be taken; caught by whoever goes through the rows.

    Args:
        code: short and stable.
        reason: for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its picture.

    Attributes:
        format: "JPEG", "PNG", "GIF", "BMP", "WebP" or "TIFF".
        height: as stored [pixels].
        width: as stored [pixels].
        channels: 1 for gray, 3 for color (palettes, and color with transparency), 4 for a JPEG of inks (CMYK, YCCK).
        bits: of a sample.
        orientation: how it is to be turned to be upright, 1 to 8 as EXIF counts.
        scans: in how many passes it is stored; more than 1 for progressive JPEGs.
    """

    format: str
    height: int
    width: int
    channels: int = 3
    bits: int = 8
    orientation: int = 1
    scans: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of the picture when it is upright."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width


def read_header(data: View) -> Header:
    """The header of a picture's file.

    Raises:
        BadPicture: there are no bytes, or they are no picture of a known format, or its header is damaged.

    Example:
        >>> read_header(b"GIF89a" + bytes([3, 0, 2, 0, 0, 0, 0]) + b"...")
        Header(format='GIF', height=2, width=3, channels=3, bits=8, orientation=1, scans=1)
    """
    if not len(data):
        raise BadPicture("empty", "the file of the picture is empty")
    data = memoryview(data).cast("B")
    start = bytes(data[:16])
    for sign, known in _FORMATS.items():
        if start.startswith(sign) and (sign != b"RIFF" or start[8:12] == b"WEBP"):
            return _checked(known, data)
    for place, sign, name in _OTHERS:
        if start[place:].startswith(sign):
            raise BadPicture("not_a_picture", f"{name}, not JPEG, PNG, GIF, BMP, WebP or TIFF: convert it")
    raise BadPicture("not_a_picture", "the file is no JPEG, PNG, GIF, BMP, WebP or TIFF")


def _checked(known: Callable[[memoryview], Header], data: memoryview) -> Header:
    try:
        header = known(data)
    except (struct.error, IndexError, ValueError) as error:
        raise BadPicture("bad_picture", "the header of the picture is damaged or cut off") from error
    if header.height <= 0 or header.width <= 0:
        raise BadPicture("bad_picture", f"a picture of {header.height} x {header.width} pixels")
    return header


def _jpeg(data: memoryview) -> Header:
    """Of a JPEG (ITU-T T.81, annex B): the markers up to the first scan."""
    place, orientation, found = 2, 1, None
    for _ in range(_MOST_SEGMENTS):
        while data[place] == 0xFF and data[place + 1] == 0xFF:
            place += 1
        if data[place] != 0xFF:
            place += 1  # bytes between segments, which decoders skip
            continue
        marker = data[place + 1]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        length = struct.unpack_from(">H", data, place + 2)[0]
        if length < 2:
            raise ValueError("a segment without a length")
        body = data[place + 4 : place + 2 + length]
        if marker == 0xE1 and bytes(body[:6]) == b"Exif\x00\x00" and orientation == 1:
            orientation = orientation_of(body[6:])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, parts = struct.unpack_from(">BHHB", body)
            scans = len(_SCAN.findall(data)) if marker in (0xC2, 0xC6, 0xCA, 0xCE) else 1
            channels = 1 if parts <= 2 else parts
            found = Header("JPEG", height, width, channels, bits, 1, max(1, scans))
        place += 2 + length
    if found is None:
        raise ValueError("no frame")
    return replace(found, orientation=orientation)


def _png(data: memoryview) -> Header:
    """Of a PNG (W3C, "Portable Network Graphics", 2003): its IHDR, and its eXIf wherever it stands."""
    if bytes(data[12:16]) != b"IHDR":
        raise ValueError("no IHDR")
    width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
    header = Header("PNG", height, width, 1 if kind in (0, 4) else 3, bits)
    for name, body, _ in png_chunks(data):
        if name == b"eXIf":
            return replace(header, orientation=orientation_of(body))
    return header


def png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """The chunks of a PNG up to its IEND, each with its name, its content and its checksum."""
    place = 8
    for _ in range(_MOST_CHUNKS):
        if place + 12 > len(data):
            return
        length = struct.unpack_from(">I", data, place)[0]
        if place + 12 + length > len(data):
            return
        name = bytes(data[place + 4 : place + 8])
        yield name, data[place + 8 : place + 8 + length], struct.unpack_from(">I", data, place + 8 + length)[0]
        if name == b"IEND":
            return
        place += 12 + length


def check_png(data: View) -> None:
    """Refuse a PNG whose end is not there, or with a chunk that is not what its checksum says.

    Raises:
        BadPicture: it is so.
    """
    last = b""
    for last, body, checksum in png_chunks(memoryview(data)):
        if zlib.crc32(body, zlib.crc32(last)) != checksum and last[:1].isupper():  # the others may be done without
            raise BadPicture("bad_picture", f"the PNG is damaged: the checksum of its {last!r} is not right")
    if last != b"IEND":
        raise BadPicture("bad_picture", "the PNG is cut off")


def _gif(data: memoryview) -> Header:
    """Of a GIF (CompuServe, "GIF89a specification", 1990): the size of its screen."""
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", height, width)


def _bmp(data: memoryview) -> Header:
    """Of a BMP, by any of its headers; rows may stand from the top (then the height is negative)."""
    size = struct.unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Header("BMP", height, width, 3, bits)
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    if packing in (_MASKED, _MASKED_WITH_ALPHA) and bits == 32:
        masks = struct.unpack_from("<III", data, 54)
        if masks != _USUAL_MASKS and (size == 40 or not set(masks) <= _WHOLE_BYTES):
            raise BadPicture("bad_picture", "a BMP with colors at unusual places, which OpenCV mistakes: convert it")
    return Header("BMP", abs(height), width, 3, bits)


def _webp(data: memoryview) -> Header:
    """Of a WebP (RFC 9649): lossy, lossless or extended, which may have EXIF."""
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        if bytes(data[23:26]) != b"\x9d\x01\x2a":
            raise ValueError("no key frame")
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L":
        if data[20] != 0x2F:
            raise ValueError("no VP8L")
        packed = struct.unpack_from("<I", data, 21)[0]
        return Header("WebP", ((packed >> 14) & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise ValueError("no frame")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    return Header("WebP", height, width, orientation=_webp_orientation(data) if data[20] & 0x08 else 1)


def _webp_orientation(data: memoryview) -> int:
    place = 30
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            break
        length = struct.unpack_from("<I", data, place + 4)[0]
        if bytes(data[place : place + 4]) == b"EXIF":
            body = data[place + 8 : place + 8 + length]
            return orientation_of(body[6:] if bytes(body[:6]) == b"Exif\x00\x00" else body)
        place += 8 + length + length % 2
    return 1


def _tiff(data: memoryview) -> Header:
    """Of a TIFF: its first picture. A tile may not be larger than the limits allow either."""
    tags = tags_of(data)
    width, height = tags[256][0] if 256 in tags else 0, tags[257][0] if 257 in tags else 0
    bits = max(tags.get(258, (1,)))
    samples, photometric = tags.get(277, (1,))[0], tags.get(262, (1,))[0]
    tile = tags.get(322, (0,))[0], tags.get(323, (0,))[0]
    if 3 in tags.get(339, ()):
        raise BadPicture("bad_picture", "a TIFF of floating numbers, which have no scale of 0 to 255")
    if tile[0] * tile[1] > 4 * max(width * height, 2**20):
        raise BadPicture("bad_picture", f"a TIFF with tiles of {tile[1]} x {tile[0]} pixels")
    gray = photometric in (0, 1) and samples <= 2
    turned = tags.get(ORIENTATION, (1,))[0]
    return Header("TIFF", height, width, 1 if gray else 3, bits, turned if 1 <= turned <= 8 else 1)


def check_tiff(data: View) -> None:
    """Refuse a TIFF with a part, compressed by deflate, that is not what its checksum says: libtiff would go on.

    Raises:
        BadPicture: it is so.
    """
    tags = tags_of(memoryview(data), _MOST_PARTS)
    if tags.get(259, (1,))[0] not in _DEFLATE:
        return
    tiled = 324 in tags
    places, lengths = tags.get(324 if tiled else 273, ()), tags.get(325 if tiled else 279, ())
    left = 16 * tags[256][0] * tags[257][0] + 16 * _MIB  # four samples of 32 bits, and tiles beyond the edges
    for place, length in zip(places, lengths, strict=False):
        part = zlib.decompressobj()
        rest: bytes | memoryview = data[place : place + length]
        try:
            while not part.eof and len(rest):
                left -= len(part.decompress(rest, _MIB))
                rest = part.unconsumed_tail
                if left < 0:
                    raise BadPicture("bad_picture", "the TIFF holds more than its size says")
        except zlib.error as error:
            raise BadPicture("bad_picture", "the TIFF is damaged: a part of it can't be decompressed") from error
        if not part.eof:
            raise BadPicture("bad_picture", "the TIFF is cut off")


_FORMATS: dict[bytes, Callable[[memoryview], Header]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\x00": _tiff,
    b"MM\x00*": _tiff,
    b"II+\x00": _tiff,
    b"MM\x00+": _tiff,
}
