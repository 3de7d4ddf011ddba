"""Measures `penstock profile` beside the same statistics as SELECTs in DuckDB, as whole processes in turn.

    python -m benchmarks.profile --rows 5000000 --repeats 5

The wall time is that of the whole process, imports and start-up included. What both found is compared: rows, means,
deviations, correlations, frequent values. The bound: no more than 1.5 times DuckDB's time.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import generate
from benchmarks.measure import Command, measure, table, write_json

HERE = Path(__file__).parent


def check(argv: dict[str, list[str]]) -> list[str]:
    """Run each once more and say in which figures they differ."""
    ours, theirs = (
        json.loads(subprocess.run(argv[name], capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        for name in ("penstock", "duckdb")
    )
    columns: dict[str, Any] = {column["name"]: column for column in ours["columns"]}
    problems = [] if ours["rows"] == theirs["rows"] else [f"{ours['rows']} rows, not {theirs['rows']}"]
    for kind, figure in (("means", "mean"), ("deviations", "deviation")):
        for name, value in theirs[kind].items():
            if not math.isclose(columns[name]["number"][figure], value, rel_tol=1e-8, abs_tol=1e-8):
                problems.append(f"{figure} of {name}: {columns[name]['number'][figure]}, not {value}")
    names, matrix = ours["correlations"]["columns"], ours["correlations"]["matrix"]
    pairs = [matrix[i][j] for i in range(len(names)) for j in range(i)]
    if not all(abs(a - b) < 1e-4 for a, b in zip(pairs, theirs["correlations"], strict=True)):
        problems.append("a correlation differs")
    problems += [f"top of {name}" for name, top in theirs["tops"].items() if columns[name]["top"][:9] != top[:9]]
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Generate, measure, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, help="the table's folder; generated where missing")
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    options = parser.parse_args(arguments)
    source = (options.data or options.work / f"table-{options.rows}").resolve()
    generate.table(source, options.rows)
    for file in source.glob("*.parquet"):
        file.read_bytes()  # so that both find the input in the page cache
    argv = {
        "duckdb": [sys.executable, str(HERE / "peers" / "profile_duckdb.py"), str(source)],
        "penstock": [sys.executable, "-m", "penstock", "profile", str(source), "--json", "--quiet"],
    }
    runs = measure([Command(name, words) for name, words in argv.items()], options.repeats)
    print(table(runs, "duckdb"))
    problems = check(argv)
    print("both found the same" if not problems else "they differ: " + "; ".join(problems))
    if options.json:
        write_json(options.json, runs, "duckdb", rows=options.rows, problems=problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
