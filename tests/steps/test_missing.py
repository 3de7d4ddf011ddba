"""Rows with nulls: dropped or rejected, counted, and left alone when predicting."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch, Count
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.missing import DropMissing, RejectMissing
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema(
    (
        Field("x", pa.float64(), Role.number),
        Field("color", pa.string(), Role.category),
        Field("words", pa.list_(pa.string()), Role.list),
        Field("label", pa.string(), Role.target),
    )
)
ROW = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats(-1, 1),
        "color": st.none() | st.sampled_from(["", "red"]),
        "words": st.none() | st.just([]) | st.just(["a"]),
        "label": st.none() | st.just("yes"),
    }
)


def as_batch(rows: list[dict[str, Any]]) -> Batch:
    return batch_of(SCHEMA, {name: [row[name] for row in rows] for name in SCHEMA.names})


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, max_size=10), st.sampled_from(["any", "all"]), st.sampled_from([DropMissing, RejectMissing]))
def test_the_rows_that_stay_are_those_that_pandas_keeps(rows: list[dict[str, Any]], how: Any, kind: Any) -> None:
    names = ["x", "color", "words"]
    frame = pd.DataFrame(rows, columns=list(SCHEMA.names), dtype=object)
    expected = frame.dropna(how=how, subset=names).index.tolist()
    batch = as_batch(rows)
    out = run_step(fit_step(kind(names, how), SCHEMA, [batch]), SCHEMA, batch, Use("train"))
    assert out.keys.rows.tolist() == expected
    gone = len(rows) - len(expected)
    dropped, rejected = (gone, 0) if kind is DropMissing else (0, gone)
    assert out.counts == (Count(kind.name, rows_in=len(rows), out=len(expected), dropped=dropped, rejected=rejected),)
    assert (0 if out.rejected is None else out.rejected.num_rows) == rejected


def test_a_rejected_row_says_which_column_is_at_fault() -> None:
    batch = as_batch([{"x": 1.0, "color": None, "words": None, "label": "yes"}])
    out = run_step(fit_step(RejectMissing(["x", "color", "words"]), SCHEMA, []), SCHEMA, batch, Use("fit"))
    assert out.rejected is not None
    (row,) = out.rejected.to_pylist()
    assert (row["step"], row["column"], row["code"], row["reason"]) == (
        "reject_missing",
        "color",
        "missing",
        "the value is missing",
    )
    both = run_step(fit_step(RejectMissing(["color", "words"], "all"), SCHEMA, []), SCHEMA, batch, Use("fit"))
    assert both.rejected is not None
    (row,) = both.rejected.to_pylist()
    assert (row["column"], row["reason"]) == (None, "all values are missing: 'color', 'words'")


@pytest.mark.parametrize("kind", [DropMissing, RejectMissing])
def test_when_predicting_rows_stay_unless_asked_and_the_target_is_never_looked_at(kind: Any) -> None:
    rows = [
        {"x": None, "color": "a", "words": [], "label": None},
        {"x": 1.0, "color": "a", "words": [], "label": None},
    ]
    batch = as_batch(rows)
    for step, left in ((kind(["x", "label"]), [0, 1]), (kind(["x", "label"], when_predicting=True), [1])):
        fitted = fit_step(step, SCHEMA, [])
        assert run_step(fitted, SCHEMA, batch, Use("predict")).keys.rows.tolist() == left
        assert run_step(fitted, SCHEMA, batch, Use("train")).keys.rows.tolist() == []
    only = fit_step(kind("label", "all", when_predicting=True), SCHEMA, [])
    assert len(run_step(only, SCHEMA, batch, Use("predict"))) == 2


def test_the_inverse_leaves_the_rows_as_they_are() -> None:
    batch = as_batch([{"x": 1.0, "color": "a", "words": [], "label": "yes"}])
    fitted = fit_step(DropMissing("x"), SCHEMA, [])
    assert fitted.inverse(batch).columns.equals(batch.columns)


@pytest.mark.parametrize("kind", [DropMissing, RejectMissing])
def test_wrong_arguments_are_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=f"{kind.name}: how"):
        kind("x", "some")
    with pytest.raises(SchemaError, match="no column is met"):
        kind("nope").touches(SCHEMA)
