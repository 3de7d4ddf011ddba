"""Texts as numbers, truth values and times: what a cell may look like, and which cells are none.

Part of the sources. Every function takes an array of text without surrounding blanks, and gives an array of the same
length with null where a text is no such value, whatever its neighbours are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")
BOOLEAN_PAIRS = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"))
"""Words that a column of truth values is made of; 0 and 1 stay whole numbers unless the user says otherwise."""

ISO = "iso"
"""The time format of ISO 8601 dates and times, with or without a zone; zones are turned into UTC."""

_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%y", "%d/%m/%y")
_HOURS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
TIME_FORMATS = (ISO, "%Y-%m-%d", *(date + hour for date in _DATES for hour in _HOURS))
"""Known formats in the order of preference: where days and months can't be told apart the first that fits is taken."""

_ISO_NAIVE = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?)?$"
_ISO_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_MICROSECONDS = pa.timestamp("us")
_LOOKED_AT = 50
_FIRST_YEAR = np.datetime64("1000-01-01", "us").astype(np.int64)


@dataclass(frozen=True, slots=True)
class Cells:
    """The values read from an array of texts.

    Attributes:
        values: the typed array; null where a text is missing or is no such value.
        bad: where a text is there and is no such value; None where all fit.
    """

    values: pa.Array
    bad: npt.NDArray[np.bool_] | None


def number_cells(texts: pa.Array) -> Cells:
    """Decimal numbers as float64: ``-1``, ``+.5``, ``1e5``, ``inf``, ``nan``; neither ``1_000`` nor ``0x10``.

    Example:
        >>> number_cells(pa.array(["1e5", "0x10"])).values.to_pylist()
        [100000.0, None]
    """
    try:
        return Cells(pc.cast(texts, pa.float64()), None)
    except pa.ArrowInvalid:
        parsed = pl.Series(values=texts).cast(pl.Float64, strict=False).to_arrow()
        return _cells(texts, parsed.cast(pa.float64()))


def boolean_cells(texts: pa.Array) -> Cells:
    """Truth values: true / false, t / f, yes / no, y / n, 1 / 0, in any case of letters.

    Example:
        >>> boolean_cells(pa.array(["Yes", "f", "maybe"])).values.to_pylist()
        [True, False, None]
    """
    index = pc.index_in(pc.utf8_lower(texts), value_set=pa.array(TRUE + FALSE))
    return _cells(texts, pc.less(index, len(TRUE)))


def time_cells(texts: pa.Array, time_format: str) -> Cells:
    """Dates and times of one format as timestamp[us]; what has a zone is turned into UTC.

    Args:
        texts: the cells.
        time_format: one of `TIME_FORMATS`.

    Example:
        >>> print(time_cells(pa.array(["2024-02-29T10:00:00+02:00"]), "iso").values[0])
        2024-02-29 08:00:00
        >>> print(time_cells(pa.array(["29/2/2024"]), "%d/%m/%Y").values[0])
        2024-02-29 00:00:00
    """
    if time_format == ISO:
        return _iso_cells(texts)
    parsed = pl.Series(values=texts).str.to_datetime(time_format, strict=False, time_unit="us").to_arrow()
    parsed = parsed.cast(_MICROSECONDS)
    early = pc.less(parsed.cast(pa.int64()), pa.scalar(_FIRST_YEAR))  # "1/2/10" read as the year 10
    if pc.any(early).as_py():
        parsed = pc.if_else(early, pa.scalar(None, _MICROSECONDS), parsed)
    return _cells(texts, parsed)


def _iso_cells(texts: pa.Array) -> Cells:
    try:
        return Cells(pc.cast(texts, _MICROSECONDS), None)
    except pa.ArrowInvalid:
        short = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
        naive = _cast_where(short, _ISO_NAIVE, _MICROSECONDS)
        zoned = _cast_where(short, _ISO_ZONED, pa.timestamp("us", "UTC")).cast(_MICROSECONDS)
        return _cells(texts, pc.coalesce(naive, zoned))


def _cast_where(texts: pa.Array, pattern: str, wanted: pa.DataType) -> pa.Array:
    """The texts that match, cast one by one where that is needed; null elsewhere."""
    matching = pc.if_else(pc.match_substring_regex(texts, pattern), texts, pa.scalar(None, pa.string()))
    return _cast_each(matching, wanted)


def _cast_each(texts: pa.Array, wanted: pa.DataType) -> pa.Array:
    """A cast that gives null where it fails; halved until the failing texts are alone."""
    try:
        return pc.cast(texts, wanted)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, wanted)
        middle = len(texts) // 2
        return pa.concat_arrays([_cast_each(texts[:middle], wanted), _cast_each(texts[middle:], wanted)])


def _cells(texts: pa.Array, values: pa.Array) -> Cells:
    if values.null_count == texts.null_count:
        return Cells(values, None)
    bad = pc.and_(texts.is_valid(), values.is_null())
    return Cells(values, bad.to_numpy(zero_copy_only=False))


def _shape(text: str) -> tuple[str, int, int, bool]:
    """What a text and its format have in common: separators, colons, blanks, and a half of the day."""
    date = text.partition(" ")[0]
    sign = next((sign for sign in "/.-" if sign in date), "")
    return sign, text.count(":"), text.count(" "), text[-2:].upper() in ("%P", "AM", "PM")


def find_time_format(texts: pa.Array, share: float) -> str | None:
    """The first known format that at least this share of the texts (without null, not empty) has; None for none.

    Where several formats fit, that of the most texts is taken.
    """
    best, most = None, 0
    shapes = {_shape(text.as_py()) for text in texts[:_LOOKED_AT]}
    for time_format in TIME_FORMATS:
        if time_format != ISO and _shape(time_format) not in shapes:
            continue
        bad = time_cells(texts, time_format).bad
        fits = len(texts) - (0 if bad is None else int(bad.sum()))
        if fits > most and fits >= share * len(texts):
            best, most = time_format, fits
    return best
