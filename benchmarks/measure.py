"""Runs commands side by side and measures time and memory of their whole process trees.

Commands run one after the other, never two at once, and interleaved (a b c, a b c, ...), so that a
machine that slows down for a while slows all of them. Three things are taken of each run:

* wall: seconds from start to exit;
* cpu: seconds of processor time of the process and everything it started;
* memory: the peak, sampled every 20 ms, of the sum over the tree of anonymous and shared resident
  memory (RssAnon + RssShmem). Mapped files are left out, as the kernel can drop them at any time.
  A shared segment counts once for every process that has it mapped, which is more than there is
  where many do; `memory_shared_once` counts only the largest such share, which is the least there
  can be.

Processes that outlive their parent are adopted (Linux's child subreaper), so that daemons count
too; what is still there after a command has ended is stopped. Linux only; nothing but the standard
library is needed.

    python -m benchmarks.measure --repeats 5 'penstock=penstock prepare IN ...' 'polars=python ...'
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INTERVAL = 0.02
CPU_EVERY = 10
"""Samples of memory for each sample of processor time."""

LINGER = 5.0
"""Seconds that processes may outlive their command."""

LIBRARIES = ("penstock", "pyarrow", "polars", "numpy", "ray", "pyspark", "scikit-learn", "lightgbm")


@dataclass(frozen=True)
class Command:
    """One of the things to compare."""

    name: str
    argv: Sequence[str]
    before: Callable[[], None] | None = None
    """Called before each run, outside the measurement (to empty an output folder, say)."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""


@dataclass
class Run:
    """What one run took."""

    wall: float
    cpu: float
    memory: int
    memory_shared_once: int
    status: int
    reported: dict[str, Any] | None
    """The last line of standard output, where that is a JSON object."""
    error: str = ""
    """The end of standard error, where the command failed."""


def _read(pid: int, name: str) -> str:
    """Read a file of /proc; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def _stat(pid: int) -> tuple[int, float] | None:
    """Give the parent of a process and its own processor time so far."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    if len(fields) < 13:
        return None
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sampler(threading.Thread):
    """Samples the memory of every descendant of this process until it is stopped.

    A process that was once found to be a descendant stays one; only new ones are asked for their
    parent, so that a sample costs little beside what is measured.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.peak_shared_once = 0
        self._own = os.getpid()
        self._members: set[int] = set()
        self._strangers = self._alive()
        self._cpu: dict[int, float] = {}
        self._stopping = threading.Event()

    @property
    def cpu(self) -> float:
        """The processor time seen, of all processes; what each did after its last sample lacks."""
        return sum(self._cpu.values())

    @staticmethod
    def _alive() -> set[int]:
        # Not pathlib, which takes several times as long, at every sample.
        return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}  # noqa: PTH208

    def members(self) -> set[int]:
        """Give the living descendants."""
        alive = self._alive()
        self._members &= alive
        self._strangers &= alive
        parents = {}
        for pid in alive - self._members - self._strangers:
            found = _stat(pid)
            if found is not None:
                parents[pid] = found[0]
        grown = True
        while grown:
            joining = {pid for pid, parent in parents.items() if parent == self._own or parent in self._members}
            grown = bool(joining)
            self._members |= joining
            for pid in joining:
                del parents[pid]
        self._strangers |= {pid for pid, parent in parents.items() if parent == 0 or parent in self._strangers}
        return self._members

    def _sample(self, with_cpu: bool) -> None:
        anonymous = 0
        shared = []
        for pid in self.members():
            for line in _read(pid, "status").splitlines():
                if line.startswith("RssAnon:"):
                    anonymous += int(line.split()[1])
                elif line.startswith("RssShmem:"):
                    shared.append(int(line.split()[1]))
            if with_cpu and (found := _stat(pid)) is not None:
                self._cpu[pid] = found[1]
        self.peak = max(self.peak, (anonymous + sum(shared)) * 1024)
        self.peak_shared_once = max(self.peak_shared_once, (anonymous + max(shared, default=0)) * 1024)

    def run(self) -> None:
        """Sample until stopped."""
        count = 0
        while not self._stopping.wait(INTERVAL):
            self._sample(with_cpu=count % CPU_EVERY == 0)
            count += 1

    def stop(self) -> None:
        """End the sampling."""
        self._stopping.set()
        self.join()


def adopt_orphans() -> None:
    """Have descendants whose parents end become children of this process, not of init."""
    set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a child subreaper")


def _reap() -> None:
    """Take note of adopted children that have ended, which adds their times to ours."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _clear(sampler: Sampler) -> None:
    """Wait for what the command has left behind, then stop it."""
    deadline = time.monotonic() + LINGER
    while True:
        _reap()
        left = {pid for pid in sampler.members() if _stat(pid) is not None}
        if not left:
            return
        late = time.monotonic() - deadline
        if late > 0:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGTERM if late < LINGER else signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(INTERVAL)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_json(text: str) -> dict[str, Any] | None:
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def run(command: Command) -> Run:
    """Run a command once and measure it."""
    adopt_orphans()
    if command.before is not None:
        command.before()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        cpu = _children_cpu()
        sampler = Sampler()
        sampler.start()
        begun = time.perf_counter()
        process = subprocess.Popen(command.argv, stdout=out, stderr=err, env={**os.environ, **command.env})
        status = process.wait()
        wall = time.perf_counter() - begun
        sampler.stop()
        _clear(sampler)
        cpu = max(_children_cpu() - cpu, sampler.cpu)
        out.seek(0)
        err.seek(0)
        return Run(
            wall=round(wall, 3),
            cpu=round(cpu, 3),
            memory=sampler.peak,
            memory_shared_once=sampler.peak_shared_once,
            status=status,
            reported=_last_json(out.read()),
            error=err.read()[-2000:] if status else "",
        )


def measure(commands: Sequence[Command], repeats: int, progress: bool = True) -> dict[str, list[Run]]:
    """Run all commands in turn, `repeats` times over; one that fails is not run again."""
    runs: dict[str, list[Run]] = {command.name: [] for command in commands}
    for repeat in range(repeats):
        for command in commands:
            if any(earlier.status for earlier in runs[command.name]):
                continue
            done = run(command)
            runs[command.name].append(done)
            if progress:
                state = f"{done.wall:.2f} s" if done.status == 0 else f"failed\n{done.error}"
                print(f"{repeat + 1}/{repeats} {command.name}: {state}", file=sys.stderr)
    return runs


def medians(runs: Sequence[Run]) -> dict[str, float] | None:
    """Give the medians of the runs; None where there are none or one failed."""
    if not runs or any(run.status for run in runs):
        return None
    names = ("wall", "cpu", "memory", "memory_shared_once")
    return {name: statistics.median(getattr(run, name) for run in runs) for name in names}


def table(runs: Mapping[str, Sequence[Run]], baseline: str) -> str:
    """Lay out the medians, and their ratios to those of `baseline`."""
    base = medians(runs.get(baseline, []))
    width = max(map(len, [*runs, "command"]))
    titles = "   wall s       x     cpu s       x      MiB       x"
    head = f"{'command':<{width}}{titles}"
    lines = [head, "-" * len(head)]
    for name, all_runs in runs.items():
        found = medians(all_runs)
        if found is None:
            lines.append(f"{name:<{width}}  failed")
            continue
        cells = [f"{name:<{width}}"]
        for key, unit, form in (
            ("wall", 1.0, "8.2f"),
            ("cpu", 1.0, "8.2f"),
            ("memory", 2.0**20, "7.0f"),
        ):
            cells.append(f"{found[key] / unit:{form}}")
            cells.append(f"{found[key] / base[key]:6.2f}" if base and base[key] else " " * 6)
        lines.append("  ".join(cells))
    if base:
        lines.append(f"x: as a multiple of {baseline}; medians of {len(runs[baseline])} runs")
    return "\n".join(lines)


def versions(python: str = sys.executable) -> dict[str, str]:
    """Give the versions of `LIBRARIES` that a Python has; none where it cannot be run."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {d.name.lower(): d.version for d in m.distributions() if d.name}\n"
        "found = {name: found[name] for name in sys.argv[1:] if name in found}\n"
        "print(json.dumps({'python': platform.python_version(), **found}))"
    )
    try:
        answer = subprocess.run([python, "-c", code, *LIBRARIES], capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return _last_json(answer.stdout) or {}


def machine() -> dict[str, Any]:
    """Describe this machine."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg(),
        "versions": versions(),
    }


def write_json(path: Path, runs: Mapping[str, Sequence[Run]], baseline: str, **facts: Any) -> None:
    """Write every run, the medians and the machine."""
    path.write_text(
        json.dumps(
            {
                "machine": machine(),
                "baseline": baseline,
                **facts,
                "medians": {name: medians(found) for name, found in runs.items()},
                "runs": {name: [asdict(run) for run in found] for name, found in runs.items()},
            },
            indent=1,
        )
        + "\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure the commands given as NAME=COMMAND."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure")
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--baseline", help="the name to compare to; else the first")
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    options = parser.parse_args(arguments)
    commands = []
    for text in options.commands:
        name, separator, line = text.partition("=")
        if not separator:
            parser.error(f"{text!r} is not NAME=COMMAND")
        commands.append(Command(name, shlex.split(line)))
    baseline = options.baseline or commands[0].name
    runs = measure(commands, options.repeats)
    print(table(runs, baseline))
    if options.json:
        write_json(options.json, runs, baseline)
    return int(any(medians(found) is None for found in runs.values()))


if __name__ == "__main__":
    sys.exit(main())
