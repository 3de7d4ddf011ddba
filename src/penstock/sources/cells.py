"""Texts as numbers, truth values and times: what a cell may look like, and which cells are none.

Part of the sources. Every function takes an array of text without surrounding blanks, and gives an array of the same
length with null where a text is no such value, whatever its neighbours are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
_NAMED_DATES = ("%d %B %Y", "%B %d, %Y", "%B %d %Y", "%d-%B-%Y", "%d %B, %Y", "%d-%B-%y")
_HOURS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
_CHINESE = tuple("%Y年%m月%d日" + hour for hour in ("", *_HOURS[1:], "%H:%M", " %H时%M分", "%H时%M分"))
TIME_FORMATS = (
    ISO,
    "%Y-%m-%d",
    *(date + hour for date in _DATES for hour in _HOURS),
    "%d.%m.%y",
    *(date + hour for date in _NAMED_DATES for hour in _HOURS),
    *_CHINESE,
)
"""Known formats in the order of preference: where days and months can't be told apart the first that fits is taken.
The names of months are English ones, whole or of three letters."""

DIGITS = "%Y%m%d"
"""Dates of eight digits; only taken where the name of the column says that they are dates."""
EPOCHS = {"epoch seconds": 10**6, "epoch milliseconds": 10**3}
"""Times counted from 1970-01-01 in UTC, and the microseconds of each count."""
BETWEEN = " | "
"""What stands between several time formats of one column."""
CLOCK = "time of day"
"""The way of writing of numbers that are times of a day, with or without seconds, of 24 or of 12 hours."""

_ISO_NAIVE = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?)?$"
_ISO_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_MICROSECONDS = pa.timestamp("us")
_LOOKED_AT = 50
_LOOKED_AT_OF_MANY = 1000
_MOST_FORMATS = 3
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
        return cells_of(texts, parsed.cast(pa.float64()))


def boolean_cells(texts: pa.Array) -> Cells:
    """Truth values: true / false, t / f, yes / no, y / n, 1 / 0, in any case of letters.

    Example:
        >>> boolean_cells(pa.array(["Yes", "f", "maybe"])).values.to_pylist()
        [True, False, None]
    """
    index = pc.index_in(pc.utf8_lower(texts), value_set=pa.array(TRUE + FALSE))
    return cells_of(texts, pc.less(index, len(TRUE)))


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
    if BETWEEN in time_format:
        return _first_that_fits(texts, time_format.split(BETWEEN))
    if time_format == ISO:
        return _iso_cells(texts)
    if time_format in EPOCHS:
        return _epoch_cells(texts, EPOCHS[time_format])
    plain = _with_plain_halves(texts) if "%p" in time_format else texts
    parsed = pl.Series(values=plain).str.to_datetime(time_format, strict=False, time_unit="us").to_arrow()
    parsed = parsed.cast(_MICROSECONDS)
    early = pc.less(parsed.cast(pa.int64()), pa.scalar(_FIRST_YEAR))  # "1/2/10" read as the year 10
    if pc.any(early).as_py():
        parsed = pc.if_else(early, pa.scalar(None, _MICROSECONDS), parsed)
    return cells_of(texts, parsed)


def is_time_format(text: str) -> bool:
    """Whether a text says how times are written: with a year and a day at least, and minutes where there are hours.

    Example:
        >>> is_time_format("iso | %d/%m/%Y"), is_time_format("1,234.5"), is_time_format("%H:%M"), is_time_format("%Q")
        (True, False, False, False)
    """
    return all(part in (ISO, *EPOCHS) or _is_strptime(part) for part in text.split(BETWEEN))


def _is_strptime(text: str) -> bool:
    """Whether a text is a format in the signs of strptime, of those that are read here."""
    signs = re.findall(r"%\.?.?", text)
    if not set(signs) <= {*("%" + sign for sign in "YymdBbjHIMSp"), "%.f"} or len(signs) != len(set(signs)):
        return False
    year = {"%Y", "%y"} & {*signs}
    day = "%j" in signs or ("%d" in signs and {"%m", "%B", "%b"} & {*signs})
    half = ("%I" in signs) == ("%p" in signs)
    hours = {"%H", "%I"} & {*signs}
    return bool(year and day and half and bool(hours) == ("%M" in signs)) and ("%S" not in signs or "%M" in signs)


def clock_cells(texts: pa.Array) -> Cells:
    """Times of a day as seconds since midnight: ``8:30``, ``08:30:15``, ``10:30 a.m.``

    Example:
        >>> clock_cells(pa.array(["8:30", "12:15 a.m.", "1 PM", "25:00"])).values.to_pylist()
        [30600.0, 900.0, 46800.0, None]
    """
    parts = pl.Series(values=_with_plain_halves(texts)).str.extract_groups(_CLOCK)
    found = parts.struct.unnest()
    number = {name: pl.col(name).cast(pl.Float64).fill_null(0.0) for name in ("hour", "minute", "second")}
    half = pl.col("half").str.to_lowercase()
    afternoon = pl.when(half == "pm").then(12.0).otherwise(0.0)
    hour = pl.when(half.is_null()).then(number["hour"]).otherwise(number["hour"] % 12.0 + afternoon)
    whole_day = pl.col("minute").is_not_null() & (number["hour"] <= 23)
    sound = pl.when(half.is_null()).then(whole_day).otherwise((number["hour"] >= 1) & (number["hour"] <= 12))
    seconds = hour * 3600.0 + number["minute"] * 60.0 + number["second"]
    values = found.select(pl.when(sound & pl.col("hour").is_not_null()).then(seconds).alias("seconds"))["seconds"]
    return cells_of(texts, values.to_arrow().cast(pa.float64()))


_CLOCK = r"^(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:\.\d+)?))?)?(?: (?P<half>[aApP][mM]))?$"


def _with_plain_halves(texts: pa.Array) -> pa.Array:
    """Texts with `` am`` and `` pm`` for the other ways to write them: a.m., P.M., 5pm."""
    return pc.replace_substring_regex(texts, r"\s*([aApP])\.?\s?[mM]\.?$", r" \1m")


def _first_that_fits(texts: pa.Array, time_formats: Sequence[str]) -> Cells:
    values = pa.nulls(len(texts), _MICROSECONDS)
    left = texts
    for time_format in time_formats:
        values = pc.coalesce(values, time_cells(left, time_format).values)
        if values.null_count == texts.null_count:
            break
        left = pc.if_else(values.is_valid(), pa.scalar(None, pa.string()), texts)
    return cells_of(texts, values)


def _epoch_cells(texts: pa.Array, unit: int) -> Cells:
    """Of the years 1000 to 9999, to the microsecond."""
    numbers = number_cells(texts).values
    inside = pc.and_(pc.greater(numbers, -3.0e10 * 1e6 / unit), pc.less(numbers, 2.5e11 * 1e6 / unit))
    safe = pc.if_else(inside, numbers, pa.scalar(None, pa.float64()))
    counts = pc.cast(pc.round(pc.multiply(safe, float(unit))), pa.int64(), safe=False)
    return cells_of(texts, counts.cast(_MICROSECONDS))


def _iso_cells(texts: pa.Array) -> Cells:
    try:
        return Cells(pc.cast(texts, _MICROSECONDS), None)
    except pa.ArrowInvalid:
        short = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
        naive = _cast_where(short, _ISO_NAIVE, _MICROSECONDS)
        zoned = _cast_where(short, _ISO_ZONED, pa.timestamp("us", "UTC")).cast(_MICROSECONDS)
        return cells_of(texts, pc.coalesce(naive, zoned))


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


def cells_of(texts: pa.Array, values: pa.Array) -> Cells:
    """Values read from texts, and where a text is none of them."""
    if values.null_count == texts.null_count:
        return Cells(values, None)
    bad = pc.and_(texts.is_valid(), values.is_null())
    return Cells(values, bad.to_numpy(zero_copy_only=False))


def _shape(text: str) -> tuple[str, int, int, bool]:
    """What a text and its format have in common: separators, colons, blanks, and a half of the day."""
    half = re.search(r"\s*(%p|[aApP]\.?\s?[mM]\.?)$", text)
    plain = text if half is None else text[: half.start()] + " am"
    if "年" in plain:
        return "年", plain.count(":"), plain.count(" "), half is not None
    date = plain if "%B" in text or _MONTH_NAME.search(plain) else plain.partition(" ")[0]
    sign = next((sign for sign in "/.-," if sign in date), "")
    return sign + ("B" if date is plain else ""), plain.count(":"), plain.count(" "), half is not None


_MONTH_NAME = re.compile(r"(?i)(^|[\d \-])(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b")


def find_time_format(texts: pa.Array, share: float) -> str | None:
    """The first known format that at least this share of the texts (without null, not empty) has; None for none.

    Where several formats fit, that of the most texts is taken. Where no single one does, two or three are, the more
    frequent first, with `BETWEEN` between them; but none that only differ in which of two numbers is the month.
    """
    if not len(texts):
        return None
    shapes = {_shape(text.as_py()) for text in texts[:_LOOKED_AT]}
    fitting = _fitting(texts, shapes)
    if fitting and max(int(fits.sum()) for fits in fitting.values()) < share * len(texts):
        fitting = _fitting(texts, {_shape(text.as_py()) for text in texts[:_LOOKED_AT_OF_MANY]})
    chosen: list[str] = []
    done = np.zeros(len(texts), np.bool_)
    while len(chosen) < _MOST_FORMATS and int(done.sum()) < share * len(texts):
        more = {
            one: int((fits & ~done).sum())
            for one, fits in fitting.items()
            if _flipped(one) not in {time_format[:5] for time_format in chosen}
        }
        best = max(more, key=lambda one: more[one], default=None)
        if best is None or not more[best]:
            break
        chosen.append(best)
        done |= fitting[best]
    return BETWEEN.join(chosen) if chosen and int(done.sum()) >= share * len(texts) else None


_SHORT_YEAR = r"^\d{1,2}\W\w+\W\d{2}( |$)"
_DOTTED = r"^\d{2}\.\d{2}\.\d{2}( |$)"
"""With points a date has two digits in each place: 1.2.10 is a version."""


def _fitting(texts: pa.Array, shapes: set[tuple[str, int, int, bool]]) -> dict[str, npt.NDArray[np.bool_]]:
    """Which texts fit each format, of those that have one of these shapes."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for time_format in TIME_FORMATS:
        if time_format == ISO or _shape(time_format) in shapes:
            bad = time_cells(texts, time_format).bad
            fits = np.ones(len(texts), np.bool_) if bad is None else ~bad
            if "%y" in time_format:
                short = _DOTTED if "." in time_format else _SHORT_YEAR
                fits &= pc.match_substring_regex(texts, short).to_numpy(zero_copy_only=False)
            if fits.any():
                found[time_format] = fits
    return found


def _flipped(time_format: str) -> str:
    """How a format would begin with the day and the month in each other's places; "" where it can't be mistaken."""
    first, mark, second = time_format[:2], time_format[2:3], time_format[3:5]
    return second + mark + first if {first, second} == {"%d", "%m"} else ""
