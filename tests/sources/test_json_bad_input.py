"""What is wrong with a line of JSON costs that line alone, with its place, its reason and its original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.files import Limits, find_files
from penstock.sources.json import JsonSource
from penstock.testing.sources import check_source, read_all

GOOD = [
    f'{{"n": {i}, "w": "é{i % 3}", "l": [1, 2], "o": {{"k": 1.5}}, "t": "2024-01-{i % 28 + 1:02d}"}}'.encode()
    for i in range(200)
]
ROLES = {"n": Role.integer, "t": Role.time}


def open_json(path: Path, limits: Limits | None = None, **options: Any) -> JsonSource:
    return JsonSource(find_files(path), ReadOptions(roles=ROLES, **options), limits)


def with_line(tmp_path: Path, line: bytes) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([*GOOD, line, *GOOD]) + b"\n")
    return path


def rejected(source: JsonSource) -> list[dict[str, Any]]:
    batches = read_all(source)
    assert all(batch.counts[0].balanced for batch in batches)
    return [row for batch in batches if batch.rejected is not None for row in batch.rejected.to_pylist()]


@pytest.mark.parametrize("limits", [None, Limits(block_rows=50, chunk_bytes=6_000, window_bytes=64)])
@pytest.mark.parametrize(
    ("line", "column", "code", "value"),
    [
        (b'{"n": 1, ', None, "not_json", None),
        (b'{"n": 1} trailing', None, "not_json", None),
        (b'{"n": 1}{"n": 2}', None, "not_json", None),
        (b'{"n": 1,}', None, "not_json", None),
        (b"{'n': 1}", None, "not_json", None),
        (b'{"n": 01}', None, "not_json", None),
        (b'{"w": "\x01"}', None, "not_json", None),
        (b'{"w": "\\ud800"}', None, "not_json", None),
        (b"   ", None, "not_json", None),
        (b'{"z": ' + b"[" * 2000 + b"]" * 2000 + b', "n": }', None, "not_json", None),
        (b'{"z": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_000 + b', "n": "x"}', None, "not_json", None),
        (b"[1, 2]", None, "not_an_object", None),
        (b"null", None, "not_an_object", None),
        (b"17", None, "not_an_object", None),
        (b'{"w": "caf\xe9"}', None, "bad_encoding", None),
        (b'\xff{"n": 1}', None, "bad_encoding", None),
        (b'{"w": "a\x00b"}', None, "nul_byte", None),
        (b'{"n": "oops"}', "n", "not_a_number", "oops"),
        (b'{"n": true}', "n", "not_a_number", "true"),
        (b'{"n": 9007199254740993}', "n", "too_large", "9007199254740993"),
        (b'{"n": -' + b"9" * 400 + b"}", "n", "too_large", "-" + "9" * 400),
        (b'{"n": Infinity}', "n", "infinite", "Infinity"),
        (b'{"n": 1e999}', "n", "infinite", "1e999"),
        (b'{"n": {"x": 1}}', "n", "nested", '{"x": 1}'),
        (b'{"n": 1, "n": 2}', "n", "duplicate_key", "2"),
        (b'{"o": {"k": 1, "k": 1}}', "o.k", "duplicate_key", "1"),
        (b'{"o": 5}', "o.k", "not_an_object", "5"),
        (b'{"o": {"k": [1]}}', "o.k", "nested", "[1]"),
        (b'{"l": 3}', "l", "not_a_list", "3"),
        (b'{"l": [[1]]}', "l", "nested", "[[1]]"),
        (b'{"t": "no date"}', "t", "not_a_date", "no date"),
        (b'{"t": 5}', "t", "not_a_date", "5"),
    ],
)
def test_a_bad_line_costs_itself_alone(
    tmp_path: Path, line: bytes, column: str | None, code: str, value: str | None, limits: Limits | None
) -> None:
    source = open_json(with_line(tmp_path, line), limits)
    (row,) = rejected(source)
    assert (row["row"], row["line"], row["column"], row["code"], row["value"]) == (200, 201, column, code, value)
    assert row["record"] == line.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    assert row["reason"]
    numbers = [v for batch in read_all(source) for v in batch.column("n").to_pylist()]
    assert numbers == [*map(float, range(200)), *map(float, range(200))]


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        (b'{"n": NaN}', "n", None),
        (b'{"n": null}', "n", None),
        (b'{"n": 3.5}', "n", 3.5),
        (b'{"n": "17"}', "n", 17.0),
        (b'{"n": ""}', "n", "rejected"),
        (b'{"n": 9007199254740992}', "n", 2.0**53),
        (b'{"w": 5}', "w", "5"),
        (b'{"w": 2.50}', "w", "2.50"),
        (b'{"w": false}', "w", "false"),
        (b'{"w": "\\u4e2d\\ud83d\\ude00"}', "w", "中😀"),
        (b'{"l": []}', "l", []),
        (b'{"l": [7, null, 2.5, "x", true]}', "l", ["7", None, "2.5", "x", "true"]),
        (b'{"z": [{"new": 1, "new": 2}]}', "o.k", None),
        (b'{"t": ""}', "t", None),
        (b'   {"n" : 5 }  ', "n", 5.0),
        (b'{"z": [{"deep": [[1]]}], "n": 6}', "n", 6.0),
    ],
)
def test_what_is_unusual_is_read(tmp_path: Path, line: bytes, column: str, value: object) -> None:
    path = with_line(tmp_path, line)
    source = open_json(path)
    if value == "rejected":
        assert rejected(source)[0]["code"] == "not_a_number"
        return
    found = [v for batch in read_all(source) for v in batch.column(column).to_pylist()]
    assert found[200] == value
    assert rejected(source) == []
    check_source(lambda: open_json(path, Limits(block_rows=33)), records=401)


def test_an_infinite_number_is_missing_where_that_is_asked_for(tmp_path: Path) -> None:
    source = open_json(with_line(tmp_path, b'{"n": -Infinity}'), missing=("inf",))
    assert rejected(source) == []


def test_a_record_that_is_too_long_is_rejected_with_its_beginning(tmp_path: Path) -> None:
    path = with_line(tmp_path, b'{"w": "' + b"x" * (17 * 2**20) + b'"}')
    source = open_json(path)
    (row,) = rejected(source)
    assert (row["row"], row["line"], row["code"]) == (200, 201, "record_too_long")
    assert row["record"].startswith('{"w": "xxx') and len(row["record"]) < 10_000
    assert sum(len(batch) for batch in read_all(source)) == 400


def test_a_last_line_that_is_cut_short_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(GOOD) + b'\n{"n": 12, "w"')
    (row,) = rejected(open_json(path))
    assert (row["row"], row["code"], row["record"]) == (200, "not_json", '{"n": 12, "w"')


def test_which_rows_are_rejected_does_not_depend_on_the_columns_that_are_read(tmp_path: Path) -> None:
    lines = [b'{"n": "x", "w": "a"}', b'{"n": 5, "w": "a", "w": "b"}', b'{"l": 3}', b'{"n": 9007199254740993}']
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([*GOOD, *lines, *GOOD]))
    check_source(lambda: open_json(path, Limits(block_rows=21, chunk_bytes=2_000)), records=404)
    source = open_json(path)
    rows = [sum(len(b) for b in read_all(source, (name,))) for name in source.schema.names]
    assert set(rows) == {400}
