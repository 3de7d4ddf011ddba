"""Compressed and transcoded files are spooled once, anew when the spool is gone, and removed at the end."""

from __future__ import annotations

import gc
import gzip
import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from penstock.errors import SourceError
from penstock.source import ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files
from penstock.sources.spool import SpoolFolder, TextFile

TEXT = "n,w\n" + "".join(f"{i},{'é' * (i % 9)}x\n" for i in range(30_000))


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "spools"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def text_file(path: Path, encoding: str = "utf-8") -> TextFile:
    return TextFile(find_files(path)[0], encoding, SpoolFolder(), 0)


def rows_of(source: CsvSource) -> int:
    return sum(len(batch) for chunk in source.chunks() for batch in source.read(chunk))


def zipped(names: list[str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", TEXT.encode()),
        ("a.csv.gz", gzip.compress(TEXT.encode())),
        ("members.csv.gz", gzip.compress(TEXT[:1000].encode()) + gzip.compress(TEXT[1000:].encode()) + b"\0" * 20),
        ("a.csv.zst", zstandard.ZstdCompressor().compress(TEXT.encode())),
        (
            "frames.csv.zst",
            b"".join(zstandard.ZstdCompressor().compress(part.encode()) for part in (TEXT[:1000], TEXT[1000:])),
        ),
        ("a.csv.zip", zipped(["a.csv", "__MACOSX/a.csv"])),
    ],
)
def test_the_content_is_the_same_however_it_is_packed(tmp_path: Path, spools: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    text = text_file(path)
    whole = TEXT.encode()
    assert text.window(0, 100) == (whole[:100], False)
    assert text.window(len(whole) - 10, 100) == (whole[-10:], True)
    assert text.read(5000, 70) == whole[5000:5070]
    assert bool(list(spools.iterdir())) == (name != "a.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "gb18030", "latin-1"])
def test_other_encodings_become_utf_8(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode(encoding))
    data, final = text_file(path, encoding).window(0, 10**7)
    assert final
    assert data == TEXT.encode()


def test_bytes_that_do_not_decode_become_an_invalid_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a,中\n".encode("gb18030") + b"b,\xff\xff\n" + "c,国\n".encode("gb18030"))
    data, _ = text_file(path, "gb18030").window(0, 1000)
    lines = data.split(b"\n")
    assert (lines[0].decode(), lines[2].decode()) == ("a,中", "c,国")
    with pytest.raises(UnicodeDecodeError):
        lines[1].decode()


def test_a_spool_that_is_gone_is_made_anew(tmp_path: Path, spools: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    source = CsvSource(find_files(path), ReadOptions(), Limits(block_rows=1000, chunk_bytes=50_000))
    assert rows_of(source) == 30_000
    for spool in spools.iterdir():
        shutil.rmtree(spool)
    last = list(source.chunks())[-1]
    assert sum(len(batch) for batch in source.read(last)) > 0
    assert rows_of(source) == 30_000


def test_a_chunk_may_be_read_before_the_plan_is_made(tmp_path: Path, spools: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    limits = Limits(block_rows=1000, chunk_bytes=50_000)
    last = list(CsvSource(find_files(path), ReadOptions(), limits).chunks())[-1]
    anew = CsvSource(find_files(path), ReadOptions(), limits)
    assert sum(len(batch) for batch in anew.read(last)) == last.rows


def test_spools_are_removed_on_close_and_with_the_source(tmp_path: Path, spools: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    source = CsvSource(find_files(path), ReadOptions())
    rows_of(source)
    assert len(list(spools.iterdir())) == 1
    source.close()
    assert not list(spools.iterdir())
    assert rows_of(source) == 30_000
    del source
    gc.collect()
    assert not list(spools.iterdir())


def test_a_copy_with_other_roles_keeps_the_spool(tmp_path: Path, spools: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    source = CsvSource(find_files(path), ReadOptions())
    other = source.with_roles({})
    rows_of(source)
    del source
    gc.collect()
    assert len(list(spools.iterdir())) == 1
    assert sum(len(b) for chunk in other.chunks() for b in other.read(chunk)) == 30_000


def test_an_archive_without_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.zip"
    path.write_bytes(zipped([]))
    with pytest.raises(SourceError, match="an archive must hold one file") as caught:
        CsvSource(find_files(path), ReadOptions())
    assert caught.value.expected == "one file"
