"""Fitted to some rows and updated with others is fitted to both: of everything that is registered."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_data import EXAMPLES as PICTURE_STEPS
from picture_data import PICTURES, picture_blocks, pictures
from sklearn.preprocessing import StandardScaler
from test_model_laws import MODELS, data
from test_statistic_laws import EXAMPLES as STATISTICS
from test_statistic_laws import PICTURED, blocks, changed_cells, numeric_prediction
from test_step_laws import EXAMPLES as STEPS
from test_step_laws import FULL, SCHEMA

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))

import penstock as ps
from penstock.batch import Batch
from penstock.engine import Resources, Silent
from penstock.engines.local import LocalEngine
from penstock.errors import UsageError
from penstock.fitting import Fit, fit_steps
from penstock.model import FittedModel, Model
from penstock.models.sklearn_model import Sklearn
from penstock.pipeline import FittedSteps
from penstock.registry import find, names
from penstock.schema import Field, Role, Schema
from penstock.source import Chunk, Fingerprint, Source
from penstock.statistic import Statistic
from penstock.step import Step
from penstock.testing.models import first_rows
from penstock.testing.statistics import assert_close, state_bytes
from penstock.testing.steps import batch_of
from penstock.updating import Earlier

ENGINE = LocalEngine(Resources(2, 2**33))
FLOATS = {name for name, examples in STATISTICS.items() if not all(example.exact for example in examples)}
"""Statistics whose states are of floats: equal to a relative 1e-12; the others to the bit."""


class Files(Source):
    """Batches in memory, a chunk each, as though each were a file."""

    reading = "files"

    def __init__(self, batches: Sequence[Batch], schema: Schema = SCHEMA) -> None:
        self.batches, self.schema = list(batches), schema

    def chunks(self) -> Iterator[Chunk]:
        for index, batch in enumerate(self.batches):
            yield Chunk(index, ({"batch": index},), batch.nbytes, len(batch))

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        batch = self.batches[chunk.index]
        yield batch if columns is None else batch.select(list(columns))

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        return ()

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        raise NotImplementedError


def rows(path: str, count: int, seed: int, schema: Schema = SCHEMA) -> Batch:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        values: dict[str, Any] = {
            "key": str(random.integers(0, 50)),
            "number": float(random.normal() * 10.0 ** random.integers(0, 4)),
            "short": float(np.float32(random.exponential())),
            "whole": float(random.integers(-20, 20)),
            "truth": bool(random.random() < 0.4),
            "color": str(random.choice(["red", "green", "blue", "é"] + (["new " + path] if seed % 2 else []))),
            "note": str(random.choice(["", "3", " 4.5 ", "true", "2024-01-31", "words of text", "Words of texts"])),
            "time": FULL["time"],
            "label": str(random.choice(["yes", "no"])),
        }
        made.append({name: None if random.random() < 0.1 and name != "key" else one for name, one in values.items()})
    return batch_of(schema, {name: [row[name] for row in [FULL, *made]] for name in schema.names}, path=path)


def fit(steps: Sequence[Step], batches: Sequence[Batch], earlier: Earlier | None = None) -> Fit:
    schema = PICTURES if steps[0].name in PICTURE_STEPS else SCHEMA
    return fit_steps(steps, Files(batches, schema), ENGINE, Silent(), earlier=earlier)


def updated(steps: Sequence[Step], one: Batch, other: Batch) -> tuple[FittedSteps, Earlier]:
    earlier = Earlier(fit(steps, [one]).steps, bound=False)
    return fit(steps, [other], earlier).steps, earlier


def agree(one: Statistic[Any], other: Statistic[Any]) -> None:
    assert one.definition == other.definition
    if one.kind in FLOATS:
        assert_close(one.value(), other.value(), 1e-12)
    else:
        assert state_bytes(one) == state_bytes(other)


@pytest.mark.parametrize("name", names("statistics"))
def test_a_statistic_of_some_rows_updated_with_others_is_that_of_both(name: str) -> None:
    for seed, example in enumerate(STATISTICS[name]):
        first, second = blocks(seed, (40, 25, 1)), blocks(seed + 100, (60, 0, 33))
        if name == "changes":
            first, second = changed_cells(first), changed_cells(second)
        if name == "regression":
            first, second = numeric_prediction(first), numeric_prediction(second)
        if name in PICTURED:
            first, second = picture_blocks(seed, (20, 5, 1)), picture_blocks(seed + 100, (10, 0, 13))
        was, today, both = example.make(), example.make(), example.make()
        for statistic, parts in ((was, first), (today, second), (both, [*first, *second])):
            for batch in parts:
                statistic.update(batch)
        before = state_bytes(was), state_bytes(today)
        schema = Schema((Field("number", first[0].columns.schema[0].type, Role.number),))
        earlier = Earlier(FittedSteps(schema, ("step",), (), ({"one": was},)), bound=False)
        merged = earlier.merged(0, "one", today)
        if example.exact:
            assert state_bytes(merged) == state_bytes(both)
        else:
            assert_close(merged.value(), both.value(), 1e-12)
        assert (state_bytes(was), state_bytes(today)) == before, "a merge changes neither"


@pytest.mark.parametrize("step", [step for name in names("steps") for step in STEPS[name]], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_fitted_and_updated_is_the_step_fitted_to_all(step: Step, seed: int) -> None:
    one, other = rows("a", 60, seed), rows("b", 45, seed + 2)
    if step.name in PICTURE_STEPS:
        one, other = pictures("a", 30, seed), pictures("b", 20, seed + 2)
    found, earlier = updated([step], one, other)
    whole = fit([step], [one, other]).steps
    assert found.states[0].keys() == whole.states[0].keys()
    for name, state in whole.states[0].items():
        agree(found.states[0][name], state)
    assert found.schema.to_arrow() == whole.schema.to_arrow()
    assert {merged.how for merged in earlier.account(found)} <= {"exact"}


@pytest.mark.parametrize(
    "steps",
    [
        [ps.Impute("numeric", "median"), ps.Standardize("numeric")],
        [ps.Impute("numeric", "mean"), ps.Clip("numeric", (0.1, 0.9))],
        [ps.Impute("color", "most_frequent"), ps.Ordinal("color")],
        [ps.Derive({"sum": "number + whole"}), ps.Standardize(["sum", "short"])],
        [ps.RejectMissing(["number"]), ps.Standardize(["number", "whole"]), ps.FrequencyEncode("color")],
        [ps.Clip("number"), ps.Standardize(["short", "whole"])],
        [ps.NormalizeText(["color"]), ps.FrequencyEncode("color")],
    ],
    ids=str,
)
def test_what_is_derived_or_comes_through_steps_that_do_not_change_is_exact(steps: list[Step]) -> None:
    one, other = rows("a", 80, 4), rows("b", 50, 6)
    found, earlier = updated(steps, one, other)
    whole = fit(steps, [one, other]).steps
    for own, expected in zip(found.states, whole.states, strict=True):
        for name, state in expected.items():
            agree(own[name], state)
    assert {merged.how for merged in earlier.account(found)} == {"exact"}


def test_what_is_derived_stays_exact_over_several_updates() -> None:
    steps = [ps.Impute("numeric", "median"), ps.Standardize("numeric")]
    parts = [rows(name, 40, seed) for seed, name in enumerate("abcd")]
    found = fit(steps, parts[:1]).steps
    for part in parts[1:]:
        earlier = Earlier(found, bound=False)
        found = fit(steps, [part], earlier).steps
        assert {merged.how for merged in earlier.account(found)} == {"exact"}
    whole = fit(steps, parts).steps
    for name, state in whole.states[1].items():
        agree(found.states[1][name], state)


@pytest.mark.parametrize(
    ("steps", "near"),
    [
        ([ps.Clip(["number", "short"]), ps.Standardize(["number", "whole"])], {("standardize", "number")}),
        ([ps.RejectOutliers("number"), ps.Standardize("short")], {("standardize", "short")}),
        (
            [ps.Impute("number", "mean"), ps.Clip("number"), ps.Standardize("number"), ps.Standardize("whole")],
            {("standardize", "number")},
        ),
        (
            [ps.Standardize("number"), ps.Derive({"twice": "number * 2"}), ps.MinMax(["twice", "short"])],
            {("min_max", "twice")},
        ),
    ],
    ids=str,
)
def test_what_follows_a_step_that_has_changed_is_said_to_be_near(steps: list[Step], near: set[tuple[str, str]]) -> None:
    found, earlier = updated(steps, rows("a", 80, 0), rows("b", 60, 2))
    account = earlier.account(found)
    assert {(one.step, one.statistic) for one in account if one.how == "near"} == near
    assert all("which has changed" in one.reason for one in account if one.how == "near")
    assert {one.how for one in account} == {"exact", "near"}


def test_a_scaler_updated_is_scikit_learns_partial_fit() -> None:
    one, other = rows("a", 300, 0), rows("b", 200, 2)
    found, _ = updated([ps.Standardize("number")], one, other)
    scaler = StandardScaler()
    for batch in (one, other):
        values = batch.column("number").to_numpy(zero_copy_only=False)
        scaler.partial_fit(values[~np.isnan(values)][:, None])
    value = next(iter(found.states[0].values())).value()
    assert value.count == scaler.n_samples_seen_
    assert value.mean == pytest.approx(scaler.mean_[0], rel=1e-12)
    assert value.variance == pytest.approx(scaler.var_[0], rel=1e-12)


def test_steps_that_a_model_hangs_on_keep_their_columns_and_codes() -> None:
    steps: list[Step] = [ps.Ordinal(["color", "truth"]), ps.FrequencyEncode("note")]
    one, other = rows("a", 60, 0), rows("b", 60, 3)  # b has a new color
    was = fit(steps, [one]).steps
    earlier = Earlier(was, bound=True)
    found = fit(steps, [other], earlier).steps
    assert found.schema["color"] == was.schema["color"]
    ways = {(merged.step, merged.statistic): merged for merged in earlier.account(found)}
    assert ways["ordinal", "color"].how == "kept"
    assert ways["ordinal", "color"].reason == "1 new: 'new b'"
    assert ways["ordinal", "truth"].how == ways["frequency_encode", "note"].how == "exact"
    whole = fit(steps, [one, other]).steps
    agree(found.bases[0]["color"].statistic, whole.states[0]["color"])  # of all rows all the same: nothing is lost
    again = fit(steps, [one], Earlier(found, bound=True)).steps
    agree(again.bases[0]["color"].statistic, fit(steps, [one, other, one]).steps.states[0]["color"])


def test_a_models_own_encoding_stays_what_its_weights_were_learned_with() -> None:
    steps = [ps.Standardize("number"), ps.Standardize("short")]
    was = fit(steps, [rows("a", 60, 0)]).steps
    earlier = Earlier(was, bound=True, fixed=1)
    found = fit(steps, [rows("b", 60, 2)], earlier).steps
    assert found.steps[1] == was.steps[1]
    assert found.steps[0] != was.steps[0]
    assert [merged.how for merged in earlier.account(found)] == ["exact", "encoding"]


def test_a_step_that_can_not_go_by_all_rows_goes_by_what_it_was() -> None:
    was = fit([ps.Standardize(["number", "short"])], [rows("a", 60, 0)]).steps
    far = batch_of(SCHEMA, {name: [{**FULL, "number": 1e300}[name]] * 2 for name in SCHEMA.names}, path="b")
    earlier = Earlier(was, bound=True)
    found = fit([ps.Standardize(["number", "short"])], [far], earlier).steps
    ways = {merged.statistic: (merged.how, merged.reason) for merged in earlier.account(found)}
    assert ways == {"number": ("kept", "the values are too far apart to be scaled"), "short": ("exact", "")}


# ---------------------------------------------------------------------- models

UPDATED = [model for models in MODELS.values() for model in models if model.goes_on]
UPDATED += [Sklearn("gaussian_naive_bayes"), Sklearn("perceptron", epochs=4)]


def saved(fitted: FittedModel, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    fitted.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("model", UPDATED, ids=lambda model: getattr(model, "estimator", model.name))
def test_a_model_goes_on_from_where_it_was(model: Model, task: str, tmp_path: Path) -> None:
    first, second = data(task, 0), data(task, 1)
    try:
        fitted = model.train(first)
    except UsageError:
        pytest.skip("this estimator is not for the task")
    before = saved(fitted, tmp_path / "before")
    went_on = model.update(fitted, second)
    made = saved(went_on, tmp_path / "after")
    assert made == saved(model.update(fitted, second), tmp_path / "again"), "same rows and seed give the same bytes"
    assert saved(fitted, tmp_path / "still") == before, "what is updated stays as it was"
    assert (went_on.features, went_on.target, went_on.name) == (fitted.features, fitted.target, fitted.name)
    assert went_on.summary["rows"] == first.rows + second.rows
    opened = find("fitted_models", model.name).load(tmp_path / "after")
    batch = first_rows(second, 200)
    assert opened.predict(batch).columns.equals(went_on.predict(batch).columns)


@pytest.mark.parametrize(
    "model", [model for models in MODELS.values() for model in models if not model.goes_on], ids=str
)
def test_a_model_that_learns_from_all_rows_at_once_is_refused(model: Model) -> None:
    training = data("regression", 0)
    fitted = model.train(training)
    with pytest.raises(UsageError, match="can't be taken further") as caught:
        model.update(fitted, training)
    assert "penstock train OLD NEW" in caught.value.remedy


def test_naive_bayes_updated_is_scikit_learns_on_both() -> None:
    from sklearn.naive_bayes import GaussianNB

    model = Sklearn("gaussian_naive_bayes")
    first, second = data("binary", 0), data("binary", 1)
    found = model.update(model.train(first), second)
    assert isinstance(found, type(model.train(first)))
    epochs = [next(one.epoch(0, one.rows)) for one in (first, second)]
    kept = [np.nan_to_num(one.features.astype(np.float64)) for one in epochs]
    expected = GaussianNB().fit(np.concatenate(kept), np.concatenate([one.labels for one in epochs]))
    assert np.allclose(found.learned.class_count_, expected.class_count_)
    assert np.allclose(found.learned.theta_, expected.theta_, rtol=1e-9, atol=1e-9)
