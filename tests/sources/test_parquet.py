"""Reading Parquet: the laws of sources, types by role, and files of every kind."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import ChangedError, SchemaError, SourceError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.files import Limits, find_files, open_source
from penstock.sources.parquet import ParquetSource
from penstock.testing.sources import check_source


def open_parquet(data: Any, limits: Limits | None = None, **options: Any) -> ParquetSource:
    return ParquetSource(find_files(data), ReadOptions(**options), limits)


def batches_of(source: Source, columns: Sequence[str] | None = None) -> list[Batch]:
    return [batch for chunk in source.chunks() for batch in source.read(chunk, columns)]


def values_of(source: Source, name: str) -> list[Any]:
    return [value for batch in batches_of(source, (name,)) for value in batch.column(name).to_pylist()]


def rejects_of(source: Source) -> list[dict[str, Any]]:
    return [row for b in batches_of(source) if b.rejected is not None for row in b.rejected.to_pylist()]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def mixed(rows: int, seed: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=rows)
    numbers[random.random(rows) < 0.05] = np.nan
    numbers[random.random(rows) < 0.02] = np.inf
    return {
        "number": pa.array(numbers, mask=random.random(rows) < 0.1),
        "whole": pa.array(random.integers(0, 2**54, rows), mask=random.random(rows) < 0.1),
        "word": pa.array(random.choice(["a", "b", "ccc"], rows)),
        "key": pa.array([f"K{i}" for i in range(rows)]),
        "flag": pa.array(random.random(rows) < 0.5),
        "when": pa.array(random.integers(0, 10**12, rows), pa.timestamp("ms")),
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 300), st.integers(1, 400), st.integers(1, 90), st.integers(200, 9000))
def test_the_laws_of_sources_hold(tmp_path: Path, rows: int, group: int, block: int, chunk: int) -> None:
    path = write(tmp_path / "data.parquet", mixed(rows), row_group_size=group)
    roles = {"whole": Role.integer}
    limits = Limits(block_rows=block, block_bytes=3000, chunk_bytes=chunk)
    check_source(lambda: open_parquet(path, limits, roles=roles), records=rows)


def test_values_are_those_that_were_written(tmp_path: Path) -> None:
    table = mixed(1000)
    write(tmp_path / "data.parquet", table, row_group_size=333)
    source = open_parquet(tmp_path / "data.parquet", Limits(block_rows=100), roles={"whole": Role.integer})
    rows = [int(row) for batch in batches_of(source) for row in batch.keys.rows]
    for name, column in table.items():
        expected = [column[row].as_py() for row in rows]
        if name == "number":
            expected = [None if value is None or np.isnan(value) else value for value in expected]
        assert values_of(source, name) == expected, name
    gone = sorted(set(range(1000)) - set(rows))
    infinite = {i for i, v in enumerate(table["number"].to_pylist()) if v is not None and np.isinf(v)}
    large = {i for i, v in enumerate(table["whole"].to_pylist()) if v is not None and v > 2**53}
    assert gone == sorted(infinite | large)


def test_infinite_and_too_large_values_cost_their_row(tmp_path: Path) -> None:
    ok = list(range(100))
    path = write(
        tmp_path / "data.parquet",
        {"x": [float(i) for i in ok] + [np.inf, 1.0, -np.inf, np.nan], "n": [*ok, 1, 2**53 + 2, 2**60, 5]},
    )
    source = open_parquet(path, roles={"n": Role.integer})
    found = [(row["row"], row["column"], row["code"], row["value"]) for row in rejects_of(source)]
    assert found == [
        (100, "x", "infinite", "inf"),
        (101, "n", "too_large", str(2**53 + 2)),
        (102, "x", "infinite", "-inf"),
    ]
    assert rejects_of(source)[1]["record"] == '{"x": 1.0, "n": 9007199254740994}'
    assert values_of(source, "x")[-1] is None


def test_exactly_two_to_the_53rd_is_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"n": [2**53, -(2**53), 2**53 - 1, 7]})
    source = open_parquet(path, roles={"n": Role.integer})
    assert values_of(source, "n") == [2.0**53, -(2.0**53), 2.0**53 - 1, 7.0]
    path = write(tmp_path / "more.parquet", {"n": [2**53, 2**53 + 1, 7]})
    assert [row["value"] for row in rejects_of(open_parquet(path, roles={"n": Role.integer}))] == [str(2**53 + 1)]


def test_numbers_too_large_for_float64_are_read_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"hash": [2**60 + i for i in range(100)]})
    source = open_parquet(path)
    assert source.schema["hash"].role is Role.key
    assert values_of(source, "hash")[0] == str(2**60)


def test_infinite_is_missing_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"x": [1.0, np.inf, -np.inf, 3.0]})
    assert values_of(open_parquet(path, missing=("inf",)), "x") == [1.0, None, None, 3.0]


@pytest.mark.parametrize(
    ("values", "role", "expected"),
    [
        (pa.array([1, 2], pa.int8()), Role.integer, [1.0, 2.0]),
        (pa.array([1, 2], pa.uint64()), Role.integer, [1.0, 2.0]),
        (pa.array([1.5, None], pa.float16()), Role.number, [1.5, None]),
        (pa.array([1.5, 2.5], pa.float32()), Role.number, [1.5, 2.5]),
        (pa.array([decimal.Decimal("1.25"), decimal.Decimal("2.50")]), Role.number, [1.25, 2.5]),
        (pa.array([decimal.Decimal("1"), decimal.Decimal("2")], pa.decimal256(9, 0)), Role.integer, [1.0, 2.0]),
        (pa.array([1500, 2500], pa.duration("ms")), Role.number, [1.5, 2.5]),
        (pa.array([datetime.time(0, 1), datetime.time(1)]), Role.number, [60.0, 3600.0]),
        (pa.array([1500, 500], pa.time32("ms")), Role.number, [1.5, 0.5]),
        (pa.array([True, None]), Role.boolean, [True, None]),
        (pa.array(["a", "b"], pa.large_string()), Role.category, ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), Role.category, ["a", "b"]),
        (pa.array([3, 4]).dictionary_encode(), Role.integer, [3.0, 4.0]),
        (
            pa.array([datetime.date(2024, 1, 2), datetime.date(1, 1, 1)]),
            Role.time,
            [datetime.datetime(2024, 1, 2), datetime.datetime(1, 1, 1)],
        ),
        (
            pa.array([1_700_000_000], pa.timestamp("s", "Asia/Shanghai")),
            Role.time,
            [datetime.datetime(2023, 11, 14, 22, 13, 20)],
        ),
        (
            pa.array([1_999, 2_000], pa.timestamp("ns")),
            Role.time,
            [datetime.datetime(1970, 1, 1, 0, 0, 0, 1), datetime.datetime(1970, 1, 1, 0, 0, 0, 2)],
        ),
        (pa.array([None, None], pa.null()), Role.constant, [None, None]),
        (pa.array([None, None], pa.float64()), Role.constant, [None, None]),
    ],
)
def test_types_have_a_role(tmp_path: Path, values: pa.Array, role: Role, expected: list[Any]) -> None:
    path = write(tmp_path / "data.parquet", {"c": values})
    check_source(lambda: open_parquet(path))
    source = open_parquet(path)
    assert source.schema["c"].role is role
    assert values_of(source, "c") == expected


def test_a_time_out_of_range_costs_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"t": pa.array([1, 2**60, 3], pa.timestamp("ms"))}, version="2.6")
    source = open_parquet(path)
    assert [(row["row"], row["code"]) for row in rejects_of(source)] == [(1, "too_large")]
    assert len(values_of(source, "t")) == 2


def test_categories_stay_dictionary_encoded(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"c": ["a", "b"] * 500, "t": ["some words here"] * 1000})
    source = open_parquet(path, roles={"c": Role.category, "t": Role.text})
    (batch,) = batches_of(source)
    assert batch.column("c").type == pa.dictionary(pa.int32(), pa.string())
    assert batch.column("t").type == pa.string()


def test_only_null_is_missing_unless_more_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"c": ["a", "", "?", None, " ? "] * 30})
    assert values_of(open_parquet(path), "c")[:5] == ["a", "", "?", None, " ? "]
    assert values_of(open_parquet(path, missing=("?",)), "c")[:5] == ["a", "", None, None, None]
    text = open_parquet(path, missing=("?",), roles={"c": Role.text})
    assert values_of(text, "c")[:5] == ["a", "", None, None, None]


def test_users_may_read_text_as_numbers_and_numbers_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"t": ["1", " 2.5 ", "x", None], "n": [10, 20, 30, 40]})
    source = open_parquet(path, roles={"t": Role.number, "n": Role.category})
    assert [(row["row"], row["column"], row["code"], row["value"]) for row in rejects_of(source)] == [
        (2, "t", "not_a_number", "x")
    ]
    assert values_of(source, "t") == [1.0, 2.5, None]
    assert values_of(source, "n") == ["10", "20", "40"]
    check_source(lambda: open_parquet(path, roles={"t": Role.number, "n": Role.category}))


def test_roles_that_a_type_can_not_play_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"n": [1.5, 2.5]})
    with pytest.raises(SchemaError, match="can't be a time"):
        open_parquet(path, roles={"n": Role.time})


def test_an_ignored_column_never_costs_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"x": [1.0, np.inf], "y": [1.0, 2.0]})
    source = open_parquet(path, roles={"x": Role.ignored})
    assert values_of(source, "x") == ["1", "inf"]
    assert rejects_of(source) == []


def test_nested_and_binary_columns_are_left_out_and_said(tmp_path: Path) -> None:
    columns = {"x": [1.0, 2.0], "list": [[[1]], [[2]]], "deep": [{"x": 1}, {"x": 2}], "raw": [b"a", b"b"]}
    path = write(tmp_path / "data.parquet", columns)
    source = open_parquet(path)
    assert source.schema.names == ("x",)
    said = [note.topic for note in source.notes if "is not read" in note.text]
    assert said == ["column 'list'", "column 'deep'", "column 'raw'"]
    assert values_of(source, "x") == [1.0, 2.0]
    only = write(tmp_path / "only.parquet", {"raw": [b"a"]})
    with pytest.raises(SchemaError, match="no column can be used"):
        open_parquet(only)


def test_names_with_dots_are_names(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"a": [1.0, 2.0], "a.b": [3.0, 4.0], "c": [{"d": 1}, {"d": 2}]})
    source = open_parquet(path)
    assert values_of(source, "a.b") == [3.0, 4.0]
    assert values_of(source, "a") == [1.0, 2.0]


def test_text_that_is_not_utf_8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"fine", b"caf\xe9"], pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    path = write(tmp_path / "data.parquet", {"c": bad})
    for role in (Role.text, Role.category):
        source = open_parquet(path, roles={"c": role})
        found = [(row["row"], row["code"], row["value"]) for row in rejects_of(source)]
        assert found == [(1, "bad_encoding", "caf\\xe9"), (3, "bad_encoding", "caf\\xe9")]
        assert values_of(source, "c") == ["good", "fine"]


def test_lists_of_single_values_are_lists_of_texts(tmp_path: Path) -> None:
    columns = {
        "words": pa.array([["a", None], [], None] * 9),
        "numbers": pa.array([[1, 2], None, [3]] * 9, pa.large_list(pa.int32())),
        "pairs": pa.array([[0.5, 2.0]] * 27, pa.list_(pa.float64(), 2)),
    }
    path = write(tmp_path / "data.parquet", columns, row_group_size=7)
    source = open_parquet(path)
    assert [field.role for field in source.schema] == [Role.list] * 3
    assert values_of(source, "words") == [["a", None], [], None] * 9
    assert values_of(source, "numbers") == [["1", "2"], None, ["3"]] * 9
    assert values_of(source, "pairs") == [["0.5", "2"]] * 27
    check_source(lambda: open_parquet(path, Limits(block_rows=4)), records=27)
    as_text = open_parquet(path, roles={"words": Role.text})
    assert values_of(as_text, "words")[:3] == ["[a, null]", "[]", None]
    with pytest.raises(SchemaError, match="column 'numbers' can't be a number"):
        open_parquet(path, roles={"numbers": Role.number})


def test_files_may_differ_in_the_types_of_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [1], "y": ["a"]})
    write(tmp_path / "b.parquet", {"y": ["b"], "x": [2.5]})
    source = open_parquet(tmp_path)
    assert source.schema["x"].role is Role.number
    assert values_of(source, "x") == [1.0, 2.5]
    write(tmp_path / "c.parquet", {"x": [[1]], "y": ["a"]})
    with pytest.raises(SchemaError, match="column 'x' has another type") as caught:
        open_parquet(tmp_path)
    assert "c.parquet" in caught.value.where
    write(tmp_path / "c.parquet", {"x": pa.nulls(1), "y": ["a"]})
    assert values_of(open_parquet(tmp_path), "x") == [1.0, 2.5, None]


def test_doubled_columns_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(SchemaError, match="two columns have one name"):
        open_parquet(tmp_path / "data.parquet")


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "data.parquet", {"x": np.arange(10_000)}).read_bytes()
    cases = {"text.parquet": b"not parquet at all", "cut.parquet": whole[:-100], "head.parquet": whole[:8]}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match="can't be read as Parquet") as caught:
            open_parquet(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
    write(tmp_path / "empty.parquet", {"x": pa.array([], pa.int64())})
    with pytest.raises(SourceError, match="there are no rows"):
        open_parquet(tmp_path / "empty.parquet")
    (tmp_path / "data.parquet.gz").write_bytes(b"x")
    with pytest.raises(SourceError, match="a compressed Parquet file"):
        open_source(tmp_path / "data.parquet.gz")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_damage_inside_is_an_error_of_ours(tmp_path: Path, place: float) -> None:
    random = np.random.default_rng(0)
    path = write(tmp_path / "data.parquet", {"x": random.normal(size=50_000)}, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match="can't be read as Parquet"):
        batches_of(open_parquet(path))


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"x": np.arange(1000)})
    source = open_parquet(path)
    write(path, {"x": np.arange(2000)})
    with pytest.raises(ChangedError):
        batches_of(source)


def test_row_groups_are_kept_whole_where_there_are_many(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"x": np.random.default_rng(0).normal(size=10_000)}, row_group_size=1000)
    limits = Limits(block_rows=300, chunk_bytes=20_000)
    chunks = list(open_parquet(path, limits).chunks())
    assert [[part["group"] for part in chunk.parts] for chunk in chunks] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    lengths = [len(batch) for batch in batches_of(open_parquet(path, limits))]
    assert lengths == [300, 300, 300, 100] * 10


def test_one_huge_row_group_is_cut_between_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"x": np.random.default_rng(0).normal(size=10_000)})
    limits = Limits(block_rows=300, chunk_bytes=20_000)
    chunks = list(open_parquet(path, limits).chunks())
    assert [(part["start"], part["stop"]) for chunk in chunks for part in chunk.parts] == [
        (0, 2400),
        (2400, 5100),
        (5100, 7500),
        (7500, 10_000),
    ]
    check_source(lambda: open_parquet(path, limits), records=10_000)


def test_wide_rows_make_small_blocks(tmp_path: Path) -> None:
    columns = {f"c{i}": np.zeros(1000) for i in range(50)}
    path = write(tmp_path / "data.parquet", columns)  # a few bytes in the file, 400 a row in memory
    lengths = {len(batch) for batch in batches_of(open_parquet(path, Limits(block_bytes=40_000)))}
    assert max(lengths) <= 100
