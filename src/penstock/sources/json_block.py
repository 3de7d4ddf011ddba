"""One block of JSON lines: bytes in, typed columns and rejected rows out.

Part of the JSON lines source. `pyarrow.json` parses all lines at once, and refuses them all where one is bad; then
smaller pieces are tried, and the lines of those that are refused are looked at one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from penstock.sources.conform import Conformed, Fault, Verdict, Verdicts, Wanted, conform
from penstock.sources.csv_block import REASONS, Block, BlockRecords, Fetch, is_clean, segments_of
from penstock.sources.csv_dialect import Dialect
from penstock.sources.csv_records import Places
from penstock.sources.json_fields import Doubled, JsonField, Number, Path, parse_record, shown

LINES = Dialect("\x1f", quoting=False)
"""JSON lines are cut as text of one column is: at every line end, none of which stands within a text."""

_PIECE = 512
"""Records of a piece that is tried again after the whole block was refused."""
_OPENING, _CLOSING, _LINE_FEED, _RETURN = 123, 125, 10, 13
_PRECISE = 2.0**53


@dataclass(frozen=True, slots=True)
class JsonLayout:
    """What is parsed of each record.

    Attributes:
        fields: the fields, in the schema's order.
        wanted: what each shall become, by name.
        paths: of all fields that are known, asked for or not.
        tree: the same fields as Arrow parses them; None where it can't, since a key is now an object and now not.
        parents: the beginnings of all paths.
    """

    fields: tuple[JsonField, ...]
    wanted: Mapping[str, Wanted]
    paths: frozenset[Path]
    tree: pa.Schema | None = field(init=False)
    parents: frozenset[Path] = field(init=False)

    def __post_init__(self) -> None:
        parents = frozenset(path[:depth] for path in self.paths for depth in range(1, len(path)))
        object.__setattr__(self, "parents", parents)
        object.__setattr__(self, "tree", _tree(self))

    def parsed(self, one: JsonField) -> pa.DataType:
        """What a field is parsed as."""
        return one.parsed(self.wanted[one.name].type)


def _tree(layout: JsonLayout) -> pa.Schema | None:
    nested: dict[str, Any] = {}
    for one in layout.fields:
        here = nested
        for key in one.path[:-1]:
            here = here.setdefault(key, {})
            if not isinstance(here, dict):
                return None
        if one.path[-1] in here:
            return None
        here[one.path[-1]] = layout.parsed(one)
    return pa.schema([pa.field(name, _type(of)) for name, of in nested.items()])


def _type(of: Any) -> pa.DataType:
    if not isinstance(of, dict):
        return of
    return pa.struct([pa.field(name, _type(inner)) for name, inner in of.items()])


def read_json_block(fetch: Fetch, part: Mapping[str, Any], layout: JsonLayout, where: str) -> Block:
    """The rows of one block; see `penstock.sources.csv_block.read_block`.

    Raises:
        SourceError: what is there is not what the plan says.
    """
    segments = segments_of(fetch, part)
    records = BlockRecords(fetch, part, segments, LINES)
    records.expect(part, where)
    whole = len(segments) == 1 and not part.get("cut")
    early = {} if whole and is_clean(segments[0].data) else records.bad()
    if whole and not early:
        data, first = segments[0].data, segments[0].place
        starts, stops = records.starts - first, records.stops - first
    else:
        data, starts, stops = _joined(records, early)
    sent = np.delete(np.arange(part["rows"]), list(early))
    columns, verdicts = _parse_all(data, starts, stops, layout)
    if not early and not verdicts.rows:
        return Block(columns, len(sent))
    rejected = [records.rejected(row, Verdict(None, code, REASONS[code])) for row, code in early.items()]
    for place, verdict in verdicts.rows.items():
        row = int(sent[place])
        rejected.append(records.rejected(row, verdict, _cell(records.bytes_of(row), verdict, layout)))
    kept = verdicts.kept(len(sent))
    mask = pa.array(kept)
    good = {name: column.filter(mask) for name, column in columns.items()}
    return Block(good, int(kept.sum()), sent[kept], rejected)


def _joined(records: BlockRecords, early: dict[int, str]) -> tuple[bytes, Places, Places]:
    """The records that are left, and where each is."""
    lines = [records.bytes_of(row) + b"\n" for row in range(len(records.starts)) if row not in early]
    stops = np.cumsum([len(line) for line in lines], dtype=np.int64)
    starts = np.append(np.zeros(1, np.int64), stops[:-1]) if lines else stops
    return b"".join(lines), starts, stops


def _cell(record: bytes, verdict: Verdict, layout: JsonLayout) -> str | None:
    """What stands in the column that a record is rejected for."""
    parsed = parse_record(record)
    if verdict.column is None or isinstance(parsed, Verdict):
        return None
    path = next(one.path for one in layout.fields if one.name == verdict.column)
    value = _at(parsed, path)
    if isinstance(value, (dict, list)):
        return json.dumps(_at(json.loads(record), path), ensure_ascii=False)
    return None if value is None else shown(value)


def _at(value: Any, path: Path) -> Any:
    """What stands at the end of a path, or where it ends too early."""
    for key in path:
        if not isinstance(value, dict):
            break
        value = value.get(key)
    return value


# --- all lines at once


def _parse_all(data: bytes, starts: Places, stops: Places, layout: JsonLayout) -> tuple[dict[str, pa.Array], Verdicts]:
    """The columns of all records, in the wanted types, and the records that are rejected."""
    count = len(starts)
    pieces = [_fast(data, starts, stops, layout)]
    if pieces[0] is None:
        pieces = []
        for place in range(0, max(count, 1), _PIECE):
            own = slice(place, min(count, place + _PIECE))
            found = _fast(data, starts[own], stops[own], layout) if layout.tree is not None else None
            pieces.append(found or _slow(data, starts[own], stops[own], layout))
    verdicts = Verdicts()
    columns: dict[str, list[pa.Array]] = {one.name: [] for one in layout.fields}
    first = 0
    for piece in pieces:
        assert piece is not None
        for row, verdict in piece.verdicts.rows.items():
            verdicts.rows.setdefault(first + row, verdict)
        for name, values in piece.columns.items():
            columns[name].append(values)
        first += piece.count
    return {name: pa.concat_arrays(arrays) for name, arrays in columns.items()}, verdicts


@dataclass(slots=True)
class _Piece:
    columns: dict[str, pa.Array]
    count: int
    verdicts: Verdicts = field(default_factory=Verdicts)

    def add(self, name: str, done: Conformed) -> None:
        self.verdicts.add(name, done.faults)
        self.columns[name] = done.values


def _fast(data: bytes, starts: Places, stops: Places, layout: JsonLayout) -> _Piece | None:
    """The columns of neighbouring records, where Arrow can parse them all; else None."""
    if layout.tree is None or not len(starts) or not _are_objects(data, starts, stops):
        return None
    piece = pa.py_buffer(data)[int(starts[0]) : int(stops[-1])]
    try:
        table = pajson.read_json(
            pa.BufferReader(piece),
            read_options=pajson.ReadOptions(use_threads=False, block_size=piece.size + 1),
            parse_options=pajson.ParseOptions(explicit_schema=layout.tree, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(starts):
        return None
    found = _Piece({}, len(starts))
    for one in layout.fields:
        values = table.column(one.path[0]).combine_chunks()
        if len(one.path) > 1:
            values = pc.struct_field(values, list(one.path[1:]))
        if one.whole and pa.types.is_floating(values.type) and _may_be_rounded(values):
            return None
        found.add(one.name, conform(values, layout.wanted[one.name]))
    return found


def _are_objects(data: bytes, starts: Places, stops: Places) -> bool:
    """Whether every line begins with { and ends with }: then no value of a good one reaches into the next, and there
    are as many lines as there are objects only if each is one."""
    text = np.frombuffer(data, np.uint8)
    last = stops - 1
    last = np.where(text[last] == _LINE_FEED, last - 1, last)
    last = np.where(text[np.maximum(last, 0)] == _RETURN, last - 1, last)
    return bool((text[starts] == _OPENING).all() and (text[np.maximum(last, 0)] == _CLOSING).all())


def _may_be_rounded(values: pa.Array) -> bool:
    largest = pc.min_max(values)
    low, high = largest["min"].as_py(), largest["max"].as_py()
    return low is not None and not (low > -_PRECISE and high < _PRECISE)


# --- line by line

_ABSENT = object()
_NESTED = "an object or a list, where single values are expected"


def _slow(data: bytes, starts: Places, stops: Places, layout: JsonLayout) -> _Piece:
    count = len(starts)
    parsed = [parse_record(data[start:stop]) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    found = _Piece({}, count)
    for row, record in enumerate(parsed):
        if isinstance(record, Verdict):
            found.verdicts.rows[row] = record
    for one in layout.fields:
        cells, faults = _cells(parsed, one, layout)
        found.verdicts.add(one.name, faults)
        found.add(one.name, _typed(cells, one, layout.wanted[one.name]))
    return found


def _cells(
    parsed: Sequence[dict[str, Any] | Verdict], one: JsonField, layout: JsonLayout
) -> tuple[list[Any], tuple[Fault, ...]]:
    """The values of one field, None where it has none; and what is wrong with how they are reached."""
    twice = np.zeros(len(parsed), np.bool_)
    lost = np.zeros(len(parsed), np.bool_)
    cells: list[Any] = []
    has_parts = one.path in layout.parents
    for row, record in enumerate(parsed):
        value: Any = None if isinstance(record, Verdict) else record
        for depth, key in enumerate(one.path):
            if value is None:
                break
            if not isinstance(value, dict):
                lost[row] = one.path[:depth] not in layout.paths
                value = None
                break
            twice[row] |= isinstance(value, Doubled) and key in value.keys_twice
            value = value.get(key)
        # The parts of an object may be columns of their own.
        cells.append(None if has_parts and isinstance(value, dict) else value)
    return cells, (
        Fault(twice, "duplicate_key", f"{one.path[-1]!r} is there twice"),
        Fault(lost, "not_an_object", f"a single value, where an object with {one.path[-1]!r} is expected"),
    )


def _typed(cells: list[Any], one: JsonField, wanted: Wanted) -> Conformed:
    """Values as JSON has them, in the wanted type."""
    if pa.types.is_list(one.stored):
        return _typed_lists(cells, one, wanted)
    nested = np.array([isinstance(cell, (dict, list)) for cell in cells], np.bool_)
    faults = [Fault(nested, "nested", _NESTED)]
    if one.whole and pa.types.is_floating(wanted.type):
        rounded = np.array([isinstance(cell, Number) and cell.is_rounded for cell in cells], np.bool_)
        faults.append(Fault(rounded, "too_large", "a whole number beyond 2^53 is not exact as float64"))
    single = [None if isinstance(cell, (dict, list)) else cell for cell in cells]
    texts = _texts(single, one.parsed(wanted.type), wanted.type)
    done = conform(texts, wanted)
    return Conformed(done.values, (*faults, *done.faults))


def _typed_lists(cells: list[Any], one: JsonField, wanted: Wanted) -> Conformed:
    alone = np.array([cell is not None and not isinstance(cell, list) for cell in cells], np.bool_)
    nested = np.array(
        [isinstance(cell, list) and any(isinstance(item, (dict, list)) for item in cell) for cell in cells], np.bool_
    )
    lists = [None if bad else cell for cell, bad in zip(cells, (alone | nested).tolist(), strict=True)]
    items = [item for cell in lists if cell is not None for item in cell]
    texts = _texts(items, one.stored.value_type, pa.string())
    ends = np.cumsum([0, *(0 if cell is None else len(cell) for cell in lists)], dtype=np.int32)
    absent = pa.array([cell is None for cell in lists], pa.bool_())
    done = conform(pa.ListArray.from_arrays(pa.array(ends), texts, mask=absent), wanted)
    faults = (Fault(alone, "not_a_list", "a single value, where lists are expected"), Fault(nested, "nested", _NESTED))
    return Conformed(done.values, (*faults, *done.faults))


def _texts(cells: list[Any], stored: pa.DataType, wanted: pa.DataType) -> pa.Array:
    """Single values as text; where text is wanted, numbers as Arrow would have written them from the stored type."""
    texts = [None if cell is None else shown(cell) for cell in cells]
    if not pa.types.is_string(wanted) or pa.types.is_string(stored):
        return pa.array(texts, pa.string())
    numbers = [place for place, cell in enumerate(cells) if isinstance(cell, Number)]
    floats = [place for place in numbers if pa.types.is_floating(stored) or not cells[place].is_whole]
    written = pa.array([float(cells[place]) for place in floats], pa.float64()).cast(pa.string()).to_pylist()
    for place in numbers:
        texts[place] = "0" if cells[place] == "-0" else texts[place]
    for place, text in zip(floats, written, strict=True):
        texts[place] = text
    return pa.array(texts, pa.string())
