"""Models without a target against scikit-learn's batch algorithms, and against answers that are known beforehand."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pictures import crosses
from PIL import Image
from sklearn.cluster import KMeans as BatchKMeans
from sklearn.decomposition import PCA as BatchPCA  # noqa: N811
from sklearn.ensemble import IsolationForest as SklearnForest
from sklearn.metrics import adjusted_rand_score, silhouette_samples
from training_table import TableData, batch_of_table, number

from penstock.errors import ArtifactError, DataError, ResourceError, UsageError
from penstock.masking import Masking
from penstock.model import Target
from penstock.models import clusters
from penstock.models.autoencoder import Autoencoder
from penstock.models.clusters import FittedKMeans, KMeans
from penstock.models.components import PCA, FittedPCA
from penstock.models.isolation_forest import FittedIsolationForest, IsolationForest
from penstock.schema import Field, Role, Schema, tensor
from penstock.statistics.silhouette import silhouettes
from penstock.testing.models import check_model, check_refusals


def data_of(rows: np.ndarray, task: str, *, seed: int = 0, weights: np.ndarray | None = None, memory: int = 2**33):
    names = [f"x{place}" for place in range(rows.shape[1])]
    table = pa.table([pa.array(column) for column in rows.T.astype(np.float32)], names)
    schema = Schema(tuple(number(name, pa.float32()) for name in names))
    labels = np.zeros(len(rows))
    return TableData(table, schema, Target("", task), labels, seed=seed, weights=weights, memory=memory)


def predicted(fitted, rows: np.ndarray):
    names = list(fitted.features.names)
    return fitted.predict(batch_of_table(pa.table([pa.array(c) for c in rows.T.astype(np.float32)], names))).columns


def blobs(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centers = np.array([[0, 0, 0], [9, 0, 3], [0, 9, -4], [8, 8, 6]], float)
    groups = random.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
    return centers[groups] + random.normal(size=(rows, 3)), groups


def low_rank(rows: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(10, 3))
    return random.normal(size=(rows, 3)) @ mixing.T + 0.3 * random.normal(size=(rows, 10))


# ---------------------------------------------------------------------- silhouettes


def test_silhouettes_are_scikit_learns():
    rows, groups = blobs(600)
    groups[0] = 9  # a row alone in its group
    assert silhouettes(rows, groups) == pytest.approx(silhouette_samples(rows, groups), abs=1e-12)


def test_of_one_group_there_is_no_silhouette():
    assert np.isnan(silhouettes(np.ones((3, 2)), np.zeros(3, np.int64))).all()


# ---------------------------------------------------------------------- k-means


def test_blobs_are_clustered_as_they_were_drawn_and_their_number_is_found():
    rows, groups = blobs(700)
    fitted = KMeans().train(data_of(rows, "clustering"))
    found = predicted(fitted, rows)
    assert fitted.summary["clusters"] == 4
    assert adjusted_rand_score(groups, [int(x) for x in found.column("prediction").to_pylist()]) > 0.99
    assert fitted.summary["sizes"] == sorted(fitted.summary["sizes"], reverse=True)
    distances = np.linalg.norm(rows[:, None].astype(np.float32) - fitted.centers[None], axis=2)
    assert found.column("distance").to_numpy() == pytest.approx(distances.min(axis=1), rel=1e-5)


def test_mini_batches_of_more_rows_than_the_sample_come_near_what_all_rows_give(monkeypatch: pytest.MonkeyPatch):
    rows, _ = blobs(2500)
    monkeypatch.setattr(clusters, "MOST_SAMPLE", 300)
    fitted = KMeans(clusters=6, batch_rows=256).train(data_of(rows, "clustering"))
    assert fitted.summary["sample_rows"] == 300
    assert fitted.summary["epochs"] > 0
    batch = BatchKMeans(6, n_init=5, random_state=0).fit(rows)
    assert fitted.summary["inertia"] < 1.05 * batch.inertia_


def test_a_row_of_weight_k_counts_as_k_rows():
    rows, _ = blobs(300)
    weights = np.ones(300)
    weights[:50] = 3
    thrice = np.concatenate([rows, rows[:50], rows[:50]])
    one = KMeans(clusters=4).train(data_of(rows, "clustering", weights=weights))
    other = KMeans(clusters=4).train(data_of(thrice, "clustering"))
    order = [np.lexsort(fitted.centers.T) for fitted in (one, other)]
    assert one.centers[order[0]] == pytest.approx(other.centers[order[1]], abs=1e-6)


def test_more_clusters_than_different_rows_are_as_many_as_there_are():
    rows = np.repeat([[0.0, 1.0], [5.0, 5.0]], 20, axis=0)
    data = data_of(rows, "clustering")
    fitted = KMeans(clusters=5).train(data)
    assert fitted.summary["clusters"] == 2
    assert any("2 clusters" in note.text for note in data.listener.notes)


@pytest.mark.parametrize("rows", [1, 2])
def test_of_one_or_two_rows_auto_makes_one_cluster(rows: int):
    fitted = KMeans().train(data_of(np.arange(2.0 * rows).reshape(rows, 2), "clustering"))
    assert fitted.summary["clusters"] == 1


# ---------------------------------------------------------------------- components


@pytest.mark.parametrize("batch_rows", [4096, 50, 64])
def test_components_are_those_of_all_rows_at_once_up_to_their_sign(batch_rows: int):
    rows = (low_rank(1001) + 5).astype(np.float32).astype(np.float64)
    fitted = PCA(components=4, batch_rows=batch_rows).train(data_of(rows, "decomposition"))
    batch = BatchPCA(4).fit(rows)
    signs = np.sign(np.sum(fitted.components * batch.components_, axis=1))
    # As many are followed as there are features, so that nothing is cut between batches.
    assert fitted.components * signs[:, None] == pytest.approx(batch.components_, abs=1e-9)
    assert fitted.summary["explained_by"] == pytest.approx(batch.explained_variance_ratio_.tolist(), rel=1e-9)
    found = predicted(fitted, rows[:50])
    scores = batch.transform(rows[:50]) * signs
    assert found.column("component_1").to_numpy() == pytest.approx(scores[:, 0], abs=1e-9)
    left = rows[:50] - batch.inverse_transform(batch.transform(rows[:50]))
    assert found.column("reconstruction_error").to_numpy() == pytest.approx((left**2).mean(axis=1), rel=1e-9)


def test_a_share_of_the_variance_keeps_as_many_components_as_it_takes():
    rows = low_rank(500)
    fitted = PCA(components=0.9).train(data_of(rows, "decomposition"))
    summed = np.cumsum(BatchPCA().fit(rows).explained_variance_ratio_)
    assert fitted.summary["components"] == int(np.argmax(summed >= 0.9)) + 1


@pytest.mark.parametrize(
    "rows", [np.ones((50, 3)), np.column_stack([np.arange(50.0), np.full(50, 7.0)])], ids=["constant", "one constant"]
)
def test_constant_columns_are_no_trouble(rows: np.ndarray):
    found = predicted(PCA().train(data_of(rows, "decomposition")), rows)
    assert found.column("reconstruction_error").to_numpy() == pytest.approx(0.0, abs=1e-9)


# ---------------------------------------------------------------------- isolation forest


def test_scores_are_scikit_learns_for_the_same_trees():
    rows = low_rank(400)
    data = data_of(rows, "anomaly_detection", seed=3)
    fitted = IsolationForest(trees=25, tree_rows=100, contamination=0.1).train(data)
    forest = SklearnForest(n_estimators=25, max_samples=100, random_state=3, contamination=0.1)
    forest.fit(rows.astype(np.float32))
    found = predicted(fitted, rows)
    expected = -forest.score_samples(rows.astype(np.float32))
    assert found.column("anomaly_score").to_numpy() == pytest.approx(expected, abs=1e-12)
    flagged = np.array(found.column("prediction").to_pylist()) == "anomaly"
    assert (flagged == (forest.predict(rows.astype(np.float32)) == -1)).all()


def test_planted_anomalies_are_found():
    rows, _ = blobs(1000)
    rows[:10] = np.random.default_rng(5).uniform(-40, 40, (10, 3))
    fitted = IsolationForest(contamination=0.01).train(data_of(rows, "anomaly_detection"))
    worst = np.argsort(-predicted(fitted, rows).column("anomaly_score").to_numpy())[:10]
    assert len(set(worst.tolist()) & set(range(10))) >= 9


# ---------------------------------------------------------------------- autoencoder


def test_an_autoencoder_comes_near_the_least_error_of_a_low_rank_problem():
    model = Autoencoder(size=3, hidden=(32,), epochs=30, batch_rows=50, patience=None)
    rows = low_rank(1000)
    fitted = model.train(data_of(rows, "reconstruction"))
    unseen = low_rank(500, seed=1)
    batch = BatchPCA(3).fit(rows)
    least = np.mean((unseen - batch.inverse_transform(batch.transform(unseen))) ** 2)
    assert np.mean(predicted(fitted, unseen).column("reconstruction_error").to_numpy()) < 1.1 * least


def test_what_is_unlike_the_rest_is_given_back_badly():
    rows = low_rank(800)
    fitted = Autoencoder(size=3, epochs=12).train(data_of(rows, "reconstruction"))
    strange = np.random.default_rng(7).normal(size=(20, 10)) * 4
    scores = predicted(fitted, strange).column("anomaly_score").to_numpy()
    assert (scores > 0.95).all()
    assert 0.3 < np.mean(predicted(fitted, low_rank(300, 4)).column("anomaly_score").to_numpy()) < 0.7


def test_an_autoencoder_that_was_killed_goes_on_with_the_same_steps(tmp_path: Path):
    rows = low_rank(300)
    model = Autoencoder(size=2, epochs=3, batch_rows=50, noise=0.1, checkpoint_seconds=0)

    class Killed(Exception):
        pass

    class Listener:
        def __init__(self, most: int) -> None:
            self.most = most

        def said(self, note: object) -> None:
            pass

        def progressed(self, figures: object) -> None:
            self.most -= 1
            if self.most == 0:
                raise Killed

    saved = []
    for name, most in (("whole", 0), ("killed", 9)):
        data = data_of(rows, "reconstruction")
        data.checkpoints = tmp_path / name / "checkpoints"
        data.listener = Listener(most)
        if most:
            with pytest.raises(Killed):
                model.train(data)
            data.listener = Listener(0)
        fitted = model.train(data)
        (tmp_path / name / "saved").mkdir()
        fitted.save(tmp_path / name / "saved")
        saved.append({path.name: path.read_bytes() for path in (tmp_path / name / "saved").iterdir()})
    assert saved[0] == saved[1]


def pictures_of(pixels: np.ndarray, hidden: tuple[str, ...] = ()) -> TableData:
    schema = Schema((Field("picture", tensor(pa.from_numpy_dtype(pixels.dtype), pixels.shape[1:]), Role.picture),))
    table = pa.table([pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)], ["picture"])
    data = TableData(table, schema, Target("", "reconstruction"), np.zeros(len(pixels)), cores=1)
    if hidden:
        data.resources = replace(data.resources, masking=Masking(hidden, b"key" * 11))
    return data


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_an_autoencoder_of_pictures_obeys_the_laws_and_shows_what_comes_back(kind: type) -> None:
    pixels, _ = crosses(60, 12)
    scaled = pixels if kind is np.uint8 else (pixels / 255 - 0.5).astype(np.float32)
    data = pictures_of(scaled)
    fitted = check_model(Autoencoder(size=4, epochs=1, precision="float32"), data, rows=60)
    shown = fitted.summary["restored"]
    assert len(shown) == min(6, fitted.summary["held_out_rows"])
    assert [one["error"] for one in shown] == sorted(one["error"] for one in shown)
    held = np.array(Image.open(io.BytesIO(base64.b64decode(shown[0]["before"]["data"].split(",")[1]))))
    if kind is np.uint8:  # a PNG as another library reads it: one of the pictures, to the pixel
        assert (held == pixels[..., 0]).all(axis=(1, 2)).any()
    assert held.shape == (12, 12)


def test_sensitive_pictures_are_not_shown() -> None:
    pixels, _ = crosses(60, 12)
    fitted = Autoencoder(size=4, epochs=1).train(pictures_of(pixels, hidden=("picture",)))
    assert "restored" not in fitted.summary


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("model", "rows"),
    [(KMeans(clusters=5), 4), (KMeans(), 0), (PCA(), 1), (IsolationForest(), 1), (Autoencoder(), 3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_too_few_rows_are_refused_in_words(model, rows: int):
    with pytest.raises(DataError, match="too few rows"):
        model.train(data_of(np.ones((rows, 2)), model.task))


def test_more_components_than_there_are_is_refused():
    with pytest.raises(UsageError, match="at most 3"):
        PCA(components=4).train(data_of(low_rank(50)[:, :3], "decomposition"))


@pytest.mark.parametrize("model", [PCA(), IsolationForest()], ids=lambda model: model.name)
def test_weights_are_refused_where_every_row_counts_alike(model):
    with pytest.raises(UsageError, match="takes no weights"):
        model.train(data_of(low_rank(50), model.task, weights=np.ones(50)))


@pytest.mark.parametrize("model", [KMeans(), PCA(), IsolationForest(), Autoencoder()], ids=lambda model: model.name)
def test_what_does_not_fit_in_memory_is_refused(model):
    with pytest.raises(ResourceError, match="does not fit in memory"):
        model.train(data_of(low_rank(100), model.task, memory=2**20))


@pytest.mark.parametrize("model", [KMeans(clusters=3), PCA(), IsolationForest(trees=5), Autoencoder(epochs=1)])
def test_numbers_beyond_all_others_and_missing_ones_are_no_trouble(model):
    rows = low_rank(200)
    rows[0, 0], rows[1, 1], rows[2, 2], rows[3] = np.nan, np.inf, -np.inf, 1e30
    rows[:, 9] = np.nan  # all null, as it would come without an imputation
    check_model(model, data_of(rows, model.task), rows=100)


def test_arguments_out_of_their_range_are_refused_by_name():
    check_refusals(KMeans, {"clusters": 0, "tries": 0, "epochs": -1, "batch_rows": "x", "max_rows": 0})
    check_refusals(PCA, {"components": 1.0, "batch_rows": 1, "max_categories": 0, "max_tokens": None})
    check_refusals(IsolationForest, {"trees": 0, "tree_rows": 1, "contamination": 0.6})
    wrong = {"size": 0, "hidden": (0,), "activation": "step", "noise": -1, "validation_share": 0, "precision": "half"}
    check_refusals(Autoencoder, {**wrong, "learning_rate": 0, "epochs": 0, "batch_rows": 0, "patience": 0})
    check_refusals(PCA, {"components": 0})


# ---------------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    ("model", "kind", "array", "value"),
    [
        (KMeans(clusters=2), FittedKMeans, "centers", np.nan),
        (PCA(), FittedPCA, "mean", np.inf),
        (IsolationForest(trees=2), FittedIsolationForest, "left", 0),
        (IsolationForest(trees=2), FittedIsolationForest, "feature", 99),
        (IsolationForest(trees=2), FittedIsolationForest, "right", 1e9),
    ],
)
def test_arrays_that_lead_nowhere_are_refused(model, kind, array: str, value: float, tmp_path: Path):
    from penstock.models.arrays_file import write_arrays

    fitted = model.train(data_of(low_rank(100), model.task))
    fitted.save(tmp_path)
    (path,) = tmp_path.glob("*.arrow")
    names = {"centers.arrow": ("centers", "mean"), "components.arrow": ("components", "mean")}.get(path.name)
    arrays = {name: getattr(fitted, name) for name in names} if names else {**fitted.trees, "mean": fitted.mean}
    arrays.pop("unit", None)
    wrong = np.array(arrays[array])
    wrong[-1] = value
    write_arrays(path, {**arrays, array: wrong})
    with pytest.raises(ArtifactError, match="damaged"):
        kind.load(tmp_path)


def test_a_description_of_other_features_is_refused(tmp_path: Path):
    PCA(components=2).train(data_of(low_rank(50), "decomposition")).save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_bytes())
    described["features"] = described["features"][:-1] if isinstance(described["features"], list) else {}
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(ArtifactError):
        FittedPCA.load(tmp_path)
