"""Fitting by levels: as few scans as the statistics depend on one another, and the values that arithmetic gives."""

import numpy as np
import pyarrow as pa
import pytest

import penstock as ps
from penstock.batch import Batch
from penstock.engine import Resources, Silent
from penstock.engines.local import LocalEngine
from penstock.errors import SchemaError
from penstock.fitting import Fit, fit_steps
from penstock.schema import Role
from penstock.source import Note
from penstock.step import Step, Use
from penstock.testing.sources import read_all
from penstock.testing.tables import TableSource

ENGINE = LocalEngine(Resources(2, 2**33))


def table(rows: int = 900) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "a": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
            "b": pa.array(random.exponential(size=rows), mask=random.random(rows) < 0.2),
            "c": pa.array(random.choice(["x", "y", "z"], rows), mask=random.random(rows) < 0.1),
            "k": pa.array([f"id{i}" for i in range(rows)]),
        }
    )


def source() -> TableSource:
    return TableSource(table(), {"k": Role.key})


def fit(*steps: Step) -> Fit:
    return fit_steps(steps, source(), ENGINE, Silent())


def applied(found: Fit) -> pa.Table:
    chain = found.steps.chain(Use("train"))
    batches: list[Batch] = [chain.transform(batch) for batch in read_all(source())]
    return pa.Table.from_batches([batch.columns for batch in batches])


@pytest.mark.parametrize(
    ("steps", "scans"),
    [
        ([ps.Select("a")], 0),
        ([ps.Standardize(ps.numeric())], 1),
        ([ps.Standardize("a"), ps.MinMax("b"), ps.OneHot("c")], 1),
        ([ps.Impute("a", "mean"), ps.Standardize("a")], 1),  # derived through the imputation
        ([ps.Impute("a", "mean"), ps.Clip("a", (0.1, 0.9))], 1),
        ([ps.Impute("a", "mean"), ps.Clip("a", (0.1, 0.9)), ps.Standardize("a")], 2),
        ([ps.Clip("a", (0.1, 0.9)), ps.Standardize("a"), ps.MinMax("a")], 3),
        ([ps.OneHot("c"), ps.Standardize(ps.numeric())], 2),  # which columns are numbers is known after the first
        ([ps.Clip("a", (0.1, 0.9)), ps.Standardize(ps.numeric()), ps.Ordinal("c")], 2),
        ([ps.RejectOutliers("a"), ps.Standardize("b")], 2),  # another row's column: the rows differ
        ([ps.Impute("c", "most_frequent"), ps.OneHot("c")], 1),
    ],
)
def test_a_fit_takes_as_few_scans_as_its_statistics_depend_on_one_another(steps: list[Step], scans: int) -> None:
    assert fit(*steps).steps.scans == scans


def test_scans_and_what_they_collect_are_said() -> None:
    said: list[Note] = []

    class Listening(Silent):
        def said(self, note: Note) -> None:
            said.append(note)

    fit_steps([ps.Clip("a", (0.1, 0.9)), ps.Standardize(ps.numeric())], source(), ENGINE, Listening())
    assert [(note.topic, note.text) for note in said] == [
        ("scan 1", "statistics for clip, standardize"),
        ("scan 2", "statistics for standardize"),
    ]


def test_impute_clip_standardize_gives_what_numpy_gives_step_by_step() -> None:
    found = applied(
        fit(ps.Impute(ps.numeric(), "mean"), ps.Clip(ps.numeric(), (0.05, 0.95)), ps.Standardize(ps.numeric()))
    )
    for name in ("a", "b"):
        values = table().column(name).to_numpy()
        values = np.where(np.isnan(values), np.nanmean(values), values)
        values = np.clip(values, *np.quantile(values, [0.05, 0.95]))
        expected = (values - values.mean()) / values.std()
        np.testing.assert_allclose(found.column(name).to_numpy(), expected, rtol=1e-9, atol=1e-9)


def test_steps_after_rejected_rows_are_fitted_to_the_rows_that_are_left() -> None:
    found = fit(ps.RejectOutliers("a", method="zscore", factor=1.0), ps.MinMax("b"))
    out = applied(found)
    assert 0 < out.num_rows < 900
    b = out.column("b").drop_null().to_numpy()
    assert (b.min(), b.max()) == pytest.approx((0.0, 1.0), abs=1e-15)


def test_steps_chosen_from_what_comes_out_are_fitted_too() -> None:
    def encode(schema: ps.Schema) -> list[Step]:
        return [ps.Ordinal(name) for name in schema.names if schema[name].role is Role.category]

    found = fit_steps([ps.Standardize("a")], source(), ENGINE, Silent(), extend=encode)
    assert [step.step.name for step in found.steps.steps] == ["standardize", "ordinal"]
    assert found.steps.scans == 1
    again = fit_steps([ps.OneHot("c")], source(), ENGINE, Silent(), extend=encode)
    assert [step.step.name for step in again.steps.steps] == ["one_hot"]


def test_further_steps_do_not_take_a_column_whose_type_a_step_changes_for_what_it_was() -> None:
    def encode(schema: ps.Schema) -> list[Step]:
        plain = [field.name for field in schema if field.role is Role.category and field.type == pa.string()]
        return [ps.Select(schema.features), *(ps.TfIdf(name, min_df=1) for name in plain)]

    found = fit_steps([ps.Impute("a"), ps.TfIdf("c", min_df=1)], source(), ENGINE, Silent(), extend=encode)
    assert [step.step.name for step in found.steps.steps] == ["impute", "tfidf", "select"]
    assert found.steps.schema["c"].role is Role.vector
    assert found.steps.scans == 1
    plain = fit_steps([ps.Impute("a")], source(), ENGINE, Silent(), extend=encode)
    assert plain.steps.schema["c"] == found.steps.schema["c"]


def test_a_column_may_be_used_by_a_step_that_wants_another_type_once_it_has_it() -> None:
    found = fit(ps.FrequencyEncode("c"), ps.Standardize("c"))
    assert found.steps.scans == 2
    values = applied(found).column("c").to_numpy()
    assert (values.mean(), values.std()) == pytest.approx((0.0, 1.0), abs=1e-12)
    with pytest.raises(SchemaError, match="step 'standardize', column 'c'"):
        fit(ps.Impute("a"), ps.Standardize("c"))


def test_a_wrong_name_is_told_before_any_scan() -> None:
    with pytest.raises(SchemaError, match="'nowhere'"):
        fit_steps([ps.FrequencyEncode("c"), ps.Standardize("nowhere")], source(), None, Silent())  # type: ignore[arg-type]


def test_a_fit_gives_the_same_states_for_any_number_of_cores() -> None:
    steps = [ps.Impute(ps.numeric(), "median"), ps.Clip(ps.numeric()), ps.Standardize(ps.numeric()), ps.OneHot("c")]
    outputs = []
    for cores in (1, 2, 5):
        found = fit_steps(steps, source(), LocalEngine(Resources(cores, 2**33)), Silent())
        outputs.append([state.state() for states in found.steps.states for state in states.values()])
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_label_numbers_a_step_that_occurs_twice() -> None:
    found = fit(ps.Clip("a"), ps.Clip("b"))
    assert found.steps.labels == ("clip", "clip 2")


def test_inverse_of_fitted_steps_gives_back_what_went_in() -> None:
    found = fit(ps.Standardize(ps.numeric()), ps.MinMax(ps.numeric()))
    chain = found.steps.chain(Use("predict"))
    for batch in read_all(source()):
        back = found.steps.inverse(chain.transform(batch))
        for name in ("a", "b"):
            np.testing.assert_allclose(
                back.column(name).to_numpy(zero_copy_only=False),
                batch.column(name).to_numpy(zero_copy_only=False),
                rtol=1e-9,
            )


def test_only_the_columns_that_are_needed_are_read() -> None:
    chain = fit(ps.Standardize("a"), ps.OneHot("c")).steps.chain(Use("predict"), ("a",))
    assert chain.inputs == ("a",)
    assert chain.evaluations == 1
