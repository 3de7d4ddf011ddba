"""A job that is killed at a random moment goes on by the same command, and makes the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.durable import read_json, sha256

KILLS = int(os.environ.get("PENSTOCK_KILLS", "6"))

JOB = """
import sys
import penstock as ps
from penstock.source import ReadOptions
from penstock.sources.files import Limits, find_files
from penstock.sources.parquet import ParquetSource

data, out = sys.argv[1:]
steps = [ps.Impute(ps.numeric(), "mean"), ps.Clip(ps.numeric()), ps.Standardize(ps.numeric()), ps.Ordinal("c")]
source = ParquetSource(find_files(data), ReadOptions(), Limits(block_rows=2_000, chunk_bytes=400_000))
done = ps.Pipeline(steps).prepare(source, to=out, cores=2)
print(done.resumed, done.already_done)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows enough for some dozens of small chunks."""
    folder = tmp_path_factory.mktemp("data")
    random_state = np.random.default_rng(0)
    rows = 240_000
    columns = {
        f"n{i}": pa.array(random_state.normal(size=rows), mask=random_state.random(rows) < 0.01) for i in range(8)
    }
    columns["c"] = pa.array(random_state.choice(["x", "y", "z"], rows))
    for number in range(4):
        table = pa.table(columns).slice(number * rows // 4, rows // 4)
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=5_000)
    return folder


def command(data: Path, out: Path) -> list[str]:
    return [sys.executable, "-c", JOB, str(data), str(out)]


def hashes(out: Path) -> list[str]:
    return [sha256(path) for path in sorted(out.iterdir())]


def receipts(out: Path) -> int:
    progress = out.with_name("out.run") / "progress.jsonl"
    return len(progress.read_bytes().splitlines()) if progress.exists() else 0


def run_and_kill(data: Path, out: Path, after: int, chance: random.Random) -> None:
    """Kill the job a moment after it has finished so many chunks."""
    process = subprocess.Popen(command(data, out), stdout=subprocess.PIPE, text=True)
    while process.poll() is None and receipts(out) < after:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_killed_job_goes_on_by_the_same_command_and_makes_the_same_bytes(data: Path, tmp_path: Path) -> None:
    subprocess.run(command(data, tmp_path / "clean"), check=True, capture_output=True)
    wanted = hashes(tmp_path / "clean")
    assert len(wanted) > 20
    chance = random.Random(0)
    out = tmp_path / "out"
    went_on = 0
    for number in range(KILLS):
        run_and_kill(data, out, chance.randrange(len(wanted) + 1), chance)
        before = receipts(out)
        if out.exists():
            assert hashes(out) == wanted, f"kill {number}: something else than the whole output can be seen"
        document = out.with_name("out.run") / "run.json"
        state = read_json(document)["state"] if document.exists() else "running"
        done = subprocess.run(command(data, out), check=True, capture_output=True, text=True).stdout.split()
        assert (done[1] == "True") == (state == "committed")
        if state == "running":
            assert int(done[0]) == before, "a finished chunk was done again"
            went_on += before > 0
        assert hashes(out) == wanted
        assert read_json(document)["state"] == "committed"
        for path in (out, out.with_name("out.run")):
            shutil.rmtree(path)
    assert went_on > 0, "no kill came while chunks were done: the test tests nothing"
