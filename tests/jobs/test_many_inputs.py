"""The files that a run read, where they are too many for ``run.json``: kept beside it, once, and read by every verb."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock import run_inputs
from penstock.durable import read_json
from penstock.errors import RunError
from penstock.report.document import of_folder
from penstock.report.page import page
from penstock.run_inputs import Inputs
from penstock.source import Fingerprint


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_inputs, "LISTED", 4)
    monkeypatch.setattr(run_inputs, "FIRST", 2)


PIPELINE = ps.Pipeline([ps.Derive({"w": "x * 2"})], max_rejected=0.5)


def put(folder: Path, *names: str, first: str = "1") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for number, name in enumerate(names):
        (folder / f"{name}.csv").write_text("x\n" + "".join(f"{v}\n" for v in (first, number, 7, 8, 9)))
    return folder


def prepare(inbox: Path, out: Path, **more: bool) -> ps.api.Summary:
    return PIPELINE.prepare(ps.read(inbox, roles={"x": "number"}), to=out, **more)


def document_of(out: Path) -> dict[str, object]:
    found: dict[str, object] = read_json(out.with_name(out.name + ".run") / "run.json")
    return found


def test_a_long_list_is_beside_run_json_and_a_short_one_in_it(tmp_path: Path) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    prepare(inbox, out)
    inputs = read_json(tmp_path / "out.run" / "run.json")["identity"]["inputs"]
    assert (inputs["count"], inputs["bytes"], len(inputs["first"])) == (6, 6 * 12, 2)
    table = pq.read_table(tmp_path / "out.run" / inputs["file"])
    assert table.column_names == ["path", "size", "digest"]
    assert table.column("path").to_pylist() == [f"{name}.csv" for name in "abcdef"]
    assert table.slice(0, 2).to_pylist() == inputs["first"]
    assert document_of(out)["files"]["count"] == 6  # type: ignore[index]
    assert prepare(inbox, out).already_done
    prepare(put(tmp_path / "few", *"ab"), tmp_path / "other")
    short = read_json(tmp_path / "other.run" / "run.json")
    assert [one["path"] for one in short["identity"]["inputs"]] == ["a.csv", "b.csv"]
    assert short["files"] == {"a.csv": 5, "b.csv": 5}
    assert not (tmp_path / "other.run" / "inputs").exists()


def test_what_changed_among_many_is_named(tmp_path: Path) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    prepare(inbox, out)
    put(inbox, "g")
    with pytest.raises(RunError, match=r"g\.csv came in since") as raised:
        prepare(inbox, out)
    assert "--new-only" in raised.value.remedy
    put(inbox, "b", first="22")
    (inbox / "c.csv").unlink()
    with pytest.raises(RunError, match=r"g\.csv came in since; c\.csv no longer there; b\.csv changed"):
        prepare(inbox, out)
    with pytest.raises(RunError, match=r"b\.csv changed"):
        prepare(inbox, out, new_only=True)


def test_new_files_replay_repro_and_report_know_the_list(tmp_path: Path) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    prepare(inbox, out)
    put(inbox, *"ghijkl", first="bad")
    done = prepare(inbox, out, new_only=True)
    assert (done.rows, sum(count.rejected for count in done.counts)) == (54, 6)
    folder, document = tmp_path / "out.run", read_json(tmp_path / "out.run" / "run.json")
    assert document["identity"]["inputs"]["count"] == 12
    assert [one["current"] and one["current"]["count"] for one in document["generations"]] == [None, 6]
    assert len(list((folder / "inputs").iterdir())) == 3, (
        "all inputs, those of the second generation, rows of each file"
    )
    assert ps.repro(out).identical
    put(inbox, "h", first="44")
    ps.replay(out)
    assert pl.read_parquet(out / "*.parquet").height == 55
    document = read_json(folder / "run.json")
    kept = Inputs.read(document["identity"]["inputs"], folder)
    assert kept.paths.to_pylist() == [f"{name}.csv" for name in "abcdefghijkl"]
    assert prepare(inbox, out).already_done, "the mended file is the run's own"
    told = page(of_folder(folder))
    assert "10 more files" in told and "a.csv" in told and "d.csv" not in told


def test_a_run_with_all_its_files_in_run_json_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run_inputs, "LISTED", 1000)
        prepare(inbox, out)
    path = tmp_path / "out.run" / "run.json"
    path.write_text(json.dumps(read_json(path) | {"format": 2}))  # as the version before wrote it
    assert isinstance(read_json(path)["identity"]["inputs"], list)
    assert prepare(inbox, out).already_done
    put(inbox, "g")
    with pytest.raises(RunError, match=r"g\.csv came in since"):
        prepare(inbox, out)
    assert prepare(inbox, out, new_only=True).rows == 35
    now = read_json(path)
    assert (now["format"], now["identity"]["inputs"]["count"]) == (3, 7)
    path.write_text(json.dumps(now | {"format": 4}))
    with pytest.raises(RunError, match="another version of Penstock"):
        prepare(inbox, out)


def test_a_list_that_is_lost_or_altered_is_one_clear_error(tmp_path: Path) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    prepare(inbox, out)
    inputs = read_json(tmp_path / "out.run" / "run.json")["identity"]["inputs"]
    path = tmp_path / "out.run" / inputs["file"]
    put(inbox, "g")
    for content in (None, b"", path.read_bytes()[:-9], b"altered"):
        path.unlink(missing_ok=True)
        if content == b"altered":
            pq.write_table(pa.table({"path": ["a"], "size": [1], "digest": ["0"]}), path)
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(RunError, match="list of the run's inputs is gone or altered") as raised:
            prepare(inbox, out, new_only=True)
        assert raised.value.where == str(path) and "6 files" in raised.value.expected
        assert "--restart" in raised.value.remedy
    assert prepare(inbox, out, restart=True).rows == 35


def test_a_run_that_was_stopped_before_its_record_was_there_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("penstock.run.write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(inbox, out)
    assert (tmp_path / "out.run" / "inputs").exists()
    assert prepare(inbox, out).rows == 30


def test_many_paths_that_were_asked_for_are_beside_run_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, out = put(tmp_path / "in", *"abcdef"), tmp_path / "out"
    (inbox / "c.csv").write_text("x\n1\nbad\n3\n")
    paths = [inbox / f"{name}.csv" for name in "abcdef"]
    monkeypatch.setattr("sys.argv", ["penstock", "prepare", *map(str, paths)])
    PIPELINE.prepare(ps.read(paths, roles={"x": "number"}), to=out)
    document = read_json(tmp_path / "out.run" / "run.json")
    items = document["asked"]["data"]["items"]
    assert (items["count"], items["first"]) == (6, [str(path) for path in paths[:2]])
    assert document["argv"] == ["penstock", "prepare", "... and 6 more"]
    assert ps.repro(out).identical
    (inbox / "c.csv").write_text("x\n1\n2\n3\n")
    assert ps.replay(out).rows == 28
    assert ps.replay(out).already_done
    assert len(list((tmp_path / "out.run" / "inputs").iterdir())) == 3
    (tmp_path / "out.run" / items["file"]).unlink()
    with pytest.raises(RunError, match="gone or altered"):
        ps.repro(out)


def test_an_artifact_names_few_of_many_files(tmp_path: Path) -> None:
    for name in "abcdef":
        lines = "".join(f"{i},{'yes' if i % 2 else 'no'}\n" for i in range(20))
        put(tmp_path / "in")
        (tmp_path / "in" / f"{name}.csv").write_text("x,y\n" + lines)
    ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(tmp_path / "in", to=tmp_path / "model")
    facts = ps.load(tmp_path / "model")._saved.facts["inputs"]
    assert (facts["count"], len(facts["first"])) == (6, 2)


# --- the lists beside one another, against dictionaries

LISTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2), st.sampled_from("01")), max_size=8)


def inputs(rows: list[tuple[str, int, str]], cut: int = 100) -> Inputs:
    whole = Inputs.of(Fingerprint(path, size, 0, digest) for path, size, digest in rows)
    return Inputs(pa.concat_tables([whole.table.slice(0, cut), whole.table.slice(cut)]))


@settings(max_examples=30, deadline=None)
@given(LISTS, LISTS, st.integers(0, 8))
def test_lists_of_inputs_are_compared_as_dictionaries_would_be(
    was: list[tuple[str, int, str]], now: list[tuple[str, int, str]], cut: int
) -> None:
    before, after = ({path: rest for path, *rest in rows} for rows in (was, now))
    old, new = inputs(was, cut), inputs(now)
    assert set(new.beyond(old).paths.to_pylist()) == set(after) - set(before)
    changed = {path for path in after if path in before and before[path] != after[path]}
    assert set(new.changed(old).paths.to_pylist()) == changed
    assert new.follows(old) == all(after.get(path) == one for path, one in before.items())
    assert new.agrees(old) == (before == after)
    assert (new == old) == (was == now)
    assert (new.sha256 == inputs(now, cut).sha256) and new == inputs(now, cut)
    renewed = [(path, *after.get(path, rest)) for path, *rest in was]
    assert [tuple(row.values()) for row in old.renewed(new).table.to_pylist()] == renewed
    assert len(old.plus(new)) == len(was) + len(now)


def test_odd_names_are_told_apart(tmp_path: Path) -> None:
    one = inputs([("a\n1 b", 1, "x"), ("", 2, "y"), ("雪", 3, "z")] * 2)
    assert one != inputs([("a", 1, "x"), ("\n1 b", 2, "y"), ("雪", 3, "z")] * 2)
    assert Inputs.read(one.save(tmp_path), tmp_path) == one
    assert one.save(tmp_path) == one.to_json()
