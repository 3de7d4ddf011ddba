"""Every source of the registry obeys the laws of sources, however small its blocks and chunks are cut."""

import csv
import gzip
import io
import json
import sqlite3
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import registry
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.files import Limits, find_files, open_source
from penstock.testing import check_source

Rows = list[tuple[float | None, str | None, str]]


def as_csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(["number", "category", "note"])
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)


def as_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(as_table(rows), path, row_group_size=7)


def as_table(rows: Rows) -> pa.Table:
    names = ("number", "category", "note")
    kinds = (pa.float64(), pa.string(), pa.string())
    return pa.table({name: pa.array([row[i] for row in rows], kinds[i]) for i, name in enumerate(names)})


def as_arrow(path: Path, rows: Rows) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, as_table(rows).schema) as writer:
        writer.write_table(as_table(rows), max_chunksize=7)


def as_json(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in as_table(rows).to_pylist()))


def as_sqlite(path: Path, rows: Rows) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE data (number REAL, category TEXT, note TEXT)")
    connection.executemany("INSERT INTO data VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    ".csv": as_csv,
    ".tsv": lambda path, rows: as_csv(path, rows, "\t"),
    ".txt": lambda path, rows: as_csv(path, rows, ";"),
    ".data": as_csv,
    ".parquet": as_parquet,
    ".pq": as_parquet,
    ".arrow": as_arrow,
    ".feather": as_arrow,
    ".ipc": as_arrow,
    ".jsonl": as_json,
    ".ndjson": as_json,
    ".json": as_json,
    ".sqlite": as_sqlite,
    ".sqlite3": as_sqlite,
    ".db": as_sqlite,
}


def as_files(folder: Path, sizes: list[int]) -> int:
    """A file for each size, in two folders and the root."""
    for number, size in enumerate(sizes):
        path = folder / ("", "one", "two")[number % 3] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([97 + number % 26]) * size)
    return len(sizes)


def renamed(folder: Path, suffix: str) -> None:
    for path in list(folder.rglob("*.jpg")):
        path.rename(path.with_suffix(suffix))


def as_idx(folder: Path, sizes: list[int]) -> int:
    for number in range(2):
        values = np.arange(len(sizes) * 6, dtype=np.uint8)
        head = struct.pack(">HBBIII", 0, 8, 3, len(sizes), 2, 3)
        path = folder / f"{number}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(head + values.tobytes()))
    return 2 * len(sizes)


def as_cifar(folder: Path, sizes: list[int]) -> int:
    records = np.random.default_rng(len(sizes)).integers(0, 256, (len(sizes), 3073), dtype=np.uint8)
    records[:, 0] %= 10
    records.tofile(folder / "data_batch_1.bin")
    return len(sizes)


def as_npz(folder: Path, sizes: list[int]) -> int:
    random = np.random.default_rng(len(sizes))
    images, labels = random.random((len(sizes), 4, 3, 3)).astype(">f4"), random.integers(0, 3, len(sizes))
    np.savez(folder / "a.npz", x=images, y=labels)
    np.savez_compressed(folder / "b.npz", x=images, y=labels)
    return 2 * len(sizes)


def as_tar(folder: Path, sizes: list[int]) -> int:
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            for number, size in enumerate(sizes):
                fields = json.dumps({"n": number, "word": "ab"[number % 2]}).encode()
                members = {"jpg": b"x" * size, "cls": b"3", "json": fields}
                for ending, content in members.items():
                    member = tarfile.TarInfo(f"{number:05d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return 2 * len(sizes)


def as_clips(folder: Path, sizes: list[int]) -> int:
    count = as_files(folder, sizes)
    renamed(folder, ".mp4")
    return count


PICTURED: dict[str, tuple[str, Callable[[Path, list[int]], int]]] = {
    "pictures": ("picture", as_files),
    "clips": ("clip", as_clips),
    "texts": ("text", as_files),
    "idx": (".idx", as_idx),
    "cifar": (".bin", as_cifar),
    "npz": (".npz", as_npz),
    "tar": (".tar", as_tar),
}
"""By what is written, the source that reads it; files of some sizes, of which the last may be empty."""


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-1000, 1000).map(float)),
        st.one_of(st.none(), st.sampled_from(["red", "green", "a,b", "c;d"])),
        st.sampled_from(["plain", 'with "quotes"', "two\nlines", "tab\there", "中文"]),
    ),
    min_size=2,
    max_size=60,
)


def test_every_source_of_the_registry_has_an_example_here() -> None:
    assert set(registry.names("sources")) == {*WRITERS, *(name for name, _ in PICTURED.values())}


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(ROWS, min_size=1, max_size=3), block=st.integers(1, 20), chunk=st.integers(50, 2_000))
def test_a_source_obeys_the_laws(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, files: list[Rows], block: int, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("source")
    for number, rows in enumerate(files):
        WRITERS[suffix](folder / f"{number}{suffix}", rows)
    limits = Limits(block_rows=block, block_bytes=300, chunk_bytes=chunk, record_bytes=10_000, window_bytes=64)
    kind = registry.find("sources", suffix)
    options = ReadOptions(delimiter={".tsv": "\t", ".txt": ";"}.get(suffix, "," if kind is not None else None))
    if suffix not in (".csv", ".tsv", ".txt", ".data"):
        options = ReadOptions()
    check_source(lambda: kind(find_files(folder), options, limits), records=sum(map(len, files)))


@pytest.mark.parametrize("what", sorted(PICTURED))
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 60), min_size=2, max_size=12), block=st.integers(1, 5), chunk=st.integers(50, 2_000)
)
def test_a_source_of_pictures_clips_or_texts_obeys_the_laws(
    tmp_path_factory: pytest.TempPathFactory, what: str, sizes: list[int], block: int, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("source")
    name, write = PICTURED[what]
    records = write(folder, sizes)
    limits = Limits(block_rows=block, block_bytes=100, chunk_bytes=chunk)
    options = ReadOptions(each="file" if what == "texts" else "record")
    kind = registry.find("sources", name)
    check_source(lambda: kind(find_files(folder), options, limits), records=records)


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 60), min_size=2, max_size=200))
def test_a_table_that_names_files_obeys_the_laws(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("source")
    for number, size in enumerate(sizes):
        (folder / f"{number}.jpg").write_bytes(b"x" * size)
    lines = "".join(f"{number}.jpg,{number if number % 5 else 'bad'}\n" for number in range(len(sizes) + 1))
    (folder / "table.csv").write_text("photo,n\n" + lines)
    roles = {"photo": Role.picture, "n": Role.number}
    check_source(lambda: open_source(folder / "table.csv", ReadOptions(roles=roles)), records=len(sizes) + 1)
