"""What the texts of a CSV column are: numbers, truth values, times or words, by a sample of them.

Part of the CSV source. What is found here is held to: a cell that does not fit costs its row.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from penstock.inference import ColumnSample, Inferred, infer_role
from penstock.sources.cells import (
    BETWEEN,
    BOOLEAN_PAIRS,
    CLOCK,
    DIGITS,
    ISO,
    boolean_cells,
    clock_cells,
    find_time_format,
    number_cells,
    time_cells,
)
from penstock.sources.find_numbers import CODE_NAMES, find_number_format
from penstock.sources.number_format import NumberFormat
from penstock.sources.written import find_list_way, list_cells, written_numbers

FIT = 0.99
"""The share of a sample's values that must be of a kind for the column to be of it; the others are bad cells."""

_LIKE_A_TIME = (
    r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|^\d{4}年\d{1,2}月"
    r"|^\d{1,2}[- ][A-Za-z]{3,9},?[- ]\d{2,4}|^[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
_LIKE_A_CLOCK = r"^\d{1,2}(:\d{2}){1,2}(\.\d+)?(\s*[aApP]\.?\s?[mM]\.?)?$|^\d{1,2}\s*[aApP]\.?\s?[mM]\.?$"
_LOOKED_AT = 2000
_NEARLY = 0.5
"""The share from which on it is said what a column would be but for its other values."""
_NAMED_TIME = re.compile(
    r"(^|[\W_])(date|day|dt|time|timestamp|datetime|epoch|created|updated|modified|at|on|ts|日期|时间)([\W_]|$)"
    r"|[a-z](Date|Time|Timestamp|At)$|^(date|time|epoch)|(date|time|timestamp|日期|时间)$",
)
_EPOCHS = (("epoch seconds", 1.0e8, 4.2e9), ("epoch milliseconds", 1.0e11, 4.2e12))
"""Counts of the years 1973 to 2103."""


def infer_column(name: str, texts: pa.Array, *, complete: bool) -> Inferred:
    """The role of a column from a sample of its cells, without surrounding blanks and with null for missing; and how
    its values are written.

    Args:
        name: of the column.
        texts: the sample.
        complete: whether it is all the data.

    Example:
        >>> infer_column("zip", pa.array(["00501", "10001", "00501"]), complete=False).role.value
        'category'
        >>> infer_column("day", pa.array(["31/12/2023", "1/2/2024"]), complete=False).written
        '%d/%m/%Y'
        >>> infer_column("price", pa.array(["$1,200.50", "$15"]), complete=False).written
        '$1,234.5'
    """
    present = texts.drop_null()
    sample = ColumnSample(name, texts, complete=complete)
    if not len(present):
        return infer_role(sample)
    number = number_cells(present)
    share = 1.0 if number.bad is None else 1.0 - float(number.bad.mean())
    if share == 1.0:
        return _counted_times(sample, present) or _plain(sample, present)
    if share < FIT:
        found = _words(sample, present)
        if found is not None:
            return found
    formatted = find_number_format(name, present, _NEARLY)
    if formatted is not None and formatted.share >= FIT:
        read = replace(sample, was=formatted.described)
        found = infer_role(_numbers(read, texts, present, formatted.way))
        return found if not found.kind.is_numeric else replace(found, written=formatted.way)
    if share >= FIT:
        return _plain(sample, present)
    way = find_list_way(present)
    if way is not None:
        return replace(infer_role(replace(sample, values=list_cells(texts, way[0]).values, was=way[1])), written=way[0])
    found = infer_role(sample)
    nearly = _nearly_times(present)
    if nearly:
        return replace(found, reason=f"{found.reason}; {nearly}")
    if formatted is not None:
        return replace(found, reason=f"{found.reason}; {formatted.share:.1%} are {formatted.short}")
    if share >= _NEARLY and number.bad is not None:
        odd = present[int(number.bad.argmax())].as_py()
        found = replace(found, reason=f"{found.reason}; {share:.1%} are numbers, but {odd[:40]!r} is not")
    return found


def _words(sample: ColumnSample, present: pa.Array) -> Inferred | None:
    """Truth values, times and times of a day: what is written in words or with marks between numbers."""
    texts = sample.values
    pair = _truth_values(present)
    if pair:
        values = boolean_cells(texts).values
        return infer_role(replace(sample, values=values, was=f"the texts {pair[0]} and {pair[1]}"))
    time_format = _time_format(sample.name, present)
    if time_format:
        values = time_cells(texts, time_format).values
        found = infer_role(replace(sample, values=values, was=_described(time_format, present)))
        return replace(found, written="" if time_format == ISO else time_format)
    if _share(present[:_LOOKED_AT], _LIKE_A_CLOCK) >= FIT:
        cells = clock_cells(texts)
        if cells.bad is None or float(cells.bad.sum()) <= (1 - FIT) * len(present):
            was = f"times of a day, as seconds since midnight: {present[0].as_py()!r} is {_first(cells.values):g}"
            return replace(infer_role(replace(sample, values=cells.values, was=was)), written=CLOCK)
    return None


def _first(values: pa.Array) -> float:
    return float(values.drop_null()[0].as_py())


def _counted_times(sample: ColumnSample, present: pa.Array) -> Inferred | None:
    """Whole numbers that are dates or counts from 1970, where the name says so and every one is plausible."""
    if not _NAMED_TIME.search(sample.name) or _share(present, r"^\d{8,13}(\.\d+)?$") < 1:
        return None
    way, was = "", ""
    if _share(present, r"^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$") == 1:
        way = DIGITS if time_cells(present, DIGITS).bad is None else ""
        was = "its name, and dates of eight digits"
    for epoch, least, most in () if way else _EPOCHS:
        numbers = number_cells(present).values
        if pc.min(numbers).as_py() >= least and pc.max(numbers).as_py() <= most:
            way, was = epoch, f"its name, and counts of {epoch.removeprefix('epoch ')} since 1970 in UTC"
    if not way:
        return None
    first = time_cells(present[:1], way).values[0].as_py()
    was += f": {present[0].as_py()!r} is {first}"
    return replace(infer_role(replace(sample, values=time_cells(sample.values, way).values, was=was)), written=way)


def _plain(sample: ColumnSample, present: pa.Array) -> Inferred:
    """Plain numbers; or codes, where they are of four digits or more and the name says that they are such."""
    if CODE_NAMES.search(sample.name) and _share(present, r"^\d{4,}$") >= FIT:
        return infer_role(replace(sample, leading_zeros=True, was="its name: digits of a code, no amount"))
    return infer_role(_numbers(sample, sample.values, present))


def _share(texts: pa.Array, pattern: str) -> float:
    return float(pc.mean(pc.match_substring_regex(texts, pattern).cast(pa.float64())).as_py())


def _numbers(sample: ColumnSample, texts: pa.Array, present: pa.Array, written: str = "") -> ColumnSample:
    values = written_numbers(texts, written).values
    ways = [NumberFormat.parse(part) for part in written.split(BETWEEN)] if written else []
    if not ways:
        whole = _share(present, r"^[+-]?\d+$") >= FIT
    else:
        marks = "|".join(sorted({re.escape(one.decimal) for one in ways}))
        fraction = pc.match_substring_regex(present, rf"(?:{marks})\d")
        whole = not pc.any(pc.and_(fraction, written_numbers(present, written).values.is_valid())).as_py()
        whole = whole and bool(pc.all(pc.equal(values, pc.floor(values))).as_py())
    if whole and not written and pc.any(pc.match_substring_regex(present, r"^[+-]?0\d+$")).as_py():
        return replace(sample, leading_zeros=True, whole=True)
    finite = values.filter(pc.fill_null(pc.is_finite(values), False))
    if whole and not any(one.scale for one in ways) and (pc.max(pc.abs(finite)).as_py() or 0.0) >= 2.0**53:
        return replace(
            sample, leading_zeros=True, whole=True, was="whole numbers beyond 2^53, which float64 would round"
        )
    return replace(sample, values=values, whole=whole)


def _truth_values(present: pa.Array) -> tuple[str, str] | None:
    words = pc.utf8_lower(present).value_counts()
    counts = {str(item["values"]): int(item["counts"].as_py()) for item in words[:100]}
    for pair in BOOLEAN_PAIRS:
        if all(word in counts for word in pair) and sum(counts[word] for word in pair) >= FIT * len(present):
            return pair
    return None


def _time_format(name: str, present: pa.Array) -> str | None:
    if CODE_NAMES.search(name) or _share(present[:_LOOKED_AT], _LIKE_A_TIME) < FIT:
        return None
    return find_time_format(present, FIT)


def _nearly_times(present: pa.Array) -> str:
    """What is said of texts most of which are dates."""
    if _share(present[:_LOOKED_AT], _LIKE_A_TIME) < _NEARLY:
        return ""
    found = find_time_format(present, _NEARLY)
    bad = None if found is None else time_cells(present, found).bad
    if found is None or bad is None:
        return ""
    odd = present[int(bad.argmax())].as_py()
    return f"{1 - float(bad.mean()):.1%} are dates or times like {found}, but {odd[:40]!r} is not"


def _described(time_format: str, present: pa.Array) -> str:
    """The format, and whether days and months can be told apart; of several formats also how many values are read by
    each."""
    several = time_format.split(BETWEEN)
    said: list[str] = []
    left = present
    for one in several:
        bad = time_cells(left, one).bad
        own = left if bad is None else left.filter(pa.array(~bad))
        left = left[:0] if bad is None else left.filter(pa.array(bad))
        share = f" ({len(own) / len(present):.2%})" if len(several) > 1 else ""
        said.append(("ISO 8601" if one == ISO else one) + share + _ambiguity(one, own))
    if len(several) > 1:
        return "dates or times in several formats: " + ", ".join(said)
    return "ISO 8601 dates or times" if time_format == ISO else f"dates or times like {said[0]}"


def _ambiguity(time_format: str, own: pa.Array) -> str:
    """What speaks for a format where days and months might be in each other's places."""
    found = re.match(r"(%[dm])([-/.])(%[dm])", time_format)
    if found is None or found[1] == found[3]:
        return ""
    other = found[3] + found[2] + found[1] + time_format[5:]
    bad = time_cells(own, other).bad
    if bad is None:
        return f" (all of them would also be {other})"
    return f" ({int(bad.sum()):,} of {len(own):,} can't be {other})"
