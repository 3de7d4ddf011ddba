"""What a job's process holds stays within the memory it was given, however many rows there are."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CONFIG = """
steps:
  - impute: {columns: numeric, strategy: mean}
  - clip: {columns: numeric}
  - standardize: numeric
"""


def peak_of(arguments: list[str]) -> tuple[int, int]:
    """Run a command; gives its exit code and the most that its process held [bytes]."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)  # what it says stays visible in a failure
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                return
            fields = (line.split() for line in lines if line.startswith(("RssAnon", "RssShmem")))
            peak = max(peak, sum(int(field[1]) * 1024 for field in fields))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    watcher.join()
    return code, peak


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000,000 rows of 12 numbers, about 190 MB of values, in one row group and in many."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    table = pa.table({f"n{i}": random.normal(size=1_000_000) for i in range(12)})
    pq.write_table(table, folder / "one.parquet", row_group_size=1_000_000)
    pq.write_table(table, folder / "many.parquet", row_group_size=100_000)
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("limit", [280, 512])
def test_preparing_rows_stays_within_the_memory_given(rows: Path, tmp_path: Path, limit: int) -> None:
    (tmp_path / "p.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "penstock", "prepare", str(rows), "--config", str(tmp_path / "p.yaml")]
    code, peak = peak_of([*command, "--to", str(tmp_path / "out"), "--memory", f"{limit}MiB", "--quiet"])
    assert code == 0
    assert peak <= limit * 2**20, f"{peak / 2**20:.0f} MiB were held"
    assert sum(pq.read_metadata(path).num_rows for path in (tmp_path / "out").iterdir()) == 2_000_000
