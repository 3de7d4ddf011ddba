"""Derived columns: their fields, and what is refused. What expressions compute is in `test_expression.py`."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import definition_from_json, definition_to_json, parse_config
from penstock.errors import ConfigError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.derive import Derive
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema(
    (
        Field("weight", pa.float64(), Role.number),
        Field("height", pa.float32(), Role.number),
        Field("color", pa.string(), Role.category),
        Field("at", pa.timestamp("us"), Role.time),
        Field("label", pa.float64(), Role.target, values=Role.number),
    )
)
ROWS = {
    "weight": [80.0, None],
    "height": [2.0, 1.5],
    "color": ["red", None],
    "at": [datetime(2026, 11, 20), None],
    "label": [1.0, 2.0],
}


def test_new_columns_come_last_and_replaced_ones_stay_in_place() -> None:
    step = Derive({"bmi": "weight / height ** 2", "height": "height * 100", "tall": "height > 1.8"})
    batch = batch_of(SCHEMA, ROWS)
    out = run_step(fit_step(step, SCHEMA, []), SCHEMA, batch, Use())
    assert out.columns.schema.names == ["weight", "height", "color", "at", "label", "bmi", "tall"]
    assert out.column("bmi").to_pylist() == [20.0, None]
    assert out.column("height").to_pylist() == [200.0, 150.0]
    assert out.column("tall").to_pylist() == [True, False]  # of the height that came in


def test_a_column_of_one_value_is_as_long_as_the_others() -> None:
    out = run_step(fit_step(Derive({"one": "1"}), SCHEMA, []), SCHEMA, batch_of(SCHEMA, ROWS), Use())
    assert out.column("one").to_pylist() == [1.0, 1.0]


def test_what_a_column_is_used_for_stays() -> None:
    schema = SCHEMA.put(Field("weight", pa.float64(), Role.weight, values=Role.number))
    fitted = fit_step(Derive({"weight": "weight * 2"}), schema, [])
    assert (fitted.schema["weight"].role, fitted.schema["weight"].kind) == (Role.weight, Role.number)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=20))
def test_arithmetic_agrees_with_pandas_to_the_bit(pairs: list[tuple[float, float]]) -> None:
    schema = Schema((Field("a", pa.float64(), Role.number), Field("b", pa.float64(), Role.number)))
    frame = pd.DataFrame(pairs, columns=["a", "b"])
    batch = batch_of(schema, {"a": frame["a"].tolist(), "b": frame["b"].tolist()})
    for text in ("a * 3 - b", "(a + b) / 7", "a // 3 + b % 3", "a / b", "-a * -b / 49"):
        with np.errstate(all="ignore"):
            expected = frame.eval(text, engine="python").to_numpy()
        out = run_step(fit_step(Derive({"c": text}), schema, []), schema, batch, Use()).column("c")
        wanted = [value if np.isfinite(value) else None for value in expected.tolist()]
        assert out.to_pylist() == wanted, text


def test_the_target_is_not_read() -> None:
    with pytest.raises(SchemaError, match=r"reads what is to be predicted(?s:.)*'label'"):
        Derive({"leak": "label + 1"}).touches(SCHEMA)


def test_complaints_name_the_column_and_the_place() -> None:
    with pytest.raises(UsageError, match=r"'b': at position 4: an operand is missing"):
        Derive({"a": "weight", "b": "1 +"})
    with pytest.raises(SchemaError, match=r"step 'derive', column 'b': at position 1: no column 'wight'"):
        Derive({"b": "wight + 1"}).touches(SCHEMA)
    for wrong in ({}, None, {1: "weight"}, {"a": 3}):
        with pytest.raises(UsageError, match="derive: columns"):
            Derive(wrong)  # type: ignore[arg-type]


def test_expressions_stand_in_a_pipeline_file() -> None:
    text = "steps:\n  - derive:\n      columns:\n        bmi: weight / height ** 2\n        ok: \"color = 'red'\"\n"
    (step,) = parse_config(text, "p.yaml").steps
    assert step == Derive({"bmi": "weight / height ** 2", "ok": "color = 'red'"})
    assert definition_from_json("steps", definition_to_json(step)) == step
    with pytest.raises(ConfigError, match=r"p.yaml:4.*'bmi': at position 10"):
        parse_config(text.replace("height ** 2", ") ** 2"), "p.yaml")
