"""JSON lines: the values that polars and pyarrow read, roles as for a CSV, and what is bad costs its line."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.json as pajson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import ChangedError, PenstockError, SchemaError, SourceError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.files import Limits, find_files, open_source
from penstock.sources.json import JsonSource
from penstock.testing.sources import check_source, read_all

Rejected = list[dict[str, Any]]


def open_json(path: Path, limits: Limits | None = None, **options: Any) -> JsonSource:
    return JsonSource(find_files(path), ReadOptions(**options), limits)


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return path


def values(source: Source) -> dict[str, list[Any]]:
    batches = read_all(source)
    return {name: [v for b in batches for v in b.column(name).to_pylist()] for name in source.schema.names}


def rejected(source: Source) -> Rejected:
    return [row for b in read_all(source) if b.rejected is not None for row in b.rejected.to_pylist()]


def records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "number": None if i % 7 == 0 else i / 8,
            "whole": i % 13,
            "flag": i % 3 == 0,
            "word": "αβγ"[i % 3],
            "when": f"2024-02-{i % 28 + 1:02d}T10:00:00",
            "inner": None if i % 11 == 0 else {"x": i * 0.5, "deep": {"note": f"a longer text {i}"}},
            "tags": [f"t{j}" for j in range(i % 4)] if i % 5 else None,
            "counts": [i, i + 1],
        }
        for i in range(count)
    ]


def test_values_are_those_that_polars_and_pyarrow_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *records(2000))
    source = open_json(path, Limits(block_rows=300))
    found = values(source)
    frame, table = pl.read_ndjson(path), pajson.read_json(path)
    for name in ("number", "whole", "flag", "word", "tags"):
        assert found[name] == frame[name].to_list(), name
        assert found[name] == table.column(name).to_pylist(), name
    inner = frame["inner"].struct
    assert found["inner.x"] == inner.field("x").to_list()
    assert found["inner.deep.note"] == inner.field("deep").struct.field("note").to_list()
    assert found["when"] == frame["when"].str.to_datetime().to_list()
    assert found["counts"] == [[str(item) for item in row] for row in frame["counts"].to_list()]
    assert {field.name: field.role.value for field in source.schema} == {
        "number": "number", "whole": "integer", "flag": "boolean", "word": "category", "when": "time",
        "tags": "list", "counts": "list", "inner.x": "number", "inner.deep.note": "text",
    }  # fmt: skip
    check_source(lambda: open_json(path, Limits(block_rows=300, chunk_bytes=50_000)), records=2000)


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".json.zip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_compressions_encodings_and_line_ends_do_not_matter(tmp_path: Path, suffix: str, encoding: str) -> None:
    lines = "\r\n\n".join(json.dumps(one, ensure_ascii=False) for one in records(300))
    data = lines.encode(encoding)
    if suffix.endswith(".gz"):
        data = gzip.compress(data)
    elif suffix.endswith(".zst"):
        data = zstandard.compress(data)
    elif suffix.endswith(".zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.json", data)
        data = packed.getvalue()
    (tmp_path / f"a{suffix}").write_bytes(data)
    plain = values(open_json(write(tmp_path / "plain.jsonl", *records(300))))
    source = open_source(tmp_path / f"a{suffix}")
    assert values(source) == plain
    check_source(lambda: open_json(tmp_path / f"a{suffix}", Limits(block_rows=70, window_bytes=256)), records=300)


def test_roles_are_those_of_a_csv_with_the_same_cells(tmp_path: Path) -> None:
    rows = [
        {"id": str(1000 + i), "zip": f"0{i % 50:04d}", "price": f"{i / 4}", "paid": "yes" if i % 2 else "no",
         "day": f"{i % 28 + 1}/12/2023", "city": "Rome" if i % 3 else "Oslo"}
        for i in range(200)
    ]  # fmt: skip
    as_json = open_json(write(tmp_path / "a.jsonl", *rows))
    pl.DataFrame(rows).write_csv(tmp_path / "a.csv")
    as_csv = open_source(tmp_path / "a.csv")
    assert as_json.schema.to_json() == as_csv.schema.to_json()
    assert values(as_json) == values(as_csv)


def test_an_empty_text_is_missing_only_where_a_text_is_read_as_something_else(tmp_path: Path) -> None:
    source = open_json(
        write(
            tmp_path / "a.jsonl",
            *({"n": "" if i % 9 == 0 else str(i), "w": "" if i % 9 == 0 else "x"} for i in range(90)),
        )
    )
    found = values(source)
    assert found["n"][:3] == [None, 1.0, 2.0]
    assert found["w"][:3] == ["", "x", "x"]
    again = open_json(tmp_path / "a.jsonl", missing=("x",))
    assert values(again)["w"][:3] == ["", None, None]


def test_numbers_that_float64_would_round_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({"key": 2**60 + i, "n": i} for i in range(60)), {"key": 2**70, "n": 1})
    source = open_json(path)
    assert source.schema["key"].role is Role.key
    assert values(source)["key"] == [*(str(2**60 + i) for i in range(60)), str(2**70)]


def test_numbers_read_as_categories_are_written_alike_whatever_stands_beside_them(tmp_path: Path) -> None:
    good = [{"x": 1.50, "n": 3}, {"x": -0.0, "n": 4}, {"x": 1e20, "n": 5}, {"x": 7, "n": 6}]
    roles = {"x": Role.category, "n": Role.category}
    alone = values(open_json(write(tmp_path / "a.jsonl", *good), roles=roles))
    beside = values(open_json(write(tmp_path / "b.jsonl", *good, '{"x": '), roles=roles))
    assert alone == beside == {"x": ["1.5", "-0", "1e+20", "7"], "n": ["3", "4", "5", "6"]}
    roles = {"n": Role.category}
    late = [*({"n": i} for i in range(150)), {"n": 1_700_000_000_000_123}, {"n": 2**62}, {"n": 2.5}]
    alone = values(open_json(write(tmp_path / "a.jsonl", *late), Limits(block_rows=1), sample_rows=9, roles=roles))
    beside = values(open_json(write(tmp_path / "b.jsonl", *late, '{"x": '), sample_rows=9, roles=roles))
    assert alone == beside == {"n": [*map(str, range(150)), "1700000000000123", str(2**62), "2.5"]}


def test_a_late_field_is_not_read_and_a_missing_one_is_null(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"a": 1}, {"b": 2}, *({"a": 3} for _ in range(150)), {"a": 4, "late": 5})
    source = open_json(path, sample_rows=10)
    assert values(source) == {"a": [1.0, None, *[3.0] * 150, 4.0], "b": [None, 2.0, *[None] * 151]}
    assert any("others that come later are not read" in note.text for note in source.notes)
    assert not any(note.topic == "fields" for note in open_json(path).notes)


def test_lists_of_objects_are_left_out_and_said(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = {"k": deep}
    source = open_json(write(tmp_path / "a.jsonl", {"a": 1, "rows": [{"b": 1}], "grid": [[1]], "deep": deep}, {"a": 2}))
    assert source.schema.names == ("a",)
    said = {note.topic: note.text for note in source.notes if "not read" in note.text}
    assert said["column 'rows'"] == said["column 'grid'"] == "lists of objects or of lists: not read"
    assert any("nested deeply" in text for text in said.values())


def test_kinds_that_are_mixed_are_read_as_a_csvs_cells_are(tmp_path: Path) -> None:
    rows = [
        {
            "n": i if i != 150 else "none",
            "m": i if i % 2 else f"w{i}",
            "o": {"p": 1} if i % 2 else 5,
            "l": ["a"] if i % 2 else [1.5, True, None],
        }
        for i in range(300)
    ]
    path = write(tmp_path / "a.jsonl", *rows)
    source = open_json(path)
    found = values(source)
    assert source.schema["n"].role is Role.integer
    assert [(row["row"], row["column"], row["value"]) for row in rejected(source)] == [(150, "n", "none")]
    kept = [i for i in range(300) if i != 150]
    assert found["m"] == [str(i) if i % 2 else f"w{i}" for i in kept]
    assert found["o"] == [None if i % 2 else 5.0 for i in kept]
    assert found["o.p"] == [1.0 if i % 2 else None for i in kept]
    assert found["l"] == [["a"] if i % 2 else ["1.5", "true", None] for i in kept]
    assert "texts and whole numbers" in next(note.reason for note in source.notes if note.topic == "type of 'm'")
    check_source(lambda: open_json(path, Limits(block_rows=40)), records=300)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1", "2024-01-01", ""]),
)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "o"]),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["x", "y"]), SCALARS)),
        max_size=4,
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, start=ROWS)
def test_a_record_is_read_alike_whatever_stands_beside_it(tmp_path: Path, rows: Any, start: Any) -> None:
    known = [{"a": 1, "b": "word", "c": [1, 2], "o": {"x": 0.5, "y": True}}, *start]
    lines = [json.dumps(one) for one in (*known, *rows)]
    paths = tmp_path / "alone.jsonl", tmp_path / "beside.jsonl"
    write(paths[0], *lines)
    write(paths[1], *lines, '{"a": ')
    try:
        alone = open_json(paths[0], Limits(block_rows=1), sample_rows=len(known))
    except SchemaError:
        return  # fields that can't be used: nothing to compare
    beside = open_json(paths[1], Limits(block_rows=500), sample_rows=len(known))
    assert alone.schema.names == beside.schema.names
    roles = {field.name: field.kind for field in alone.schema}
    assert repr(values(alone)) == repr(values(beside.with_roles(roles)))
    gone = [
        [(row["row"], row["column"], row["code"], row["value"]) for row in rejected(one)] for one in (alone, beside)
    ]
    assert gone[0] == gone[1][:-1]


def test_a_mask_of_an_object_is_that_of_its_fields(tmp_path: Path) -> None:
    source = open_json(write(tmp_path / "a.jsonl", {"o": {"x": 1.5}}, {"o": None}, {"o": {}}, {"o": {"x": None}}, {}))
    assert values(source) == {"o.x": [1.5, None, None, None, None]}


def test_names_may_be_odd(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"": 1, "*": 2, "^a$": 3, "c:x": 4, "中": {"": 5}, " b ": 6}, {"": 2})
    assert values(open_json(path)) == {
        "": ["1", "2"], "*": [2.0, None], "^a$": [3.0, None], "c:x": [4.0, None], "中.": [5.0, None], " b ": [6.0, None]
    } or open_json(path).schema[""].role is not Role.key  # fmt: skip
    check_source(lambda: open_json(path), records=2)


@pytest.mark.parametrize(
    ("text", "error", "message", "part"),
    [
        ('[{"a": 1},\n{"a": 2}]\n', SourceError, "no line is a JSON object", "jq -c '.[]'"),
        ("[1, 2]\n[3, 4]\n", SourceError, "no line is a JSON object", "jq"),
        ('{\n  "a": 1\n}\n', SourceError, "no line is a JSON object", "jq -c '.'"),
        ("a,b\n1,2\n", SourceError, "no line is a JSON object", "Expecting value"),
        ("\n\n\n", SourceError, "the file holds no record", ""),
        ("{}\n{}\n", SchemaError, "no field can be used", "empty objects"),
        ('{"a": [{"b": 1}]}\n', SchemaError, "no field can be used", "'a'"),
        ('{"a.b": 1, "a": {"b": 2}}\n', SchemaError, "two columns have one name", "'a.b'"),
    ],
)
def test_files_that_hold_no_table_are_refused(
    tmp_path: Path, text: str, error: type[PenstockError], message: str, part: str
) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(error, match=message) as caught:
        open_json(tmp_path / "a.json")
    assert part in str(caught.value)


def test_keys_that_are_values_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({f"user {i}": {f"item {i} {j}": 1 for j in range(20)}} for i in range(600)))
    with pytest.raises(SchemaError, match="there are too many fields"):
        open_json(path)


def test_roles_that_can_not_be_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"n": 1, "l": ["a"], "w": "x"}, {"n": 2, "l": ["b"], "w": "y"})
    for roles in ({"n": Role.time}, {"l": Role.number}, {"w": Role.list}):
        with pytest.raises(SchemaError, match="can't be a"):
            open_json(path, roles=roles)
    assert values(open_json(path, roles={"l": Role.ignored}))["l"] == ["[a]", "[b]"]


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *records(50))
    source = open_json(path)
    write(path, *records(60))
    with pytest.raises(ChangedError):
        read_all(source)


def test_dates_are_times(tmp_path: Path) -> None:
    source = open_json(write(tmp_path / "a.jsonl", {"t": "2024-01-02"}, {"t": "2024-01-03T04:05:06+02:00"}))
    assert values(source)["t"] == [datetime.datetime(2024, 1, 2), datetime.datetime(2024, 1, 3, 2, 5, 6)]
    assert source.schema["t"].type == pa.timestamp("us")
