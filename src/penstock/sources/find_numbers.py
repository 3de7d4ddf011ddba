"""How the numbers of a column of text are written, found from a sample of them.

Part of the sources. What looks like a code stays one: leading zeros, telephone numbers, dates, versions.

A column of numbers of which some have a percent sign can be meant in two ways. Where those with the sign are of the
size of the others (0.05 and 0.06%), it says nothing; where a hundredth of them is (0.05 and 6%), they are shares.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sources.cells import BETWEEN, number_cells
from penstock.sources.number_format import (
    SCALES,
    UNITS,
    NumberFormat,
    currency_of,
    formatted_numbers,
    narrow_all,
    numbers_like,
    unit_of,
)

_GENERAL = (
    r"^\(?\s*[+-]?\s*(?P<front>[^\d\s+\-().,'#:/]{1,4}\.?)?\s*[+-]?\s*"
    r"(?P<digits>\d(?:[\d.,' ]*\d)?\.?|[.,]\d+)(?:[eE][+-]?\d+)?\s*"
    r"(?P<behind>[^\d\s+\-().,'#:][^\d+\-()#:]{0,19}|m2|ft2|\x22)?\s*\)?$"
)
_LOOKED_AT = 300
_SEPARATORS = (("", "."), (",", "."), ("", ","), (".", ","), (" ", "."), (" ", ","), ("'", "."), ("'", ","))
"""Group and decimal marks, the simpler and the more usual before the others: the first of equals is taken."""
_NO_UNITS = re.compile(
    r"am|pm|[ap]|st|nd|rd|th|of|bc|ad|b?ce|(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*|[月日号號室路x]"
)
_ALMOST = 0.9
"""The share of values that end with the unit, from which on words behind it are left out in the others."""
CODE_NAMES = re.compile(
    r"phone|tel|mobile|fax|isbn|issn|zip|postal|postcode|postleitzahl|plz|ssn|iban|version|siren|siret|(^|\W|_)(ip|code)$"
    r"|电话|手机|邮编|編號|编号",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FoundNumbers:
    """The format of a column's numbers, the share of its values that are so written, and what to say of it.

    Attributes:
        way: the format as a text, or two.
        share: of the values that are so written.
        described: the format with an example, and what else it could be.
        short: the format, and a value that is not so written.
    """

    way: str
    share: float
    described: str
    short: str


def find_number_format(name: str, present: pa.Array, share: float) -> FoundNumbers | None:
    """The format that most values of a column are written in, where they are numbers at all and the plain format
    does not fit as many.

    Args:
        name: the column's name; where it names a code (phone, zip, ISBN), nothing is found.
        present: a sample of its texts, without null and without surrounding blanks.
        share: the least share that must be so written.

    Example:
        >>> find_number_format("price", pa.array(["1.200,50 €", "950 €"]), 0.99).way
        '€1.234,5'
        >>> find_number_format("share", pa.array(["0.2", "0.15", "12%"]), 0.99).way
        '1234.5 | 1234.5%'
        >>> find_number_format("version", pa.array(["1.200.300", "2.100.000"]), 0.99)
    """
    odd = present.filter(number_cells(present).values.is_null())
    if not len(odd) or CODE_NAMES.search(name) or not _may_be_numbers(odd[:_LOOKED_AT]):
        return None
    counted = present.value_counts()
    texts = narrow_all(counted.field("values"))
    counts = pl.Series(values=counted.field("counts"))
    parts = pl.Series(values=texts).str.strip_chars().str.extract_groups(_GENERAL)
    digits = parts.struct.field("digits")
    best: tuple[float, NumberFormat] | None = None
    for candidate in _candidates(parts, counts):
        fits = pl.Series(values=formatted_numbers(texts, candidate)).is_not_null()
        reached = float(counts.filter(fits).sum()) / len(present)
        if reached > (best[0] if best else 1 - len(odd) / len(present)):
            best = reached, candidate
    if best is None or best[0] < share or _is_code(texts, digits.drop_nulls(), best[1]):
        return None
    values = counted.field("values")
    reached, found = _with_rest(texts, counts, *best)
    way, why = _percents(texts, found) if found.unit == "%" and found.optional else (str(found), "")
    others = values.filter(numbers_like(texts, way).is_null())
    short = f"numbers like {way}" + (f", but {others[0].as_py()[:40]!r} is not" if len(others) else "")
    said = _example(way, texts, values) + why + _others(found, texts)
    if reached < 1:
        said += f"; {reached:.2%} of {len(present):,} values are so written"
    return FoundNumbers(way, reached, said, short)


def _with_rest(texts: pa.Array, counts: pl.Series, reached: float, found: NumberFormat) -> tuple[float, NumberFormat]:
    """The format, and the share it reaches; with words behind the unit, where a few values have such."""
    if found.unit not in UNITS or found.optional or not _ALMOST <= reached < 1:
        return reached, found
    longer = replace(found, rest=True)
    fits = pl.Series(values=formatted_numbers(texts, longer)).is_not_null()
    more = float(counts.filter(fits).sum()) / float(counts.sum())
    return (more, longer) if more > reached else (reached, found)


def _percents(texts: pa.Array, found: NumberFormat) -> tuple[str, str]:
    """How a column is written whose numbers have the percent sign or not, and why: see this file's head."""
    plain, signed = replace(found, unit="", optional=False), replace(found, optional=False)
    numbers = formatted_numbers(texts, plain).drop_null().to_numpy()
    shares = formatted_numbers(texts, signed).drop_null().to_numpy()
    sizes = [float(np.median(np.abs(some[some != 0]))) if (some != 0).any() else 0.0 for some in (numbers, shares)]
    if 0.0 in sizes or abs(np.log(sizes[0] / sizes[1])) < abs(np.log(sizes[0] / (sizes[1] * 100))):
        return f"{plain}{BETWEEN}{signed}", "; numbers without the sign are of the size of the shares"
    return str(found), "; the sign changes nothing: with it and without it the numbers are of one size"


def _may_be_numbers(texts: pa.Array) -> bool:
    """Whether half of a few texts have the shape of a number, with no word before it but a currency: a cheap look
    before the thorough one."""
    parts = pl.Series(values=narrow_all(texts)).str.extract_groups(_GENERAL).struct.unnest()
    before = [word is None or bool(currency_of(word)) for word in parts["front"]]
    return 2 * int((parts["digits"].is_not_null() & pl.Series(before, dtype=pl.Boolean)).sum()) >= len(texts)


def _candidates(parts: pl.Series, counts: pl.Series) -> Iterator[NumberFormat]:
    """Formats by the marks and words that the values have, simpler ones first."""
    seen = set("".join(parts.struct.field("digits").drop_nulls().unique().to_list())) - set("0123456789")
    currencies: Counter[str] = Counter()
    units: Counter[str] = Counter()
    scales: Counter[str] = Counter()
    for side in ("front", "behind"):
        words = pl.DataFrame({"word": parts.struct.field(side).str.strip_chars(), "count": counts})
        most = (
            words.drop_nulls()
            .group_by("word")
            .agg(pl.col("count").sum())
            .sort("count", "word", descending=[True, False])
        )
        for word, count in most.head(50).iter_rows():
            _classify(word, count, currencies, units, scales, behind=side == "behind")
    currency = currencies.most_common(1)[0][0] if currencies else ""
    scale = scales.most_common(1)[0][0] if scales else ""
    unit = units.most_common(1)[0][0] if units else ""
    dressed = [("", ""), (scale, ""), ("", unit), (scale if scale == "万" else "", unit)]
    if units.total() >= scales.total() and not (currency and unit == "m"):  # "5 m" is a length, "$5m" are millions
        dressed = [dressed[0], *dressed[2:], dressed[1]]
    for found_scale, found_unit in dict.fromkeys(dressed):
        for group, decimal in _SEPARATORS:
            if (not group or group in seen) and (decimal in seen or decimal == "." or group == "."):
                yield NumberFormat(group, decimal, currency, found_scale, found_unit)
    if unit == "%":
        for group, decimal in _SEPARATORS:
            if (not group or group in seen) and (decimal in seen or decimal == "." or group == "."):
                yield NumberFormat(group, decimal, unit="%", optional=True)


def _classify(
    word: str, count: int, currencies: Counter[str], units: Counter[str], scales: Counter[str], *, behind: bool
) -> None:
    """What a word beside numbers is: a currency, a unit, or a power of ten with one of them."""
    if currency_of(word):
        currencies[currency_of(word)] += count
        return
    if not behind:
        return
    for family, words in SCALES.items():
        for scale in sorted(words, key=len, reverse=True):
            rest = word.removeprefix(scale).strip()
            if word.startswith(scale) and (not rest or currency_of(rest) or (family == "万" and unit_of(rest))):
                scales[family] += count
                if currency_of(rest):
                    currencies[currency_of(rest)] += count
                elif rest:
                    units[unit_of(rest)] += count
                if word != "m":  # which may be metres
                    return
                break
    known = unit_of(word)
    if known:
        units[known] += count
    elif re.fullmatch(r"[^\W\d_]{3,}\.?", word) and not _NO_UNITS.fullmatch(word.lower().removesuffix(".")):
        singular = word.removesuffix(".").lower()
        units[singular.removesuffix("s") if len(singular) > 3 else singular] += count


def _is_code(texts: pa.Array, digits: pl.Series, found: NumberFormat) -> bool:
    """Whether bare digits in groups are all of one length, as those of telephones and identity numbers are; or all in
    brackets, as marks are."""
    if found.currency or found.unit or found.scale or found.group == ",":
        return False
    if not found.group:
        return bool(pc.all(pc.starts_with(texts, "(")).as_py())
    same = digits.str.len_chars().n_unique() == 1 and len(digits) > 1
    return bool(same) and not digits.str.contains(re.escape(found.decimal), literal=False).any()


def _example(way: str, texts: pa.Array, shown: pa.Array) -> str:
    """The way with a value that tells it from the plain one."""
    values = numbers_like(texts, way)
    plain = pl.Series(values=texts).cast(pl.Float64, strict=False).is_null()
    telling = [place for place in range(min(len(texts), 1000)) if values[place].is_valid and plain[place]]
    place = telling[0] if telling else int(pc.index(values.is_valid(), True).as_py())
    return f"numbers like {way}: {shown[place].as_py()[:40]!r} is {values[place].as_py():.15g}"


def _others(found: NumberFormat, texts: pa.Array) -> str:
    """What the values could also mean, and what is taken for granted."""
    said = ""
    values = formatted_numbers(texts, found)
    other = None
    if (found.group, found.decimal) == (",", "."):
        other = replace(found, group="", decimal=",")
    elif (found.group, found.decimal) == ("", ".") and pc.any(pc.match_substring_regex(texts, r"\.\d")).as_py():
        other = replace(found, group=".", decimal=",")
    elif (found.group, found.decimal) == ("", ","):
        other = replace(found, group=",", decimal=".")
    if other is not None and formatted_numbers(texts, other).null_count == values.null_count:
        said += f" (all of them could also be like {other})"
    if found.unit and found.unit not in UNITS:
        said += f"; {found.unit!r} is taken for a unit"
    if found.rest:
        alone = formatted_numbers(texts, replace(found, rest=False))
        place = int(pc.index(pc.and_(alone.is_null(), values.is_valid()), True).as_py())
        said += f"; words behind the unit are left out, as in {texts[place].as_py()[:40]!r}"
    return said
