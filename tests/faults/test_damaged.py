"""A damaged file costs the rows that it harmed, or is refused in one clear error: never a crash, a hang, or other rows.

The long form: PENSTOCK_DAMAGED, see `make faults`.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import damaged
import pytest

CASES = int(os.environ.get("PENSTOCK_DAMAGED", "500"))
JOBS = 40
"""Every so many cases one goes through a whole job too."""
PATIENCE = 60
"""How long one case may take before it hangs [s]."""
SLICES = 4


class Reader:
    """A process that reads damaged files: one that dies, or is silent for too long, is noticed and replaced."""

    def __init__(self) -> None:
        self._process: Any = None

    def ask(self, how: str, seed: int) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, damaged.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self._process.stdin.write(f"{how} {seed}\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            answered = bool(selector.select(PATIENCE))
        line = self._process.stdout.readline() if answered else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        state = self.close()
        return {"seed": seed, "wrong": f"the process died, {state}" if answered else "it hangs"}

    def close(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        process.communicate()
        return int(process.returncode)


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def outcomes(reader: Reader, how: str, seeds: Iterator[int]) -> Counter[tuple[str, str]]:
    """How often what became of files of each format."""
    answers = [reader.ask(how, seed) for seed in seeds]
    wrong = [answer for answer in answers if "wrong" in answer]
    assert not wrong, f"{len(wrong)} of {len(answers)} cases, the first: {wrong[0]}\n{wrong[0]['wrong']}"
    return Counter((answer["format"], answer["outcome"]) for answer in answers)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(SLICES))
def test_damage_costs_its_rows_or_is_one_clear_error(reader: Reader, part: int) -> None:
    size = -(-CASES // SLICES)
    found = outcomes(reader, "read", damaged.seeds(size, part * size))
    print(f"\nseeds {part * size} to {(part + 1) * size - 1}:")
    for (name, outcome), count in sorted(found.items()):
        print(f"{name:<28}{outcome:<14}{count:>7,}")
    assert {name for name, _ in found} == set(damaged.NAMES)
    assert found["csv", "rejected"] and found["jsonl", "rejected"] and found["parquet", "refused"]
    assert (
        not found["csv.gz", "not seen"] and not found["parquet", "not seen"] and not found["parquet zstd", "not seen"]
    )


def read_alone(path: Path) -> str:
    """What a process says that reads a file: how many rows, or why not."""
    lines = [
        "import sys, penstock as ps",
        "try:",
        "    source = ps.read(sys.argv[1])",
        "    print('read', sum(len(batch) for chunk in source.chunks() for batch in source.read(chunk)))",
        "except ps.PenstockError as error:",
        "    print('refused', error)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{path.name}: {done.stderr}"
    return done.stdout


def test_a_footer_that_contradicts_itself_does_not_end_the_process(tmp_path: Path) -> None:
    """One bit: a column that may be null becomes one that may not, and the histograms of its levels no longer fit.
    There pyarrow's `RowGroupMetaData.column` ends the process."""
    optional, required = b"\x25\x02\x18\x02id", b"\x25\x00\x18\x02id"  # Thrift: repetition type, name
    data = damaged.whole("parquet")
    assert data.count(optional) == 1
    path = tmp_path / "data.parquet"
    path.write_bytes(data.replace(optional, required))
    assert read_alone(path).startswith(f"refused {path}: can't be read as Parquet")


@pytest.mark.timeout(7200)
def test_a_job_publishes_what_can_be_read_of_a_damaged_file_or_nothing(reader: Reader) -> None:
    found = outcomes(reader, "job", damaged.seeds(-(-CASES // JOBS), 10**6))
    assert sum(found.values()) >= CASES // JOBS


def test_undamaged_files_are_read_as_they_are(tmp_path: Path) -> None:
    for name, how in damaged.FORMATS.items():
        path = tmp_path / f"data.{how.suffix}"
        path.write_bytes(damaged.whole(name))
        done = damaged.read(name, path)
        assert [row for _, row in done.rows] == list(damaged.rows()), name
        assert not done.rejected and done.error is None


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "csv.gz"])
@pytest.mark.parametrize("harm", ["another value", "a row is gone", "a row came twice"])
def test_rows_that_change_without_a_word_are_found(tmp_path: Path, name: str, harm: str) -> None:
    """The judge of these tests is right."""
    data = damaged.whole(name)
    places = ((len(data) // 3, len(data) // 3 + 1),)
    path = tmp_path / f"data.{damaged.FORMATS[name].suffix}"
    path.write_bytes(data)
    done = damaged.read(name, path)
    if harm == "another value":
        number, row = done.rows[100]
        done.rows[100] = (number, (row[0], 0.5, *row[2:]))
    elif harm == "a row is gone":
        del done.rows[100]
    else:
        done.rows.append(done.rows[100])
    changed = bytearray(data)
    changed[places[0][0]] ^= 1
    with pytest.raises(AssertionError):
        damaged.judge(name, damaged.Damage("flipped", bytes(changed), places), done)


def test_a_process_that_dies_is_noticed(reader: Reader) -> None:
    reader.ask("read", 0)
    reader._process.kill()
    reader._process.wait()
    reader._process.stdin = open(os.devnull, "w")  # noqa: PTH123, SIM115
    assert "the process died" in reader.ask("read", 1)["wrong"]
    assert "outcome" in reader.ask("read", 1)


@pytest.mark.parametrize("kind", ["truncated", "flipped"])
def test_every_byte_of_a_compressed_file_matters(kind: str) -> None:
    """One byte after the other, of a gzip file: its checksum finds them all, but for bytes that mean nothing."""
    data = damaged.whole("csv.gz")
    chance = random.Random(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv.gz"
        for place in chance.sample(range(len(data)), 60):
            changed = bytearray(data)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(data[:place] if kind == "truncated" else changed)
            done = damaged.read("csv.gz", path)
            told = [row for _, row in done.rows]
            assert done.error is not None or (told == list(damaged.rows()) and 4 <= place < 10)


@pytest.mark.skipif("PENSTOCK_DATA" not in os.environ, reason="needs the public data sets: PENSTOCK_DATA=FOLDER")
def test_bad_files_of_other_projects_are_read_or_refused() -> None:
    """Files of apache/parquet-testing that once crashed a reader, each in a process that may die."""
    paths = sorted(Path(os.environ["PENSTOCK_DATA"]).glob("parquet-testing/bad_data/*.parquet"))
    assert len(paths) >= 8
    for path in paths:
        told = read_alone(path)
        assert told.startswith("read") or (told.startswith("refused") and path.name in told), f"{path.name}: {told}"
