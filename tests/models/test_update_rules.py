"""Update rules and schedules against their closed forms, on a quadratic whose three directions are not independent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from penstock.models.network import Network
from penstock.models.network_optimizing import Schedule, optimizer_of
from penstock.models.networks.names import SCHEDULES

Vector = npt.NDArray[np.float64]

CURVES = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 0.1]])
"""Positive definite, its greatest curvature 90 times its least."""
START = np.array([4.0, -2.0, 1.0])
RATE, DECAY, STEPS = 0.05, 0.1, 20


def descended(**settings: Any) -> Vector:
    """The weights after each step on ``w A w / 2``, whose gradient is ``A w``; shape (steps, 3)."""
    weights = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = optimizer_of(Network(learning_rate=RATE, **settings), [weights])
    found = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        (weights @ torch.from_numpy(CURVES) @ weights / 2).backward()
        optimizer.step()
        found.append(weights.detach().numpy().copy())
    return np.stack(found)


def by_hand(rule: Any, decay: float) -> Vector:
    """The weights after each step of a rule that takes gradients (decay included) and gives what is subtracted."""
    weights, found = START.copy(), []
    moves = rule()
    next(moves)
    for _ in range(STEPS):
        weights = weights - moves.send(CURVES @ weights + decay * weights)
        found.append(weights)
    return np.stack(found)


Moves = Iterator[Any]


def momentum(share: float, nesterov: bool) -> Any:
    def rule() -> Moves:
        velocity, move = np.zeros(3), None
        while True:
            gradient = yield move
            velocity = share * velocity + gradient
            move = RATE * (gradient + share * velocity if nesterov else velocity)

    return rule


def adagrad() -> Moves:
    squares, move = np.zeros(3), None
    while True:
        gradient = yield move
        squares = squares + gradient**2
        move = RATE * gradient / (np.sqrt(squares) + 1e-10)


def rmsprop(share: float) -> Any:
    def rule() -> Moves:
        mean, velocity, move = np.zeros(3), np.zeros(3), None
        while True:
            gradient = yield move
            mean = 0.99 * mean + 0.01 * gradient**2
            velocity = share * velocity + gradient / (np.sqrt(mean) + 1e-8)
            move = RATE * velocity

    return rule


def adam() -> Moves:
    first, second, move, step = np.zeros(3), np.zeros(3), None, 0
    while True:
        gradient = yield move
        step += 1
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        move = RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"optimizer": "sgd", "momentum": 0.0}, momentum(0.0, False)),
        ({"optimizer": "sgd", "momentum": 0.8}, momentum(0.8, False)),
        ({"optimizer": "sgd", "momentum": 0.8, "nesterov": True}, momentum(0.8, True)),
        ({"optimizer": "adagrad"}, adagrad),
        ({"optimizer": "rmsprop", "momentum": 0.0}, rmsprop(0.0)),
        ({"optimizer": "rmsprop", "momentum": 0.7}, rmsprop(0.7)),
        ({"optimizer": "adam"}, adam),
    ],
)
def test_each_rule_is_its_formula_with_the_decay_in_the_gradient(settings: Any, rule: Any, decay: float) -> None:
    np.testing.assert_allclose(descended(l2=decay, **settings), by_hand(rule, decay), rtol=1e-10)


def test_adamw_decays_the_weights_and_not_the_gradient() -> None:
    weights, expected = START.copy(), []
    moves: Any = adam()
    next(moves)
    for _ in range(STEPS):
        gradient = CURVES @ weights
        weights = weights * (1 - RATE * DECAY) - moves.send(gradient)
        expected.append(weights)
    found = descended(optimizer="adamw", l2=DECAY)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-10)
    assert not np.allclose(found, descended(optimizer="adam", l2=DECAY), rtol=1e-3)


def test_descent_goes_the_way_that_linear_algebra_says() -> None:
    """After n steps it is at (I - rate (A + decay I))^n w: what no loop over steps is needed for."""
    once = np.eye(3) - RATE * (CURVES + DECAY * np.eye(3))
    expected = [np.linalg.matrix_power(once, step) @ START for step in range(1, STEPS + 1)]
    np.testing.assert_allclose(descended(optimizer="sgd", momentum=0.0, l2=DECAY), expected, rtol=1e-10)


def test_momentum_goes_the_way_that_linear_algebra_says() -> None:
    """(w, v) -> (w - rate (m v + A w), m v + A w), as a matrix to the power of n."""
    once = np.block([[np.eye(3) - RATE * CURVES, -RATE * 0.8 * np.eye(3)], [CURVES, 0.8 * np.eye(3)]])
    begin = np.concatenate([START, np.zeros(3)])
    expected = [(np.linalg.matrix_power(once, step) @ begin)[:3] for step in range(1, STEPS + 1)]
    np.testing.assert_allclose(descended(optimizer="sgd", momentum=0.8, l2=0.0), expected, rtol=1e-10)


def test_the_first_step_of_adam_is_the_rate_whatever_the_gradient() -> None:
    np.testing.assert_allclose(abs(descended(optimizer="adam", l2=0.0)[0] - START), RATE, rtol=1e-6)


def test_an_optimizer_of_ones_own_is_taken_and_learns_at_the_rate() -> None:
    given = descended(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=123.0, momentum=0.8))
    np.testing.assert_allclose(given, descended(optimizer="sgd", momentum=0.8, l2=0.0), rtol=1e-12)


# ---------------------------------------------------------------------- schedules

EPOCHS, PER_EPOCH = 8, 5
TOTAL = EPOCHS * PER_EPOCH


def factors(**settings: Any) -> list[float]:
    schedule = Schedule(Network(epochs=EPOCHS, **settings), PER_EPOCH)
    return [schedule.factor(step) for step in range(TOTAL)]


def torchs(kind: Any, *arguments: Any) -> list[float]:
    """The rates of a schedule of torch, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = kind(optimizer, *arguments)
    found = []
    for _ in range(TOTAL):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_is_torchs() -> None:
    expected = torchs(torch.optim.lr_scheduler.CosineAnnealingLR, TOTAL)
    assert factors(schedule="cosine") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cycle", [1, 3, 8])
def test_warm_restarts_are_torchs(cycle: int) -> None:
    expected = torchs(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, cycle * PER_EPOCH)
    assert factors(schedule="warm_restarts", restart_epochs=cycle) == pytest.approx(expected, abs=1e-12)


def test_steps_are_a_tenth_after_each_third() -> None:
    assert factors(schedule="step") == pytest.approx(
        [1.0 if step < TOTAL / 3 else 0.1 if step < TOTAL * 2 / 3 else 0.01 for step in range(TOTAL)]
    )


def test_one_cycle_rises_to_its_peak_and_falls_in_half_waves() -> None:
    peak = 0.3 * TOTAL
    rise = [1 / 25 + (1 - 1 / 25) * math.sin(math.pi / 2 * step / peak) ** 2 for step in range(12)]
    fall = [
        1e-4 + (1 - 1e-4) * math.cos(math.pi / 2 * (step - peak) / (TOTAL - peak)) ** 2 for step in range(12, TOTAL)
    ]
    found = factors(schedule="one_cycle")
    assert found == pytest.approx([*rise, *fall])
    assert found[12] == 1.0 and found == [*sorted(found[:13]), *sorted(found[13:], reverse=True)]


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "warm_restarts"])
def test_a_warm_up_is_a_straight_line_before_any_other_schedule(schedule: Any) -> None:
    plain, warm = factors(schedule=schedule), factors(schedule=schedule, warmup_steps=4)
    expected = [one * min(1.0, (step + 1) / 5) for step, one in enumerate(plain)]
    assert warm == pytest.approx(expected, abs=1e-12)


def test_a_plateau_cuts_as_torchs_does() -> None:
    losses = [5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0]
    weights = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs_own = torch.optim.lr_scheduler.ReduceLROnPlateau(weights, factor=0.3, patience=1, threshold=0)
    schedule = Schedule(Network(schedule="plateau", plateau_patience=1, epochs=EPOCHS), PER_EPOCH)
    best = math.inf
    for loss in losses:
        schedule.after_epoch(loss < best, 0)
        best = min(best, loss)
        torchs_own.step(loss)
        assert schedule.factor(0) == pytest.approx(torchs_own.get_last_lr()[0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_lies_between_nothing_and_the_rate_and_may_be_longer_than_the_training(name: Any) -> None:
    schedule = Schedule(Network(schedule=name, epochs=1), 1)
    assert all(0 <= schedule.factor(step) <= 1 for step in range(5))
