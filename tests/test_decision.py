"""The class of the least expected cost, and the mean of several models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.decision import Decision, mean_of
from penstock.errors import UsageError
from penstock.model import Target

TWO = Target("y", "binary", ("no", "yes"))
THREE = Target("y", "multiclass", ("a", "b", "c"))


def test_with_equal_costs_the_likeliest_class_is_chosen() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert Decision.of(THREE, {}).codes(probabilities).tolist() == [1, 0]
    assert Decision.of(TWO, {}).threshold == 0.5


def test_the_threshold_of_two_classes_is_elkans() -> None:
    # Elkan 2001, equation 2: p* = (c10 - c00) / (c10 - c00 + c01 - c11)
    decision = Decision.of(TWO, {"yes": {"no": 20.0, "yes": 1.0}, "no": {"yes": 3.0}})
    assert decision.threshold == 3.0 / (3.0 + 19.0)
    just = decision.threshold
    assert decision.codes(np.array([[1 - just, just], [1.0, 0.0]])).tolist() == [1, 0]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.01), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_no_other_class_has_a_lower_expected_cost(raw: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    costs = {t: {s: float(random.integers(1, 9)) for s in "abc" if s != t} for t in "abc"}
    decision = Decision.of(THREE, costs)
    probabilities = np.array([raw]) / sum(raw)
    chosen = decision.codes(probabilities)[0]
    expected = [sum(probabilities[0, i] * costs[t].get(said, 0.0) for i, t in enumerate("abc")) for said in "abc"]
    assert expected[chosen] <= min(expected) + 1e-12


def test_the_mean_cost_is_that_of_the_confusion_matrix() -> None:
    decision = Decision.of(TWO, {"yes": {"no": 10.0}})
    assert decision.mean_cost([[90, 5], [2, 3]]) == (5 * 1 + 2 * 10) / 100


@pytest.mark.parametrize(
    ("target", "costs", "said"),
    [
        (TWO, {"maybe": {"no": 1.0}}, "maybe"),
        (TWO, {"yes": {"no": -1.0}}, "yes"),
        (TWO, {"yes": {"no": float("nan")}}, "yes"),
        (TWO, {"no": {"no": 5.0}}, "no"),
        (Target("y", "regression"), {"a": {"b": 1.0}}, "regression"),
    ],
)
def test_costs_that_make_no_sense_are_refused(target: Target, costs: dict[str, dict[str, float]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Decision.of(target, costs)


def test_the_mean_of_predictions_is_weighted() -> None:
    parts = [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])]
    assert mean_of(parts, [3.0, 1.0]).tolist() == [[0.25, 0.75]]
