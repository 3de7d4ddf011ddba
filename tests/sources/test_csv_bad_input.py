"""What is wrong with a CSV costs the rows it is wrong in, each with its place, its reason and its original."""

from __future__ import annotations

import gzip
import io
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from penstock.batch import Batch
from penstock.errors import ChangedError, SourceError
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files

GOOD = "".join(f"{i},{i / 2},w{i % 3}\n" for i in range(1, 201))
HEADER = "n,x,word\n"


def open_csv(path: Path, limits: Limits | None = None, **options: Any) -> CsvSource:
    return CsvSource(find_files(path), ReadOptions(**options), limits)


def read(source: CsvSource) -> tuple[int, list[dict[str, Any]]]:
    """(rows that came out, rejected rows), with the ledger checked."""
    batches: list[Batch] = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    rejected = [row for batch in batches if batch.rejected is not None for row in batch.rejected.to_pylist()]
    counts = [batch.counts[0] for batch in batches]
    assert all(count.balanced for count in counts)
    assert sum(count.rejected for count in counts) == len(rejected)
    return sum(len(batch) for batch in batches), rejected


def with_line(tmp_path: Path, line: bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(HEADER.encode() + GOOD.encode() + line + GOOD.encode())
    return path


@pytest.mark.parametrize("limits", [None, Limits(block_rows=50, chunk_bytes=600, window_bytes=64)])
@pytest.mark.parametrize(
    ("line", "column", "code", "value"),
    [
        (b"7,oops,a\n", "x", "not_a_number", "oops"),
        (b"bad,oops,a\n", "n", "not_a_number", "bad"),
        (b"7,1_000,a\n", "x", "not_a_number", "1_000"),
        (b"7,0x10,a\n", "x", "not_a_number", "0x10"),
        (b"7,inf,a\n", "x", "infinite", "inf"),
        (b"7,-Infinity,a\n", "x", "infinite", "-Infinity"),
        (b"7,1e999,a\n", "x", "infinite", "1e999"),
        (b"7,1.5\n", None, "ragged_line", None),
        (b"7,1.5,a,b\n", None, "ragged_line", None),
        (b"7,1.5,caf\xe9\n", None, "bad_encoding", None),
        (b"7,1.5,\xff\xfe\n", None, "bad_encoding", None),
        (b"7,1.5,a\0b\n", None, "nul_byte", None),
        (b"\0\0\0\n", None, "nul_byte", None),
    ],
)
def test_a_bad_line_costs_itself_alone(
    tmp_path: Path, limits: Limits | None, line: bytes, column: str | None, code: str, value: str | None
) -> None:
    path = with_line(tmp_path, line)
    rows, rejected = read(open_csv(path, limits, encoding="utf-8"))
    assert rows == 400
    (reject,) = rejected
    assert (reject["column"], reject["code"], reject["value"]) == (column, code, value)
    assert (reject["path"], reject["row"], reject["line"], reject["step"]) == ("data.csv", 200, 202, "read")
    shown = line.decode("utf-8", "backslashreplace").replace("\0", "\\x00").removesuffix("\n")
    assert reject["record"] == shown
    assert reject["reason"]


def test_a_row_with_several_bad_cells_is_rejected_once(tmp_path: Path) -> None:
    path = with_line(tmp_path, b"oops,inf,a\n")
    _, rejected = read(open_csv(path))
    assert [(reject["column"], reject["code"]) for reject in rejected] == [("n", "not_a_number")]


@pytest.mark.parametrize(
    ("values", "line", "code"),
    [
        (["yes", "no"], "perhaps", "not_a_boolean"),
        (["2024-01-31", "2023-12-01"], "2024-02-30", "not_a_date"),
        (["31/01/2024", "01/12/2023"], "01/13/2024", "not_a_date"),
        (["31/01/2024", "01/12/2023"], "1/2/24", "not_a_date"),
    ],
)
def test_cells_are_held_to_the_type_of_the_sample(tmp_path: Path, values: list[str], line: str, code: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text("n,v\n" + "".join(f"{i},{values[i % 2]}\n" for i in range(300)) + f"7,{line}\n")
    rows, (reject,) = read(open_csv(path))
    assert rows == 300
    assert (reject["column"], reject["code"], reject["value"], reject["line"]) == ("v", code, line, 302)


def test_a_quote_never_closed_costs_its_first_line_alone(tmp_path: Path) -> None:
    path = with_line(tmp_path, b'7,1.5,"open\n')
    for limits in (None, Limits(block_rows=50, window_bytes=100, record_bytes=300)):
        rows, (reject,) = read(open_csv(path, limits))
        assert rows == 400
        assert (reject["code"], reject["row"], reject["line"]) == ("unclosed_quote", 200, 202)
        assert reject["record"] == '7,1.5,"open'


def test_a_stray_quote_is_a_letter(tmp_path: Path) -> None:
    path = with_line(tmp_path, b'7,1.5,5" pipe\n8,2,"quoted, here"\n')
    source = open_csv(path)
    rows, rejected = read(source)
    assert (rows, rejected) == (402, [])
    words = [w for c in source.chunks() for b in source.read(c, ("word",)) for w in b.column("word").to_pylist()]
    assert words[200:202] == ['5" pipe', "quoted, here"]


def test_a_record_that_is_too_long_is_rejected_with_its_beginning(tmp_path: Path) -> None:
    path = with_line(tmp_path, b"7,1.5," + b"y" * 60_000 + b"\n")
    rows, (reject,) = read(open_csv(path, Limits(record_bytes=50_000, window_bytes=1000)))
    assert rows == 400
    assert (reject["code"], reject["line"]) == ("record_too_long", 202)
    assert reject["record"].startswith("7,1.5,yyy")
    assert len(reject["record"]) < 5000


def test_infinite_is_missing_where_that_is_asked_for(tmp_path: Path) -> None:
    path = with_line(tmp_path, b"7,-inf,a\n")
    rows, rejected = read(open_csv(path, missing=("inf", "-inf")))
    assert (rows, rejected) == (401, [])


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b'n,x,word\r\n1,2,a\n3,4,"two\r\nlines"\r5,6,c\r\n\r\n\n7,8\r9,10,e')
    for limits in (None, Limits(block_rows=1, window_bytes=3, chunk_bytes=5)):
        rows, (reject,) = read(open_csv(path, limits))
        assert rows == 4
        assert (reject["row"], reject["line"], reject["record"]) == (3, 8, "7,8")


def test_a_file_of_bad_lines_alone_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b,c\n1\n2\n")
    with pytest.raises(SourceError, match="no record can be read"):
        open_csv(path, delimiter=",")


def test_all_rows_may_be_rejected_once_the_types_are_known(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("n,x\none,1\ntwo,2\n")
    rows, rejected = read(open_csv(path, roles={"n": Role.number}))
    assert rows == 0
    assert [reject["value"] for reject in rejected] == ["one", "two"]


@pytest.mark.parametrize("change", ["grow", "shrink", "same size", "gone"])
def test_a_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    path = with_line(tmp_path, b"")
    source = open_csv(path)
    chunks = list(source.chunks())
    data = path.read_bytes()
    if change == "grow":
        path.write_bytes(data + b"1,2,a\n")
    elif change == "shrink":
        path.write_bytes(data[:-10])
    elif change == "same size":
        path.write_bytes(data.replace(b"w1", b"w9"))
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with pytest.raises(ChangedError) as caught:
        list(source.read(chunks[0]))
    assert str(path) in str(caught.value)


def test_a_file_that_was_only_touched_has_not_changed(tmp_path: Path) -> None:
    path = with_line(tmp_path, b"")
    source = open_csv(path)
    os.utime(path, ns=(1, 1))
    assert read(source)[0] == 400


def test_a_file_that_changes_between_two_blocks_is_noticed(tmp_path: Path) -> None:
    path = with_line(tmp_path, b"")
    source = open_csv(path, Limits(block_rows=100))
    (chunk,) = source.chunks()
    batches = source.read(chunk)
    next(batches)
    with path.open("ab") as file:
        file.write(b"1,2,a\n")
    with pytest.raises(ChangedError):
        list(batches)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".zip"])
def test_a_compressed_file_that_is_cut_short_is_read_to_there_and_then_refused(tmp_path: Path, suffix: str) -> None:
    letters = random.Random(1)
    text = "n,w\n" + "".join(f"{i},{letters.random()}\n" for i in range(200_000))
    if suffix == ".gz":
        data = gzip.compress(text.encode())
    elif suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(text.encode())
    else:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
        data = bytearray(packed.getvalue())
        data[len(data) // 2] ^= 0xFF
    path = tmp_path / f"data.csv{suffix}"
    path.write_bytes(data if suffix == ".zip" else data[: len(data) * 2 // 3])
    source = open_csv(path, Limits(block_rows=5000, chunk_bytes=200_000, window_bytes=2**16))
    read_rows = 0
    with pytest.raises(SourceError, match="a compressed file is damaged") as caught:
        for chunk in source.chunks():
            read_rows += sum(len(batch) for batch in source.read(chunk))
    assert 10_000 < read_rows <= 200_000
    assert "at about byte" in caught.value.got
    with pytest.raises(SourceError, match="a compressed file is damaged"):
        list(source.chunks())


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".zip"])
def test_what_is_not_compressed_at_all_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.csv{suffix}"
    path.write_text("n,w\n1,2\n")
    with pytest.raises(SourceError, match="a compressed file is damaged"):
        open_csv(path)
