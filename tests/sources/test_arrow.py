"""Arrow IPC files and streams: the values that were written, the laws of sources, and damage that is told."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import ChangedError, SchemaError, SourceError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.arrow import ArrowSource
from penstock.sources.files import Limits, find_files, open_source
from penstock.testing.sources import check_source, read_all

Writer = Callable[[Any, pa.Schema], Any]
WRITERS: dict[str, tuple[Writer, str | None]] = {
    "file": (pa.ipc.new_file, None),
    "file, lz4": (pa.ipc.new_file, "lz4"),
    "stream": (pa.ipc.new_stream, None),
    "stream, zstd": (pa.ipc.new_stream, "zstd"),
}
every_way = pytest.mark.parametrize("way", list(WRITERS))


def write(path: Path, table: pa.Table, way: str = "file", rows: int = 2**20) -> Path:
    writer, compression = WRITERS[way]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, writer(file, table.schema, options=options) as out:
        out.write_table(table, max_chunksize=rows)
    return path


def open_arrow(data: Path, limits: Limits | None = None, **options: Any) -> ArrowSource:
    return ArrowSource(find_files(data), ReadOptions(**options), limits)


def values(source: Source) -> dict[str, list[Any]]:
    batches = read_all(source)
    return {name: [v for b in batches for v in b.column(name).to_pylist()] for name in source.schema.names}


def mixed(rows: int, seed: int = 3, *, dictionary: bool = True) -> pa.Table:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=rows)
    numbers[random.random(rows) < 0.05] = np.inf
    words = pa.array(random.choice(["a", "b", "ccc"], rows))
    return pa.table(
        {
            "number": pa.array(numbers, mask=random.random(rows) < 0.1),
            "word": words.dictionary_encode() if dictionary else words,
            "key": pa.array([f"K{i}" for i in range(rows)], pa.large_string()),
            "view": pa.array(random.choice(["a view", "a text that is longer than twelve"], rows), pa.string_view()),
            "flag": pa.array(random.random(rows) < 0.5),
            "when": pa.array(random.integers(0, 10**12, rows), pa.timestamp("ms", "Asia/Tokyo")),
            "list": pa.array(
                [None if i % 5 == 0 else ["x", None][: i % 3] for i in range(rows)], pa.list_(pa.string())
            ),
        }
    )


@every_way
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_laws_hold_and_values_are_those_of_the_same_parquet_file(
    tmp_path: Path, way: str, dictionary: bool
) -> None:
    table = mixed(300, dictionary=dictionary)
    path = write(tmp_path / "a.arrow", table, way, rows=70)
    limits = Limits(block_rows=32, chunk_bytes=2_000)
    check_source(lambda: open_arrow(path, limits), records=300)
    pq.write_table(table, tmp_path / "a.parquet")
    expected = open_source(tmp_path / "a.parquet")
    assert open_arrow(path).schema.to_json() == expected.schema.to_json()
    assert values(open_arrow(path, limits)) == values(expected)
    lengths = [
        len(batch.keys) + (batch.rejected.num_rows if batch.rejected else 0)
        for batch in read_all(open_arrow(path, limits))
    ]
    assert lengths == [32, 32, 6] * 4 + [20]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 200),
    st.integers(1, 90),
    st.integers(1, 60),
    st.integers(100, 5000),
    st.sampled_from(sorted(WRITERS)),
)
def test_the_laws_of_sources_hold(tmp_path: Path, rows: int, batch: int, block: int, chunk: int, way: str) -> None:
    path = write(tmp_path / "a.arrow", mixed(rows), way, rows=batch)
    check_source(lambda: open_arrow(path, Limits(block_rows=block, block_bytes=2000, chunk_bytes=chunk)), records=rows)


def test_a_large_batch_is_cut_wherever_a_block_ends(tmp_path: Path) -> None:
    table = pa.table({"x": np.random.default_rng(0).normal(size=10_000)})
    limits = Limits(block_rows=300, chunk_bytes=8_000)
    chunks = list(open_arrow(write(tmp_path / "a.arrow", table), limits).chunks())
    assert len(chunks) >= 10 and max(chunk.nbytes for chunk in chunks) <= 10_000
    packed = list(open_arrow(write(tmp_path / "b.arrow", table, "file, lz4"), limits).chunks())
    assert len(packed) == 4  # each decompresses the whole batch


def test_a_compressed_batch_counts_in_what_reading_holds(tmp_path: Path) -> None:
    table = pa.table({"x": np.zeros(100_000)})
    limits = Limits(block_rows=1000)
    plain = open_arrow(write(tmp_path / "a.arrow", table), limits).block_nbytes
    packed = open_arrow(write(tmp_path / "b.arrow", table, "file, lz4"), limits).block_nbytes
    assert plain < 20_000 and packed >= 800_000 + plain


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".ipc"])
def test_files_of_other_libraries_are_read(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {
            "n": [1, 2, None],
            "w": ["x", None, "y"],
            "c": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "e": pl.Series(["u", "v", "u"], dtype=pl.Enum(["v", "u"])),
            "d": [datetime.date(2024, 1, 2)] * 2 + [None],
            "l": [[1], [2, 3], None],
        }
    )
    expected = {
        "n": [1.0, 2.0, None], "w": ["x", None, "y"], "c": ["u", "v", "u"], "e": ["u", "v", "u"],
        "d": [datetime.datetime(2024, 1, 2)] * 2 + [None], "l": [["1"], ["2", "3"], None],
    }  # fmt: skip
    frame.write_ipc(tmp_path / f"a{suffix}")
    assert values(open_source(tmp_path / f"a{suffix}")) == expected
    frame.write_ipc_stream(tmp_path / f"s{suffix}")
    assert values(open_source(tmp_path / f"s{suffix}")) == expected
    feather.write_feather(frame.to_pandas()[["n", "w"]], str(tmp_path / f"p{suffix}"))
    assert values(open_source(tmp_path / f"p{suffix}")) == {"n": expected["n"], "w": expected["w"]}


def test_nested_and_binary_columns_are_left_out_and_said(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0], "deep": [{"a": 1}, {"a": 2}], "raw": [b"a", b"b"], "grid": [[[1]], [[2]]]})
    source = open_arrow(write(tmp_path / "a.arrow", table))
    assert source.schema.names == ("x",)
    assert [note.topic for note in source.notes if "is not read" in note.text] == [
        "column 'deep'", "column 'raw'", "column 'grid'"
    ]  # fmt: skip
    with pytest.raises(SchemaError, match="no column can be used"):
        open_arrow(write(tmp_path / "b.arrow", table.select(["raw"])))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_that_is_not_utf_8_costs_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"fine"], pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
    bad = pa.Array.from_buffers(kind, 3, raw.buffers())
    words = pa.DictionaryArray.from_arrays([0, 2, 1], bad)
    path = write(tmp_path / "a.arrow", pa.table({"c": bad, "d": words, "n": [1, 2, 3]}))
    source = open_arrow(path, roles={"c": Role.text})
    rows = [row for b in read_all(source) if b.rejected is not None for row in b.rejected.to_pylist()]
    assert [(row["row"], row["column"], row["code"], row["value"]) for row in rows] == [
        (1, "c", "bad_encoding", "caf\\xe9"), (2, "d", "bad_encoding", "caf\\xe9")
    ]  # fmt: skip


@every_way
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, way: str) -> None:
    data = write(tmp_path / "whole.arrow", mixed(500), way, rows=100).read_bytes()
    for size in (1, 5, 8, 50, 400, len(data) // 2, len(data) - 9):
        (tmp_path / "cut.arrow").write_bytes(data[:size])
        with pytest.raises(SourceError, match="can't be read as Arrow") as caught:
            open_arrow(tmp_path / "cut.arrow")
        assert caught.value.where == str(tmp_path / "cut.arrow")


def test_damage_never_ends_the_process(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.arrow", mixed(200), rows=50).read_bytes()
    random = np.random.default_rng(0)
    read = 0
    for _ in range(150):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] ^= 1 << int(random.integers(0, 8))
        (tmp_path / "bad.arrow").write_bytes(damaged)
        try:
            read += sum(len(batch) for batch in read_all(open_arrow(tmp_path / "bad.arrow"))) > 0
        except (SourceError, SchemaError):
            continue
    assert read  # there are no checksums in the format: other values are not noticed


def test_offsets_that_point_elsewhere_are_refused(tmp_path: Path) -> None:
    offsets = np.array([0, 2, 2**30, 4], np.int32)
    bad = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"abcd")])
    path = write(tmp_path / "a.arrow", pa.table({"c": bad}))
    with pytest.raises(SourceError, match="can't be read as Arrow"):
        read_all(open_arrow(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"not arrow at all, but text", "can't be read as Arrow"), (b"FEA1\0\0\0\0FEA1", "the first version of Feather")],
)
def test_what_is_no_arrow_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.feather").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "a.feather")


def test_files_without_rows_or_compressed_from_outside_are_refused(tmp_path: Path) -> None:
    empty = pa.table({"x": pa.array([], pa.int64())})
    for way in ("file", "stream"):
        with pytest.raises(SourceError, match="there are no rows"):
            open_arrow(write(tmp_path / "a.arrow", empty, way))
    (tmp_path / "a.arrow.gz").write_bytes(b"x")
    with pytest.raises(SourceError, match="a compressed Arrow file"):
        open_source(tmp_path / "a.arrow.gz")


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", pa.table({"x": np.arange(1000.0)}))
    source = open_arrow(path)
    other = write(tmp_path / "b.arrow", pa.table({"x": np.arange(2000.0)}))
    other.replace(path)
    with pytest.raises(ChangedError):
        read_all(source)
