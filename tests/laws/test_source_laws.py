"""Every source of the registry obeys the laws of sources, however small its blocks and chunks are cut."""

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import registry
from penstock.source import ReadOptions
from penstock.sources.files import Limits, find_files
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
    assert set(registry.names("sources")) == set(WRITERS)


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
