"""Linear models: as good as scikit-learn's solvers that see all rows at once, and clear when refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import datasets, metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from training_table import Heard, TableData, batch_of_table, mixed, number

from penstock.errors import ArtifactError, DataError, ResourceError, SchemaError, UsageError
from penstock.model import Target
from penstock.models.linear import FittedLinear, Linear
from penstock.resources import held
from penstock.schema import Field, Role, Schema
from penstock.testing.models import check_refusals
from penstock.testing.steps import batch_of, fit_step, run_step

YES_NO = Target("y", "binary", ("no", "yes"))


def table_of(matrix: np.ndarray) -> tuple[pa.Table, Schema]:
    names = [f"x{place}" for place in range(matrix.shape[1])]
    table = pa.table([pa.array(column) for column in np.ascontiguousarray(matrix.T)], names=names)
    return table, Schema(tuple(number(name) for name in names))


def standard(matrix: np.ndarray) -> np.ndarray:
    spread = matrix.std(axis=0)
    return (matrix - matrix.mean(axis=0)) / np.where(spread > 0, spread, 1)


def correlated(rows: int, seed: int = 0) -> np.ndarray:
    """Twelve features, neighbours correlated at 0.7, and eight indicators of one category."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(rows, 13))
    numbers = 0.7**0.5 * shared[:, 1:] + 0.3**0.5 * shared[:, :-1]
    return np.column_stack([standard(numbers), np.eye(8)[random.choice(8, rows, p=np.arange(1, 9) / 36)]])


def shares(fitted: FittedLinear, table: pa.Table) -> np.ndarray:
    out = fitted.predict(batch_of_table(table))
    return np.column_stack([out.column(f"probability_{label}").to_numpy() for label in fitted.target.classes])


def test_two_classes_are_ranked_as_well_as_by_a_solver_of_all_rows() -> None:
    matrix = correlated(12_000)
    random = np.random.default_rng(1)
    label = matrix @ random.normal(size=20) + random.logistic(size=12_000) * 1.5 > 0
    table, schema = table_of(matrix)
    fitted = Linear().train(TableData(table.slice(0, 8000), schema, YES_NO, label[:8000]))
    solver = LogisticRegression().fit(matrix[:8000], label[:8000])
    theirs = solver.predict_proba(matrix[8000:])[:, 1]
    ours = shares(fitted, table.slice(8000))[:, 1]
    difference = metrics.roc_auc_score(label[8000:], ours) - metrics.roc_auc_score(label[8000:], theirs)
    assert abs(difference) < 0.003
    assert metrics.log_loss(label[8000:], ours) < 1.01 * metrics.log_loss(label[8000:], theirs)


def test_numbers_are_predicted_as_well_as_by_least_squares() -> None:
    matrix = correlated(12_000)
    random = np.random.default_rng(2)
    target = 1e5 + 300 * (matrix @ random.normal(size=20)) + random.normal(size=12_000) * 500
    table, schema = table_of(matrix)
    fitted = Linear().train(TableData(table.slice(0, 8000), schema, Target("y", "regression"), target[:8000]))
    solver = LinearRegression().fit(matrix[:8000], target[:8000])
    ours = fitted.predict(batch_of_table(table, 8000)).column("prediction").to_numpy()
    error = metrics.root_mean_squared_error(target[8000:], ours)
    assert error < 1.01 * metrics.root_mean_squared_error(target[8000:], solver.predict(matrix[8000:]))
    assert fitted.summary["held_out"]["rmse"] == pytest.approx(error, rel=0.1)


def test_many_classes_are_told_as_well_as_by_a_solver_of_all_rows() -> None:
    matrix, label = datasets.load_digits(return_X_y=True)
    matrix = standard(matrix)
    table, schema = table_of(matrix)
    target = Target("y", "multiclass", tuple("0123456789"))
    fitted = Linear().train(TableData(table.slice(0, 1200), schema, target, label[:1200]))
    ours = shares(fitted, table.slice(1200)).argmax(axis=1)
    solver = LogisticRegression(max_iter=500).fit(matrix[:1200], label[:1200])
    assert np.mean(ours == label[1200:]) > solver.score(matrix[1200:], label[1200:]) - 0.02


def test_a_single_huge_value_does_not_make_it_diverge() -> None:
    matrix = correlated(3000)
    target = matrix @ np.ones(20)
    matrix[17, 3] = 1e4
    table, schema = table_of(matrix)
    fitted = Linear().train(TableData(table, schema, Target("y", "regression"), target))
    predicted = fitted.predict(batch_of_table(table)).column("prediction").to_numpy()
    others = np.arange(3000) != 17
    assert metrics.r2_score(target[others], predicted[others]) > 0.5


def test_a_first_step_that_is_too_large_is_cut_until_it_learns() -> None:
    matrix = correlated(3000)
    target = matrix @ np.ones(20)
    table, schema = table_of(matrix)
    fitted = Linear(eta0=5.0, cuts=8).train(TableData(table, schema, Target("y", "regression"), target))
    predicted = fitted.predict(batch_of_table(table)).column("prediction").to_numpy()
    assert metrics.r2_score(target, predicted) > 0.9


def test_that_nothing_was_learned_is_said() -> None:
    heard = Heard()
    matrix = correlated(500)
    table, schema = table_of(matrix)
    target = np.random.default_rng(3).normal(size=500) + 7
    model = Linear(tolerance=0.5)
    fitted = model.train(TableData(table, schema, Target("y", "regression"), target, listener=heard))
    assert "learned nothing" in heard.notes[-1].text
    predicted = fitted.predict(batch_of_table(table)).column("prediction").to_numpy()
    assert np.ptp(predicted) == 0
    assert predicted[0] == pytest.approx(target.mean(), abs=1)


@pytest.mark.parametrize("counts", [[850, 150], [600, 300, 100]])
def test_of_noise_it_predicts_the_shares_of_the_classes(counts: list[int]) -> None:
    random = np.random.default_rng(5)
    table, schema = table_of(random.normal(size=(1000, 3)))
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    classes = tuple("abc"[: len(counts)])
    target = Target("y", "binary" if len(classes) == 2 else "multiclass", classes)
    fitted = Linear(tolerance=0.5).train(TableData(table, schema, target, labels))
    assert fitted.summary["best_epoch"] == 0
    share = np.array(counts) / 1000
    np.testing.assert_allclose(shares(fitted, table)[0], share, atol=0.02)
    loss = metrics.log_loss(labels, shares(fitted, table))
    assert loss == pytest.approx(-np.sum(share * np.log(share)), abs=0.002)


def test_l1_brings_useless_weights_to_nearly_nothing() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(4000, 10))
    label = matrix[:, 0] + random.logistic(size=4000) > 0
    table, schema = table_of(matrix)
    data = TableData(table, schema, YES_NO, label)
    useless = {p: np.abs(Linear(penalty=p, alpha=0.02).train(data).weights[0, 1:]).max() for p in ("l1", "l2")}
    assert useless["l1"] < 0.02 < useless["l2"]


def test_balanced_classes_are_found_as_often_as_one_another() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(6000, 3))
    label = matrix[:, 0] + random.logistic(size=6000) > 3.5
    table, schema = table_of(matrix)
    data = TableData(table, schema, YES_NO, label)
    recall = {
        weight: metrics.recall_score(label, shares(Linear(class_weight=weight).train(data), table)[:, 1] > 0.5)
        for weight in (None, "balanced")
    }
    solver = LogisticRegression(class_weight="balanced").fit(matrix, label)
    assert recall["balanced"] == pytest.approx(metrics.recall_score(label, solver.predict(matrix)), abs=0.04)
    assert recall[None] < recall["balanced"] - 0.3


def test_a_missing_feature_counts_as_zero() -> None:
    table, schema = table_of(correlated(500))
    fitted = Linear(epochs=3).train(TableData(table, schema, YES_NO, np.arange(500) % 2))
    zeros = table.slice(0, 20).set_column(0, "x0", pa.array(np.zeros(20)))
    nulls = table.slice(0, 20).set_column(0, "x0", pa.nulls(20, pa.float64()))
    assert np.array_equal(shares(fitted, zeros), shares(fitted, nulls))


def test_decisions_and_figures_are_told() -> None:
    heard = Heard()
    table, schema = table_of(correlated(500))
    Linear(epochs=3).train(TableData(table, schema, YES_NO, np.arange(500) % 2, listener=heard))
    assert [note.topic for note in heard.notes] == ["linear model"]
    assert heard.figures[-1].finished
    assert heard.figures[-1].rows % (500 - int(heard.notes[0].text.split()[0])) == 0


def test_what_does_not_fit_is_refused_with_the_rows_that_would() -> None:
    table, schema = table_of(correlated(100))
    data = TableData(table, schema, YES_NO, np.arange(100) % 2, memory=held() + 2**26)
    data.rows = 10**10
    with pytest.raises(ResourceError, match="--max-rows"):
        Linear().train(data)


def test_one_class_and_too_few_rows_are_refused() -> None:
    table, schema = table_of(correlated(100))
    with pytest.raises(DataError, match="only one class"):
        Linear().train(TableData(table, schema, YES_NO, np.ones(100)))
    with pytest.raises(DataError, match="too few rows"):
        Linear().train(TableData(table.slice(0, 2), schema, YES_NO, np.array([0, 1])))


def test_weights_in_a_regression_are_refused() -> None:
    table, schema = table_of(correlated(100))
    with pytest.raises(UsageError, match="class_weight"):
        Linear(class_weight="balanced").train(TableData(table, schema, Target("y", "regression"), np.arange(100.0)))


def test_arguments_out_of_range_are_refused_by_name() -> None:
    check_refusals(
        Linear,
        {
            "penalty": "l3",
            "alpha": -1,
            "l1_ratio": 2,
            "epochs": 0,
            "batch_rows": 0,
            "eta0": 0,
            "patience": 0,
            "cuts": -1,
            "max_categories": 0,
            "class_weight": "even",
            "max_rows": 0,
        },
    )


RAW = Schema(
    (
        Field("age", pa.float64(), Role.integer),
        Field("open", pa.bool_(), Role.boolean),
        Field("city", pa.string(), Role.category),
        Field("story", pa.string(), Role.text),
        Field("when", pa.timestamp("us"), Role.time),
    )
)


def test_the_steps_leave_standardized_numbers_and_indicators() -> None:
    batch = batch_of(
        RAW,
        {
            "age": [1.0, 3.0, None, 2.0],
            "open": [True, False, True, None],
            "city": ["Rome", "Oslo", "Rome", None],
            "story": ["a", "b", "c", "d"],
            "when": [0, 10, 20, None],
        },
    )
    schema = RAW
    for step in Linear().steps(RAW):
        fitted = fit_step(step, schema, [batch])
        batch = run_step(fitted, schema, batch)
        schema = fitted.schema
    times = [
        f"when_{part}"
        for part in (
            "year",
            "elapsed_days",
            *(f"{part}_{side}" for part in ("month", "weekday", "hour") for side in ("sin", "cos")),
        )
    ]
    assert set(schema.names) == {"age", "open", "city_Oslo", "city_Rome", "city_missing", "story", *times}
    assert schema["story"].width == 1  # no token stands in two texts
    age = np.array([1.0, 3.0, 2.0, 2.0])
    np.testing.assert_allclose(batch.column("age").to_numpy(), (age - age.mean()) / age.std())
    assert all(column.null_count == 0 for column in batch.columns.columns)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (Schema(()), "no feature"),
        (mixed(5)[1], "codes"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(schema: Schema, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        Linear().steps(schema)


def _other_table(**columns: Any) -> Any:
    def write(path: Path) -> None:
        table = pa.table(columns)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)

    return write


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b"not an Arrow file"),
        _other_table(feature=["x0", "x1", None], output_0=[1.0, float("nan"), 0.0]),
        _other_table(feature=["x1", "x0", None], output_0=[1.0, 1.0, 0.0]),
        _other_table(feature=["x0", "x1", None], output_0=["1", "2", "3"]),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Any) -> None:
    table, schema = table_of(correlated(200)[:, :2])
    Linear(epochs=1).train(TableData(table, schema, YES_NO, np.arange(200) % 2)).save(tmp_path)
    FittedLinear.load(tmp_path)
    damage(tmp_path / "weights.arrow")
    with pytest.raises(ArtifactError):
        FittedLinear.load(tmp_path)
