"""Choosing columns, and casts against Python's own."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.step import Use
from penstock.steps.columns import Cast, Drop, Rename, Select
from penstock.testing.steps import batch_of, fit_step, run_step

WIDE = Schema(
    (
        Field("id", pa.string(), Role.key),
        Field("age", pa.float64(), Role.integer),
        Field("income", pa.float64(), Role.number),
        Field("city", pa.string(), Role.category),
        Field("weight", pa.float64(), Role.weight),
        Field("label", pa.string(), Role.target, values=Role.category),
    )
)
TYPES: dict[str, tuple[pa.DataType, Role]] = {
    "number": (pa.float64(), Role.number),
    "text": (pa.string(), Role.text),
    "boolean": (pa.bool_(), Role.boolean),
    "time": (pa.timestamp("us"), Role.time),
}


def cast(values: list[Any], kind: str, to: Any) -> tuple[list[Any], Batch]:
    """What each value is cast to ("rejected" where its row is), and the batch that comes out."""
    schema = Schema((Field("x", *TYPES[kind]),))
    out = run_step(fit_step(Cast("x", to), schema, []), schema, batch_of(schema, {"x": values}))
    done: list[Any] = ["rejected"] * len(values)
    for row, value in zip(out.keys.rows.tolist(), out.column("x").to_pylist(), strict=True):
        done[row] = value
    return done, out


def test_select_keeps_what_is_chosen_and_what_a_model_learns_by() -> None:
    fitted = fit_step(Select(["income", "age"]), WIDE, [])
    assert fitted.schema.names == ("age", "income", "weight", "label")
    assert fit_step(Select(["id", "city"]), WIDE, []).schema.names == ("id", "city", "weight", "label")


def test_drop_leaves_out_what_is_named() -> None:
    fitted = fit_step(Drop(["numeric", "id"]), WIDE, [])
    assert fitted.schema.names == ("city", "weight", "label")
    batch = batch_of(WIDE, {name: [None] for name in WIDE.names})
    assert fitted.transform(batch, Use()).columns.schema.names == ["city", "weight", "label"]


@pytest.mark.parametrize("make", [Select, Drop])
def test_a_misspelt_column_is_refused_with_the_nearest_name(make: type[Select]) -> None:
    with pytest.raises(SchemaError, match="did you mean 'income'"):
        make("incme").touches(WIDE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=20))
def test_text_is_read_as_python_reads_it(values: list[float | None]) -> None:
    texts = [None if value is None else f" {value!r} " for value in values]
    done, _ = cast(texts, "text", "float64")
    assert done == values


@pytest.mark.parametrize("text", ["x", "", " ", "1,5", "inf", "-Infinity", "NaN", "1e400", "0x10", "1 2"])
@pytest.mark.parametrize("to", ["float32", "float64", "int32", "int64"])
def test_text_that_is_no_finite_number_is_rejected(text: str, to: str) -> None:
    done, out = cast([text, "1", None], "text", to)
    assert done == ["rejected", 1, None]
    assert out.rejected is not None
    reject = out.rejected.to_pylist()[0]
    assert (reject["code"], reject["column"], reject["value"]) == ("not_castable", "x", text)


def test_whole_numbers_are_exact_and_fractions_rejected() -> None:
    texts = ["3", "3.0", "1e3", "3.5", "9007199254740993", "9223372036854775808", "-0"]
    expected = [3, 3, 1000, "rejected", 9007199254740993, "rejected", 0]
    assert cast(texts, "text", "int64")[0] == expected
    assert cast([3.0, 3.5, 2.0**31, -(2.0**31), None], "number", "int32")[0] == [
        3,
        "rejected",
        "rejected",
        -(2**31),
        None,
    ]
    assert cast([2.0**63, 1e300, -(2.0**63)], "number", "int64")[0] == ["rejected", "rejected", -(2**63)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_float32_is_numpys_and_what_overflows_is_rejected(values: list[float]) -> None:
    with np.errstate(over="ignore"):
        expected = [float(np.float32(value)) for value in values]
    done, _ = cast(values, "number", "float32")
    assert done == [value if math.isfinite(value) else "rejected" for value in expected]


def test_truth_values() -> None:
    texts = ["true", " No", "YES", "0", "1", "false", "t", "2", None]
    assert cast(texts, "text", "boolean")[0] == [True, False, True, False, True, False, "rejected", "rejected", None]
    assert cast([0.0, 1.0, -0.0, 0.5, None], "number", "boolean")[0] == [False, True, False, "rejected", None]
    assert cast([True, False, None], "boolean", "float64")[0] == [1.0, 0.0, None]
    assert cast([True, False, None], "boolean", "int32")[0] == [1, 0, None]
    assert cast([True, False, None], "boolean", "category")[0] == ["true", "false", None]


def test_numbers_as_text_read_back_and_whole_ones_have_no_point() -> None:
    assert cast([7.0, -0.0, 0.5, None, 2.0**53 - 1], "number", "category")[0] == [
        "7",
        "0",
        "0.5",
        None,
        "9007199254740991",
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_a_number_as_text_is_the_same_number(values: list[float]) -> None:
    assert [float(text) for text in cast(values, "number", "text")[0]] == values


@settings(max_examples=60, deadline=None)
@given(st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), max_size=10))
def test_times_as_text_are_iso_and_read_back(values: list[datetime]) -> None:
    texts, _ = cast(values, "time", "text")
    assert [datetime.fromisoformat(text) for text in texts] == values
    assert cast([value.isoformat(" ") for value in values], "text", "time")[0] == values


def test_times_are_seconds_since_1970() -> None:
    moment = datetime(2024, 1, 31, 10, 0, 0, 250_000)
    seconds = moment.replace(tzinfo=UTC).timestamp()
    assert cast([moment, None, datetime(1969, 12, 31)], "time", "float64")[0] == [seconds, None, -86400.0]
    assert cast([moment, datetime(1970, 1, 2)], "time", "int64")[0] == ["rejected", 86400]
    assert cast([seconds, None, 1e12], "number", "time")[0] == [moment, None, "rejected"]


@pytest.mark.parametrize(
    "text", ["2024-13-01", "31.1.2024", "", "2024-01-31T25:00:00", "yesterday", "2024-01-31T10:00:00Z"]
)
def test_text_that_is_no_iso_time_is_rejected(text: str) -> None:
    assert cast([text, "2024-01-31"], "text", "time")[0] == ["rejected", datetime(2024, 1, 31)]


def test_a_time_survives_seconds_to_the_microsecond() -> None:
    times = [datetime(2024, 1, 1) + timedelta(microseconds=i * 999_983) for i in range(50)]
    seconds, _ = cast(times, "time", "float64")
    assert cast(seconds, "number", "time")[0] == times


@pytest.mark.parametrize(
    ("type_", "role"),
    [("float32", Role.number), ("int64", Role.integer), ("category", Role.category), ("text", Role.text)],
)
def test_the_role_follows_the_type_but_a_target_stays_one(type_: Any, role: Role) -> None:
    fitted = fit_step(Cast(["age", "label"], type_), WIDE, [])
    assert fitted.schema["age"].role == role
    assert (fitted.schema["label"].role, fitted.schema["label"].values) == (Role.target, role)


def test_codes_become_numbers_and_nothing_else() -> None:
    schema = Schema((Field("x", pa.int32(), Role.category, categories=("a",)),))
    fitted = fit_step(Cast("x", "float32"), schema, [])
    assert fitted.transform(batch_of(schema, {"x": [0, -1]}), Use()).column("x").to_pylist() == [0.0, -1.0]
    with pytest.raises(SchemaError, match="no cast of codes to text"):
        Cast("x", "text").touches(schema)


@pytest.mark.parametrize(("kind", "to"), [("time", "boolean"), ("boolean", "time")])
def test_casts_without_meaning_are_refused(kind: str, to: Any) -> None:
    with pytest.raises(SchemaError, match="there is no cast of"):
        Cast("x", to).touches(Schema((Field("x", *TYPES[kind]),)))


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UsageError, match="float64, int32"):
        Cast("x", "double")  # type: ignore[arg-type]


RENAMED = Schema((Field("a", pa.float64(), Role.number), Field("b", pa.string(), Role.category)))


def test_columns_are_renamed_in_their_places_and_back() -> None:
    batch = batch_of(RENAMED, {"a": [1.0, None], "b": ["x", "y"]})
    for names in ({"a": "*"}, {"a": "b", "b": "a"}, {"a": "a", "b": ""}):
        fitted = fit_step(Rename(names), RENAMED, [batch])
        out = run_step(fitted, RENAMED, batch)
        expected = [names.get(name, name) for name in ("a", "b")]
        assert out.columns.schema.names == expected
        assert [field.role for field in fitted.schema] == [Role.number, Role.category]
        assert [column.to_pylist() for column in out.columns.columns] == [[1.0, None], ["x", "y"]]
        assert fitted.inverse(out).columns.equals(batch.columns)


@pytest.mark.parametrize("names", [{}, None, {"a": 3}, {"a": "c", "b": "c"}])
def test_what_is_no_renaming_is_refused(names: Any) -> None:
    with pytest.raises(UsageError, match="rename: columns"):
        Rename(names)


def test_a_name_that_is_not_there_or_taken_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"no such column(?s:.)*did you mean 'aa'"):
        Rename({"aaa": "c"}).touches(RENAMED.put(Field("aa", pa.float64(), Role.number)))
    with pytest.raises(SchemaError, match=r"there already(?s:.)*'b'"):
        Rename({"a": "b"}).touches(RENAMED)
    with pytest.raises(SchemaError, match="a column of vectors keeps its name"):
        Rename({"v": "w"}).touches(RENAMED.put(Field("v", SPARSE, Role.vector, width=3)))


def test_lists_are_renamed_too() -> None:
    schema = Schema((Field("l", pa.list_(pa.string()), Role.list),))
    batch = batch_of(schema, {"l": [["a"], None, []]})
    out = run_step(fit_step(Rename({"l": "m"}), schema, []), schema, batch)
    assert out.columns.to_pydict() == {"m": [["a"], None, []]}
