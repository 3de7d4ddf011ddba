"""A profile against pandas and scikit-learn, and the warnings that it has to give."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

import penstock as ps
from penstock.engine import Resources, Silent, Station, Task
from penstock.engines.local import LocalEngine
from penstock.errors import DataError, SchemaError
from penstock.fitting import fit_steps
from penstock.jobs.profile import Profile, statistics_for

ROWS = 6_000
_START = dt.datetime(2020, 1, 1)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A table with everything that a profile tells of, and what it is made of."""
    rng = np.random.default_rng(7)
    age = rng.integers(18, 90, ROWS).astype(float)
    wage = rng.lognormal(10, 0.6, ROWS)
    bought = (rng.random(ROWS) < 1 / (1 + np.exp(-(age - 60) / 8))).astype(int)
    table = pa.table(
        {
            "age": pa.array(np.where(rng.random(ROWS) < 0.1, np.nan, age), from_pandas=True),
            "wage": wage,
            "wage_in_cents": wage * 100,
            "city": pa.array(rng.choice(["Ulm", "Bern", "Graz", None], ROWS, p=[0.5, 0.3, 0.15, 0.05]).tolist()),
            "member": pa.array((rng.random(ROWS) < 0.3).tolist()),
            "since": pa.array([_START + dt.timedelta(hours=int(h)) for h in rng.integers(0, 30_000, ROWS)]),
            "note": pa.array([" ".join(rng.choice(["a", "long", "text", "word"], 6)) + str(i) for i in range(ROWS)]),
            "constant": ["same"] * ROWS,
            "nothing": pa.nulls(ROWS, pa.float64()),
            "outcome": np.where(bought, "yes", "no"),
            "outcome_code": bought * 7.0,
        }
    )  # fmt: skip
    path = tmp_path_factory.mktemp("profile") / "people.parquet"
    pq.write_table(table, path, row_group_size=1_700)
    return path, table.to_pandas()


@pytest.fixture(scope="module")
def profiled(people):
    return ps.profile(people[0], target="outcome")


def test_numbers_are_those_of_pandas(people, profiled):
    frame = people[1]
    for name in ("age", "wage"):
        found, values = profiled[name], frame[name].dropna()
        numbers = found["number"]
        assert found["missing"] == frame[name].isna().sum()
        assert numbers["mean"] == pytest.approx(values.mean(), rel=1e-9)
        assert numbers["deviation"] == pytest.approx(values.std(), rel=1e-9)
        assert (numbers["minimum"], numbers["maximum"]) == pytest.approx((values.min(), values.max()))
        for q, value in numbers["quantiles"].items():
            assert value == pytest.approx(values.quantile(float(q)), rel=2e-3)
        first, third = values.quantile([0.25, 0.75])
        far = (values < first - 3 * (third - first)) | (values > third + 3 * (third - first))
        assert numbers["far_out"]["rows"] == pytest.approx(far.sum(), abs=2)


def test_bins_have_every_value_once(people, profiled):
    for name in ("age", "wage", "since", "note"):
        bins = profiled[name]["bins"]
        whole = sum(bins["counts"]) + bins.get("below", 0) + bins.get("above", 0)
        assert whole == ROWS - profiled[name]["missing"]
        assert all(count >= 0 for count in bins["counts"])
        assert "values" in bins or len(bins["edges"]) == len(bins["counts"]) + 1


def test_bins_of_whole_numbers_are_counted_as_numpy_does(people, profiled):
    bins = profiled["age"]["bins"]
    edges = np.array(bins["edges"])
    values = people[1]["age"].dropna()
    assert bins["counts"] == np.histogram(values, edges)[0].tolist()
    assert len(set(np.diff(edges))) == 1


def test_categories_are_those_of_pandas(people, profiled):
    frame = people[1]
    counts = frame["city"].value_counts()
    assert profiled["city"]["top"] == [[name, count] for name, count in counts.items()]
    assert profiled["city"]["missing"] == frame["city"].isna().sum()
    assert profiled["member"]["top"][0] == ["false", int((~frame["member"]).sum())]


def test_times_are_told_with_their_calendar(people, profiled):
    found, times = profiled["since"]["time"], people[1]["since"]
    assert found["minimum"] == str(times.min())
    assert found["maximum"] == str(times.max())
    assert found["weekdays"] == times.dt.day_of_week.value_counts().sort_index().tolist()
    assert not found["dates"]
    bins = profiled["since"]["bins"]
    assert (bins["unit"], bins["edges"]) == ("Y", ["2020", "2021", "2022", "2023", "2024"])
    assert bins["counts"] == pytest.approx(times.dt.year.value_counts().sort_index().tolist(), abs=12)


def test_text_is_told_by_its_lengths(people, profiled):
    found, texts = profiled["note"], people[1]["note"]
    assert found["kind"] == "text"
    assert found["length"]["mean"] == pytest.approx(texts.str.len().mean())
    assert found["length"]["maximum"] == texts.str.len().max()
    assert found["distinct"] == pytest.approx(ROWS, rel=0.03)


def test_correlations_are_those_of_pandas(people, profiled):
    found = profiled.document["correlations"]
    columns = [name for name in found["columns"] if name != "nothing"]
    wanted = people[1][columns].astype(float).corr()
    for first in columns:
        for second in columns:
            i, j = found["columns"].index(first), found["columns"].index(second)
            assert found["matrix"][i][j] == pytest.approx(wanted.loc[first, second], abs=1e-4)
    assert found["pairs"][0][:2] == ["wage", "wage_in_cents"]


def test_the_target_is_told_by_each_column_alone(people, profiled):
    frame = people[1]
    known = frame["age"].fillna(frame["age"].median())
    area = roc_auc_score(frame["outcome"] == "yes", known)
    assert profiled["age"]["association"]["score"] == pytest.approx(area, abs=0.03)
    assert profiled["wage"]["association"]["score"] == pytest.approx(0.5, abs=0.03)
    points = profiled["age"]["association"]["points"]
    assert sum(point["rows"] for point in points) == ROWS
    first = next(point for point in points if point["value" if "value" in point else "x"] is not None)
    inside = frame["age"].between(first["from"], first["to"])
    assert first["y"] == pytest.approx((frame["outcome"][inside] == "yes").mean())
    city = {point["value"]: point["y"] for point in profiled["city"]["association"]["points"]}
    wanted = (frame["outcome"] == "yes").groupby(frame["city"]).mean()
    assert {name: city[name] for name in wanted.index} == pytest.approx(wanted.to_dict())


def test_warnings_are_given_with_a_remedy(profiled):
    codes = {(one["code"], *one["columns"]) for one in profiled.warnings}
    assert {("leakage", "outcome_code"), ("constant", "constant"), ("all_missing", "nothing")} <= codes
    assert ("correlated", "wage", "wage_in_cents") in codes
    assert all(one["remedy"] and one["reason"] for one in profiled.warnings)
    assert profiled.warnings[0]["severity"] == "high"
    assert not any(one["code"] == "leakage" and one["columns"] != ["outcome_code"] for one in profiled.warnings)


def test_a_regression_is_told_by_explained_variance(people, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=3_000)
    table = pa.table({"y": 3 * x + rng.normal(size=3_000), "x": x, "curve": np.abs(x), "noise": rng.normal(size=3_000)})
    pq.write_table(table, tmp_path / "a.parquet")
    found = ps.profile(tmp_path / "a.parquet", target="y")
    assert found.document["target"]["task"] == "regression"
    assert found["x"]["association"]["score"] == pytest.approx(0.9, abs=0.02)
    assert found["noise"]["association"]["score"] == pytest.approx(0.0, abs=0.02)
    pearson = np.corrcoef(table["y"], table["curve"])[0, 1] ** 2
    assert found["curve"]["association"]["score"] <= pearson + 0.05


def table_warnings(tmp_path, columns, **options):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return {(one["code"], *one["columns"]): one for one in ps.profile(tmp_path / "t.parquet", **options).warnings}


def test_a_key_a_rare_class_zeros_and_duplicates_are_warned_of(tmp_path):
    rng = np.random.default_rng(0)
    rows = 3_000
    found = table_warnings(
        tmp_path,
        {
            "code": pa.array([float(i * 7) for i in rng.permutation(rows)]).cast(pa.int64()),
            "spent": np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(9, rows)),
            "heavy": rng.standard_cauchy(rows),
            "y": ["fraud" if i % 200 == 0 else "fine" for i in range(rows)],
        },
        target="y",
    )
    assert ("key_like", "code") in found
    assert ("zeros", "spent") in found
    assert ("outliers", "heavy") in found
    assert "0.50%" in found[("imbalance", "y")]["reason"]
    twice = table_warnings(tmp_path, {"a": [float(i % 500) for i in range(1_000)], "b": ["x"] * 1_000})
    assert "500 rows (50.0%)" in twice[("duplicates",)]["reason"]


def test_a_target_with_one_value_is_said_and_no_error(tmp_path):
    found = table_warnings(tmp_path, {"y": ["a"] * 200, "x": [float(i) for i in range(200)]}, target="y")
    assert "nothing can be learned" in found[("target", "y")]["reason"]


def test_json_comes_back_as_it_was(profiled):
    text = json.dumps(profiled.to_json(), allow_nan=False)
    again = Profile.from_json(json.loads(text))
    assert again.to_json() == json.loads(text)
    assert again.columns == profiled.columns
    assert repr(again) == repr(profiled)
    with pytest.raises(DataError, match="not a profile"):
        Profile.from_json({"format": 99})


def test_it_is_the_same_for_any_number_of_cores(people, profiled):
    alone = ps.profile(people[0], target="outcome", cores=1)
    assert json.dumps(alone.to_json()) == json.dumps(profiled.to_json())


def test_statistics_of_another_fold_make_the_same_profile(people, profiled):
    source = ps.read(people[0]).with_roles({"outcome": ps.Role.target})
    statistics = statistics_for(source.schema, "outcome")
    engine = LocalEngine(Resources(2, 2**31), Silent())
    folded = engine.fold(Task("fit", source, source.schema.names, (Station(None, statistics),)))
    found = Profile.of(source.schema, folded.statistics[0], source.notes, target="outcome")
    assert {**found.to_json(), "rejected": 0, "rejected_example": ""} == profiled.to_json()


def test_rows_that_can_not_be_read_are_told(tmp_path):
    lines = [f"{i},{i % 7}" for i in range(300)]
    lines.insert(150, "1,2,3")
    (tmp_path / "a.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    found = ps.profile(tmp_path / "a.csv")
    assert (found.rows, found.document["rejected"]) == (300, 1)
    told = next(one for one in found.warnings if one["code"] == "rejected")
    assert "a.csv line 152" in told["reason"]


def test_a_column_that_is_not_there_is_refused(people, profiled):
    with pytest.raises(SchemaError, match="none of the columns"):
        ps.profile(people[0], target="Outcome")
    with pytest.raises(SchemaError, match="no such column"):
        profiled["Age"]


def test_wide_tables_correlate_a_bounded_number_of_columns(tmp_path):
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({f"c{i}": rng.normal(size=50) for i in range(130)}), tmp_path / "wide.parquet")
    found = ps.profile(tmp_path / "wide.parquet")
    assert len(found.document["correlations"]["columns"]) == 100
    assert found.document["correlations"]["left_out"] == 30
    assert len(found.columns) == 130


@pytest.mark.parametrize(
    "columns",
    [
        {"a": pa.nulls(30, pa.float64()), "b": pa.nulls(30, pa.string()), "c": pa.nulls(30)},
        {"a": [1.0], "b": ["x"], "c": [True]},
        {"": [1.0] * 9, "*": ["^a$"] * 9, "c:x": ["\x00\x1b[31m"] * 9, "a\nb": ["\u202eabc"] * 9},
        {"a": [1e308, -1e308, 5e-324] * 9, "b": [2**62, -(2**62), 0] * 9},
        {"t": [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)] * 9, "d": [dt.date(2020, 2, 29)] * 18},
        {"x": pa.array([["a", "b"], None, []] * 9, pa.list_(pa.string())), "y": pa.array([1, 2, 3] * 9, pa.int8())},
    ],
    ids=["nulls", "one row", "odd names", "huge", "times", "types"],
)
def test_odd_tables_have_a_profile_too(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "odd.parquet")
    for target in (None, next(iter(columns))):
        found = ps.profile(tmp_path / "odd.parquet", target=target)
        json.dumps(found.to_json(), allow_nan=False)
        assert str(found.rows) in repr(found)
        assert "\x1b" not in repr(found)
        assert "\x1b" not in found._repr_html_()


def test_it_shows_itself_aligned_and_no_wider_than_the_terminal(people, profiled):
    from penstock.report.text import profile_text

    for width in (44, 60, 80, 100):
        lines = profile_text(profiled.document, width).splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.startswith("age") for line in lines)
    assert "6,000 rows, 11 columns" in repr(profiled)


def test_a_notebook_shows_it_escaped(tmp_path):
    pq.write_table(pa.table({"<b>x": ["<script>alert(1)</script>", "b"] * 60}), tmp_path / "a.parquet")
    page = ps.profile(tmp_path / "a.parquet")._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>x" not in page


def test_a_fit_profiles_its_data_in_the_scan_that_fits_its_steps(people, profiled):
    source = ps.read(people[0]).with_roles({"outcome": ps.Role.target})
    engine = LocalEngine(Resources(2, 2**31), Silent())
    steps = [ps.Impute(ps.columns("age"), "median")]
    fit = fit_steps(steps, source, engine, Silent(), extra=statistics_for(source.schema, "outcome"))
    assert len(engine.passes) == 1
    found = Profile.of(source.schema, fit.extra, source.notes, target="outcome")
    assert found["age"] == profiled["age"]
    assert found.document["correlations"] == profiled.document["correlations"]


def test_very_long_texts_are_told_by_their_lengths_and_never_counted_whole(tmp_path):
    texts = [letter * 200_000 for letter in "abcdefgh" * 10]
    pq.write_table(pa.table({"x": texts}), tmp_path / "long.parquet", row_group_size=20)
    found = ps.profile(tmp_path / "long.parquet")
    assert (found["x"]["role"], found["x"]["kind"], found["x"]["distinct"]) == ("text", "text", 8)
    assert found["x"]["length"]["maximum"] == 200_000
    assert len(json.dumps(found.to_json())) < 10_000
