"""Deterministic data for the benchmarks.

Three kinds of data are made, each from a seed and nothing else, so that two machines measure the
same bytes:

* `table`: numeric columns of many shapes with nulls and outliers, and string categories, in Parquet
  files; what feature preparation is measured on;
* `csv`: a typed CSV with quoted fields and a few bad lines; what reading is measured on;
* `training`: numeric features and a binary target; what boosted trees are measured on.

Everything is written a piece at a time, so that the memory needed does not grow with the data. Each
piece has a random stream of its own, drawn from the seed and the piece's place.

A finished folder has a manifest beside it (not in it: every reader takes the whole folder as data).
Asking again for what a manifest already describes does nothing.

    python -m benchmarks.generate DIR --rows 5000000
    python -m benchmarks.generate DIR --csv 300
    python -m benchmarks.generate DIR --training 1000000
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

VERSION = 1
"""Raised when what is generated changes, so that older folders are made anew."""

PIECE = 131_072
"""Rows made, and written as one row group, at a time."""

SEED = 20_240_607

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]


def _bimodal(rng: np.random.Generator, size: int) -> Floats:
    """Two bells of unequal weight, far enough apart for the mean to lie between them."""
    side = rng.random(size) < 0.3
    return np.where(side, rng.normal(-4.0, 0.7, size), rng.normal(3.0, 1.5, size))


def _mostly_zero(rng: np.random.Generator, size: int) -> Floats:
    """Amounts that four rows in five do not have."""
    return np.where(rng.random(size) < 0.8, 0.0, rng.exponential(40.0, size))


NUMERIC: dict[str, Draw] = {
    "n00": lambda rng, size: rng.normal(0.0, 1.0, size),
    "n01": lambda rng, size: rng.normal(100.0, 15.0, size),
    "n02": lambda rng, size: rng.lognormal(0.0, 1.0, size),
    "n03": lambda rng, size: np.round(rng.lognormal(10.0, 0.5, size), 2),
    "n04": lambda rng, size: rng.uniform(0.0, 1.0, size),
    "n05": lambda rng, size: rng.uniform(-1000.0, 1000.0, size),
    "n06": lambda rng, size: rng.poisson(3.0, size).astype(np.float64),
    "n07": lambda rng, size: rng.integers(0, 100, size).astype(np.float64),
    "n08": lambda rng, size: rng.exponential(5.0, size),
    "n09": lambda rng, size: rng.gamma(2.0, 3.0, size),
    "n10": lambda rng, size: rng.standard_t(3.0, size),
    "n11": lambda rng, size: rng.beta(0.5, 0.5, size),
    "n12": lambda rng, size: rng.integers(18, 90, size).astype(np.float64),
    "n13": lambda rng, size: rng.pareto(3.0, size),
    "n14": _bimodal,
    "n15": _mostly_zero,
}
"""How each numeric column is drawn."""

CATEGORIES: dict[str, int] = {"c0": 3, "c1": 20, "c2": 200, "c3": 2000}
"""The category columns and the number of distinct values of each."""

FEATURES = 24
"""Numeric features of the training table."""


def _manifest(folder: Path) -> Path:
    return folder.with_name(folder.name + ".manifest.json")


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}


def _make(folder: Path, request: dict[str, Any], write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Have `write` fill `folder`, unless a manifest says that it already holds `request`.

    The manifest is written last, so that an interrupted run leaves none and is made anew. A folder
    that holds anything without a manifest of ours is refused rather than emptied.
    """
    path = _manifest(folder)
    request = {**request, "version": VERSION}
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if known["request"] == request and folder.is_dir() and known["files"] == _sizes(folder):
            return known
        path.unlink()
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / ".generating").exists():
            raise FileExistsError(f"{folder} holds files that were not generated here")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / ".generating"
    marker.touch()
    facts = write(folder)
    marker.unlink()
    manifest = {"request": request, "facts": facts, "files": _sizes(folder)}
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _words(name: str, count: int) -> list[str]:
    """Give the distinct values of a category column, in no order that its codes could lean on."""
    rng = np.random.default_rng([SEED, count])
    tags = rng.permutation(count)
    return [f"{name}_{tag:04d}_{'abcdefghij'[tag % 10] * int(tag % 7)}" for tag in tags]


def _zipf(count: int) -> Floats:
    """Give the cumulative weights of a Zipf-like law over `count` values."""
    weights = 1.0 / np.arange(1, count + 1) ** 1.1
    return np.cumsum(weights / weights.sum())


def _pick(rng: np.random.Generator, cumulative: Floats, size: int) -> npt.NDArray[np.int32]:
    codes = np.searchsorted(cumulative, rng.random(size), side="right")
    return np.minimum(codes, len(cumulative) - 1).astype(np.int32)


def _numeric(rng: np.random.Generator, draw: Draw, size: int) -> pa.Array:
    """Draw one numeric column: one value in a thousand far out, one in twenty null."""
    values = draw(rng, size)
    spread = float(values.std()) or 1.0
    outlying = rng.random(size) < 0.001
    values[outlying] += rng.choice([-1.0, 1.0], outlying.sum()) * spread * rng.uniform(20.0, 100.0, outlying.sum())
    return pa.array(values, mask=rng.random(size) < 0.05)


def _pieces(rows: int) -> Iterator[int]:
    for start in range(0, rows, PIECE):
        yield min(PIECE, rows - start)


def _write_parquet(
    folder: Path,
    rows: int,
    files: int,
    schema: pa.Schema,
    piece: Callable[[np.random.Generator, int], list[pa.Array]],
) -> None:
    """Write `rows` rows over `files` Parquet files, a row group at a time."""
    for number in range(files):
        share = rows // files + (number < rows % files)
        path = folder / f"part-{number:03d}.parquet"
        with pq.ParquetWriter(path, schema, compression="snappy") as writer:
            for place, size in enumerate(_pieces(share)):
                rng = np.random.default_rng([SEED, number, place])
                writer.write_table(pa.Table.from_arrays(piece(rng, size), schema=schema), row_group_size=PIECE)


def table(folder: Path, rows: int, files: int = 10) -> dict[str, Any]:
    """Generate the table that feature preparation is measured on.

    It has 16 float64 columns (`NUMERIC`) with 5 % nulls and 0.1 % outliers, and 4 string columns
    (`CATEGORIES`) without nulls.
    """
    words = {name: pa.array(_words(name, count)) for name, count in CATEGORIES.items()}
    weights = {name: _zipf(count) for name, count in CATEGORIES.items()}
    schema = pa.schema([(name, pa.float64()) for name in NUMERIC] + [(name, pa.string()) for name in CATEGORIES])

    def piece(rng: np.random.Generator, size: int) -> list[pa.Array]:
        numbers = [_numeric(rng, draw, size) for draw in NUMERIC.values()]
        strings = [words[name].take(pa.array(_pick(rng, weights[name], size))) for name in words]
        return numbers + strings

    def write(target: Path) -> dict[str, Any]:
        _write_parquet(target, rows, files, schema, piece)
        return {"rows": rows}

    return _make(folder, {"kind": "table", "rows": rows, "files": files}, write)


def training(folder: Path, rows: int, files: int = 4) -> dict[str, Any]:
    """Generate the table that boosted trees are trained on.

    `FEATURES` float32 features, half of them with 5 % nulls, and a binary `target` that hangs on
    some of them alone, in pairs and by thresholds, under noise: trees have something to find, and
    not everything can be found.
    """
    names = [f"f{number:02d}" for number in range(FEATURES)]
    schema = pa.schema([(name, pa.float32()) for name in names] + [("target", pa.int8())])

    def piece(rng: np.random.Generator, size: int) -> list[pa.Array]:
        x = rng.standard_normal((FEATURES, size))
        x[8:12] = np.exp(x[8:12])
        x[12:16] = rng.integers(0, 50, (4, size))
        logit = (
            0.8 * x[0]
            - 0.6 * x[1] * x[2]
            + 1.2 * (x[3] > 0.5) * (x[4] < 0.0)
            + 0.5 * np.sin(2.0 * x[5])
            + 0.4 * np.log(x[8])
            + 0.7 * (x[12] % 7 < 3)
            - 0.9
        )
        target = (rng.random(size) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int8)
        columns = [
            pa.array(
                x[number].astype(np.float32),
                mask=(rng.random(size) < 0.05) if number % 2 else None,
            )
            for number in range(FEATURES)
        ]
        return [*columns, pa.array(target)]

    def write(target: Path) -> dict[str, Any]:
        _write_parquet(target, rows, files, schema, piece)
        return {"rows": rows}

    return _make(folder, {"kind": "training", "rows": rows, "files": files}, write)


CSV_HEADER = "id,quantity,price,score,day,stamp,code,city,note,flag"

_CITIES = ["Lyon", "Porto", "Graz", "Turku", "Gdansk", "Cork", "Bilbao", "Aarhus", "Ghent", "Split"]
_NOTES = [
    "ok",
    "late",
    "",
    "returned once",
    '"fragile, handle with care"',
    '"two lines\nin one field"',
    '"said ""never again"" twice"',
    "plain",
    '"a, b, and c"',
    "checked",
]
"""Notes as they stand in the file: those that need quotes have them."""


def _csv_lines(rng: np.random.Generator, first: int, size: int) -> pa.Array:
    """Give `size` good lines of the CSV, without their line ends."""

    def text(values: Any, kind: pa.DataType | None = None, nulls: float = 0.0) -> pa.Array:
        mask = rng.random(size) < nulls if nulls else None
        return pa.array(values, type=kind, mask=mask).cast(pa.string())

    days = rng.integers(15_000, 20_000, size).astype(np.int32)
    stamps = days.astype(np.int64) * 86_400 + rng.integers(0, 86_400, size)
    columns = [
        text(np.arange(first, first + size)),
        text(rng.poisson(4.0, size), nulls=0.02),
        text(np.round(rng.lognormal(3.0, 1.0, size), 2), nulls=0.02),
        text(np.round(rng.normal(0.0, 1.0, size), 6), nulls=0.02),
        text(days, pa.date32(), nulls=0.01),
        text(stamps, pa.timestamp("s")),
        pc.binary_join_element_wise("K", text(rng.integers(1000, 100_000, size)), ""),
        pa.array(_CITIES).take(pa.array(_pick(rng, _zipf(len(_CITIES)), size))),
        pa.array(_NOTES).take(pa.array(rng.integers(0, len(_NOTES), size))),
        pa.array(["true", "false"]).take(pa.array(rng.integers(0, 2, size))),
    ]
    return pc.binary_join_element_wise(*columns, ",", null_handling="replace")


def _spoil(rng: np.random.Generator, line: str) -> tuple[str, str]:
    """Turn a good line into a bad one and say how it is bad.

    Ragged lines lack fields or have one too many; others have letters where a number belongs. A
    quote is never left open, as that would swallow an unknown number of the lines after it.
    """
    kind = ("short", "long", "letters")[int(rng.integers(0, 3))]
    fields = line.split(",")
    if kind == "short":
        return ",".join(fields[: int(rng.integers(2, 6))]), kind
    if kind == "long":
        return line + ",surplus", kind
    fields[int(rng.integers(0, 4))] = "n/k" if rng.random() < 0.5 else "12x4"
    return ",".join(fields), kind


def csv(folder: Path, megabytes: int, bad: float = 0.001) -> dict[str, Any]:
    """Generate one typed CSV of about `megabytes` (of 10**6 bytes), `data.csv` in `folder`.

    It has integers, floats, dates, date-times and short strings, some quoted with commas, line
    ends or quotes inside, and empty fields for nulls. A share `bad` of its lines is bad; the
    manifest says how many of each kind, so that a reader's own count can be checked.
    """

    def write(target: Path) -> dict[str, Any]:
        counts = {"short": 0, "long": 0, "letters": 0}
        rows = 0
        written = 0
        wanted = megabytes * 1_000_000
        with (target / "data.csv").open("wb") as file:
            written += file.write(CSV_HEADER.encode() + b"\n")
            while written < wanted:
                rng = np.random.default_rng([SEED, rows])
                lines = _csv_lines(rng, rows, 32_768)
                spoiled = np.flatnonzero(rng.random(len(lines)) < bad)
                replacements = []
                for place in spoiled:
                    line, kind = _spoil(rng, lines[int(place)].as_py())
                    replacements.append(line)
                    counts[kind] += 1
                mask = np.zeros(len(lines), dtype=np.bool_)
                mask[spoiled] = True
                lines = pc.replace_with_mask(lines, mask, pa.array(replacements, pa.string()))
                whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
                written += file.write(pc.binary_join(whole, "\n")[0].as_buffer())
                written += file.write(b"\n")
                rows += len(lines)
        return {"rows": rows, "good": rows - sum(counts.values()), "bad": counts}

    return _make(folder, {"kind": "csv", "megabytes": megabytes, "bad": bad}, write)


def main(arguments: list[str] | None = None) -> None:
    """Generate the data asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=csv.__doc__)
    parser.description = "Generate deterministic benchmark data in DIR."
    parser.add_argument("folder", type=Path, metavar="DIR")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--rows", type=int, help="a table for feature preparation, of so many rows")
    kind.add_argument("--csv", type=int, metavar="MB", help="a CSV of about so many megabytes")
    kind.add_argument("--training", type=int, metavar="ROWS", help="a table for boosted trees")
    parser.add_argument("--files", type=int, help="Parquet files to spread the rows over")
    parser.add_argument("--bad", type=float, default=0.001, help="share of bad lines in the CSV")
    options = parser.parse_args(arguments)
    files = {} if options.files is None else {"files": options.files}
    if options.rows is not None:
        manifest = table(options.folder, options.rows, **files)
    elif options.csv is not None:
        manifest = csv(options.folder, options.csv, options.bad)
    else:
        manifest = training(options.folder, options.training, **files)
    print(json.dumps({"folder": str(options.folder), **manifest["facts"]}))


if __name__ == "__main__":
    main()
