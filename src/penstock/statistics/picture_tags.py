"""The tags of a TIFF directory, which is also what EXIF is: how a picture is to be turned, and a TIFF file's sizes.

Part of the room of statistics, beside `picture_headers.py`: bytes are looked at, nothing is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeAlias

View: TypeAlias = bytes | memoryview

ORIENTATION = 274
_MOST_ENTRIES = 4096
_MOST_VALUES = 64
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tags_of(data: View, most: int = _MOST_VALUES) -> Mapping[int, tuple[int, ...]]:
    """The whole numbers of the first directory of a TIFF file (or of an EXIF block), by tag.

    Of long lists the first ``most`` values are kept. Tags of other types, and those that point beyond the data, are
    left out. The layout is that of Adobe's "TIFF, revision 6.0" (1992), section 2, and of BigTIFF.

    Raises:
        ValueError: the data are no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise ValueError("no TIFF")
    version = struct.unpack_from(order + "H", data, 2)[0]
    if version not in (42, 43) or (version == 43 and len(data) < 16):
        raise ValueError("no TIFF")
    big = version == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    width, counted, entry = ("Q", 8, 20) if big else ("H", 2, 12)
    if start + counted > len(data):
        raise ValueError("its directory is not there")
    entries = struct.unpack_from(order + width, data, start)[0]
    found: dict[int, tuple[int, ...]] = {}
    for place in range(min(entries, _MOST_ENTRIES)):
        at = start + counted + place * entry
        if at + entry > len(data):
            break
        tag, kind = struct.unpack_from(order + "HH", data, at)
        count = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)[0]
        if kind not in _SIZES or count == 0:
            continue
        inside = 8 if big else 4
        where = at + entry - inside
        if count * _SIZES[kind] > inside:
            where = struct.unpack_from(order + ("Q" if big else "I"), data, where)[0]
        count = min(count, most)
        if where + count * _SIZES[kind] <= len(data):
            found.setdefault(tag, struct.unpack_from(f"{order}{count}{_LETTERS[kind]}", data, where))
    return found


def orientation_of(exif: View) -> int:
    """How a picture is to be turned to be seen upright, 1 to 8 as EXIF counts; 1 where that is not said, or not well.

    Example:
        >>> orientation_of(struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 274, 3, 1, 6))
        6
        >>> orientation_of(b"no tags")
        1
    """
    try:
        value = tags_of(exif).get(ORIENTATION, (1,))[0]
    except ValueError:
        return 1
    return value if 1 <= value <= 8 else 1
