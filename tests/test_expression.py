"""Expressions: what they compute against Python and DuckDB, and where their complaints point."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import expression
from penstock.errors import PenstockError, SchemaError, UsageError
from penstock.expression import parse
from penstock.expression_functions import FUNCTIONS
from penstock.expression_parser import MOST_CHARACTERS, MOST_NESTED, MOST_OPERATORS
from penstock.schema import Field, Role, Schema

SCHEMA = Schema(
    (
        Field("x", pa.float64(), Role.number),
        Field("y", pa.float32(), Role.number),
        Field("n", pa.float64(), Role.integer),
        Field("i", pa.int64(), Role.integer),
        Field("code", pa.int32(), Role.category),
        Field("flag", pa.bool_(), Role.boolean),
        Field("color", pa.string(), Role.category),
        Field("note", pa.string(), Role.text),
        Field("at", pa.timestamp("us"), Role.time),
        Field("on", pa.date32(), Role.time),
        Field("*", pa.float64(), Role.number),
        Field("^a$", pa.float64(), Role.number),
        Field("", pa.float64(), Role.number),
        Field('say "hi"', pa.float64(), Role.number),
        Field("größe", pa.float64(), Role.number),
        Field("if", pa.float64(), Role.number),
    )
)
ROWS: dict[str, list[Any]] = {
    "x": [-7.5, 0.0, None, 49.0],
    "y": [0.5, 2.0, 3.0, None],
    "n": [3.0, -2.0, 0.0, None],
    "i": [1, 2, None, 4],
    "code": [0, 1, None, 1],
    "flag": [True, False, None, True],
    "color": ["red", "Blue", None, "é"],
    "note": [" a b ", "it's", None, ""],
    "at": [datetime(2026, 11, 20, 8, 30, 59), datetime(1969, 12, 31, 23), None, datetime(2024, 2, 29)],
    "on": [datetime(2026, 11, 20).date(), datetime(1969, 12, 31).date(), None, datetime(2024, 2, 29).date()],
    "*": [1.0, 2.0, 3.0, 4.0],
    "^a$": [5.0, 6.0, 7.0, 8.0],
    "": [9.0, 9.0, 9.0, 9.0],
    'say "hi"': [1.0, 1.0, 1.0, 1.0],
    "größe": [2.0, 2.0, 2.0, 2.0],
    "if": [3.0, 3.0, 3.0, 3.0],
}


def computed(text: str, rows: dict[str, list[Any]] = ROWS) -> list[Any]:
    typed = parse(text).typed(SCHEMA)
    arrow = SCHEMA.to_arrow()
    frame = pl.DataFrame(
        [pl.Series(f"c{i}", pa.array(rows[name], arrow.field(name).type)) for i, name in enumerate(rows)]
    )
    inputs = {name: pl.col(f"c{i}") for i, name in enumerate(rows)}
    out = frame.select(frame.to_series(0).alias("height"), typed.to_polars(inputs).alias("out"))["out"]
    assert pa.types.is_float64(typed.type) == (out.dtype == pl.Float64)
    assert typed.role is not Role.integer or all(v is None or v.is_integer() for v in out.to_list())
    return out.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + 1", [-6.5, 1.0, None, 50.0]),
        ("-x ** 2", [-56.25, 0.0, None, -2401.0]),
        ("(-x) ** 2", [56.25, 0.0, None, 2401.0]),
        ("2 ** 3 ** 2", [512.0] * 4),
        ("x // 49", [-1.0, 0.0, None, 1.0]),
        ("x % 4", [0.5, 0.0, None, 1.0]),
        ("x % -4", [-3.5, 0.0, None, -3.0]),
        ("8 / n", [8 / 3, -4.0, None, None]),
        ("n / 0", [None] * 4),
        ("n % 0", [None] * 4),
        ("n // 0", [None] * 4),
        ("1 / (n * 1e308 * 10)", [None, None, None, None]),
        ("x ** 0.5", [None, 0.0, None, 7.0]),
        ("n ** 0", [1.0, 1.0, 1.0, None]),
        ("1 + 2 * 3 - 4 / 2", [5.0] * 4),
        ("i / 2", [0.5, 1.0, None, 2.0]),
        ("y * 2", [1.0, 4.0, 6.0, None]),
        ("log(x)", [None, None, None, math.log(49)]),
        ("log10(n)", [math.log10(3), None, None, None]),
        ("log1p(n)", [math.log1p(3), None, 0.0, None]),
        ("exp(x * 1000)", [0.0, 1.0, None, None]),
        ("sqrt(x)", [None, 0.0, None, 7.0]),
        ("abs(x)", [7.5, 0.0, None, 49.0]),
        ("sign(x)", [-1.0, 0.0, None, 1.0]),
        ("sin(n) ** 2 + cos(n) ** 2 > 0.999", [True, True, True, None]),
        ("tan(0)", [0.0] * 4),
        ("round(x)", [-8.0, 0.0, None, 49.0]),
        ("round(n / 3 * 2.5, 2)", [2.5, -1.67, 0.0, None]),
        ("round(2.5)", [2.0] * 4),
        ("floor(x)", [-8.0, 0.0, None, 49.0]),
        ("ceil(x)", [-7.0, 0.0, None, 49.0]),
        ("min(x, n, 1)", [-7.5, -2.0, 0.0, 1.0]),
        ("max(x, n)", [3.0, 0.0, 0.0, 49.0]),
        ("clip(x, -1, 10)", [-1.0, 0.0, None, 10.0]),
        ("clip(x, null, 10)", [-7.5, 0.0, None, 10.0]),
        ("coalesce(x, n, -1)", [-7.5, 0.0, 0.0, 49.0]),
        ("if(x > 0, 'pos', 'not')", ["not", "not", "not", "pos"]),
        ("case when x < 0 then -1 when x = 0 then 0 end", [-1.0, 0.0, None, None]),
        ("CASE WHEN color = 'red' THEN color ELSE 'other' END", ["red", "other", "other", "other"]),
        ("is_missing(color)", [False, False, True, False]),
        ("is_missing(code) and code is null", [False, False, True, False]),
        ("x is null", [False, False, True, False]),
        ("x is not null and not flag", [False, True, False, False]),
        ("flag and null", [None, False, None, None]),
        ("flag or null", [True, None, None, True]),
        ("flag = true", [True, False, None, True]),
        ("x in (0, 49.0)", [False, True, None, True]),
        ("color not in ('red', 'é')", [False, True, None, False]),
        ("x between -7.5 and 0", [True, True, None, False]),
        ("x not between 0 and 50", [True, False, None, False]),
        ("color <> 'red'", [False, True, None, True]),
        ("color < 'a'", [False, True, None, False]),
        ("length(color)", [3.0, 4.0, None, 1.0]),
        ("lower(color)", ["red", "blue", None, "é"]),
        ("upper(color)", ["RED", "BLUE", None, "É"]),
        ("trim(note)", ["a b", "it's", None, ""]),
        ("contains(color, 'e')", [True, True, None, False]),
        ("contains(note, '.')", [False, False, None, False]),
        ("starts_with(color, 'r')", [True, False, None, False]),
        ("ends_with(color, 'e')", [False, True, None, False]),
        ("replace(note, ' ', '_')", ["_a_b_", "it's", None, ""]),
        ("note = 'it''s'", [False, True, None, False]),
        ("concat(color, '-', note)", ["red- a b ", "Blue-it's", None, "é-"]),
        ("number(concat('12', replace(color, 'red', '.5e1')))", [125.0, None, None, None]),
        ("number(' -4.5 ') + 1", [-3.5] * 4),
        ("is_missing(number(replace('1_000', 'x', ''))) and number('inf') is null and number('') is null", [True] * 4),
        ("substring(color, 2)", ["ed", "lue", None, ""]),
        ("substring(color, 1, 2)", ["re", "Bl", None, "é"]),
        ("year(at)", [2026.0, 1969.0, None, 2024.0]),
        ("month(on) * 100 + day(on)", [1120.0, 1231.0, None, 229.0]),
        ("weekday(at)", [5.0, 3.0, None, 4.0]),
        ("hour(at) * 60 + minute(at)", [510.0, 1380.0, None, 0.0]),
        ("second(at)", [59.0, 0.0, None, 0.0]),
        ("at > date('2024-02-28')", [True, False, None, True]),
        ("days_between(date_trunc('week', at), date_trunc('day', at))", [4.0, 2.0, None, 3.0]),
        ("days_between(date_trunc('month', on), on)", [19.0, 30.0, None, 28.0]),
        ("hour(date_trunc('hour', at)) * 60 + minute(date_trunc('hour', at))", [480.0, 1380.0, None, 0.0]),
        ("month(date_trunc('quarter', at)) + year(date_trunc('year', at))", [2036.0, 1979.0, None, 2025.0]),
        ("date_trunc('week', date('2026-11-22')) = date('2026-11-16')", [True] * 4),
        ("days_between(date('2024-02-28'), on)", [996.0, -19782.0, None, 1.0]),
        ("days_between(at, on) * 24", [-8.5 - 59 / 3600, -23.0, None, 0.0]),
        ("year(max(at, date('2025-01-01')))", [2026.0, 2025.0, 2025.0, 2025.0]),
        ('"*" + "^a$" + "" + "say ""hi""" + größe + "if"', [21.0, 23.0, 25.0, 27.0]),
        ("if(flag, \"if\", -\n1)", [3.0, -1.0, -1.0, 3.0]),
        ("+n", [3.0, -2.0, 0.0, None]),
        (".5 + 1. + 1E2", [101.5] * 4),
    ],
)  # fmt: skip
def test_what_is_computed(text: str, expected: list[Any]) -> None:
    out = computed(text)
    assert len(out) == len(expected)
    for got, wanted in zip(out, expected, strict=True):
        if isinstance(wanted, float):
            assert got == pytest.approx(wanted, rel=1e-14, abs=1e-14), (text, out)
        else:
            assert got == wanted and type(got) is type(wanted), (text, out)


@pytest.mark.parametrize(
    ("text", "kind", "role"),
    [
        ("x", "number", Role.number),
        ("n + i * 2 - 1", "number", Role.integer),
        ("n / 2", "number", Role.number),
        ("n ** 2", "number", Role.number),
        ("min(n, 1.5)", "number", Role.number),
        ("if(flag, n, 2)", "number", Role.integer),
        ("length(note)", "number", Role.integer),
        ("color", "text", Role.category),
        ("if(note = 'a', 'x', color)", "text", Role.category),
        ("concat(color, note)", "text", Role.text),
        ("coalesce(note, 'none')", "text", Role.text),
        ("x > 1", "truth value", Role.boolean),
        ("coalesce(at, date('2020-01-01'))", "time", Role.time),
    ],
)
def test_kinds_and_roles(text: str, kind: str, role: Role) -> None:
    typed = parse(text).typed(SCHEMA)
    assert (typed.kind, typed.role) == (kind, role)


NUMBER = st.sampled_from(["x", "n", "i", "1", "2.5", "null"])
NUMBERS: Any = st.recursive(
    NUMBER,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner)
        | st.builds("coalesce({}, {})".format, inner, inner)
        | st.builds("(case when {} > 1 then {} else {} end)".format, inner, inner, inner)
        | st.builds("(-{})".format, inner)
    ),
    max_leaves=5,
)
TRUTHS: Any = st.recursive(
    st.builds(
        "{} {} {}".format, NUMBERS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), st.sampled_from(["x", "2"])
    )
    | st.builds("{} {}between {} and {}".format, NUMBERS, st.sampled_from(["", "not "]), NUMBERS, st.just("3"))
    | st.builds("{} {}in (1, 2.5, 0)".format, st.sampled_from(["x", "n"]), st.sampled_from(["", "not "]))
    | st.builds("{} is {}null".format, st.sampled_from(["x", "color", "flag"]), st.sampled_from(["", "not "]))
    | st.just("flag"),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "and not"]), inner)
        | st.builds("not {}".format, inner)
    ),
    max_leaves=4,
)
VALUES = st.none() | st.sampled_from([0.0, 1.0, -1.0, 2.0, 2.5])


@settings(max_examples=30, deadline=None)
@given(TRUTHS | NUMBERS.filter(lambda text: any(name in text for name in "xni")), st.data())
def test_logic_and_null_agree_with_duckdb(text: str, data: Any) -> None:
    rows = {
        **ROWS,
        "x": data.draw(st.lists(VALUES, min_size=4, max_size=4)),
        "n": data.draw(st.lists(VALUES.filter(lambda v: v != 2.5), min_size=4, max_size=4)),
        "flag": data.draw(st.lists(st.none() | st.booleans(), min_size=4, max_size=4)),
    }
    try:
        out = computed(text, rows)
    except SchemaError as error:  # of nulls alone there is nothing to compute
        assert "null" in str(error)
        return
    table = pa.table(
        {
            "x": pa.array(rows["x"], pa.float64()),
            "n": pa.array(rows["n"], pa.float64()),
            "i": pa.array(rows["i"], pa.float64()),
            "flag": pa.array(rows["flag"], pa.bool_()),
            "color": pa.array(rows["color"], pa.string()),
        }
    )
    expected = [
        row[0] for row in duckdb.connect().from_arrow(table).query("rows", f"select {text} from rows").fetchall()
    ]
    assert out == [float(v) if v is not None and not isinstance(v, bool) else v for v in expected], text


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["//", "%", "/"]), st.floats(-1e6, 1e6), st.floats(-1e3, 1e3).filter(bool))
def test_division_agrees_with_python_to_the_bit(sign: str, a: float, b: float) -> None:
    expected = {"//": lambda: a // b, "%": lambda: a % b, "/": lambda: a / b}[sign]()
    rows = {**ROWS, "x": [a] * 4, "n": [b] * 4}
    literal = f"{b!r}" if b >= 0 else f"({b!r})"
    for text in (f"x {sign} n", f"x {sign} {literal}"):
        assert computed(text, rows) == ([expected] * 4 if math.isfinite(expected) else [None] * 4)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "an operand is missing before the end"),
        ("x +", 4, "an operand is missing before the end"),
        ("x + * 2", 5, "an operand is missing before '*'"),
        ("(x", 3, r"'\)' is missing"),
        ("x)", 2, r"'\)' was not expected"),
        ("x y", 3, '"x y"'),
        ("2nd", 2, "can't begin with a digit"),
        ("1 < x < 3", 7, "comparisons don't chain"),
        ("'open", 1, "the quote is not closed"),
        ("x & y", 3, "write and"),
        ("x ^ 2", 3, r"write \*\*"),
        ("`x`", 1, "double quotes"),
        ("x; drop", 2, "';' means nothing"),
        ("x.y", 2, "means nothing|was not expected"),
        ("sqroot(x)", 1, "did you mean 'sqrt'"),
        ("read_csv('/etc/passwd')", 1, "there is no function"),
        ("__import__('os')", 1, "there is no function"),
        ("abs()", 1, "does not take 0 arguments"),
        ("abs(1, 2)", 1, "does not take 2 arguments"),
        ("if(x > 1, 2)", 1, r"if\(condition, yes, no\)"),
        ("min(x, )", 8, "an operand is missing"),
        ("x is 3", 6, "'null' is missing"),
        ("x not 3", 7, "'between' is missing"),
        ("x in 3", 6, r"'\(' is missing"),
        ("x between 1 or 2", 13, "'and' is missing"),
        ("case x when 1 then 2 end", 6, "'when' is missing"),
        ("case when x > 1 then 2", 23, "'end' is missing"),
        ("1e999", 1, "too large"),
        ("x\n+ )", 5, "line 2, position 3"),
        ("x \x00 y", 3, "means nothing"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused_at_its_place(text: str, position: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(text)
    message = str(caught.value)
    if "\n" not in text:
        assert f"at position {position}:" in message
    lines = message.splitlines()
    caret = next(i for i, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret].index("^") - 12 == (position - 1 if "\n" not in text else 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xx + 1", "did you mean 'x'"),
        ("color = \"red\"", "single quotes: 'red'"),
        ("x = '3'", "this is a text"),
        ("color + 'a'", r"concat\(a, b\)"),
        ("at - on", r"days_between\(from, to\)"),
        ("at > '2026-01-01'", r"write date\('2026-01-01'\)"),
        ("x and flag", "compare it: x > 0"),
        ("flag + 1", r"write if\(condition, 1, 0\)"),
        ("flag < true", "no order"),
        ("code + 1", "can't be computed with"),
        ("coalesce(code, 1)", "can't be computed with"),
        ("not x", "'not' needs true or false"),
        ("-color", "'-' needs a number"),
        ("if(x, 1, 2)", "'if' needs true or false"),
        ("if(flag, 1, 'a')", "this is a text"),
        ("coalesce(x, 'a')", "this is a text"),
        ("min(color, 'a')", "numbers or times"),
        ("x in (1, 'a')", "this is a text"),
        ("x in (1, n)", "has to be constant"),
        ("x in (null)", "has to be constant"),
        ("x in ()", "at least one value"),
        ("null", "always null"),
        ("null = null", "write: x is null"),
        ("x between 'a' and 'b'", "this is a text"),
        ("round(x, 1.5)", "a whole number from 0"),
        ("round(x, n)", "a constant"),
        ("substring(color, 0)", "a whole number from 1"),
        ("replace(color, note, 'a')", "a constant"),
        ("date('yesterday')", "a date such as"),
        ("date('2026-01-01T00:00+01:00')", "a date such as"),
        ("date(color)", "a constant"),
        ("date_trunc('fortnight', at)", "one of 'minute', 'hour', 'day', 'week'"),
        ("date_trunc(color, at)", "a constant"),
        ("date_trunc(null, at)", "a constant"),
        ("date_trunc('day', color)", "needs a time"),
        ("year(x)", "'year' needs a time"),
        ("length(x)", "'length' needs a text"),
        ("length", r"a function has brackets: length\(text\)"),
    ],
)  # fmt: skip
def test_kinds_that_do_not_go_together_are_refused_at_their_place(text: str, words: str) -> None:
    with pytest.raises(SchemaError, match=f"at position .*(?s:.)*{words}"):
        parse(text).typed(SCHEMA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x + " * MOST_CHARACTERS, "too long"),
        ("(" * (MOST_NESTED + 1) + "x" + ")" * (MOST_NESTED + 1), "levels inside one another"),
        ("-" * 2000 + "x", "levels inside one another"),
        ("not " * 2000 + "flag", "levels inside one another"),
        ("x" + " ** x" * 1500, "levels inside one another"),
        ("x" + " + x" * (MOST_OPERATORS + 1), "operators in a row"),
        ("abs(" * 2000 + "x", "levels inside one another"),
        ("case when x > " * 100, "levels inside one another"),
    ],
)
def test_what_is_too_deep_or_too_long_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text)


def test_what_is_just_deep_and_long_enough_is_computed() -> None:
    assert computed("abs(" * (MOST_NESTED - 1) + "x" + ")" * (MOST_NESTED - 1)) == [7.5, 0.0, None, 49.0]
    assert computed("n" + " + 1" * MOST_OPERATORS) == [203.0, 198.0, 200.0, None]
    deep = "x"
    for _ in range(20):  # a part that was used twice by what is around it would be there a million times
        deep = f"if({deep} between 0 and 1, clip({deep[:0]}x, 0, 1), x) % 5"
    assert computed(deep)[1] == 0.0


@pytest.mark.parametrize(
    "text", ["x + 0", "0 + x", "x - 0", "x * 1", "x / 1", "x ** 1", "-x", "x * 0", "0 - x", "x / 3"]
)
def test_a_row_alone_gives_the_bits_that_it_gives_among_others(text: str) -> None:
    values = [-0.0, 0.0, 1 / 3, -1e-310, 1e308]
    together = computed(text, {**{name: rows[:1] * 5 for name, rows in ROWS.items()}, "x": values})
    alone = [computed(text, {**{name: rows[:1] for name, rows in ROWS.items()}, "x": [value]})[0] for value in values]
    assert list(map(repr, together)) == list(map(repr, alone))


def test_a_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="an expression is a text"):
        parse(3)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.text("xny()+-*/'\" \n,.=<>1_aif\x00é%", max_size=30))
def test_any_text_is_computed_or_refused_by_an_error_of_ours(text: str) -> None:
    try:
        computed(text)
    except PenstockError as error:
        assert "position" in str(error)


def test_an_expression_says_what_it_reads_and_what_it_is() -> None:
    written = parse('"say ""hi""" * x + x')
    assert written.columns == ('say "hi"', "x")
    assert written == parse('"say ""hi""" * x + x')
    field = written.typed(SCHEMA).field("new")
    assert (field.name, field.type, field.role) == ("new", pa.float64(), Role.number)
    assert field.reason == '= "say ""hi""" * x + x'


def test_every_function_is_explained() -> None:
    explained = set(re.findall(r"\w+", expression.__doc__ or ""))
    assert set(FUNCTIONS) <= explained
