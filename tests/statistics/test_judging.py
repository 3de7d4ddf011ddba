"""Calibration, lift, F-beta, quantile loss, intervals, slices and worst rows, against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from penstock.batch import Batch, RowKeys
from penstock.errors import UsageError
from penstock.statistics.classification import Classification
from penstock.statistics.mistakes import Mistakes
from penstock.statistics.regression import Regression
from penstock.statistics.sliced import Sliced


def two_classes(truth: np.ndarray, chance: np.ndarray, start: int = 0, **columns: Any) -> Batch:
    labels = np.array(["no", "yes"])
    rows = {
        "y": labels[truth],
        "prediction": labels[(chance >= 0.5).astype(int)],
        "probability_no": 1 - chance,
        "probability_yes": chance,
        **columns,
    }
    return Batch(pa.record_batch(rows), RowKeys.span("a.csv", start, len(truth)))


def sample(rows: int, seed: int, sharp: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    score = random.normal(size=rows)
    chance = 1 / (1 + np.exp(-sharp * score))
    return (random.random(rows) < chance).astype(int), chance


def judged(truth: np.ndarray, chance: np.ndarray) -> Classification:
    statistic = Classification("y", ("no", "yes"))
    statistic.update(two_classes(truth, chance))
    return statistic


@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=15, deadline=None)
def test_f_beta_is_scikit_learns(seed: int, beta: float) -> None:
    truth, chance = sample(200, seed)
    expected = metrics.fbeta_score(truth, chance >= 0.5, beta=beta, zero_division=0)
    assert judged(truth, chance).f_beta(beta) == pytest.approx(expected)


def test_f_beta_of_several_classes_is_the_unweighted_mean() -> None:
    random = np.random.default_rng(0)
    truth, said = random.integers(0, 3, (2, 300))
    labels = np.array(["a", "b", "c"])
    rows = {"y": labels[truth], "prediction": labels[said]}
    rows |= {f"probability_{label}": (said == place).astype(float) for place, label in enumerate(labels)}
    statistic = Classification("y", ("a", "b", "c"))
    statistic.update(Batch(pa.record_batch(rows), RowKeys.span("", 0, 300)))
    assert statistic.f_beta(2.0) == pytest.approx(metrics.fbeta_score(truth, said, beta=2.0, average="macro"))
    assert set(statistic.curves()) == {"a", "b", "c"}


def test_the_curves_lie_on_scikit_learns() -> None:
    truth, chance = sample(5000, 1)
    chance = np.round(chance, 3)
    found = judged(truth, chance).curves()
    false_rate, true_rate, _ = metrics.roc_curve(truth, chance, drop_intermediate=False)
    exact = {(round(a, 12), round(b, 12)) for a, b in zip(false_rate, true_rate, strict=True)}
    assert {(round(a, 12), round(b, 12)) for a, b in found["roc"]} <= exact
    assert found["roc"][0] == [0.0, 0.0] and found["roc"][-1] == [1.0, 1.0] and len(found["roc"]) <= 103
    precision, recall, _ = metrics.precision_recall_curve(truth, chance)
    exact = {(round(a, 12), round(b, 12)) for a, b in zip(recall, precision, strict=True)}
    assert {(round(a, 12), round(b, 12)) for a, b in found["precision_recall"]} <= exact


def test_calibration_bins_hold_equal_shares_and_their_means() -> None:
    truth, chance = sample(4000, 2)
    bins = judged(truth, chance).curves()["calibration"]
    order = np.argsort(chance)
    for place, each in enumerate(bins):
        rows = order[place * 400 : (place + 1) * 400]
        assert each["rows"] == 400
        assert each["predicted"] == pytest.approx(chance[rows].mean())
        assert each["observed"] == pytest.approx(truth[rows].mean())
    error = sum(abs(b["predicted"] - b["observed"]) * b["rows"] for b in bins) / 4000
    assert judged(truth, chance).value()["expected_calibration_error"] == pytest.approx(error)


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large_one() -> None:
    truth, chance = sample(20_000, 3, sharp=1.0)
    overconfident = chance**4 / (chance**4 + (1 - chance) ** 4)
    assert judged(truth, chance).value()["expected_calibration_error"] < 0.02
    assert judged(truth, overconfident).value()["expected_calibration_error"] > 0.1


def test_lift_counts_the_members_among_the_highest_scores() -> None:
    truth, chance = sample(1000, 4)
    found = {each["share"]: each for each in judged(truth, chance).curves()["lift"]}
    top = np.argsort(-chance)[:100]
    assert found[0.1]["gain"] == pytest.approx(truth[top].sum() / truth.sum())
    assert found[0.1]["lift"] == pytest.approx(10 * truth[top].sum() / truth.sum())
    assert found[1.0]["gain"] == 1.0


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
@settings(max_examples=15, deadline=None)
def test_the_quantile_loss_is_scikit_learns(seed: int, quantile: float) -> None:
    truth, said = np.random.default_rng(seed).normal(size=(2, 100))
    statistic = Regression("y")
    statistic.update(Batch(pa.record_batch({"y": truth, "prediction": said}), RowKeys.span("", 0, 100)))
    expected = metrics.mean_pinball_loss(truth, said, alpha=quantile)
    assert statistic.quantile_loss(quantile) == pytest.approx(expected)


@pytest.mark.parametrize("quantile", [0.0, 1.0, float("nan")])
def test_no_quantile_is_refused(quantile: float) -> None:
    with pytest.raises(UsageError, match="quantile"):
        Regression("y").quantile_loss(quantile)


def test_intervals_cover_what_is_true_about_nineteen_times_in_twenty() -> None:
    truth, chance = sample(1_000_000, 5)
    exact = judged(truth, chance).value()
    covered = dict.fromkeys(("accuracy", "f1", "roc_auc", "average_precision", "log_loss", "brier"), 0)
    trials = 30
    random = np.random.default_rng(6)
    for _ in range(trials):
        rows = random.integers(0, len(truth), 1500)
        found = judged(truth[rows], chance[rows]).intervals()
        for name in covered:
            low, high = found[name]
            covered[name] += low <= exact[name] <= high
    # Binomial with p = 0.95: below 24 of 30 with a probability of 1 in 1,600.
    assert all(count >= 24 for count in covered.values()), covered


def test_intervals_of_numbers_cover_too() -> None:
    random = np.random.default_rng(7)
    covered = dict.fromkeys(("rmse", "mae", "r2"), 0)
    for _ in range(60):
        signal = random.normal(size=2000) + 5
        truth = signal + random.normal(size=2000)
        statistic = Regression("y")
        statistic.update(Batch(pa.record_batch({"y": truth, "prediction": signal}), RowKeys.span("", 0, 2000)))
        found = statistic.intervals()
        exact = {"rmse": 1.0, "mae": np.sqrt(2 / np.pi), "r2": 0.5}
        for name in covered:
            covered[name] += found[name][0] <= exact[name] <= found[name][1]
    assert all(count >= 51 for count in covered.values()), covered


def test_what_a_few_rows_can_not_tell_has_no_interval() -> None:
    found = judged(np.array([1]), np.array([0.7])).intervals()
    assert "roc_auc" not in found
    assert Regression("y").intervals() == {}


def test_slices_are_the_metrics_of_their_rows() -> None:
    truth, chance = sample(900, 8)
    colors = np.array(["red", "green", "blue"])[np.arange(900) % 3]
    sliced = Sliced("color", "classification", {"target_column": "y", "classes": ["no", "yes"]}, values=["red", "blue"])
    for start in (0, 450):
        part = slice(start, start + 450)
        sliced.update(two_classes(truth[part], chance[part], start, color=colors[part]))
    found = {sliced.names[place]: value for place, value in sliced.value().items()}
    assert list(found) == ["red", "blue", "all others"]
    red = colors == "red"
    assert found["red"]["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth[red], chance[red]))
    assert found["all others"]["rows"] == 300


def test_slices_of_numbers_are_ranges_and_nulls_a_slice_of_their_own() -> None:
    batch = Batch(pa.record_batch({"age": [1.0, 2.0, 3.0, None], "x": [1.0, 2.0, 3.0, 4.0]}), RowKeys.span("", 0, 4))
    sliced = Sliced("age", "moments", {"column": "x"}, edges=[2.0])
    sliced.update(batch)
    found = {sliced.names[place]: value.mean for place, value in sliced.value().items()}
    assert found == {"up to 2": 1.5, "above 2": 3.0, "no value": 4.0}


def test_the_worst_rows_are_kept_in_order_with_what_the_model_saw() -> None:
    truth, chance = sample(500, 9)
    mistakes = Mistakes("y", ("no", "yes"), {"age": "age of the person"}, rows=7)
    for start in (0, 200):
        part = slice(start, start + 200 if start == 0 else 500)
        mistakes.update(two_classes(truth[part], chance[part], start, age=np.arange(500.0)[part]))
    loss = np.where(truth == 1, 1 - chance, chance)
    worst = np.argsort(-loss, kind="stable")[:7]
    found = mistakes.value()
    assert [one["row"] for one in found] == worst.tolist()
    assert [one["values"]["age of the person"] for one in found] == worst.astype(float).tolist()
    assert found[0]["expected"] != found[0]["predicted"]


def test_a_long_text_in_a_mistake_is_cut_with_its_length() -> None:
    batch = Batch(pa.record_batch({"y": [1.0], "prediction": [9.0], "t": ["x" * 10_000]}), RowKeys.span("", 0, 1))
    mistakes = Mistakes("y", shown={"t": "t"})
    mistakes.update(batch)
    assert mistakes.value()[0]["values"]["t"] == "x" * 200 + "... (10,000 characters)"
