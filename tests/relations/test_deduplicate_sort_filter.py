"""Deduplicate, Sort, Filter, DeriveColumns and MapColumns, beside Polars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from related_rows import batches_of, counts_of, frame_of, keys_of, laid, rows_of, same, source_of

from penstock.errors import SchemaError, UsageError
from penstock.relations.columns import MapColumns
from penstock.relations.deduplicate import Deduplicate
from penstock.relations.derive import DeriveColumns
from penstock.relations.filter import Filter
from penstock.relations.group import Group
from penstock.relations.sort import Sort

LAWS = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROW = st.tuples(
    st.none() | st.sampled_from([0.0, -0.0, 1.0, 2.5]),
    st.none() | st.sampled_from(["a", "b", "", "é"]),
    st.none() | st.integers(-3, 3),
    st.booleans(),
)
ROWS = st.lists(ROW, min_size=1, max_size=40)


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, tuple[str, list[Any]]]:
    roles = {"x": "number", "c": "category", "n": "integer", "b": "boolean"}
    return {name: (role, [row[i] for row in rows]) for i, (name, role) in enumerate(roles.items())}


@LAWS
@given(
    rows=ROWS,
    keep=st.sampled_from(["first", "last", "none"]),
    columns=st.sampled_from([None, "x", ("x", "c"), ("n",), ("c", "b")]),
)
def test_of_equal_rows_the_one_that_polars_keeps_stays_in_its_place(
    tmp_path: Path, rows: list[Any], keep: Any, columns: Any
) -> None:
    data = columns_of(rows)
    found, _ = laid(source_of(tmp_path, data), Deduplicate(columns, keep))
    # Polars tells 0.0 and -0.0 apart no more than SQL does.
    subset = [columns] if isinstance(columns, str) else columns
    same(rows_of(found), frame_of(data).unique(subset, keep=keep, maintain_order=True))


@LAWS
@given(rows=ROWS, keep=st.sampled_from(["first", "last"]), descending=st.booleans())
def test_a_column_decides_which_of_equal_rows_stays(
    tmp_path: Path, rows: list[Any], keep: Any, descending: bool
) -> None:
    data = columns_of(rows)
    found, _ = laid(source_of(tmp_path, data), Deduplicate("c", keep, by="n", descending=descending))
    expected: dict[Any, int] = {}
    for place, (_, c, n, _) in enumerate(rows):
        best = expected.get(c)
        if best is None:
            expected[c] = place
            continue
        old = rows[best][2]
        if n is None:
            better = old is None and keep == "last"
        elif old is None:
            better = True
        elif n == old:
            better = keep == "last"
        else:
            better = (n > old) is ((keep == "last") is not descending)
        if better:
            expected[c] = place
    same(rows_of(found), frame_of(data)[sorted(expected.values())])


@LAWS
@given(rows=ROWS, first=st.sampled_from("xcnb"), down=st.tuples(st.booleans(), st.booleans()))
def test_rows_are_sorted_as_polars_sorts_them_and_keep_their_keys(
    tmp_path: Path, rows: list[Any], first: str, down: tuple[bool, bool]
) -> None:
    data = columns_of(rows)
    by = (first, "n" if first != "n" else "x")
    found, _ = laid(source_of(tmp_path, data), Sort(by, down))
    frame = frame_of(data).with_row_index("row").sort(by, descending=down, nulls_last=True, maintain_order=True)
    same(rows_of(found), frame.drop("row"))
    assert [row for _, row in keys_of(batches_of(found))] == frame["row"].to_list()


@LAWS
@given(rows=ROWS)
def test_rows_that_do_not_meet_a_condition_are_dropped(tmp_path: Path, rows: list[Any]) -> None:
    data = columns_of(rows)
    found, _ = laid(source_of(tmp_path, data), Filter("x > 0 and not c = 'a' or b"))
    condition = (pl.col("x") > 0) & (pl.col("c") != "a") | pl.col("b")
    same(rows_of(found), frame_of(data).filter(condition))
    dropped = {count.step: count.dropped for count in counts_of(found)}
    assert dropped["filter"] == len(rows) - frame_of(data).filter(condition).height


def test_relations_follow_one_another_and_one_may_stand_there_twice(tmp_path: Path) -> None:
    data = {"id": ("integer", [1, 2, 2, 3, 3, 3, 4]), "x": ("number", [7.0, 6, 5, 4, 3, 2, 1])}
    steps = (Deduplicate("id"), Filter("x < 7"), Sort("x"), Deduplicate("id"), Filter("x > 1"), Sort("id", True))
    found, heard = laid(source_of(tmp_path, data), *steps)
    assert rows_of(found)["id"].to_list() == [3, 2]
    assert [(count.step, count.rows_in, count.out) for count in counts_of(found)] == [
        ("read", 7, 7), ("deduplicate", 7, 4), ("filter", 4, 3), ("sort", 3, 3), ("deduplicate 2", 3, 3),
        ("filter 2", 3, 2), ("sort 2", 2, 2),
    ]  # fmt: skip
    assert "3 of 7 rows are dropped" in heard.text


def test_no_row_is_left_and_all_is_accounted_for(tmp_path: Path) -> None:
    data = {"id": ("integer", [1, 2, 3]), "x": ("number", [None, None, None])}
    for relations in ((Filter("id > 9"),), (Filter("id > 9"), Sort("id"), Deduplicate("x"))):
        found, _ = laid(source_of(tmp_path, data), *relations)
        assert rows_of(found).height == 0
        assert counts_of(found)[0].rows_in == 3
    found, _ = laid(source_of(tmp_path, data), Deduplicate("x"), Sort("x", True))
    assert rows_of(found)["id"].to_list() == [1]


def test_columns_get_other_names_and_units(tmp_path: Path) -> None:
    data = {"height": ("integer", [70, None, 10]), "t": ("number", [32.0, 212.0, None]), "c": ("category", ["a"] * 3)}
    mapped = MapColumns({"height": "height_cm", "c": "t2"}, {"height": 2.54, "t": 5 / 9}, {"t": -160 / 9})
    found, _ = laid(source_of(tmp_path, data), mapped, Filter("height_cm > 100 or t is null"), Sort("height_cm"))
    rows = rows_of(found)
    assert rows.columns == ["height_cm", "t", "t2"]
    assert rows["height_cm"].to_list() == pytest.approx([25.4, 177.8])
    assert rows["t"].to_list() == [None, pytest.approx(0.0)]
    assert found.schema["height_cm"].role.value == "number"


@LAWS
@given(ROWS)
def test_derived_columns_are_those_of_polars_and_can_be_grouped_by(tmp_path: Path, rows: list[Any]) -> None:
    data = columns_of(rows)
    derive = DeriveColumns({"y": "x * 2 + 1", "big": "x > 0", "c": "concat(c, '!')", "one": "1"})
    found, _ = laid(source_of(tmp_path, data), derive, Filter("y is not null"))
    x = pl.col("x")
    made = frame_of(data).with_columns(
        y=x * 2 + 1, big=x > 0, c=pl.concat_str([pl.col("c"), pl.lit("!")]), one=pl.lit(1.0)
    )
    same(rows_of(found), made.filter(pl.col("y").is_not_null()))
    assert (found.schema["one"].role.value, found.schema["c"].role.value) == ("integer", "category")
    grouped, _ = laid(source_of(tmp_path, data), derive, Group("big", {"n": ("count", "y"), "ones": ("sum", "one")}))
    counts = made.group_by("big", maintain_order=True).agg(
        n=pl.col("y").count().cast(pl.Float64), ones=pl.col("one").sum()
    )
    same(rows_of(grouped), counts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Deduplicate("a", keep="frist"), "did you mean 'first'"),
        (lambda: Deduplicate(["a", "a"]), "a column stands twice"),
        (lambda: Deduplicate([]), "not columns"),
        (lambda: Deduplicate(3), "not columns"),
        (lambda: Sort("a", descending=[True, False]), "not a direction for each column"),
        (lambda: Sort([]), "not columns"),
        (lambda: Filter("a >"), "at position"),
        (MapColumns, "nothing to map"),
        (lambda: DeriveColumns({}), "no columns to derive"),
        (lambda: DeriveColumns({"y": 3}), "not an expression"),  # type: ignore[dict-item]
        (lambda: DeriveColumns({"y": "x +"}), "derive: column 'y': at position"),
        (lambda: MapColumns(scale={"a": 0}), "not a unit"),
        (lambda: MapColumns(offset={"a": float("nan")}), "not a unit"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("relation", "message"),
    [
        (Deduplicate("nunber"), "did you mean 'number'"),
        (Deduplicate("number", by="nothing_like_it"), "deduplicate: by: no such column"),
        (Sort("c:x"), "no such column"),
        (Filter("wors > 1"), "did you mean 'words'"),
        (Filter("number + 1"), "not a condition"),
        (MapColumns(scale={"words": 2}), "not a column of numbers"),
        (DeriveColumns({"y": "nunber + 1"}), "did you mean 'number'"),
        (MapColumns(rename={"number": "words"}), "two columns have one name"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_the_work(tmp_path: Path, relation: Any, message: str) -> None:
    source = source_of(tmp_path, {"number": ("number", [1.0, 2.0]), "words": ("category", ["a", "b"])})
    with pytest.raises(SchemaError, match=message):
        laid(source, relation)


def test_odd_names_are_only_names(tmp_path: Path) -> None:
    names = ["", "*", "^a$", "c:x", "c0", "position", 'quo"te', "SELECT 1; --", "名"]
    data = {name: ("integer", [i % 2, 1, i % 3]) for i, name in enumerate(names)}
    found, _ = laid(source_of(tmp_path, data), Deduplicate(names), Sort(names), Filter('"*" >= 0 and "c:x" >= 0'))
    rows = sorted(set(zip(*(values for _, values in data.values()), strict=True)))
    assert next(batch.columns.schema.names for batch in batches_of(found)) == names
    values = [batch.columns.columns for batch in batches_of(found)]
    assert [tuple(column[i].as_py() for column in some) for some in values for i in range(len(some[0]))] == rows
