"""Rules about cells: which rows fail which rule, against plain Python, and what is no rule."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.config import definition_from_json, definition_to_json, parse_config
from penstock.errors import ConfigError, DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.validate import Validate
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema(
    (
        Field("x", pa.float64(), Role.number),
        Field("n", pa.int32(), Role.integer),
        Field("truth", pa.bool_(), Role.boolean),
        Field("note", pa.string(), Role.text),
        Field("at", pa.timestamp("us"), Role.time),
        Field("", pa.float64(), Role.number),
        Field("label", pa.string(), Role.target),
    )
)


def outcome(
    column: str, rule: dict[str, Any], values: list[Any], purpose: Any = "train", **more: Any
) -> list[str | None]:
    """The code under which each value is rejected; None where its row stays."""
    batch = one_column(column, values)
    out = run_step(fit_step(Validate({column: rule}, **more), SCHEMA, []), SCHEMA, batch, Use(purpose))
    codes: list[str | None] = [None] * len(values)
    if out.rejected is not None:
        assert set(out.rejected["column"].to_pylist()) == {column}
        for row, code in zip(out.rejected["row"].to_pylist(), out.rejected["code"].to_pylist(), strict=True):
            codes[row] = code
    return codes


def one_column(column: str, values: list[Any]) -> Batch:
    return batch_of(SCHEMA, {name: values if name == column else [None] * len(values) for name in SCHEMA.names})


@pytest.mark.parametrize(
    ("column", "rule", "values", "expected"),
    [
        ("x", {"min": 0}, [0.0, -0.0, -1e-300, None], [None, None, "below_minimum", None]),
        ("x", {"above": 0}, [0.0, 1e-300, None], ["below_minimum", None, None]),
        ("x", {"max": 1.5}, [1.5, 1.6, None], [None, "above_maximum", None]),
        ("x", {"below": 1.5}, [1.5, 1.4, None], ["above_maximum", None, None]),
        ("x", {"not_null": True, "min": 0}, [None, -1.0, 1.0], ["missing", "below_minimum", None]),
        ("x", {"type": "integer"}, [1.0, 1.5, 1e300, None], [None, "wrong_type", None, None]),
        ("x", {"type": "boolean"}, [0.0, 1.0, 2.0], [None, None, "wrong_type"]),
        ("x", {"type": "number", "values": [1, 2.5]}, [1.0, 2.5, 2.0, None], [None, None, "not_allowed", None]),
        ("", {"max": 3}, [4.0], ["above_maximum"]),
        ("n", {"values": [1, 2], "min": 2}, [1, 2, 3], ["below_minimum", None, "not_allowed"]),
        ("truth", {"values": [True]}, [True, False, None], [None, "not_allowed", None]),
        ("note", {"values": ["a", ""]}, ["a", "", "A", None], [None, None, "not_allowed", None]),
        ("note", {"type": "number"}, ["1", " 2.5 ", "x", "", "inf", None], [None, None] + ["wrong_type"] * 3 + [None]),
        ("note", {"type": "integer", "min": 5}, ["5", "4", "5.5", "6.0"], [None, "below_minimum", "wrong_type", None]),
        ("note", {"type": "boolean"}, ["yes", "TRUE", "maybe"], [None, None, "wrong_type"]),
        ("note", {"type": "time", "min": "2020-01-01"}, ["2019-01-01", "2021-01-01", "1/1/21"],
         ["below_minimum", None, "wrong_type"]),
        ("note", {"pattern": "a|ab"}, ["a", "ab", "abc", "xab", "a\n", None], [None, None] + ["pattern"] * 3 + [None]),
        ("note", {"pattern": "(?i)[a-z]+@x"}, ["B@X", "b@", ""], [None, "pattern", "pattern"]),
        ("note", {"max_length": 2}, ["éé", "abc", "", None], [None, "too_long", None, None]),
        ("note", {"type": "text", "max_length": 0}, ["", "a"], [None, "too_long"]),
        ("at", {"below": "2026-01-01"}, [datetime(2025, 12, 31), datetime(2026, 1, 1)], [None, "above_maximum"]),
        ("at", {"type": "time", "min": "2026-01-01 10:00"}, [datetime(2026, 1, 1, 9)], ["below_minimum"]),
    ],
)  # fmt: skip
def test_each_rule_has_its_code(
    column: str, rule: dict[str, Any], values: list[Any], expected: list[str | None]
) -> None:
    assert outcome(column, rule, values) == expected
    assert outcome(column, rule, values, "predict") == expected


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["[0-9]{2,3}", "a.c", "(ab)*", "x?y+", "[^é]*"]),
    st.lists(st.none() | st.text("0129abcxyé\n", max_size=4), max_size=8),
)
def test_a_pattern_is_met_as_by_a_full_match_of_python(pattern: str, values: list[str | None]) -> None:
    expected = [None if one is None or re.fullmatch(pattern, one) else "pattern" for one in values]
    assert outcome("note", {"pattern": pattern}, values) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | st.floats(-2, 2), max_size=8), st.floats(-2, 2), st.floats(-2, 2))
def test_ranges_are_those_of_python(values: list[float | None], low: float, high: float) -> None:
    expected = [
        None if one is None else "below_minimum" if not one >= low else "above_maximum" if not one < high else None
        for one in values
    ]
    assert outcome("x", {"min": low, "below": high}, values) == expected


def test_a_row_is_rejected_once_with_its_value_and_reason() -> None:
    batch = batch_of(SCHEMA, {**{name: [None] for name in SCHEMA.names}, "x": [200.0], "n": [7]})
    step = Validate({"n": {"max": 5}, "x": {"max": 130}})
    out = run_step(fit_step(step, SCHEMA, []), SCHEMA, batch, Use("fit"))
    assert out.rejected is not None
    (row,) = out.rejected.to_pylist()
    assert (row["column"], row["value"], row["reason"]) == ("x", "200", "greater than 130")


def test_a_job_that_is_to_fail_fails_with_the_row() -> None:
    with pytest.raises(DataError, match=r"row 2, step 'validate', column 'x': greater than 130"):
        outcome("x", {"max": 130}, [1.0, 200.0, 300.0], on_failure="fail")
    assert outcome("x", {"max": 130}, [1.0, None], on_failure="fail") == [None, None]


def test_the_target_is_not_looked_at_when_predicting() -> None:
    assert outcome("label", {"not_null": True}, ["a", None]) == [None, "missing"]
    assert outcome("label", {"not_null": True}, ["a", None], "predict") == [None, None]


def test_a_rule_for_several_columns_holds_for_each() -> None:
    step = Validate({"numeric": {"min": 0}, "x": {"max": 1}})
    assert step.touches(SCHEMA).reads == ("x", "n", "")
    assert [(field.name, rule.min, rule.max) for field, rule in step.fit(SCHEMA, {}).ruled] == [
        ("x", 0, None),
        ("x", None, 1),
        ("n", 0, None),
        ("", 0, None),
    ]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "there are no rules"),
        ({"x": {}}, "'x': not a rule"),
        ({"x": 3}, "'x': not a rule"),
        ({"x": {"unique": True}}, "deduplicate"),
        ({"x": {"minn": 1}}, "did you mean 'min'"),
        ({"x": {"type": "float"}}, "type: not a type"),
        ({"x": {"min": "low"}}, "min: not a bound"),
        ({"x": {"min": math.nan}}, "min: not a bound"),
        ({"x": {"max": True}}, "max: not a bound"),
        ({"x": {"max": math.inf}}, "max: not a bound"),
        ({"x": {"values": "a"}}, "values: not a list"),
        ({"x": {"values": []}}, "nothing is allowed"),
        ({"x": {"values": [[1]]}}, "values: not a list"),
        ({"note": {"pattern": "("}}, "pattern: not a regular expression"),
        ({"note": {"pattern": "a)|(b"}}, "pattern: not a regular expression"),
        ({"note": {"pattern": "(?=a)"}}, "no look-around"),
        ({"note": {"pattern": r"(a)\1"}}, "no back references"),
        ({"note": {"pattern": "a" * 1001}}, "up to 1,000 characters"),
        ({"note": {"pattern": 3}}, "pattern: not a pattern"),
        ({"note": {"max_length": -1}}, "max_length: not a length"),
        ({"note": {"max_length": 1.5}}, "max_length: not a length"),
        ({"note": {"not_null": 1}}, "not_null: not a truth value"),
    ],
)
def test_what_is_no_rule_is_refused_when_the_step_is_made(rules: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Validate(rules)


@pytest.mark.parametrize(
    ("column", "rule", "words"),
    [
        ("nope", {"min": 0}, "no column is met"),
        ("x", {"type": "time"}, "never of type 'time'"),
        ("at", {"type": "number"}, "never of type 'number'"),
        ("truth", {"type": "text"}, "never of type 'text'"),
        ("note", {"min": 0}, "give its type"),
        ("x", {"min": "2020-01-01"}, "'min' is for times"),
        ("at", {"max": 3}, "'max' is for numbers"),
        ("x", {"pattern": "a"}, "for text"),
        ("x", {"max_length": 3}, "for text"),
        ("x", {"values": ["a"]}, "not of the column's type"),
        ("x", {"values": [True]}, "not of the column's type"),
        ("truth", {"values": [1]}, "not of the column's type"),
        ("note", {"values": [1]}, "not of the column's type"),
        ("at", {"values": ["2020-01-01"]}, "not of the column's type"),
    ],
)
def test_a_rule_that_does_not_go_with_the_column_is_refused(column: str, rule: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        Validate({column: rule}).touches(SCHEMA)


def test_on_failure_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="validate: on_failure"):
        Validate({"x": {"min": 0}}, "warn")  # type: ignore[arg-type]


def test_rules_stand_in_a_pipeline_file() -> None:
    text = """
steps:
  - validate:
      rules:
        age: {type: integer, min: 0, max: 130, not_null: true}
        color: {values: [red, 'yes'], pattern: '[a-z]+'}
      on_failure: fail
"""
    (step,) = parse_config(text, "p.yaml").steps
    rules = {
        "age": {"type": "integer", "min": 0, "max": 130, "not_null": True},
        "color": {"values": ["red", "yes"], "pattern": "[a-z]+"},
    }
    assert step == Validate(rules, "fail")
    assert definition_from_json("steps", definition_to_json(step)) == step
    with pytest.raises(ConfigError, match=r"p.yaml:5.*rules: 'age': no such rule(?s:.)*did you mean 'min'"):
        parse_config(text.replace("min:", "minn:"), "p.yaml")
