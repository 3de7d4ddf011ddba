"""Steps that clean text without changing what it says: `NormalizeText`."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of

Spaces = Literal["collapse", "trim", "keep"]
Forms = Literal["width", "NFC", "NFKC"]
Case = Literal["keep", "lower", "upper", "casefold"]

MISSING = ("", "-", "--", "---", "?", "??", "n/a", "#n/a", "nan", "null", "<na>", "#null!", "无", "未知", "缺失")
"""Texts that say that there is no value and nothing else; "none", "unknown" and "other" can be answers."""
_INVISIBLE = (
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
# Joiners are part of the spelling of Persian, of the scripts of India and of emoji; after other letters they are dirt.
_JOINERS = r"(^|[\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Nd}\p{P}\s])[\u200c\u200d]+"


@dataclass(frozen=True)
class NormalizeText(Step):
    """Text in one spelling of its characters: white space trimmed, forms of one character made one.

    In this order: characters that are not seen (controls, zero-width, marks of direction) are taken out; forms of one
    character become one; white space is trimmed or collapsed; the case is changed, if asked for; texts that say that
    there is no value become null, and so does a text of nothing.

    Forms, after Unicode Standard Annexes 11 and 15:

    - "width": full-width and half-width characters become the plain ones, and what looks the same is the same (NFC).
    - "NFC": only what looks the same.
    - "NFKC": all compatible forms, such as "№" as "No" and "ﬁ" as "fi". It can change what a text says: "10⁶" becomes
      "106", and "1½" becomes "11⁄2".

    Args:
        columns: columns of categories or text.
        spaces: "collapse": white space, line ends too, becomes one space, and none at the ends; "trim": none at the
            ends; "keep".
        unicode: "width", "NFC", "NFKC", or null for the characters as they are.
        case: "keep", "lower", "upper" or "casefold" (lower case for comparing, such as "ß" as "ss").
        invisible: whether characters that are not seen are taken out.
        missing: texts that become null, compared without regard to case, after all the rest; null for the usual ones
            ("n/a", "null", "-", "?", "无", "未知", ...); an empty list for none but the empty text.

    Raises:
        UsageError: an argument is none of its values.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("city", pa.string(), Role.category),))
        >>> batch = batch_of(schema, {"city": ["  New   York ", "Ｔｏｋｙｏ", "n/a"]})
        >>> fit_step(NormalizeText("city"), schema, [batch]).transform(batch, Use()).column("city").to_pylist()
        ['New York', 'Tokyo', None]
    """

    columns: ColumnsLike
    spaces: Spaces = "collapse"
    unicode: Forms | None = "width"
    case: Case = "keep"
    invisible: bool = True
    missing: tuple[str, ...] | None = None

    name = "normalize_text"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        given: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("spaces", get_args(Spaces)),
            ("unicode", (*get_args(Forms), None)),
            ("case", get_args(Case)),
            ("invisible", (True, False)),
        )
        for setting, values in given:
            got = getattr(self, setting)
            if not any(type(got) is type(value) and got == value for value in values):  # 1 equals True
                raise self._wrong(setting, ", ".join("null" if value is None else repr(value) for value in values))
        words = self.missing
        if words is not None:
            if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) for word in words):
                raise self._wrong("missing", "a list of texts, or null for the usual ones")
            object.__setattr__(self, "missing", tuple(words))

    def _wrong(self, setting: str, expected: str) -> UsageError:
        return UsageError(
            "not a choice", where=f"{self.name}: {setting}", expected=expected, got=repr(getattr(self, setting))
        )

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text")

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedNormalizeText:
        """Nothing is learned."""
        words = pl.DataFrame({"word": [*(MISSING if self.missing is None else self.missing), ""]})
        column = pl.col("word")
        compared = words.select(_normalized(self, column).str.to_lowercase()).to_series()
        names = tuple(field.name for field in self._fields(schema))
        return FittedNormalizeText(self, schema, names, tuple(dict.fromkeys(compared)))


@dataclass(frozen=True)
class FittedNormalizeText(TableStep):
    """`NormalizeText`, for the columns met."""

    step: NormalizeText
    schema: Schema
    names: tuple[str, ...]
    missing: tuple[str, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Each column's text."""
        return {name: self._text(inputs[name]) for name in self.names}

    def _text(self, text: pl.Expr) -> pl.Expr:
        normal = _normalized(self.step, text)
        longest = max(map(len, self.missing))
        # One character more tells a longer text apart, and a document need not be read to its end.
        absent = normal.str.head(longest + 1).str.to_lowercase().is_in(list(self.missing))
        return pl.when(absent).then(None).otherwise(normal)


def _normalized(step: NormalizeText, text: pl.Expr) -> pl.Expr:
    """The text but for what is missing."""
    if step.invisible:
        text = text.str.replace_all(_INVISIBLE, "").str.replace_all(_JOINERS, "$1")
    if step.unicode == "width":
        text = narrowed(text).str.normalize("NFC")
    elif step.unicode is not None:
        text = text.str.normalize(step.unicode)
    if step.spaces == "collapse":
        text = text.str.replace_all(r"\s+", " ").str.strip_chars(" ")
    elif step.spaces == "trim":
        text = text.str.strip_chars()
    if step.case == "lower":
        return text.str.to_lowercase()
    if step.case == "upper":
        return text.str.to_uppercase()
    return folded(text) if step.case == "casefold" else text


def narrowed(text: pl.Expr) -> pl.Expr:
    """Full-width and half-width characters as the plain ones: the mappings <wide> and <narrow> of UnicodeData.txt."""
    plain = _plain()
    return text.str.replace_many(list(plain), list(plain.values()))


def folded(text: pl.Expr) -> pl.Expr:
    """Text for comparing without regard to case, as `str.casefold` gives it: full case folding (CaseFolding.txt)."""
    full = _full_foldings()
    return text.str.to_lowercase().str.replace_many(list(full), list(full.values()))


@cache
def _plain() -> dict[str, str]:
    """The plain form of each full-width or half-width character."""
    found = {}
    for character in map(chr, (0x3000, *range(0xFF00, 0xFFF0))):
        kind, _, code = unicodedata.decomposition(character).partition(" ")
        if kind in ("<wide>", "<narrow>"):
            found[character] = chr(int(code, 16))
    return found


@cache
def _full_foldings() -> dict[str, str]:
    """Lower-case characters that folding changes once more; all are in the Basic Multilingual Plane."""
    lower = (chr(code) for code in range(0x10000) if chr(code).lower() == chr(code))
    return {character: character.casefold() for character in lower if character.casefold() != character}
