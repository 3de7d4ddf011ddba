"""A fitted pipeline taken further with new rows: what is kept, what is said, what is refused, and that it is a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import penstock as ps
from penstock.cli import run
from penstock.durable import read_json, sha256
from penstock.engine import Silent
from penstock.errors import DataError, PenstockError, RunError, SchemaError, UsageError
from penstock.model import Auto, Model
from penstock.models.sklearn_model import Sklearn
from penstock.source import Note, ReadOptions

CITIES = ["Oslo", "Rome", "Lima"]
NAMES = ["boosted", "linear", "network"]


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def said(self, note: Note) -> None:
        self.notes.append(note)

    def about(self, topic: str) -> str:
        return "\n".join(str(note) for note in self.notes if note.topic == topic)


def day(
    path: Path, seed: int, rows: int = 300, *, cities: Sequence[str] = CITIES, shift: float = 0.0, number: bool = False
) -> Path:
    random = np.random.default_rng(seed)
    age, city = random.normal(40 + shift, 10, rows), random.choice(list(cities), rows)
    signal = (age - 40) / 10 + (city == "Rome") + random.normal(0, 0.5, rows)
    frame = pl.DataFrame(
        {
            "id": [f"{path.stem}-{i}" for i in range(rows)],
            "age": np.where(random.random(rows) < 0.05, np.nan, age),
            "city": city,
            "zip": random.choice(["00123", "00456", "99999"], rows),
            "y": signal * 10 + 500 if number else np.where(signal > 0.3, "yes", "no"),
        }
    ).with_columns(pl.col("age").fill_nan(None).round(3))
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def trees(**settings: object) -> ps.BoostedTrees:
    return ps.BoostedTrees(**{"rounds": 30, "folds": 1, "early_stopping_rounds": 10, **settings})


def pipeline(model: Model | Auto | None = None, **settings: object) -> ps.Pipeline:
    steps = [ps.Impute("age", "median"), ps.Standardize("age")]
    options = {"holdout": 0.2, "read": ReadOptions(roles={"zip": ps.Role.category}), **settings}
    return ps.Pipeline(steps, model or trees(), target="y", **options)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("days")
    day(folder / "a.csv", 0, 400)
    day(folder / "b.csv", 1, 300, shift=3)
    day(folder / "test.csv", 9, 200, shift=3)
    return folder


@pytest.fixture(scope="module")
def model(days: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("models") / "m1"
    pipeline().fit(days / "a.csv", to=to)
    return to


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_an_update_is_another_artifact_with_its_parent_and_generation(model: Path, days: Path, tmp_path: Path) -> None:
    before = contents(model)
    updated = ps.load(model).update(days / "b.csv", to=tmp_path / "m2")
    assert contents(model) == before, "what is updated stays as it was"
    manifest = read_json(tmp_path / "m2" / "manifest.json")
    assert manifest["generation"] == 2
    assert manifest["parent"] == sha256(model / "manifest.json")
    assert read_json(model / "manifest.json")["generation"] == 1
    told = updated.summary["update"]
    assert (told["generation"], told["parent"], told["parent_path"]) == (2, manifest["parent"], str(model))
    assert told["rows"] == ps.load(model).summary["rows"] + told["new_rows"]
    assert 200 < told["new_rows"] < 270
    third = ps.load(tmp_path / "m2").update(days / "a.csv", to=tmp_path / "m3")
    assert third.summary["update"]["generation"] == 3
    assert third.summary["update"]["rows"] == told["rows"] + third.summary["rows"]
    assert (tmp_path / "m2.run" / "report.html").stat().st_size > 10_000


def test_statistics_are_those_of_all_rows_and_the_steps_go_by_them(days: Path) -> None:
    one = pipeline(holdout=0.0).fit(days / "a.csv")
    updated = one.update(days / "b.csv", test=days / "test.csv")
    ages = pl.concat([pl.read_csv(days / name, schema_overrides={"zip": pl.String}) for name in ("a.csv", "b.csv")])
    value = updated._saved.steps.states[1]["age"].value()
    filled = ages["age"].fill_null(updated._saved.steps.steps[0].fills[0][1])
    assert value.count == len(filled)
    assert value.mean == pytest.approx(filled.mean(), rel=1e-12)
    assert value.variance == pytest.approx(filled.var(ddof=0), rel=1e-12)
    assert updated.summary["update"]["exact"] == 2


def test_both_are_judged_on_the_same_rows(model: Path, days: Path, tmp_path: Path) -> None:
    one = ps.load(model)
    heard = Heard()
    two = one.update(days / "b.csv", test=days / "test.csv", to=tmp_path / "m2", listener=heard)
    told = two.summary["update"]
    assert told["before"]["log_loss"] == pytest.approx(one.evaluate(days / "test.csv").metrics["log_loss"])
    assert told["after"]["log_loss"] == pytest.approx(two.evaluate(days / "test.csv").metrics["log_loss"])
    assert told["after"] == two.summary["evaluation"]["metrics"]
    assert {row["model"] for row in two.summary["leaderboard"]} == {"updated", "before the update"}
    assert f"before the update {told['before']['log_loss']:.5g}" in heard.about("judged side by side")


def test_an_update_that_makes_it_worse_says_so_and_where_the_earlier_one_is(
    model: Path, days: Path, tmp_path: Path
) -> None:
    turned = pl.read_csv(days / "b.csv").with_columns(pl.col("y").replace({"yes": "no", "no": "yes"}))
    turned.write_csv(tmp_path / "turned.csv")
    two = ps.load(model).update(tmp_path / "turned.csv", test=days / "test.csv", to=tmp_path / "m2")
    told = two.summary["update"]
    assert told["after"]["log_loss"] > told["before"]["log_loss"]
    why = {row["model"]: row["reason"] for row in two.summary["leaderboard"]}["updated"]
    assert why.startswith("worse than before on ") and why.endswith(f"; {model} is still there")


def test_a_held_out_row_is_learned_from_by_neither(days: Path) -> None:
    updated = pipeline().fit(days / "a.csv").update(days / "b.csv")
    judged = updated.summary["evaluation"]["rows"]
    assert updated.summary["rows"] + judged == 300
    assert 30 < judged < 90
    assert "of the new ones" in updated.summary["evaluation"]["on"]


@pytest.mark.parametrize("definition", [trees(), ps.Linear(epochs=8), ps.Network(epochs=4, hidden=(16,))], ids=NAMES)
def test_every_own_model_goes_on(definition: Model, tmp_path: Path) -> None:
    a, b = day(tmp_path / "a.csv", 0, number=True), day(tmp_path / "b.csv", 1, number=True)
    one = pipeline(definition).fit(a)
    two = one.update(b)
    assert two.summary["model"]["new_rows"] == two.summary["rows"]
    assert two.predict(b).num_rows == 300
    assert two._saved.model is not None
    assert one._saved.model is not None
    assert two._saved.model.features == one._saved.model.features


def test_of_an_average_every_model_goes_on_and_its_weight_stays(days: Path, tmp_path: Path) -> None:
    auto = Auto(("boosted", "linear"), effort="quick", least_gain=0.0)
    one = pipeline(auto).fit(days / "a.csv", to=tmp_path / "m1")
    two = one.update(days / "b.csv", to=tmp_path / "m2")
    assert [(each.model.name, each.weight) for each in two._saved.members] == [
        (each.model.name, each.weight) for each in one._saved.members
    ]
    opened = ps.load(tmp_path / "m2").predict(days / "test.csv")
    assert opened.equals(two.predict(days / "test.csv"))


def test_a_new_category_counts_as_unseen_and_is_said(model: Path, tmp_path: Path) -> None:
    b = day(tmp_path / "b.csv", 1, cities=["Oslo", "Quito"])
    heard = Heard()
    two = ps.load(model).update(b, listener=heard)
    assert "'city' (1 new: 'Quito')" in heard.about("step 'ordinal'")
    assert two._saved.model is not None
    assert two._saved.model.features["city"].categories == ("Lima", "Oslo", "Rome")
    frame = pl.DataFrame({"age": [40.0] * 2, "city": ["Quito", "Paris"], "zip": ["00123"] * 2})
    first, second = two.predict(frame).to_pylist()
    assert first == second, "one unseen city is as another"


def test_a_new_class_is_refused(model: Path, tmp_path: Path) -> None:
    b = day(tmp_path / "b.csv", 1)
    b.write_text(b.read_text().replace(",yes\n", ",maybe\n"))
    with pytest.raises(DataError, match="classes that the model does not know") as caught:
        ps.load(model).update(b, to=tmp_path / "m2")
    assert "'maybe' in" in caught.value.got
    assert not (tmp_path / "m2").exists()


def test_a_target_of_another_kind_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="classes that the model does not know"):
        ps.load(model).update(day(tmp_path / "b.csv", 1, number=True))
    numbers = pipeline().fit(day(tmp_path / "n.csv", 0, number=True))
    with pytest.raises(PenstockError, match="rejected"):
        numbers.update(day(tmp_path / "c.csv", 1))


def test_columns_that_lack_are_refused_or_said_and_others_not_looked_at(model: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(day(tmp_path / "b.csv", 1), schema_overrides={"zip": pl.String})
    frame.drop("city").write_csv(tmp_path / "lacks.csv")
    with pytest.raises(SchemaError, match="1 column is missing") as caught:
        ps.load(model).update(tmp_path / "lacks.csv")
    assert "'city'" in caught.value.expected
    frame.drop("y").write_csv(tmp_path / "unlabelled.csv")
    with pytest.raises(SchemaError, match="the target is none of the columns"):
        ps.load(model).update(tmp_path / "unlabelled.csv")
    frame.drop("id").with_columns(more=pl.lit(1)).write_csv(tmp_path / "other.csv")
    heard = Heard()
    two = ps.load(model).update(tmp_path / "other.csv", listener=heard)
    assert two.schema.names == ps.load(model).schema.names
    assert "1 are missing (nothing depends on them: 'id')" in heard.about("columns")
    assert "1 are not looked at (the model has none of them: 'more')" in heard.about("columns")


def test_new_rows_are_read_with_the_roles_of_the_training(model: Path, tmp_path: Path) -> None:
    b = day(tmp_path / "b.parquet", 1)
    frame = pl.read_parquet(b).with_columns(pl.lit(99999).alias("zip"))  # a number there, a category here
    frame.write_parquet(b)
    two = ps.load(model).update(b)
    assert two.schema["zip"].role is ps.Role.category


def test_a_model_of_all_rows_at_once_is_refused_before_anything_is_read(days: Path, tmp_path: Path) -> None:
    one = pipeline(Sklearn("random_forest", {"n_estimators": 3})).fit(days / "a.csv")
    with pytest.raises(UsageError, match="'sklearn:random_forest' can't be taken further") as caught:
        one.update(days / "b.csv", to=tmp_path / "m2")
    assert "penstock train OLD NEW" in caught.value.remedy
    assert not (tmp_path / "m2.run").exists()


def test_the_same_update_opens_what_is_there_and_another_is_refused(model: Path, days: Path, tmp_path: Path) -> None:
    to = tmp_path / "m2"
    ps.load(model).update(days / "b.csv", to=to)
    made = contents(to)
    finished = read_json(tmp_path / "m2.run" / "run.json")["finished"]
    ps.load(model).update(days / "b.csv", to=to)
    assert contents(to) == made
    assert read_json(tmp_path / "m2.run" / "run.json")["finished"] == finished
    with pytest.raises(RunError, match="belongs to another job"):
        ps.load(model).update(days / "a.csv", to=to)
    with pytest.raises(RunError, match="belongs to another job") as caught:
        ps.load(to).update(days / "b.csv", to=tmp_path / "m3")
        ps.load(model).update(days / "b.csv", to=tmp_path / "m3")
    assert "parent" in caught.value.expected
    with pytest.raises(UsageError, match="does not replace what it goes on from"):
        ps.load(model).update(days / "b.csv", to=model)
    again = ps.load(model).update(days / "a.csv", to=to, restart=True)
    assert again.summary["update"]["generation"] == 2
    assert contents(to) != made


def test_a_stopped_update_is_finished_by_the_same_call_with_the_same_bytes(
    model: Path, days: Path, tmp_path: Path
) -> None:
    class Stops(Heard):
        def said(self, note: Note) -> None:
            super().said(note)
            if note.topic == "boosted trees":
                raise KeyboardInterrupt

    ps.load(model).update(days / "b.csv", to=tmp_path / "clean")
    with pytest.raises(KeyboardInterrupt):
        ps.load(model).update(days / "b.csv", to=tmp_path / "m2", listener=Stops())
    assert not (tmp_path / "m2").exists()
    ps.load(model).update(days / "b.csv", to=tmp_path / "m2")
    assert contents(tmp_path / "m2") == contents(tmp_path / "clean")


def test_an_update_can_be_done_again_from_its_record(model: Path, days: Path, tmp_path: Path) -> None:
    ps.load(model).update(days / "b.csv", to=tmp_path / "m2", test=days / "test.csv")
    again = ps.repro(tmp_path / "m2")
    assert again.same_bytes == again.files > 5


def test_an_update_need_not_be_waited_for(days: Path) -> None:
    one = pipeline().fit(days / "a.csv")
    job = one.update(days / "b.csv", wait=False)
    two = job.result(120)
    assert two.summary["update"]["generation"] == 2
    assert two.summary["update"]["parent_path"] is None
    assert len(two.summary["update"]["parent"]) == 16


def test_steps_alone_may_get_new_columns(days: Path, tmp_path: Path) -> None:
    steps = ps.Pipeline([ps.Drop("id"), ps.OneHot("city"), ps.Standardize("age")])
    steps.prepare(days / "a.csv", to=tmp_path / "out")
    one = ps.load(tmp_path / "out.run" / "fitted")
    two = one.update(day(tmp_path / "b.csv", 1, cities=["Oslo", "Quito"]), to=tmp_path / "steps")
    names = ps.load(tmp_path / "steps")._saved.steps.schema.names
    assert [name for name in names if name.startswith("city")] == [f"city_{one}" for one in sorted([*CITIES, "Quito"])]
    assert two.summary["update"]["generation"] == 2
    assert two.summary["update"]["exact"] == 2


def test_folds_of_a_target_encoding_are_merged(days: Path, tmp_path: Path) -> None:
    steps = [ps.TargetEncode("city")]
    read = ReadOptions(roles={"zip": ps.Role.category})
    one = ps.Pipeline(steps, ps.Linear(epochs=4), target="y", read=read).fit(days / "a.csv")
    two = one.update(days / "b.csv", test=days / "test.csv")
    both = ps.Pipeline(steps, ps.Linear(epochs=4), target="y", read=read).fit([days / "a.csv", days / "b.csv"])
    merged, whole = (each._saved.steps.states[0]["city"].value() for each in (two, both))
    assert merged.categories == whole.categories
    assert merged.counts.sum() == whole.counts.sum() == 700
    assert np.allclose(
        (merged.counts[..., None] * merged.means).sum(axis=1), (whole.counts[..., None] * whole.means).sum(axis=1)
    )


# ---------------------------------------------------------------------- the command line


def test_the_command_line_updates(model: Path, days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = str(tmp_path / "m2")
    assert run(["train", str(days / "b.csv"), "--update", str(model), "--to", to, "--json", "--target", "y"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["command"] == "update"
    assert value["update"]["generation"] == 2
    assert ps.load(to).summary["update"] == value["update"]


@pytest.mark.parametrize(
    "options",
    [["--target", "city"], ["--model", "linear"], ["--effort", "quick"], ["--seed", "3"], ["--config", "x.yaml"]],
    ids=lambda options: options[0],
)
def test_options_that_contradict_the_model_are_refused(
    options: list[str], model: Path, days: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "m2"
    assert run(["train", str(days / "b.csv"), "--update", str(model), "--to", str(to), *options]) == 2
    assert f"error: {options[0]}: an update goes by the model's own definition" in capsys.readouterr().err
    assert not to.with_name("m2.run").exists()
