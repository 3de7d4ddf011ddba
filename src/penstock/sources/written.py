"""How a column of text writes its values: one short text says it, for numbers, times and lists; cells are read by it.

Part of the sources. "" is the plain way: ``-1234.5`` for numbers, ISO 8601 for times. Other ways are found from a
sample or said by the user, recorded in the schema, and kept for whatever is read later by that schema.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SchemaError, UsageError
from penstock.inference import Inferred
from penstock.schema import ROLE_TYPES, Role
from penstock.sources.cells import CLOCK, ISO, Cells, cells_of, clock_cells, is_time_format, number_cells
from penstock.sources.number_format import is_number_format, numbers_like

JSON_LIST = '["a","b"]'
"""The way of lists as JSON writes them, and Python: in square brackets, each item in quotes."""
_MARKS = (";", "|")
_FEW = 20
_JSON = r"""^\[\s*(?:"(?:[^"\\]*)"(?:\s*,\s*"[^"\\]*")*|'[^'\\]*'(?:\s*,\s*'[^'\\]*')*)?\s*\]$"""


def kind_of_way(text: str) -> Role:
    """What values are that are written in a way: numbers, times or lists.

    Raises:
        UsageError: it is no way of writing.

    Example:
        >>> kind_of_way("1.234,5 kg").value, kind_of_way("%d/%m/%Y").value, kind_of_way("a;b").value
        ('number', 'time', 'list')
    """
    if text == CLOCK or is_number_format(text):
        return Role.number
    if text == JSON_LIST or re.fullmatch(r"a[^\w]+b", text):
        return Role.list
    if is_time_format(text):
        return Role.time
    raise UsageError(
        "not a way to write values",
        where="read: written",
        expected="such as '1,234.5', '$1234.5', '1.234,5 kg', '1234.5%', '1234.5[%]', 'time of day', '%d/%m/%Y', "
        f"'iso', 'epoch seconds', 'iso | %d.%m.%Y', 'a;b' or '{JSON_LIST}'",
        got=repr(text),
    )


def as_written(inferred: Mapping[str, Inferred], written: Mapping[str, str]) -> dict[str, Inferred]:
    """What was inferred of columns, with other ways of writing for some of them; "" is the plain one.

    Raises:
        UsageError: one is no way of writing.
        SchemaError: one is for a column that is not there.
    """
    found = dict(inferred)
    for name, text in written.items():
        if name not in found:
            near = difflib.get_close_matches(name, list(found), n=1)
            raise SchemaError(
                f"a way of writing for a column that is not there: {name!r}",
                expected="one of " + ", ".join(map(repr, found)),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        found[name] = _written(found[name], text)
    return found


def _written(found: Inferred, text: str) -> Inferred:
    if text == found.written:
        return found
    if not text:
        if found.kind is Role.list:
            return Inferred(Role.category, Role.category, "no lists, as was said")
        return replace(found, written="", reason="written in the plain way, as was said")
    kind, way = kind_of_way(text), "" if text == ISO else text
    reason = f"written like {text}, as was said"
    if ROLE_TYPES.get(found.kind) == ROLE_TYPES[kind]:
        return replace(found, written=way, reason=reason)
    return Inferred(kind, kind, reason, way)


def written_numbers(texts: pa.Array, way: str) -> Cells:
    """Texts without surrounding blanks as float64.

    Example:
        >>> written_numbers(pa.array(["1.200,5", "7.5"]), "1.234,5").values.to_pylist()
        [1200.5, None]
    """
    if not way:
        return number_cells(texts)
    if way == CLOCK:
        return clock_cells(texts)
    return cells_of(texts, numbers_like(texts, way))


def list_cells(texts: pa.Array, way: str) -> Cells:
    """Texts without surrounding blanks as lists of texts; blanks around items, and empty items, are no part of them.

    Example:
        >>> list_cells(pa.array(["Drama| Comedy", "Drama|"]), "a|b").values.to_pylist()
        [['Drama', 'Comedy'], ['Drama']]
        >>> list_cells(pa.array(['["a", "b"]', "[]", "a"]), '["a","b"]').values.to_pylist()
        [['a', 'b'], [], None]
    """
    if way == JSON_LIST:
        good = pc.match_substring_regex(texts, _JSON)
        inner = pc.replace_substring_regex(texts, r"""^\[\s*['"]?|['"]?\s*\]$""", "")
        items = pc.split_pattern_regex(inner, r"""["']\s*,\s*["']""")
        lists = pl.Series(values=pc.if_else(good, items, pa.scalar(None, items.type)))
    else:
        lists = pl.Series(values=pc.split_pattern(texts, way[1:-1].strip() or way[1:-1]))
    frame = pl.DataFrame({"list": lists})
    clean = pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    values = frame.select(pl.col("list").list.eval(clean))["list"].to_arrow().cast(pa.list_(pa.string()))
    return cells_of(texts, values)


def find_list_way(present: pa.Array) -> tuple[str, str] | None:
    """How lists of codes are written in texts that are such lists, and why they are taken for lists: most have the
    mark, and few short codes make up many different lists.

    Example:
        >>> genres = [f"{a}|{b}" for a in ("Drama", "War", "Crime", "Music") for b in ("Comedy", "Horror", "Action")]
        >>> find_list_way(pa.array(genres * 3))
        ('a|b', '7 codes in 12 combinations, with | between them')
        >>> find_list_way(pa.array(["one; two"] * 30))
    """
    if len(present) < _FEW:
        return None
    head = present[:200]
    for way in (JSON_LIST, *(f"a{mark}b" for mark in _MARKS)):
        has = pc.match_substring_regex(head, _JSON) if way == JSON_LIST else pc.match_substring(head, way[1:-1])
        least = 0.99 if way == JSON_LIST else 0.5
        if pc.mean(has.cast(pa.float64())).as_py() >= least and (why := _why_lists(present, way)):
            return way, why
    return None


def _why_lists(present: pa.Array, way: str) -> str:
    lists = list_cells(present, way)
    if lists.bad is not None and lists.bad.mean() > 0.01:
        return ""
    items = pc.list_flatten(lists.values)
    codes, combinations = items.unique(), len(present.unique())
    if not len(codes) or pc.max(pc.utf8_length(codes)).as_py() > 60 or pc.mean(pc.utf8_length(codes)).as_py() > 30:
        return ""
    longer = pc.mean(pc.greater(pc.list_value_length(lists.values), 1).cast(pa.float64())).as_py()
    if longer < 0.5 or len(items) < 5 * len(codes) or combinations < max(3, len(codes)):
        return ""
    between = "as JSON writes them" if way == JSON_LIST else f"with {way[1:-1]} between them"
    return f"{len(codes):,} codes in {combinations:,} combinations, {between}"
