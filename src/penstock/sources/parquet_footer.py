"""What the footer of a Parquet file says of its column chunks: their sizes and encodings.

Part of the Parquet source. Arrow reads the footer too, and the data by it; but where a footer is damaged, asking
Arrow's Python binding for one column chunk may end the process (an exception of C++ that nobody translates). So the
footer's Thrift, in the compact protocol, is read here, where damage is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TAIL = 8
"""The length of the footer and the mark PAR1 follow it [bytes]."""
_DEPTH = 32
"""Structures within structures; the format has six."""
_TRUE, _FALSE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 8, 9, 10, 11, 12
"""Types of the compact protocol (Apache Thrift, doc/specs/thrift-compact-protocol.md); 4 to 6 are whole numbers."""
_FIXED = {3: 1, 7: 8, 13: 16}
"""Types of a fixed length: a byte, a double, a UUID [bytes]."""
_NOT_DICTIONARY = frozenset({5, 6, 7, 9})
"""Encodings of parquet.thrift that can't be read as a dictionary: DELTA_* and BYTE_STREAM_SPLIT."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of one row group.

    Attributes:
        path: the names down to it, the column's own first.
        nbytes: without compression [bytes].
        dictionary: whether it may be read as a dictionary.
    """

    path: tuple[str, ...]
    nbytes: int
    dictionary: bool


def column_chunks(path: Path, size: int) -> list[list[ColumnChunk]]:
    """The column chunks of each row group.

    Args:
        path: the file.
        size: of the footer [bytes].

    Raises:
        ValueError: the footer is damaged.
    """
    with path.open("rb") as file:
        file.seek(-size - _TAIL, 2)
        footer = _Compact(file.read(size))
    groups: list[list[ColumnChunk]] = []
    try:
        for number, kind in footer.fields():
            if (number, kind) == (4, _LIST):  # FileMetaData.row_groups
                groups = [_group(footer) for _ in footer.elements(_STRUCT)]
            else:
                footer.skip(kind)
    except (IndexError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("its footer is damaged") from error
    return groups


def _group(footer: _Compact) -> list[ColumnChunk]:
    chunks: list[ColumnChunk] = []
    for number, kind in footer.fields():
        if (number, kind) == (1, _LIST):  # RowGroup.columns
            chunks = [_chunk(footer) for _ in footer.elements(_STRUCT)]
        else:
            footer.skip(kind)
    return chunks


def _chunk(footer: _Compact) -> ColumnChunk:
    found: ColumnChunk | None = None
    for number, kind in footer.fields():
        if (number, kind) == (3, _STRUCT):  # ColumnChunk.meta_data
            found = _meta_data(footer)
        else:
            footer.skip(kind)
    if found is None:
        raise ValueError("a column chunk without its description")
    return found


def _meta_data(footer: _Compact) -> ColumnChunk:
    path: list[str] = []
    encodings: list[int] = []
    nbytes = -1
    for number, kind in footer.fields():
        if (number, kind) == (2, _LIST):
            encodings = [footer.integer() for _ in footer.elements(5)]
        elif (number, kind) == (3, _LIST):
            path = [footer.binary().decode() for _ in footer.elements(_BINARY)]
        elif number == 6 and kind in (5, 6):
            nbytes = footer.integer()
        else:
            footer.skip(kind)
    if nbytes < 0 or not path:
        raise ValueError("a column chunk without a size or a name")
    return ColumnChunk(tuple(path), nbytes, _NOT_DICTIONARY.isdisjoint(encodings))


class _Compact:
    """Bytes of the compact protocol, read from front to end. Past the end it raises `IndexError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and type of each field of a structure; its value is to be read, or skipped, before the next."""
        number = 0
        while head := self._data[self._at]:
            self._at += 1
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15
        self._at += 1

    def elements(self, kind: int) -> range:
        """Of a list of this type; each is to be read."""
        count, found = self._list()
        if count and found != kind:
            raise ValueError("a list of another type")
        return range(count)

    def integer(self) -> int:
        """A whole number (zigzag)."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def binary(self) -> bytes:
        """Bytes with their length."""
        length = self._varint()
        start = self._at
        self._pass(length)
        return self._data[start : self._at]

    def skip(self, kind: int, depth: int = 0, *, listed: bool = False) -> None:
        """A value of this type; in a list a truth value takes a byte."""
        if depth > _DEPTH:
            raise ValueError("structures without an end")
        if kind in (_TRUE, _FALSE):
            self._pass(int(listed))
        elif kind in _FIXED:
            self._pass(_FIXED[kind])
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            count, element = self._list()
            for _ in range(count):
                self.skip(element, depth + 1, listed=True)
        elif kind == _MAP:
            self._skip_map(depth)
        elif kind == _STRUCT:
            for _, of_field in self.fields():
                self.skip(of_field, depth + 1)
        else:
            raise ValueError("a value of no known type")

    def _skip_map(self, depth: int) -> None:
        count = self._varint()
        if count:
            kinds = self._data[self._at]
            self._at += 1
            for _ in range(count):
                self.skip(kinds >> 4, depth + 1, listed=True)
                self.skip(kinds & 15, depth + 1, listed=True)

    def _list(self) -> tuple[int, int]:
        head = self._data[self._at]
        self._at += 1
        count = head >> 4
        return (self._varint() if count == 15 else count), head & 15

    def _varint(self) -> int:
        data, at = self._data, self._at
        byte = data[at]
        if byte < 128:
            self._at = at + 1
            return byte
        value, shift = byte & 127, 7
        while True:
            at += 1
            byte = data[at]
            value |= (byte & 127) << shift
            if byte < 128:
                self._at = at + 1
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number without an end")

    def _pass(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise IndexError
