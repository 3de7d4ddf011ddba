"""Start-up: `penstock --help` and `import penstock`, as whole processes, beside a bare interpreter.

    python -m benchmarks.start_up [--repeats 15]

Runs are interleaved; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import penstock": ["-c", "import penstock"],
    "import polars": ["-c", "import polars"],
    "import sklearn": ["-c", "import sklearn"],
    "penstock --help": ["-m", "penstock", "--help"],
}


def main() -> None:
    """Print the median of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"{name:20} {statistics.median(values) * 1000:7.0f} ms")


if __name__ == "__main__":
    main()
