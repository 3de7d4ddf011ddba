"""Relational work larger than its memory: spilled to disk, with the same result, or refused before it begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from related_rows import laid, source_of

import penstock as ps
from penstock.errors import ResourceError
from penstock.resources import give_back, held


@contextmanager
def watched(folder: Path) -> Iterator[set[str]]:
    """The names of files that are in folders named ``spill`` at some time."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            for place, _, names in os.walk(folder):
                seen.update(name for name in names if place.endswith("/spill") and "storage" in name)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


SPILLING = """
import sys
from pathlib import Path
import penstock as ps
from penstock.engine import Resources, Silent
from penstock.resources import held

rows, folder, memory = (Path(part) for part in sys.argv[1:4])
source = ps.read(rows, roles={"key": "key"}).deduplicate("key").sort("key")
found = source.laid_down(folder, Resources(2, held() + int(str(memory))), Silent())
print([value for chunk in found.chunks() for batch in found.read(chunk) for value in batch.column("x").to_pylist()])
"""


def test_what_does_not_fit_is_spilled_into_the_folder_and_the_result_is_the_same(tmp_path: Path) -> None:
    """In processes of their own: what this one holds depends on the tests before."""
    rows = 600_000
    keys = np.random.default_rng(1).permutation(rows) % 500_000
    texts = [f"a key that is rather long {key:012d}" for key in keys]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"key": texts, "x": np.arange(rows)}), path, row_group_size=100_000)
    first: dict[int, int] = {}
    for place, key in enumerate(keys.tolist()):
        first.setdefault(key, place)
    for name, memory, spills in (("small", 80 * 2**20, True), ("large", 2**32, False)):
        folder = tmp_path / name
        with watched(folder) as spilled:
            command = [sys.executable, "-c", SPILLING, str(path), str(folder), str(memory)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert bool(spilled) is spills
        assert json.loads(done.stdout) == [first[key] for key in sorted(first)]


def test_memory_that_is_too_small_for_anything_is_refused_with_the_remedy(tmp_path: Path) -> None:
    source = source_of(tmp_path, {"k": ("integer", [1, 2])})
    give_back()
    with pytest.raises(ResourceError, match="does not fit into the memory given") as error:
        laid(source, ps.Deduplicate("k"), memory=held() + 2 * 2**20)
    assert "--memory" in error.value.remedy
