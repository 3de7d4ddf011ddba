"""Numbers as people write them: separators, currencies, units, thousands and millions. One format, read cell by cell.

Part of the sources. `find_numbers.py` finds the format of a column; here it is a value with a short text form, the
number 1234.5 written in that way, and it is what cells are read by, in training as later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import UsageError
from penstock.sources.cells import BETWEEN

CURRENCIES: dict[str, tuple[str, ...]] = {
    "$": ("$", "US$", "USD"),
    "€": ("€", "EUR", "euro", "euros"),
    "£": ("£", "GBP"),
    "¥": ("¥",),
    "円": ("円", "JPY", "yen", "日元"),
    "元": ("元", "CNY", "RMB", "人民币"),
    "₹": ("₹", "INR", "Rs", "Rs."),
    "₩": ("₩", "KRW", "원"),
    "₽": ("₽", "RUB", "руб", "руб."),
    "₺": ("₺", "TRY", "TL"),
    "R$": ("R$", "BRL"),
    "zł": ("zł", "PLN"),
    "Kč": ("Kč", "CZK"),
    "kr": ("kr", "kr."),
    **{code: (code,) for code in ("CHF", "SEK", "NOK", "DKK", "ILS", "ZAR")},
    **{sign: (sign, code) for sign, code in (("A$", "AUD"), ("C$", "CAD"), ("HK$", "HKD"), ("NT$", "TWD"))},
    **{sign: (sign, code) for sign, code in (("S$", "SGD"), ("MX$", "MXN"), ("฿", "THB"))},
}
"""Currencies, each with its spellings; the yen sign alone may be of Japan or China, but of one in a column."""

UNITS: dict[str, tuple[str, ...]] = {
    "%": ("%", "percent", "pct"),
    "oz": ("oz", "ounce", "ounces"),
    "lb": ("lb", "lbs", "pound", "pounds"),
    "kg": ("kg", "kgs", "kilo", "kilos", "kilogram", "kilograms", "公斤", "千克"),
    "g": ("g", "gr", "gram", "grams", "克"),
    "mg": ("mg", "milligram", "milligrams"),
    "t": ("t", "ton", "tons", "tonne", "tonnes", "吨"),
    "ml": ("ml", "milliliter", "milliliters", "millilitre", "millilitres", "毫升"),
    "cl": ("cl",),
    "l": ("l", "liter", "liters", "litre", "litres", "升"),
    "gal": ("gal", "gallon", "gallons"),
    "mm": ("mm", "millimeter", "millimeters", "毫米"),
    "cm": ("cm", "centimeter", "centimeters", "centimetre", "centimetres", "厘米"),
    "m": ("m", "meter", "meters", "metre", "metres", "米"),
    "km": ("km", "kms", "kilometer", "kilometers", "kilometre", "kilometres", "公里", "千米"),
    "in": ("in", "inch", "inches", '"'),
    "ft": ("ft", "feet", "foot"),
    "yd": ("yd", "yard", "yards"),
    "mi": ("mi", "mile", "miles"),
    "m²": ("m²", "㎡", "m2", "sqm", "sq m", "平米", "平方米"),
    "ft²": ("ft²", "ft2", "sqft", "sq ft", "sq. ft"),
    "ms": ("ms", "msec", "毫秒"),
    "s": ("s", "sec", "secs", "second", "seconds", "秒"),
    "min": ("min", "mins", "minute", "minutes", "分钟"),
    "h": ("h", "hr", "hrs", "hour", "hours", "小时"),
    "days": ("d", "day", "days", "天"),
    "weeks": ("week", "weeks", "wk", "wks", "周"),
    "months": ("month", "months", "mo", "mos", "个月"),
    "years": ("y", "yr", "yrs", "year", "years", "年"),
    "km/h": ("km/h", "kmh", "kph"),
    "mph": ("mph",),
    "mpg": ("mpg",),
    "°C": ("°C", "℃"),
    "°F": ("°F", "℉"),
    "V": ("V", "volt", "volts"),
    "W": ("W", "watt", "watts"),
    "kW": ("kW",),
    "kWh": ("kWh",),
    "hp": ("hp", "bhp"),
    "cc": ("cc",),
    "Hz": ("Hz",),
    "MHz": ("MHz",),
    "GHz": ("GHz",),
    "KB": ("KB",),
    "MB": ("MB",),
    "GB": ("GB",),
    "TB": ("TB",),
    "px": ("px", "pixel", "pixels"),
    "kcal": ("kcal",),
    **{word: (word,) for word in ("个", "人", "岁", "次", "件", "只", "台", "本", "歳", "個")},
}
"""Units that may stand right behind a number, each with its spellings; a point after them is taken as part of them."""

SCALES: dict[str, dict[str, int]] = {
    "k": {"k": 3, "K": 3, "m": 6, "M": 6, "mn": 6, "Mn": 6, "b": 9, "B": 9, "bn": 9, "Bn": 9, "T": 12, "tn": 12},
    "万": {"千": 3, "万": 4, "萬": 4, "十万": 5, "百万": 6, "千万": 7, "亿": 8, "億": 8, "万亿": 12},
}
"""Words for powers of ten, in two families; a column has words of one."""

_REST = " ..."
_BEHIND = ("元", "円", "zł", "Kč", "kr")
_WIDE = {chr(place): chr(place - 0xFEE0) for place in range(0xFF01, 0xFF5F)}
_NARROW = {
    **_WIDE,
    **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
    "\u2212": "-",
    "\u2019": "'",
    "\uffe5": "¥",
    "\uffe1": "£",
}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How the numbers of a column are written.

    A minus sign, or round brackets around the whole, make a number negative; an exponent may follow it. A currency may
    be left out of a cell, and so may a word for a power of ten; a unit may not, unless it stands in square brackets.
    ``12%`` is 0.12. A unit changes no other value, and what may be left out changes none: in ``1234.5[%]`` the sign
    says nothing.

    Attributes:
        group: what stands between groups of three digits; "" for nothing.
        decimal: what stands before the fraction.
        currency: one of `CURRENCIES`, or "".
        scale: one of `SCALES`, or "".
        unit: one of `UNITS`, another word, or "".
        optional: whether the unit may be left out.
        rest: whether words may stand behind the unit, which are left out.

    Example:
        >>> str(NumberFormat(",", currency="$"))
        '$1,234.5'
        >>> NumberFormat.parse("1.234,5 kg")
        NumberFormat(group='.', decimal=',', currency='', scale='', unit='kg', optional=False, rest=False)
    """

    group: str = ""
    decimal: str = "."
    currency: str = ""
    scale: str = ""
    unit: str = ""
    optional: bool = False
    rest: bool = False

    def __str__(self) -> str:
        front, behind = (self.currency, "") if self.currency not in _BEHIND else ("", self.currency)
        unit = f"[{self.unit}]" if self.optional else self.unit
        unit = unit if self.unit in ("", "%") else f" {unit}"
        return f"{front}1{self.group}234{self.decimal}5{self.scale}{behind}{unit}{_REST if self.rest else ''}"

    @classmethod
    def parse(cls, text: str) -> NumberFormat:
        """The format that 1234.5 is written in.

        Raises:
            UsageError: ``text`` is no such number, or writes it in no known way.
        """
        found = re.fullmatch(r"(?P<front>\D*?) ?1(?P<group>\D?)234(?P<decimal>[.,])5(?P<behind>\D*)", narrow(text))
        if found is not None and found["group"] in ("", ",", ".", " ", "'") and found["group"] != found["decimal"]:
            behind = found["behind"].removesuffix(_REST).strip()
            scale, rest = _scale_of(behind)
            optional = rest.startswith("[") and rest.endswith("]")
            rest = rest[1:-1].strip() if optional else rest
            currency = currency_of(found["front"]) or currency_of(rest)
            unit = "" if currency_of(rest) or not rest else unit_of(rest) or rest
            words = found["behind"] != behind and found["behind"].endswith(_REST)
            good = not unit or re.fullmatch(r"[^\[\]()|]+", unit) is not None
            if good and (currency or not found["front"]) and (unit or not (optional or words)):
                return cls(found["group"], found["decimal"], currency, scale, unit, optional, words)
        raise UsageError(
            "not a way to write numbers",
            expected="the number 1234.5 as the column would write it, such as '1,234.5', '$1234.5', '1.234,5 kg', "
            "'1234.5%' or '1234.5 [kg]', where kg may be left out",
            got=repr(text),
        )

    @property
    def pattern(self) -> str:
        """A regular expression of a whole cell: bracket, sign, sign after the currency, number, scale, bracket."""
        return _pattern(self)


def is_number_format(text: str) -> bool:
    """Whether a text says how numbers are written, in one way or in several.

    Example:
        >>> is_number_format("1.234,5"), is_number_format("1234.5 | 1234.5%"), is_number_format("%d/%m/%Y")
        (True, True, False)
    """
    try:
        for part in text.split(BETWEEN):
            NumberFormat.parse(part)
    except UsageError:
        return False
    return True


def narrow(text: str) -> str:
    """A text with the digits and signs of ASCII for the wide ones of East Asia, and blanks for blanks of any width."""
    return text.translate({ord(wide): small for wide, small in _NARROW.items()})


def narrow_all(texts: pa.Array) -> pa.Array:
    """The same for every text."""
    if bool(pc.all(pc.string_is_ascii(texts)).as_py() in (True, None)):
        return texts
    many = pl.Series(values=texts).str.replace_many(list(_NARROW), list(_NARROW.values()))
    return many.to_arrow().cast(pa.string())


def currency_of(text: str) -> str:
    """The currency that is spelled so; "" for none."""
    return _CURRENCY.get(text.strip(), "")


def unit_of(text: str) -> str:
    """The known unit that is spelled so; "" for none.

    Example:
        >>> unit_of("oz."), unit_of("Ounces"), unit_of("apples")
        ('oz', 'oz', '')
    """
    word = text.strip().removesuffix(".")
    return _UNIT.get(word, "") or _UNIT.get(word.lower(), "")


def _scale_of(text: str) -> tuple[str, str]:
    """A scale's family at the beginning of what stands behind a number, and the rest."""
    family = next((family for family in SCALES if text.startswith(family)), "")
    rest = text.removeprefix(family).strip()
    known = not rest or currency_of(rest) or text.removeprefix(family)[:1].isspace()
    return (family, rest) if family and known and not unit_of(text) and not currency_of(text) else ("", text)


_CURRENCY = {spelled: currency for currency, spellings in CURRENCIES.items() for spelled in spellings}
_UNIT = {spelled: unit for unit, spellings in UNITS.items() for spelled in spellings}


def _pattern(of: NumberFormat) -> str:
    comma = re.escape(of.decimal)
    whole = r"0|[1-9]\d*"
    if of.group:
        mark = re.escape(of.group)
        whole = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|{whole}"
        if of.group == ",":
            whole = rf"[1-9]\d?(?:,\d{{2}})+,\d{{3}}|{whole}"  # lakhs: 12,34,567
    number = rf"(?:(?:{whole})(?:{comma}\d*)?|{comma}\d+)(?:[eE][+-]?\d{{1,3}})?"
    money = rf"(?:{_one_of(CURRENCIES[of.currency])})?" if of.currency else ""
    scale = rf"({_one_of(SCALES[of.scale])})?" if of.scale else "()"
    unit = rf"(?i:{_one_of(UNITS.get(of.unit, (of.unit, of.unit + 's')))})\.?" if of.unit else ""
    unit = f"(?:{unit})?" if of.optional else unit
    unit += r"(?:\s+[^()]*)?" if of.rest else ""
    return rf"^(\()?\s*([+-])?\s*{money}\s*([+-])?\s*({number})\s*{scale}\s*{money}\s*{unit}\s*(\))?$"


def _one_of(words: tuple[str, ...] | dict[str, int]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def numbers_like(texts: pa.Array, way: str) -> pa.Array:
    """Texts without surrounding blanks as float64, null where they are no number that is so written; of several
    formats the first that fits a text is taken.

    Raises:
        UsageError: ``way`` is no way to write numbers.

    Example:
        >>> numbers_like(pa.array(["0.05", "6%", "x"]), "1234.5 | 1234.5%").to_pylist()
        [0.05, 0.06, None]
    """
    values = pa.nulls(len(texts), pa.float64())
    for part in way.split(BETWEEN):
        values = pc.coalesce(values, formatted_numbers(texts, NumberFormat.parse(part)))
    return values


def formatted_numbers(texts: pa.Array, of: NumberFormat) -> pa.Array:
    """Texts without surrounding blanks as float64, null where they are no number of this format.

    Every distinct text is read once. Powers of ten are written as exponents, so that each value is the float64 that is
    nearest to what is written.

    Example:
        >>> formatted_numbers(pa.array(["$1,200.50", "($3)", "12"]), NumberFormat(",", currency="$")).to_pylist()
        [1200.5, -3.0, 12.0]
        >>> formatted_numbers(pa.array(["3.5万", "2亿"]), NumberFormat(scale="万")).to_pylist()
        [35000.0, 200000000.0]
        >>> formatted_numbers(pa.array(["12%", "0.5 %", "12"]), NumberFormat(unit="%")).to_pylist()
        [0.12, 0.005, None]
    """
    encoded = pc.dictionary_encode(texts)
    values = _each(narrow_all(encoded.dictionary), of)
    return values.take(encoded.indices)


def _each(texts: pa.Array, of: NumberFormat) -> pa.Array:
    parts = pl.Series("text", values=texts).str.strip_chars().str.extract_groups(of.pattern)
    opened, before, after, number, scale, closed = (parts.struct.field(name) for name in "123456")
    digits = number.str.replace_all(of.group, "", literal=True) if of.group else number
    if of.decimal != ".":
        digits = digits.str.replace_all(of.decimal, ".", literal=True)
    written = pl.DataFrame(
        {"open": opened, "before": before, "after": after, "digits": digits, "scale": scale, "close": closed}
    )
    minus = pl.col("open").is_not_null() | (pl.coalesce("before", "after") == "-").fill_null(False)
    sound = pl.col("open").is_null() == pl.col("close").is_null()
    signs = sum((pl.col(name).is_not_null().cast(pl.Int8) for name in ("open", "before", "after")), pl.lit(0, pl.Int8))
    parts_of_hundred = 2 if of.unit == "%" and not of.optional else 0
    powers = {word: power - parts_of_hundred for word, power in (SCALES[of.scale] if of.scale else {}).items()}
    tens = pl.lit(f"e-{parts_of_hundred}" if parts_of_hundred else "")
    if powers:
        tens = pl.col("scale").replace_strict(list(powers), [f"e{power}" for power in powers.values()], default=tens)
    value = pl.concat_str(pl.when(minus).then(pl.lit("-")).otherwise(pl.lit("")), pl.col("digits"), tens)
    shown = written.select(pl.when(sound & (signs <= 1)).then(value).otherwise(None).alias("value"))["value"]
    return shown.cast(pl.Float64, strict=False).to_arrow().cast(pa.float64())
