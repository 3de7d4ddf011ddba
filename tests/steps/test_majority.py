"""Values that disagree with the great majority of their group are repaired; groups that agree less are left alone."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Use
from penstock.steps.majority import RepairByMajority
from penstock.testing.steps import batch_of, fit_step

SCHEMA = Schema(
    (
        Field("zip", pa.string(), Role.category),
        Field("site", pa.float64(), Role.integer),
        Field("city", pa.string(), Role.category),
        Field("people", pa.int32(), Role.integer),
        Field("large", pa.bool_(), Role.boolean),
        Field("time", pa.timestamp("us"), Role.time),
        Field("y", pa.string(), Role.target),
    )
)


def rows(**values: list[Any]) -> Batch:
    length = len(next(iter(values.values())))
    return batch_of(SCHEMA, {name: values.get(name, [None] * length) for name in SCHEMA.names})


def applied(step: RepairByMajority, batch: Batch, seen: Batch | None = None) -> dict[str, list[Any]]:
    fitted = fit_step(step, SCHEMA, [batch if seen is None else seen])
    return fitted.transform(batch, Use()).columns.to_pydict()  # type: ignore[no-any-return]


VALUE = st.none() | st.sampled_from(["a", "b", "c"])
KEY = st.none() | st.sampled_from(["x", "y", ""])


@given(
    st.lists(st.tuples(KEY, st.none() | st.sampled_from([0.0, 1.5]), VALUE), max_size=30),
    st.sampled_from([0.51, 0.6, 2 / 3, 0.75, 1.0]),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_each_group_that_agrees_gets_its_value(found: list[Any], share: float, least: int, missing: bool) -> None:
    expected = []
    for zip_code, site, city in found:
        group = [row[2] for row in found if row[:2] == (zip_code, site) and row[2] is not None]
        counts = Counter(group).most_common(1)
        agrees = None not in (zip_code, site) and counts and counts[0][1] >= max(least, share * len(group))
        expected.append(counts[0][0] if agrees and (missing or city is not None) else city)
    zips, sites, cities = map(list, zip(*found, strict=True)) if found else ([], [], [])
    step = RepairByMajority("city", ("zip", "site"), share, least, missing)
    assert applied(step, rows(zip=zips, site=sites, city=cities))["city"] == expected


def test_numbers_and_truth_values_keep_their_types() -> None:
    batch = rows(zip=["x"] * 5, people=[7, 7, 7, 7, 8], large=[True, None, True, True, True])
    out = fit_step(RepairByMajority(["people", "large"], "zip"), SCHEMA, [batch]).transform(batch, Use())
    assert out.column("people").equals(pa.array([7] * 5, pa.int32()))
    assert out.column("large").to_pylist() == [True] * 5


def test_what_is_predicted_gets_what_was_agreed_and_new_groups_stay() -> None:
    seen = rows(zip=["x"] * 5, city=["a"] * 5)
    out = applied(RepairByMajority("city", "zip"), rows(zip=["x", "x", "new", None], city=["b", None, "b", "b"]), seen)
    assert out["city"] == ["a", "a", "b", "b"]


def test_columns_by_stay_as_they_are_though_the_selection_meets_them() -> None:
    batch = rows(zip=["x"] * 4 + ["y"], city=["a"] * 5)
    assert applied(RepairByMajority("categorical", "zip"), batch)["zip"] == ["x"] * 4 + ["y"]


def test_the_reason_names_the_group() -> None:
    batch = rows(zip=["x"] * 5, city=["a"] * 4 + ["b"])
    fitted = fit_step(RepairByMajority("city", "zip"), SCHEMA, [batch])
    assert fitted.reason("city") == "what at least 80% of its group say, by 'zip'; groups that agree so: 1"


def test_a_column_of_nulls_and_no_rows_stay() -> None:
    step = RepairByMajority(["city", "people"], "zip")
    assert applied(step, rows(zip=["x"] * 5))["city"] == [None] * 5
    assert applied(step, rows(zip=[]))["city"] == []


@pytest.mark.parametrize("name", ["", "*", "^a$", "c:x", "表"])
def test_odd_names_of_columns_are_names(name: str) -> None:
    schema = Schema((Field(name, pa.string(), Role.category), Field("v", pa.string(), Role.category)))
    batch = batch_of(schema, {name: ["g"] * 5, "v": ["a"] * 4 + ["b"]})
    fitted = fit_step(RepairByMajority("v", name), schema, [batch])
    assert fitted.transform(batch, Use()).column("v").to_pylist() == ["a"] * 5


def test_too_many_groups_are_refused() -> None:
    keys = [str(n) for n in range(10_001)]
    with pytest.raises(DataError, match="groups"):
        applied(RepairByMajority("city", "zip"), rows(zip=keys, city=["a"] * len(keys)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("share", 0.5),
        ("share", 1.1),
        ("share", float("nan")),
        ("share", True),
        ("least", 0),
        ("least", 1.5),
        ("missing", 1),
        ("by", ()),
        ("by", ("zip", "zip")),
        ("by", (1,)),
        ("by", None),
    ],
)
def test_other_settings_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"repair_by_majority: {setting}"):
        RepairByMajority("city", **{"by": "zip", setting: value})


@pytest.mark.parametrize(
    ("columns", "by", "fault"), [("city", "zap", "'zip'"), ("city", "y", "'y'"), ("time", "zip", "'time'")]
)
def test_columns_that_it_cannot_work_on_are_refused(columns: str, by: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        RepairByMajority(columns, by).touches(SCHEMA)


def test_times_can_be_grouped_by() -> None:
    moment = datetime(2026, 1, 1)
    batch = rows(time=[moment] * 5, city=["a"] * 4 + ["b"])
    assert applied(RepairByMajority("city", "time"), batch)["city"] == ["a"] * 5
