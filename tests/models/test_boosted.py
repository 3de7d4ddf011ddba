"""Boosted trees: as good as LightGBM by hand, honest about what was held out, bounded, quiet, clear when refusing."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight
from training_table import LETTERS, Heard, TableData, batch_of_table, mixed, number

from penstock.batch import Batch, RowKeys
from penstock.errors import ArtifactError, Cancelled, DataError, ResourceError, SchemaError, UsageError
from penstock.model import Target
from penstock.models.boosted import BoostedTrees, FittedBoostedTrees
from penstock.models.boosted_recipe import memory_needed, models_at_once, plan
from penstock.models.splits import fold_of, validation_mask
from penstock.resources import held, parse_bytes
from penstock.schema import Field, Role, Schema
from penstock.testing.models import check_refusals
from penstock.testing.steps import batch_of, fit_step, run_step

YES_NO = Target("y", "binary", ("no", "yes"))
QUICK = BoostedTrees(rounds=40, early_stopping_rounds=10)


def binary(rows: int = 1500, seed: int = 0, **options: Any) -> TableData:
    table, schema, signal = mixed(rows, seed)
    return TableData(table, schema, YES_NO, signal > 0, **{"cores": 1, **options})


def matrix_of(table: pa.Table) -> np.ndarray:
    """The features as LightGBM is given them by hand: NaN for missing numbers and categories."""
    columns = [column.to_numpy().astype(float) for column in table.columns]
    columns[3] = np.where(columns[3] < 0, np.nan, columns[3])
    return np.column_stack(columns)


def positive(fitted: FittedBoostedTrees, table: pa.Table) -> np.ndarray:
    return fitted.predict(batch_of_table(table)).column("probability_yes").to_numpy()


def test_a_single_model_is_what_lightgbm_gives_by_hand() -> None:
    data = binary()
    model = BoostedTrees(
        rounds=50, folds=1, early_stopping_rounds=None, feature_fraction=1.0, num_leaves=9, learning_rate=0.1
    )
    by_hand = lightgbm.train(
        {
            "objective": "binary",
            "num_leaves": 9,
            "learning_rate": 0.1,
            "min_data_in_leaf": 5,
            "max_cat_to_onehot": 100_000,
            "max_delta_step": 10.0,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "num_threads": 1,
        },
        lightgbm.Dataset(matrix_of(data.table()), data.labels(), categorical_feature=[3]),
        50,
    )
    expected = by_hand.predict(matrix_of(data.table()), num_threads=1)
    assert np.array_equal(positive(model.train(data), data.table()), expected)


def test_early_stopping_ends_where_lightgbm_ends_by_hand() -> None:
    data = binary()
    model = BoostedTrees(folds=1, early_stopping_rounds=15, feature_fraction=1.0, learning_rate=0.2, num_leaves=15)
    fitted = model.train(data)
    held_out = validation_mask(data.hashes(), 0.1)
    parameters = {
        "objective": "binary",
        "num_leaves": 15,
        "learning_rate": 0.2,
        "min_data_in_leaf": 5,
        "max_cat_to_onehot": 100_000,
        "verbosity": -1,
        "num_threads": 1,
        "feature_pre_filter": False,
    }
    every = lightgbm.Dataset(
        matrix_of(data.table()), data.labels(), categorical_feature=[3], params=parameters, free_raw_data=False
    )
    by_hand = lightgbm.train(
        parameters,
        every.subset(np.flatnonzero(~held_out).tolist()),
        5000,
        [every.subset(np.flatnonzero(held_out).tolist())],
        callbacks=[lightgbm.early_stopping(15, verbose=False)],
    )
    assert fitted.summary["rounds"] == [by_hand.best_iteration]
    expected = by_hand.predict(matrix_of(data.table()), num_iteration=by_hand.best_iteration)
    np.testing.assert_allclose(positive(fitted, data.table()), expected, rtol=1e-12)


def test_what_was_held_out_is_scored_by_models_that_did_not_learn_from_it() -> None:
    data = binary()
    fitted = BoostedTrees(rounds=30, folds=3, bags=2, early_stopping_rounds=None).train(data)
    matrix = matrix_of(data.table())
    raw = np.zeros(data.rows)
    for number_of_model, booster in enumerate(fitted.boosters):
        shape, fold = divmod(number_of_model, 3)
        mine = fold_of(data.hashes(), 3, shape) == fold
        raw[mine] += booster.predict(matrix[mine], raw_score=True) / 2
    probability = 1 / (1 + np.exp(-raw))
    assert fitted.summary["held_out_rows"] == data.rows
    assert fitted.summary["held_out"] == pytest.approx(
        {
            "log_loss": metrics.log_loss(data.labels(), probability),
            "roc_auc": metrics.roc_auc_score(data.labels(), probability),
            "accuracy": metrics.accuracy_score(data.labels(), probability > 0.5),
        }
    )


def test_of_noise_nothing_is_claimed() -> None:
    data = binary()
    noise = np.random.default_rng(1).integers(0, 2, data.rows)
    fitted = QUICK.train(TableData(data.table(), data.schema, YES_NO, noise, cores=1))
    assert 0.45 < fitted.summary["held_out"]["roc_auc"] < 0.55


def test_folds_and_shapes_beat_lightgbms_defaults_on_rows_never_seen() -> None:
    data = binary(2000)
    table, _, signal = mixed(4000, seed=9)
    plain = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1)
    plain.fit(matrix_of(data.table()), data.labels(), categorical_feature=[3])
    theirs = metrics.log_loss(signal > 0, plain.predict_proba(matrix_of(table))[:, 1])
    ours = metrics.log_loss(signal > 0, positive(BoostedTrees(rounds=200).train(data), table))
    assert ours < theirs


def test_the_trees_of_a_rare_class_do_not_diverge() -> None:
    random = np.random.default_rng(0)
    rare = random.random(30_000) < 0.003
    x = random.normal(size=(30_000, 5))
    x[rare, :3] += np.where(random.random((np.count_nonzero(rare), 1)) < 0.5, 3, -3)
    x = np.round(x, 1)
    table = pa.table({f"x{place}": column for place, column in enumerate(x.T)})
    schema = Schema(tuple(number(name) for name in table.column_names))
    learn, judge = slice(0, 15_000), slice(15_000, None)
    model = BoostedTrees(
        rounds=100, folds=1, early_stopping_rounds=None, learning_rate=0.1, num_leaves=63, min_data_in_leaf=20
    )
    fitted = model.train(TableData(table[learn], schema, YES_NO, rare[learn], cores=1))
    plain = lightgbm.LGBMClassifier(num_leaves=63, n_jobs=1, verbose=-1).fit(x[learn], rare[learn])
    theirs = metrics.log_loss(rare[judge], plain.predict_proba(x[judge])[:, 1])
    ours = metrics.log_loss(rare[judge], positive(fitted, table[judge]))
    assert ours < 0.7 * theirs


def test_a_regression_is_as_good_as_lightgbms_whatever_its_unit() -> None:
    table, schema, signal = mixed(2000)
    target = signal * 1e-3 + 1e6  # LightGBM alone keeps targets in float32, which has no such digits
    data = TableData(table, schema, Target("y", "regression"), target, cores=1)
    fitted = BoostedTrees(rounds=200).train(data)
    other, _, fresh = mixed(2000, seed=9)
    plain = lightgbm.LGBMRegressor(n_jobs=1, verbose=-1).fit(matrix_of(table), signal, categorical_feature=[3])
    theirs = metrics.root_mean_squared_error(fresh, plain.predict(matrix_of(other)))
    predicted = fitted.predict(batch_of_table(other)).column("prediction").to_numpy()
    assert metrics.root_mean_squared_error(fresh, (predicted - 1e6) * 1e3) < theirs


def test_a_null_category_is_a_missing_one() -> None:
    data = binary()
    fitted = QUICK.train(data)
    table = data.table().slice(0, 50)
    expected = positive(fitted, table.set_column(3, "letter", pa.array([-1] * 50, pa.int32())))
    nulls = table.set_column(3, "letter", pa.nulls(50, pa.int32()))
    assert np.array_equal(positive(fitted, nulls), expected)


def test_a_number_falls_on_the_side_it_fell_on_in_training_whatever_its_width() -> None:
    data = binary()
    fitted = QUICK.train(data)
    wide = data.table().set_column(2, "short", data.table().column("short").cast(pa.float64()))
    assert np.array_equal(positive(fitted, wide), positive(fitted, data.table()))


def test_a_table_in_many_chunks_trains_the_same_model() -> None:
    data = binary()
    whole = data.table().combine_chunks()
    parts = pa.concat_tables([whole.slice(0, 13), whole.slice(13, 700), whole.slice(713)])
    one, other = (QUICK.train(TableData(t, data.schema, YES_NO, data.labels(), cores=1)) for t in (whole, parts))
    assert one.texts == other.texts


def test_balanced_classes_weigh_what_scikit_learn_says() -> None:
    data = binary()
    weights = compute_class_weight("balanced", classes=np.array([0, 1]), y=data.labels())
    by_hand = dict(zip(YES_NO.classes, weights.tolist(), strict=True))
    models = [
        BoostedTrees(rounds=10, early_stopping_rounds=5, class_weight=weight).train(data).texts
        for weight in ("balanced", by_hand, None)
    ]
    assert models[0] == models[1] != models[2]


def test_importance_is_shares_of_the_gain_the_useful_features_first() -> None:
    table, schema, signal = mixed(1500)
    table = table.append_column("noise", pa.array(np.random.default_rng(5).normal(size=1500)))
    data = TableData(table, Schema((*schema, number("noise"))), YES_NO, signal > 0, cores=1)
    importance = QUICK.train(data).summary["importance"]
    assert sum(importance.values()) == pytest.approx(1)
    assert list(importance.values()) == sorted(importance.values(), reverse=True)
    assert list(importance)[-1] == "noise"


def test_decisions_and_figures_are_told() -> None:
    heard = Heard()
    rare = np.arange(2000) % 50 == 0
    table, schema, _ = mixed(2000)
    QUICK.train(TableData(table, schema, YES_NO, rare, cores=2, listener=heard))
    assert [note.topic for note in heard.notes] == ["boosted trees", "classes"]
    assert "5 folds" in heard.notes[0].text
    assert "'yes' is 2.00%" in heard.notes[1].reason
    rows = [figures.rows for figures in heard.figures]
    assert rows == sorted(rows)
    assert heard.figures[-1].finished


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    table, schema, signal = mixed(300)
    table = table.set_column(0, "x", pa.array(np.zeros(300)))  # nothing to split on: LightGBM would warn
    fitted = QUICK.train(TableData(table, schema, YES_NO, signal > 0, cores=2))
    fitted.predict(batch_of_table(table), threads=2)
    assert capfd.readouterr() == ("", "")


def test_a_listener_that_stops_the_job_stops_every_model() -> None:
    class Impatient(Heard):
        def progressed(self, figures: Any) -> None:
            raise Cancelled("stopped")

    data = binary(3000, cores=2, listener=Impatient())
    with pytest.raises(Cancelled):
        BoostedTrees(rounds=100_000, early_stopping_rounds=None, folds=5).train(data)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("boosted")]


def test_large_data_has_one_model_and_small_data_several() -> None:
    schema = mixed(10)[1]
    assert (
        plan(BoostedTrees(), 200_000, schema, YES_NO).folds,
        plan(BoostedTrees(), 200_001, schema, YES_NO).folds,
    ) == (
        5,
        1,
    )
    wide = Schema(tuple(number(f"x{i}") for i in range(300)))
    assert plan(BoostedTrees(), 100_000, wide, YES_NO).folds == 1
    assert plan(BoostedTrees(), 10**8, schema, YES_NO).share * 10**8 == pytest.approx(200_000)


def test_what_does_not_fit_is_refused_with_the_rows_that_would() -> None:
    table, schema, signal = mixed(1000)
    data = TableData(table, schema, YES_NO, signal > 0, memory=held() + 2**28)
    data.rows = 10**9  # refused before any row is looked at
    with pytest.raises(ResourceError, match="--max-rows") as refused:
        BoostedTrees().train(data)
    fits = int(refused.value.remedy.split()[1])
    assert BoostedTrees().memory_needed(fits, schema, YES_NO) <= 2**28
    asked = re.search(r"--memory (\S+) on all rows", refused.value.remedy)  # as it can be typed
    assert asked is not None
    assert parse_bytes(asked[1]) >= data.resources.memory - 2**28 + BoostedTrees().memory_needed(10**9, schema, YES_NO)
    assert BoostedTrees().memory_needed(int(fits * 1.2), schema, YES_NO) > 0.95 * 2**28


def test_one_class_is_refused() -> None:
    table, schema, _ = mixed(100)
    with pytest.raises(DataError, match="only one class") as refused:
        QUICK.train(TableData(table, schema, YES_NO, np.zeros(100)))
    assert "'no'" in refused.value.got


def test_too_few_rows_are_refused_with_the_remedy_and_the_remedy_works() -> None:
    table, schema, _ = mixed(3)
    data = TableData(table, schema, YES_NO, np.array([0, 0, 1]), cores=1)
    with pytest.raises(DataError, match="too few rows"):
        BoostedTrees(folds=3).train(data)
    fitted = BoostedTrees(folds=1, early_stopping_rounds=None, rounds=3).train(data)
    assert fitted.summary.get("held_out") is None


def test_weights_for_no_class_are_refused() -> None:
    with pytest.raises(UsageError, match="maybe"):
        BoostedTrees(class_weight={"maybe": 2.0}).train(binary(50))


def test_arguments_out_of_range_are_refused_by_name() -> None:
    check_refusals(
        BoostedTrees,
        {
            "rounds": 0,
            "learning_rate": 0,
            "num_leaves": 1,
            "max_depth": 0,
            "feature_fraction": 1.5,
            "lambda_l2": float("inf"),
            "folds": "many",
            "bags": 5,
            "early_stopping_rounds": 0,
            "validation_share": 1,
            "class_weight": {"a": -1},
            "max_rows": 2.5,
        },
    )


RAW = Schema(
    (
        Field("id", pa.string(), Role.key),
        Field("age", pa.float64(), Role.integer),
        Field("open", pa.bool_(), Role.boolean),
        Field("city", pa.string(), Role.category),
        Field("story", pa.string(), Role.text),
        Field("when", pa.timestamp("us"), Role.time),
        Field("y", pa.string(), Role.target, values=Role.category),
    )
)


def test_the_steps_leave_numbers_and_codes() -> None:
    batch = batch_of(
        RAW,
        {
            "id": ["1", "2"],
            "age": [3.0, None],
            "open": [True, None],
            "city": ["Rome", None],
            "story": ["a", "b"],
            "when": [0, 86_400_000_000],
            "y": ["no", "yes"],
        },
    )
    schema = RAW
    for step in BoostedTrees().steps(RAW.without(["y"])):
        fitted = fit_step(step, schema, [batch])
        batch = run_step(fitted, schema, batch)
        schema = fitted.schema
    assert schema["story"].width == 1  # no token stands in two texts
    found = batch.columns.to_pydict()
    assert {name: found[name] for name in ("age", "open", "city", "when_weekday", "when_elapsed_days", "y")} == {
        "age": [3.0, None],
        "open": [1.0, None],
        "city": [0, -1],
        "when_weekday": [4.0, 5.0],  # 1970 began on a Thursday
        "when_elapsed_days": [0.0, 1.0],
        "y": ["no", "yes"],
    }
    assert schema["city"].categories == ("Rome",)


def test_without_a_usable_feature_the_steps_are_refused() -> None:
    with pytest.raises(SchemaError, match="id"):
        BoostedTrees().steps(RAW.select(["id"]))


def test_a_feature_that_is_no_number_is_refused() -> None:
    table = mixed(10)[0]
    text = table.set_column(0, "x", pa.array(["1"] * 10))
    with pytest.raises(SchemaError, match="column 'x'"):
        QUICK.train(binary(200)).predict(batch_of_table(text))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _alter(**changes: Any) -> Any:
    def change(path: Path) -> None:
        value = json.loads(path.read_text())
        path.write_text(json.dumps({**value, **changes}))

    return change


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("booster_000.txt", Path.unlink),
        ("booster_001.txt", _cut),
        ("booster_002.txt", lambda path: path.write_text("tree\nnonsense\nend of trees\n")),
        ("model.json", Path.unlink),
        ("model.json", _cut),
        ("model.json", _alter(format=99)),
        ("model.json", _alter(model="linear")),
        ("model.json", _alter(own={"boosters": 3})),
        ("model.json", _alter(target={"column": "y", "task": "binary", "classes": ["one"]})),
        ("model.json", _alter(target={"column": "y", "task": "multiclass", "classes": ["a", "b", "c"]})),
        ("model.json", _alter(features=[{"name": "x", "type": "double", "role": "number"}])),
        ("model.json", _alter(features=[{"name": "x", "type": "object", "role": "number"}])),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, file: str, damage: Any) -> None:
    BoostedTrees(rounds=3, folds=3, bags=1, early_stopping_rounds=None).train(binary(200)).save(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(ArtifactError):
        FittedBoostedTrees.load(tmp_path)


def test_the_categories_of_training_are_saved(tmp_path: Path) -> None:
    QUICK.train(binary(200)).save(tmp_path)
    assert FittedBoostedTrees.load(tmp_path).features["letter"].categories == LETTERS


def test_names_of_features_and_classes_may_be_any_text(tmp_path: Path) -> None:
    table, _, signal = mixed(300)
    names = ['a "b" [c]', "d,e:f", "日 本", " "]
    schema = Schema(tuple(number(name) for name in names))
    target = Target("y", "binary", ("", '{"'))
    data = TableData(table.rename_columns(names), schema, target, signal > 0, cores=1)
    fitted = BoostedTrees(rounds=5, folds=1).train(data)
    fitted.save(tmp_path)
    batch = Batch(batch_of_table(data.table()).columns, RowKeys.span("t", 0, 300))
    assert FittedBoostedTrees.load(tmp_path).predict(batch).columns.equals(fitted.predict(batch).columns)


def test_a_model_of_all_cores_has_the_same_bytes_as_one_of_a_single_core() -> None:
    model = BoostedTrees(rounds=10, folds=1, early_stopping_rounds=5)
    assert len({model.train(binary(cores=cores)).texts for cores in (1, 2, 3)}) == 1


def test_memory_for_more_models_at_once_is_taken_only_where_it_is() -> None:
    data = binary(1500, cores=8)
    one, two = (memory_needed(QUICK, data.rows, data.schema, YES_NO, count) for count in (1, 2))
    assert [models_at_once(QUICK, data, memory) for memory in (one, two, 2**40)] == [1, 2, 8]
    assert models_at_once(BoostedTrees(folds=1, bags=1), data, 2**40) == 1


def test_bins_that_need_two_bytes_need_more_memory() -> None:
    schema = mixed(10)[1]
    few, many = (memory_needed(BoostedTrees(max_bin=bins), 10**7, schema, YES_NO) for bins in (255, 1023))
    assert many > few + 3 * 3 * 10**7 * 0.9
