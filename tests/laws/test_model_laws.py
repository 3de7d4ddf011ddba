"""The laws of `penstock.model.Model`, on every model that the registry knows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))

from training_table import TableData, mixed

from penstock.model import Model, Target
from penstock.models.autoencoder import Autoencoder
from penstock.models.boosted import BoostedTrees
from penstock.models.clusters import KMeans
from penstock.models.components import PCA
from penstock.models.isolation_forest import IsolationForest
from penstock.models.linear import Linear
from penstock.models.network import Network
from penstock.models.sklearn_model import Sklearn
from penstock.registry import names
from penstock.testing.models import check_model

LABELLED = ("binary", "multiclass", "regression")
MODELS: dict[str, tuple[Model, ...]] = {
    "boosted": (
        BoostedTrees(rounds=30, folds=3, bags=2, early_stopping_rounds=10),
        BoostedTrees(rounds=30, folds=1, early_stopping_rounds=None, bagging_fraction=0.7),
        BoostedTrees(rounds=30, folds=1, class_weight=None, num_leaves=7),
    ),
    "linear": (Linear(epochs=4), Linear(epochs=4, penalty="l1", batch_rows=100)),
    "network": (Network(epochs=2, hidden=(24, 8)), Network(epochs=2, hidden=(), averaging=0.0, normalization="batch")),
    "sklearn": (
        Sklearn("random_forest", {"n_estimators": 5}),
        Sklearn("ridge"),
        Sklearn("k_nearest_neighbors"),
        Sklearn("mlp", {"hidden_layer_sizes": [20]}, epochs=2),
    ),
    "kmeans": (KMeans(clusters=7), KMeans(epochs=1, batch_rows=100, tries=1)),
    "pca": (PCA(components=2), PCA(batch_rows=100)),
    "isolation_forest": (IsolationForest(trees=10), IsolationForest(trees=10, contamination=0.05)),
    "autoencoder": (Autoencoder(epochs=2), Autoencoder(epochs=1, hidden=(), size=2, noise=0.1)),
}
EVERY = [model for models in MODELS.values() for model in models]
CASES = [(model, task) for model in EVERY for task in ([model.task] if model.task else LABELLED)]


def _title(model: Model) -> str:
    place = [id(other) for other in MODELS[model.name]].index(id(model))
    return f"{model.name}-{place}"


def test_every_model_of_the_registry_is_checked() -> None:
    assert set(MODELS) == set(names("models")) - {"auto"}  # auto is no model: it chooses among them


def data(task: str, seed: int = 0) -> TableData:
    table, schema, signal = mixed(1200, seed)
    if task not in LABELLED:
        return TableData(table, schema, Target("", task), np.zeros(1200), cores=1, seed=seed)
    if task == "regression":
        return TableData(table, schema, Target("y", "regression"), signal * 40 + 1e6, cores=1, seed=seed)
    if task == "binary":
        return TableData(table, schema, Target("y", "binary", ("no", "yes")), signal > 0, cores=1, seed=seed)
    thirds = np.digitize(signal, np.quantile(signal, [1 / 3, 2 / 3]))
    return TableData(table, schema, Target("y", "multiclass", ("high", "low", "中")), thirds, cores=1, seed=seed)


def _case(value: object) -> str:
    return _title(value) if isinstance(value, Model) else str(value)


@pytest.mark.parametrize(("model", "task"), CASES, ids=_case)
def test_a_model_obeys_the_laws(model: Model, task: str) -> None:
    check_model(model, data(task))


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"pca"}))  # nothing of principal components is drawn
def test_another_seed_gives_another_model(name: str) -> None:
    model = MODELS[name][0]
    one, other = data(model.task or "binary"), data(model.task or "binary")
    other.seed = 1
    other._hashes = np.random.default_rng(1).integers(0, 2**63, other.rows).astype(np.uint64)
    first, second = model.train(one), model.train(other)
    assert first.summary != second.summary


@pytest.mark.parametrize(("model", "task"), CASES, ids=_case)
def test_the_number_of_cores_does_not_change_a_model(model: Model, task: str, tmp_path: Path) -> None:
    saved = []
    for cores in (1, 3):
        training = data(task)
        training.resources = type(training.resources)(cores, training.resources.memory)
        folder = tmp_path / str(cores)
        folder.mkdir()
        model.train(training).save(folder)
        saved.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert saved[0] == saved[1]
