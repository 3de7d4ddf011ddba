"""The main job on small tables, from Parquet: train, evaluate, predict, prepare, save and load."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import penstock as ps
from penstock.batch import Count
from penstock.errors import ArtifactError, DataError, ResourceError, RunError, SchemaError, TooManyRejected, UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of rows whose class follows from their columns, with nulls, and rows without a target."""
    folder = tmp_path_factory.mktemp("data") / "rows"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        rows = 800
        x, z = random.normal(size=rows), random.exponential(size=rows)
        c = random.choice(["red", "green", "blue"], rows)
        score = 2 * x - z + (c == "red") * 1.5 + random.normal(size=rows) * 0.5
        y = np.where(score > 0, "yes", "no").astype(object)
        if number == 1:
            y[:3] = None
        table = pa.table(
            {
                "id": [f"{number}-{i:04d}" for i in range(rows)],
                "x": pa.array(x, mask=random.random(rows) < 0.05),
                "z": z,
                "c": pa.array(c, mask=random.random(rows) < 0.05),
                "score": score,
                "y": pa.array(y, pa.string()),
            }
        )
        pq.write_table(table, folder / f"part{number}.parquet", row_group_size=300)
    return folder


STEPS = [ps.Impute(ps.numeric(), "median"), ps.Clip(ps.numeric()), ps.Standardize(ps.numeric()), ps.OneHot("c")]


@pytest.fixture(scope="module")
def fitted(data: Path) -> ps.FittedPipeline:
    steps = [ps.Drop("score"), *STEPS]
    return ps.Pipeline(steps, ps.BoostedTrees(), target="y", holdout=0.2).fit(ps.read(data))


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "*.parquet") if folder.is_dir() else pl.read_parquet(folder)


def test_training_accounts_for_every_row(fitted: ps.FittedPipeline) -> None:
    counts = [Count.from_json(count) for count in fitted.summary["ledger"]["steps"]]
    assert all(count.balanced for count in counts)
    by_step = {count.step: count for count in counts}
    assert by_step["read"].rows_in == 2_400
    assert by_step["target"].rejected == 3
    assert by_step["holdout"].dropped == 2_397 - fitted.summary["rows"]
    assert 0.15 < by_step["holdout"].dropped / 2_397 < 0.25
    assert fitted.rejected.column("code").to_pylist() == ["missing_target"] * 3
    assert fitted.rejected.column("row").to_pylist() == [0, 1, 2]
    assert set(fitted.rejected.column("path").to_pylist()) == {"part1.parquet"}


def test_evaluation_is_what_scikit_learn_says_of_the_predictions(fitted: ps.FittedPipeline, data: Path) -> None:
    found = fitted.evaluate(data)
    table = fitted.predict(data, keep=["y"])
    frame = pl.from_arrow(table).drop_nulls("y")
    assert found.rows == len(frame) == 2_397
    assert found.rejected == 3
    truth = (frame["y"] == "yes").to_numpy()
    assert found.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, frame["probability_yes"].to_numpy()))
    assert found.metrics["accuracy"] == pytest.approx(
        accuracy_score(frame["y"].to_list(), frame["prediction"].to_list())
    )
    assert found.metrics["roc_auc"] > 0.9


def test_held_out_rows_were_not_trained_on_and_are_judged(fitted: ps.FittedPipeline) -> None:
    held_out = fitted.summary["evaluation"]
    assert held_out["rows"] + fitted.summary["rows"] == 2_397
    assert held_out["metrics"]["roc_auc"] > 0.85


def test_a_saved_pipeline_predicts_the_same_bytes(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    again = ps.load(tmp_path / "model")
    assert again.predict(data).equals(fitted.predict(data))
    assert again.definition == fitted.definition
    assert again.schema == fitted.schema
    with pytest.raises(UsageError, match="there is something of that name already"):
        fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model", overwrite=True)


@pytest.mark.parametrize("name", ["schema.json", "pipeline.yaml", "state/steps.json", "state/states.arrow"])
def test_an_altered_artifact_is_refused(fitted: ps.FittedPipeline, tmp_path: Path, name: str) -> None:
    fitted.save(tmp_path / "model")
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="a file of it was altered or damaged"):
        ps.load(tmp_path / "model")
    path.unlink()
    with pytest.raises(ArtifactError, match="a file of it can't be read"):
        ps.load(tmp_path / "model")
    with pytest.raises(ArtifactError, match="not a saved pipeline"):
        ps.load(tmp_path / "nothing")


def test_an_artifact_that_points_outside_its_folder_is_refused(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    path = tmp_path / "model" / "schema.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ArtifactError, match="a file of it lies outside its folder"):
        ps.load(tmp_path / "model")


def test_predictions_keep_order_and_columns_and_say_each_row(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    done = fitted.predict(data, to=tmp_path / "out", keep=["id", "x"])
    frame = rows_of(tmp_path / "out")
    assert frame.columns == ["id", "x", "prediction", "probability_no", "probability_yes"]
    original = rows_of(data)
    assert frame["id"].to_list() == original["id"].to_list()
    assert frame["x"].to_list() == original["x"].to_list()
    assert done.rows == 2_400
    assert (frame["probability_no"] + frame["probability_yes"] - 1).abs().max() < 1e-12
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".parquet"] * len(
        list((tmp_path / "out").iterdir())
    )


def test_columns_to_keep_are_named_by_globs_too(fitted: ps.FittedPipeline, data: Path) -> None:
    made = ["prediction", "probability_no", "probability_yes"]
    columns = rows_of(data).columns
    assert fitted.predict(data, keep=["*"]).column_names == [*columns, *made]
    assert fitted.predict(data, keep=["z", "[xy]", "*"]).column_names[:3] == ["z", "x", "y"]
    assert fitted.predict(rows_of(data).with_columns(pl.lit(1.0).alias("*")), keep=["*"]).column_names == ["*", *made]
    with pytest.raises(SchemaError, match="it is to be kept"):
        fitted.predict(data, keep=["nothing_*"])


def test_a_target_that_only_a_step_derives_is_refused_with_the_way_to_it(data: Path) -> None:
    pipeline = ps.Pipeline([ps.Derive({"late": "y = 'yes'"})], ps.BoostedTrees(rounds=5), target="late")
    with pytest.raises(SchemaError, match=r"the target is none of the columns[\s\S]*penstock prepare"):
        pipeline.fit(data)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_predictions_into_one_file_hold_the_same_rows(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path, suffix: str
) -> None:
    whole = tmp_path / f"out.{suffix}"
    fitted.predict(data, to=whole, keep=["id"])
    read: Any = {"parquet": pl.read_parquet, "csv": pl.read_csv, "arrow": pl.read_ipc}[suffix]
    expected = pl.from_arrow(fitted.predict(data, keep=["id"]))
    assert read(whole).equals(expected)


def test_the_same_command_on_a_finished_run_does_nothing(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    first = fitted.predict(data, to=tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = fitted.predict(data, to=tmp_path / "out")
    assert again.already_done and not first.already_done
    assert again.counts == first.counts
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_an_output_of_another_job_is_refused_and_restart_replaces_it(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    fitted.predict(data, to=tmp_path / "out")
    with pytest.raises(RunError, match="the same keep"):
        fitted.predict(data, to=tmp_path / "out", keep=["id"])
    fitted.predict(data, to=tmp_path / "out", keep=["id"], restart=True)
    assert "id" in rows_of(tmp_path / "out").columns
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for restart in (False, True):
        with pytest.raises(RunError, match="no run of Penstock made it"):
            fitted.predict(data, to=tmp_path / "mine", restart=restart)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_second_process_at_the_same_run_is_refused(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "out.run").mkdir()
    with (tmp_path / "out.run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process is at this run"):
            fitted.predict(data, to=tmp_path / "out")


def test_prepared_rows_are_what_the_steps_say(data: Path, tmp_path: Path) -> None:
    done = ps.Pipeline([ps.Select(["x", "z", "c"]), *STEPS]).prepare(data, to=tmp_path / "out")
    frame = rows_of(tmp_path / "out")
    assert done.rows == len(frame) == 2_400
    assert frame["x"].mean() == pytest.approx(0, abs=1e-12)
    assert frame["x"].std(ddof=0) == pytest.approx(1)
    assert frame.select(pl.sum_horizontal(pl.selectors.starts_with("c_"))).to_series().max() == 1
    run = (tmp_path / "out.run" / "run.json").read_text()
    assert '"state": "committed"' in run


def test_predicting_needs_the_columns_of_the_training_and_not_the_target(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    frame = rows_of(data)
    frame.drop("y", "score", "id").write_parquet(tmp_path / "new.parquet")
    assert fitted.predict(tmp_path / "new.parquet").num_rows == 2_400
    frame.drop("z").write_parquet(tmp_path / "lacking.parquet")
    with pytest.raises(SchemaError, match=r"1 column is missing from the data[\s\S]*'z'"):
        fitted.predict(tmp_path / "lacking.parquet")
    with pytest.raises(SchemaError, match="it is to be kept"):
        fitted.predict(tmp_path / "new.parquet", keep=["nothing"])


def test_categories_never_seen_and_new_nulls_are_predicted(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    frame = (
        rows_of(data)
        .head(4)
        .with_columns(c=pl.Series(["violet", None, "red", "green"]), x=pl.Series([None, 1.0, 2.0, 3.0]))
    )
    frame.write_parquet(tmp_path / "new.parquet")
    out = fitted.predict(tmp_path / "new.parquet")
    assert out.num_rows == 4
    assert not any(np.isnan(out.column("probability_yes").to_numpy()))


def test_regression_is_learned_and_judged(data: Path) -> None:
    pipeline = ps.Pipeline([ps.Drop(["y", "id"])], ps.BoostedTrees(), target="score", holdout=0.25)
    fitted = pipeline.fit(data)
    assert fitted.target.task == "regression"
    assert fitted.summary["evaluation"]["metrics"]["r2"] > 0.8
    assert fitted.predict(data).column_names == ["prediction"]


def test_a_training_may_be_of_a_sample(data: Path) -> None:
    import dataclasses

    model = dataclasses.replace(ps.Linear(), max_rows=500)
    fitted = ps.Pipeline([ps.Drop(["score", "id"])], model, target="y").fit(data)
    assert 300 < fitted.summary["rows"] <= 500


def test_a_model_that_cannot_fit_into_memory_is_refused_with_its_need(data: Path) -> None:
    source = ps.read(data)
    pipeline = ps.Pipeline([ps.Drop(["score", "id"])], ps.BoostedTrees(folds=1, num_leaves=100_000), target="y")
    with pytest.raises(ResourceError, match=r"can't be trained on 2,397 rows|does not fit"):
        pipeline.fit(source, memory="260MiB")


@pytest.mark.parametrize(
    ("pipeline", "error", "message"),
    [
        (ps.Pipeline((), ps.BoostedTrees()), UsageError, "no target to learn"),
        (ps.Pipeline((), None, "y"), UsageError, "no model to train"),
        (ps.Pipeline((), ps.BoostedTrees(), "nothing"), SchemaError, "the target is none of the columns"),
        (ps.Pipeline([ps.Select("nope")], ps.BoostedTrees(), "y"), SchemaError, "no column is met"),
        (
            ps.Pipeline([ps.Select("y")], ps.BoostedTrees(), "y"),
            DataError,
            "there is no feature that trees can learn from",
        ),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(
    data: Path, pipeline: ps.Pipeline, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline.fit(data)


def test_a_target_of_one_class_or_without_values_is_refused(data: Path, tmp_path: Path) -> None:
    frame = rows_of(data)
    for values in ("yes", None):
        frame.with_columns(y=pl.lit(values, pl.String)).write_parquet(tmp_path / "one.parquet")
        with pytest.raises(DataError, match="target 'y'"):
            ps.Pipeline((), ps.BoostedTrees(), "y").fit(tmp_path / "one.parquet")


def test_too_many_rejected_rows_stop_a_job_with_nothing_published(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    frame = rows_of(data).with_columns(x=pl.when(pl.int_range(pl.len()) % 20 == 0).then(float("inf")).otherwise("x"))
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TooManyRejected, match=r"120 of 2,400 rows were rejected \(5.00%\)"):
        fitted.predict(tmp_path / "bad.parquet", to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = fitted.predict(tmp_path / "bad.parquet", to=tmp_path / "out", max_rejected=0.05)
    assert done.rows == 2_280
    rejected = rows_of(tmp_path / "out.run" / "rejected")
    assert len(rejected) == 120
    assert rejected["code"].unique().to_list() == ["infinite"]
    assert rejected["row"].to_list() == list(range(0, 2_400, 20))


def test_outputs_are_the_same_bytes_for_any_cores_and_memory(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    from penstock.durable import sha256

    hashes = []
    for cores, memory in ((1, "1GiB"), (2, "2GiB"), (5, "4GiB")):
        out = tmp_path / f"{cores}"
        fitted.predict(data, to=out, cores=cores, memory=memory)
        hashes.append([sha256(path) for path in sorted(out.iterdir())])
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_restart_that_fails_leaves_what_was_published(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    fitted.predict(data, to=tmp_path / "out")
    before = rows_of(tmp_path / "out")
    frame = rows_of(data).with_columns(x=pl.lit(float("inf")))
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TooManyRejected):
        fitted.predict(tmp_path / "bad.parquet", to=tmp_path / "out", restart=True)
    assert rows_of(tmp_path / "out").equals(before)
    fitted.predict(data, to=tmp_path / "out", keep=["id"], restart=True)
    assert rows_of(tmp_path / "out").drop("id").equals(before)


def test_a_training_as_a_run_keeps_its_ledger_and_is_not_done_twice(data: Path, tmp_path: Path) -> None:
    pipeline = ps.Pipeline([ps.Drop(["score", "id"])], ps.Linear(), target="y")
    first = pipeline.fit(data, to=tmp_path / "model")
    assert ps.load(tmp_path / "model").predict(data).equals(first.predict(data))
    assert first.rejected.num_rows == 3
    document = json.loads((tmp_path / "model.run" / "run.json").read_text())
    assert document["state"] == "committed"
    assert sum(count["rejected"] for count in document["ledger"]) == 3
    assert "linear" in document["identity"]["config"]
    again = pipeline.fit(data, to=tmp_path / "model")
    assert again.summary == first.summary
    with pytest.raises(RunError, match="the same config as before"):
        ps.Pipeline((), ps.Linear(), target="y").fit(data, to=tmp_path / "model")


def crash(monkeypatch: pytest.MonkeyPatch, target: str, before: bool = True) -> None:
    """Make a function end the process (in effect) when it is called."""
    import importlib

    module, _, name = target.rpartition(".")
    owner: Any = importlib.import_module(module) if module.count(".") < 3 else None
    if owner is None:
        parent, _, cls = module.rpartition(".")
        owner = getattr(importlib.import_module(parent), cls)
    real = getattr(owner, name)

    def stop(*arguments: Any, **options: Any) -> Any:
        if not before:
            real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize("name", ["out", "out.csv"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("where", ["penstock.sinks.parts.PartsSink.assemble", "penstock.run.put_in_place"])
def test_a_crash_in_the_commit_is_finished_by_the_same_command(
    fitted: ps.FittedPipeline,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    before: bool,
    where: str,
) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    fitted.predict(data, to=clean / name)
    with monkeypatch.context() as patch:
        crash(patch, where, before)
        with pytest.raises(KeyboardInterrupt):
            fitted.predict(data, to=tmp_path / name)
    done = fitted.predict(data, to=tmp_path / name)
    assert done.rows == 2_400
    one, other = (sorted(p.rglob("*")) if p.is_dir() else [p] for p in (clean / name, tmp_path / name))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_lost_part_is_never_published_as_though_it_were_there(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash(patch, "penstock.run.put_in_place")
        with pytest.raises(KeyboardInterrupt):
            fitted.predict(data, to=tmp_path / "out")
    next((tmp_path / "out.run" / "parts").iterdir()).unlink()
    with pytest.raises(RunError, match="what was to be published is gone"):
        fitted.predict(data, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert fitted.predict(data, to=tmp_path / "out", restart=True).rows == 2_400


def test_a_restart_that_is_killed_at_its_beginning_does_not_lock_the_output(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.predict(data, to=tmp_path / "out")
    for name in ("penstock.run.write_json", "penstock.sinks.parts.PartsSink.assemble", "penstock.run.put_in_place"):
        with monkeypatch.context() as patch:
            crash(patch, name)
            with pytest.raises(KeyboardInterrupt):
                fitted.predict(data, to=tmp_path / "out", restart=True)
        assert (tmp_path / "out").exists()
    assert fitted.predict(data, to=tmp_path / "out", restart=True).rows == 2_400


def test_a_run_whose_output_is_gone_or_altered_does_not_say_that_it_is_done(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    fitted.predict(data, to=tmp_path / "out")
    path = next((tmp_path / "out").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="no longer what it made"):
        fitted.predict(data, to=tmp_path / "out")
    path.unlink()
    with pytest.raises(RunError, match="1 of them gone"):
        fitted.predict(data, to=tmp_path / "out")


def test_reading_in_another_way_is_another_job(tmp_path: Path) -> None:
    lines = ["x,c"] + [f"{i if i % 7 else -9},{'ab'[i % 2]}" for i in range(200)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    pipeline = ps.Pipeline([ps.Standardize("x")])
    pipeline.prepare(ps.read(tmp_path / "rows.csv"), to=tmp_path / "out")
    with pytest.raises(RunError, match="the same reading as before"):
        pipeline.prepare(ps.read(tmp_path / "rows.csv", missing=["-9"]), to=tmp_path / "out")


def test_a_step_that_would_change_the_target_is_refused_before_any_scan(data: Path) -> None:
    for step in (ps.Standardize("score"), ps.Drop("score"), ps.Clip(["z", "score"])):
        with pytest.raises(UsageError, match="a step changes what is to be predicted"):
            ps.Pipeline([step], ps.BoostedTrees(), target="score").fit(data)


def test_names_that_polars_takes_for_patterns_are_names(tmp_path: Path) -> None:
    names = ["x", "^x.*$", "*", "", "c:x", "a b"]
    random = np.random.default_rng(0)
    table = pa.table([random.normal(size=50) * (i + 1) + i for i in range(len(names))], names=names)
    pq.write_table(table, tmp_path / "odd.parquet")
    ps.Pipeline([ps.MinMax(ps.numeric()), ps.Standardize(ps.numeric())]).prepare(
        tmp_path / "odd.parquet", to=tmp_path / "out.parquet"
    )
    out = pq.read_table(tmp_path / "out.parquet")
    for i, name in enumerate(names):
        values = table.column(i).to_numpy()
        np.testing.assert_allclose(out.column(i).to_numpy(), (values - values.mean()) / values.std(), rtol=1e-9)
        assert out.column_names[i] == name


def test_two_equal_trainings_save_the_same_bytes(data: Path, tmp_path: Path) -> None:
    pipeline = ps.Pipeline([ps.Drop(["score", "id"])], ps.Linear(), target="y", holdout=0.1)
    for name in ("one", "two"):
        pipeline.fit(data).save(tmp_path / name)
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two


def test_what_is_no_data_step_or_model_is_refused_in_words(fitted: ps.FittedPipeline) -> None:
    with pytest.raises(UsageError, match="not data that can be read"):
        fitted.predict(5)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"not a step[\s\S]*call it"):
        ps.Pipeline([ps.Impute])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="not a model"):
        ps.Pipeline([], "boosted")  # type: ignore[arg-type]


def test_a_target_of_any_name_can_be_judged(data: Path, tmp_path: Path) -> None:
    frame = rows_of(data).drop("score", "id").rename({"y": "prediction"})
    frame.write_parquet(tmp_path / "named.parquet")
    fitted = ps.Pipeline((), ps.Linear(), target="prediction", holdout=0.2).fit(tmp_path / "named.parquet")
    assert fitted.summary["evaluation"]["metrics"]["roc_auc"] > 0.8


def test_the_share_of_rejects_that_a_pipeline_allows_holds_from_its_file_to_its_predictions(
    data: Path, tmp_path: Path
) -> None:
    frame = rows_of(data).with_columns(x=pl.when(pl.int_range(pl.len()) % 20 == 0).then(float("inf")).otherwise("x"))
    frame.write_parquet(tmp_path / "bad.parquet")
    (tmp_path / "p.yaml").write_text("target: y\nmax_rejected: 6%\nsteps: [drop: [score, id]]\nmodel: linear\n")
    with pytest.raises(TooManyRejected, match=r"at most 1\.00%"):
        ps.Pipeline([ps.Drop(["score", "id"])], ps.Linear(), "y").fit(tmp_path / "bad.parquet")
    fitted = ps.Pipeline.of(tmp_path / "p.yaml").fit(tmp_path / "bad.parquet")
    fitted.save(tmp_path / "model")
    assert ps.load(tmp_path / "model").predict(tmp_path / "bad.parquet").num_rows == 2_280
    with pytest.raises(TooManyRejected):
        fitted.predict(tmp_path / "bad.parquet", max_rejected=0.01)
