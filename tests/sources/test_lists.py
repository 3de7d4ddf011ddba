"""Lists of codes in a cell: found, read, and used by the default steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock import artifact
from penstock.errors import SchemaError
from penstock.schema import Role
from penstock.sources.csv_types import infer_column
from penstock.sources.written import JSON_LIST, kind_of_way, list_cells

CODES = ["red", "green", "blue", "old"]
LISTS = [[a, b] for a in CODES for b in CODES if a < b] + [["red"], ["blue"], CODES[:3]]


def inferred(texts: list[str]) -> tuple[Role, str]:
    found = infer_column("tags", pa.array(texts, pa.string()), complete=False)
    return found.role, found.written


def joined(lists: list[list[str]], mark: str) -> list[str]:
    return [json.dumps(one) if mark == "json" else mark.join(one) for one in lists]


@pytest.mark.parametrize(
    ("mark", "way"), [(";", "a;b"), ("|", "a|b"), ("; ", "a;b"), (" | ", "a|b"), ("json", JSON_LIST)]
)
def test_lists_are_found_and_read(mark: str, way: str) -> None:
    texts = joined(LISTS * 4, mark)
    assert inferred(texts) == (Role.list, way)
    assert list_cells(pa.array(texts[:9]), way).values.to_pylist() == LISTS


def test_lists_as_python_shows_them_are_lists() -> None:
    texts = [str(one) for one in LISTS * 4]
    assert inferred(texts) == (Role.list, JSON_LIST)
    assert list_cells(pa.array(texts[:9]), JSON_LIST).values.to_pylist() == LISTS


@pytest.mark.parametrize(
    "texts",
    [
        ["one; two"] * 30,
        [f"Paris {i}; France" for i in range(30)],
        ["the house; it is old; and it stands there since the war, which nobody expected"] * 30,
        [f"{i};{i + 1}" for i in range(30)],
        ["red", "green", "blue"] * 20,
        ["a|b", "c|d"] * 3,
    ],
)
def test_sentences_pairs_and_few_values_are_no_lists(texts: list[str]) -> None:
    assert inferred(texts)[0] is not Role.list


ITEMS = st.text(alphabet="abcXYZ äß中0-9_.", min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ITEMS, min_size=1, max_size=4), max_size=4), st.sampled_from([";", "|", ", ", "/", "json"]))
def test_a_list_written_and_read_is_the_list(lists: list[list[str]], mark: str) -> None:
    way = JSON_LIST if mark == "json" else f"a{mark}b"
    assert kind_of_way(way) is Role.list
    texts = [json.dumps(one, ensure_ascii=False) for one in lists] if mark == "json" else joined(lists, mark)
    assert list_cells(pa.array(texts, pa.string()), way).values.to_pylist() == lists


def data(path: Path, *, labelled: bool = True) -> Path:
    lines = [f"{';'.join(one)},{'yes' if 'red' in one else 'no'}" for one in LISTS * 40]
    path.write_text("tags,y\n" + "\n".join(lines) + "\n" if labelled else "tags\nred;old\nblue\n")
    return path


def test_lists_go_through_the_default_steps_into_a_model(tmp_path: Path) -> None:
    train = data(tmp_path / "train.csv")
    source = ps.read(train)
    assert source.schema["tags"].role is Role.list
    fitted = ps.Pipeline(model=ps.Linear(), target="y").fit(train)
    saved = fitted.save(tmp_path / "model")
    assert "multi_hot" in {fitted_step.step.name for fitted_step in artifact.load(saved).steps.steps}
    new = data(tmp_path / "new.csv", labelled=False)  # too short to be found a list by itself
    assert ps.read(new).schema["tags"].role is not Role.list
    table = ps.load(tmp_path / "model").predict(new)
    assert table.column("prediction").to_pylist() == ["yes", "no"]


def test_a_cell_that_is_no_list_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"tags": json.dumps(one)} for one in LISTS * 20] + [{"tags": "red, blue"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = ps.read(path)
    batches = [batch for chunk in source.chunks() for batch in source.read(chunk)]
    (rejected,) = (row for b in batches if b.rejected is not None for row in b.rejected.to_pylist())
    assert (rejected["row"], rejected["code"], rejected["value"]) == (180, "not_a_list", "red, blue")


def test_the_user_says_what_is_a_list_and_what_is_none(tmp_path: Path) -> None:
    path = data(tmp_path / "a.csv")
    assert ps.read(path, written={"tags": ""}).schema["tags"].role is Role.category
    assert ps.read(path, roles={"tags": "category"}).schema["tags"].type == pa.string()
    short = tmp_path / "short.csv"
    short.write_text("tags,x\nred/old,1\nblue,2\n")
    source = ps.read(short, written={"tags": "a/b"})
    rows: list[Any] = [batch.columns.to_pylist() for chunk in source.chunks() for batch in source.read(chunk)]
    assert rows == [[{"tags": ["red", "old"], "x": 1.0}, {"tags": ["blue"], "x": 2.0}]]
    with pytest.raises(SchemaError, match="can't be a list"):
        ps.read(short, roles={"tags": "list"})
