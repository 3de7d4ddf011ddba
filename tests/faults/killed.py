"""The jobs that the fault tests kill, and the process that starts them.

Run as a program it imports everything once, and then starts the jobs it is told to, each in a process of its own (a
fork of it, which has done nothing yet), and kills them when it is told to. A line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import penstock as ps
from penstock.batch import Batch
from penstock.engines import kept_scans
from penstock.schema import Role
from penstock.source import Chunk, Origin, ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files

CORES = 2
ROWS = 1_500
"""Rows of each file."""
BAD = (17, 400, 1_203)
"""Rows of each file that can't be read."""
STEPS = [ps.Impute("x", "mean"), ps.Clip("x"), ps.Standardize("x"), ps.OneHot("c")]
READING = ReadOptions(roles={"x": Role.number, "id": Role.integer})
LIMITS = Limits(block_rows=60, chunk_bytes=3_000)


class Watched(CsvSource):
    """Tells, in a file, which chunks are read."""

    log = ""

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        if self.log:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{chunk.index}\n".encode())
            os.close(descriptor)
        yield from super().read(chunk, columns)


def write_data(folder: Path, *, mended: bool = False) -> None:
    """Three files, each with some rows that can't be read."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate("abc"):
        chance = random.Random(number)
        lines = ["id,x,c,y"]
        for row in range(ROWS):
            x = "" if chance.random() < 0.02 else f"{chance.gauss(0, 1):.4f}"
            label = "yes" if chance.random() < (0.7 if x.startswith("-") else 0.3) else "no"
            wrong = row in BAD and not mended
            lines.append(f"{number * ROWS + row},{'bad' if wrong else x},{chance.choice('uvw')},{label}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def do(name: str, data: Path, place: Path, model: Path) -> Any:
    """One of the jobs, on the files in a folder, to ``out`` in a place."""
    kept_scans._SHARE = 1e9  # the states of a scan are written after every chunk
    Watched.log = str(place / "log")
    if name == "replay":
        return ps.replay(place / "out", cores=CORES)
    only = data / "a.csv" if name == "first generation" else data
    source = Watched(find_files(only), READING, LIMITS)
    source.origin = Origin((str(only),), READING)
    if name == "prepare":
        return ps.Pipeline(STEPS, max_rejected=0.1).prepare(source, to=place / "out", cores=CORES)
    if name == "train":
        pipeline = ps.Pipeline(STEPS, ps.Linear(), target="y", max_rejected=0.1)
        return pipeline.fit(source, to=place / "out", cores=CORES)
    if name == "train a network":
        network = ps.Network(hidden=(8,), epochs=3, patience=None, batch_rows=512, checkpoint_seconds=0.0)
        pipeline = ps.Pipeline(STEPS, network, target="y", max_rejected=0.1)
        return pipeline.fit(source, to=place / "out", cores=CORES)
    fitted = ps.load(model)
    to = place / ("out.csv" if name == "predict to a file" else "out")
    return fitted.predict(source, to=to, keep=["id"], cores=CORES, new_only="generation" in name)


# ---------------------------------------------------------------------- the process that starts them


class Starter:
    """Starts jobs in processes of their own, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        name: str,
        data: Path,
        place: Path,
        model: Path,
        *,
        kill_after: float = -1,
        receipts: int = 0,
        reads: int = 0,
        checkpoint: bool = False,
    ) -> dict[str, Any]:
        """Do a job. Where ``kill_after`` [s] is given, it is killed so long after it has finished so many chunks, and
        has begun to read so many, whichever of its passes that is in, and, where that is asked for, after the first
        checkpoint of its training.

        Returns:
            ``killed``, ``seconds``, and of a job that was not killed ``resumed`` and ``already_done``.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = [name, str(data), str(place), str(model), kill_after, receipts, reads, checkpoint]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        name, data, place, model, kill_after, receipts, reads, checkpoint = json.loads(line)
        began = time.monotonic()
        told_in, told_out = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(told_out, name, Path(data), Path(place), Path(model))
        os.close(told_out)
        killed = kill_after >= 0 and _kill(child, Path(place), kill_after, receipts, reads, checkpoint)
        with open(told_in, "rb") as told:  # noqa: PTH123, a descriptor
            text = told.read()
        os.waitpid(child, 0)
        answer = {"killed": killed, "seconds": time.monotonic() - began}
        answer |= json.loads(text) if text else ({} if killed else {"error": "the process died by itself"})
        os.write(answers, json.dumps(answer).encode() + b"\n")


def _answer(told: int, name: str, data: Path, place: Path, model: Path) -> None:
    try:
        done = do(name, data, place, model)
        made = {"resumed": getattr(done, "resumed", 0), "already_done": getattr(done, "already_done", False)}
    except BaseException:
        made = {"error": traceback.format_exc()}
    os.write(told, json.dumps(made).encode()[:60_000])
    os._exit(0)


def _kill(child: int, place: Path, after: float, receipts: int, reads: int, checkpoint: bool) -> bool:
    """Whether the child was alive until it was killed."""
    handle = os.pidfd_open(child)
    try:
        while not _ended(child) and (
            _receipts(place) < receipts or _reads(place) < reads or (checkpoint and not checkpoints(place))
        ):
            time.sleep(0.001)
        until = time.monotonic() + after
        while time.monotonic() < until and not _ended(child):
            time.sleep(min(0.002, max(0.0, until - time.monotonic())))
        if _ended(child):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    finally:
        os.close(handle)


def _ended(child: int) -> bool:
    """Whether it has ended; it is still to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _receipts(place: Path) -> int:
    """Of the generation under way."""
    (folder,) = list(place.glob("*.run")) or (place,)
    with suppress(OSError, ValueError):  # it is being written meanwhile
        if json.loads((folder / "run.json").read_bytes())["state"] == "running":
            return (folder / "progress.jsonl").read_bytes().count(b"\n")
    return 0


def checkpoints(place: Path) -> list[Path]:
    return list(place.glob("*.run/work/member-0/checkpoints/*.safetensors"))


def _reads(place: Path) -> int:
    with suppress(FileNotFoundError):
        return (place / "log").read_bytes().count(b"\n")
    return 0


if __name__ == "__main__":
    import penstock.api
    import penstock.jobs.replay
    import penstock.jobs.train
    import penstock.models.linear_training
    import penstock.report.page

    _serve()
