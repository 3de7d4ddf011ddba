"""How a CSV is written: its delimiter, whether quotes mean anything, and whether its first record names the columns.

Part of the CSV source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from penstock.sources.cells import BOOLEAN_PAIRS, find_time_format, number_cells
from penstock.sources.csv_records import find_records

DELIMITERS = (",", "\t", ";", "|")
MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-", "--", "无", "未知", "#N/A")
"""The texts that mean "no value" unless the user says which do; the empty one always does."""

_RECORDS = 1000
_NEVER = "\x1f"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV is written.

    Attributes:
        delimiter: one ASCII character.
        quoting: whether a quote at the beginning of a field quotes it.
    """

    delimiter: str = ","
    quoting: bool = True


@dataclass(frozen=True, slots=True)
class Guess:
    """A dialect with its reason, and the width that most records have in it."""

    dialect: Dialect
    width: int
    reason: str


def find_dialect(head: bytes, delimiter: str | None, prefer: str = ",") -> Guess:
    """The dialect of a file from its head (UTF-8, complete records but for the last).

    The delimiter is the one in which the most records have the same number of fields (at least two), and of those the
    one that gives the most fields. Where no delimiter does, the file has one column. Quotes are text where fields that
    begin with one do not end with one.

    Args:
        head: the first bytes of the file.
        delimiter: the delimiter, where it is known.
        prefer: what is taken first among equals.

    Example:
        >>> find_dialect(b"a;b\\n1,5;2\\n2,5;3\\n", None).dialect
        Dialect(delimiter=';', quoting=True)
    """
    candidates = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda sign: sign != prefer)
    best: tuple[float, int, Guess] | None = None
    for sign in candidates:
        quoting = _quotes_quote(head, sign)
        widths = Counter(len(cells) for cells in first_records(head, Dialect(sign, quoting), _RECORDS))
        total = sum(widths.values())
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        share = count / max(total, 1)
        reason = f"{count:,} of {total:,} records have {width} fields"
        guess = Guess(Dialect(sign, quoting), width, reason)
        if (width > 1 or delimiter) and (best is None or (round(share, 1), width) > (round(best[0], 1), best[1])):
            best = (share, width, guess)
    if best is not None and (best[0] >= 0.5 or delimiter):
        return best[2]
    unused = next((sign for sign in candidates if sign.encode() not in head), _NEVER)
    return Guess(Dialect(unused, _quotes_quote(head, unused)), 1, "no delimiter gives records of equal width")


def first_records(head: bytes, dialect: Dialect, count: int) -> list[list[str]]:
    """The cells of the first records; an incomplete one at the end of the bytes is left out, unless it is alone."""
    return [cells_of(record, dialect) for record in _records(head, dialect, count)]


def _records(head: bytes, dialect: Dialect, count: int) -> list[str]:
    found = find_records(head, dialect.delimiter.encode(), quoting=dialect.quoting, final=False)
    if not len(found):
        found = find_records(head, dialect.delimiter.encode(), quoting=dialect.quoting, final=True)
    spans = zip(found.starts[:count].tolist(), found.stops[:count].tolist(), strict=True)
    texts = (head[start:stop].decode("utf-8", "backslashreplace") for start, stop in spans)
    return [text.removesuffix("\n").removesuffix("\r") for text in texts]


def cells_of(record: str, dialect: Dialect) -> list[str]:
    """The cells of one record, by the rules of `penstock.sources.csv_records`.

    Example:
        >>> cells_of('a,"b, ""c"" d",e', Dialect())
        ['a', 'b, "c" d', 'e']
    """
    if not dialect.quoting or '"' not in record:
        return record.split(dialect.delimiter)
    return [cell for cell, _ in _fields(record, dialect.delimiter)]


def _fields(record: str, delimiter: str) -> Iterator[tuple[str, bool | None]]:
    """(cell, whether a quoted one ends with its closing quote; None for one that is not quoted)."""
    place = 0
    while place <= len(record):
        quoted, ended = "", None
        if record.startswith('"', place):
            quoted, place = _quoted(record, place + 1)
            ended = record[place - 1] == '"' and (place == len(record) or record.startswith(delimiter, place))
        stop = record.find(delimiter, place)
        stop = len(record) if stop < 0 else stop
        yield quoted + record[place:stop], ended
        place = stop + 1


def _quoted(text: str, place: int) -> tuple[str, int]:
    """What is quoted from here on, and where it ends."""
    found: list[str] = []
    while True:
        stop = text.find('"', place)
        if stop < 0:
            return "".join((*found, text[place:])), len(text)
        found.append(text[place:stop])
        if not text.startswith('"', stop + 1):
            return "".join(found), stop + 1
        found.append('"')
        place = stop + 2


def _quotes_quote(head: bytes, delimiter: str) -> bool:
    """Whether at least nine in ten fields that begin with a quote also end with one."""
    if b'"' not in head:
        return True
    ends = [
        ended
        for record in _records(head, Dialect(delimiter), _RECORDS)
        for _, ended in _fields(record, delimiter)
        if ended is not None
    ]
    return sum(ends) >= 0.9 * len(ends)


def has_header(records: Sequence[Sequence[str]], missing: frozenset[str]) -> tuple[bool, str]:
    """Whether the first record names the columns, and why.

    Example:
        >>> has_header([["age", "city"], ["31", "Rome"], ["42", "Oslo"]], frozenset(MISSING))
        (True, "'age' is no number, as the values below it are")
        >>> has_header([["31", "Rome"], ["42", "Oslo"]], frozenset(MISSING))
        (False, "the first record holds the number '31'")
    """
    first = [cell.strip() for cell in records[0]]
    rest = [record for record in records[1:] if len(record) == len(first)]
    for cell in first:
        if cell not in missing and _are_numbers([cell]):
            return False, f"the first record holds the number {cell!r}"
    columns = [[row[i].strip() for row in rest if row[i].strip() not in missing] for i in range(len(first))]
    for cell, values in zip(first, columns, strict=True):
        if cell not in missing and values and _typed(values) and _typed([cell]):
            return False, f"{cell!r} of the first record is of the kind of the values below it"
    for cell, values in zip(first, columns, strict=True):
        if cell and values and _typed(values) and not _typed([cell]):
            kind = "number" if _are_numbers(values) else "value"
            return True, f"{cell!r} is no {kind}, as the values below it are"
    if any(cell in missing for cell in first) or len(set(first)) < len(first):
        return False, "the first record has missing or equal cells, as no names have"
    if not rest:
        return True, "the only record holds no number"
    again = [cell for cell, values in zip(first, columns, strict=True) if cell in values]
    if again:
        return False, f"{again[0]!r} of the first record is also a value below it"
    long = [cell for cell in first if len(cell.split()) > 6]
    if long:
        return False, "the first record holds whole sentences"
    return True, "what the first record holds is no value below it"


def _are_numbers(values: Sequence[str]) -> bool:
    bad = number_cells(pa.array(values, pa.string())).bad
    return bad is None or int(bad.sum()) <= 0.05 * len(values)


def _typed(values: Sequence[str]) -> bool:
    """Whether texts are something else than text."""
    if _are_numbers(values):
        return True
    words = {value.lower() for value in values}
    if any(words == set(pair) for pair in BOOLEAN_PAIRS) or (len(values) == 1 and words & {"true", "false"}):
        return True
    return find_time_format(pa.array(values[:100], pa.string()), 0.95) is not None
