"""Networks: update rules against closed forms, what they learn, how they explain and how they fail."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional
from training_table import TableData, batch_of_table, codes, mixed, number

from penstock.errors import ArtifactError, DataError, MissingExtra, UsageError
from penstock.model import Target
from penstock.models.network import Network
from penstock.models.network_fitted import FittedNetwork
from penstock.models.network_inputs import Inputs
from penstock.models.network_machine import one_thread
from penstock.models.network_optimizing import Average, Schedule, optimizer_of
from penstock.models.networks.activations import NAMES, activation
from penstock.models.networks.combined import Scaled
from penstock.models.networks.even_linear import EvenLinear
from penstock.models.networks.tabular import NumberEmbeddings, TabularArchitecture, TabularNetwork
from penstock.models.splits import validation_mask
from penstock.schema import SPARSE, Field, Role, Schema, tensor
from penstock.testing.models import check_refusals
from penstock.vectors import as_sparse

START, RATE = 4.0, 0.1


def descended(model: Network, steps: int) -> list[float]:
    """The weight after each step on the loss w^2 / 2, whose gradient is w."""
    weight = torch.nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimizer = optimizer_of(model, [weight])
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        (weight**2 / 2).sum().backward()
        optimizer.step()
        found.append(float(weight.detach()))
    return found


def test_plain_descent_shrinks_the_weight_by_the_rate() -> None:
    found = descended(Network(optimizer="sgd", momentum=0.0, l2=0.0, learning_rate=RATE), 5)
    assert found == pytest.approx([START * (1 - RATE) ** n for n in range(1, 6)])


def test_momentum_is_torchs_with_the_rate_outside_the_velocity() -> None:
    weight, velocity, expected = START, 0.0, []
    for _ in range(6):
        velocity = 0.9 * velocity + weight
        weight -= RATE * velocity
        expected.append(weight)
    assert descended(Network(optimizer="sgd", momentum=0.9, l2=0.0, learning_rate=RATE), 6) == pytest.approx(expected)


def test_nesterov_looks_ahead() -> None:
    weight, velocity, expected = START, 0.0, []
    for _ in range(6):
        velocity = 0.9 * velocity + weight
        weight -= RATE * (weight + 0.9 * velocity)
        expected.append(weight)
    model = Network(optimizer="sgd", momentum=0.9, nesterov=True, l2=0.0, learning_rate=RATE)
    assert descended(model, 6) == pytest.approx(expected)


def test_adagrad_divides_by_the_root_of_all_squared_gradients() -> None:
    weight, squares, expected = START, 0.0, []
    for _ in range(5):
        squares += weight**2
        weight -= RATE * weight / (math.sqrt(squares) + 1e-10)
        expected.append(weight)
    assert descended(Network(optimizer="adagrad", l2=0.0, learning_rate=RATE), 5) == pytest.approx(expected)


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
    weight, mean, expected = START, 0.0, []
    for _ in range(5):
        mean = 0.99 * mean + 0.01 * weight**2
        weight -= RATE * weight / (math.sqrt(mean) + 1e-8)
        expected.append(weight)
    model = Network(optimizer="rmsprop", momentum=0.0, l2=0.0, learning_rate=RATE)
    assert descended(model, 5) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_corrects_its_means_for_their_start(name: Any) -> None:
    weight, first, second, expected = START, 0.0, 0.0, []
    for step in range(1, 6):
        if name == "adamw":
            weight -= RATE * 0.01 * weight  # decoupled from the gradient
        first = 0.9 * first + 0.1 * weight / (1 - RATE * 0.01 if name == "adamw" else 1)
        gradient = weight / (1 - RATE * 0.01) if name == "adamw" else weight
        second = 0.999 * second + 0.001 * gradient**2
        weight -= RATE * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected.append(weight)
    model = Network(optimizer=name, l2=0.01 if name == "adamw" else 0.0, learning_rate=RATE)
    assert descended(model, 5) == pytest.approx(expected)


def rates(model: Network, steps: int = 100, per_epoch: int = 10) -> list[float]:
    schedule = Schedule(model, per_epoch)
    return [schedule.factor(step) for step in range(steps)]


def test_schedules_have_the_shapes_of_their_formulas() -> None:
    assert set(rates(Network(schedule="constant", epochs=10))) == {1.0}
    steps = rates(Network(schedule="step", epochs=10))
    assert [steps[0], steps[40], steps[99]] == pytest.approx([1.0, 0.1, 0.01])
    cosine = rates(Network(schedule="cosine", epochs=10))
    assert cosine == pytest.approx([(1 + math.cos(math.pi * n / 100)) / 2 for n in range(100)])
    restarts = rates(Network(schedule="warm_restarts", restart_epochs=2, epochs=10))
    assert [restarts[0], restarts[20], restarts[40]] == [1.0, 1.0, 1.0] and restarts[10] == pytest.approx(0.5)
    cycle = rates(Network(schedule="one_cycle", epochs=10))
    assert cycle[0] == pytest.approx(1 / 25) and max(cycle) == pytest.approx(cycle[30]) == pytest.approx(1.0)
    assert cycle[99] < 0.01
    warm = rates(Network(schedule="constant", warmup_steps=9, epochs=10))
    assert warm[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])


def test_a_plateau_cuts_the_rate_after_its_patience() -> None:
    schedule = Schedule(Network(schedule="plateau", plateau_patience=1, epochs=20), 10)
    for better in (True, False, False):
        schedule.after_epoch(better, 0)
    assert schedule.factor(50) == pytest.approx(0.3)


def test_a_flat_loss_restarts_the_rate() -> None:
    model = Network(schedule="restart_on_plateau", restart_epochs=2, plateau_patience=1, epochs=20)
    schedule = Schedule(model, 10)
    assert [schedule.factor(step) for step in (0, 10, 20, 35)] == pytest.approx([1.0, 0.5, 0.01, 0.01])
    for epoch, better in enumerate((True, True, True, False), 1):
        schedule.after_epoch(better, 10 * epoch)
        assert schedule.factor(10 * epoch) == pytest.approx(0.5 if epoch == 1 else 0.01)
    schedule.after_epoch(False, 50)
    assert [schedule.factor(step) for step in (50, 60, 70)] == pytest.approx([1.0, 0.5, 0.01])


def test_the_average_of_weights_is_the_exponential_mean() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    average = Average(module, 0.5)
    expected = float(module.weight.detach())
    for step, value in enumerate((1.0, 3.0, 2.0)):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update(module)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(average.state["weight"]) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_is_torchs_of_that_name(name: str) -> None:
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(activation(name)(x), getattr(torch.nn.functional, name)(x))


def test_number_embeddings_are_waves_mixed_and_rectified() -> None:
    torch.manual_seed(0)
    module = NumberEmbeddings(2, 4).double()
    numbers = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=torch.float64)
    known = torch.tensor([[True, True], [True, False]])
    found = module(numbers, known).detach().numpy()
    frequency, phase, weight, bias = (
        getattr(module, name).detach().numpy() for name in ("frequency", "phase", "weight", "bias")
    )
    for row in range(2):
        for place in range(2):
            waves = np.cos(2 * np.pi * float(numbers[row, place]) * frequency[place] + phase[place])
            expected = np.maximum(waves @ weight[place] + bias[place], 0) * bool(known[row, place])
            np.testing.assert_allclose(found[row, place * 8 : place * 8 + 8], expected, rtol=1e-12)


def test_where_parts_of_an_encoded_row_are_fits_the_row() -> None:
    architecture = TabularArchitecture(
        width=6,
        numbers=(0, 2),
        missing=(2,),
        categories=((1, 3, 4),),
        vectors=((3, 6),),
        hidden=(5,),
        activation="relu",
        normalization="none",
        dropout=0.0,
        outputs=1,
        frequencies=3,
    )
    network = TabularNetwork(architecture).eval()
    begin = torch.zeros(1, 6)
    plain = network.encode(begin).detach().numpy()[0]
    assert len(plain) == architecture.encoded == 2 + 16 + 1 + 4 + 3
    for column, value in ((0, 1.5), (1, 2.0), (2, float("nan")), (4, 1.0)):
        changed = begin.clone()
        changed[0, column] = value
        moved = np.flatnonzero(network.encode(changed).detach().numpy()[0] != plain)
        owners = [place for place, places in architecture.spans() if set(range(places.start, places.stop)) & set(moved)]
        assert set(owners) == {3 if column == 4 else column}


def test_rows_of_a_batch_follow_from_the_rows() -> None:
    assert [Network().rows_of_batch(n) for n in (10, 8_191, 8_192, 40_000, 60_000)] == [32, 32, 64, 256, 1024]
    assert Network(batch_rows=7).rows_of_batch(10**6) == 7


# ---------------------------------------------------------------------- learning

SMALL = Network(hidden=(32,), epochs=8, batch_rows=64, learning_rate=1e-2)


def rings(rows: int = 2000, **settings: Any) -> tuple[TableData, pa.Table, np.ndarray]:
    """A circle inside a ring: nothing linear tells them apart."""
    random = np.random.default_rng(0)
    x, z = random.normal(size=(2, rows))
    labels = (x**2 + z**2 > 1.4).astype(int)
    table = pa.table({"x": x, "z": z})
    schema = Schema((number("x"), number("z")))
    return TableData(table, schema, Target("y", "binary", ("in", "out")), labels, **settings), table, labels


def accuracy(fitted: FittedNetwork, table: pa.Table, labels: np.ndarray) -> float:
    said = fitted.predict(batch_of_table(table)).column("prediction").to_pylist()
    return float(np.mean([label == fitted.target.classes[code] for label, code in zip(said, labels, strict=True)]))


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "silu"])
def test_it_learns_what_is_not_linear(name: Any) -> None:
    data, table, labels = rings()
    assert (
        accuracy(
            Network(hidden=(32,), activation=name, epochs=8, batch_rows=64, learning_rate=1e-2).train(data),
            table,
            labels,
        )
        > 0.95
    )


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", "adagrad"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_every_optimizer_learns(optimizer: Any, schedule: Any) -> None:
    data, table, labels = rings()
    rate = {"sgd": 0.1, "adagrad": 0.05}.get(optimizer, 5e-3)
    model = Network(hidden=(32,), optimizer=optimizer, schedule=schedule, epochs=8, batch_rows=64, learning_rate=rate)
    assert accuracy(model.train(data), table, labels) > 0.9


def test_a_missing_number_can_be_what_tells() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=2000)
    labels = (random.random(2000) < 0.5).astype(int)
    table = pa.table({"x": pa.array(x, mask=labels == 1)})
    data = TableData(table, Schema((number("x"),)), Target("y", "binary", ("a", "b")), labels)
    assert accuracy(SMALL.train(data), table, labels) == 1.0


def test_categories_are_embedded_and_an_unseen_one_is_like_a_missing_one() -> None:
    random = np.random.default_rng(0)
    place = random.integers(0, 4, 2000)
    labels = np.isin(place, [1, 2]).astype(int)
    table = pa.table({"c": pa.array(place, pa.int32())})
    schema = Schema((codes("c", ["a", "b", "c", "d"]),))
    fitted = SMALL.train(TableData(table, schema, Target("y", "binary", ("no", "yes")), labels))
    assert accuracy(fitted, table, labels) == 1.0
    odd = fitted.predict(batch_of_table(pa.table({"c": pa.array([-1, 99], pa.int32())})))
    first, second = odd.column("probability_yes").to_pylist()
    assert 0 < first < 1 and 0 < second < 1


def test_predicting_on_many_threads_at_once_gives_the_same_bits() -> None:
    table, schema, signal = mixed(3000)
    fitted = SMALL.train(TableData(table, schema, Target("y", "binary", ("no", "yes")), signal > 0))
    batches = [batch_of_table(table, start, 500) for start in range(0, 3000, 500)]
    alone = [fitted.predict(batch).column("probability_yes").to_pylist() for batch in batches]
    fresh = FittedNetwork(**{item.name: getattr(fitted, item.name) for item in fields(fitted)})
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda batch: fresh.predict(batch).column("probability_yes").to_pylist(), batches))
    assert together == alone


def test_waves_are_fewer_the_more_numbers_there_are() -> None:
    assert [Network().frequencies_of(n) for n in (0, 1, 32, 64, 128, 129)] == [0, 32, 32, 16, 8, 0]
    assert Network(number_embedding="none").frequencies_of(5) == 0


def test_an_unseen_category_is_the_mean_of_the_known_ones_where_none_was_missing() -> None:
    place = np.repeat([0, 1], [300, 900])
    labels = np.random.default_rng(0).integers(0, 2, 1200)
    table = pa.table({"c": pa.array(place, pa.int32())})
    data = TableData(table, Schema((codes("c", ["a", "b"]),)), Target("y", "binary", ("no", "yes")), labels)
    fitted = SMALL.train(data)
    unknown, one, other = fitted.module.embeddings[0].weight.detach().numpy()
    kept = place[~validation_mask(data.hashes(), 0.1)]
    share = float(np.mean(kept == 1))
    np.testing.assert_allclose(unknown, (1 - share) * one + share * other, rtol=1e-5)


def test_numbers_beyond_float32_are_predicted_all_the_same() -> None:
    data, _, _ = rings(300)
    fitted = SMALL.train(data)
    table = pa.table({"x": [1e300, -1e300, 1e30, float("inf"), None], "z": [0.0] * 5})
    shares = fitted.predict(batch_of_table(table)).column("probability_out").to_numpy()
    assert np.isfinite(shares).all() and shares[0] == shares[3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nesterov": True}, "nesterov"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, "nesterov"),
        ({"warmup_steps": 5}, "warmup_steps"),
        ({"number_embedding": "quantile"}, "number_embedding"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Network(**settings)


def test_smoothing_of_labels_is_refused_for_numbers() -> None:
    table = pa.table({"x": np.arange(50.0)})
    data = TableData(table, Schema((number("x"),)), Target("y", "regression"), np.arange(50.0))
    with pytest.raises(UsageError, match="label_smoothing"):
        Network(label_smoothing=0.1).train(data)


def test_vectors_go_in_beside_numbers() -> None:
    random = np.random.default_rng(0)
    matrix = (random.random((1500, 30)) < 0.1) * 1.0
    labels = (matrix[:, 3] + matrix[:, 7] > 0).astype(int)
    table = pa.table({"x": random.normal(size=1500), "words": as_sparse(matrix)})
    schema = Schema((number("x"), Field("words", SPARSE, Role.vector, width=30)))
    model = replace(SMALL, number_embedding="none")
    fitted = model.train(TableData(table, schema, Target("y", "binary", ("no", "yes")), labels))
    assert accuracy(fitted, table, labels) > 0.98
    moved = fitted.contributions(batch_of_table(table))
    assert np.abs(moved[:, 1]).mean() > 5 * np.abs(moved[:, 0]).mean()


def test_weights_of_rows_count() -> None:
    x = np.linspace(-1, 1, 600)
    table = pa.table({"x": np.tile(x, 2)})
    labels = np.concatenate([np.ones(600), np.zeros(600)])
    weights = np.concatenate([np.full(600, 3.0), np.ones(600)])
    data = TableData(table, Schema((number("x"),)), Target("y", "regression"), labels, weights=weights)
    fitted = Network(hidden=(8,), epochs=20, batch_rows=64).train(data)
    assert abs(fitted.predict(batch_of_table(table)).column("prediction").to_numpy().mean() - 0.75) < 0.03


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_contributions_add_up_to_the_raw_score(task: str) -> None:
    table, schema, signal = mixed(600, 0)
    targets = {
        "binary": (Target("y", "binary", ("no", "yes")), signal > 0),
        "multiclass": (Target("y", "multiclass", ("a", "b", "c")), np.digitize(signal, [-0.5, 0.5])),
        "regression": (Target("y", "regression"), signal * 10 + 5),
    }
    target, labels = targets[task]
    fitted = Network(hidden=(16,), epochs=3).train(TableData(table, schema, target, labels))
    batch = batch_of_table(table, 0, 300)
    moved = fitted.contributions(batch).sum(axis=1)
    scores = fitted.scores(batch) * fitted.scale + fitted.center
    np.testing.assert_allclose(moved, scores, rtol=1e-9, atol=1e-9)


def test_integrated_gradients_of_a_linear_network_are_weight_times_value() -> None:
    data, table, _ = rings()
    fitted = Network(hidden=(), epochs=2, number_embedding="none").train(data)
    batch = batch_of_table(table, 0, 50)
    weight = fitted.module.layers[0].weight.detach().double().numpy()[0]
    x = np.asarray(table["x"].to_numpy()[:50], np.float32).astype(float)
    np.testing.assert_allclose(
        fitted.contributions(batch)[:, 0, 0], weight[0] * x / np.sqrt(1 + (x / 3) ** 2), rtol=1e-4, atol=1e-6
    )


def test_training_leaves_torchs_random_state_and_threads_as_they_were() -> None:
    data, _, _ = rings(200)
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    SMALL.train(data)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    with one_thread():
        assert torch.get_num_threads() == 1


def test_a_diverging_training_stops_with_the_step_and_what_to_try() -> None:
    data, _, _ = rings()
    model = Network(optimizer="sgd", learning_rate=1e30, schedule="constant", clip_norm=None, epochs=3)
    with pytest.raises(DataError, match=r"diverged.*\n.*finite.*\n.*rows.*\n.*learning_rate"):
        model.train(data)


def test_training_ends_when_nothing_gets_better_and_keeps_the_best_epoch() -> None:
    random = np.random.default_rng(0)
    table = pa.table({"x": random.normal(size=400)})
    labels = random.integers(0, 2, 400)
    data = TableData(table, Schema((number("x"),)), Target("y", "binary", ("a", "b")), labels)
    summary = Network(hidden=(64, 64), epochs=60, patience=3, learning_rate=0.02, dropout=0.0).train(data).summary
    assert summary["epochs"] < 60 and summary["epochs"] == summary["best_epoch"] + 3
    losses = [each["validation"] for each in summary["history"]]
    assert losses[summary["best_epoch"] - 1] == min(losses)


def test_a_batch_is_padded_to_one_size() -> None:
    given = [Inputs(rows, np.ones((rows, 2), np.float32)) for rows in (1, 700, 1024)]
    assert [len(each.filled_up(1024).matrix) for each in given] == [1024] * 3


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "penstock.models.network_training", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    data, _, _ = rings(100)
    with pytest.raises(MissingExtra, match="pip install torch"):
        SMALL.train(data)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    data, _, _ = rings(200)
    SMALL.train(data).save(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="damaged"):
        FittedNetwork.load(tmp_path).open()


@pytest.mark.parametrize(("shape", "kind"), [((2, 5, 4, 3), torch.uint8), ((2, 3, 5, 4, 1), torch.float32)])
def test_pictures_and_clips_are_standardized_by_channel_to_the_bit(shape: tuple[int, ...], kind: torch.dtype) -> None:
    scaled = Scaled(shape[-1])
    scaled.mean.copy_(torch.tensor([117.3, 101.2, 88.7][: shape[-1]]))
    scaled.deviation.copy_(torch.tensor([61.2, 57.7, 60.9][: shape[-1]]))
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(kind)
    before = values.clone()
    expected = ((values.float() - scaled.mean) / scaled.deviation).movedim(-1, -3)
    assert torch.equal(scaled(values), expected)
    assert torch.equal(values, before), "what goes in stays as it is"


def test_a_network_is_opened_once_whoever_predicts_first(tmp_path: Path) -> None:
    data, table, _ = rings(200)
    learned = SMALL.train(data)
    learned.save(tmp_path)
    loaded = FittedNetwork.load(tmp_path)
    assert "_module" not in vars(loaded), "loading is not to wait for torch"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: (loaded.module, loaded.scores(batch_of_table(table))), range(8)))
    assert len({id(module) for module, _ in found}) == 1
    assert all(np.array_equal(scores, learned.scores(batch_of_table(table))) for _, scores in found)


def test_wrong_arguments_are_refused_by_name() -> None:
    check_refusals(
        Network,
        {
            "hidden": (0,),
            "activation": "step",
            "normalization": "group",
            "dropout": 1.0,
            "optimizer": "lion",
            "learning_rate": 0.0,
            "schedule": "sometimes",
            "epochs": 0,
            "batch_rows": 0,
            "patience": 0,
            "averaging": 1.0,
            "l1": -1.0,
            "clip_norm": 0.0,
            "validation_share": 0.0,
            "flip_average": 1,
            "effort": "most",
            "class_weight": "often",
        },
    )


def test_effort_changes_how_long_it_learns() -> None:
    data, _, _ = rings(100)
    found = [Network().at_effort(effort).settled(100, data.schema) for effort in ("quick", "default", "best")]
    assert found[0].epochs < found[1].epochs < found[2].epochs
    assert found[1].patience < found[2].patience


def test_pictures_get_as_many_epochs_as_make_enough_steps() -> None:
    pictures = Schema((Field("picture", tensor(pa.uint8(), (28, 28, 1)), Role.picture),))
    assert [Network().settled(rows, pictures).epochs for rows in (50, 1_600, 60_000)] == [60, 40, 9]
    assert Network(epochs=3).settled(50, pictures).epochs == 3


def test_no_step_is_taken_on_too_few_rows() -> None:
    data, _, _ = rings(1)
    with pytest.raises(DataError):
        SMALL.train(data)


def test_the_choice_of_words_is_checked_when_a_definition_is_made() -> None:
    with pytest.raises(UsageError, match="optimizer"):
        Network(optimizer="newton")  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [3, 5, 10, 30])
@pytest.mark.parametrize("outputs", [2, 3, 9])
def test_a_rows_scores_do_not_depend_on_its_place(width: int, outputs: int) -> None:
    layer = EvenLinear(width, outputs)
    rows, order = torch.randn(1024, width), torch.randperm(1024)
    assert torch.equal(layer(rows)[order], layer(rows[order]))
    torch.testing.assert_close(layer(rows), functional.linear(rows, layer.weight, layer.bias))
