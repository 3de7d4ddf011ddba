"""Target encoding against scikit-learn's, fold by fold, and that no row sees its own target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import TargetEncoder

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.engine import Resources, Silent
from penstock.engines.local import LocalEngine
from penstock.errors import DataError, SchemaError, UsageError
from penstock.fitting import fit_steps
from penstock.schema import Field, Role, Schema
from penstock.statistics import target_folds
from penstock.statistics.target_folds import TargetCounts, folds_of
from penstock.step import FittedStep, Use
from penstock.steps.target_encode import TargetEncode
from penstock.testing.steps import fit_step
from penstock.testing.tables import TableSource
from penstock.vectors import as_matrix

NUMBERS = Schema((Field("c", pa.string(), Role.category), Field("y", pa.float64(), Role.target, values=Role.number)))
LABELS = Schema((Field("c", pa.string(), Role.category), Field("y", pa.string(), Role.target, values=Role.category)))
CATEGORIES = ["a", "b", "c", "d", None]


def rows_of(categories: Any, target: Any, start: int = 0) -> Batch:
    columns = pa.record_batch({"c": pa.array(list(categories), pa.string()), "y": pa.array(list(target))})
    return Batch(columns, RowKeys.span("rows", start, columns.num_rows))


def encoded(step: FittedStep, batch: Batch, purpose: Any = "predict") -> np.ndarray:
    out = step.transform(batch, Use(purpose))
    width = step.schema["c"].width
    return as_matrix(out.column("c"), width).toarray() if width else out.column("c").to_numpy()


def column(values: Any) -> np.ndarray:
    return np.array(list(values), object)[:, None]


def sample(rows: int, seed: int, kind: str) -> tuple[list[str | None], np.ndarray]:
    random = np.random.default_rng(seed)
    categories = [CATEGORIES[place] for place in random.integers(0, len(CATEGORIES), rows)]
    if kind == "numbers":
        return categories, random.normal(size=rows) * 3 + 1e5
    return categories, np.array(["no", "yes"] if kind == "binary" else ["red", "green", "blue"])[
        random.integers(0, 2 if kind == "binary" else 3, rows)
    ]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(10, 120),
    st.integers(0, 1000),
    st.sampled_from(["numbers", "binary", "multiclass"]),
    st.sampled_from(["auto", 0.0, 7.5]),
)
def test_new_rows_are_encoded_as_by_scikit_learn(rows: int, seed: int, kind: str, smooth: Any) -> None:
    categories, target = sample(rows, seed, kind)
    kinds = {"numbers": "continuous"}.get(kind, kind)
    reference = TargetEncoder(smooth=smooth, target_type=kinds)
    classes = len(set(target.tolist()))
    if kind != "numbers" and classes != (2 if kind == "binary" else 3):
        return  # scikit-learn calls three classes of which two are there another kind of target
    reference.fit(column(categories), target)
    schema = NUMBERS if kind == "numbers" else LABELS
    batch = rows_of(categories, target)
    step = fit_step(TargetEncode("c", smooth=smooth), schema, [batch.slice(0, rows // 3), batch.slice(rows // 3, rows)])
    asked = [*CATEGORIES, "unseen"]
    asked = [category for category in asked if category is not None or None in categories]
    found = encoded(step, rows_of(asked, [None] * len(asked)))
    expected = reference.transform(column(asked))
    np.testing.assert_allclose(found.reshape(len(asked), -1), expected, rtol=1e-6 if kind == "multiclass" else 1e-9)


@pytest.mark.parametrize("kind", ["numbers", "binary", "multiclass"])
@pytest.mark.parametrize("purpose", ["fit", "train"])
def test_learning_rows_are_encoded_by_the_other_folds(kind: str, purpose: str) -> None:
    categories, target = sample(400, 5, kind)
    batch = rows_of(categories, target, start=1000)
    step = fit_step(TargetEncode("c", folds=4), NUMBERS if kind == "numbers" else LABELS, [batch])
    found = encoded(step, batch, purpose).reshape(400, -1)
    folds = folds_of(batch.keys, 4)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    for fold in range(4):
        here = folds == fold
        reference = TargetEncoder(target_type={"numbers": "continuous"}.get(kind, kind))
        reference.fit(column(categories)[~here], target[~here])
        expected = reference.transform(column(categories)[here])
        np.testing.assert_allclose(found[here], expected, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_target_of_chance_is_not_told_by_many_categories(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, categories = 6000, 2000
    names = [f"k{place}" for place in random.integers(0, categories, rows)]
    target = random.random(rows) < 0.5
    schema = Schema((Field("c", pa.string(), Role.category), Field("y", pa.bool_(), Role.target, values=Role.boolean)))
    batch = rows_of(names, target.tolist())
    step = fit_step(TargetEncode("c"), schema, [batch])
    # 0.05 is six deviations of the AUC of so many rows by chance.
    assert roc_auc_score(target, encoded(step, batch, "train")) == pytest.approx(0.5, abs=0.05)
    assert roc_auc_score(target, encoded(step, batch, "predict")) > 0.65  # what it would be with a leak


def test_changing_a_rows_own_target_does_not_change_its_encoding_where_models_learn() -> None:
    categories, target = sample(60, 3, "numbers")
    batch = rows_of(categories, target)
    before = encoded(fit_step(TargetEncode("c"), NUMBERS, [batch]), batch, "train")
    for row in range(0, 60, 7):
        changed = target.copy()
        changed[row] += 1e4
        after = encoded(fit_step(TargetEncode("c"), NUMBERS, [rows_of(categories, changed)]), batch, "train")
        assert after[row] == before[row]
        assert (after != before).any()


def test_the_target_need_not_be_there_when_rows_are_predicted() -> None:
    categories, target = sample(50, 1, "binary")
    step = fit_step(TargetEncode("c"), LABELS, [rows_of(categories, target)])
    batch = rows_of(["a", "unseen", None], ["yes"] * 3)
    np.testing.assert_array_equal(encoded(step, batch.select(["c"])), encoded(step, batch))


def test_far_from_zero_the_spread_within_a_category_is_not_lost() -> None:
    random = np.random.default_rng(2)
    categories = [f"k{place}" for place in random.integers(0, 5, 200)]
    target = random.normal(size=200) + 1e9
    reference = TargetEncoder(target_type="continuous").fit(column(categories), target - 1e9)
    step = fit_step(TargetEncode("c"), NUMBERS, [rows_of(categories, target)])
    found = encoded(step, rows_of(["k0", "k1", "unseen"], [None] * 3)) - 1e9
    np.testing.assert_allclose(found, reference.transform(column(["k0", "k1", "unseen"]))[:, 0], atol=1e-6)


@pytest.mark.parametrize(("schema", "target"), [(NUMBERS, []), (NUMBERS, [None, None]), (LABELS, []), (LABELS, [None])])
def test_without_a_target_everything_is_the_same(schema: Schema, target: list[None]) -> None:
    kind = schema["y"].type
    columns = pa.record_batch({"c": pa.array(["a"] * len(target), pa.string()), "y": pa.array(target, kind)})
    step = fit_step(TargetEncode("c"), schema, [Batch(columns, RowKeys.span("", 0, len(target)))])
    assert encoded(step, rows_of(["a", None], [None] * 2)).tolist() == [0.0, 0.0]


def test_one_category_of_one_value_is_that_value() -> None:
    step = fit_step(TargetEncode("c"), NUMBERS, [rows_of(["a"] * 9, [2.5] * 9)])
    assert encoded(step, rows_of(["a", "b", None], [0.0] * 3)).tolist() == [2.5, 2.5, 2.5]


def test_more_categories_than_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_folds, "MOST_CELLS", 100)
    statistic = TargetCounts("c", "y")
    with pytest.raises(DataError, match="hash"):
        statistic.update(rows_of([f"k{place}" for place in range(11)], ["yes", "no"] * 5 + ["no"]))


def test_a_column_that_is_to_be_predicted_is_needed() -> None:
    with pytest.raises(SchemaError, match="target"):
        TargetEncode("c").statistics(Schema((Field("c", pa.string(), Role.category),)))


@pytest.mark.parametrize(
    "arguments", [{"smooth": -1.0}, {"smooth": float("nan")}, {"folds": 1}, {"folds": 2.5}, {"target": "classes"}]
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        TargetEncode("c", **arguments)


def test_later_steps_are_fitted_to_what_the_model_will_learn_from() -> None:
    categories, target = sample(900, 8, "numbers")
    table = pa.table({"c": pa.array(categories), "y": pa.array(target)})
    source = TableSource(table, {"y": Role.target})
    found = fit_steps(
        [ps.TargetEncode("c", target="numbers"), ps.Standardize("c")],
        source,
        LocalEngine(Resources(2, 2**33)),
        Silent(),
    )
    batch = Batch(pa.record_batch({"c": table["c"].chunk(0)}), RowKeys.span("table", 0, 900))
    out = found.steps.chain(Use("train"), ("c",)).transform(batch).column("c").to_numpy()
    assert (out.mean(), out.std()) == pytest.approx((0.0, 1.0), abs=1e-9)


@pytest.mark.parametrize("kind", ["numbers", "binary", "multiclass"])
def test_centered_encodings_are_distances_from_the_mean_in_deviations(kind: str) -> None:
    categories, target = sample(400, 5, kind)
    schema = NUMBERS if kind == "numbers" else LABELS
    batch = rows_of(categories, target)
    plain, centered = (
        encoded(fit_step(TargetEncode("c", centered=one), schema, [batch]), batch) for one in (False, True)
    )
    hits = target if kind == "numbers" else target == "yes"
    if kind == "multiclass":
        hits = target[:, None] == ["blue", "green", "red"]
    np.testing.assert_allclose(centered, (plain - hits.mean(axis=0)) / hits.std(axis=0), rtol=1e-5, atol=1e-6)
    fitted = fit_step(TargetEncode("c", centered=True), schema, [batch])
    assert not encoded(fitted, rows_of(["never met"], target[:1])).any()


def test_a_constant_target_is_at_no_distance_from_itself() -> None:
    batch = rows_of(["a", "b"], [2.5, 2.5])
    assert encoded(fit_step(TargetEncode("c", centered=True), NUMBERS, [batch]), batch).tolist() == [0.0, 0.0]


def test_a_column_may_stay_beside_its_encoding() -> None:
    batch = rows_of(["a", None], [2.0, 4.0])
    fitted = fit_step(TargetEncode("c", smooth=0.0, keep=True), NUMBERS, [batch])
    assert fitted.schema.names == ("c", "y", "c_target")
    assert fitted.schema["c"] == NUMBERS["c"] and fitted.schema["c_target"].role is Role.number
    out = fitted.transform(batch, Use())
    assert out.columns.schema.names == ["c", "y", "c_target"]
    assert (out.column("c").to_pylist(), out.column("c_target").to_pylist()) == (["a", None], [2.0, 4.0])
    taken = NUMBERS.put(Field("c_target", pa.float64(), Role.number))
    with pytest.raises(SchemaError, match="'c_target'"):
        TargetEncode("c", keep=True).touches(taken)
