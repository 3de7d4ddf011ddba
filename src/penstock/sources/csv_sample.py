"""A sample of a CSV's rows, from the head, the middle and the tail, and what its columns are by it.

Part of the CSV source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SourceError
from penstock.inference import Inferred
from penstock.schema import Role
from penstock.source import Note
from penstock.sources.columns import complete_where, needed
from penstock.sources.conform import Wanted
from penstock.sources.csv_block import Block, Layout, read_block
from penstock.sources.csv_open import Opened
from penstock.sources.csv_types import infer_column
from penstock.sources.files import Limits
from penstock.sources.text_sample import Sampler

_RAW = Wanted(pa.string(), Role.text)
_LONG = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample tells.

    Attributes:
        columns: what each column is.
        cell_bytes: what a row of each column holds in memory as text, on average [bytes].
        row_bytes: the mean length of a record [bytes].
        notes: what was found in the cells.
    """

    columns: dict[str, Inferred]
    cell_bytes: dict[str, float]
    row_bytes: float
    notes: tuple[Note, ...]


def take_sample(opened: Opened, missing: frozenset[str], rows: int, limits: Limits) -> Sample:
    """Read about so many rows as texts, and infer what the columns are.

    Raises:
        SourceError: not one record has as many fields as there are columns.
    """
    names = opened.names
    own = [beginning.names for beginning in opened.beginnings]
    everywhere = complete_where(own, names)
    pieces: dict[str, list[pa.Array]] = {name: [] for name in names}
    good = records = nbytes = 0
    complete = True
    for piece in _sampler(opened, max(rows, 1), limits, needed(own)).pieces():
        for name, values in piece.block.columns.items():
            pieces[name].append(values)
        good += piece.block.count
        records += piece.block.count + len(piece.block.rejected)
        nbytes += piece.nbytes
        complete = complete and piece.ended
    if not good:
        raise SourceError(
            "no record can be read",
            where=str(opened.texts[0].file.path),
            expected=f"records of {len(own[0])} fields, as the first one has",
            got=f"{records} records of another width",
            remedy="see whether the delimiter and the names of the columns are right",
        )
    columns: dict[str, Inferred] = {}
    cell_bytes: dict[str, float] = {}
    tokens: dict[str, int] = {}
    blanks = 0
    for name in names:
        found_here = pieces.pop(name)
        raw = pa.concat_arrays(found_here) if found_here else pa.array([], pa.string())
        cell_bytes[name] = raw.nbytes / good
        texts, found, around = _clean(raw, missing)
        blanks += around
        for token, count in found.items():
            tokens[token] = tokens.get(token, 0) + count
        columns[name] = infer_column(name, texts, complete=complete and everywhere[name])
    return Sample(columns, cell_bytes, nbytes / max(records, 1), tuple(_said(tokens, blanks, missing)))


def _sampler(opened: Opened, rows: int, limits: Limits, files: Sequence[int]) -> Sampler[Block]:
    def read(index: int, part: Mapping[str, Any]) -> Block:
        own = opened.beginnings[index].names
        layout = Layout(opened.dialect, own, dict.fromkeys(own, _RAW), frozenset(), strip=False)
        text = opened.texts[index]
        return read_block(text.read, part, layout, str(text.file.path))

    starts = [beginning.start for beginning in opened.beginnings]
    return Sampler(opened.texts, starts, opened.dialect, rows, limits, read, files)


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
