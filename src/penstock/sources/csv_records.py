"""Where the records of a CSV begin and end: line ends outside of quotes.

Part of the CSV source. The rules are those of `pyarrow.csv`, which parses what is cut here: a quote opens a quoted
field only where the field begins; in it a doubled quote is a quote, and the next single one closes it; what follows
up to the delimiter is taken as it is. A line ends with ``\\n``, ``\\r\\n`` or ``\\r``; an empty line is no record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_QUOTE, _LINE_FEED, _RETURN = 34, 10, 13


@dataclass(frozen=True, slots=True)
class Records:
    """The records found in a piece of a file that begins with a record. All places are relative to the piece.

    Attributes:
        starts: the first byte of each record.
        stops: the byte after its line end.
        lines: the number of line ends before it.
        done: the records and empty lines up to here are settled; the next record begins here.
        done_lines: the number of line ends before that.
        open: whether the piece ends within quotes.
    """

    starts: Places
    stops: Places
    lines: Places
    done: int
    done_lines: int
    open: bool

    def __len__(self) -> int:
        return len(self.starts)


def find_records(data: bytes, delimiter: bytes, *, quoting: bool, final: bool) -> Records:
    """The records of a piece of a file.

    Args:
        data: the piece; begins where a record does.
        delimiter: one byte.
        quoting: whether quotes mean anything.
        final: whether the file ends with the piece, so that the last record needs no line end.

    Example:
        >>> found = find_records(b'a,"x\\ny"\\n\\nb,z', b",", quoting=True, final=True)
        >>> found.starts.tolist(), found.stops.tolist(), found.lines.tolist()
        ([0, 9], [8, 12], [0, 3])
    """
    text = np.frombuffer(data, np.uint8)
    breaks = _line_breaks(data, text, final=final)
    inside, still_open = _within_quotes(data, text, breaks, delimiter) if quoting else (None, False)
    ends = breaks if inside is None else breaks[~inside]
    stops = ends + 1
    starts = np.empty_like(stops)
    if len(stops):
        starts[0] = 0
        starts[1:] = stops[:-1]
    done = int(stops[-1]) if len(stops) else 0
    done_lines = int(np.searchsorted(breaks, done))
    length = ends - starts
    if b"\r" in data:
        length -= (length > 0) & (text[ends] == _LINE_FEED) & (text[ends - 1] == _RETURN)
    if not length.all():
        starts, stops = starts[length > 0], stops[length > 0]
    if final and not still_open and done < len(data):
        starts, stops = np.append(starts, done), np.append(stops, len(data))
        done, done_lines = len(data), len(breaks)
    return Records(starts, stops, np.searchsorted(breaks, starts), done, done_lines, still_open)


def first_line_end(data: bytes, start: int, *, final: bool) -> int | None:
    """The byte after the first line end at or after ``start``, quoted or not; None where there is none.

    Example:
        >>> first_line_end(b"ab\\r\\ncd", 1, final=True)
        4
    """
    feed, back = data.find(b"\n", start), data.find(b"\r", start)
    if back < 0 or 0 <= feed < back:
        return feed + 1 if feed >= 0 else None
    if back + 1 < len(data):
        return back + 2 if data[back + 1] == _LINE_FEED else back + 1
    return back + 1 if final else None


def _line_breaks(data: bytes, text: Bytes, *, final: bool) -> Places:
    """The last byte of every line end, quoted or not."""
    if b"\r" not in data:
        return np.flatnonzero(text == _LINE_FEED)
    single = text == _RETURN
    feeds = text == _LINE_FEED
    single[:-1] &= ~feeds[1:]
    if not final:
        single[-1] = False  # the line feed that belongs to it may come next
    return np.flatnonzero(single | feeds)


def _within_quotes(
    data: bytes, text: Bytes, breaks: Places, delimiter: bytes
) -> tuple[npt.NDArray[np.bool_] | None, bool]:
    """Which line ends are quoted (None for none), and whether the piece ends within quotes."""
    if b'"' not in data:
        return None, False
    quotes = np.flatnonzero(text == _QUOTE)
    if _are_paired(text, quotes, delimiter):
        inside = (np.searchsorted(quotes, breaks) & 1).astype(np.bool_)
        return inside, bool(len(quotes) & 1)
    opened, closed = _quoted_fields(text, quotes, delimiter)
    inside = np.searchsorted(opened, breaks) > np.searchsorted(closed, breaks)
    return inside, len(opened) > len(closed)


def _are_paired(text: Bytes, quotes: Places, delimiter: bytes) -> bool:
    """Whether every first quote of a pair begins a field and every second one ends it (or is doubled); then counting
    them tells what is quoted."""
    around = np.zeros(256, np.bool_)
    around[[ord(delimiter), _LINE_FEED, _RETURN, _QUOTE]] = True
    first, second = quotes[0::2], quotes[1::2]
    before = around[text[np.maximum(first, 1) - 1]]
    before[0] |= first[0] == 0
    # A quote before a first one is the second one of the pair before, doubled: never the same quote.
    after = around[text[np.minimum(second, len(text) - 2) + 1]] | (second == len(text) - 1)
    return bool(before.all() and after.all())


def _quoted_fields(text: Bytes, quotes: Places, delimiter: bytes) -> tuple[Places, Places]:
    """The opening and closing quotes of quoted fields, one by one, where some quotes mean nothing."""
    previous = text[np.maximum(quotes, 1) - 1]
    begins = (quotes == 0) | np.isin(previous, [ord(delimiter), _LINE_FEED, _RETURN])
    may_open = begins.tolist()
    places = quotes.tolist()
    count = len(places)
    opened: list[int] = []
    closed: list[int] = []
    i = 0
    while i < count:
        if not may_open[i]:
            i += 1
            continue
        opened.append(places[i])
        i += 1
        while i + 1 < count and places[i + 1] == places[i] + 1:
            i += 2
        if i < count:
            closed.append(places[i])
            i += 1
    return np.array(opened, np.int64), np.array(closed, np.int64)
