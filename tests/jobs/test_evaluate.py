"""What an evaluation tells beside its metrics: slices, intervals, curves, the worst rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

import penstock as ps
from penstock.errors import SchemaError, UsageError


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    x = random.normal(size=2000)
    color = random.choice(["red", "green"], 2000)
    frame = pl.DataFrame(
        {
            "x": x,
            "color": color,
            "region": np.where(np.arange(2000) % 10 == 0, "north", "south"),
            "y": np.where(x + random.logistic(size=2000) > 0, "yes", "no"),
            "price": 3 * x + random.normal(size=2000),
        }
    )
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    frame.write_parquet(path)
    return path


TREES = ps.BoostedTrees(rounds=20, folds=1, early_stopping_rounds=None)


@pytest.fixture(scope="module")
def classes(rows: Path) -> ps.FittedPipeline:
    return ps.Pipeline([ps.Drop(["price", "region"])], TREES, "y").fit(str(rows))


@pytest.fixture(scope="module")
def numbers(rows: Path) -> ps.FittedPipeline:
    return ps.Pipeline([ps.Drop(["y", "region"])], TREES, "price").fit(str(rows))


def test_slices_are_by_value_and_by_range_also_of_columns_that_the_model_does_not_use(
    classes: ps.FittedPipeline, rows: Path
) -> None:
    found = classes.evaluate(str(rows), by=["region", "x"], beta=[2.0])
    slices = {(one["column"], one["value"]): one for one in found.details["slices"]}
    frame = pl.read_parquet(rows).with_columns(p=pl.Series(classes.predict(str(rows))["probability_yes"].to_numpy()))
    north = frame.filter(pl.col("region") == "north")
    assert slices["region", "north"]["rows"] == len(north)
    expected = metrics.roc_auc_score(north["y"] == "yes", north["p"])
    assert slices["region", "north"]["metrics"]["roc_auc"] == pytest.approx(expected)
    ends = slices["region", "north"]["intervals"]["roc_auc"]
    draws = np.random.default_rng(0).integers(0, len(north), (400, len(north)))
    said, truth = north["p"].to_numpy(), (north["y"] == "yes").to_numpy()
    drawn = [metrics.roc_auc_score(truth[draw], said[draw]) for draw in draws]
    assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)  # as the bootstrap of its rows
    ranges = [one for (column, _), one in slices.items() if column == "x"]
    assert [one["rows"] for one in ranges] == [500, 500, 500, 500]
    expected = metrics.fbeta_score(frame["y"] == "yes", frame["p"] >= 0.5, beta=2)
    assert found.metrics["f2"] == pytest.approx(expected)
    low, high = found.details["intervals"]["roc_auc"]
    assert low < found.metrics["roc_auc"] < high


def test_ranges_of_times_and_of_whole_numbers_have_borders_that_can_be_read(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=400)
    begin = np.datetime64("2026-01-01T00:00:00", "us")
    frame = pl.DataFrame(
        {
            "x": x,
            "when": begin + np.arange(400) * np.timedelta64(3_600_000_000, "us"),
            "people": 1_000_000 + 1000 * np.arange(400),
            "y": np.where(x > 0, "yes", "no"),
        }
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    told = ps.Pipeline([ps.Drop(["when", "people"])], TREES, "y").fit(tmp_path / "rows.parquet")
    found = told.evaluate(tmp_path / "rows.parquet", by=["when", "people"]).details["slices"]
    for column, border in (("when", r"2026-01-\d\dT\d\d:\d\d:\d\d"), ("people", r"1\d{6}")):
        names = [one["value"] for one in found if one["column"] == column]
        assert len(names) == 4
        for name, form in zip(names, ("up to {0}", "{0} to {0}", "{0} to {0}", "above {0}"), strict=True):
            assert re.fullmatch(form.format(border), name), name


def test_the_worst_rows_show_what_the_model_saw(classes: ps.FittedPipeline, rows: Path) -> None:
    frame = pl.read_parquet(rows)
    chance = classes.predict(str(rows))["probability_yes"].to_numpy()
    loss = np.where(frame["y"] == "yes", 1 - chance, chance)
    found = classes.evaluate(str(rows), mistakes=5).details["mistakes"]
    assert [one["loss"] for one in found] == pytest.approx(sorted(loss, reverse=True)[:5])
    assert found[0]["values"]["x"] == frame["x"][found[0]["row"]]
    assert set(found[0]["values"]) == {"x", "color"}


def test_numbers_are_judged_by_quantile_losses(numbers: ps.FittedPipeline, rows: Path) -> None:
    frame = pl.read_parquet(rows)
    found = numbers.evaluate(str(rows), quantile=[0.1, 0.9])
    said = numbers.predict(str(rows))["prediction"].to_numpy()
    for quantile in (0.1, 0.9):
        expected = metrics.mean_pinball_loss(frame["price"], said, alpha=quantile)
        assert found.metrics[f"quantile_loss_{quantile:g}"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"by": ["regoin"]}, SchemaError, "regoin"),
        ({"by": ["y"]}, UsageError, "confusion matrix"),
        ({"quantile": [0.5]}, UsageError, "quantile"),
        ({"beta": [0.0]}, UsageError, "beta"),
    ],
)
def test_what_does_not_fit_is_refused(
    classes: ps.FittedPipeline, rows: Path, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        classes.evaluate(str(rows), **settings)


def test_beta_is_refused_for_numbers(numbers: ps.FittedPipeline, rows: Path) -> None:
    with pytest.raises(UsageError, match="classes"):
        numbers.evaluate(str(rows), beta=[1.0])
