"""The footer of a Parquet file is read as Arrow reads it; where it is damaged, that is an error and not the end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.sources.parquet_footer import column_chunks

TABLE = pa.table(
    {
        "n": np.arange(300),
        "x.y": np.linspace(0, 1, 300),
        "word": [f"w{i % 7}" for i in range(300)],
        "day": pa.array(np.arange(300), pa.timestamp("us")),
        "list": [[i, i] for i in range(300)],
        "part": [{"a": i, "b": {"c": str(i)}} for i in range(300)],
        "flag": [i % 2 == 0 for i in range(300)],
        "none": pa.nulls(300),
    }
)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "many groups": {"row_group_size": 10},
    "other encodings": {
        "use_dictionary": False,
        "column_encoding": {"n": "DELTA_BINARY_PACKED", "x.y": "BYTE_STREAM_SPLIT", "word": "DELTA_BYTE_ARRAY"},
    },
    "checksums and indexes": {"write_page_checksum": True, "write_page_index": True, "compression": "zstd"},
    "sorted": {"sorting_columns": [pq.SortingColumn(0)], "version": "1.0", "data_page_version": "2.0"},
}


@pytest.mark.parametrize("way", list(WAYS))
def test_sizes_and_encodings_are_those_that_arrow_reads(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, **WAYS[way])
    metadata = pq.ParquetFile(path).metadata
    found = column_chunks(path, metadata.serialized_size)
    assert len(found) == metadata.num_row_groups
    for number, chunks in enumerate(found):
        group = metadata.row_group(number)
        assert len(chunks) == group.num_columns
        for place, chunk in enumerate(chunks):
            other = group.column(place)
            assert ".".join(chunk.path) == other.path_in_schema
            assert chunk.nbytes == other.total_uncompressed_size
            plain = any(one.startswith("DELTA") or one == "BYTE_STREAM_SPLIT" for one in other.encodings)
            assert chunk.dictionary != plain
    assert any(not chunk.dictionary for chunk in found[0]) == (way == "other encodings")


def test_a_damaged_footer_is_an_error_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=100)
    size = pq.ParquetFile(path).metadata.serialized_size
    data = path.read_bytes()
    start = len(data) - 8 - size
    chance = random.Random(0)
    refused = 0
    for _ in range(1_500):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 5])):
            changed[chance.randrange(start, len(data) - 8)] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            column_chunks(path, size)
        except ValueError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x19", b"\x49\xfc" + b"\xff" * 20, b"\x4c" * 500, b"\x1b\xff\xff\xff\x7f"]
)
def test_what_is_no_footer_has_no_row_groups_or_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data + b"12345678")
    if data == b"\x00":
        assert column_chunks(path, len(data)) == []
    else:
        with pytest.raises(ValueError, match=r"."):
            column_chunks(path, len(data))
