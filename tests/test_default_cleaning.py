"""The default cleaning: which steps it consists of, that good data stay as they are, that its page tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa

import penstock as ps
from penstock.cleaning import default_steps
from penstock.config import parse_config
from penstock.schema import Field, Role, Schema

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cleaning.md").read_text("utf-8")
SCHEMA = Schema(
    (
        Field("age", pa.float64(), Role.number),
        Field("city", pa.string(), Role.category),
        Field("story", pa.string(), Role.text),
        Field("y", pa.string(), Role.target, values=Role.category),
        Field("who", pa.string(), Role.group, values=Role.category),
        Field("id", pa.string(), Role.key),
        Field("tags", pa.list_(pa.string()), Role.list),
    )
)


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_only_categories_and_texts_are_cleaned_and_each_step_says_why() -> None:
    found = default_steps(SCHEMA)
    assert [(step.name, step.touches(SCHEMA).writes) for step, _ in found] == [
        ("normalize_text", ("city",)),
        ("normalize_text", ("story",)),
        ("merge_spellings", ("city",)),
    ]
    assert all(step.touches(SCHEMA).writes[0] in reason for step, reason in found)
    assert all(step.cleans for step, _ in found)


def test_there_are_no_steps_where_there_is_nothing_to_clean() -> None:
    assert default_steps(SCHEMA.without(["city", "story"])) == ()
    assert default_steps(Schema(())) == ()
    assert [step.name for step, _ in default_steps(SCHEMA.select(["story"]))] == ["normalize_text"]


def test_many_columns_are_named_in_part() -> None:
    schema = Schema(tuple(Field(f"c{n}", pa.string(), Role.category) for n in range(9)))
    assert default_steps(schema)[0][1].startswith("c0, c1, c2, c3 and 5 more: ")


def test_a_table_that_is_right_stays_as_it_is(tmp_path: Path) -> None:
    source = ps.read(ROOT / "examples" / "data" / "adult" / "train.csv.gz")
    steps = [step for step, _ in default_steps(source.schema)]
    assert steps
    ps.Pipeline(steps).prepare(source, to=tmp_path / "out", audit=tmp_path / "cells.parquet")
    assert len(pl.read_parquet(tmp_path / "cells.parquet")) == 0


def test_the_example_of_the_page_gives_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(block("python"), "utf-8")
    subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, check=True)
    assert (tmp_path / "cells.csv").read_text("utf-8") == block("text")
    cities = pl.read_parquet(tmp_path / "clean.parquet")["city"]
    assert cities.unique().sort().to_list() == [None, "Birmingham", "Huntsville", "Montgomery"]


def test_the_pipeline_file_of_the_page_is_one() -> None:
    steps = parse_config(block("yaml"), "cleaning.md").steps
    assert [step.name for step in steps] == re.findall(r"^  - (\w+):", block("yaml"), re.MULTILINE)


def test_the_steps_that_the_page_says_are_audited_are_those() -> None:
    from penstock.registry import find, names

    (told,) = re.findall(r"An audit is of steps that clean: (.*?)\.", PAGE, re.DOTALL)
    cleaning = {name for name in names("steps") if find("steps", name).cleans}
    assert set(re.findall(r"`(\w+)`", told)) == cleaning


def test_the_shares_of_the_page_follow_from_its_counts() -> None:
    rows = re.findall(r"^\| ([\w +]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {"beers", "flights", "hospital", "rayyan", "all"} <= {row[0] for row in rows}
    for name, _, errors, changed, shares in rows:
        counts = [int(count.replace(",", "")) for count in (changed, errors)]
        precision, recall = (shares.split(" | ")[place] for place in (2, 3))
        if counts[0]:
            assert abs(float(precision) * counts[0] - float(recall) * counts[1]) <= 0.0006 * sum(counts), name
