"""A job that is killed at a random moment goes on by the same command, and makes the same bytes.

The long form: PENSTOCK_KILLS, see `make faults`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from killed import BAD, CORES, ROWS, Starter, checkpoints, write_data

from penstock.durable import read_json, sha256

KILLS = int(os.environ.get("PENSTOCK_KILLS", "50"))
SHARES = {"prepare": 11, "predict": 10, "predict to a file": 9, "second generation": 9, "replay": 7, "train": 4}
"""Of fifty kills, how many each job gets."""
IN_FLIGHT = 2 * (CORES + 1)
"""Chunks begun and not yet received: on every thread one and one ahead, and as many that wait for their receipt."""


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    made = Starter()
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def model(data: Path, starter: Starter) -> Path:
    place = data.with_name("model")
    place.mkdir()
    starter.run("train", data, place, place)
    return place / "out"


def hashes(place: Path) -> dict[str, str]:
    """What is published, without what lies in the run's folder."""
    paths = [path for path in place.rglob("*") if path.is_file() and path.name != "log"]
    return {
        str(path.relative_to(place)): sha256(path)
        for path in paths
        if not path.relative_to(place).parts[0].endswith(".run")
    }


def receipts(place: Path) -> list[int]:
    """The chunks of whole lines of the progress."""
    (path,) = place.glob("*.run/progress.jsonl") if list(place.glob("*.run/progress.jsonl")) else (None,)
    lines = path.read_bytes().split(b"\n")[:-1] if path else []
    return [json.loads(line)["receipt"]["chunk"] for line in lines]


def state(place: Path) -> str:
    paths = list(place.glob("*.run/run.json"))
    return str(read_json(paths[0])["state"]) if paths else "none"


def scanned(place: Path) -> int | None:
    """How many chunks the states of the scan under way are of; None where none is known, or rows were laid down since
    the first one (then all chunks are read before it)."""
    paths = {path.name: path for path in place.glob("*.run/scans/*") if path.suffix != ".new"}
    last = paths.get(f"scan-{len(paths) - 1}")
    if last is None:
        return None
    payload = last.read_bytes()[32:]
    return int(json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])["chunks"])


def read_since(place: Path, line: int = 0) -> list[int]:
    """The chunks that were read, in order."""
    path = place / "log"
    return [int(text) for text in path.read_text().split()][line:] if path.exists() else []


def ids(place: Path) -> list[int]:
    out = place / "out.csv"
    table = pl.read_csv(out) if out.exists() else pl.read_parquet(place / "out" / "*.parquet")
    return [int(one) for one in table["id"]]


def rejected(place: Path) -> list[tuple[str, int]]:
    paths = sorted(place.glob("*.run/rejected/*.parquet"))
    return [row for path in paths for row in pl.read_parquet(path).select("path", "row").iter_rows()]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", list(SHARES))
def test_a_killed_job_goes_on_by_the_same_command_and_makes_the_same_bytes(
    starter: Starter, data: Path, model: Path, tmp_path: Path, name: str
) -> None:
    before = tmp_path / "before"  # what is there when the job begins
    before.mkdir()
    if name in ("second generation", "replay"):
        starter.run("first generation" if name == "second generation" else "predict", data, before, model)
        (before / "log").unlink(missing_ok=True)
    try:
        if name == "replay":
            write_data(data, mended=True)
        _kill_again_and_again(starter, data, model, tmp_path, name)
    finally:
        write_data(data)


def _kill_again_and_again(starter: Starter, data: Path, model: Path, tmp_path: Path, name: str) -> None:
    place, before = tmp_path / "place", tmp_path / "before"

    def afresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(before, place)

    afresh()
    clean = starter.run(name, data, place, model)
    wanted, bad, chunks = hashes(place), rejected(place), len(set(read_since(place)))
    if name != "train":
        gone = () if name == "replay" else BAD
        assert ids(place) == [n * ROWS + row for n in range(3) for row in range(ROWS) if row not in gone]
    seen = [hashes(before), wanted]
    chance = random.Random(name)
    kills = went_on = scans_went_on = 0
    share = -(-KILLS * SHARES[name] // 50)
    for number in range(10 * share):
        if kills >= share:
            break
        afresh()
        killed = 0
        while True:
            after, at_least, reads = chance.uniform(0, clean["seconds"]), 0, 0
            if name == "train" and number % 2 == 0:  # a scan of a training is short
                after, reads = (
                    chance.uniform(0, 0.02),
                    len(read_since(place)) + chunks + chance.randrange(1, chunks // 2),
                )
            elif name not in ("train", "replay") and chance.random() < 0.5:
                after, at_least = chance.uniform(0, 0.02), chance.randrange(1, chunks + 1)
            answer = starter.run(name, data, place, model, kill_after=after, receipts=at_least, reads=reads)
            killed += answer["killed"]
            assert hashes(place) in seen, f"kill {number}: something else than a whole output can be seen"
            if not answer["killed"] or chance.random() < 0.7:
                break  # otherwise what goes on is killed again
        kills += killed
        told, had, states, lines = state(place), receipts(place), scanned(place), len(read_since(place))
        fitted = bool(list(place.glob("*.run/fitted/manifest.json")))
        done = starter.run(name, data, place, model)
        assert hashes(place) == wanted, f"kill {number}, state {told}"
        assert rejected(place) == bad, f"kill {number}, state {told}"
        assert state(place) == "committed"
        more = read_since(place, lines)
        if had and told == "running" and name != "replay":
            assert done["resumed"] == len(had), "a finished chunk was done again"
            assert not set(had) & set(more), "a finished chunk was read again"
            went_on += 1
        if "predict" in name or "generation" in name:
            assert len(read_since(place)) <= chunks + IN_FLIGHT * killed, "more was done again than was in flight"
        if states is not None and more and told == "running" and not fitted:
            of_scan = more[chunks:] if name == "train" else more  # a training looks at the target first
            left = chunks - states % chunks
            assert min(of_scan[: min(CORES, left)]) == states % chunks, "a scan did not go on where its states were"
            scans_went_on += states < chunks
    assert kills >= share, "the job is too quick to be killed: the test tests nothing"
    if name not in ("train", "replay"):
        assert went_on > 0, "no kill came while chunks were done: the test tests nothing"
    if name == "train":
        assert scans_went_on > 0, "no kill came during a scan: the test tests nothing"


@pytest.mark.timeout(7200)
def test_a_killed_training_of_a_network_goes_on_at_its_checkpoint(
    starter: Starter, data: Path, model: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    clean = starter.run("train a network", data, place, model)
    wanted = hashes(place)
    chance = random.Random("network")
    kills = went_on = 0
    share = -(-KILLS // 25)
    for _ in range(10 * share):
        if kills >= share:
            break
        shutil.rmtree(place)
        place.mkdir()
        late = kills % 2 == 0
        after = chance.uniform(0, 0.2 if late else clean["seconds"])
        killed = starter.run("train a network", data, place, model, kill_after=after, checkpoint=late)
        kills += killed["killed"]
        kept = checkpoints(place)
        read = len(read_since(place))
        starter.run("train a network", data, place, model)
        assert hashes(place) == wanted
        if killed["killed"] and kept and state(place) == "committed":
            went_on += 1
            assert len(read_since(place)) - read <= read, "what was laid down was laid down again"
    assert kills >= share and went_on > 0, "no kill came while it learned: the test tests nothing"


def test_a_command_that_is_killed_goes_on_when_it_is_typed_again(data: Path, model: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        options = ["--keep", "id", "--max-rejected", "10%", "--quiet"]
        return [sys.executable, "-m", "penstock", "predict", str(model), str(data), "--to", str(out), *options]

    began = time.monotonic()
    subprocess.run(command(tmp_path / "clean"), check=True, capture_output=True)
    seconds = time.monotonic() - began
    wanted = hashes(tmp_path)
    assert wanted
    chance = random.Random(0)
    place = tmp_path / "place"
    place.mkdir()
    for _ in range(max(2, KILLS // 50)):
        process = subprocess.Popen(command(place / "clean"), stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.4 * seconds, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert hashes(place) in ({}, wanted)
        again = subprocess.run(command(place / "clean"), capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert hashes(place) == wanted
        for path in (place / "clean", place / "clean.run"):
            shutil.rmtree(path)
