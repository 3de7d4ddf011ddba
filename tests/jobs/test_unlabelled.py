"""Training without a target by the jobs that train with one: what comes of it, and what is refused with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA as BatchPCA  # noqa: N811
from sklearn.metrics import adjusted_rand_score, silhouette_score

import penstock as ps
from penstock.cli import run as command
from penstock.errors import DataError, PenstockError, SchemaError, UsageError
from penstock.report.document import of_folder

SHAPES = Path(__file__).parents[2] / "examples" / "data" / "shapes"
CENTERS = np.array([[0, 0, 0], [9, 0, 3], [0, 9, -4]], float)


def table(rows: int = 400, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    groups = random.integers(0, 3, rows)
    x = CENTERS[groups] + random.normal(size=(rows, 3))
    columns = {name: pa.array(column) for name, column in zip("abc", x.T, strict=True)}
    return pa.table({**columns, "truth": pa.array([f"t{group}" for group in groups])})


def features(rows: int = 400, seed: int = 0) -> pa.Table:
    return table(rows, seed).drop_columns(["truth"])


def standardized(rows: pa.Table) -> np.ndarray:
    """As the default steps do, by the moments of these rows."""
    x = np.column_stack([rows.column(name).to_numpy() for name in "abc"])
    return (x - x.mean(axis=0)) / x.std(axis=0)


def test_clusters_are_the_groups_that_rows_were_drawn_from(tmp_path: Path) -> None:
    fitted = ps.Pipeline(model=ps.KMeans(), holdout=0.2).fit(features(), to=tmp_path / "model")
    assert fitted.summary["model"]["clusters"] == 3
    assert fitted.summary["evaluation"]["metrics"]["silhouette"] > 0.6
    again = ps.load(tmp_path / "model")
    found = again.predict(table(200, seed=1), keep=["truth"])
    assert found.column_names == ["truth", "prediction", "distance"]
    assert adjusted_rand_score(found["truth"].to_pylist(), found["prediction"].to_pylist()) > 0.98
    assert "without a target" in repr(again)
    assert "explanation" not in again.summary


def test_the_silhouette_is_scikit_learns() -> None:
    fitted = ps.Pipeline(model=ps.KMeans(clusters=3)).fit(features())
    evaluation = fitted.evaluate(features())
    codes = fitted.predict(features())["prediction"].to_pylist()
    expected = silhouette_score(standardized(features()), codes)
    assert evaluation.metrics["silhouette"] == pytest.approx(expected, abs=1e-6)
    distances = fitted.predict(features())["distance"].to_numpy()
    assert evaluation.metrics["inertia"] == pytest.approx(float(np.sum(distances**2)))
    groups = evaluation.details["without_target"]["groups"]
    assert [one["rows"] for one in groups] == [codes.count(str(place)) for place in range(3)]


def test_the_explained_variance_of_rows_that_were_not_seen_is_that_of_their_errors() -> None:
    fitted = ps.Pipeline(model=ps.PCA(components=2)).fit(features())
    unseen = features(300, seed=5)
    x = np.column_stack([features().column(name).to_numpy() for name in "abc"])
    y = (np.column_stack([unseen.column(name).to_numpy() for name in "abc"]) - x.mean(axis=0)) / x.std(axis=0)
    batch = BatchPCA(2).fit(standardized(features()))
    left = y - batch.inverse_transform(batch.transform(y))
    found = fitted.evaluate(unseen).metrics
    assert found["explained_variance"] == pytest.approx(1 - np.sum(left**2) / np.sum(y**2), rel=1e-5)
    assert found["reconstruction_error"] == pytest.approx(np.mean(left**2), rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [ps.KMeans(clusters=2), ps.PCA(), ps.IsolationForest(trees=5), ps.Autoencoder(epochs=2, size=2)],
    ids=lambda model: model.name,
)
def test_every_one_trains_is_judged_predicts_and_has_a_page(model, tmp_path: Path) -> None:
    rows = table(300).append_column("when", pa.array(np.arange(300) * 86_400_000_000, pa.timestamp("us")))
    with_gaps = rows.set_column(0, "a", pa.array(rows["a"].to_numpy(), mask=np.arange(300) % 7 == 0))
    empty = with_gaps.append_column("nothing", pa.nulls(300, pa.float64()))
    fitted = ps.Pipeline(model=model, holdout=0.1).fit(empty, to=tmp_path / "model")
    assert fitted.target.task == model.task
    found = ps.load(tmp_path / "model").predict(empty)
    assert found.num_rows == 300
    assert not any(column.null_count for column in found.columns)
    document = of_folder(tmp_path / "model")
    assert 'id="found"' in (tmp_path / "model.run" / "report.html").read_text("utf-8")
    assert json.dumps(document["evaluation"]["metrics"])
    same = ps.Pipeline(model=model, holdout=0.1).fit(empty, cores=1)
    assert same.predict(empty).equals(found)


def test_an_autoencoder_gives_its_few_numbers_as_features(tmp_path: Path) -> None:
    fitted = ps.Pipeline(model=ps.Autoencoder(size=2, epochs=2)).fit(features())
    found = fitted.predict(features(), output="features")
    assert found.column_names == ["feature_0", "feature_1"]
    with pytest.raises(UsageError, match="no hidden layer"):
        ps.Pipeline(model=ps.KMeans(clusters=2)).fit(features()).predict(features(), output="features")


def test_an_autoencoder_learns_from_pictures(tmp_path: Path) -> None:
    steps = [ps.DecodePicture("picture", size=12, channels=1)]
    fitted = ps.Pipeline(steps, ps.Autoencoder(epochs=2, size=4), holdout=0.2).fit(SHAPES, to=tmp_path / "model")
    found = ps.load(tmp_path / "model").predict(SHAPES)
    assert found.column_names[-2:] == ["reconstruction_error", "anomaly_score"]
    assert fitted.evaluate(SHAPES).rows == 60
    with pytest.raises(SchemaError, match="--model autoencoder learns from pictures"):
        ps.Pipeline(steps, ps.KMeans()).fit(ps.read(SHAPES, roles={"label": "ignored"}))


def test_what_can_not_be_done_without_a_target_is_refused_with_a_remedy() -> None:
    rows = table()
    with pytest.raises(UsageError, match=r"learns without a target[\s\S]*--roles truth=ignored"):
        ps.Pipeline(model=ps.KMeans(), target="truth").fit(rows)
    for pipeline in (ps.Pipeline(), ps.Pipeline(model=ps.Linear()), ps.Pipeline(model=ps.Auto())):
        with pytest.raises(UsageError, match="autoencoder, isolation_forest, kmeans, pca"):
            pipeline.fit(rows)
    with pytest.raises(UsageError, match="costs"):
        ps.Pipeline(model=ps.KMeans(), costs={"a": {"b": 2.0}}).fit(rows)
    with pytest.raises(PenstockError, match="kmeans"):
        ps.Pipeline(model=ps.Auto(candidates=("kmeans",)), target="truth").fit(rows)
    fitted = ps.Pipeline(model=ps.PCA()).fit(features())
    with pytest.raises(UsageError, match="--by"):
        fitted.evaluate(rows, by=["truth"])
    with pytest.raises(UsageError, match="no prediction of a target"):
        fitted.explain(features())
    with pytest.raises(UsageError, match="can't tell what moved"):
        fitted.predict(features(), explain=True)
    with pytest.raises(UsageError, match="can't be taken further"):
        fitted.update(features())


def test_values_of_a_sensitive_column_are_not_told() -> None:
    for model in (ps.KMeans(clusters=3), ps.PCA(components=3)):
        told = json.dumps(ps.Pipeline(model=model, holdout=0.1, sensitive=["truth"]).fit(table()).summary["model"])
        assert '"truth"' in told
        assert "t0" not in told


def test_no_rows_are_refused_in_words() -> None:
    with pytest.raises(DataError):
        ps.Pipeline(model=ps.KMeans()).fit(features().slice(0, 0))
    fitted = ps.Pipeline([ps.RejectMissing("a", when_predicting=True)], ps.PCA()).fit(features())
    unreadable = features(20).set_column(0, "a", pa.nulls(20, pa.float64()))
    with pytest.raises(DataError, match="no row could be judged"):
        fitted.evaluate(unreadable, max_rejected=1.0)


def test_the_command_line_takes_the_number_of_clusters_and_says_what_to_do_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(features(), tmp_path / "rows.parquet")
    (tmp_path / "p.yaml").write_text("model:\n  pca: {components: 0.5}\nseed: 3\n")

    def run(*words: str) -> tuple[int, str]:
        code = command(["train", str(tmp_path / "rows.parquet"), *words, "--to", str(tmp_path / words[-1]), "--json"])
        said = capsys.readouterr()
        return code, said.out or said.err

    code, told = run("--model", "kmeans:5")
    assert (code, json.loads(told)["model"]["clusters"]) == (0, 5)
    code, told = run("--config", str(tmp_path / "p.yaml"), "--seed", "3")
    assert (code, json.loads(told)["model"]["components"]) == (0, 1)
    code, told = run("--holdout", "0")
    assert code == 2
    assert "autoencoder, isolation_forest, kmeans, pca" in told
    assert not (tmp_path / "0").exists()
