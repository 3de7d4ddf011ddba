"""How a CSV becomes blocks: whole records, counted and numbered, cut the same for any size of the window.

Part of the CSV source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from penstock.source import Chunk
from penstock.sources.csv_dialect import Dialect
from penstock.sources.csv_records import Places, Records, find_records, first_line_end
from penstock.sources.files import Limits

UNCLOSED = "unclosed_quote"
TOO_LONG = "record_too_long"


class Text(Protocol):
    """A text file as UTF-8 that can be looked into from place to place."""

    def window(self, start: int, size: int) -> tuple[bytes, bool]:
        """So many bytes from ``start``, fewer only at the end; and whether the file ends with them."""
        ...


@dataclass(slots=True)
class _Pending:
    """Records that are not in a block yet, by their places in the file."""

    starts: Places = field(default_factory=lambda: np.empty(0, np.int64))
    stops: Places = field(default_factory=lambda: np.empty(0, np.int64))
    lines: Places = field(default_factory=lambda: np.empty(0, np.int64))
    cut: list[list[Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, starts: Places, stops: Places, lines: Places) -> None:
        self.starts = np.concatenate([self.starts, starts])
        self.stops = np.concatenate([self.stops, stops])
        self.lines = np.concatenate([self.lines, lines])

    def add_cut(self, start: int, stop: int, line: int, code: str) -> None:
        """A record that is cut off at its first line end, and rejected."""
        self.add(np.array([start]), np.array([stop]), np.array([line]))
        self.cut.append([start, stop, code])

    def take(self, limits: Limits, *, final: bool) -> dict[str, Any] | None:
        """The next block; None while more records might belong to it."""
        if not len(self):
            return None
        start = int(self.starts[0])
        fitting = max(1, int(np.searchsorted(self.stops, start + limits.block_bytes, side="right")))
        count = min(fitting, limits.block_rows)
        if count >= len(self) and not final and count < limits.block_rows:
            return None
        stop = int(self.stops[count - 1])
        block: dict[str, Any] = {"start": start, "stop": stop, "rows": count, "line": int(self.lines[0])}
        within = [cut for cut in self.cut if cut[0] < stop]
        if within:
            block["cut"] = within
            self.cut = self.cut[len(within) :]
        self.starts, self.stops, self.lines = self.starts[count:], self.stops[count:], self.lines[count:]
        return block


def blocks_of(text: Text, start: int, line: int, dialect: Dialect, limits: Limits) -> Iterator[dict[str, Any]]:
    """The blocks of one file, as the JSON values of a chunk's part, but for the file's number.

    Args:
        text: the file.
        start: where its first record begins [bytes].
        line: the number of that line, from 1.
        dialect: how it is written.
        limits: how large blocks may become.
    """
    pending = _Pending()
    row = 0
    offset = start
    size = limits.window_bytes
    ended = False
    while not ended:
        data, final = text.window(offset, size)
        end = offset + len(data)
        found = find_records(data, dialect.delimiter.encode(), quoting=dialect.quoting, final=final)
        done, lines, code = _settled(found, len(data), limits, final=final)
        keep = int(np.searchsorted(found.starts, done))
        pending.add(found.starts[:keep] + offset, found.stops[:keep] + offset, found.lines[:keep] + line)
        if code:
            stop = _line_end(text, offset + done, data[done:], final=final)
            pending.add_cut(offset + done, stop, line + lines, code)
            offset, line = stop, line + lines + 1
        else:
            size = size * 2 if done == 0 and not final else limits.window_bytes
            offset, line = offset + done, line + lines
        ended = final and offset >= end
        while block := pending.take(limits, final=ended):
            yield {**block, "row": row}
            row += block["rows"]


def _settled(found: Records, size: int, limits: Limits, *, final: bool) -> tuple[int, int, str]:
    """Up to where the records are settled, the line ends before, and what is wrong with the record that follows:
    "" for nothing (or not yet known)."""
    too_long = np.flatnonzero(found.stops - found.starts > limits.record_bytes)
    if len(too_long):
        first = int(too_long[0])
        lines = int(found.lines[first])
        after = int(found.lines[first + 1]) if first + 1 < len(found) else found.done_lines
        return int(found.starts[first]), lines, UNCLOSED if after - lines > 1 else TOO_LONG
    rest = size - found.done
    if rest and (final or rest > limits.record_bytes):
        return found.done, found.done_lines, UNCLOSED if found.open else TOO_LONG
    return found.done, found.done_lines, ""


def _line_end(text: Text, start: int, data: bytes, *, final: bool) -> int:
    """The byte after the first line end at or after ``start``, however far it is."""
    while True:
        stop = first_line_end(data, 0, final=final)
        if stop is not None:
            return start + stop
        if final:
            return start + len(data)
        start += len(data) - data.endswith(b"\r")
        data, final = text.window(start, 2**20)


def chunks_of(blocks: Iterable[dict[str, Any]], limits: Limits, weight: Callable[[int], int]) -> Iterator[Chunk]:
    """Neighbouring blocks, of one or of many files, as chunks.

    Args:
        blocks: the parts, in order.
        limits: how large chunks may become.
        weight: what so many bytes of text hold in memory [bytes].
    """
    index = nbytes = rows = 0
    parts: list[dict[str, Any]] = []
    for block in blocks:
        size = block["stop"] - block["start"]
        if parts and nbytes + size > limits.chunk_bytes:
            yield Chunk(index, tuple(parts), weight(nbytes), rows)
            index, parts, nbytes, rows = index + 1, [], 0, 0
        parts.append(block)
        nbytes += size
        rows += block["rows"]
    if parts:
        yield Chunk(index, tuple(parts), weight(nbytes), rows)
