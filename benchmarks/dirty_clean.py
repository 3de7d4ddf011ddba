"""What reading and the default cleaning find and repair, cell by cell, on data sets with known errors.

    PENSTOCK_DATA=DIR python -m benchmarks.dirty_clean [--json FILE]

DIR holds ``dirty-clean/NAME/dirty.csv`` and ``clean.csv`` (beers, flights, hospital, rayyan; from the repository of
MaTElDa). Every table is read and prepared with the default cleaning, and nothing else.

What is counted: a cell is an *error* where dirty and clean differ, and *changed* where what comes out differs from
dirty. Before they are compared, values are brought to one form: white space collapsed, Unicode NFKC, texts that mean
"no value" made empty, numbers by their value (and what is read as a time is not changed by that); so that a double space is neither an error nor a change.
Precision of detection: of the changed cells, the share that are errors; recall: of the errors, the share that changed.
Of repair: the same, but a cell counts only if what comes out equals clean. A cell whose row was rejected counts as
changed to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl

import penstock as ps
from penstock.cleaning import default_steps
from penstock.steps.text import MISSING

TABLES = ("beers", "flights", "hospital", "rayyan")


def canonical(value: Any) -> str:
    """A value in the form in which cells are compared."""
    if value is None:
        return ""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", str(value))).strip()
    if text.lower() in MISSING:
        return ""
    try:
        return repr(float(text))
    except ValueError:
        return text


def judged(folder: Path, work: Path) -> dict[str, Any]:
    """The counts of one table."""
    dirty = pl.read_csv(folder / "dirty.csv", infer_schema=False)
    clean = pl.read_csv(folder / "clean.csv", infer_schema=False)
    clean.columns = dirty.columns
    source = ps.read(folder / "dirty.csv")
    steps = [step for step, _ in default_steps(source.schema)]
    ps.Pipeline(steps, max_rejected=1.0).prepare(source, to=work / f"{folder.name}.parquet")
    out = pl.read_parquet(work / f"{folder.name}.parquet")
    rejected = set()
    for path in sorted((work / f"{folder.name}.parquet.run" / "rejected").glob("*.parquet")):
        rejected |= set(pl.read_parquet(path)["row"].to_list())
    place = {row: at for at, row in enumerate(row for row in range(len(dirty)) if row not in rejected)}
    counts = dict.fromkeys(("cells", "errors", "changed", "found", "repaired"), 0)
    for name in dirty.columns:
        after = out[name].to_list() if name in out.columns else [None] * len(out)
        timed = name in out.columns and out[name].dtype.is_temporal()
        for row, (before, right) in enumerate(zip(dirty[name].to_list(), clean[name].to_list(), strict=True)):
            was, wanted = canonical(before), canonical(right)
            now = canonical(after[place[row]]) if row in place else ""
            now = was if timed and now else now
            counts["cells"] += 1
            counts["errors"] += was != wanted
            counts["changed"] += now != was
            counts["found"] += now != was != wanted
            counts["repaired"] += now != was != wanted == now
    return counts


def told(name: str, counts: dict[str, int]) -> str:
    """One line of the table."""
    found, changed, errors = counts["found"], counts["changed"], counts["errors"]
    shares = [
        found / changed if changed else 1.0,
        found / errors,
        counts["repaired"] / changed if changed else 1.0,
        counts["repaired"] / errors,
    ]
    return f"{name:<10}{counts['cells']:>8,}{errors:>8,}{changed:>9,}" + "".join(f"{share:>10.3f}" for share in shares)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the counts to this file")
    arguments = parser.parse_args()
    data = Path(os.environ.get("PENSTOCK_DATA", "")) / "dirty-clean"
    if not os.environ.get("PENSTOCK_DATA") or not data.is_dir():
        print("set PENSTOCK_DATA to a folder that holds dirty-clean/", file=sys.stderr)
        return 2
    print(f"{'':<10}{'':>8}{'':>8}{'':>9}{'detection':>20}{'repair':>20}")
    print(f"{'table':<10}{'cells':>8}{'errors':>8}{'changed':>9}" + f"{'precision':>10}{'recall':>10}" * 2)
    every: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as work:
        for name in TABLES:
            every[name] = judged(data / name, Path(work))
            print(told(name, every[name]))
    print(told("all", {key: sum(counts[key] for counts in every.values()) for key in every[TABLES[0]]}))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(every, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
