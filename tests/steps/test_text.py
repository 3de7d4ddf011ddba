"""Normalized text against Python's own Unicode data, and the texts that say that there is no value."""

from __future__ import annotations

import unicodedata
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.text import MISSING, NormalizeText
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema((Field("c", pa.string(), Role.category),))
# Letters that Python's Unicode data do not know yet are left out: newer data may give them another case.
KNOWN = st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=12)
EVERY = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
ONLY: dict[str, Any] = {"spaces": "keep", "unicode": None, "invisible": False, "missing": ()}
"""Settings under which nothing happens, but that the empty text is missing."""


def rows(values: list[Any]) -> Batch:
    return batch_of(SCHEMA, {"c": values})


def applied(step: NormalizeText, values: list[Any]) -> list[Any]:
    fitted = fit_step(step, SCHEMA, [])
    return fitted.transform(rows(values), Use()).column("c").to_pylist()


def or_none(text: str) -> str | None:
    return text or None


def narrow(text: str) -> str:
    """Wide and narrow characters by what UnicodeData.txt says of them, one by one."""
    found = []
    for character in text:
        kind, *codes = unicodedata.decomposition(character).split() or [""]
        found.append(chr(int(codes[0], 16)) if kind in ("<wide>", "<narrow>") else character)
    return unicodedata.normalize("NFC", "".join(found))


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@given(st.lists(KNOWN, max_size=20))
@settings(max_examples=40, deadline=None)
def test_forms_of_characters_are_those_of_unicodedata(form: Any, values: list[str]) -> None:
    expected = [or_none(unicodedata.normalize(form, value)) for value in values]
    assert applied(NormalizeText("c", **{**ONLY, "unicode": form}), values) == expected


def test_wide_and_narrow_characters_and_only_they_become_plain() -> None:
    words = [*EVERY, "ｶﾞｷﾞ", "ﾊﾟ", "Ａｂ－１２３", "￥１，２００", "1½ ﬁ №"]
    step = NormalizeText("c", **{**ONLY, "unicode": "width"})
    assert applied(step, words) == [narrow(word) for word in words]
    assert applied(step, ["1½ ﬁ №", "10⁶", "O´Brien", "ﾊﾟﾝ"]) == ["1½ ﬁ №", "10⁶", "O´Brien", "パン"]


def test_case_is_changed_as_python_changes_it() -> None:
    for case in ("lower", "upper", "casefold"):
        found = applied(NormalizeText("c", **ONLY, case=case), EVERY)  # type: ignore[arg-type]
        for character, changed in zip(EVERY, found, strict=True):
            newer = changed is not None and any(unicodedata.category(one) == "Cn" for one in changed)
            assert newer or changed == getattr(character, case)()
    words = ["STRASSE ὈΔΥΣΣΕΎΣ", "Straße ὀδυσσεύς"]
    assert applied(NormalizeText("c", case="casefold"), words) == [word.casefold() for word in words]


@given(st.lists(st.none() | KNOWN, max_size=20))
@settings(max_examples=40, deadline=None)
def test_white_space_is_what_python_takes_for_it(values: list[str | None]) -> None:
    # U+001C to U+001F are white space to Python and controls to Unicode: they are taken out where those are.
    plain = [None if value is None else "".join(c for c in value if not "\x1c" <= c <= "\x1f") for value in values]
    collapsed = applied(NormalizeText("c", **{**ONLY, "spaces": "collapse"}), plain)
    assert collapsed == [None if value is None else or_none(" ".join(value.split())) for value in plain]
    trimmed = applied(NormalizeText("c", **{**ONLY, "spaces": "trim"}), plain)
    assert trimmed == [None if value is None else or_none(value.strip()) for value in plain]


@given(
    st.lists(st.none() | KNOWN, max_size=20), st.sampled_from(["collapse", "trim"]), st.sampled_from(["keep", "lower"])
)
@settings(max_examples=40, deadline=None)
def test_twice_is_once(values: list[str | None], spaces: Any, case: Any) -> None:
    step = NormalizeText("c", spaces=spaces, case=case)
    once = applied(step, values)
    assert applied(step, once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a \t b\r\n", "a b"),
        ("a\x0bb\u2028c\x85d", "a b c d"),  # line ends of spreadsheets and of Unicode
        ("\u3000全角　ＡＢＣ１２\u3000", "全角 ABC12"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bell\x07", "bell"),
        ("\u202eabc\u202c", "abc"),
        ("soft\u00adhyphen", "softhyphen"),
        ("a\u200db\u200c", "ab"),
        ("\u200dabc", "abc"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner is part of how Persian is spelt
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("N/A", None),
        (" null ", None),
        ("NaN", None),
        ("未知", None),
        ("ｎ／ａ", None),
        ("--", None),
        ("\u200b", None),
        ("   ", None),
        (None, None),
        ("None", "None"),
        ("unknown", "unknown"),
        ("-1", "-1"),
    ],
)
def test_what_looks_the_same_becomes_the_same(text: str | None, expected: str | None) -> None:
    assert applied(NormalizeText("c"), [text]) == [expected]


def test_lines_stay_where_texts_are_only_trimmed() -> None:
    assert applied(NormalizeText("c", spaces="trim"), [" a  b\n\nc\t "]) == ["a  b\n\nc"]


def test_each_part_can_be_switched_off() -> None:
    dirty = [" a  ", "Ａ", "a\u200bb", "N/A", "x\u200dy"]
    assert applied(NormalizeText("c", **ONLY), dirty) == dirty


def test_missing_texts_can_be_chosen_and_are_compared_as_they_come_out() -> None:
    assert applied(NormalizeText("c", missing=("Nope", " ２ ")), ["nope", "n/a", "2", " "]) == [None, "n/a", None, None]
    assert applied(NormalizeText("c", missing=()), ["n/a", "", None]) == ["n/a", None, None]
    assert applied(NormalizeText("c"), list(MISSING)) == [None] * len(MISSING)


def test_the_same_comes_out_of_categories_held_as_codes() -> None:
    texts = ["  a ", "N/A", None, "Ｂ"] * 5
    column = pa.array(texts).dictionary_encode()
    batch = rows(texts).with_columns(pa.record_batch({"c": column}))
    fitted = fit_step(NormalizeText("c"), SCHEMA, [])
    assert fitted.transform(batch, Use()).column("c").to_pylist() == ["a", None, None, "B"] * 5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("case", "title"),
        ("case", None),
        ("unicode", "NFD"),
        ("unicode", "None"),
        ("spaces", True),
        ("invisible", 1),
        ("missing", "n/a"),
        ("missing", (1,)),
    ],
)
def test_other_settings_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"normalize_text: {setting}") as refused:
        NormalizeText("c", **{setting: value})
    assert repr(value) in str(refused.value)


def test_numbers_are_refused() -> None:
    schema = Schema((Field("x", pa.float64(), Role.number),))
    with pytest.raises(SchemaError, match="column 'x'"):
        NormalizeText("x").touches(schema)


@pytest.mark.parametrize("name", ["", "*", "^a$", "c:x", "表"])
def test_odd_names_of_columns_are_names(name: str) -> None:
    schema = Schema((Field(name, pa.string(), Role.text),))
    batch = batch_of(schema, {name: [" a "]})
    assert fit_step(NormalizeText("text"), schema, []).transform(batch, Use()).column(name).to_pylist() == ["a"]
