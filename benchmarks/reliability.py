"""What reliability costs, how soon a killed job goes on, and whether memory keeps to what it was given.

    python -m benchmarks.reliability durability [--rows 5000000] [--repeats 5]
    python -m benchmarks.reliability resume [--chunks 10000]
    python -m benchmarks.reliability memory [--rows 20000000] [--memory 512MiB]

*durability*: `prepare` as it is, beside the same job without any fsync, without the record of finished chunks and
without the hashes of parts; runs interleaved, medians. *resume*: a run of so many chunks is killed when nearly all are
done; how long the same command takes, from its start, until it reads the first row that is left. *memory*: the peak of
the process tree over data that are awkward in one way each, beside what was given. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import generate
from benchmarks.measure import Command, measure, medians, run

HERE = Path(__file__).parent


def main() -> None:
    """Do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["durability", "resume", "memory", "job"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--job", type=json.loads, help="of the processes that this one starts")
    asked = parser.parse_args()
    if asked.what == "job":
        _job(**asked.job)
        return
    asked.work.mkdir(parents=True, exist_ok=True)
    {"durability": durability, "resume": resume, "memory": memory}[asked.what](asked)


def started(**job: Any) -> list[str]:
    """The command line of a process that does one job."""
    return [sys.executable, "-m", "benchmarks.reliability", "job", "--job", json.dumps(job)]


def _job(command: str, data: str, out: str, model: str = "", bare: bool = False, tiny: bool = False) -> None:
    """One job, in a process of its own; says when it read its first block."""
    import penstock as ps
    from penstock.source import ReadOptions
    from penstock.sources.files import Limits, find_files
    from penstock.sources.parquet import ParquetSource

    if bare:
        _forget()
    first: list[float] = []

    class Timed(ParquetSource):
        def read(self, chunk: Any, columns: Any = None) -> Any:
            if not first:
                first.append(time.time())
            return super().read(chunk, columns)

    limits = Limits(block_rows=1_000, chunk_bytes=20_000) if tiny else Limits()
    source = Timed(find_files(data), ReadOptions(), limits)
    if command == "predict":
        done = ps.load(model).predict(source, to=out)
    elif command == "derive":
        done = ps.Pipeline([ps.Derive({"y": "x * 2"})]).prepare(source, to=out)
    else:
        done = ps.Pipeline.of(HERE / "prepare.yaml").prepare(source, to=out)
    print(json.dumps({"first": first[:1], "resumed": done.resumed, "rows": done.rows}))


def _forget() -> None:
    """Leave out what makes a job durable: every fsync, the record of finished chunks, the hashes of parts."""
    from penstock import durable
    from penstock.run import Run

    class NoHash:
        def update(self, data: Any) -> None:
            """Nothing."""

        def hexdigest(self) -> str:
            return ""

    def record(self: Any, receipt: Any) -> None:
        self._begun.pop(receipt.chunk)
        self._receipts[receipt.chunk] = receipt

    os.fsync = lambda *_: None
    Run.record = record  # type: ignore[method-assign]
    original = durable.HashedFile.__init__

    def plain(self: Any, path: Path) -> None:
        original(self, path)
        self._hash = NoHash()

    durable.HashedFile.__init__ = plain  # type: ignore[method-assign]


def _emptied(out: Path) -> None:
    for path in (out, out.with_name(out.name + ".run")):
        shutil.rmtree(path, ignore_errors=True)


def durability(asked: argparse.Namespace) -> None:
    """Print what durability costs."""
    rows = asked.rows or 5_000_000
    data, out = asked.work / f"table{rows // 1_000_000}m", asked.work / "durability"
    generate.table(data, rows)
    commands = [
        Command(name, started(command="prepare", data=str(data), out=str(out), bare=bare), lambda: _emptied(out))
        for name, bare in (("durable", False), ("bare", True))
    ]
    found = measure(commands, asked.repeats)
    _emptied(out)
    walls = {name: (medians(runs) or {})["wall"] for name, runs in found.items()}
    print(f"prepare, {rows:,} rows: durable {walls['durable']:.2f} s, bare {walls['bare']:.2f} s")
    print(f"throughput with durability: {walls['bare'] / walls['durable']:.1%} of that without")


def resume(asked: argparse.Namespace) -> None:
    """Print how soon a killed run of many chunks goes on."""
    data, out = asked.work / f"chunks{asked.chunks}", asked.work / "resume"
    files = 100
    if not data.is_dir():
        data.mkdir()
        random = np.random.default_rng(0)
        for number in range(files):
            rows = 1_000 * asked.chunks // files
            table = pa.table({"x": random.normal(size=rows), "z": random.normal(size=rows)})
            pq.write_table(table, data / f"{number:03d}.parquet", row_group_size=1_000)
    times = []
    for _ in range(asked.repeats):
        _emptied(out)
        job = started(command="derive", data=str(data), out=str(out), tiny=True)
        process = subprocess.Popen(job, stdout=subprocess.DEVNULL)
        progress = out.with_name("resume.run") / "progress.jsonl"
        while process.poll() is None and (not progress.exists() or _lines(progress) < asked.chunks * 9 // 10):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = _lines(progress)
        began = time.time()
        told = json.loads(subprocess.run(job, check=True, capture_output=True, text=True).stdout)
        assert told["resumed"] >= done - 1, (told, done)
        times.append(told["first"][0] - began)
        print(
            f"{told['resumed']:,} chunks were done, the first of the rest is read after {times[-1]:.2f} s", flush=True
        )
    _emptied(out)
    print(f"median {sorted(times)[len(times) // 2]:.2f} s of {len(times)}, Python's start and imports included")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def memory(asked: argparse.Namespace) -> None:
    """Print the peak of jobs over awkward data, beside what they were given."""
    rows = asked.rows or 20_000_000
    table = asked.work / f"table{rows // 1_000_000}m"
    generate.table(table, rows)
    few = asked.work / "table1m"
    generate.table(few, 1_000_000)
    wide, one = _wide_texts(asked.work / "texts"), _one_group(asked.work / "one-group")
    model = asked.work / "memory-model"
    if not model.is_dir():
        _train(few, model)
    out = asked.work / "memory-out"
    steps = asked.work / "trim.yaml"
    steps.write_text("steps:\n  - normalize_text: text\n")
    jobs = {
        f"prepare, {rows:,} rows of 20 columns": ["prepare", str(table), "--config", str(HERE / "prepare.yaml")],
        f"predict, {rows:,} rows, 100 trees": ["predict", str(model), str(table)],
        "prepare, 200 columns of 1 KB of text, 10,000 rows": ["prepare", str(wide), "--config", str(steps)],
        "prepare, one row group of 2,000,000 rows": ["prepare", str(one), "--config", str(HERE / "prepare.yaml")],
        "predict, one row group of 2,000,000 rows": ["predict", str(model), str(one)],
    }
    print(f"given: {asked.memory}")
    for name, words in jobs.items():
        _emptied(out)
        argv = [
            sys.executable,
            "-m",
            "penstock",
            *words,
            "--to",
            str(out),
            "--memory",
            asked.memory,
            "--json",
            "--quiet",
        ]
        found = run(Command(name, argv))
        state = f"{found.memory / 2**20:.0f} MiB, {found.wall:.1f} s" if found.status == 0 else found.error[-600:]
        print(f"{name}: {state}", flush=True)
    _emptied(out)


def _wide_texts(folder: Path) -> Path:
    """10,000 rows of 200 columns, each a text of about 1,000 letters, none like another: 2 GB in memory."""
    if folder.is_dir():
        return folder
    folder.mkdir()
    random = np.random.default_rng(0)
    letters = np.frombuffer(random.bytes(2**20).hex().encode(), np.uint8)
    for number in range(10):
        path = folder / f"{number}.parquet"
        schema = pa.schema([(f"t{i}", pa.string()) for i in range(200)])
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
            for _ in range(2):
                columns = []
                for _ in schema:
                    starts = random.integers(0, len(letters) - 1_000, 500)
                    columns.append(pa.array([letters[s : s + 1_000].tobytes().decode() for s in starts]))
                writer.write_table(pa.table(columns, schema=schema))
    return folder


def _one_group(folder: Path) -> Path:
    """The benchmark table's columns, 2,000,000 rows in one row group of one file."""
    if folder.is_dir():
        return folder
    parts = folder.with_name("one-group-parts")
    generate.table(parts, 2_000_000)
    folder.mkdir()
    table = pa.concat_tables([pq.read_table(path) for path in sorted(parts.glob("*.parquet"))])
    pq.write_table(table, folder / "one.parquet", row_group_size=2_000_000)
    return folder


def _train(data: Path, model: Path) -> None:
    import penstock as ps

    learner = ps.BoostedTrees(rounds=100, early_stopping_rounds=100, folds=1, bags=1, max_rows=100_000)
    ps.Pipeline([], learner, target="n00", max_rejected=0.2).fit(data).save(model)


if __name__ == "__main__":
    main()
