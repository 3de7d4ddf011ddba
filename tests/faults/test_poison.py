"""A thousand poisoned rows among a million: exactly those are rejected, whoever it is that can't bear them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penstock.batch import Count
from penstock.durable import read_json

ROWS = 1_000_000
POISON = ROWS // 1_000
CURSED = 777_777.0

STEP = '''
"""A step of another package, that breaks on a value: as a library does that was given what it never saw."""

from dataclasses import dataclass

import pyarrow.compute as pc

from penstock.step import Columns, FittedStep, Step


@dataclass(frozen=True)
class Brittle(Step):
    columns: str
    name = "brittle"

    def touches(self, schema):
        return Columns((self.columns,), (self.columns,))

    def fit(self, schema, values):
        return FittedBrittle(self, schema)


@dataclass(frozen=True)
class FittedBrittle(FittedStep):
    step: Brittle
    schema: object

    def transform(self, batch, use):
        if pc.any(pc.equal(batch.column(self.step.columns), 777_777.0)).as_py():
            raise ZeroDivisionError("it does not like this value")
        return batch
'''


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which another package's step is installed."""
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "brittle_step.py").write_text(STEP)
    installed = folder / "brittle-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: brittle\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[penstock.steps]\nbrittle = brittle_step:Brittle\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def penstock(environment: dict[str, str], *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *map(str, arguments), "--quiet"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def write(path: Path, x: list[str]) -> None:
    path.write_text("id,x,y\n" + "".join(f"{row},{value},{row % 2}\n" for row, value in enumerate(x)))


def test_a_thousand_rows_of_a_million_are_rejected_and_no_other(plugged: dict[str, str], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    clean = [f"{value:.3f}" for value in random.normal(size=ROWS)]
    write(tmp_path / "training.csv", clean[:3_000])
    (tmp_path / "pipeline.yaml").write_text("target: y\nsteps:\n  - brittle: x\nmodel:\n  linear: {epochs: 1}\n")
    penstock(
        plugged, "train", tmp_path / "training.csv", "--config", tmp_path / "pipeline.yaml", "--to", tmp_path / "m"
    )
    poisoned = np.sort(random.choice(ROWS, POISON, replace=False))
    bad, cursed = poisoned[::2], poisoned[1::2]
    x = list(clean)
    for row in bad:
        x[row] = "twelve"
    for row in cursed:
        x[row] = str(CURSED)
    write(tmp_path / "rows.csv", x)
    out = tmp_path / "out"
    penstock(plugged, "predict", tmp_path / "m", tmp_path / "rows.csv", "--to", out, "--keep", "id")

    rejected = pl.read_parquet(tmp_path / "out.run" / "rejected" / "*.parquet")
    by_reading = rejected.filter(pl.col("step") == "read")
    assert by_reading["row"].sort().to_list() == bad.tolist()
    assert set(by_reading["code"]) == {"not_a_number"}
    assert set(by_reading["value"]) == {"twelve"}
    by_failing = rejected.filter(pl.col("step") != "read")
    assert by_failing["row"].sort().to_list() == cursed.tolist()
    assert by_failing["reason"].str.contains("it does not like this value").all()
    assert by_failing["record"].str.contains("777777").all()
    found = pl.read_parquet(out / "*.parquet")
    assert found["id"].cast(pl.Int64).to_list() == np.delete(np.arange(ROWS), poisoned).tolist()

    counts = {
        count.step: count for count in map(Count.from_json, read_json(tmp_path / "out.run" / "run.json")["ledger"])
    }
    assert all(count.balanced for count in counts.values())
    assert (counts["read"].rows_in, counts["read"].rejected) == (ROWS, len(bad))
    assert sum(count.rejected for count in counts.values()) == POISON

    write(tmp_path / "clean.csv", clean)
    penstock(plugged, "predict", tmp_path / "m", tmp_path / "clean.csv", "--to", tmp_path / "all", "--keep", "id")
    others = pl.read_parquet(tmp_path / "all" / "*.parquet").filter(~pl.col("id").cast(pl.Int64).is_in(poisoned))
    assert found.equals(others), "a row that was not poisoned came out otherwise"
