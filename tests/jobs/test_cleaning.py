"""Cleaning and deriving steps in whole jobs: fitted over blocks, counted, saved, opened and applied again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.errors import DataError

ROWS = 3000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of several row groups, with nulls, ages that can't be and a few classes."""
    random = np.random.default_rng(0)

    def with_nulls(values: object, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, kind, mask=random.random(ROWS) < 0.1)

    start = datetime(2020, 1, 1)
    table = pa.table(
        {
            "Age": with_nulls(random.normal(40, 12, ROWS).round(1)),
            "sex": with_nulls(random.choice(["f", "m"], ROWS)),
            "class": with_nulls(random.integers(1, 4, ROWS).astype(float)),
            "fare": with_nulls(random.exponential(30, ROWS)),
            "sold": with_nulls([start + timedelta(hours=int(h)) for h in random.integers(0, 20_000, ROWS)]),
            "y": np.where(random.random(ROWS) < 0.4, "yes", "no"),
        }
    )
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(table, path, row_group_size=700)
    return path


STEPS = """
max_rejected: 0.5
steps:
  - rename: {columns: {Age: age}}
  - validate: {rules: {age: {min: 10, max: 75}, sex: {values: [f, m]}}}
  - drop_missing: sold
  - impute: {columns: age, strategy: mean, by: [sex, class], indicator: true}
  - impute: {columns: fare, by: class}
  - impute: {columns: [sex, class], strategy: most_frequent, by: sold}
  - derive: {columns: {ratio: fare / (age - 10) // 0.01, kind: "if(fare > 30, 'dear', 'cheap')"}}
  - date_parts: {columns: sold, parts: [year, weekday], cyclic: [hour]}
"""


def test_a_preparation_gives_what_pandas_gives(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "steps.yaml"
    config.write_text(STEPS)
    ps.Pipeline.of(config).prepare(data, to=tmp_path / "out")
    out = pl.read_parquet(tmp_path / "out" / "*.parquet").to_pandas()
    frame = pd.read_parquet(data).rename(columns={"Age": "age"})
    bad = (frame["age"] < 10) | (frame["age"] > 75)
    frame = frame[~bad].dropna(subset="sold").reset_index(drop=True)
    missing = frame["age"].isna()
    grouped = frame.groupby(["sex", "class"])["age"].transform("mean")
    expected = frame["age"].fillna(grouped).fillna(frame["age"].mean())
    assert (out["age_missing"] == missing).all()
    assert 0 < missing.sum() < len(frame) < ROWS
    np.testing.assert_allclose(out["age"], expected, rtol=1e-12)
    median = frame.groupby("class")["fare"].transform("median")
    fare = frame["fare"].fillna(median).fillna(frame["fare"].median())
    np.testing.assert_allclose(out["fare"], fare, rtol=1e-12)
    np.testing.assert_array_equal(out["ratio"], fare.to_numpy() / (out["age"].to_numpy() - 10) // 0.01)
    np.testing.assert_array_equal(out["kind"], np.where(out["fare"] > 30, "dear", "cheap"))
    np.testing.assert_array_equal(out["sold_year"], frame["sold"].dt.year)
    np.testing.assert_array_equal(out["sold_weekday"], frame["sold"].dt.day_of_week + 1)
    assert not out[["sex", "class"]].isna().any().any()


def test_every_row_is_counted_and_a_saved_pipeline_predicts_the_same(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "pipeline.yaml"
    config.write_text(f"{STEPS}target: y\nmodel: linear\n")
    fitted = ps.Pipeline.of(config).fit(data)
    ledger = {row["step"]: row for row in fitted.summary["ledger"]["steps"]}
    frame = pd.read_parquet(data)
    bad = (frame["Age"] < 10) | (frame["Age"] > 75)
    assert ledger["validate"]["rejected"] == bad.sum() > 0
    assert ledger["drop_missing"]["dropped"] == frame[~bad]["sold"].isna().sum() > 0
    assert all(row["in"] == row["out"] + row["rejected"] + row["dropped"] for row in ledger.values())
    predicted = fitted.predict(data)
    assert predicted.num_rows == ROWS - bad.sum()  # rows without a time get their prediction
    assert ps.load(fitted.save(tmp_path / "model")).predict(data).equals(predicted)


def test_a_job_that_is_to_fail_names_the_first_row_and_publishes_nothing(data: Path, tmp_path: Path) -> None:
    first = int(np.flatnonzero(pd.read_parquet(data)["Age"] > 75)[0])
    step = ps.Validate({"Age": {"max": 75}}, on_failure="fail")
    with pytest.raises(DataError, match=rf"rows.parquet, row {first + 1}, step 'validate', column 'Age'"):
        ps.Pipeline([step]).prepare(data, to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
