"""A run is done again from its own record: the same bytes, or where they first differ."""

from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.errors import RunError
from penstock.jobs.repro import _shown


def write(path: Path, start: int, rows: int = 60) -> None:
    lines = "".join(f"{i},{i % 3},{'yes' if i % 2 else 'no'}\n" for i in range(start, start + rows))
    path.write_text("x,z,y\n" + lines)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write(folder / "rows.csv", 0, 300)
    write(folder / "test.csv", 7, 100)
    pipeline = ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y")
    pipeline.fit(folder / "rows.csv", test=folder / "test.csv", to=folder / "model")
    return folder / "model"


def test_a_training_comes_out_the_same(model: Path) -> None:
    found = ps.repro(model, cores=1)
    assert found.identical, found.differences
    assert found.files > 5
    assert not (model.with_name("model.run") / "repro").exists()


@pytest.mark.parametrize("name", ["out", "out.csv", "out.arrow"])
def test_predictions_of_several_generations_come_out_the_same(model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "b.csv", 0)
    ps.load(model).predict(tmp_path / "in", to=tmp_path / name, keep=["x"], new_only=True)
    write(tmp_path / "in" / "a.csv", 100)
    ps.load(model).predict(tmp_path / "in", to=tmp_path / name, keep=["x"], new_only=True)
    found = ps.repro(tmp_path / f"{name}.run")
    assert found.identical, found.differences
    assert found.files == (2 if name == "out" else 1)


def test_an_altered_value_is_told_by_its_file_row_and_column(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", 0)
    ps.Pipeline([ps.MinMax("x")]).prepare(tmp_path / "rows.csv", to=tmp_path / "out")
    assert ps.repro(tmp_path / "out").identical
    part = next((tmp_path / "out").iterdir())
    table = pl.read_parquet(part)
    table.with_columns(z=pl.when(pl.int_range(pl.len()) == 41).then(9.0).otherwise(pl.col("z"))).write_parquet(part)
    found = ps.repro(tmp_path / "out")
    assert not found.identical
    (one,) = found.differences
    assert (one.file, one.row, one.column, one.before, one.now) == (part.name, 41, "z", "9.0", "2.0")
    table.write_parquet(part)
    (one,) = ps.repro(tmp_path / "out").differences
    assert one.reason == "the same values, laid out in other bytes"
    table[:50].write_parquet(part)
    (one,) = ps.repro(tmp_path / "out").differences
    assert (one.row, one.reason) == (50, "more rows than then")


def test_bytes_and_long_texts_that_differ_are_told_in_short() -> None:
    assert _shown(b"") == "0 bytes, BLAKE2b e4a6a0577479b2b4"  # b2sum -l 64 /dev/null
    assert _shown("a" * 80) == "a" * 80
    assert _shown("a" * 81) == "a" * 77 + "..."


def test_what_cannot_be_done_again_is_refused(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", 0)
    ps.load(model).predict(tmp_path / "rows.csv", to=tmp_path / "out")
    write(tmp_path / "rows.csv", 1)
    with pytest.raises(RunError, match=r"rows\.csv changed"):
        ps.repro(tmp_path / "out")
    with pytest.raises(RunError, match="no run of Penstock"):
        ps.repro(tmp_path)


@pytest.mark.parametrize("command", ["predict", "prepare", "train"])
def test_files_that_came_in_since_are_no_part_of_the_run(model: Path, tmp_path: Path, command: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder / "a.csv", 0)
    if command == "predict":
        ps.load(model).predict(folder, to=out, keep=["x"])
    elif command == "prepare":
        ps.Pipeline([ps.MinMax("z")]).prepare(folder, to=out)
    else:
        ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(folder, to=out)
    write(folder / "b.csv", 0)  # the same x again: it is no key any more
    (folder / "c.csv").write_text("x,z,y,further\n1,2,yes,3\n")
    found = ps.repro(out)
    assert found.identical, found.differences
