"""Join and JoinRows, beside Polars and pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from related_rows import batches_of, counts_of, frame_of, keys_of, laid, rows_of, same, source_of

import penstock as ps
from penstock.errors import DataError, SchemaError, SourceError, UsageError
from penstock.relations.columns import MapColumns
from penstock.relations.deduplicate import Deduplicate
from penstock.relations.filter import Filter
from penstock.relations.join import Join
from penstock.relations.join_rows import JoinRows

LAWS = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEY = st.none() | st.integers(-2, 4)
LEFT = st.lists(st.tuples(KEY, st.sampled_from(["a", "b", None]), st.floats(-9, 9)), min_size=1, max_size=30)
RIGHT = st.lists(st.tuples(KEY, st.sampled_from(["a", "b", None]), st.booleans() | st.none()), min_size=1, max_size=30)


def left_of(rows: list[Any]) -> dict[str, tuple[str, list[Any]]]:
    roles = {"k": "integer", "c": "category", "x": "number"}
    return {name: (role, [row[i] for row in rows]) for i, (name, role) in enumerate(roles.items())}


def right_of(rows: list[Any]) -> dict[str, tuple[str, list[Any]]]:
    roles = {"k": "integer", "c": "category", "flag": "boolean"}
    return {name: (role, [row[i] for row in rows]) for i, (name, role) in enumerate(roles.items())}


@pytest.mark.parametrize("how", ["left", "inner", "full", "semi", "anti"])
@LAWS
@given(left=LEFT, right=RIGHT, on=st.sampled_from([("k",), ("k", "c"), ("c",)]))
def test_rows_are_joined_as_polars_joins_them(
    tmp_path: Path, how: Any, left: list[Any], right: list[Any], on: tuple[str, ...]
) -> None:
    one, two = left_of(left), right_of(right)
    found, _ = laid(source_of(tmp_path, one), Join(source_of(tmp_path, two, name="other"), on=on, how=how))
    order: dict[str, Any] = {} if how in ("semi", "anti") else {"maintain_order": "left_right"}
    coalesce: dict[str, Any] = {"coalesce": True} if how == "full" else {}
    expected = frame_of(one).join(frame_of(two), on=list(on), how=how, **order, **coalesce)
    same(rows_of(found), expected)


@LAWS
@given(left=LEFT, right=RIGHT)
def test_rows_are_joined_as_pandas_merges_them(tmp_path: Path, left: list[Any], right: list[Any]) -> None:
    one, two = left_of(left), right_of(right)
    relation = Join(source_of(tmp_path, two, name="other"), left_on="k", right_on="k", how="inner")
    found, _ = laid(source_of(tmp_path, one), relation)
    frames = [pd.DataFrame({n: v for n, (_, v) in data.items()}).dropna(subset=["k"]) for data in (one, two)]
    frames = [frame.astype({"k": float}) for frame in frames]
    expected = frames[0].merge(frames[1], on="k", how="inner", suffixes=("", "_right"))
    rows = rows_of(found)
    key = ["k", "x", "c", "c_right", "flag"]
    as_text = [[str(v) for v in row] for row in rows.select(key).rows()]
    clean = expected[key].astype(object).where(expected[key].notna(), None)
    assert sorted(as_text) == sorted([[str(v) for v in row] for row in clean.to_numpy().tolist()])


def source(folder: Path, name: str, **columns: tuple[str, list[Any]]) -> Any:
    return source_of(folder, columns, name=name)


def test_copies_of_a_row_have_keys_of_their_own_and_the_first_keeps_its_own(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 2, 1]))
    right = source(tmp_path, "r", k=("integer", [1, 1, 2, 1]), v=("integer", [10, 11, 20, 12]))
    found, heard = laid(left, Join(right, on="k"))
    assert rows_of(found)["v"].to_list() == [10, 11, 12, 20, 10, 11, 12]
    assert keys_of(batches_of(found)) == [
        ("l.parquet", 0), ("l.parquet#1", 0), ("l.parquet#2", 0), ("l.parquet", 1),
        ("l.parquet", 2), ("l.parquet#1", 2), ("l.parquet#2", 2),
    ]  # fmt: skip
    assert {c.step: (c.rows_in, c.made, c.out) for c in counts_of(found)}["join"] == (3, 4, 7)
    assert "many_to_many as found" in heard.text


def test_a_huge_number_of_equal_keys_comes_out_in_blocks(tmp_path: Path) -> None:
    count = 70_000
    left = source(tmp_path, "l", k=("integer", [1, 2]))
    right = source_of(
        tmp_path, {"k": ("integer", [1] * count), "v": ("integer", list(range(count)))}, name="r", block=9_000
    )
    found, _ = laid(left, Join(right, on="k"))
    batches = batches_of(found)
    assert sum(map(len, batches)) == count + 1
    assert max(map(len, batches)) <= 65_536
    values = [v for batch in batches for v in batch.column("v").to_pylist()]
    assert values == [*range(count), None]


def test_matches_that_are_lacking_are_counted_and_said(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 2, None, 4]))
    right = source(tmp_path, "r", k=("integer", [1, 7, None, 1]), v=("integer", [1, 2, 3, 4]))
    _, heard = laid(left, Join(right, on="k"))
    assert "1 of 4 rows have a match; 2 of 4 rows of the other side have none" in heard.text
    assert "1 of them for want of a key; 1 keys stand there several times (one_to_many as found)" in heard.text


@pytest.mark.parametrize("how", ["left", "inner", "full", "semi", "anti"])
def test_a_join_without_any_match_warns(tmp_path: Path, how: Any) -> None:
    left = source(tmp_path, "l", k=("category", ["1", "2"]))
    right = source(tmp_path, "r", k=("category", ["01", "02"]), v=("integer", [1, 2]))
    _, heard = laid(left, Join(right, on="k", how=how))
    warned = "look at k: not one of 2 rows has a match" in heard.text and "keys look alike" in heard.text
    assert warned == (how != "anti")


def test_keys_that_are_all_missing_match_nothing(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [None, None]), x=("integer", [1, 2]))
    right = source(tmp_path, "r", k=("integer", [None]), v=("integer", [1]))
    for how, rows in (("left", 2), ("inner", 0), ("full", 3), ("semi", 0), ("anti", 2)):
        found, _ = laid(left, Join(right, on="k", how=how))  # type: ignore[arg-type]
        assert rows_of(found).height == rows, how


@pytest.mark.parametrize(
    ("expect", "left", "right", "message"),
    [
        ("many_to_one", [1, 2], [1, 1, 2, 2, 2], "other side.* are not unique"),
        ("one_to_one", [1, 2], [1, 1], "other side"),
        ("one_to_one", [1, 1], [1, 2], "left side"),
        ("one_to_many", [1, 1], [1, 1], "left side"),
    ],
)
def test_a_relation_that_does_not_hold_is_an_error_with_the_keys(
    tmp_path: Path, expect: Any, left: list[int], right: list[int], message: str
) -> None:
    one = source(tmp_path, "l", k=("integer", left))
    two = source(tmp_path, "r", k=("integer", right), v=("integer", right))
    with pytest.raises(DataError, match=message) as error:
        laid(one, Join(two, on="k", expect=expect))
    shown = "2 in 3 rows; 1 in 2 rows" if len(right) == 5 else "1 in 2 rows"
    assert shown in error.value.got
    laid(one, Join(two, on="k", expect="many_to_many"))


def test_relations_that_hold_are_accepted_and_missing_keys_are_no_duplicates(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 2, None, None]))
    right = source(tmp_path, "r", k=("integer", [1, 2, None, None]), v=("integer", [1, 2, 3, 4]))
    for expect in ("one_to_one", "many_to_one", "one_to_many", "many_to_many"):
        laid(left, Join(right, on="k", expect=expect))  # type: ignore[arg-type]


def test_a_column_of_both_sides_gets_a_suffix_as_often_as_needed(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1]), v=("integer", [1]), v_right=("integer", [2]))
    right = source(tmp_path, "r", k=("integer", [1]), v=("integer", [3]))
    found, heard = laid(left, Join(right, on="k"))
    assert rows_of(found).row(0, named=True) == {"k": 1, "v": 1, "v_right": 2, "v_right_right": 3}
    assert "'v' of the other side becomes 'v_right_right'" in heard.text


def test_a_table_is_joined_with_itself(tmp_path: Path) -> None:
    one = source(tmp_path, "l", k=("integer", [1, 2, 1]), parent=("integer", [2, None, 1]))
    for how in ("left", "full"):
        found, _ = laid(one, Join(one, left_on="parent", right_on="k", how=how))  # type: ignore[arg-type]
        frame = pl.DataFrame({"k": [1.0, 2, 1], "parent": [2.0, None, 1]})
        expected = frame.join(
            frame,
            left_on="parent",
            right_on="k",
            how=how,
            maintain_order="left_right",
            coalesce=True,  # type: ignore[arg-type]
        )
        same(rows_of(found), expected)


def test_numbers_and_text_are_compared_as_text_where_nothing_is_lost_and_that_is_said(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 7, 10**15, None]))
    right = source(tmp_path, "r", key=("key", ["7", "007", "1000000000000000", "1.0"]), v=("integer", [1, 2, 3, 4]))
    found, heard = laid(left, Join(right, left_on="k", right_on="key"))
    assert rows_of(found)["v"].to_list() == [None, 1, 3, None]
    assert "compared as text" in heard.text


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("number", [1.5]), ("category", ["1.5"])),
        (("boolean", [True]), ("integer", [1])),
        (("time", [0]), ("category", ["1970-01-01"])),
    ],
)
def test_keys_of_two_types_are_refused_with_the_remedy(tmp_path: Path, left: Any, right: Any) -> None:
    one, two = source(tmp_path, "l", k=left), source(tmp_path, "r", k=right, v=("integer", [1]))
    with pytest.raises(SchemaError, match="the keys are of two types") as error:
        laid(one, Join(two, on="k"))
    assert "read: {roles: {k: key}}" in error.value.remedy


def test_a_role_is_read_so_on_the_side_that_the_column_comes_from(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 2]), zip=("integer", [1, 2]))
    right = source(tmp_path, "r", k=("integer", [1, 2]), code=("integer", [7, 8]))
    found = left.join(right, on="k").with_roles({"zip": ps.Role.key, "code": ps.Role.key, "k": ps.Role.group})
    rows = rows_of(laid(found.deduplicate("k"))[0])
    assert rows.rows() == [("1", "1", "7"), ("2", "2", "8")]


def test_rows_are_joined_row_by_row(tmp_path: Path) -> None:
    data = {"id": ("integer", list(range(20))), "a": ("number", [i / 2 for i in range(20)])}
    left = source_of(tmp_path, data, name="l", block=3)
    right = source_of(tmp_path, {"a": ("integer", list(range(20, 40)))}, name="r", block=7)
    found, _ = laid(left, Filter("id < 25"), JoinRows(right), Filter("id % 3 = 0"))
    assert rows_of(found)["a_right"].to_list() == list(range(20, 40, 3))
    with pytest.raises(DataError, match="not as many rows on both sides") as error:
        laid(left, Filter("id < 5"), JoinRows(right))
    assert (error.value.expected[:6], error.value.got) == ("5 rows", "20 rows")


def test_the_other_side_may_have_relations_of_its_own(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1, 2, 3]))
    right = source(tmp_path, "r", key=("integer", [1, 1, 2]), inches=("number", [1.0, 9, 10]))
    right = right.deduplicate("key").map_columns(rename={"key": "k", "inches": "cm"}, scale={"inches": 2.54})
    found, _ = laid(left, Join(right, on="k", expect="one_to_one"))
    assert rows_of(found)["cm"].to_list() == [2.54, 25.4, None]


def test_rejected_rows_of_the_other_side_are_kept_and_counted(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("k,x\n1,1\n2,bad\n3,3\n")
    (tmp_path / "r.csv").write_text("k,v\n1,1\n2,2\n3,oops\n")
    roles = {"x": "number", "k": "integer"}
    left = ps.read(tmp_path / "l.csv", roles=roles)
    right = ps.read(tmp_path / "r.csv", roles={"v": "number", "k": "integer"})
    for how, rows in (("left", 2), ("full", 3)):
        found, _ = laid(left, Join(right, on="k", how=how))  # type: ignore[arg-type]
        assert rows_of(found).height == rows
        tables = [batch.rejected for batch in batches_of(found) if batch.rejected is not None]
        records = [(row["path"], row["value"]) for table in tables for row in table.to_pylist()]
        assert sorted(records) == [("l.csv", "bad"), ("r.csv", "oops")]
        counts = {count.step: count for count in counts_of(found)}
        assert (counts["join: read the other side"].made, counts["join: read the other side"].rejected) == (1, 1)


def test_the_other_file_is_found_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    left = source(tmp_path, "l", k=("integer", [1]))
    source(tmp_path, "other", k=("integer", [1]), v=("integer", [5]))
    assert rows_of(laid(left.join(str(tmp_path / "other.parquet"), on="k"))[0])["v"].to_list() == [5]
    with pytest.raises(SourceError, match="did you mean"):
        left.join(str(tmp_path / "othr.parquet"), on="k")
    with pytest.raises(SchemaError, match="keys of the other side: no such column"):
        left.join(tmp_path / "other.parquet", left_on="k", right_on="kk")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Join("b.csv"), "which columns are the keys"),
        (lambda: Join("b.csv", on="a", left_on="a", right_on="b"), "which columns are the keys"),
        (lambda: Join("b.csv", left_on="a"), "which columns are the keys"),
        (lambda: Join("b.csv", left_on=["a", "b"], right_on="b"), "not as many keys"),
        (lambda: Join("b.csv", on="a", how="outer"), "not one of its values"),  # type: ignore[arg-type]
        (lambda: Join("b.csv", on="a", expect="m:1"), "not one of its values"),  # type: ignore[arg-type]
        (lambda: Join(3, on="a"), "not data that can be read"),
        (lambda: JoinRows(""), "not data that can be read"),
    ],
)
def test_a_join_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_duplicates_and_units_go_before_a_join_in_one_chain(tmp_path: Path) -> None:
    left = source(tmp_path, "l", id=("integer", [1, 1, 2, 3]), f=("number", [32.0, 50, 212, None]))
    right = source(tmp_path, "r", id=("integer", [3, 2, 1]), v=("integer", [30, 20, 10]))
    steps = (Deduplicate("id"), MapColumns({"f": "c"}, {"f": 5 / 9}, {"f": -160 / 9}), Join(right, on="id"))
    rows = rows_of(laid(left, *steps)[0])
    assert rows["v"].to_list() == [10, 20, 30]
    assert rows["c"].to_list() == [pytest.approx(0.0, abs=1e-12), pytest.approx(100.0), None]
