"""A network over a table that begins with the weights of an earlier one, and what of it stays as it is."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from training_table import TableData, mixed

from penstock.errors import UsageError
from penstock.model import Target
from penstock.models.network import Network
from penstock.models.network_fitted import FittedNetwork

TARGET = Target("y", "binary", ("no", "yes"))
TABLE, SCHEMA, TRUTH = mixed(90)


def learned(seed: int = 0, **settings: Any) -> FittedNetwork:
    model = Network(hidden=(4,), epochs=1, batch_rows=32, **settings)
    return model.train(TableData(TABLE, SCHEMA, TARGET, TRUTH > 0, seed=seed))


def tensors(fitted: FittedNetwork) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(fitted.weights)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    learned(learning_rate=0.05).save(folder)
    return folder / "weights.safetensors"


def moved(earlier: Path, **settings: Any) -> set[str]:
    """The tensors that one epoch changes, by more than a learning rate this small can where it is small."""
    before, after = safetensors.torch.load_file(earlier), tensors(learned(seed=1, weights=str(earlier), **settings))
    assert before.keys() == after.keys()
    return {name for name in before if not torch.allclose(before[name], after[name], atol=1e-5)}


def test_a_network_over_a_table_begins_with_the_weights_of_an_earlier_one(earlier: Path) -> None:
    assert not moved(earlier, learning_rate=1e-8)
    afresh, before = tensors(learned(seed=1, learning_rate=1e-8)), safetensors.torch.load_file(earlier)
    assert not torch.allclose(afresh["layers.0.weight"], before["layers.0.weight"], atol=1e-5)


def test_frozen_layers_do_not_move_and_the_others_do(earlier: Path) -> None:
    every = moved(earlier, learning_rate=0.05)
    assert {"layers.0.weight", "waves.weight", "embeddings.0.weight"} <= every
    kept = moved(earlier, learning_rate=0.05, frozen=("waves", "embeddings"))
    assert kept == {name for name in every if name.startswith("layers")}
    head = moved(earlier, learning_rate=0.05, frozen=("all",))
    assert head and head < kept and not any(name.startswith("layers.0") for name in head)


def test_weights_of_another_table_and_names_of_no_layer_are_refused(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no layer of this name") as raised:
        learned(weights=str(earlier), frozen=("trunk",))
    assert "embeddings, waves, layers" in raised.value.expected
    with pytest.raises(UsageError, match="nothing is left to learn"):
        learned(weights=str(earlier), frozen=("*",))
    before = safetensors.torch.load_file(earlier)
    wider = tmp_path / "wider.safetensors"
    safetensors.torch.save_file({"layers.0.weight": torch.zeros(7, 3), **{"x": before["waves.bias"]}}, wider)
    with pytest.raises(UsageError) as raised:
        learned(weights=str(wider))
    assert str(wider) in str(raised.value)
