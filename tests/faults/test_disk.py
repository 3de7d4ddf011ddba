"""Every operation on the disk may fail, and the power may go at any moment: an error that is told, nothing that is half
there, and the same command completes with the same bytes.

The long form takes more seeds: PENSTOCK_POWER_CUTS, see `make faults`.
"""

import errno
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disk import Disk, Killed

import penstock as ps
from penstock.durable import read_json, sha256
from penstock.errors import PenstockError
from penstock.schema import Role
from penstock.source import ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files

POWER_CUTS = int(os.environ.get("PENSTOCK_POWER_CUTS", "50"))
LONG = POWER_CUTS > 50
CHUNK_BYTES = 1_500 if LONG else 3_000
"""Fewer chunks have fewer operations, and each is let fail."""
STEPS = [ps.Impute("x", "mean"), ps.Standardize("x"), ps.OneHot("c")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    random_state = np.random.default_rng(0)
    for name in ("a", "b"):
        lines = [
            f"{x:.4f},{c},{'yes' if x > 0 else 'no'}"
            for x, c in zip(random_state.normal(size=120), random_state.choice(["u", "v"], 120), strict=True)
        ]
        lines[17] = "bad,u,no"
        (folder / f"{name}.csv").write_text("x,c,y\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def fitted(data: Path) -> ps.FittedPipeline:
    return ps.Pipeline(STEPS, ps.Linear(), target="y", max_rejected=0.1).fit(source(data))


def source(data: Path, name: str = "") -> CsvSource:
    return CsvSource(
        find_files(data / name), ReadOptions(roles={"x": Role.number}), Limits(block_rows=30, chunk_bytes=CHUNK_BYTES)
    )


Do = Callable[[Path], object]


def jobs(data: Path, fitted: ps.FittedPipeline) -> dict[str, Do]:
    def generations(place: Path) -> None:
        """Two nights, the second with a file that came in since."""
        out = place / "out"
        if not out.exists() or read_json(place / "out.run" / "run.json")["generation"] == 1:
            fitted.predict(source(data, "a.csv"), to=out, keep=["x"], cores=1, new_only=True)
        fitted.predict(source(data), to=out, keep=["x"], cores=1, new_only=True)

    return {
        "prepare": lambda place: ps.Pipeline(STEPS, max_rejected=0.1).prepare(source(data), to=place / "out", cores=1),
        "predict": lambda place: fitted.predict(source(data), to=place / "out", keep=["x"], cores=2),
        "predict to a file": lambda place: fitted.predict(source(data), to=place / "out.csv", keep=["x"], cores=1),
        "generations": generations,
        "train": lambda place: ps.Pipeline(STEPS, ps.Linear(), target="y", max_rejected=0.1).fit(
            source(data), to=place / "out", cores=1
        ),
    }


def hashes(place: Path) -> dict[str, str]:
    """What is published, without what lies in the run's folder."""
    found = [path for path in place.rglob("*") if path.is_file() and ".run" not in str(path.relative_to(place))]
    return {path.relative_to(place).as_posix(): sha256(path) for path in found}


def rejected(place: Path) -> list[int]:
    paths = sorted(place.glob("*.run/rejected/*.parquet"))
    return pa.concat_tables([pq.read_table(path, columns=["row"]) for path in paths])["row"].to_pylist()


@pytest.mark.parametrize("name", ["prepare", "predict", "predict to a file", "generations", "train"])
def test_whichever_operation_fails_the_error_is_told_and_the_same_command_completes(
    data: Path, fitted: ps.FittedPipeline, tmp_path: Path, name: str
) -> None:
    job = jobs(data, fitted)[name]
    clean = tmp_path / "clean"
    clean.mkdir()
    with Disk(clean).watching() as disk:
        job(clean)
    wanted, bad, operations = hashes(clean), rejected(clean), disk.count
    seen = [{}, wanted, {file: digest for file, digest in wanted.items() if "g0002" not in file}]
    assert operations > 30
    place = tmp_path / "place"
    failures = 0
    # a training takes a second and has many operations; two generations are two runs
    step = 1 if LONG else {"train": 8, "generations": 3}.get(name, 1)
    for number in range(1, operations + 1, step):
        error = errno.ENOSPC if number % 2 else errno.EIO
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        disk = Disk(place, number, error)
        try:
            with disk.watching():
                job(place)
        except PenstockError as told:
            failures += 1
            assert told.exit_code == 1
            assert os.strerror(error) in str(told), f"operation {number}, {disk.failed}: {told}"
        assert hashes(place) in seen, f"operation {number}, {disk.failed}: something half done can be seen"
        job(place)
        assert hashes(place) == wanted, f"operation {number}, {disk.failed}"
        assert rejected(place) == bad, f"operation {number}, {disk.failed}"
        assert read_json(next(place.glob("*.run")) / "run.json")["state"] == "committed"
    assert failures > operations / step / 2, "most failures were not noticed"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what is dead cleans nothing up
@pytest.mark.parametrize("name", ["prepare", "predict", "predict to a file", "generations", "train"])
def test_after_a_power_cut_nothing_published_is_short_and_the_same_command_completes(
    data: Path, fitted: ps.FittedPipeline, tmp_path: Path, name: str
) -> None:
    job = jobs(data, fitted)[name]
    clean = tmp_path / "clean"
    clean.mkdir()
    with Disk(clean).watching() as disk:
        job(clean)
    wanted, bad, operations = hashes(clean), rejected(clean), disk.count
    seen = [{}, wanted, {file: digest for file, digest in wanted.items() if "g0002" not in file}]
    place = tmp_path / "place"
    for seed in range(-(-POWER_CUTS // 5)):
        chance = random.Random(f"{name} {seed}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        told = []
        for _ in range(chance.choice([1, 1, 2, 3])):  # a machine that loses its power may lose it again
            disk = Disk(place, chance.randint(1, operations))
            with disk.watching(), suppress(Killed):
                job(place)
            disk.after_power_cut(chance)
            told.append(f"{disk.fail_at}: {disk.failed}")
            assert hashes(place) in seen, f"seed {seed}, {told}: a published file is short, empty or missing"
        job(place)
        assert hashes(place) == wanted, f"seed {seed}, {told}"
        assert rejected(place) == bad, f"seed {seed}, {told}"
