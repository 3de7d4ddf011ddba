"""Rejected rows put through again come out in their places, once, and the whole is what a clean run would have made."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import Count
from penstock.durable import read_json
from penstock.errors import RunError, UsageError
from penstock.schema import Role
from penstock.sinks.splice import splice
from penstock.source import Origin, ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import Limits, find_files
from penstock.step import Step

READING = ReadOptions(roles={"x": Role.number})
BAD = {0: "zero", 7: "n/a", 41: "1,2,3,4", 99: "x", 150: "later"}


def rows_text(bad: dict[int, str] | None = None, rows: int = 200) -> str:
    lines = []
    for i in range(rows):
        x = (bad or {}).get(i, str(i))
        lines.append(f"{x},{i % 3},{'yes' if i % 2 else 'no'}")
    return "x,z,y\n" + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> ps.FittedPipeline:
    folder = tmp_path_factory.mktemp("training")
    (folder / "rows.csv").write_text(rows_text(rows=300))
    source = ps.read(folder / "rows.csv", roles={"x": "number"})
    return ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(source, to=folder / "model")


def published(out: Path) -> pl.DataFrame:
    if out.is_dir():
        return pl.read_parquet(out / "*.parquet")
    return pl.read_csv(out) if out.suffix == ".csv" else pl.read_ipc(out)


def balanced(out: Path) -> bool:
    document = read_json(out.with_name(out.name + ".run") / "run.json")
    counts = [Count.from_json(count) for count in document["ledger"]]
    return all(count.balanced for count in counts) and counts[0].rows_in == sum(document["files"].values())


@pytest.mark.parametrize("name", ["out", "out.csv", "out.arrow"])
def test_mended_rows_come_out_in_their_places_and_only_once(
    fitted: ps.FittedPipeline, tmp_path: Path, name: str
) -> None:
    inbox, out = tmp_path / "in", tmp_path / name
    inbox.mkdir()
    (inbox / "a.csv").write_text(rows_text(BAD))
    (inbox / "b.csv").write_text(rows_text())
    fitted.predict(inbox, to=out, keep=["x"], max_rejected=0.1)
    assert len(published(out)) == 395
    (inbox / "a.csv").write_text(rows_text({7: "n/a"}))  # four of five mended
    done = ps.replay(out)
    assert done.rows == 399
    assert len(published(out)) == 399
    assert balanced(out)
    (inbox / "a.csv").write_text(rows_text())
    ps.replay(out.with_name(name + ".run"))
    assert published(out)["x"].to_list() == [*range(200), *range(200)]
    assert balanced(out)
    clean = tmp_path / "clean"
    clean.mkdir()
    fitted.predict(inbox, to=clean / name, keep=["x"])
    assert published(out).equals(published(clean / name))
    again = ps.replay(out)
    assert again.already_done
    assert not list((tmp_path / f"{name}.run" / "rejected").glob("*"))
    assert fitted.predict(inbox, to=out, keep=["x"], max_rejected=0.1).already_done, "the mended input is the run's own"


def test_rows_are_replayed_under_other_reading(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows_text({3: "none here", 5: "bad"}))
    out = tmp_path / "out"
    fitted.predict(tmp_path / "a.csv", to=out, keep=["x"], max_rejected=0.1)
    ps.replay(out, options=ReadOptions(missing=("none here",)))
    found = published(out)["x"].to_list()
    assert found == [None if i == 3 else i for i in range(200) if i != 5]
    rejected = pq.read_table(next((tmp_path / "out.run" / "rejected").glob("*.parquet")))
    assert rejected.column("value").to_pylist() == ["bad"]
    assert rejected.column("position").to_pylist() == [5]


def test_a_check_that_was_loosened_lets_its_rows_through(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows_text())
    out = tmp_path / "out"

    def pipeline(most: float, *more: Step) -> ps.Pipeline:
        return ps.Pipeline([ps.Validate({"x": {"max": most}}), ps.Standardize("z"), *more], max_rejected=0.5)

    pipeline(149).prepare(tmp_path / "a.csv", to=out)
    assert len(published(out)) == 150
    z = published(out)["z"][:10].to_list()
    with pytest.raises(UsageError, match="learns from the rows"):
        ps.replay(out, config=pipeline(189, ps.Standardize("x")))
    ps.replay(out, config=pipeline(189))
    assert published(out)["x"].to_list() == list(range(190))
    assert published(out)["z"][:10].to_list() == z, "what the steps have learned stays"
    assert balanced(out)
    assert pipeline(189).prepare(tmp_path / "a.csv", to=out).already_done
    with pytest.raises(RunError, match="the same config"):
        pipeline(149).prepare(tmp_path / "a.csv", to=out)


def test_rows_of_several_chunks_files_and_generations_find_their_parts(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    bad = dict.fromkeys(range(0, 200, 7), "bad")
    pipeline = ps.Pipeline([ps.Derive({"w": "x * 2"})], max_rejected=0.5)

    def source() -> CsvSource:
        return CsvSource(find_files(inbox), READING, Limits(block_rows=16, chunk_bytes=700))

    (inbox / "a.csv").write_text(rows_text(bad))
    (inbox / "b.csv").write_text(rows_text({1: "bad"}))
    first = source()
    first.origin = Origin((str(inbox),), READING)
    pipeline.prepare(first, to=out)
    assert len(list(out.iterdir())) > 5
    (inbox / "c.csv").write_text(rows_text({0: "bad", 199: "bad"}))
    second = source()
    second.origin = first.origin
    pipeline.prepare(second, to=out, new_only=True)
    lost = len(bad) + 1 + 2
    assert len(published(out)) == 600 - lost
    for name in "abc":
        (inbox / f"{name}.csv").write_text(rows_text())
    ps.replay(out)
    assert published(out)["x"].to_list() == [*range(200)] * 3
    assert balanced(out)
    document = read_json(tmp_path / "out.run" / "run.json")
    assert [one["kind"] for one in document["generations"]] == ["whole", "new", "replay"]


@pytest.mark.parametrize("where", ["penstock.run.write_json", "penstock.run.put_in_place", "penstock.run.sync_folder"])
@pytest.mark.parametrize("before", [True, False])
def test_a_replay_that_is_stopped_is_done_again_by_the_same_command(
    fitted: ps.FittedPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, before: bool
) -> None:
    out = tmp_path / "out"
    (tmp_path / "a.csv").write_text(rows_text(BAD))
    fitted.predict(tmp_path / "a.csv", to=out, keep=["x"], max_rejected=0.1)
    (tmp_path / "a.csv").write_text(rows_text())
    import importlib

    module, _, name = where.rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def stop(*arguments: object) -> None:
        if not before:
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, stop)
        with pytest.raises(KeyboardInterrupt):
            ps.replay(out)
    assert len(published(out)) in (195, 200)
    ps.replay(out)
    assert published(out)["x"].to_list() == list(range(200))
    assert read_json(tmp_path / "out.run" / "run.json")["generation"] == 2
    assert not list((tmp_path / "out.run" / "rejected").glob("*"))


def test_what_cannot_be_replayed_is_refused_with_its_reason(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "a.csv").write_text(rows_text(BAD))
    fitted.predict(tmp_path / "a.csv", to=out, keep=["x"], max_rejected=0.1)
    before = published(out)
    (tmp_path / "a.csv").write_text(rows_text(rows=201))
    with pytest.raises(RunError, match="no longer at their places"):
        ps.replay(out)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(Exception, match=r"a\.csv"):
        ps.replay(out)
    with pytest.raises(RunError, match="no run of Penstock"):
        ps.replay(tmp_path / "nothing")
    table = pa.table({"x": [1.0, 2.0], "z": [0, 1]})
    fitted.predict(table, to=tmp_path / "table")
    with pytest.raises(RunError, match="can't be opened again"):
        ps.replay(tmp_path / "table")
    assert published(out).equals(before)


# --- files that are a row each


def drawn(value: int) -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.full((6, 6, 3), value, np.uint8))[1].data)


def pictures(folder: Path, count: int, bad: Mapping[int, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(bad.get(number, drawn(number)))
    return folder


def shades(out: Path) -> dict[str, int]:
    """The first byte of each picture, by its path, in the order of the rows."""
    table = pq.read_table(out)
    pixels = [row[0] for row in table.column("picture").combine_chunks().storage.to_pylist()]
    return dict(zip(table.column("path").to_pylist(), pixels, strict=True))


@pytest.mark.parametrize("name", ["out", "out.arrow"])
def test_mended_pictures_come_out_in_their_places_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("penstock.sources.picture_files.CHUNK_FILES", 16)
    bad = {0: b"", 7: b"no picture", 15: drawn(15)[:-20], 16: b"", 33: b"\x89PNG", 39: b""}
    inbox, out = pictures(tmp_path / "in", 40, bad), tmp_path / name
    pipeline = ps.Pipeline([ps.DecodePicture("picture", size=4, channels=1)], max_rejected=0.5)
    assert pipeline.prepare(inbox, to=out).rows == 34
    pictures(inbox, 40, {33: b"\x89PNG"})
    done = ps.replay(out)
    assert done.rows == 39
    rejected = pq.read_table(tmp_path / f"{name}.run" / "rejected").to_pylist()
    assert [(row["path"], row["row"], row["code"]) for row in rejected] == [("033.png", 0, "not_a_picture")]
    if out.is_dir():
        assert list(shades(out).items()) == [(f"{i:03d}.png", i) for i in range(40) if i != 33]
    pictures(inbox, 40, {})
    assert ps.replay(out).rows == 40
    document = read_json(tmp_path / f"{name}.run" / "run.json")
    counts = [Count.from_json(count) for count in document["ledger"]]
    assert all(count.balanced for count in counts) and counts[0].rows_in == 40 and counts[-1].out == 40
    clean = tmp_path / "clean"
    pipeline.prepare(inbox, to=clean)
    if out.is_dir():
        assert shades(out) == shades(clean)
    assert ps.replay(out).already_done
    assert pipeline.prepare(inbox, to=out).already_done, "the mended pictures are the run's own"


def test_a_limit_that_was_raised_lets_its_pictures_through(tmp_path: Path) -> None:
    inbox, out = pictures(tmp_path / "in", 10, {4: b"none"}), tmp_path / "out"

    def pipeline(most: int) -> ps.Pipeline:
        return ps.Pipeline([ps.DecodePicture("picture", size=4, channels=1, max_pixels=most)], max_rejected=1.0)

    pipeline(35).prepare(inbox, to=out)
    assert ps.replay(out).already_done, "nothing was mended"
    assert ps.replay(out, config=pipeline(36)).rows == 9
    assert list(shades(out)) == [f"{i:03d}.png" for i in range(10) if i != 4]
    (inbox / "004.png").unlink()
    with pytest.raises(RunError, match="an input with rejected rows is gone"):
        ps.replay(out)


def test_mended_texts_come_out_once(tmp_path: Path) -> None:
    inbox, out = tmp_path / "texts", tmp_path / "out"
    inbox.mkdir()
    for number in range(6):
        (inbox / f"{number}.txt").write_bytes(b"" if number == 2 else f"text {number}".encode())
    options = ReadOptions(each="file")
    pipeline = ps.Pipeline([ps.NormalizeText("text")], max_rejected=0.5)
    pipeline.prepare(ps.read(inbox, options=options), to=out)
    assert published(out)["path"].to_list() == [f"{i}.txt" for i in (0, 1, 3, 4, 5)]
    (inbox / "2.txt").write_bytes(b"Text 2")
    ps.replay(out)
    assert published(out)["path"].to_list() == [f"{i}.txt" for i in range(6)]
    assert published(out)["text"].to_list()[2].casefold() == "text 2"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=8), st.sampled_from(["parquet", "arrow", "csv"]), st.integers(0, 5))
def test_spliced_rows_stand_before_those_that_they_are_placed_before(places: list[int], kind: str, rows: int) -> None:
    import tempfile

    import numpy as np
    import pyarrow.csv as pacsv

    places = sorted(min(place, rows) for place in places)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        old = pa.table(
            {"x": pa.array(range(rows), pa.int64()), "t": pa.array([f'a"{i}\n,' for i in range(rows)], pa.string())}
        )
        added = pa.table(
            {"x": pa.array(range(100, 100 + len(places)), pa.int64()), "t": pa.array(["é"] * len(places), pa.string())}
        )
        path, to = folder / f"old.{kind}", folder / f"new.{kind}"
        if kind == "parquet":
            pq.write_table(old, path, row_group_size=2)
        elif kind == "arrow":
            with pa.ipc.new_file(path, old.schema) as writer:
                writer.write_table(old, max_chunksize=2)
        else:
            pacsv.write_csv(old, path)
        part = splice(path, to, np.array(places, np.int64), added, kind)  # type: ignore[arg-type]
        read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc, "csv": pl.read_csv}[kind](to)
        expected = list(range(rows))
        for place, value in reversed(list(zip(places, range(100, 100 + len(places)), strict=True))):
            expected.insert(place, value)
        assert [int(x) for x in read["x"]] == expected
        assert part.rows == rows + len(places)
        assert sorted(read["t"].to_list()) == sorted(old["t"].to_pylist() + added["t"].to_pylist())
