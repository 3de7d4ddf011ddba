"""Every cell that cleaning changed is told: how many, where, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.audit import CELLS, ChangedCells, Changes
from penstock.batch import Batch, RowKeys
from penstock.errors import RunError, UsageError
from penstock.model import TrainingData
from penstock.pipeline import refit
from penstock.schema import Field, Role, Schema
from penstock.step import Step
from penstock.testing.steps import batch_of


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


@dataclass(frozen=True)
class Untrainable(ps.BoostedTrees):
    """A model that must not get to learning."""

    def train(self, data: TrainingData) -> Any:
        raise AssertionError("learned")


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


def test_without_cleaning_steps_there_is_nothing_to_tell_and_the_file_is_empty(rows: Path, tmp_path: Path) -> None:
    fitted = ps.Pipeline([ps.Drop("city")], TREES, "y").fit(str(rows), audit=tmp_path / "cells.parquet")
    assert "cleaning" not in fitted.summary
    found = pl.read_parquet(tmp_path / "cells.parquet")
    assert found.columns == list(CELLS.names) and len(found) == 0
    ps.Pipeline([ps.Drop("city")]).prepare(str(rows), to=tmp_path / "o", audit=tmp_path / "cells.csv")
    assert (tmp_path / "cells.csv").read_text().split() == ['"path","row","column","before","after","step"']


def test_a_cell_that_is_a_formula_is_harmless_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"c": [" =1+1", "x"], "y": ["a", "b"]}).write_parquet(path)
    cells = tmp_path / "cells.csv"
    ps.Pipeline([ps.NormalizeText("c")]).prepare(str(path), to=tmp_path / "o", audit=cells)
    assert "'=1+1" in cells.read_text()


# ---------------------------------------------------------------------- cell by cell

SCHEMA = Schema(
    (
        Field("number", pa.float64(), Role.number),
        Field("whole", pa.int32(), Role.integer),
        Field("color", pa.string(), Role.category),
        Field("", pa.string(), Role.text),
    )
)


def cells(steps: Sequence[Step], values: dict[str, list[Any]], **codes: bool) -> list[tuple[Any, ...]]:
    """What `ChangedCells` finds: (row, column, before, after, step)."""
    batch = batch_of(SCHEMA, values, path="a.csv", start=100)
    schema, states = SCHEMA, []
    for step in steps:
        state = dict(step.statistics(schema))
        # Fitted to what comes in at the start: the steps here do not depend on one another.
        for statistic in state.values():
            statistic.update(batch)
        states.append(state)
        schema = step.fit(schema, {name: statistic.value() for name, statistic in state.items()}).schema
    fitted = refit(steps, SCHEMA, states)
    if codes.get("as_codes"):
        columns = batch.columns.set_column(2, "color", batch.column("color").dictionary_encode())
        batch = batch.with_columns(columns)
    way = ChangedCells(fitted, len(steps), 0)
    found = way.transform(batch.select(way.inputs) if way.inputs else batch)
    assert found.columns.schema.equals(CELLS.to_arrow())
    assert all(count.balanced for count in found.counts)
    return [tuple(row[name] for name in ("row", "column", "before", "after", "step")) for row in _rows(found)]


def _rows(batch: Batch) -> list[dict[str, Any]]:
    return pa.Table.from_batches([batch.columns]).to_pylist()  # type: ignore[no-any-return]


VALUES: dict[str, list[Any]] = {
    "number": [1.0, None, 9.0, 2.0],
    "whole": [1, None, 4, 2],
    "color": ["red", " red", "N/A", None],
    "": ["", "x\u200by", None, "y" * 3000 + " "],
}


@pytest.mark.parametrize("as_codes", [False, True])
def test_each_change_is_a_cell_with_its_row_and_step(as_codes: bool) -> None:
    found = cells([ps.NormalizeText(["color", ""]), ps.Impute("color", "constant", "none")], VALUES, as_codes=as_codes)
    assert found == [
        (101, "color", " red", "red", "normalize_text"),
        (102, "color", "N/A", None, "normalize_text"),
        (100, "", "", None, "normalize_text"),
        (101, "", "x\u200by", "xy", "normalize_text"),
        (103, "", "y" * 2000, "y" * 2000, "normalize_text"),
        (102, "color", None, "none", "impute"),
        (103, "color", None, "none", "impute"),
    ]


def test_another_type_alone_is_no_change() -> None:
    (changed,) = cells([ps.Impute("whole", "mean")], VALUES)
    assert changed[:3] == (101, "whole", None) and float(changed[3]) == pytest.approx(7 / 3)


def test_rows_that_leave_on_the_way_are_left_out_and_the_others_keep_their_keys() -> None:
    steps = [ps.DropMissing("number"), ps.NormalizeText("color"), ps.Drop("number"), ps.Impute("whole", "median")]
    assert cells(steps, VALUES) == [(102, "color", "N/A", None, "normalize_text")]


def test_a_column_is_followed_under_its_new_name() -> None:
    steps = [ps.Rename({"color": "paint"}), ps.NormalizeText("paint"), ps.NormalizeText("paint", case="upper")]
    assert [cell[1:] for cell in cells(steps, VALUES)] == [
        ("paint", " red", "red", "normalize_text"),
        ("paint", "N/A", None, "normalize_text"),
        ("paint", "red", "RED", "normalize_text 2"),
        ("paint", "red", "RED", "normalize_text 2"),
    ]


@pytest.mark.parametrize("steps", [[], [ps.Drop("color")], [ps.Standardize("number")]])
def test_steps_that_clean_nothing_need_no_column(steps: list[Step]) -> None:
    assert cells(steps, VALUES) == []


def test_nothing_in_nothing_out() -> None:
    empty: dict[str, list[Any]] = {name: [] for name in VALUES}
    assert cells([ps.NormalizeText("color")], empty) == []


CELL = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["a", "b"]),
        "row": st.integers(0, 20),
        "column": st.sampled_from(["c", ""]),
        "before": st.none() | st.text("xy", max_size=2),
        "after": st.none() | st.text("xy", max_size=2),
        "step": st.sampled_from(["one", "two"]),
    }
)


@given(
    st.lists(CELL, max_size=30, unique_by=lambda cell: tuple(cell[name] for name in ("path", "row", "column", "step"))),
    st.integers(0, 30),
)
@settings(max_examples=40, deadline=None)
def test_changes_are_counted_and_the_first_are_shown_however_they_are_grouped(found: list[Any], cut: int) -> None:
    parts = []
    for part in (found[:cut], found[cut:]):
        changes = Changes(examples=2)
        changes.update(Batch(pa.RecordBatch.from_pylist(part, CELLS.to_arrow()), RowKeys.span("", 0, len(part))))
        parts.append(changes)
    parts[0].merge(parts[1])
    told = parts[0].value()
    assert [(one["step"], one["column"]) for one in told] == sorted({(cell["step"], cell["column"]) for cell in found})
    for one in told:
        here = [cell for cell in found if (cell["step"], cell["column"]) == (one["step"], one["column"])]
        assert one["changed"] == len(here)
        assert one["filled"] == sum(cell["before"] is None for cell in here)
        assert one["emptied"] == sum(cell["after"] is None for cell in here)
        first = sorted(here, key=lambda cell: (cell["path"], cell["row"]))[:2]
        assert one["examples"] == [{name: cell[name] for name in ("path", "row", "before", "after")} for cell in first]


def test_reasons_say_what_was_found(rows: Path, tmp_path: Path) -> None:
    found = ps.Pipeline(STEPS, TREES, "y").fit(str(rows)).summary["cleaning"]
    assert {one["step"]: one["reason"] for one in found} == {
        "normalize_text": "Text in one spelling of its characters: white space trimmed, forms of one character "
        "made one",
        "merge_spellings": "spellings merged: 1 the same but for case, signs or spaces",
        "impute": "missing: the median value, 4",
        "clip": "drawn in to 1 to 6 (quantiles 0 to 0.8)",
    }


@pytest.mark.parametrize("name", ["cells.xlsx", "there.csv"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(name: str, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("somebody's")
    pipeline = ps.Pipeline(STEPS[:1], Untrainable(), "y")
    with pytest.raises((UsageError, RunError), match=name):
        pipeline.fit(str(rows), audit=tmp_path / name)
    with pytest.raises((UsageError, RunError), match=name):
        pipeline.prepare(str(rows), to=tmp_path / "o", audit=tmp_path / name)
    assert not (tmp_path / "o").exists()
    assert (tmp_path / "there.csv").read_text() == "somebody's"
