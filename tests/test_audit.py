"""Every cell that cleaning changed is told: how many, where, before and after."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.errors import RunError


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pl.DataFrame(
        {
            "city": ["Ulm", " Ulm", "ULM", "n/a", None, "Bern"] * 20,
            "age": [1.0, None, 3.0, 4.0, 500.0, 6.0] * 20,
            "y": ["a", "b"] * 60,
        }
    ).write_parquet(path)
    return path


STEPS = [
    ps.NormalizeText("city"),
    ps.MergeSpellings("city"),
    ps.Impute("age", "median"),
    ps.Clip("age", (0.0, 0.8)),
    ps.Standardize("age"),
]
TREES = ps.BoostedTrees(rounds=3, folds=1, early_stopping_rounds=None)


def test_training_tells_what_each_cleaning_step_changed(rows: Path) -> None:
    fitted = ps.Pipeline(STEPS, TREES, "y").fit(str(rows))
    found = {(one["step"], one["column"]): one for one in fitted.summary["cleaning"]}
    assert {key: one["changed"] for key, one in found.items()} == {
        ("normalize_text", "city"): 40,  # " Ulm" and "n/a"
        ("merge_spellings", "city"): 20,  # "ULM"
        ("impute", "age"): 20,
        ("clip", "age"): 20,
    }, "standardizing cleans nothing, and is not told"
    spelled = found["merge_spellings", "city"]
    assert spelled["examples"][0] == {"path": "rows.parquet", "row": 2, "before": "ULM", "after": "Ulm"}
    assert [one["row"] for one in spelled["examples"]] == [2, 8, 14, 20, 26]
    assert spelled["share"] == pytest.approx(20 / 120) and "spelling" in spelled["reason"].lower()
    assert (found["normalize_text", "city"]["emptied"], found["impute", "age"]["filled"]) == (20, 20)


def test_held_out_rows_are_no_part_of_it(rows: Path) -> None:
    fitted = ps.Pipeline(STEPS[:2], TREES, "y", holdout=0.5).fit(str(rows))
    changed = sum(one["changed"] for one in fitted.summary["cleaning"])
    assert 10 < changed < 50


def test_every_changed_cell_is_written(rows: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.parquet"
    ps.Pipeline(STEPS).prepare(str(rows), to=tmp_path / "out", audit=cells)
    found = pl.read_parquet(cells)
    assert found.columns == ["path", "row", "column", "before", "after", "step"]
    assert len(found) == 100
    before = pl.read_parquet(rows)
    after = pq.read_table(tmp_path / "out").column("city").to_pylist()
    last = {row["row"]: row for row in found.filter(pl.col("column") == "city").sort("row").to_dicts()}
    for row, (was, now) in enumerate(zip(before["city"].to_list(), after, strict=True)):
        assert (was == now) == (row not in last)
        if row in last:
            assert last[row]["after"] == now


def test_the_audit_is_the_same_bytes_for_any_cores(rows: Path, tmp_path: Path) -> None:
    for cores in (1, 2):
        ps.Pipeline(STEPS).prepare(str(rows), to=tmp_path / f"o{cores}", audit=tmp_path / f"{cores}.csv", cores=cores)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_another_audit_at_the_same_place_is_refused_and_replaced_when_asked(rows: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.csv"
    ps.Pipeline(STEPS).prepare(str(rows), to=tmp_path / "a", audit=cells)
    with pytest.raises(RunError, match="another job"):
        ps.Pipeline(STEPS[:1]).prepare(str(rows), to=tmp_path / "b", audit=cells)
    ps.Pipeline(STEPS[:1]).prepare(str(rows), to=tmp_path / "b", audit=cells, restart=True)
    assert len(pl.read_csv(cells)) == 40


def test_without_cleaning_steps_there_is_nothing_to_tell(rows: Path) -> None:
    fitted = ps.Pipeline([ps.Drop("city")], TREES, "y").fit(str(rows))
    assert "cleaning" not in fitted.summary


def test_a_cell_that_is_a_formula_is_harmless_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"c": [" =1+1", "x"], "y": ["a", "b"]}).write_parquet(path)
    cells = tmp_path / "cells.csv"
    ps.Pipeline([ps.NormalizeText("c")]).prepare(str(path), to=tmp_path / "o", audit=cells)
    assert "'=1+1" in cells.read_text()
