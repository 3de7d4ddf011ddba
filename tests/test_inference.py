"""Roles and tasks are inferred with reasons, and can be overridden."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from penstock.errors import SchemaError
from penstock.inference import ColumnSample, Inferred, infer_role, infer_task, make_schema, named_like_key, role_note
from penstock.schema import Field, Role
from penstock.sources.csv_types import infer_column

WORDS = ["red", "green", "blue"]
SENTENCES = [f"the quick brown fox number {i} jumps over the lazy dog" for i in range(100)]


@pytest.mark.parametrize(
    ("name", "values", "facts", "role"),
    [
        ("x", [1.5, 2.5, None], {}, Role.number),
        ("x", [1.0, 2.0, 2.0], {"whole": True}, Role.integer),
        ("x", [0.0, 1.0, 1.0], {"whole": True}, Role.integer),
        ("flag", [True, False], {}, Role.boolean),
        ("colour", WORDS * 40, {}, Role.category),
        ("colour", WORDS, {"stored_as_categories": True}, Role.category),
        ("note", SENTENCES, {}, Role.text),
        ("code", [f"K{i}" for i in range(200)], {}, Role.key),
        ("code", [f"K{i}" for i in range(20)], {}, Role.category),
        ("user_id", [1.0, 2.0, 7.0], {"whole": True}, Role.key),
        ("user_id", [1.0, 1.0, 7.0], {"whole": True}, Role.integer),
        ("score_id", [1.5, 2.5, 7.0], {}, Role.number),
        ("column_1", [0.0, 1.0, 2.0], {"whole": True}, Role.key),
        ("column_1", [0.0, 2.0, 1.0], {"whole": True}, Role.integer),
        ("x", [None, None], {}, Role.constant),
        ("x", [3.0, 3.0], {"complete": True}, Role.constant),
        ("x", [3.0, 3.0], {"complete": False}, Role.number),
        ("x", [3.0, None], {"complete": True}, Role.number),
    ],
)
def test_roles(name: str, values: list[Any], facts: dict[str, Any], role: Role) -> None:
    found = infer_role(ColumnSample(name, pa.array(values), **facts))
    assert found.role is role
    assert found.reason


def test_times_are_times() -> None:
    assert infer_role(ColumnSample("t", pa.array([0, 1], pa.timestamp("us")))).role is Role.time


@pytest.mark.parametrize(
    ("texts", "role", "kind"),
    [
        (["1", "2", "3"] * 30, Role.integer, Role.integer),
        (["1", "2.5", "3"] * 30, Role.number, Role.number),
        (["00501", "10001", "00501"] * 30, Role.category, Role.category),
        ([f"{i:05d}" for i in range(100)], Role.key, Role.category),
        ([str(2**60 + i % 7) for i in range(100)], Role.category, Role.category),
        (["yes", "NO"] * 30, Role.boolean, Role.boolean),
        (["t", "f"] * 30, Role.boolean, Role.boolean),
        (["yes", "yes"] * 30, Role.category, Role.category),
        (["yes", "no", "maybe"] * 30, Role.category, Role.category),
        (["2024-01-01", "2024-01-02"] * 30, Role.time, Role.time),
        (["250.83", "V57", "410"] * 30, Role.category, Role.category),
        ([None, None], Role.constant, Role.category),
    ],
)
def test_types_of_texts(texts: list[str | None], role: Role, kind: Role) -> None:
    found = infer_column("c", pa.array(texts, pa.string()), complete=False)
    assert (found.role, found.kind) == (role, kind)


def test_a_few_bad_cells_do_not_make_a_number_a_word() -> None:
    mostly = ["1", "2"] * 100
    assert infer_column("c", pa.array([*mostly, "oops"]), complete=False).role is Role.integer
    found = infer_column("c", pa.array([*mostly, *["V57"] * 10]), complete=False)
    assert found.role is Role.category
    assert "95.2% are numbers, but 'V57' is not" in found.reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("id", True),
        ("PassengerId", True),
        ("customerID", True),
        ("row-id", True),
        ("uuid", True),
        ("id_customer", True),
        ("idea", False),
        ("paid", False),
        ("humidity", False),
        ("key_figure", False),
    ],
)
def test_names_of_keys(name: str, expected: bool) -> None:
    assert named_like_key(name) is expected


def test_users_override_roles() -> None:
    inferred = {"a": Inferred(Role.integer, Role.integer, "r"), "b": Inferred(Role.boolean, Role.boolean, "r")}
    roles = {"a": Role.category, "b": Role.target}
    schema = make_schema(("a", "b"), inferred, roles, text=frozenset())
    assert schema["a"] == Field("a", pa.string(), Role.category)
    assert (schema["b"].role, schema["b"].kind, schema["b"].type) == (Role.target, Role.boolean, pa.bool_())
    words = make_schema(("a", "b"), inferred, roles, text=frozenset(("b",)))
    assert (words["b"].kind, words["b"].type) == (Role.category, pa.string())


def test_a_weight_is_a_number_and_an_ignored_column_is_text() -> None:
    inferred = {"w": Inferred(Role.category, Role.category, "r")}
    assert make_schema(("w",), inferred, {"w": Role.weight}, text=frozenset())["w"].type == pa.float64()
    ignored = make_schema(("w",), {"w": Inferred(Role.number, Role.number, "r")}, {"w": Role.ignored}, text=frozenset())
    assert ignored["w"].type == pa.string()


def test_a_group_is_compared_as_it_is_written() -> None:
    inferred = {"id": Inferred(Role.integer, Role.integer, "r")}
    schema = make_schema(("id",), inferred, {"id": Role.group}, text=frozenset(("id",)))
    assert (schema["id"].kind, schema["id"].type) == (Role.category, pa.string())


def test_a_key_made_the_target_is_what_its_values_are() -> None:
    inferred = {"id": Inferred(Role.key, Role.integer, "its name")}
    schema = make_schema(("id",), inferred, {"id": Role.target}, text=frozenset())
    assert (schema["id"].kind, schema["id"].type) == (Role.integer, pa.float64())


def test_a_role_for_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(SchemaError) as caught:
        make_schema(
            ("price",), {"price": Inferred(Role.number, Role.number, "r")}, {"pirce": Role.text}, text=frozenset()
        )
    assert caught.value.remedy == "did you mean 'price'?"


def test_a_note_says_how_to_override() -> None:
    note = role_note('odd "name"', Inferred(Role.text, Role.text, "long"))
    assert note.override == 'read: {roles: {"odd \\"name\\"": category}}'


@pytest.mark.parametrize(
    ("kind", "distinct", "rows", "task"),
    [
        (Role.category, ["a", "b"], 100, "binary"),
        (Role.boolean, [True, False], 100, "binary"),
        (Role.integer, [0.0, 1.0], 100, "binary"),
        (Role.number, [-1.0, 1.0], 100, "binary"),
        (Role.category, ["a", "b", "c"], 100, "multiclass"),
        (Role.text, ["a", "b", "c"], 3, "multiclass"),
        (Role.integer, [float(i) for i in range(3, 10)], 6000, "multiclass"),
        (Role.integer, [float(i) for i in range(7)], 20, "regression"),
        (Role.integer, [float(i) for i in range(50)], 10_000, "regression"),
        (Role.number, [0.5, 1.0, 1.5], 10_000, "regression"),
    ],
)
def test_tasks(kind: Role, distinct: list[Any], rows: int, task: str) -> None:
    found, reason = infer_task(Field("y", pa.string(), Role.target, values=kind), distinct, rows)
    assert found == task
    assert reason


def test_targets_that_teach_nothing_are_refused() -> None:
    with pytest.raises(SchemaError, match="nothing can be learned"):
        infer_task(Field("y", pa.string(), Role.category), ["a"], 10)
    with pytest.raises(SchemaError, match="nothing can be learned"):
        infer_task(Field("y", pa.string(), Role.category), [], 10)
    with pytest.raises(SchemaError, match="can't be a target"):
        infer_task(Field("y", pa.timestamp("us"), Role.target, values=Role.time), [1.0, 2.0], 10)


def test_an_infinite_cell_does_not_make_categories_of_whole_numbers() -> None:
    from penstock.sources.csv_types import infer_column

    texts = pa.array([*(str(number) for number in range(20, 300)), "inf"])
    assert infer_column("age", texts, complete=False).kind is Role.integer


@pytest.mark.parametrize(
    ("texts", "role"),
    [
        (["a/1.jpg", "b/2.PNG", None], Role.picture),
        (["1.mp4", "2.mkv"], Role.clip),
        (["1.jpg", "2.mp4"], Role.category),
        (["1.jpg", "2"], Role.category),
        (["https://x/1.jpg", "https://x/2.jpg"], Role.category),
        ([".jpg", "a.jpg"], Role.picture),
    ],
)
def test_names_of_pictures_and_clips_are_told_from_other_texts(texts: list[str | None], role: Role) -> None:
    assert infer_role(ColumnSample("file", pa.array(texts, pa.string()))).role is role
