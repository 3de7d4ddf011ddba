"""No cell of a CSV file that we write is a formula to a spreadsheet, and nothing else is changed."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch, RowKeys
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.sinks.csv_cells import harmless
from penstock.sinks.parts import PartsSink
from penstock.source import Chunk


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=SUM(A1:A9)", "'=SUM(A1:A9)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("-12.5", "-12.5"),
        ("+1e-3", "+1e-3"),
        ("-5%", "-5%"),
        ("a=b", "a=b"),
        ("", ""),
        ("'=1", "'=1"),
    ],
)
def test_a_formula_gets_an_apostrophe_and_a_number_does_not(text: str, written: str) -> None:
    assert harmless(pa.array([text])).to_pylist() == [written]


@given(st.lists(st.none() | st.text(max_size=8), max_size=30))
@settings(max_examples=50, deadline=None)
def test_nothing_that_begins_like_a_formula_is_left_and_other_text_stays(texts: list[str | None]) -> None:
    for before, after in zip(texts, harmless(pa.array(texts, pa.string())).to_pylist(), strict=True):
        if after is None:
            assert before is None
        elif after != before:
            assert after == f"'{before}" and before is not None and before[0] in "=+-@\t\r"
        elif after[:1] in tuple("=+-@\t\r"):
            float(after.removesuffix("%").replace(",", ""))  # what is left as it is is a number


def test_a_csv_file_has_no_formula_in_names_texts_or_categories_and_lists_are_json(tmp_path: Path) -> None:
    schema = Schema(
        (
            Field("=name", pa.string(), Role.text),
            Field("label", pa.string(), Role.category),
            Field("codes", pa.list_(pa.string()), Role.list),
            Field("words", SPARSE, Role.vector, width=3),
            Field("x", pa.float64(), Role.number),
        )
    )
    columns = pa.record_batch(
        [
            pa.array(["=1+1", None]),
            pa.array(["-x", "ok"]).dictionary_encode(),
            pa.array([["a", "b"], None], pa.list_(pa.string())),
            pa.array([{"indices": [1], "values": [0.5]}, None], SPARSE),
            pa.array([-1.5, 2.0]),
        ],
        names=list(schema.names),
    )
    sink = PartsSink(tmp_path / "parts", tmp_path / "rejected", tmp_path / "out.csv", schema, "csv", single=True)
    writer = sink.open(Chunk(0, ({},), 1))
    writer.write(Batch(columns, RowKeys.span("a", 0, 2)))
    sink.commit([writer.finish()])
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["'=name", "label", "codes", "words", "x"],
        ["'=1+1", "'-x", '["a", "b"]', '{"indices": [1], "values": [0.5]}', "-1.5"],
        ["", "ok", "", "", "2"],
    ]
