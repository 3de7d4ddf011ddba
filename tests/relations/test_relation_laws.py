"""The laws of relations, on every one that the registry knows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from related_rows import batches_of, keys_of, laid, rows_of, source_of

import penstock as ps
from penstock.errors import DataError
from penstock.registry import find, names
from penstock.relation import Relation
from penstock.resources import held
from penstock.source import Source

PHASES = (Phase.explicit, Phase.generate)
ROLES = {"k": "integer", "c": "category", "x": "number", "t": "time", "b": "boolean"}
ROW = st.tuples(
    st.none() | st.integers(-2, 2),
    st.none() | st.sampled_from(["a", "b", "é", ""]),
    st.none() | st.floats(-1e6, 1e6, allow_subnormal=False),
    st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2020, 1, 5)),
    st.none() | st.booleans(),
)
ROWS = st.lists(ROW, min_size=1, max_size=30)


def data_of(rows: list[Any]) -> dict[str, tuple[str, list[Any]]]:
    return {name: (role, [row[i] for row in rows]) for i, (name, role) in enumerate(ROLES.items())}


def examples(name: str, other: Source) -> tuple[Relation, ...]:
    found: dict[str, tuple[Relation, ...]] = {
        "derive": (
            ps.DeriveColumns({"day": "date_trunc('day', t)", "y": "x / 2"}),
            ps.DeriveColumns({"x": "coalesce(x, k)", "n": "length(c)"}),
            ps.DeriveColumns({"one": "1"}),
        ),
        "deduplicate": (ps.Deduplicate("c"), ps.Deduplicate(keep="none"), ps.Deduplicate("k", "last", by="t")),
        "filter": (ps.Filter("x > 0"), ps.Filter("k is null or b"), ps.Filter("true"), ps.Filter("1 > 2")),
        "group": (
            ps.Group("c", {"s": ("sum", "x"), "d": ("std", "x"), "m": ("median", "x"), "f": ("first", "t")}),
            ps.Group((), {"n": ("count", "*"), "mean": ("mean", "x"), "l": ("last", "c"), "u": ("n_unique", "b")}),
        ),
        "join": tuple(ps.Join(other, on="k", how=how) for how in ("left", "inner", "full", "semi", "anti")),  # type: ignore[arg-type]
        "join_rows": (ps.JoinRows(other),),
        "map_columns": (ps.MapColumns({"k": "c", "c": "k"}, {"x": 0.1, "k": 3}, {"x": 1}),),
        "rolling": (
            ps.Rolling("x", "mean", 3, by="c"),
            ps.Rolling(["x", "k"], "std", "36h", by="c", order="t", centered=True),
            ps.Rolling("x", "savitzky_golay", 5, order="k", suffix=""),
            ps.Rolling("x", "sum", "1d", by="c", order="t", offset=0, closed="both", min_rows=0),
        ),
        "sort": (ps.Sort("x"), ps.Sort(["c", "t", "b"], (True, False, True))),
    }
    return found[name]


@pytest.mark.parametrize("name", names("relations"))
def test_the_registry_and_the_relation_agree_on_its_name(name: str, tmp_path: Path) -> None:
    other = source_of(tmp_path, data_of([(1, "a", 1.0, None, True)]))
    assert find("relations", name).name == name
    assert all(type(relation) is find("relations", name) for relation in examples(name, other))


@pytest.mark.parametrize("name", names("relations"))
@settings(deadline=None, max_examples=4, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, others=ROWS, which=st.integers(0, 4))
def test_rows_and_their_keys_are_the_same_for_any_threads_memory_and_blocks(
    tmp_path: Path, name: str, rows: list[Any], others: list[Any], which: int
) -> None:
    others = rows[::-1] if name == "join_rows" else others
    other = source_of(tmp_path, data_of(others), name="other", block=4)
    source = source_of(tmp_path, data_of(rows))
    (tmp_path / "again").mkdir(exist_ok=True)
    again_as = source_of(tmp_path / "again", data_of(rows), block=11)
    relation = examples(name, other)[which % len(examples(name, other))]
    little, much = held() + 2**28, held() + 2**31  # beyond what this process of many tests holds already
    one, two, three = (
        laid(source, relation, cores=cores, memory=memory)[0] for cores, memory in ((1, much), (2, much), (2, little))
    )
    expected = rows_of(one)
    keys = keys_of(batches_of(one))
    assert one.schema == two.schema
    for again in (two, three, laid(again_as, relation)[0]):
        assert rows_of(again).equals(expected)
        assert keys_of(batches_of(again)) == keys


@pytest.mark.parametrize("name", sorted(set(names("relations")) - {"join_rows"}))
def test_no_rows_are_no_trouble(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path, data_of([(1, "a", 1.0, None, True)] * 5))
    other = source_of(tmp_path, data_of([(2, "b", 2.0, None, None)] * 2), name="other")
    for relation in examples(name, other):
        found, _ = laid(source, ps.Filter("k > 1"), relation)
        assert rows_of(found).height == (2 if getattr(relation, "how", "") == "full" else 0)


def test_rows_beside_no_rows_have_to_be_none(tmp_path: Path) -> None:
    source = source_of(tmp_path, data_of([(1, "a", 1.0, None, True)]))
    with pytest.raises(DataError, match="not as many rows"):
        laid(source, ps.Filter("k > 1"), ps.JoinRows(source))
