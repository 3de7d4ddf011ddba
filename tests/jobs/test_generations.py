"""Further generations of an output: what came in later is added at once, exactly once, and what was there stays."""

import shutil
from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.durable import put_in_place, read_json, restore, share_file, write_json
from penstock.errors import RunError, UsageError


def day(folder: Path, name: str, start: int, rows: int = 40) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    lines = "".join(f"{i},{i % 3},{'yes' if i % 2 else 'no'}\n" for i in range(start, start + rows))
    (folder / name).write_text("x,z,y\n" + lines)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> ps.FittedPipeline:
    folder = tmp_path_factory.mktemp("training")
    day(folder, "rows.csv", 0, 300)
    return ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(folder / "rows.csv")


def numbers(out: Path) -> list[int]:
    if out.is_dir():
        table = pl.read_parquet(out / "*.parquet")
    else:
        table = pl.read_csv(out) if out.suffix == ".csv" else pl.read_ipc(out)
    return [int(x) for x in table["x"]]


@pytest.mark.parametrize("name", ["out", "out.csv", "out.arrow"])
def test_new_files_are_added_after_those_that_are_there(fitted: ps.FittedPipeline, tmp_path: Path, name: str) -> None:
    inbox, out = tmp_path / "in", tmp_path / name
    day(inbox, "b.csv", 100)
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == list(range(100, 140))
    day(inbox, "a.csv", 0)
    day(inbox, "c.csv", 200)
    done = fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(100, 140), *range(40), *range(200, 240)]
    assert done.rows == 120
    assert sum(count.rows_in for count in done.counts if count.step == "read") == 120
    again = fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert again.already_done
    assert again.rows == 120
    assert fitted.predict(inbox, to=out, keep=["x"]).already_done, "the plain command finds all its inputs done"
    document = read_json(tmp_path / f"{name}.run" / "run.json")
    assert [one["kind"] for one in document["generations"]] == ["whole", "new"]
    assert not (tmp_path / f"{name}.run" / "parts").exists()


def test_a_new_partition_is_new_and_an_old_one_may_go(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    day(inbox / "dt=2026-11-19", "rows.csv", 0)
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    day(inbox / "dt=2026-11-20", "rows.csv", 100)
    shutil.rmtree(inbox / "dt=2026-11-19")
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(40), *range(100, 140)]


def test_a_changed_old_file_is_refused_and_named(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    day(inbox, "a.csv", 0)
    fitted.predict(inbox, to=out, keep=["x"])
    day(inbox, "b.csv", 100)
    with pytest.raises(RunError, match=r"b\.csv came in since(.|\n)*--new-only"):
        fitted.predict(inbox, to=out, keep=["x"])
    day(inbox, "a.csv", 1)
    with pytest.raises(RunError, match=r"a\.csv changed"):
        fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == list(range(40))


@pytest.mark.parametrize("name", ["out", "out.csv"])
@pytest.mark.parametrize(
    "where",
    [
        "penstock.run.write_json",
        "penstock.run.Run.record",
        "penstock.sinks.parts.PartsSink.assemble",
        "penstock.run.put_in_place",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_new_generation_that_is_stopped_goes_on_by_the_same_command(
    fitted: ps.FittedPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str, before: bool
) -> None:
    inbox, out = tmp_path / "in", tmp_path / name
    day(inbox, "a.csv", 0)
    fitted.predict(inbox, to=out, keep=["x"])
    day(inbox, "b.csv", 100)
    with monkeypatch.context() as patch:
        stop_at(patch, where, before)
        with pytest.raises(KeyboardInterrupt):
            fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) in ([*range(40)], [*range(40), *range(100, 140)]), "a reader sees one generation or the next"
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(40), *range(100, 140)]
    assert read_json(tmp_path / f"{name}.run" / "run.json")["generation"] == 2
    clean = tmp_path / "clean"
    clean.mkdir()
    (inbox / "b.csv").rename(tmp_path / "b.csv")
    fitted.predict(inbox, to=clean / name, keep=["x"])
    (tmp_path / "b.csv").rename(inbox / "b.csv")
    fitted.predict(inbox, to=clean / name, keep=["x"], new_only=True)
    assert content(clean / name) == content(out)


def test_a_copied_folder_with_the_number_of_another_is_told_by_what_is_in_it(
    fitted: ps.FittedPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, out, record = tmp_path / "in", tmp_path / "out", tmp_path / "out.run" / "run.json"
    day(inbox, "a.csv", 0)
    fitted.predict(inbox, to=out, keep=["x"])
    day(inbox, "b.csv", 100)
    with monkeypatch.context() as patch:
        stop_at(patch, "penstock.run.put_in_place", before=True)
        with pytest.raises(KeyboardInterrupt):
            fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    document = read_json(record)
    document["ready"]["inode"] = out.stat().st_ino  # as chance may have it where all was restored from a copy
    write_json(record, document)
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(40), *range(100, 140)]


def content(path: Path) -> list[bytes]:
    return [one.read_bytes() for one in (sorted(path.iterdir()) if path.is_dir() else [path])]


def stop_at(monkeypatch: pytest.MonkeyPatch, target: str, before: bool) -> None:
    """Let a function end the process, in effect, before or after it has done its work."""
    import importlib

    parts = target.split(".")
    owner = importlib.import_module(".".join(parts[:3] if parts[1] == "sinks" else parts[:2]))
    for part in parts[3 if parts[1] == "sinks" else 2 : -1]:
        owner = getattr(owner, part)
    real = getattr(owner, parts[-1])

    def stop(*arguments: object, **options: object) -> object:
        if not before:
            real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, parts[-1], stop)


def test_files_that_come_in_while_a_generation_is_stopped_wait_for_the_next(
    fitted: ps.FittedPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    day(inbox, "a.csv", 0)
    fitted.predict(inbox, to=out, keep=["x"])
    day(inbox, "b.csv", 100)
    with monkeypatch.context() as patch:
        stop_at(patch, "penstock.sinks.parts.PartsSink.assemble", before=True)
        with pytest.raises(KeyboardInterrupt):
            fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    day(inbox, "c.csv", 200)
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(40), *range(100, 140)]
    fitted.predict(inbox, to=out, keep=["x"], new_only=True)
    assert numbers(out) == [*range(40), *range(100, 140), *range(200, 240)]


def test_prepare_takes_new_files_through_the_steps_as_they_were_fitted(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    day(inbox, "a.csv", 0)
    pipeline = ps.Pipeline([ps.Standardize("x")])
    pipeline.prepare(inbox, to=out, new_only=True)
    first = pl.read_parquet(out / "*.parquet")["x"]
    day(inbox, "b.csv", 1000)
    pipeline.prepare(inbox, to=out, new_only=True)
    both = pl.read_parquet(out / "*.parquet")["x"]
    assert both[:40].equals(first)
    scale = float(pl.Series(range(40)).std(ddof=0))  # type: ignore[arg-type]
    assert abs(both[40] - (1000 - 19.5) / scale) < 1e-9


def test_work_that_looks_at_all_rows_takes_no_new_files(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    day(inbox, "a.csv", 0)
    pipeline = ps.Pipeline([ps.Standardize("x")])
    pipeline.prepare(ps.read(inbox).deduplicate(["x"]), to=out)
    day(inbox, "b.csv", 100)
    with pytest.raises(UsageError, match="can't be taken file by file"):
        pipeline.prepare(ps.read(inbox).deduplicate(["x"]), to=out, new_only=True)
    assert len(list(out.iterdir())) == 1


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another_and_a_stopped_exchange_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("penstock.durable._exchange", lambda *_: False)
    for name in ("new", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    put_in_place(tmp_path / "new", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    (tmp_path / "out").rename(tmp_path / ".out.old")
    restore(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


def test_a_file_is_shared_or_copied_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("text")
    share_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    share_file(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "text"
    assert not (tmp_path / "a").samefile(tmp_path / "c")


def test_the_second_partition_is_taken_though_the_first_was_alone(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    pipeline = ps.Pipeline([ps.MinMax("z")])
    day(inbox / "dt=2026-11-18", "rows.csv", 0)
    pipeline.prepare(inbox, to=out, new_only=True)
    day(inbox / "dt=2026-11-19", "rows.csv", 100)
    pipeline.prepare(inbox, to=out, new_only=True)
    table = pl.read_parquet(out / "*.parquet")
    assert [str(one.date()) for one in table["dt"].unique(maintain_order=True)] == ["2026-11-18", "2026-11-19"]


@pytest.mark.parametrize("command", ["predict", "prepare"])
def test_a_new_file_may_have_a_further_column(fitted: ps.FittedPipeline, tmp_path: Path, command: str) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"

    def once() -> None:
        if command == "predict":
            fitted.predict(inbox, to=out, keep=["x"], new_only=True)
        else:
            ps.Pipeline([ps.MinMax("z")]).prepare(inbox, to=out, new_only=True)

    day(inbox, "a.csv", 0)
    once()
    (inbox / "b.csv").write_text("x,z,y,further\n1000,2,yes,3\n")
    once()
    assert numbers(out) == [*range(40), 1000]
    assert "further" not in pl.read_parquet(out / "*.parquet").columns


def test_a_column_that_is_read_in_another_way_is_named(tmp_path: Path) -> None:
    day(tmp_path / "in", "a.csv", 0)
    pipeline = ps.Pipeline([ps.MinMax("x")])
    pipeline.prepare(tmp_path / "in", to=tmp_path / "out")
    other = ps.read(tmp_path / "in", roles={"z": "category"})
    with pytest.raises(RunError, match="column 'z': type double, role integer before, type string, role category now"):
        pipeline.prepare(other, to=tmp_path / "out")
