"""Measures `penstock prepare` beside the same job written by hand with other tools.

    python -m benchmarks.prepare --rows 5000000 --memory 2GiB --repeats 5

All get the same Parquet folder, warm in the page cache, and run in turn. The wall time is that of
the whole process, imports and start-up included; what a peer says of itself is in the JSON. Then
the outputs are checked: that each has all rows, that each numeric column has mean 0 and deviation 1
and each category column the same counts everywhere, and that the values agree with those of Polars,
row by row for Penstock, value by value in sorted order where a tool does not keep rows in order.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds

from benchmarks import generate
from benchmarks.measure import Command, measure, table, versions, write_json

HERE = Path(__file__).parent

PEERS: dict[str, tuple[str, list[str], str]] = {
    "polars": ("prepare_polars.py", [], "polars"),
    "polars-streaming": ("prepare_polars.py", ["--streaming"], "polars"),
    "polars-plain": ("prepare_polars_plain.py", [], "polars"),
    "ray": ("prepare_ray.py", [], "ray.data"),
    "spark": ("prepare_spark.py", [], "pyspark"),
}
"""For each peer its script, its options and the module that it needs."""

REFERENCE = "polars"
ORDERED = {"penstock", "polars", "polars-streaming", "polars-plain"}
"""Those that keep the rows in order."""

TOLERANCES = {"polars-streaming": 1e-5, "polars-plain": 1e-5, "ray": 1e-5, "spark": 0.05}
"""How far values may be from those of Polars, in standard deviations.

Float32's rounding for those whose quantiles are exact; for Spark, whose bounds come from a sketch
with a rank error of about 0.03 %, what that moves the bound of the columns with the longest tails.
Penstock's comes from the command line.
"""

CENTRED = 1e-3
"""How far from 0 and 1 mean and deviation may be: less would test float32, not the tool."""


def _has(python: str, module: str) -> bool:
    """Say whether a Python can import a module."""
    try:
        done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _emptier(folder: Path) -> Callable[[], None]:
    def empty() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(folder.name + ".run"), ignore_errors=True)

    return empty


def commands(source: Path, work: Path, memory: str, peers: list[str], peer_python: str) -> list[Command]:
    """Build the command lines of those that can run here, and say which cannot."""
    found = []
    config = HERE / "prepare.yaml"
    target = work / "penstock"
    if not config.exists():
        print(f"penstock: left out, as {config} is missing")
    elif not _has(sys.executable, "penstock"):
        print("penstock: left out, as this Python cannot import it")
    else:
        argv = [sys.executable, "-m", "penstock", "prepare", str(source)]
        argv += ["--config", str(config), "--to", str(target), "--memory", memory]
        found.append(Command("penstock", argv, before=_emptier(target)))
    for name in peers:
        script, options, module = PEERS[name]
        python = next((p for p in (sys.executable, peer_python) if _has(p, module)), None)
        if python is None:
            print(f"{name}: left out, as neither this Python nor --peer-python has {module}")
            continue
        target = work / name
        argv = [python, str(HERE / "peers" / script), str(source), str(target), *options]
        found.append(Command(name, argv, before=_emptier(target)))
    return found


def _output(folder: Path) -> ds.Dataset:
    files = sorted(str(file) for file in folder.rglob("*.parquet"))
    return ds.dataset(files, format="parquet")


def _column(data: ds.Dataset, name: str) -> npt.NDArray[Any]:
    """Read one column, in the order of the files' names and of the rows within them."""
    column: npt.NDArray[Any] = data.to_table(columns=[name])[name].to_numpy()
    return column


def _examine(data: ds.Dataset, reference: ds.Dataset | None, ordered: bool) -> dict[str, Any]:
    """Go over the columns of one output and give the largest deviations found in any.

    Only a column of each of the two is held at a time. A NaN anywhere makes its number NaN.
    """
    means, deviations, gaps, differing = [0.0], [0.0], [0.0], 0
    for name in [*generate.NUMERIC, *generate.CATEGORIES]:
        values = _column(data, name)
        other = None if reference is None else _column(reference, name)
        if other is not None and not ordered:
            values, other = np.sort(values), np.sort(other)
        if name in generate.CATEGORIES:
            differing += 0 if other is None else int((values != other).sum())
            continue
        values = values.astype(np.float64)
        means.append(abs(float(values.mean())))
        deviations.append(abs(float(values.std()) - 1.0))
        if other is not None:
            gaps.append(float(np.abs(values - other).max()))
    facts: dict[str, Any] = {
        "mean": float(np.max(means)),
        "deviation": float(np.max(deviations)),
    }
    if reference is not None:
        facts |= {"difference": float(np.max(gaps)), "codes_differing": differing}
    return facts


def check(work: Path, names: list[str], rows: int, tolerance: float) -> dict[str, dict[str, Any]]:
    """Compare the outputs; for each gives what was found and the `problems` there are."""
    names = sorted(names, key=lambda name: name != REFERENCE)
    outputs = {name: _output(work / name) for name in names}
    found: dict[str, dict[str, Any]] = {}
    for name, data in outputs.items():
        count = data.count_rows()
        facts: dict[str, Any] = {"rows": count, "problems": []}
        problems = facts["problems"]
        found[name] = facts
        wanted = [*generate.NUMERIC, *generate.CATEGORIES]
        problems += [f"no column {column}" for column in wanted if column not in data.schema.names]
        if count != rows:
            problems.append(f"{count} rows, not {rows}")
        if problems:
            continue
        reference = outputs.get(REFERENCE) if name != REFERENCE else None
        if found.get(REFERENCE, {}).get("problems"):
            reference = None
        facts |= _examine(data, reference, name in ORDERED)
        # All comparisons are such that NaN is a problem too.
        if not facts["mean"] <= CENTRED:
            problems.append(f"a mean is {facts['mean']:.2g} from 0")
        if not facts["deviation"] <= CENTRED:
            problems.append(f"a deviation is {facts['deviation']:.2g} from 1")
        if reference is not None and not facts["difference"] <= TOLERANCES.get(name, tolerance):
            problems.append(f"values differ by up to {facts['difference']:.2g}")
        if facts.get("codes_differing"):
            problems.append(f"{facts['codes_differing']} codes differ")
    return found


def _say(found: dict[str, dict[str, Any]]) -> None:
    for name, facts in found.items():
        if facts["problems"]:
            print(f"{name}: NOT as it should be: {'; '.join(facts['problems'])}")
        elif "difference" not in facts:
            print(f"{name}: {facts['rows']} rows, standardized")
        else:
            way = "row by row" if name in ORDERED else "in sorted order"
            print(
                f"{name}: {facts['rows']} rows, standardized, within "
                f"{facts['difference']:.2g} of {REFERENCE} {way}, codes equal"
            )


def main(arguments: list[str] | None = None) -> int:
    """Generate, measure, check and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--memory", default="2GiB", help="handed to penstock as it is")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"some of {','.join(PEERS)}; all unless told")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH", help="has ray and pyspark")
    parser.add_argument("--data", type=Path, help="the table's folder; generated where missing")
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"), help="for data and outputs")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.02,
        help="between values of penstock and Polars, in standard deviations",
    )
    parser.add_argument("--baseline", help="what ratios are to; penstock where it runs")
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    options = parser.parse_args(arguments)
    peers = [name for name in options.peers.split(",") if name]
    for name in peers:
        if name not in PEERS:
            parser.error(f"no peer {name!r}: there are {', '.join(PEERS)}")

    source = (options.data or options.work / f"table-{options.rows}").resolve()
    work = options.work.resolve()
    generate.table(source, options.rows)
    for file in source.glob("*.parquet"):
        file.read_bytes()  # so that all find the input in the page cache
    chosen = commands(source, work, options.memory, peers, options.peer_python)
    if not chosen:
        print("nothing to measure")
        return 1
    baseline = options.baseline or chosen[0].name
    if baseline not in {command.name for command in chosen}:
        parser.error(f"--baseline {baseline} is not among what runs")
    runs = measure(chosen, options.repeats)
    print(table(runs, baseline))
    done = [name for name, found in runs.items() if found and not any(r.status for r in found)]
    checks = check(work, done, options.rows, options.tolerance)
    _say(checks)
    if options.json:
        write_json(
            options.json,
            runs,
            baseline,
            rows=options.rows,
            memory=options.memory,
            peer_versions=versions(options.peer_python),
            checks=checks,
        )
    ok = len(done) == len(chosen) and not any(facts["problems"] for facts in checks.values())
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
