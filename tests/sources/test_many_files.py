"""Several files as one table: columns that some lack, types that differ, folders that name columns, archives."""

from __future__ import annotations

import datetime
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock
from penstock.errors import PenstockError, SchemaError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.columns import needed
from penstock.sources.files import find_files, open_source
from penstock.testing.sources import check_source, read_all

Columns = dict[str, list[Any]]


def as_jsonl(path: Path, columns: Columns) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FORMATS: dict[str, Callable[[Path, Columns], object]] = {
    ".csv": lambda path, columns: pl.DataFrame(columns).write_csv(path),
    ".parquet": lambda path, columns: pq.write_table(pa.table(columns), path),
    ".arrow": lambda path, columns: pl.DataFrame(columns).write_ipc(path),
    ".jsonl": as_jsonl,
}
every_format = pytest.mark.parametrize("suffix", list(FORMATS))


def write(path: Path, columns: Columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FORMATS[path.suffix](path, columns)


def values(source: Source) -> dict[str, list[Any]]:
    batches = read_all(source)
    return {name: [v for b in batches for v in b.column(name).to_pylist()] for name in source.schema.names}


def said(source: Source, topic: str) -> str:
    return "; ".join(str(note) for note in source.notes if note.topic == topic)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_a_file_that_lacks_a_column_of_the_first_one_is_refused_where_that_is_asked(
    tmp_path: Path, suffix: str
) -> None:
    write(tmp_path / f"a{suffix}", {"x": [1.5, 2.0], "y": ["p", "q"]})
    write(tmp_path / f"b{suffix}", {"z": [7, 8], "x": [3.0, 4.0], "y": ["p", "r"]})  # one more is no harm
    options = ReadOptions(missing_columns="raise")
    assert values(open_source(tmp_path, options))["z"] == [None, None, 7, 8]
    write(tmp_path / f"c{suffix}", {"x": [3.0, 4.0, 5.5], "z": [7, 8, 9]})
    with pytest.raises(SchemaError, match=rf"c\{suffix}: column 'y' is not in this file(.|\n)*missing_columns: insert"):
        open_source(tmp_path, options)
    with pytest.raises(SchemaError, match="column 'y' is not in this file"):
        penstock.read(tmp_path, missing_columns="raise")
    assert values(penstock.read(tmp_path))["y"][-3:] == [None, None, None]
    with pytest.raises(UsageError, match="'insert' or 'raise'"):
        penstock.read(tmp_path, missing_columns="ignore")  # type: ignore[arg-type]


@every_format
def test_a_column_that_a_file_lacks_is_null_there_and_said(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", {"x": [1.5, 2.0], "y": ["p", "q"]})
    write(tmp_path / f"b{suffix}", {"z": [7, 8, 9], "x": [3.0, 4.0, 5.5]})
    write(tmp_path / f"c{suffix}", {"y": ["r", "q"]})
    source = open_source(tmp_path)
    assert source.schema.names == ("x", "y", "z")
    assert values(source) == {
        "x": [1.5, 2.0, 3.0, 4.0, 5.5, None, None],
        "y": ["p", "q", None, None, None, "r", "q"],
        "z": [None, None, 7.0, 8.0, 9.0, None, None],
    }
    assert source.schema["z"].role is Role.integer
    assert f"c{suffix}" in said(source, "column 'x'") and "1 of 3 files" in said(source, "column 'x'")
    assert f"a{suffix}, c{suffix}" in said(source, "column 'z'")
    check_source(lambda: open_source(tmp_path), records=7)
    keys = [key for b in read_all(source) for key in zip(b.keys.path_column().to_pylist(), b.keys.rows, strict=True)]
    assert keys == [(f"{name}{suffix}", row) for name, count in (("a", 2), ("b", 3), ("c", 2)) for row in range(count)]


@every_format
def test_a_file_that_shares_no_column_with_the_first_is_a_mistake(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", {"x": [1.5, 2.0], "y": ["p", "q"]})
    write(tmp_path / f"b{suffix}", {"v": [1.5, 2.0]})
    with pytest.raises(SchemaError, match="no column of the first file is in this one") as caught:
        open_source(tmp_path)
    assert (Path(caught.value.where).name, caught.value.got) == (f"b{suffix}", "'v'")


@every_format
def test_a_column_of_a_late_file_alone_has_its_type(tmp_path: Path, suffix: str) -> None:
    for number in range(9):
        columns: Columns = {"x": [float(number), 0.5]}
        if number == 5:
            columns["late"] = [datetime.date(2024, 1, 2).isoformat()] * 2
        write(tmp_path / f"{number}{suffix}", columns)
    options = ReadOptions(sample_rows=3, roles={"late": Role.time})
    found = values(open_source(tmp_path, options))["late"]
    assert found == [None] * 10 + [datetime.datetime(2024, 1, 2)] * 2 + [None] * 6
    assert values(open_source(tmp_path, ReadOptions(sample_rows=3)))["late"][10] is not None


def test_the_fewest_first_files_with_all_columns_are_needed() -> None:
    assert needed([("a",), ("b", "a"), ("b",), ("c",)]) == (0, 1, 3)


def test_types_that_differ_between_files_are_resolved_as_text_is(tmp_path: Path) -> None:
    first = {"n": [1, 2], "flag": [True, False], "when": [datetime.datetime(2024, 1, 1)] * 2, "word": [1, 2]}
    other = {"n": ["3", " 4.5"], "flag": [1, 0], "when": ["2024-01-02", "2024-01-03T01:00"], "word": ["x", "y"]}
    write(tmp_path / "a.parquet", first)
    write(tmp_path / "b.parquet", other)
    source = open_source(tmp_path)
    assert values(source) == {
        "n": [1.0, 2.0, 3.0, 4.5],
        "flag": [1.0, 0.0, 1.0, 0.0],
        "when": [datetime.datetime(2024, 1, day, hour) for day, hour in ((1, 0), (1, 0), (2, 0), (3, 1))],
        "word": ["1", "2", "x", "y"],
    }
    assert [field.role for field in source.schema] == [Role.number, Role.number, Role.time, Role.category]
    assert "int64 in a.parquet, string in b.parquet" in said(source, "type of 'n'")
    check_source(lambda: open_source(tmp_path), records=4)


def test_a_value_that_does_not_suit_what_files_agree_on_costs_its_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"n": list(range(500))})
    write(tmp_path / "b.parquet", {"n": ["500", "none", "502"]})
    source = open_source(tmp_path)
    batches = read_all(source)
    rejected = [row for b in batches if b.rejected is not None for row in b.rejected.to_pylist()]
    assert [(row["path"], row["row"], row["code"], row["value"]) for row in rejected] == [
        ("b.parquet", 1, "not_a_number", "none")
    ]
    assert values(source)["n"] == [*map(float, range(501)), 502.0]


# --- folders that name columns


@every_format
def test_folders_name_columns_as_duckdb_reads_them(tmp_path: Path, suffix: str) -> None:
    for day, city, numbers in (
        ("20", "New%20York", [1, 2]),
        ("21", "__HIVE_DEFAULT_PARTITION__", [3]),
        ("22", "Oslo", [4]),
    ):
        write(tmp_path / f"dt=2026-11-{day}" / f"city={city}" / f"n=0{day}" / f"part{suffix}", {"x": numbers})
    source = open_source(tmp_path)
    assert {field.name: field.role for field in source.schema} == {
        "x": Role.integer, "dt": Role.time, "city": Role.category, "n": Role.category
    }  # fmt: skip
    found = values(source)
    assert found["city"] == ["New York", "New York", None, "Oslo"]
    assert found["n"] == ["020", "020", "021", "022"]
    if suffix == ".parquet":
        query = (
            f"SELECT x, dt, city, n FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = true) ORDER BY x"
        )
        for row, (x, dt, city, n) in enumerate(duckdb.sql(query).fetchall()):
            assert (found["x"][row], found["dt"][row].date(), found["city"][row], found["n"][row]) == (x, dt, city, n)
    assert "names of folders, such as dt=2026-11-20" in said(source, "role of 'dt'")
    check_source(lambda: open_source(tmp_path), records=4)
    words = source.with_roles({"dt": Role.category})
    assert values(words)["dt"] == ["2026-11-20", "2026-11-20", "2026-11-21", "2026-11-22"]
    with pytest.raises(SchemaError, match="column 'city', which folders are named after, can't be a number") as caught:
        source.with_roles({"city": Role.number})
    assert "'New York'" in caught.value.got


@every_format
def test_a_folder_wins_over_a_column_of_its_name_which_is_said(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "k=1" / f"a{suffix}", {"k": ["inside", "no number"], "x": [1, 2]})
    write(tmp_path / "k=2" / f"a{suffix}", {"x": [3, 4]})
    source = open_source(tmp_path)
    assert values(source)["k"] == [1.0, 1.0, 2.0, 2.0]
    assert "read from the names of the folders" in said(source, "column 'k'")
    assert "null in" not in said(source, "column 'k'")
    check_source(lambda: open_source(tmp_path), records=4)


def test_one_folder_alone_still_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "y=2024" / "m=1" / "a.csv", {"x": [1, 2]})
    for data in (tmp_path / "y=2024" / "m=1" / "a.csv", tmp_path / "y=2024" / "m=1", tmp_path / "y=2024", tmp_path):
        source = open_source(data)
        assert values(source) == {"x": [1.0, 2.0], "y": [2024.0, 2024.0], "m": [1.0, 1.0]}
        assert source.schema["y"].role is Role.integer  # the next folder has another value: it is no constant
    write(tmp_path / "y=2024" / "plain" / "a.csv", {"x": [1, 2]})
    assert open_source(tmp_path / "y=2024" / "plain").schema.names == ("x",)


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("1", "2"), Role.integer),
        (("01", "12"), Role.category),
        (("0.5", "1"), Role.number),
        (("1", "x"), Role.category),
        (("inf", "1"), Role.category),
        (("99999999999999999", "1"), Role.category),
        (("2024-01-01", "2024-13-01"), Role.category),
        (("2024-01-01 10:00", "2024-01-02"), Role.time),
        (("a%2Fb", "中文"), Role.category),
    ],
)
def test_the_type_of_a_folders_column_fits_all_its_names(tmp_path: Path, names: tuple[str, str], role: Role) -> None:
    for name in names:
        write(tmp_path / f"k={name}" / "a.csv", {"x": [1, 2]})
    assert open_source(tmp_path).schema["k"].role is role


def test_an_equals_sign_in_a_file_or_without_a_name_is_no_column(tmp_path: Path) -> None:
    write(tmp_path / "=1" / "b=2.csv", {"x": [1, 2]})
    assert open_source(tmp_path).schema.names == ("x",)


# --- names that say nothing, and archives


def test_an_unknown_name_is_csv_where_an_option_says_so(tmp_path: Path) -> None:
    path = tmp_path / "dump.001"
    path.write_text("3|a\n1|b\n2|a\n")
    for options in (ReadOptions(delimiter="|"), ReadOptions(columns=("n", "w")), ReadOptions(encoding="utf-8")):
        source = open_source(path, options)
        assert values(source)[source.schema.names[0]] == [3.0, 1.0, 2.0]
        assert "delimiter, names of columns or an encoding" in said(source, "format of dump.001")
    with pytest.raises(PenstockError, match="not a known kind of data") as caught:
        open_source(path)
    assert "give its delimiter" in caught.value.remedy


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
def test_an_unknown_name_is_told_by_the_first_bytes(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", {"x": [1, 2]})
    folder = tmp_path / "written"
    folder.mkdir()
    (tmp_path / f"a{suffix}").rename(folder / "part-00000")
    for data in (folder / "part-00000", folder):
        source = open_source(data)
        assert values(source) == {"x": [1.0, 2.0]}
        assert suffix in said(source, "format of part-00000")


def test_the_files_of_an_archive_are_files(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("k=2/b.csv", "x,y\n3,r\n")
        archive.writestr("k=1/a.csv", "y,x\np,1\nq,2\n")
        archive.writestr("__MACOSX/a.csv", "junk")
        archive.writestr(".hidden.csv", "junk")
    source = open_source(path)
    assert values(source) == {"y": ["p", "q", "r"], "x": [1.0, 2.0, 3.0], "k": [1.0, 1.0, 2.0]}
    assert [file.key for file in find_files(path)] == ["all.zip/k=1/a.csv", "all.zip/k=2/b.csv"]
    check_source(lambda: open_source(path), records=3)
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
        archive.writestr("b.jsonl", '{"x": 1}\n')
    with pytest.raises(PenstockError, match="not a known kind of data"):
        open_source(tmp_path / "mixed.zip")
    with zipfile.ZipFile(tmp_path / "data.csv.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n2\n")
        archive.writestr("readme.txt", "not a table")
    assert values(open_source(tmp_path / "data.csv.zip")) == {"x": [1.0, 2.0]}
