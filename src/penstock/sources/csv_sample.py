"""A sample of a CSV's rows, from the head, the middle and the tail, and what its columns are by it.

Part of the CSV source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SourceError
from penstock.schema import Role
from penstock.source import Note
from penstock.sources.conform import Wanted
from penstock.sources.csv_block import Block, Layout, read_block
from penstock.sources.csv_open import Opened
from penstock.sources.csv_plan import blocks_of
from penstock.sources.csv_types import TextColumn, infer_column
from penstock.sources.files import Limits

_RAW = Wanted(pa.string(), Role.text)
_SMALL = 8 * 2**20
"""Sources of no more than this are read from the beginning, to see whether the sample is all of them [bytes]."""
_LONG = 200
_MOST = 8 * 2**20
"""A piece of the sample from the beginning is not longer than about this, and a further one than a fourth of it, so
that long texts do not fill the memory [bytes]."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample tells.

    Attributes:
        columns: what each column is.
        cell_bytes: what a row of each column holds in memory as text, on average [bytes].
        row_bytes: the mean length of a record [bytes].
        notes: what was found in the cells.
    """

    columns: dict[str, TextColumn]
    cell_bytes: dict[str, float]
    row_bytes: float
    notes: tuple[Note, ...]


def take_sample(opened: Opened, missing: frozenset[str], rows: int, limits: Limits) -> Sample:
    """Read about so many rows as texts, and infer what the columns are.

    Raises:
        SourceError: not one record has as many fields as there are columns.
    """
    rows = max(rows, 1)
    pieces: list[pa.Table] = []
    records = nbytes = 0
    complete = True
    for block, size, ended in _blocks(opened, rows, limits):
        pieces.append(pa.table(block.columns).select(list(opened.names)))
        records += block.count + len(block.rejected)
        nbytes += size
        complete = complete and ended
    table = pa.concat_tables(pieces).combine_chunks() if pieces else pa.table({})
    pieces.clear()
    if not table.num_rows:
        raise SourceError(
            "no record can be read",
            where=str(opened.texts[0].file.path),
            expected=f"records of {len(opened.names)} fields, as the first one has",
            got=f"{records} records of another width",
            remedy="see whether the delimiter and the names of the columns are right",
        )
    columns: dict[str, TextColumn] = {}
    tokens: dict[str, int] = {}
    blanks = 0
    for name in opened.names:
        raw = table.column(name).chunk(0)
        texts, found, around = _clean(raw, missing)
        blanks += around
        for token, count in found.items():
            tokens[token] = tokens.get(token, 0) + count
        columns[name] = infer_column(name, texts, complete=complete)
    cell_bytes = {name: table.column(name).nbytes / table.num_rows for name in opened.names}
    return Sample(columns, cell_bytes, nbytes / max(records, 1), tuple(_said(tokens, blanks, missing)))


def _clean(raw: pa.Array, missing: frozenset[str]) -> tuple[pa.Array, dict[str, int], int]:
    """The texts without blanks around them and with null for missing; which missing texts there are; how many had
    blanks around them."""
    trimmed = pc.ascii_trim_whitespace(raw)
    around = int(pc.sum(pc.not_equal(pc.binary_length(trimmed), pc.binary_length(raw))).as_py() or 0)
    none = pc.is_in(trimmed, value_set=pa.array(sorted(missing), pa.string()))
    found = {str(item["values"]): int(item["counts"].as_py()) for item in trimmed.filter(none).value_counts()}
    return _shortened(pc.if_else(none, pa.scalar(None, pa.string()), trimmed)), found, around


def _shortened(texts: pa.Array) -> pa.Array:
    """Long texts by their beginnings and ends, which tell as much of what they are."""
    if (pc.mean(pc.binary_length(texts)).as_py() or 0) <= _LONG:
        return texts
    middle = _LONG * 3 // 4
    beginning = pc.utf8_slice_codeunits(texts, 0, middle)
    return pc.binary_join_element_wise(beginning, pc.utf8_slice_codeunits(texts, middle - _LONG), "")


def _said(tokens: dict[str, int], blanks: int, missing: frozenset[str]) -> Iterator[Note]:
    named = {token: count for token, count in tokens.items() if token}
    if named:
        seen = ", ".join(f"{token!r} ({count:,})" for token, count in sorted(named.items()))
        listed = ", ".join(repr(token) for token in sorted(missing) if token)
        yield Note(
            "missing values",
            f"{seen} in the sample",
            f"texts that mean no value: {listed}",
            "read: {missing: ['?', NA]}",
        )
    if blanks:
        yield Note("blanks", f"stripped around {blanks:,} cells of the sample", "they are part of no value", "")


def _blocks(opened: Opened, rows: int, limits: Limits) -> Iterator[tuple[Block, int, bool]]:
    """(block of texts, bytes of its text, whether it ends what it was taken from) of every piece of the sample."""
    starts = [beginning.start for beginning in opened.beginnings]
    last = len(starts) - 1
    if sum(text.file.fingerprint.size for text in opened.texts) <= _SMALL:
        left = rows
        for index, start in enumerate(starts):
            for block, size, ended in _from(opened, index, start, left, limits):
                left -= block.count + len(block.rejected)
                yield block, size, ended and (left > 0 or index == last)
            if left <= 0:
                return
        return
    if last:
        chosen = sorted({0, len(starts) // 2, last})
        for index in chosen:
            for block, size, _ in _from(
                opened, index, starts[index], max(1, rows // len(chosen)), limits, most=_MOST // 2
            ):
                yield block, size, False
        return
    count = length = 0
    for block, size, _ in _from(opened, 0, starts[0], rows if opened.texts[0].spooled else max(1, rows // 2), limits):
        count += block.count + len(block.rejected)
        length += size
        yield block, size, False
    if not opened.texts[0].spooled:
        share = max(1, rows // 4)
        yield from _further(opened, share, int(1.2 * share * length / max(count, 1)), limits)


def _from(
    opened: Opened, index: int, start: int, rows: int, limits: Limits, *, most: int = _MOST
) -> Iterator[tuple[Block, int, bool]]:
    """The first rows from a place on, as far as ``most`` bytes go."""
    text, names = opened.texts[index], opened.beginnings[index].names
    layout = Layout(opened.dialect, names, dict.fromkeys(names, _RAW), frozenset(), strip=False)
    parts = blocks_of(
        text,
        start,
        1,
        opened.dialect,
        replace(limits, block_rows=min(rows, limits.block_rows), block_bytes=min(most, limits.block_bytes)),
    )
    part: dict[str, Any] | None = next(parts, None)
    taken = nbytes = 0
    while part is not None and taken < rows and nbytes < most:
        following = next(parts, None)
        taken += part["rows"]
        size = part["stop"] - part["start"]
        nbytes += size
        yield read_block(text.read, part, layout, str(text.file.path)), size, following is None
        part = following
    text.release()


def _further(opened: Opened, rows: int, nbytes: int, limits: Limits) -> Iterator[tuple[Block, int, bool]]:
    """Rows from the middle and the tail of a plain file. Where a line end found there lies within quotes most records
    are ragged; such a piece is left out."""
    text = opened.texts[0]
    size = text.file.fingerprint.size
    for place in (size // 2, max(size // 2, size - nbytes)):
        head, _ = text.window(place, limits.window_bytes)
        found = head.find(b"\n") + 1
        if not found:
            continue
        for block, length, _ in _from(opened, 0, place + found, rows, limits, most=_MOST // 4):
            if len(block.rejected) <= 0.2 * (block.count + len(block.rejected)):
                yield block, length, False
