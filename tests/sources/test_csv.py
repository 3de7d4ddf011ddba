"""Reading CSV: the laws of sources, the same cells as Python's csv module, and the same values as Polars."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import SchemaError, SourceError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files, open_source
from penstock.testing.sources import check_source

SMALL = Limits(block_rows=3, block_bytes=64, chunk_bytes=150, record_bytes=10_000, window_bytes=32)
BLANKS = " \t\n\v\f\r"


def open_csv(data: Any, limits: Limits | None = None, **options: Any) -> CsvSource:
    return CsvSource(find_files(data), ReadOptions(**options), limits)


def batches_of(source: Source, columns: Sequence[str] | None = None) -> list[Batch]:
    return [batch for chunk in source.chunks() for batch in source.read(chunk, columns)]


def table_of(source: Source) -> dict[str, list[Any]]:
    table = pa.Table.from_batches([decoded(batch) for batch in batches_of(source)])
    return {name: table.column(name).to_pylist() for name in table.schema.names}


def decoded(batch: Batch) -> pa.RecordBatch:
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.columns.schema.names)


def rejects_of(source: Source) -> list[dict[str, Any]]:
    return [row for b in batches_of(source) if b.rejected is not None for row in b.rejected.to_pylist()]


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    data = content.encode(encoding) if isinstance(content, str) else content
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    elif path.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner.csv", data)
        data = packed.getvalue()
    path.write_bytes(data)
    return path


@st.composite
def tables(draw: st.DrawFn, letters: str = 'aé中 ,;|"\t\n\r1.-') -> tuple[list[list[str]], dict[str, Any]]:
    width = draw(st.integers(1, 4))
    cell = st.text(alphabet=letters, max_size=8)
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=14))
    style = {
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])),
    }
    if style["quoting"] == csv.QUOTE_MINIMAL:  # Python's writer quotes no line end but its own; its reader knows all
        other = {"\n": "\r", "\r": "\n", "\r\n": ""}[style["lineterminator"]]
        rows = [[cell.replace(other, "") for cell in row] for row in rows] if other else rows
    return rows, style


def as_csv(rows: Sequence[Sequence[str]], style: Mapping[str, Any], header: Sequence[str] | None) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **style)
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables(),
    st.sampled_from([".csv", ".csv.gz", ".csv.zst", ".csv.zip"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.booleans(),
)
def test_the_cells_are_those_of_pythons_csv(
    tmp_path: Path, drawn: tuple[list[list[str]], dict[str, Any]], suffix: str, encoding: str, last_end: bool
) -> None:
    rows, style = drawn
    names = [f"name {i}" for i in range(len(rows[0]))]
    text = as_csv(rows, style, names)
    if not last_end:
        text = text.removesuffix(style["lineterminator"])
    path = write(tmp_path / ("data" + suffix), text, encoding)
    source = open_csv(
        path,
        SMALL,
        delimiter=style["delimiter"],
        encoding=encoding.removesuffix("-sig"),
        missing=(),
        roles=dict.fromkeys(names, Role.text),
    )
    found = table_of(source)
    expected = [[cell.strip(BLANKS) or None for cell in row] for row in rows]
    assert list(found) == names
    assert [list(row) for row in zip(*found.values(), strict=True)] == expected
    keys = [int(row) for batch in batches_of(source) for row in batch.keys.rows]
    assert keys == list(range(len(rows)))
    assert rejects_of(source) == []
    source.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet='1,".x\n', max_size=9), min_size=1, max_size=30), st.sampled_from(["", ".gz"]))
def test_the_laws_of_sources_hold_for_wild_files(tmp_path: Path, lines: list[str], suffix: str) -> None:
    text = "a,b,c\n1,2,x\n" + "\n".join(lines) + "\n3,4,y\n"
    path = write(tmp_path / f"wild.csv{suffix}", text)
    roles = {"a": Role.number, "b": Role.integer, "c": Role.category}
    check_source(lambda: open_csv(path, SMALL, delimiter=",", roles=roles))


def mixed_table(rows: int) -> str:
    random = np.random.default_rng(5)
    lines = ["id,amount,when,colour,note,flag"]
    for i in range(rows):
        amount = "oops" if i % 97 == 5 else f"{random.normal():.6g}"
        note = '"two\nlines, ""quoted"""' if i % 7 == 0 else "plain"
        extra = ",surplus" if i % 89 == 3 else ""
        colour = random.choice(["red", "blue", "?"])
        lines.append(f"{i},{amount},2024-01-{1 + i % 28:02d},{colour},{note},{'yes' if i % 2 else 'no'}{extra}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".csv.zip"])
def test_the_laws_of_sources_hold(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"mixed{suffix}", mixed_table(500))
    limits = Limits(block_rows=50, block_bytes=1500, chunk_bytes=4000, window_bytes=700)
    check_source(lambda: open_csv(path, limits), records=500)


def test_the_laws_of_sources_hold_for_a_folder_of_small_files(tmp_path: Path) -> None:
    for day in range(7):
        write(tmp_path / f"day{day}.csv", f"x,y\n{day},a\n{day + 0.5},b\n")
    check_source(lambda: open_csv(tmp_path), records=14)
    source = open_csv(tmp_path)
    assert len(list(source.chunks())) == 1
    assert [batch.keys.paths[0] for batch in batches_of(source)] == [f"day{day}.csv" for day in range(7)]


def test_many_blocks_and_chunks_come_of_small_limits(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", mixed_table(500))
    whole = open_csv(path)
    small = open_csv(path, Limits(block_rows=20, chunk_bytes=2000, window_bytes=500))
    assert len(list(whole.chunks())) == 1
    assert len(list(small.chunks())) > 5
    assert table_of(whole) == table_of(small)
    assert rejects_of(whole) == rejects_of(small)


def test_chunks_may_be_read_by_several_threads_and_again(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv.gz", mixed_table(2000))
    source = open_csv(path, Limits(block_rows=100, chunk_bytes=5000))
    chunks = list(source.chunks())
    once = [sum(len(b) for b in source.read(chunk)) for chunk in chunks]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda chunk: sum(len(b) for b in source.read(chunk)), chunks * 3))
    assert again == once * 3


def test_several_threads_may_ask_for_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv.gz", mixed_table(2000))
    source = open_csv(path, Limits(block_rows=50, chunk_bytes=3000))
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: [c.canonical() for c in source.chunks()], range(4)))
    assert all(plan == plans[0] for plan in plans)


def test_typed_values_are_those_of_polars(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = 3000
    frame = pl.DataFrame(
        {
            "whole": random.integers(-(10**9), 10**9, rows),
            "real": random.normal(size=rows) * 10.0 ** random.integers(-300, 300, rows),
            "tiny": random.random(rows),
            "word": random.choice(["a", "b c", 'd"e', "f,g"], rows),
            "flag": random.random(rows) < 0.5,
            "time": pl.Series(random.integers(0, 2 * 10**9, rows) * 10**6).cast(pl.Datetime("us")),
        }
    ).with_columns(pl.when(pl.col("tiny") < 0.1).then(None).otherwise(pl.col("whole")).alias("whole"))
    path = tmp_path / "data.csv"
    frame.write_csv(path)
    reference = pl.read_csv(path, try_parse_dates=True)
    found = table_of(open_csv(path, Limits(block_rows=700)))
    for name in frame.columns:
        assert found[name] == reference[name].to_list(), name


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1e5", "+5", " 5 ", "-0", ".5", "5."], [1e5, 5.0, 5.0, 0.0, 0.5, 5.0]),
        (["1", "2", "3.5"], [1.0, 2.0, 3.5]),
        (["\t7", '"8"', '" 9 "'], [7.0, 8.0, 9.0]),
    ],
)
def test_numbers_may_be_written_in_many_ways(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    path = write(tmp_path / "data.csv", "n,other\n" + "".join(f"{cell},x\n" for cell in cells))
    assert table_of(open_csv(path, delimiter=",", roles={"n": Role.number}))["n"] == expected


def test_default_missing_texts_are_null_and_said(tmp_path: Path) -> None:
    cells = ["", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-", "--", "无", "未知", "#N/A", " ? ", "  "]
    path = write(tmp_path / "data.csv", "n,word\n1.5,x\n" + "".join(f"{cell},{cell}\n" for cell in cells))
    source = open_csv(path)
    assert table_of(source) == {"n": [1.5] + [None] * len(cells), "word": ["x"] + [None] * len(cells)}
    said = [note for note in source.notes if note.topic == "missing values"]
    assert "'?' (4)" in said[0].text


def test_missing_texts_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "n,word\n1,NA\n-999,x\n2,-999\n,y\n")
    found = table_of(open_csv(path, missing=("-999",)))
    assert found == {"n": [1.0, None, 2.0, None], "word": ["NA", "x", None, "y"]}


def test_blanks_around_cells_are_stripped_and_said_once(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "age, work\n39, Private\n50, ?\n38,Private \n")
    source = open_csv(path)
    assert table_of(source) == {"age": [39.0, 50.0, 38.0], "work": ["Private", None, "Private"]}
    assert len([note for note in source.notes if note.topic == "blanks"]) == 1


def test_a_category_that_differs_by_blanks_alone_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "n,c\n1,a\n2, a\n3,b\n4,b \n")
    (batch,) = batches_of(open_csv(path))
    column = batch.column("c")
    assert column.dictionary.to_pylist() == ["a", "b"]
    assert column.to_pylist() == ["a", "a", "b", "b"]


def test_a_key_keeps_its_text(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "user_id,n\n007,1\n008,2\n1e3,3\n")
    assert table_of(open_csv(path, roles={"user_id": Role.key}))["user_id"] == ["007", "008", "1e3"]


def test_a_column_without_values_is_a_constant(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "a,nothing\n1,\n2,\n")
    source = open_csv(path)
    assert source.schema["nothing"].role is Role.constant
    assert table_of(source)["nothing"] == [None, None]


def test_a_target_of_yes_and_no_keeps_its_words(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "x,y\n1,yes\n2,no\n")
    assert open_csv(path).schema["y"].role is Role.boolean
    source = open_csv(path).with_roles({"y": Role.target})
    assert source.schema["y"].kind is Role.category
    assert table_of(source)["y"] == ["yes", "no"]


def test_with_roles_changes_types_and_not_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "x,y\n1,a\n2,b\n")
    first = open_csv(path)
    second = first.with_roles({"x": Role.category})
    assert table_of(first)["x"] == [1.0, 2.0]
    assert table_of(second)["x"] == ["1", "2"]
    assert list(first.chunks()) == list(second.chunks())
    with pytest.raises(SchemaError, match="a role for a column that is not there: 'z'"):
        first.with_roles({"z": Role.text})


def test_no_column_at_all_may_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "x,y\n1,a\n2,b\n")
    (batch,) = batches_of(open_csv(path), ())
    assert len(batch) == 2
    assert batch.columns.num_columns == 0
    path = write(tmp_path / "words.csv", "x,y\nc,a\nd,b\n")
    (batch,) = batches_of(open_csv(path), ())
    assert len(batch) == 2


def test_columns_of_files_are_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x,y\n1,a\n")
    write(tmp_path / "b.csv", "y,x\nb,2\n")
    source = open_csv(tmp_path)
    assert table_of(source) == {"x": [1.0, 2.0], "y": ["a", "b"]}
    assert any("another order" in note.text for note in source.notes)


def test_a_file_with_none_of_the_first_ones_columns_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x,y\n1,a\n")
    write(tmp_path / "b.csv", "v,z\n1,a\n")
    with pytest.raises(SchemaError, match="no column of the first file is in this one") as caught:
        open_csv(tmp_path)
    assert caught.value.got == "'v', 'z'"
    assert "b.csv" in caught.value.where


def test_text_can_not_be_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y\n1,a\n2,b\n")
    with pytest.raises(SchemaError, match="column 'y' can't be a list"):
        open_csv(path, roles={"y": Role.list})


def test_a_file_with_a_header_alone_among_others_is_empty(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "x,y\n1,a\n")
    write(tmp_path / "b.csv", "x,y\n")
    assert table_of(open_csv(tmp_path)) == {"x": [1.0], "y": ["a"]}


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    for text in ("x,y\n", "x,y", "x,y\n\n\n"):
        path = write(tmp_path / "data.csv", text)
        with pytest.raises(SourceError, match="there is a header and no row"):
            open_csv(path)


def test_doubled_names_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "x,y,x\n1,2,3\n")
    with pytest.raises(SchemaError, match="two columns have one name") as caught:
        open_csv(path)
    assert caught.value.got == "'x'"


def test_columns_without_a_name_are_named_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", ",x,\n0,5,a\n1,6,b\n")
    source = open_csv(path)
    assert source.schema.names == ("column_1", "x", "column_3")
    assert any("column_1, column_3" in note.text for note in source.notes)


def test_odd_names_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", '"first name","say ""hi""","two\nlines","a,b"\n1,2,3,4\n')
    source = open_csv(path)
    assert source.schema.names == ("first name", 'say "hi"', "two\nlines", "a,b")
    assert table_of(source)["two\nlines"] == [3.0]


def test_given_names_mean_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "a,b\nc,d\n")
    assert table_of(open_csv(path, columns=("x", "y"))) == {"x": ["a", "c"], "y": ["b", "d"]}
    with pytest.raises(SchemaError, match="names are given for another number of columns"):
        open_csv(path, columns=("x", "y", "z"))


def test_a_million_letters_fit_in_a_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", f"n,t\n1,{'x' * 10**6}\n2,y\n")
    assert table_of(open_csv(path))["t"] == ["x" * 10**6, "y"]


def test_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "a,b\n1,2\n")
    with pytest.raises(UsageError, match="not a delimiter"):
        open_csv(path, delimiter=";;")
    with pytest.raises(UsageError, match="not a known encoding"):
        open_csv(path, encoding="utf-7")


def test_open_source_finds_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tsv.gz", "a\tb\n1\tx, y\n2\tz\n")
    assert table_of(open_source(path)) == {"a": [1.0, 2.0], "b": ["x, y", "z"]}
