"""Arrow arrays of any type turned into the types of a schema, and the rows that can't be: rejects of reading.

Part of the sources. A row with several bad columns is rejected once, for the first of them in the schema's order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import REJECTED
from penstock.schema import Role, shape_of
from penstock.sources.cells import ISO, Cells, boolean_cells, time_cells
from penstock.sources.written import list_cells, written_numbers

STEP = "read"
"""The step that rows are rejected in and counted under."""

_MICROSECONDS = pa.timestamp("us")
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""Of the years 1 to 9999 of the calendar, from 1970-01-01 [days]."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows of one column that can't be used, and why."""

    bad: npt.NDArray[np.bool_]
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Conformed:
    """A column as its schema wants it; what stands at the places of its faults is of no meaning."""

    values: pa.Array
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a column shall become.

    Attributes:
        type: of the schema.
        role: of its values; says how an error is worded.
        missing: the texts that mean "no value"; empty for none.
        written: how its values are written, where the column is text; "" for the plain way.
        dictionary: whether text may stay dictionary-encoded.
    """

    type: pa.DataType
    role: Role
    missing: frozenset[str] = frozenset()
    written: str = ""
    dictionary: bool = False


def conform(values: pa.Array, wanted: Wanted) -> Conformed:
    """The column in the wanted type.

    Floats: NaN becomes null; an infinite value is a fault, unless "inf" means "no value". Whole numbers beyond 2^53
    are faults as numbers, since float64 would round them. Decimals are rounded to float64. Times of day and durations
    are seconds. Times with a zone become UTC; nanoseconds are cut to microseconds. The items of lists become text.

    Raises:
        TypeError: there is no way from the one type to the other; see `can_conform`.
    """
    if values.type == wanted.type and shape_of(wanted.type) is not None:
        return Conformed(values)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        if wanted.dictionary and pa.types.is_string(wanted.type):
            return _categories(values, wanted)
        values = values.dictionary_decode()
    if not can_conform(values.type, wanted.type) and not (is_text(values.type) and wanted.written):
        raise TypeError(f"{values.type} can't become {wanted.type}")
    if pa.types.is_null(values.type):
        return Conformed(pa.nulls(len(values), wanted.type))
    if is_bytes(values.type):
        return _bytes(values)
    if is_text(values.type):
        return _text(values, wanted)
    if is_list(values.type):
        return _list(values, wanted)
    if pa.types.is_floating(wanted.type):
        return _number(values, wanted)
    if pa.types.is_timestamp(wanted.type):
        return _time(values)
    return Conformed(pc.cast(values, wanted.type))


def is_text(of: pa.DataType) -> bool:
    """Whether a type holds texts."""
    return bool(pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of))


def is_bytes(of: pa.DataType) -> bool:
    """Whether a type holds the bytes of files: alone, or as ``{bytes, path}``, the form of Hugging Face's data sets."""
    types = pa.types
    if types.is_struct(of):
        names = {field.name: field.type for field in of}
        return names.keys() == {"bytes", "path"} and is_bytes(names["bytes"]) and is_text(names["path"])
    return bool(types.is_binary(of) or types.is_large_binary(of) or types.is_binary_view(of))


def is_list(of: pa.DataType) -> bool:
    """Whether a type holds lists of any length or of one."""
    types = pa.types
    views = types.is_list_view(of) or types.is_large_list_view(of)
    return bool(types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of) or views)


def can_conform(of: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a type can become another."""
    types = pa.types
    if shape_of(wanted) is not None or len(shape_of(of) or ()) > 2:
        return bool(of == wanted)
    if types.is_dictionary(of):
        return can_conform(of.value_type, wanted)
    if isinstance(of, pa.BaseExtensionType):
        return can_conform(of.storage_type, wanted)
    if types.is_null(of):
        return True
    if is_list(of):
        single = not is_list(of.value_type) and can_conform(of.value_type, pa.string())
        return single and (types.is_list(wanted) or types.is_string(wanted))
    if is_text(of):
        return not types.is_list(wanted)
    if is_bytes(of) or types.is_binary(wanted):
        return is_bytes(of) and bool(types.is_binary(wanted))
    numeric = types.is_integer(of) or types.is_floating(of) or types.is_decimal(of)
    clock = types.is_time(of) or types.is_duration(of)
    day = types.is_timestamp(of) or types.is_date(of)
    if types.is_string(wanted):
        return bool(numeric or clock or day or types.is_boolean(of))
    if types.is_floating(wanted):
        return bool(numeric or clock or types.is_boolean(of))
    if types.is_boolean(wanted):
        return bool(types.is_boolean(of) or types.is_integer(of))
    return bool(types.is_timestamp(wanted) and day)


def _number(values: pa.Array, wanted: Wanted) -> Conformed:
    of = values.type
    if pa.types.is_floating(of):
        return finite(pc.cast(values, pa.float64()), wanted.missing)
    if pa.types.is_integer(of):
        try:
            return Conformed(pc.cast(values, pa.float64()))
        except pa.ArrowInvalid:
            near = pc.cast(values, pa.float64(), safe=False)
            large = pc.greater(values, pa.scalar(2**53, of))
            if pa.types.is_signed_integer(of):
                large = pc.or_(large, pc.less(values, pa.scalar(-(2**53), of)))
            bad = _mask(pc.fill_null(large, False))
            return Conformed(near, (Fault(bad, "too_large", "a whole number beyond 2^53 is not exact as float64"),))
    if pa.types.is_time(of) or pa.types.is_duration(of):
        unit = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[of.unit]
        whole = values.cast(pa.int32()) if pa.types.is_time32(of) else values
        return Conformed(pc.divide(pc.cast(pc.cast(whole, pa.int64()), pa.float64(), safe=False), unit))
    return Conformed(pc.cast(values, pa.float64()))


def finite(values: pa.Array, missing: frozenset[str] = frozenset()) -> Conformed:
    """Floats with NaN as null; infinite ones are a fault, or null where "inf" means "no value"."""
    numbers = np.frombuffer(values.buffers()[1], np.float64, len(values), values.offset * 8) if len(values) else _EMPTY
    with np.errstate(all="ignore"):
        total = np.add.reduce(numbers)
    if np.isfinite(total):  # then each of them is; a false alarm costs the careful way only
        return Conformed(values)
    present = _mask(values.is_valid())
    nothing = np.isnan(numbers) & present
    endless = np.isinf(numbers) & present
    faults: tuple[Fault, ...] = ()
    if endless.any() and not missing.isdisjoint(("inf", "-inf", "+inf")):
        nothing |= endless
    elif endless.any():
        faults = (Fault(endless, "infinite", "an infinite number has no mean, scale or rank"),)
    if nothing.any():
        values = pa.array(numbers, mask=nothing | ~present)
    return Conformed(values, faults)


_EMPTY = np.empty(0, np.float64)


def _list(values: pa.Array, wanted: Wanted) -> Conformed:
    """Lists of texts; as text, where that is wanted: ``[a, b]``."""
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    items = pc.list_flatten(values)
    if pa.types.is_floating(items.type):
        items = pc.if_else(pc.is_nan(items), pa.scalar(None, items.type), items)
    texts = conform(items, Wanted(pa.string(), Role.text, wanted.missing))
    ends = np.append(0, np.cumsum(lengths, dtype=np.int64)).astype(np.int32)
    faults: tuple[Fault, ...] = ()
    for fault in texts.faults:
        bad = np.zeros(len(values), np.bool_)
        bad[np.repeat(np.arange(len(values)), lengths)[fault.bad]] = True
        faults = (*faults, Fault(bad, fault.code, fault.reason))
    absent = values.is_null()
    if not pa.types.is_string(wanted.type):
        return Conformed(pa.ListArray.from_arrays(pa.array(ends), texts.values, mask=absent), faults)
    shown = pa.ListArray.from_arrays(pa.array(ends), pc.fill_null(texts.values, "null"))
    joined = pc.binary_join_element_wise("[", pc.binary_join(shown, ", "), "]", "")
    return Conformed(pc.if_else(absent, pa.scalar(None, pa.string()), joined), faults)


def _time(values: pa.Array) -> Conformed:
    """Times of the years 1 to 9999: beyond them stand a database's infinities, and nothing that has a calendar."""
    of = values.type
    if pa.types.is_timestamp(of) and of.tz is not None:
        values = values.cast(pa.timestamp(of.unit))
    days = pa.types.is_date32(of)
    second = _SECONDS[of.unit] if pa.types.is_timestamp(of) else 1000
    first, last = (_FIRST_DAY, _LAST_DAY) if days else (_FIRST_DAY * _DAY * second, (_LAST_DAY + 1) * _DAY * second - 1)
    counts = values.cast(pa.int32()).cast(pa.int64()) if days else values.cast(pa.int64())
    # As integers of Python: nanoseconds of the year 1 are beyond 64 bits.
    least, most = (end.as_py() for end in pc.min_max(counts).values())
    faults: tuple[Fault, ...] = ()
    if least is not None and (least < first or most > last):
        far = pc.or_(pc.less(counts, max(first, -(2**63))), pc.greater(counts, min(last, 2**63 - 1)))
        bad = _mask(pc.fill_null(far, False))
        faults = (Fault(bad, "too_large", "a time outside the years 1 to 9999"),)
        values = pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
    return Conformed(pc.cast(values, _MICROSECONDS, safe=False), faults)


def _categories(values: pa.DictionaryArray, wanted: Wanted) -> Conformed:
    """Dictionary-encoded text, kept so: only the dictionary is looked at."""
    words = values.dictionary
    if not is_text(words.type):
        return conform(values.dictionary_decode(), wanted)
    index = values.indices.cast(pa.int32())
    clean = _text(words, wanted)
    if clean.faults or clean.values.null_count:
        bad = clean.faults[0].bad if clean.faults else np.zeros(len(words), np.bool_)
        none = _mask(clean.values.is_null()) & ~bad
        place = index.fill_null(0).to_numpy()
        present = _mask(index.is_valid())
        index = pa.array(place, mask=~present | none[place])
        faults = tuple(Fault(fault.bad[place] & present, fault.code, fault.reason) for fault in clean.faults)
        words = pc.fill_null(clean.values, "")
        return Conformed(pa.DictionaryArray.from_arrays(index, words), faults)
    return Conformed(pa.DictionaryArray.from_arrays(index, clean.values))


def _bytes(values: pa.Array) -> Conformed:
    if not pa.types.is_struct(values.type):
        return Conformed(pc.cast(values, pa.binary()))
    held = pc.cast(pc.struct_field(values, "bytes"), pa.binary())
    lacking = _mask(pc.and_(held.is_null(), pc.is_valid(pc.struct_field(values, "path"))))
    if not lacking.any():
        return Conformed(held)
    return Conformed(held, (Fault(lacking, "no_bytes", "its bytes are not in the table, only a path"),))


def _text(values: pa.Array, wanted: Wanted) -> Conformed:
    faults: tuple[Fault, ...] = ()
    raw = pc.cast(values, pa.large_binary() if pa.types.is_large_string(values.type) else pa.binary())
    try:
        texts = pc.cast(raw, pa.string())
    except pa.ArrowInvalid:
        texts, bad = decoded(raw)
        faults = (Fault(bad, "bad_encoding", "not UTF-8"),)
    if wanted.missing:
        tokens = pa.array(sorted(wanted.missing), pa.string())
        none = pc.is_in(pc.utf8_trim_whitespace(texts), value_set=tokens)
        texts = pc.if_else(none, pa.scalar(None, pa.string()), texts)
    if pa.types.is_string(wanted.type):
        return Conformed(texts, faults)
    if pa.types.is_binary(wanted.type):
        return Conformed(raw if pa.types.is_binary(raw.type) else raw.cast(pa.binary()), faults)
    typed = typed_cells(pc.utf8_trim_whitespace(texts), wanted)
    return Conformed(typed.values, (*faults, *typed.faults))


def typed_cells(texts: pa.Array, wanted: Wanted) -> Conformed:
    """Texts without surrounding blanks, read as numbers, truth values, times or lists."""
    if pa.types.is_list(wanted.type):
        cells = list_cells(texts, wanted.written)
        return Conformed(cells.values, _faults(cells, "not_a_list", f"not a list like {wanted.written}"))
    if pa.types.is_floating(wanted.type):
        cells = written_numbers(texts, wanted.written)
        ends = finite(cells.values, wanted.missing)
        like = f", written like {wanted.written}" if wanted.written else ""
        return Conformed(ends.values, (*_faults(cells, "not_a_number", "not a number" + like), *ends.faults))
    if pa.types.is_boolean(wanted.type):
        cells = boolean_cells(texts)
        return Conformed(cells.values, _faults(cells, "not_a_boolean", "neither true nor false"))
    cells = time_cells(texts, wanted.written or ISO)
    expected = "an ISO 8601 date or time" if not wanted.written else f"a date or time like {wanted.written}"
    return Conformed(cells.values, _faults(cells, "not_a_date", f"not {expected}"))


def decoded(raw: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Bytes as text, null where they are not UTF-8; and where that is."""
    texts: list[str | None] = []
    bad = np.zeros(len(raw), np.bool_)
    for i, value in enumerate(raw.to_pylist()):
        try:
            texts.append(None if value is None else value.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append(None)
            bad[i] = True
    return pa.array(texts, pa.string()), bad


def _faults(cells: Cells, code: str, reason: str) -> tuple[Fault, ...]:
    return () if cells.bad is None else (Fault(cells.bad, code, reason),)


def _mask(values: pa.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return mask


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one row is rejected; ``column`` is None where the whole record is at fault."""

    column: str | None
    code: str
    reason: str


@dataclass(slots=True)
class Verdicts:
    """The rows of a block that are rejected, each for the first fault that is added."""

    rows: dict[int, Verdict] = field(default_factory=dict)

    def add(self, column: str, faults: Iterable[Fault]) -> None:
        """Take in what is wrong with one column; columns come in the schema's order."""
        for fault in faults:
            verdict = Verdict(column, fault.code, fault.reason)
            for row in np.flatnonzero(fault.bad).tolist():
                self.rows.setdefault(row, verdict)

    def kept(self, count: int) -> npt.NDArray[np.bool_]:
        """Of so many rows, those that stay."""
        kept = np.ones(count, np.bool_)
        kept[list(self.rows)] = False
        return kept


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One line of the table of rejected rows, but for its file."""

    row: int
    line: int | None
    verdict: Verdict
    value: str | None
    record: str


def rejected_table(path: str, rows: Iterable[RejectedRow]) -> pa.Table | None:
    """The rejected rows of one file, of schema `penstock.batch.REJECTED`; None where there are none."""
    ordered = sorted(rows, key=lambda row: row.row)
    if not ordered:
        return None
    return pa.table(
        {
            "path": [path] * len(ordered),
            "row": [row.row for row in ordered],
            "line": [row.line for row in ordered],
            "step": [STEP] * len(ordered),
            "column": [row.verdict.column for row in ordered],
            "code": [row.verdict.code for row in ordered],
            "reason": [row.verdict.reason for row in ordered],
            "value": [row.value for row in ordered],
            "record": [row.record for row in ordered],
        },
        schema=REJECTED,
    )


def rejected_rows(raw: pa.RecordBatch, row: int, verdicts: Verdicts, names: Sequence[str]) -> Iterator[RejectedRow]:
    """The rows that are rejected of a block that begins at ``row`` of its file, each with its columns as JSON."""
    places = np.array(sorted(verdicts.rows), np.int64)
    gone = raw.select(list(names)).take(pa.array(places))
    shown = {name: _shown(gone.column(name)) for name in names}
    for i, place in enumerate(places.tolist()):
        verdict = verdicts.rows[place]
        value = None if verdict.column is None else shown[verdict.column][i]
        record = _as_json({name: shown[name][i] for name in names})
        yield RejectedRow(row + place, None, verdict, None if value is None else str(value), record)


def _shown(values: pa.Array) -> list[Any]:
    """Values as JSON knows them, or as Python shows them; bytes that are no text with backslash escapes."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if is_bytes(values.type):
        held = pc.binary_length(_bytes(values).values).to_pylist()
        return [None if size is None else f"{size:,} bytes" for size in held]
    if is_text(values.type):
        raw = pc.cast(values, pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "backslashreplace") for value in raw]
    return list(values.cast(pa.string()).to_pylist() if pa.types.is_temporal(values.type) else values.to_pylist())


def _as_json(record: dict[str, object]) -> str:
    """A row as one line of JSON; bytes and other odd values as Python shows them."""
    return json.dumps(record, ensure_ascii=False, default=str)
