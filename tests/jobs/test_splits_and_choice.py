"""Groups, times, weights and costs in training, and the choice among several models."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.engine import Figures
from penstock.errors import DataError, PenstockError, SchemaError, UsageError
from penstock.source import Note
from penstock.target import Splitting, share_of

ROWS = 3000


class Heard:
    def __init__(self) -> None:
        self.notes: list[Note] = []

    def said(self, note: Note) -> None:
        self.notes.append(note)

    def progressed(self, figures: Figures) -> None:
        pass


def table(seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(2, ROWS))
    color = random.choice(["red", "green", "blue"], ROWS)
    score = 1.5 * x - z + (color == "red")
    day = random.integers(0, 100, ROWS)
    return pl.DataFrame(
        {
            "x": x,
            "z": z,
            "color": color,
            "patient": [f"p{n}" for n in random.integers(0, 300, ROWS)],
            "when": [datetime(2024, 1, 1) + timedelta(days=int(d)) for d in day],
            "importance": random.uniform(0.5, 2.0, ROWS),
            "y": np.where(score + random.logistic(size=ROWS) > 0.5, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    table().write_parquet(path)
    return path


def quick(**settings: Any) -> ps.Pipeline:
    model = settings.pop("model", ps.BoostedTrees(rounds=20, folds=1, early_stopping_rounds=None))
    return ps.Pipeline([ps.Drop(["when", "patient", "importance"])] if not settings else [], model, "y", **settings)


def held_out(path: Path, splitting: Splitting, seed: int, share: float) -> np.ndarray:
    columns = pl.read_parquet(path).to_arrow().combine_chunks().to_batches()[0]
    batch = Batch(columns, RowKeys.span(path.name, 0, columns.num_rows))
    return share_of(splitting.hashes(batch, seed)) < share


def test_rows_of_one_group_fall_on_one_side(data: Path) -> None:
    frame = pl.read_parquet(data)
    out = held_out(data, Splitting(group="patient"), 5, 0.2)
    assert 0.1 < out.mean() < 0.3
    assert not set(frame["patient"].filter(pl.Series(out))) & set(frame["patient"].filter(pl.Series(~out)))


def test_a_row_without_a_group_is_a_group_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"patient": pl.Series([None] * 2000, dtype=pl.String)}).write_parquet(path)
    assert 0.4 < held_out(path, Splitting(group="patient"), 5, 0.5).mean() < 0.6


def test_by_time_exactly_the_latest_rows_are_judged_on(data: Path) -> None:
    frame = pl.read_parquet(data).sort("when")
    fitted = quick(time="when", holdout=0.2).fit(str(data))
    latest = frame.filter(pl.col("when") >= frame["when"][int(ROWS * 0.8)])
    later = frame.filter(pl.col("when") > frame["when"][int(ROWS * 0.8)])
    # Days are not cut: all rows of the day on the border are on one side.
    assert fitted.summary["evaluation"]["rows"] in (len(latest), len(later))
    assert fitted.summary["rows"] == ROWS - fitted.summary["evaluation"]["rows"]
    assert "latest" in fitted.summary["evaluation"]["on"]


def test_groups_hold_in_training_and_in_judging(data: Path) -> None:
    fitted = quick(group="patient", holdout=0.2).fit(str(data))
    out = held_out(data, Splitting(group="patient"), 0 * 8 + 1, 0.2)
    assert fitted.summary["evaluation"]["rows"] == int(out.sum())
    assert "patient" not in fitted.summary["model"]["importance"]


def test_weights_change_what_is_learned_and_a_row_of_weight_zero_is_rejected(tmp_path: Path) -> None:
    # Two contradicting rows at each place: the heavier ones win.
    rows = 400
    x = np.linspace(-1, 1, rows)
    frame = pl.DataFrame(
        {
            "x": np.tile(x, 2),
            "y": np.concatenate([x + 1, x]),
            "w": [3.0] * rows + [1.0] * rows,
        }
    )
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    for model in (ps.BoostedTrees(rounds=60, folds=1, early_stopping_rounds=None), ps.Linear()):
        fitted = ps.Pipeline([], model, "y", weight="w").fit(str(path))
        predicted = fitted.predict(str(path)).column("prediction").to_numpy()
        assert abs(predicted.mean() - 0.75) < 0.02, model.name
    frame.with_columns(w=pl.when(pl.int_range(pl.len()) < 5).then(0.0).otherwise("w")).write_parquet(path)
    fitted = ps.Pipeline([], ps.Linear(), "y", weight="w", max_rejected=0.1).fit(str(path))
    assert fitted.rejected.column("code").to_pylist() == ["no_weight"] * 5


def test_costs_move_the_threshold_and_are_judged(data: Path) -> None:
    plain = quick(holdout=0.3).fit(str(data))
    costly = quick(holdout=0.3, costs={"yes": {"no": 2.0}}).fit(str(data))
    before, after = plain.summary["evaluation"]["metrics"], costly.summary["evaluation"]["metrics"]
    assert after["recall"] > before["recall"] + 0.05
    assert after["roc_auc"] == before["roc_auc"]
    confusion = np.array(costly.summary["evaluation"]["confusion_matrix"])
    assert after["mean_cost"] == pytest.approx((confusion[0, 1] + 2 * confusion[1, 0]) / confusion.sum())
    told = costly.predict(str(data))
    assert set(
        zip(told["prediction"].to_pylist(), (told["probability_yes"].to_numpy() >= 1 / 3).tolist(), strict=True)
    ) == {
        ("yes", True),
        ("no", False),
    }


def test_a_monotone_feature_never_moves_the_other_way(data: Path) -> None:
    model = ps.BoostedTrees(
        rounds=60, folds=1, early_stopping_rounds=None, monotone={"x": "increasing", "z": "decreasing"}
    )
    fitted = quick(model=model).fit(str(data))
    frame = pl.read_parquet(data).head(1).select(pl.exclude("x"))
    line = pl.concat([frame] * 101).with_columns(x=pl.Series(np.linspace(-4, 4, 101)))
    path = data.parent / "line.parquet"
    line.write_parquet(path)
    rising = fitted.predict(str(path)).column("probability_yes").to_numpy()
    assert (np.diff(rising) >= 0).all() and rising[-1] > rising[0]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"group": "pateint"}, SchemaError, "did you mean 'patient'"),
        ({"time": "x"}, SchemaError, "dates or times"),
        ({"weight": "color"}, SchemaError, "number"),
        ({"weight": "y"}, UsageError, "two parts"),
        ({"group": "patient", "time": "when"}, UsageError, "group or by time"),
        ({"costs": {"maybe": {"no": 2.0}}}, UsageError, "maybe"),
        ({"model": ps.BoostedTrees(monotone={"color": "increasing"})}, UsageError, "order"),
    ],
)
def test_what_can_not_be_is_refused_with_a_remedy(
    data: Path, settings: dict[str, Any], error: type[PenstockError], said: str
) -> None:
    with pytest.raises(error, match=said):
        quick(**settings).fit(str(data))


AUTO = ps.Auto(candidates=("linear", "boosted"), effort="quick")


def test_auto_compares_keeps_the_best_and_says_why(data: Path, tmp_path: Path) -> None:
    heard = Heard()
    fitted = quick(model=AUTO, holdout=0.2).fit(str(data), listener=heard)
    board = fitted.summary["leaderboard"]
    assert {row["model"] for row in board if not row["model"].startswith("average")} == {"linear", "boosted"}
    assert [row["score"] for row in board] == sorted(row["score"] for row in board)
    assert sum(bool(row["reason"]) for row in board) >= 1 and board[0]["kept"]
    assert any(note.topic == "model" for note in heard.notes)
    again = ps.load(fitted.save(tmp_path / "model"))
    assert again.predict(str(data)).equals(fitted.predict(str(data)))


def test_an_average_is_kept_only_where_it_is_better_and_predicts_the_mean(data: Path, tmp_path: Path) -> None:
    fitted = quick(model=ps.Auto(candidates=("linear", "boosted"), effort="quick", least_gain=0.0)).fit(str(data))
    board = fitted.summary["leaderboard"]
    averages = [row for row in board if row["model"].startswith("average")]
    scores = [row["score"] for row in board if not row["model"].startswith("average")]
    assert averages and averages[0]["score"] < min(scores), "of two honest models the mean is better on these rows"
    assert len(fitted.summary["members"]) == 2
    weights = {member["model"]: member["weight"] for member in fitted.summary["members"]}
    alone = {
        name: quick(model=model.at_effort("quick")).fit(str(data)).predict(str(data))
        for name, model in (("linear", ps.Linear()), ("boosted", ps.BoostedTrees()))
    }
    mean = sum(weights[name] * alone[name]["probability_yes"].to_numpy() for name in weights) / sum(weights.values())
    reopened = ps.load(fitted.save(tmp_path / "model"))
    np.testing.assert_allclose(reopened.predict(str(data))["probability_yes"].to_numpy(), mean, rtol=1e-12)


def test_auto_without_an_average_keeps_one_model(data: Path) -> None:
    fitted = quick(model=ps.Auto(candidates=("linear", "boosted"), effort="quick", average=False)).fit(str(data))
    assert len(fitted.summary["members"]) == 1


def test_a_candidate_that_can_not_be_trained_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    random = np.random.default_rng(0)
    x = random.normal(size=600)
    pl.DataFrame({"x": x, "y": 2 * x + random.normal(size=600) / 9}).write_parquet(path)
    heard = Heard()
    model = ps.Auto(candidates=("boosted", "linear"), effort="quick")
    fitted = ps.Pipeline([], model, "y").fit(str(path), listener=heard)
    assert fitted.summary["leaderboard"][0]["metric"] == "rmse"
    with pytest.raises(DataError):
        pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.5, 2.5, 9.5]}).write_parquet(path)
        ps.Pipeline([], model, "y").fit(str(path))


@pytest.mark.parametrize(
    "settings",
    [{"candidates": ()}, {"candidates": ("linear", "linear")}, {"validation_share": 0.9}, {"least_gain": 2.0}],
)
def test_auto_refuses_what_it_can_not_do(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="auto"):
        ps.Auto(**settings)


def test_auto_refuses_candidates_that_are_not_models(data: Path) -> None:
    for name in ("auto", "nothing"):
        with pytest.raises(UsageError):
            quick(model=ps.Auto(candidates=(name,))).fit(str(data))
    with pytest.raises(UsageError, match="metric"):
        quick(model=ps.Auto(metric="rmse")).fit(str(data))


def test_what_to_look_at_says_the_column(tmp_path: Path) -> None:
    data = pl.DataFrame({"x": np.arange(400.0) % 7, "tells": np.arange(400.0) % 2, "y": ["no", "yes"] * 200})
    heard = Heard()
    ps.Pipeline([], ps.BoostedTrees(rounds=5, folds=1), target="y").fit(data, listener=heard)
    assert any(note.topic == "look at tells" and "tells the target" in note.text for note in heard.notes)


def test_seeds_below_zero_are_seeds_of_their_own(tmp_path: Path) -> None:
    import warnings

    rows = "".join(f"{i},{'yes' if (i * 7) % 11 > 5 else 'no'}\n" for i in range(400))
    (tmp_path / "rows.csv").write_text("x,y\n" + rows)
    texts = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in (-1, -2, -3):
            model = ps.Linear(epochs=1)
            fitted = ps.Pipeline([], model, target="y", seed=seed).fit(tmp_path / "rows.csv", cores=1)
            texts.add(str(fitted.predict(tmp_path / "rows.csv").column(1).to_pylist()[:3]))
    assert len(texts) > 1
