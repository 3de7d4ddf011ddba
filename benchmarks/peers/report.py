"""What the peer scripts say about themselves, with the standard library alone.

The peers run under a Python of their own, in which neither Penstock nor the harness need be
installed; they import this module from the folder they stand in.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def _since_start() -> float:
    """Give the seconds since this process was started, interpreter and imports included."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _tree() -> set[int]:
    """Give the process ids of this process and of all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = {os.getpid()}
    while True:
        grown = tree | {pid for pid, parent in parents.items() if parent in tree}
        if grown == tree:
            return tree
        tree = grown


def _peak_rss() -> int:
    """Add up the resident high-water marks of the processes of this tree that still live.

    Processes need not have peaked together and may share pages, so that this is an upper bound; it
    costs nothing while the job runs. `benchmarks.measure` samples the tree from outside instead.
    """
    total = 0
    for pid in _tree():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total


class Report:
    """Measures one job: make it when everything is imported and running, `finish` it at the end."""

    def __init__(self) -> None:
        """Note the start-up time and start the clock."""
        self.startup = _since_start()
        self.begun = time.perf_counter()
        self.last = self.begun
        self.steps: dict[str, float] = {}

    def step(self, name: str) -> None:
        """Note the time since the last step under `name`."""
        now = time.perf_counter()
        self.steps[name] = round(now - self.last, 3)
        self.last = now

    def finish(self, rows: int, **facts: Any) -> None:
        """Print the one line of JSON; to be called before workers are shut down."""
        line = {
            "seconds": round(time.perf_counter() - self.begun, 3),
            "startup_seconds": round(self.startup, 3),
            "rows": rows,
            "peak_rss_bytes": _peak_rss(),
            "steps": self.steps,
            **facts,
        }
        print(json.dumps(line), flush=True)


def arguments(description: str) -> tuple[Path, Path]:
    """Take the input and output folders from the command line; the output is emptied."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} IN OUT\n\n{description}")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for file in target.glob("*.parquet"):
        file.unlink()
    return source, target
