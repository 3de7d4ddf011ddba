"""Spellings of one category are merged, by hand-made cases and by properties; what may be right is left alone."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.spellings import FittedMergeSpellings, MergeSpellings
from penstock.steps.typing_errors import one_edit_apart, typing_errors
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema((Field("c", pa.string(), Role.category),))
CITIES = ("birmingham", "montgomery", "huntsville", "tuscaloosa", "gadsden", "anniston")


def rows(values: list[Any]) -> Batch:
    return batch_of(SCHEMA, {"c": values})


def fitted_to(values: list[Any], **arguments: Any) -> FittedMergeSpellings:
    fitted = fit_step(MergeSpellings("c", **arguments), SCHEMA, [rows(values)])
    assert isinstance(fitted, FittedMergeSpellings)
    return fitted


def applied(values: list[Any], seen: list[Any] | None = None, **arguments: Any) -> list[Any]:
    fitted = fitted_to(values if seen is None else seen, **arguments)
    return fitted.transform(rows(values), Use()).column("c").to_pylist()


# ---------------------------------------------------------------------- the same key


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["New York"] * 3 + ["new york", "NEW-YORK", "New  York."], ["New York"] * 6),
        (["O'Brien"] * 2 + ["OBrien", "O’Brien"], ["O'Brien"] * 4),
        (["Café", "Cafe\u0301", "CAFÉ", "CAFÉ", "Cafe"], ["CAFÉ"] * 4 + ["Cafe"]),
        (["Straße", "Straße", "STRASSE"], ["Straße"] * 3),
        (["Tokyo", "Tokyo", "Ｔｏｋｙｏ", "北京", "北京 "], ["Tokyo"] * 3 + ["北京"] * 2),
        (["a b c d", "a-b-c-d", "a b c d"], ["a b c d"] * 3),
        (["a_b_c", "a b c", "a b c_"], ["a b c"] * 3),
        (["yes", "Yes"], ["Yes"] * 2),  # of equally frequent ones the least text
    ],
)
def test_spellings_that_differ_in_case_signs_and_quotes_are_one(values: list[str], expected: list[str]) -> None:
    assert applied(values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ["A+", "A-", "A"],
        ["C", "C#", "C++"],
        ["<=50K", ">50K"],
        ["1.5", "15", "1-5"],
        ["2024-01-02", "2024-01-20"],
        ["A-1", "A1", "A 1"],
        ["106", "10⁶", "m2", "m²"],
        ["71/2", "7½"],
        ["symptomatic", "asymptomatic"],
        ["Austria", "Australia"],
        ["male", "female", "Male?"],
        ["+", "-", "--", ".", ""],
        ["type i", "type ii", "type iii"],
        ["hepatitis a", "hepatitis b", "hepatitis c", "hepatitis d"],
        ["soltero", "soltera", "casado", "casada", "viudo", "viuda", "separado", "separada"],
        ["工商银行上海分行", "农商银行上海分行", "招商银行上海分行", "华商银行上海分行"],
        ["A1234567", "A1234576", "A1234566", "A1234577"],
    ],
)
def test_values_that_mean_different_things_are_never_merged(values: list[str]) -> None:
    seen = [value for place, value in enumerate(values) for _ in range(1 if place % 2 else 50)]
    assert applied(values, seen) == values


def test_case_in_short_or_numbered_codes_is_merged_only_where_it_is_rare() -> None:
    assert applied(["m", "M", "5m", "5M"], ["m"] * 30 + ["M"] * 20 + ["5m"] * 9 + ["5M"]) == ["m", "M", "5m", "5M"]
    assert applied(["m", "M", "5m", "5M"], ["m"] * 30 + ["M"] * 3 + ["5m"] * 10 + ["5M"]) == ["m", "m", "5m", "5m"]


def test_a_value_that_was_not_seen_is_merged_by_its_key_but_for_codes() -> None:
    seen = ["New York", "B52"]
    assert applied(["NEW YORK", "Paris", "b52", None], seen) == ["New York", "Paris", "b52", None]


# ---------------------------------------------------------------------- typing errors


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("birminghxm", "birmingham"),  # another letter
        ("montgomry", "montgomery"),  # one left out
        ("huntsvlile", "huntsville"),  # two swapped
        ("tuscalloosa", "tuscaloosa"),  # one added
        ("tusca loosa", "tuscaloosa"),  # a space
    ],
)
def test_typing_errors_are_merged_where_the_rare_values_are_such(wrong: str, right: str) -> None:
    others = ["gadxden", "annixton", "gadsdden"]
    seen = [*CITIES * 20, wrong, *others]
    assert applied([wrong, *others], seen) == [right, "gadsden", "anniston", "gadsden"]
    assert applied([wrong, *others], seen, typing_errors=False) == [wrong, *others]
    assert applied([wrong], [*CITIES * 20, wrong, others[0]]) == [wrong], "two are too few to tell by"
    assert applied([wrong], [*CITIES * 9, wrong, *others]) == [wrong], "no other is ten times as frequent"


def test_an_error_in_each_word_is_one_value() -> None:
    seen = (
        ["heart attack"] * 90
        + ["heart failure"] * 60
        + ["hexrt attxck", "heaxt attack", "heart failuxe", "heart failrue"]
    )
    expected = ["heart attack", "heart attack", "heart failure", "heart failure"]
    assert applied(seen[-4:], seen) == expected


def test_rare_values_of_a_clean_column_stay() -> None:
    rare = ["Niger", "Nigeria", "Slovakia", "Slovenia", "Iran", "Iraq", "Mali", "Malta", "Germania", "Frence"]
    assert applied(rare, ["Germany"] * 50 + ["France"] * 40 + rare) == rare


def test_a_typing_error_near_two_values_is_left_alone() -> None:
    right = ["marten", "martin", "robert", "thomas"]
    wrong = ["martxn", "robxrt", "thxmas", "roberrt"]
    assert applied(wrong, [*right * 30, *wrong]) == ["martxn", "robert", "thomas", "robert"]


def test_the_greatest_bound_on_what_is_rare_decides() -> None:
    totals = {"birmingham": 900, "montgomery": 900, "birminghxm": 1, "montgxmery": 1, "birmxngham": 2}
    known = {"huntsville": 40, "tuscaloosa": 41, "gadsden": 42, "birmimgham": 45}
    found = typing_errors({**totals, **known}, ratio=10, evidence=0.6)
    # Up to 2 rows all three are errors; up to 45 rows four of seven look like it, which is too few.
    assert [error.value for error in found] == ["birminghxm", "birmxngham", "montgxmery"]
    found = typing_errors({**totals, **known}, ratio=10, evidence=0.5)
    assert [error.value for error in found] == ["birmimgham", "birminghxm", "birmxngham", "montgxmery"]


def test_errors_of_errors_are_not_followed() -> None:
    totals = {
        "birmingham": 1000,
        "birminghxm": 100,
        "birxinghxm": 1,
        "montgomery": 500,
        "mxntgomery": 1,
        "montgxmery": 1,
    }
    found = {error.value: error.meant for error in typing_errors(totals, ratio=10, evidence=0.5)}
    assert found == {"birminghxm": "birmingham", "mxntgomery": "montgomery", "montgxmery": "montgomery"}


def damerau(one: str, other: str) -> int:
    """The optimal string alignment distance, by its recurrence (Damerau 1964; Wagner and Fischer 1974)."""
    rows = len(one) + 1
    table = [[i + j if 0 in (i, j) else 0 for j in range(len(other) + 1)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, len(other) + 1):
            cost = int(one[i - 1] != other[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + cost)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
@settings(max_examples=300, deadline=None)
def test_one_edit_is_a_distance_of_one(one: str, other: str) -> None:
    assert one_edit_apart(one, other) == (damerau(one, other) == 1)


@given(st.dictionaries(st.text("ab", min_size=5, max_size=8), st.integers(1, 60), max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_neighbour_is_missed(totals: dict[str, int]) -> None:
    """What looks like an error, found by comparing all with all."""
    near = {value: [o for o in totals if damerau(value, o) == 1 and totals[o] >= 3 * totals[value]] for value in totals}
    alone = {value: others[0] for value, others in near.items() if len(others) == 1}
    expected = {
        value: other
        for value, other in alone.items()
        if other not in alone and (value[0], value[-1]) == (other[0], other[-1])
    }
    found = {error.value: error.meant for error in typing_errors(totals, ratio=3, evidence=0.0)}
    assert found == (expected if len(alone) >= 3 else {})


# ---------------------------------------------------------------------- the step


@given(st.lists(st.none() | st.text("aAbB -.1", max_size=4), max_size=30), st.randoms())
@settings(max_examples=40, deadline=None)
def test_order_changes_nothing_twice_is_once_and_only_spellings_seen_come_out(values: list[Any], random: Any) -> None:
    out = applied(values)
    shuffled = random.sample(values, len(values))
    meant = dict(zip(values, out, strict=True))
    assert applied(shuffled, values) == applied(shuffled) == [meant[value] for value in shuffled]
    assert applied(out, values) == out
    assert set(out) <= set(values)
    assert [value is None for value in out] == [value is None for value in values]


def test_merging_states_in_any_order_gives_the_same_step() -> None:
    parts = [rows(["Ulm", "ULM"]), rows(["ulm", "ULM"]), rows(["Bern", None])]
    fitted = [fit_step(MergeSpellings("c"), SCHEMA, order) for order in permutations(parts)]
    assert all(one == fitted[0] for one in fitted)


def test_the_merges_are_told_with_counts_and_reasons() -> None:
    values = ["Ulm", "Ulm", "ULM", *CITIES * 20, "gadxden", "annixton", "gadsdden"]
    fitted = fitted_to(values)
    told = {merge.value: (merge.form, merge.count, merge.form_count, merge.reason) for merge in fitted.merges}
    assert told == {
        "ULM": ("Ulm", 1, 3, "the same but for case, signs or spaces"),
        "annixton": ("anniston", 1, 20, "one letter differs, and it is rare"),
        "gadsdden": ("gadsden", 1, 20, "one letter differs, and it is rare"),
        "gadxden": ("gadsden", 1, 20, "one letter differs, and it is rare"),
    }
    assert fitted.reason("c") == (
        "spellings merged: 3 one letter differs, and it is rare; 1 the same but for case, signs or spaces"
    )
    counted = Counter(values)
    assert sum(merge.count for merge in fitted.merges) == sum(counted[value] for value in told)


def test_names_are_no_categories() -> None:
    many = [f"name {n:05d}" for n in range(20_000)]
    assert applied(["NAME X", "Name X"], [*many[:-1], "Name X"]) == ["Name X", "Name X"]
    assert applied(["NAME X", "Name X"], [*many, "Name X"]) == ["NAME X", "Name X"]


def test_a_family_of_names_is_no_errors_of_one_of_them() -> None:
    letters = "abcdefghijkl"
    family = [f"product {a}{b}{c}xx" for a in letters for b in letters for c in letters]
    totals = {name: 50 if place % 3 else 1 for place, name in enumerate(family)}
    assert typing_errors(totals, ratio=10, evidence=0.0) == []


@pytest.mark.parametrize("values", [[], [None], [None] * 5, [""], ["one"], ["\x00"], ["a" * 100_000], ["ab " * 50_000]])
def test_little_and_odd_input_stays(values: list[Any]) -> None:
    assert applied(values) == values


@pytest.mark.parametrize("name", ["", "*", "^a$", "c:x", "表"])
def test_odd_names_of_columns_are_names(name: str) -> None:
    schema = Schema((Field(name, pa.string(), Role.category),))
    batch = batch_of(schema, {name: ["Ulm", "Ulm", "ULM"]})
    fitted = fit_step(MergeSpellings("categorical"), schema, [batch])
    assert fitted.transform(batch, Use()).column(name).to_pylist() == ["Ulm"] * 3


@pytest.mark.parametrize(
    "arguments",
    [{"ratio": 0.5}, {"ratio": float("nan")}, {"evidence": 1.5}, {"evidence": -0.1}, {"ratio": "2"}, {"ratio": True}],
)
def test_other_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"merge_spellings: {next(iter(arguments))}"):
        MergeSpellings("c", **arguments)


def test_numbers_are_refused() -> None:
    schema = Schema((Field("x", pa.float64(), Role.number),))
    with pytest.raises(SchemaError, match="column 'x'"):
        MergeSpellings("x").touches(schema)
