"""Steps that clean text without changing what it says: `NormalizeText`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of

MISSING = ("", "-", "--", "---", "?", "??", "n/a", "#n/a", "nan", "null", "<na>", "#null!", "无", "未知", "缺失")
"""Texts that say that there is no value and nothing else; "none", "unknown" and "other" can be answers."""
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u00ad]"
_SPACE = r"[\s\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+"


@dataclass(frozen=True)
class NormalizeText(Step):
    """Text in one spelling of its characters: white space trimmed and collapsed, compatible forms made one.

    In this order: characters that are not seen (controls, zero-width) are taken out; full-width, half-width and other
    compatible forms become the plain ones (Unicode normalization form KC, Unicode Standard Annex 15); white space, line
    ends too, becomes one space, and none at the ends; the case is changed, if asked for; texts that say that there is
    no value become null, and so does a text of nothing.

    Args:
        columns: columns of categories or text.
        spaces: whether white space is trimmed and collapsed.
        unicode: "NFKC", "NFC" (forms that look the same only), or null for none.
        case: "keep", "lower", "upper" or "casefold" (lower case for comparing, such as "ß" as "ss").
        invisible: whether characters that are not seen are taken out.
        missing: texts that become null, compared without regard to case; null for the usual ones ("n/a", "null", "-",
            "?", "无", "未知", ...); an empty list for none but the empty text.

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
    spaces: bool = True
    unicode: Literal["NFKC", "NFC"] | None = "NFKC"
    case: Literal["keep", "lower", "upper", "casefold"] = "keep"
    invisible: bool = True
    missing: tuple[str, ...] | None = None

    name = "normalize_text"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.missing is not None:
            object.__setattr__(self, "missing", tuple(self.missing))
        for setting, values in (("unicode", ("NFKC", "NFC", None)), ("case", ("keep", "lower", "upper", "casefold"))):
            if getattr(self, setting) not in values:
                raise UsageError(
                    "not a choice",
                    where=f"{self.name}: {setting}",
                    expected=", ".join(map(repr, values)),
                    got=repr(getattr(self, setting)),
                )

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text")

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedNormalizeText:
        """Nothing is learned."""
        return FittedNormalizeText(self, schema, tuple(field.name for field in self._fields(schema)))


@dataclass(frozen=True)
class FittedNormalizeText(TableStep):
    """`NormalizeText`, for the columns met."""

    step: NormalizeText
    schema: Schema
    names: tuple[str, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Each column's text."""
        return {name: self._text(inputs[name]) for name in self.names}

    def _text(self, text: pl.Expr) -> pl.Expr:
        step = self.step
        if step.invisible:
            text = text.str.replace_all(_CONTROL, "")
        if step.unicode is not None:
            text = text.str.normalize(step.unicode)
        if step.spaces:
            text = text.str.replace_all(_SPACE, " ").str.strip_chars(" ")
        if step.case == "lower":
            text = text.str.to_lowercase()
        elif step.case == "upper":
            text = text.str.to_uppercase()
        elif step.case == "casefold":
            text = folded(text)
        words = MISSING if step.missing is None else tuple(word.lower() for word in ("", *step.missing))
        return pl.when(text.str.to_lowercase().is_in(list(words))).then(None).otherwise(text)


def folded(text: pl.Expr) -> pl.Expr:
    """Text for comparing without regard to case: the common and the full folding of "ß" (Unicode, CaseFolding.txt)."""
    return text.str.to_lowercase().str.replace_all("ß", "ss", literal=True).str.replace_all("ς", "σ", literal=True)
