"""One block of a CSV: bytes in, typed columns and rejected rows out.

Part of the CSV source. `pyarrow.csv` parses the bytes into texts; what must not reach it (bytes that are no text,
records that are cut off) is taken out before, and texts are cast here, so that a bad cell costs its row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from penstock.errors import SourceError
from penstock.sources.cells import boolean_cells
from penstock.sources.conform import Conformed, Fault, RejectedRow, Verdict, Verdicts, Wanted, typed_cells
from penstock.sources.csv_dialect import Dialect
from penstock.sources.csv_plan import TOO_LONG, UNCLOSED
from penstock.sources.csv_records import Places, find_records

_SHOWN = 4096
"""How much is shown of a record that is cut off [bytes]."""
Fetch: TypeAlias = Callable[[int, int], bytes]
Part: TypeAlias = Mapping[str, Any]

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
REASONS = {
    UNCLOSED: "a quote is never closed; only its first line is rejected",
    TOO_LONG: "the record is longer than 16 MiB",
    "bad_encoding": "not UTF-8; if all of the file has another encoding, name it",
    "nul_byte": "a zero byte is no text",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What is parsed from each record of a file.

    Attributes:
        dialect: how the file is written.
        names: its columns, in its order.
        wanted: what is read of them, by name, in the schema's order.
        missing: the texts that mean "no value".
        strip: whether blanks around cells are taken off, and missing ones looked for.
    """

    dialect: Dialect
    names: tuple[str, ...]
    wanted: dict[str, Wanted]
    missing: frozenset[str]
    strip: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of whole records, at their place in the file."""

    place: int
    data: bytes


@dataclass(slots=True)
class Block:
    """A block as it was read.

    Attributes:
        columns: the columns by name; as long as there are good rows.
        rows: the numbers of these rows in the block, ascending; None where they are all there.
        rejected: the others, numbered within the block.
    """

    columns: dict[str, pa.Array]
    count: int
    rows: npt.NDArray[np.int64] | None = None
    rejected: list[RejectedRow] = field(default_factory=list)


def read_block(fetch: Fetch, part: Part, layout: Layout, where: str) -> Block:
    """The rows of one block.

    Args:
        fetch: gives so many bytes of the file from a place.
        part: the block's part of its chunk.
        layout: what is read.
        where: the file's name, for errors.

    Raises:
        SourceError: what is there is not what the plan says.
    """
    segments = segments_of(fetch, part)
    whole = len(segments) == 1 and not part.get("cut") and is_clean(segments[0].data)
    records = None if whole else BlockRecords(fetch, part, segments, layout.dialect)
    early = {} if records is None else records.bad()
    data = segments[0].data if records is None else records.without(early)
    parsed = _parse(data, part["rows"] - len(early), layout)
    good = parsed.table.num_rows
    if good + len(parsed.ragged) + len(early) != part["rows"]:
        raise _other_count(part, where, good + len(parsed.ragged) + len(early))
    columns, verdicts = _decode(parsed.table, layout)
    if not early and not parsed.ragged and not verdicts.rows:
        return Block(columns, good)
    records = records or BlockRecords(fetch, part, segments, layout.dialect)
    rows, kept, rejected = _settle(layout, records, early, parsed, verdicts)
    mask = pa.array(kept)
    return Block({name: column.filter(mask) for name, column in columns.items()}, int(kept.sum()), rows[kept], rejected)


def _other_count(part: Part, where: str, count: int) -> SourceError:
    return SourceError(
        "a block does not hold the records that were planned",
        where=where,
        expected=f"{part['rows']} records from byte {part['start']} to {part['stop']}",
        got=str(count),
        remedy="see that nothing writes to the file, and start anew",
    )


def segments_of(fetch: Fetch, part: Part) -> list[Segment]:
    """The bytes between the records that are cut off.

    Raises:
        SourceError: the file is shorter than it was.
    """
    found: list[Segment] = []
    place = int(part["start"])
    for start, stop, _ in [*part.get("cut", ()), (part["stop"], part["stop"], "")]:
        if start > place:
            data = fetch(place, start - place)
            if len(data) < start - place:
                raise SourceError(
                    "the file ends too early", expected=f"{part['stop']} bytes", got=f"{place + len(data)}"
                )
            found.append(Segment(place, data))
        place = stop
    return found or [Segment(place, b"")]


def is_clean(data: bytes) -> bool:
    """Whether all of it is text."""
    return b"\0" not in data and (data.isascii() or _is_utf_8(data))


def _is_utf_8(data: bytes) -> bool:
    ends = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(data)]).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


class BlockRecords:
    """Where each record of a block is: found only if something is wrong with one of them."""

    def __init__(self, fetch: Fetch, part: Part, segments: Sequence[Segment], dialect: Dialect) -> None:
        self._fetch = fetch
        self._segments = segments
        self._cut = {start: (stop, code) for start, stop, code in part.get("cut", ())}
        starts: list[Places] = []
        stops: list[Places] = []
        lines: list[Places] = []
        line = int(part["line"])
        delimiter = dialect.delimiter.encode()
        pieces: list[tuple[int, Segment | None]] = [(segment.place, segment) for segment in segments]
        pieces += [(start, None) for start in self._cut]
        for place, segment in sorted(pieces, key=lambda piece: piece[0]):
            if segment is None:
                starts.append(np.array([place]))
                stops.append(np.array([self._cut[place][0]]))
                lines.append(np.array([line]))
                line += 1
                continue
            found = find_records(segment.data, delimiter, quoting=dialect.quoting, final=True)
            starts.append(found.starts + place)
            stops.append(found.stops + place)
            lines.append(found.lines + line)
            line += found.done_lines
        self.starts = np.concatenate(starts)
        self.stops = np.concatenate(stops)
        self.lines = np.concatenate(lines)

    def expect(self, part: Part, where: str) -> None:
        """See that there are as many records as were planned.

        Raises:
            SourceError: there are not.
        """
        if len(self.starts) != part["rows"]:
            raise _other_count(part, where, len(self.starts))

    def bytes_of(self, row: int) -> bytes:
        """One record as it is in the file, without its line end; of one that is cut off, the beginning."""
        start, stop = int(self.starts[row]), int(self.stops[row])
        for segment in self._segments:
            if segment.place <= start < segment.place + len(segment.data):
                data = segment.data[start - segment.place : stop - segment.place]
                return data.removesuffix(b"\n").removesuffix(b"\r")
        return self._fetch(start, min(stop - start, _SHOWN)).removesuffix(b"\n").removesuffix(b"\r")

    def rejected(self, row: int, verdict: Verdict, value: str | None = None) -> RejectedRow:
        """A row of the table of rejected rows, numbered within the block."""
        record = self.bytes_of(row).decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        return RejectedRow(row, int(self.lines[row]), verdict, value, record)

    def bad(self) -> dict[int, str]:
        """The records that must not be parsed, with the code of what is wrong."""
        found: dict[int, str] = {}
        for row in range(len(self.starts)) if self._cut else ():
            if int(self.starts[row]) in self._cut:
                found[row] = self._cut[int(self.starts[row])][1]
        for segment in self._segments:
            if not is_clean(segment.data):
                first = int(np.searchsorted(self.starts, segment.place))
                stop = int(np.searchsorted(self.starts, segment.place + len(segment.data)))
                for row in range(first, stop):
                    data = self.bytes_of(row)
                    if b"\0" in data:
                        found[row] = "nul_byte"
                    elif not data.isascii() and not _decodes(data):
                        found[row] = "bad_encoding"
        return found

    def without(self, rows: dict[int, str]) -> bytes:
        """The bytes of the other records."""
        line_end = b"\n"
        return b"".join(self.bytes_of(row) + line_end for row in range(len(self.starts)) if row not in rows)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Parsed:
    """The texts of the wanted columns (by number), and the ragged records: which, and how many fields they have."""

    table: pa.Table
    ragged: dict[int, int]


def _parse(data: bytes, records: int, layout: Layout) -> _Parsed:
    ragged: dict[int, int] = {}

    def take_out(row: Any) -> str:
        ragged[row.number - 1] = row.actual_columns
        return "skip"

    places = {name: str(i) for i, name in enumerate(layout.names)}
    types = {places[name]: _parsed_type(wanted) for name, wanted in layout.wanted.items()}
    if not records:
        return _Parsed(pa.table({name: pa.array([], of) for name, of in types.items()}), ragged)
    table = pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(places.values())),
        parse_options=pacsv.ParseOptions(
            delimiter=layout.dialect.delimiter,
            quote_char='"' if layout.dialect.quoting else False,
            newlines_in_values=True,
            invalid_row_handler=take_out,
        ),
        convert_options=pacsv.ConvertOptions(
            check_utf8=False,
            column_types=types,
            include_columns=list(types) or ["0"],  # an empty list would mean all
            null_values=sorted(layout.missing),
            strings_can_be_null=True,
        ),
    )
    return _Parsed(table.combine_chunks(), ragged)


def _parsed_type(wanted: Wanted) -> pa.DataType:
    return _DICTIONARY if wanted.dictionary else pa.string()


def _decode(table: pa.Table, layout: Layout) -> tuple[dict[str, pa.Array], Verdicts]:
    verdicts = Verdicts()
    columns: dict[str, pa.Array] = {}
    columns_read = table.columns[: len(layout.wanted)]  # where nothing is wanted, there is one to count rows by
    for (name, wanted), column in zip(layout.wanted.items(), columns_read, strict=True):
        texts = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        done = decode_cells(texts, wanted, layout.missing) if layout.strip else Conformed(texts)
        verdicts.add(name, done.faults)
        columns[name] = done.values
    return columns, verdicts


def decode_cells(texts: pa.Array, wanted: Wanted, missing: frozenset[str]) -> Conformed:
    """Cells as they were parsed, in the wanted type."""
    if pa.types.is_dictionary(texts.type):
        return _decode_dictionary(texts, wanted, missing)
    clean = clean_texts(texts, missing)
    if pa.types.is_string(wanted.type):
        return Conformed(clean)
    return typed_cells(clean, wanted)


def clean_texts(texts: pa.Array, missing: frozenset[str]) -> pa.Array:
    """Texts without surrounding blanks; what means "no value" then is null."""
    trimmed = pc.ascii_trim_whitespace(texts)
    if pc.sum(pc.binary_length(trimmed)).as_py() == pc.sum(pc.binary_length(texts)).as_py():
        return texts
    none = pc.is_in(trimmed, value_set=pa.array(sorted(missing), pa.string()))
    return pc.if_else(none, pa.scalar(None, pa.string()), trimmed)


def _decode_dictionary(texts: pa.DictionaryArray, wanted: Wanted, missing: frozenset[str]) -> Conformed:
    words = texts.dictionary
    clean = clean_texts(words, missing)
    if clean is not words:
        encoded = pc.dictionary_encode(clean)
        texts = pa.DictionaryArray.from_arrays(encoded.indices.take(texts.indices), encoded.dictionary)
        words = texts.dictionary
    if not pa.types.is_boolean(wanted.type):
        return Conformed(texts)
    cells = boolean_cells(words)
    values = cells.values.take(texts.indices)
    if cells.bad is None:
        return Conformed(values)
    present = texts.indices.is_valid().to_numpy(zero_copy_only=False)
    bad = cells.bad[texts.indices.fill_null(0).to_numpy()] & present
    return Conformed(values, (Fault(bad, "not_a_boolean", "neither true nor false"),) if bad.any() else ())


def _settle(
    layout: Layout, records: BlockRecords, early: dict[int, str], parsed: _Parsed, verdicts: Verdicts
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], list[RejectedRow]]:
    """The records that were decoded, which of them stay, and what became of all others."""
    sent = np.delete(np.arange(len(records.starts)), list(early))
    rows = np.delete(sent, list(parsed.ragged))
    rejected = [records.rejected(row, Verdict(None, code, REASONS[code])) for row, code in early.items()]
    for number, fields in parsed.ragged.items():
        reason = f"{fields} fields instead of {len(layout.names)}"
        rejected.append(records.rejected(int(sent[number]), Verdict(None, "ragged_line", reason)))
    for place, verdict in verdicts.rows.items():
        value = parsed.table.column(list(layout.wanted).index(str(verdict.column)))[place].as_py()
        rejected.append(records.rejected(int(rows[place]), verdict, value))
    return rows, verdicts.kept(len(rows)), rejected
