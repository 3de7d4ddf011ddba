"""What reading and the default cleaning find and repair, cell by cell, on tables with known errors.

    PENSTOCK_DATA=DIR python -m benchmarks.dirty_clean [--json FILE]

DIR holds ``dirty-clean/NAME/dirty.csv``, ``clean.csv`` and ``error_types.csv`` (beers, flights, hospital, rayyan; from
the repository of MaTElDa), ``adult/train.csv.gz`` and ``diabetes130/dataset_diabetes.zip``. Every table is read and
prepared with the default cleaning and nothing else: no rule, no example, no dictionary. Lines marked "+ rules" add what
a person who knows the table would write down: which columns follow from which (`RULES`, steps `repair_by_majority`).

What is counted. A cell is an *error* where the texts of dirty and clean differ, as they stand in the files. It is
*changed* where what comes out differs from dirty, and *repaired* where it is changed and equals clean. What comes
out is compared after white space is collapsed and numbers are written in one way (12, 12.0); nothing is the empty
text. A date that was read as a time counts as unchanged. Where a row was rejected, the cell that is at fault counts
as changed and not as repaired, and the others as unchanged.

Detection: the share of the changed cells that are errors (precision), and of the errors that are changed (recall).
Repair: the same with the cells that are repaired. The kinds of errors are those of the data set: a value is missing
(MV), mistyped (TYP), written in another form (REP), or false though it looks right (SEM).

The last table is about good data: which share of the cells the steps of the default cleaning change in the clean
tables, and in two that are used as they are by everyone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

import penstock as ps
from penstock.cleaning import default_steps
from penstock.step import Step

TABLES = ("beers", "flights", "hospital", "rayyan")
KINDS = ("MV", "TYP", "REP", "SEM")
RULES: dict[str, tuple[Step, ...]] = {
    "beers": (ps.RepairByMajority(["city", "state"], by="brewery_id"),),
    "flights": (ps.RepairByMajority(["sched_*", "act_*"], by="flight"),),
    "hospital": (
        ps.RepairByMajority(["name", "address_1", "city", "zip", "county", "phone"], by="provider_number"),
        ps.RepairByMajority(["state", "type", "owner", "emergency_service"], by="provider_number"),
        ps.RepairByMajority(["condition", "measure_name"], by="measure_code"),
    ),
}


def canonical(value: Any) -> str:
    """A value in the form in which cells are compared."""
    text = "" if value is None else " ".join(str(value).split())
    try:
        return repr(float(text))
    except ValueError:
        return text


def prepared(path: Path, work: Path, rules: tuple[Step, ...] = ()) -> tuple[pl.DataFrame, Path]:
    """The table as it comes out of the default cleaning and of rules, and where it lies."""
    source = ps.read(path)
    steps = [*(step for step, _ in default_steps(source.schema)), *rules]
    to = work / f"{path.parent.name}-{path.stem}{'-rules' if rules else ''}.parquet"
    ps.Pipeline(steps, max_rejected=1.0).prepare(source, to=to, audit=cells_of(to))
    return pl.read_parquet(to), to


def cells_of(to: Path) -> Path:
    """Where the cells lie that the steps changed."""
    return to.with_name("cells-" + to.name)


def rejected_cells(to: Path) -> set[tuple[int, str | None]]:
    """The rows that were rejected, and the columns at fault."""
    parts = sorted((to.with_name(to.name + ".run") / "rejected").glob("*.parquet"))
    return {cell for part in parts for cell in pl.read_parquet(part).select("row", "column").iter_rows()}


def outcomes(folder: Path, work: Path, rules: tuple[Step, ...]) -> Iterator[tuple[str, bool, bool]]:
    """Of each cell: its kind of error ("CLN" for none), whether it was changed, and whether it is right now."""
    dirty, clean, kinds = (
        pl.read_csv(folder / f"{name}.csv", infer_schema=False) for name in ("dirty", "clean", "error_types")
    )
    out, to = prepared(folder / "dirty.csv", work, rules)
    rejected = rejected_cells(to)
    left = [row for row in range(len(dirty)) if row not in {row for row, _ in rejected}]
    for name, right_name in zip(dirty.columns, clean.columns, strict=True):
        after = dict(zip(left, out[name].to_list(), strict=True))
        is_time = out[name].dtype.is_temporal()
        for row, (was, right, kind) in enumerate(zip(dirty[name], clean[right_name], kinds[name], strict=True)):
            is_error = (was or "") != (right or "")
            if row not in after:
                yield (kind if is_error else "CLN"), (row, name) in rejected, False
                continue
            now = was if is_time and after[row] is not None else after[row]
            changed = canonical(now) != canonical(was)
            yield (kind if is_error else "CLN"), changed, canonical(now) == canonical(right)


def judged(folder: Path, work: Path, rules: tuple[Step, ...] = ()) -> dict[str, Any]:
    """The counts of one table."""
    counts: Counter[str] = Counter()
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for kind, changed, right in outcomes(folder, work, rules):
        counts["cells"] += 1
        counts["changed"] += changed
        if kind == "CLN":
            continue
        for one in (counts, by_kind[kind]):
            one["errors"] += 1
            one["found"] += changed
            one["repaired"] += changed and right
    return {**{key: counts[key] for key in ("cells", "errors", "changed", "found", "repaired")}, "kinds": by_kind}


def share(part: int, whole: int) -> str:
    """A share, or a dash where there is nothing to share."""
    return f"{part / whole:>10.3f}" if whole else f"{'-':>10}"


def told(name: str, counts: dict[str, Any]) -> str:
    """One line of the first table."""
    line = f"{name:<18}{counts['cells']:>8,}{counts['errors']:>8,}{counts['changed']:>9,}"
    for kind in ("found", "repaired"):
        line += share(counts[kind], counts["changed"]) + share(counts[kind], counts["errors"])
    return line


def good_tables(data: Path, work: Path) -> Iterator[tuple[str, Path]]:
    """Tables that are right as they are."""
    yield from ((f"{name}, clean", data / "dirty-clean" / name / "clean.csv") for name in TABLES)
    yield "adult", data / "adult" / "train.csv.gz"
    with zipfile.ZipFile(data / "diabetes130" / "dataset_diabetes.zip") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/diabetic_data.csv"))
        yield "diabetes130", Path(archive.extract(name, work))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    arguments = parser.parse_args()
    data = Path(os.environ.get("PENSTOCK_DATA", ""))
    if not os.environ.get("PENSTOCK_DATA") or not (data / "dirty-clean").is_dir():
        print("set PENSTOCK_DATA to a folder that holds dirty-clean/", file=sys.stderr)
        return 2
    every: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print(f"{'':<43}{'detection':>20}{'repair':>20}")
        print(f"{'table':<18}{'cells':>8}{'errors':>8}{'changed':>9}" + f"{'precision':>10}{'recall':>10}" * 2)
        for name in TABLES:
            every[name] = judged(data / "dirty-clean" / name, work)
            print(told(name, every[name]))
        keys = ("cells", "errors", "changed", "found", "repaired")
        print(told("all", {key: sum(every[name][key] for name in TABLES) for key in keys}))
        for name, rules in RULES.items():
            every[f"{name} + rules"] = judged(data / "dirty-clean" / name, work, rules)
            print(told(f"{name} + rules", every[f"{name} + rules"]))
        print(f"\n{'kind of error':<27}{'errors':>8}{'changed':>9}{'repaired':>10}")
        for kind in KINDS:
            of_kind = sum((every[name]["kinds"][kind] for name in TABLES), Counter())
            print(f"{kind:<27}{of_kind['errors']:>8,}{of_kind['found']:>9,}{of_kind['repaired']:>10,}")
        print(f"\n{'good data':<17}{'cells':>10}{'changed':>17}{'share':>10}")
        for name, path in good_tables(data, work):
            out, to = prepared(path, work)
            cells = len(pl.read_parquet(cells_of(to)))
            every.setdefault("good", {})[name] = {"cells": out.height * out.width, "changed": cells}
            print(f"{name:<17}{out.height * out.width:>10,}{cells:>17,}{cells / out.height / out.width:>10.5f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(every, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
