"""What moved a prediction and what a model leans on, by hand and by the model's own arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penstock as ps
from penstock.errors import DataError, UsageError


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    x, z, noise = random.normal(size=(3, 1500))
    color = random.choice(["red", "green", "blue"], 1500)
    score = 2 * x - z + (color == "red")
    frame = pl.DataFrame(
        {
            "x": x,
            "z": z,
            "noise": noise,
            "color": color,
            "two": np.where(score + random.logistic(size=1500) > 0, "yes", "no"),
            "three": np.where(score > 1, "high", np.where(score < -1, "low", "middle")),
            "price": score * 10 + 9 * np.abs(x) + random.normal(size=1500) * 20 + 100,
        }
    )
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    frame.write_parquet(path)
    return path


TREES = ps.BoostedTrees(rounds=40, folds=2, early_stopping_rounds=None)
MODELS = {"boosted": TREES, "linear": ps.Linear(), "average": ps.Auto(("boosted", "linear"), "quick", least_gain=0.0)}


def fitted(rows: Path, target: str, model: Any) -> ps.FittedPipeline:
    others = [name for name in ("two", "three", "price") if name != target]
    return ps.Pipeline([ps.Drop(others), ps.Standardize(["x", "z"])], model, target).fit(str(rows))


def contributions(predicted: Any) -> np.ndarray:
    names = [name for name in predicted.column_names if name.startswith("contribution")]
    return np.column_stack([predicted[name].to_numpy() for name in names])


@pytest.mark.parametrize("model", ["boosted", "linear"])
def test_contributions_add_up_to_the_log_odds(rows: Path, model: str) -> None:
    predicted = fitted(rows, "two", MODELS[model]).predict(str(rows), explain=True)
    odds = predicted["probability_yes"].to_numpy()
    np.testing.assert_allclose(contributions(predicted).sum(axis=1), np.log(odds / (1 - odds)), atol=1e-9)
    names = {name for name in predicted.column_names if name.startswith("contribution_")}
    assert names == {"contribution_x", "contribution_z", "contribution_noise", "contribution_color"}


@pytest.mark.parametrize("model", ["boosted", "linear"])
def test_contributions_to_a_number_add_up_to_it(rows: Path, model: str) -> None:
    predicted = fitted(rows, "price", MODELS[model]).predict(str(rows), explain=True)
    np.testing.assert_allclose(contributions(predicted).sum(axis=1), predicted["prediction"].to_numpy(), rtol=1e-9)


def test_contributions_of_several_classes_are_to_the_one_predicted(rows: Path) -> None:
    model = ps.BoostedTrees(rounds=10, folds=1, early_stopping_rounds=None)
    told = fitted(rows, "three", model)
    predicted = told.predict(str(rows), explain=True)
    frame = pl.from_arrow(predicted)
    high = frame.filter(pl.col("prediction") == "high")
    assert high["contribution_x"].mean() > 0.2, "a high x speaks for the class 'high'"
    low = frame.filter(pl.col("prediction") == "low")
    assert low["contribution_x"].mean() > 0.2, "and a low x for the class 'low'"


def test_contributions_of_an_average_are_averaged(rows: Path) -> None:
    told = fitted(rows, "price", MODELS["average"])
    assert len(told.summary["members"]) == 2
    predicted = told.predict(str(rows), explain=True)
    np.testing.assert_allclose(contributions(predicted).sum(axis=1), predicted["prediction"].to_numpy(), rtol=1e-9)


@pytest.mark.parametrize("target", ["two", "three"])
def test_contributions_of_an_average_add_up_to_the_log_odds_of_the_averaged_probability(
    rows: Path, target: str
) -> None:
    told = fitted(rows, target, MODELS["average"])
    assert len(told.summary["members"]) == 2
    predicted = told.predict(str(rows), explain=True)
    names = [name for name in predicted.column_names if name.startswith("probability_")]
    odds = np.column_stack([predicted[name].to_numpy() for name in names])
    of = odds.max(axis=1) if target == "three" else predicted["probability_yes"].to_numpy()
    np.testing.assert_allclose(contributions(predicted).sum(axis=1), np.log(of / (1 - of)), atol=1e-9)


def test_without_being_asked_nothing_is_explained(rows: Path) -> None:
    predicted = fitted(rows, "two", TREES).predict(str(rows))
    assert predicted.column_names == ["prediction", "probability_no", "probability_yes"]


def test_an_explained_prediction_is_another_job_than_a_plain_one(rows: Path, tmp_path: Path) -> None:
    told = fitted(rows, "two", TREES)
    told.predict(str(rows), to=tmp_path / "out")
    with pytest.raises(ps.PenstockError, match="another job"):
        told.predict(str(rows), to=tmp_path / "out", explain=True)


@pytest.mark.parametrize("model", list(MODELS))
def test_what_matters_is_found_and_what_does_not_is_told_to_matter_nothing(rows: Path, model: str) -> None:
    found = fitted(rows, "two", MODELS[model]).explain(str(rows), rows=600)
    order = [one["column"] for one in found["permutation"]]
    drops = {one["column"]: one for one in found["permutation"]}
    assert order[:2] == ["x", "z"] and set(order) == {"x", "z", "noise", "color"}
    assert drops["x"]["low"] <= drops["x"]["drop"] <= drops["x"]["high"]
    assert abs(drops["noise"]["drop"]) < 0.1 * drops["x"]["drop"]
    assert found["shap"][0]["column"] == "x"
    assert 450 < found["rows"] < 750


def test_partial_dependence_is_the_mean_prediction_with_the_value_set(rows: Path, tmp_path: Path) -> None:
    told = fitted(rows, "price", ps.Linear())
    found = told.explain(str(rows), rows=100_000)
    lines = {one["column"]: one for one in found["dependence"]}
    frame = pl.read_parquet(rows).head(200)
    for column in ("x", "color"):
        for point in lines[column]["points"][:3]:
            path = tmp_path / "set.parquet"
            frame.with_columns(pl.lit(point["x"]).alias(column)).write_parquet(path)
            expected = told.predict(str(path))["prediction"].to_numpy().mean()
            assert point["y"] == pytest.approx(expected), (column, point)
    assert sum(point["rows"] for point in lines["color"]["points"]) == 1500


def test_the_same_rows_are_explained_the_same(rows: Path) -> None:
    told = fitted(rows, "two", TREES)
    assert told.explain(str(rows), rows=200) == told.explain(str(rows), rows=200, cores=1)


def test_rows_without_a_target_explain_nothing(rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.read_parquet(rows).with_columns(two=pl.lit(None, pl.String)).write_parquet(path)
    with pytest.raises(DataError, match="labelled"):
        fitted(rows, "two", TREES).explain(str(path))


def test_a_column_to_keep_that_has_the_name_of_a_contribution_is_refused(rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.read_parquet(rows).with_columns(contribution_x=pl.lit(1.0)).write_parquet(path)
    with pytest.raises(UsageError, match="contribution"):
        fitted(rows, "two", TREES).predict(str(path), keep=["contribution_x"], explain=True)


def test_training_tells_what_the_model_leans_on(rows: Path) -> None:
    pipeline = ps.Pipeline([ps.Drop(["three", "price"])], TREES, "two", holdout=0.3)
    found = pipeline.fit(str(rows)).summary["explanation"]
    assert found["permutation"][0]["column"] == "x"
