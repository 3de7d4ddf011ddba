"""scikit-learn's estimators as models: the same as scikit-learn's own, saved without code, refused with a reason."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC
from training_table import Heard, TableData, batch_of_table, codes, mixed, number

import penstock as ps
from penstock.errors import ArtifactError, DataError, ResourceError, SchemaError, UsageError
from penstock.model import Target
from penstock.models.sklearn_estimators import ESTIMATORS, NAMES
from penstock.models.sklearn_matrix import PREDICT_ROWS, Matrices
from penstock.models.sklearn_model import FittedSklearn, Sklearn
from penstock.models.splits import validation_mask
from penstock.registry import model_named
from penstock.resources import held
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.testing.models import check_model
from penstock.vectors import as_sparse

QUICK: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 5},
    "extra_trees": {"n_estimators": 5},
    "gradient_boosting": {"n_estimators": 5},
    "ada_boost": {"n_estimators": 5},
    "hist_gradient_boosting": {"max_iter": 5},
    "mlp": {"hidden_layer_sizes": [10], "learning_rate_init": 0.01},
    "linear_svm": {"max_iter": 5000},
    "quadratic_discriminant_analysis": {"reg_param": 0.1},
}
TARGETS = {
    "binary": Target("y", "binary", ("no", "yes")),
    "multiclass": Target("y", "multiclass", ("a", "b", "c")),
    "regression": Target("y", "regression"),
}


def data(task: str, rows: int = 400, **settings: Any) -> TableData:
    table, schema, signal = mixed(rows)
    labels = {"binary": signal > 0, "multiclass": np.digitize(signal, [-0.7, 0.7]), "regression": signal * 5 + 100}
    return TableData(table, schema, TARGETS[task], labels[task], **settings)


def quick(name: str, **settings: Any) -> Sklearn:
    if ESTIMATORS[name].epochs > 1:
        settings = {"epochs": 15, "batch_rows": 64, **settings}
    return Sklearn(name, QUICK.get(name, {}), **settings)  # type: ignore[arg-type]


def plain(data: TableData) -> np.ndarray:
    """The features as scikit-learn would be given them by hand: 0 for missing."""
    return np.nan_to_num(np.column_stack([data.table().column(n).to_numpy() for n in data.schema.names]).astype(float))


PAIRS = [
    (name, task)
    for place, name in enumerate(NAMES)
    for task in ("multiclass" if place % 2 else "binary", "regression")
    if ESTIMATORS[name].class_name(task)  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_every_estimator_obeys_the_laws_of_a_model(name: str, task: str) -> None:
    check_model(quick(name), data(task, 250), rows=150)


# ---------------------------------------------------------------------- the same as by hand


def test_a_logistic_regression_is_scikit_learns() -> None:
    rows = data("binary")
    features = plain(rows)
    expected = LogisticRegression(C=0.3, random_state=0).fit(features, rows.labels()).predict_proba(features)[:, 1]
    found = Sklearn("logistic_regression", {"C": 0.3}).train(rows).predict(batch_of_table(rows.table()))
    np.testing.assert_allclose(found.column("probability_yes").to_numpy(), expected, rtol=1e-12)


def test_a_ridge_is_scikit_learns_and_its_target_is_in_its_own_unit() -> None:
    rows = data("regression")
    expected = Ridge(alpha=2.0).fit(plain(rows), rows.labels()).predict(plain(rows))
    found = Sklearn("ridge", {"alpha": 2.0}).train(rows).predict(batch_of_table(rows.table()))
    np.testing.assert_allclose(found.column("prediction").to_numpy(), expected, rtol=1e-12)


def test_scores_become_probabilities_as_scikit_learn_calibrates_a_frozen_estimator() -> None:
    rows = data("multiclass")
    features, labels = plain(rows), rows.labels()
    held = validation_mask(rows.hashes(), 0.3)
    frozen = FrozenEstimator(LinearSVC(random_state=0).fit(features[~held], labels[~held]))
    expected = CalibratedClassifierCV(frozen, method="sigmoid").fit(features[held], labels[held])
    found = Sklearn("linear_svm", calibration_share=0.3).train(rows).predict(batch_of_table(rows.table()))
    shares = np.column_stack([found.column(f"probability_{label}").to_numpy() for label in "abc"])
    np.testing.assert_allclose(shares, expected.predict_proba(features), rtol=1e-9)


def test_batch_by_batch_is_scikit_learns_partial_fit_on_the_same_batches() -> None:
    rows = data("binary")
    by_hand = SGDClassifier(loss="log_loss", random_state=0)
    for epoch in range(3):
        for batch in rows.epoch(epoch, 64):
            by_hand.partial_fit(np.nan_to_num(batch.features.astype(float)), batch.labels, classes=[0, 1])
    fitted = Sklearn("sgd", {"loss": "log_loss"}, epochs=3, batch_rows=64).train(rows)
    found = fitted.predict(batch_of_table(rows.table())).column("probability_yes").to_numpy()
    np.testing.assert_allclose(found, by_hand.predict_proba(plain(rows))[:, 1], rtol=1e-9, atol=1e-12)


def test_naive_bayes_batch_by_batch_is_that_of_all_rows() -> None:
    from sklearn.naive_bayes import GaussianNB

    rows = data("multiclass")
    features = plain(rows).astype(np.float32).astype(float)
    expected = GaussianNB().fit(features, rows.labels()).predict_proba(plain(rows))
    found = Sklearn("gaussian_naive_bayes", batch_rows=50).train(rows).predict(batch_of_table(rows.table()))
    shares = np.column_stack([found.column(f"probability_{label}").to_numpy() for label in "abc"])
    np.testing.assert_allclose(shares, expected, rtol=1e-6, atol=1e-9)


def test_weights_of_rows_and_classes_are_sample_weights() -> None:
    weights = np.random.default_rng(1).uniform(0.1, 4, 400)
    rows = data("binary", weights=weights)
    by_class = np.array([1.0, 3.0])[rows.labels()]
    expected = LogisticRegression().fit(plain(rows), rows.labels(), weights / weights.mean() * by_class)
    found = Sklearn("logistic_regression", class_weight={"yes": 3.0}).train(rows).predict(batch_of_table(rows.table()))
    shares = found.column("probability_yes").to_numpy()
    np.testing.assert_allclose(shares, expected.predict_proba(plain(rows))[:, 1], rtol=1e-9)


@pytest.mark.parametrize("name", ["k_nearest_neighbors", "linear_discriminant_analysis"])
def test_weights_are_refused_where_the_estimator_takes_none(name: str) -> None:
    with pytest.raises(UsageError, match="takes no weights"):
        quick(name, class_weight="balanced").train(data("binary"))
    with pytest.raises(UsageError, match="a column of weights"):
        quick(name).train(data("binary", weights=np.ones(400)))


# ---------------------------------------------------------------------- vectors


def words(rows: int = 500) -> tuple[TableData, pa.Table, np.ndarray]:
    random = np.random.default_rng(0)
    matrix = (random.random((rows, 40)) < 0.1) * random.uniform(0.5, 2, (rows, 40))
    labels = (matrix[:, 3] + matrix[:, 7] > 0).astype(int)
    table = pa.table({"x": random.normal(size=rows), "words": as_sparse(matrix), "z": random.normal(size=rows)})
    schema = Schema((number("x"), Field("words", SPARSE, Role.vector, width=40), number("z")))
    return TableData(table, schema, TARGETS["binary"], labels), table, matrix


@pytest.mark.parametrize(
    "name", ["logistic_regression", "sgd", "svm", "random_forest", "hist_gradient_boosting", "mlp"]
)
def test_vectors_go_in_beside_numbers(name: str) -> None:
    rows, table, matrix = words()
    fitted = quick(name).train(rows)
    probability = fitted.predict(batch_of_table(table)).column("probability_yes").to_numpy()
    assert roc_auc_score(rows.labels(), probability) > 0.8
    assert len(matrix) == len(probability)


@pytest.mark.parametrize("name", ["multinomial_naive_bayes", "k_nearest_neighbors", "quadratic_discriminant_analysis"])
def test_the_laws_hold_for_vectors(name: str) -> None:
    check_model(quick(name), words(300)[0], rows=300)


def test_vectors_stay_sparse_where_the_estimator_takes_them_so() -> None:
    rows, table, matrix = words()
    batch = batch_of_table(table).columns
    dense = Matrices(ESTIMATORS["gaussian_naive_bayes"], rows.schema).of(batch)
    sparse = Matrices(ESTIMATORS["logistic_regression"], rows.schema).of(batch)
    assert isinstance(dense, np.ndarray) and sparse.nnz < dense.size / 5
    np.testing.assert_array_equal(sparse.toarray(), dense)
    np.testing.assert_array_equal(dense[:, 1:41], matrix.astype(np.float32))


# ---------------------------------------------------------------------- rows


@pytest.mark.parametrize("name", ["logistic_regression", "k_nearest_neighbors", "mlp", "svm"])
def test_a_row_has_the_same_bits_wherever_it_stands(name: str) -> None:
    rows = data("binary", 700)
    fitted = quick(name).train(rows)
    batch = batch_of_table(rows.table())
    whole = fitted.predict(batch).column("probability_yes").to_numpy()
    for start in (1, 2, 3, 17, 64, PREDICT_ROWS - 1, PREDICT_ROWS + 1):
        part = fitted.predict(batch.slice(start, len(batch) - start)).column("probability_yes").to_numpy()
        assert part.tobytes() == whole[start:].tobytes()


@pytest.mark.parametrize("name", ["random_forest", "k_nearest_neighbors", "mlp"])
def test_predicting_on_many_threads_at_once_gives_the_same_bits(name: str) -> None:
    rows = data("binary", 1200)
    fitted = quick(name).train(rows)
    batches = [batch_of_table(rows.table(), start, 200) for start in range(0, 1200, 200)]
    alone = [fitted.predict(batch).column("probability_yes").to_pylist() for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda batch: fitted.predict(batch).column("probability_yes").to_pylist(), batches))
    assert together == alone


def test_a_class_that_no_row_learned_from_has_probability_zero() -> None:
    table, schema, signal = mixed(300)
    labels = np.where(signal > 0, 2, 0)
    fitted = Sklearn("random_forest", {"n_estimators": 3}).train(
        TableData(table, schema, Target("y", "multiclass", ("a", "b", "c")), labels)
    )
    assert set(fitted.predict(batch_of_table(table)).column("probability_b").to_pylist()) == {0.0}


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("random_forest", {"trees": 5}, "no such parameter"),
        ("random_forest", {"n_estimator": 5}, "did you mean 'n_estimators'"),
        ("random_forest", {"n_estimators": "many"}, "out of its range"),
        ("random_forest", {"n_estimators": float("inf")}, "not a plain value"),
        ("random_forest", {"criterion": print}, "not a plain value"),
        ("random_forest", {"random_state": 1}, "seed of the pipeline"),
        ("random_forest", {"n_jobs": 4}, "--cores"),
        ("random_forest", {"class_weight": "balanced"}, "class_weight to the model"),
        ("ada_boost", {"estimator": "svm"}, "tree of depth 1"),
        ("sgd", {"max_iter": 5}, "epochs of the model"),
        ("passive_aggressive", {"learning_rate": "constant"}, "no such parameter"),
        ("svm", {"kernel": "magic"}, "out of its range"),
        ("logistic_regression", {"C": -1}, "out of its range"),
        ("logistic_regression", {"": 1}, "no such parameter"),
    ],
)
def test_parameters_are_checked_when_the_definition_is_made(name: Any, parameters: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sklearn(name, parameters)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "forest"}, "no estimator of this name"),
        ({"estimator": None}, "no estimator of this name"),
        ({"estimator": "LogisticRegression"}, "did you mean 'logistic_regression'"),
        ({"estimator": "RandomForestRegressor"}, "did you mean 'random_forest'"),
        ({"estimator": "desicion_tree"}, "did you mean 'decision_tree'"),
        ({"parameters": [1]}, "not parameters"),
        ({"epochs": 3}, "learns from all rows at once"),
        ({"batch_rows": 3}, "learns from all rows at once"),
        ({"estimator": "gaussian_naive_bayes", "epochs": 2}, "in one pass"),
        ({"estimator": "sgd", "epochs": 0}, "epochs"),
        ({"class_weight": "often"}, "class_weight"),
        ({"calibration_share": 0.0}, "calibration_share"),
        ({"max_categories": 0}, "max_categories"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_rows": 0}, "max_rows"),
    ],
)
def test_arguments_are_checked_when_the_definition_is_made(settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sklearn(**{"estimator": "random_forest", **settings})


def test_a_share_for_calibration_is_refused_where_there_are_probabilities() -> None:
    with pytest.raises(UsageError, match="probabilities of its own"):
        Sklearn("random_forest", calibration_share=0.2).train(data("binary"))


def test_a_pipeline_names_the_estimator_in_short_and_a_missing_name_is_told() -> None:
    assert model_named("sklearn:random_forest") == Sklearn("random_forest")
    with pytest.raises(UsageError, match="sklearn:NAME"):
        model_named("sklearn")


@pytest.mark.parametrize(("name", "task"), [("lasso", "binary"), ("gaussian_naive_bayes", "regression")])
def test_an_estimator_of_the_other_task_is_refused(name: str, task: str) -> None:
    with pytest.raises(UsageError, match=r"predicts (classes|numbers)"):
        quick(name).train(data(task))


def test_parameters_of_every_kind_can_be_saved() -> None:
    for name, parameters in [
        ("sgd", {"loss": "huber"}),
        ("sgd", {"loss": "modified_huber", "average": True}),
        ("mlp", {"hidden_layer_sizes": (5, 5), "solver": "sgd"}),
        ("k_nearest_neighbors", {"algorithm": "ball_tree", "metric": "manhattan"}),
        ("k_nearest_neighbors", {"algorithm": "brute", "metric": "cosine"}),
        ("svm", {"kernel": "poly", "degree": 2}),
        ("gradient_boosting", {"loss": "exponential", "n_estimators": 3, "init": "zero"}),
        ("hist_gradient_boosting", {"max_iter": 3, "monotonic_cst": [0, 1, 0, 0]}),
    ]:
        fitted = Sklearn(name, parameters).train(data("binary", 200))  # type: ignore[arg-type]
        assert fitted.learned is not None


def test_numbers_are_predicted_with_other_losses() -> None:
    for name, parameters in [
        ("hist_gradient_boosting", {"max_iter": 3, "loss": "poisson"}),
        ("hist_gradient_boosting", {"max_iter": 3, "loss": "absolute_error"}),
        ("gradient_boosting", {"n_estimators": 3, "loss": "huber"}),
        ("sgd", {"loss": "huber"}),
    ]:
        fitted = Sklearn(name, parameters).train(data("regression", 200))  # type: ignore[arg-type]
        values = fitted.predict(batch_of_table(data("regression", 200).table())).column("prediction").to_numpy()
        assert 50 < values.mean() < 150


# ---------------------------------------------------------------------- data that can't be learned from


def test_what_scikit_learn_refuses_is_told_in_our_words() -> None:
    with pytest.raises(DataError, match="can't learn from this"):
        Sklearn("k_nearest_neighbors", {"metric": "precomputed"}).train(data("binary"))


def test_infinite_values_are_refused_in_words() -> None:
    table = pa.table({"x": np.array([1.0, 2.0, np.inf, 3.0] * 20)})
    rows = TableData(table, Schema((number("x"),)), TARGETS["binary"], np.tile([0, 1], 40))
    with pytest.raises(DataError, match="infinity"):
        Sklearn("logistic_regression").train(rows)


def test_values_beyond_float32_are_on_their_side_of_a_trees_thresholds() -> None:
    x = np.concatenate([np.linspace(-1, 1, 100), [1e300, -1e300]])
    rows = TableData(pa.table({"x": x}), Schema((number("x"),)), TARGETS["binary"], x > 0)
    found = Sklearn("decision_tree").train(rows).predict(batch_of_table(rows.table()))
    assert found.column("prediction").to_pylist() == ["yes" if value > 0 else "no" for value in x]


def test_infinite_values_are_refused_in_words_when_predicted_too() -> None:
    rows = TableData(pa.table({"x": np.arange(80.0)}), Schema((number("x"),)), TARGETS["binary"], np.tile([0, 1], 40))
    fitted = Sklearn("logistic_regression").train(rows)
    with pytest.raises(DataError, match="can't predict"):
        fitted.predict(batch_of_table(pa.table({"x": [1.0, np.inf]})))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_refused(rows: int) -> None:
    with pytest.raises(DataError):
        Sklearn("linear_svm").train(data("binary", rows))


def test_warnings_of_scikit_learn_are_told() -> None:
    heard = Heard()
    Sklearn("logistic_regression", {"max_iter": 1}).train(data("binary", listener=heard))
    assert any("converge" in note.text for note in heard.notes)


def test_more_than_fits_in_memory_is_refused_with_the_rows_that_fit() -> None:
    with pytest.raises(ResourceError, match="--max-rows"):
        table = pa.table({"x": np.zeros(2_000_000)})
        rows = TableData(table, Schema((number("x"),)), TARGETS["binary"], np.zeros(2_000_000), memory=held() + 2**29)
        rows._labels[:5] = 1
        Sklearn("random_forest").train(rows)


def test_codes_of_categories_are_for_trees_alone() -> None:
    schema = Schema((codes("letter", ["a", "b"]),))
    with pytest.raises(SchemaError, match="codes"):
        Sklearn("logistic_regression").steps(schema)
    assert [step.name for step in Sklearn("random_forest").steps(schema)] == ["select"]


def test_steps_follow_the_encoding() -> None:
    schema = Schema((number("x"), Field("c", pa.string(), Role.category), Field("b", pa.bool_(), Role.boolean)))
    assert [step.name for step in Sklearn("ridge").steps(schema)] == [
        "select",
        "cast",
        "impute",
        "standardize",
        "one_hot",
    ]
    assert [step.name for step in Sklearn("random_forest").steps(schema)] == ["select", "cast", "one_hot"]
    assert "min_max" in [step.name for step in Sklearn("multinomial_naive_bayes").steps(schema)]
    with pytest.raises(SchemaError, match="no feature"):
        Sklearn("ridge").steps(Schema((Field("t", pa.string(), Role.key),)))
    dated = Schema((Field("t", pa.timestamp("us"), Role.time), Field("w", pa.string(), Role.text)))
    assert [step.name for step in Sklearn("ridge").steps(dated)][-1] == "tfidf"
    assert "standardize" in [step.name for step in Sklearn("ridge").steps(dated)]


# ---------------------------------------------------------------------- files


def saved(folder: Path, name: str = "random_forest", task: str = "binary") -> Path:
    quick(name).train(data(task)).save(folder)
    return folder / "estimator.skops"


def rewritten(path: Path, change: Any) -> None:
    """The zip with its tree changed."""
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    tree = json.loads(parts["schema.json"])
    change(tree, parts)
    parts["schema.json"] = json.dumps(tree).encode()
    with zipfile.ZipFile(path, "w") as out:
        for name, content in parts.items():
            out.writestr(name, content)


def test_a_type_beyond_the_list_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = saved(tmp_path)

    def change(tree: Any, parts: Any) -> None:
        tree["content"]["content"]["verbose"] = {
            "__class__": "Popen",
            "__module__": "subprocess",
            "__loader__": "ObjectNode",
            "__id__": 99999,
            "content": None,
        }

    rewritten(path, change)
    with pytest.raises(ArtifactError, match=r"subprocess\.Popen"):
        FittedSklearn.load(tmp_path)


@pytest.mark.parametrize("loader", ["FunctionNode", "MethodNode", "PartialNode", "OperatorFuncNode"])
def test_a_node_that_would_call_something_is_refused(tmp_path: Path, loader: str) -> None:
    path = saved(tmp_path)
    rewritten(path, lambda tree, parts: tree["content"]["content"]["verbose"].update(__loader__=loader))
    with pytest.raises(ArtifactError, match=loader):
        FittedSklearn.load(tmp_path)


def test_a_tree_that_leads_outside_itself_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)

    def change(tree: Any, parts: Any) -> None:
        for name, content in parts.items():
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(content), allow_pickle=False)
                if array.dtype.names and "left_child" in array.dtype.names:
                    array = array.copy()
                    array["left_child"][0] = 10**6
                    out = io.BytesIO()
                    np.save(out, array)
                    parts[name] = out.getvalue()
                    return
        raise AssertionError("no tree was found")

    rewritten(path, change)
    with pytest.raises(ArtifactError, match="outside"):
        FittedSklearn.load(tmp_path)


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for broken in (b"", whole[:100], whole[: len(whole) // 2], b"PK" + whole[3:]):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match="damaged"):
            FittedSklearn.load(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match="damaged"):
        FittedSklearn.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("estimator", "os.system", "estimator"),
        ("estimator", "lasso", "lasso of the task"),
        ("estimator", "ridge", "types that it is not made of"),
        ("scale", 0.0, "scale"),
        ("scikit-learn", "0.1.0", "another version"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    saved(tmp_path)
    path = tmp_path / "model.json"
    described = json.loads(path.read_bytes())
    described["own"][key] = value
    path.write_text(json.dumps(described))
    with pytest.raises(ArtifactError, match=message):
        FittedSklearn.load(tmp_path)


# ---------------------------------------------------------------------- from a file


@pytest.mark.parametrize("name", ["random_forest", "multinomial_naive_bayes", "passive_aggressive"])
def test_a_whole_pipeline_is_trained_saved_and_opened(name: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, color = random.normal(size=600), random.choice(["red", "blue", ""], 600)
    sold = np.where(x + (color == "red") + random.normal(size=600) * 0.3 > 0.3, "yes", "no")
    lines = [
        f"{value if place % 7 else ''},{word},{label}"
        for place, (value, word, label) in enumerate(zip(x, color, sold, strict=True))
    ]
    (tmp_path / "data.csv").write_text("x,color,sold\n" + "\n".join(lines) + "\n")
    fitted = ps.Pipeline(model=quick(name), target="sold").fit(tmp_path / "data.csv")
    fitted.save(tmp_path / "model")
    again = ps.load(tmp_path / "model")
    metrics = again.evaluate(tmp_path / "data.csv").metrics
    assert metrics["roc_auc"] > 0.7
    assert metrics == fitted.evaluate(tmp_path / "data.csv").metrics
    assert roc_auc_score(sold == "yes", x) < 1  # the task is not trivial
