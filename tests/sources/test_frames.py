"""Tables in memory: of pyarrow, Polars and pandas, with the values that they hold, and refusals with a remedy."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.errors import PenstockError, SchemaError, SourceError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.files import Limits
from penstock.sources.frames import TableSource
from penstock.testing.sources import check_source, read_all

DAY = datetime.datetime(2024, 1, 1)
NEXT = datetime.datetime(2024, 1, 2)
HOUR = datetime.timedelta(hours=1)


def values(source: Source) -> dict[str, list[Any]]:
    batches = read_all(source)
    return {name: [v for b in batches for v in b.column(name).to_pylist()] for name in source.schema.names}


def column(values_: Any, **options: Any) -> tuple[Role, list[Any]]:
    source = ps.read(pd.DataFrame({"c": values_}), **options)
    return source.schema["c"].role, values(source)["c"]


TABLE = pa.table(
    {
        "number": [0.5, None, 2.0, float("nan")] * 25,
        "whole": list(range(100)),
        "word": ["a", "b", None, "c"] * 25,
        "flag": [True, None, False, True] * 25,
        "when": pa.array([datetime.datetime(2024, 1, 1, 12)] * 50 + [None] * 50, pa.timestamp("us")),
        "list": [["x", "y"], [], None, ["z"]] * 25,
    }
)


@pytest.mark.parametrize("make", [lambda: TABLE, lambda: pl.from_arrow(TABLE), lambda: TABLE.to_batches()[0]])
def test_a_table_is_read_as_the_same_parquet_file_is(tmp_path: Path, make: Any) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    expected = ps.read(tmp_path / "a.parquet")
    source = ps.read(make())
    assert source.schema.to_json() == expected.schema.to_json()
    assert values(source) == values(expected)
    check_source(lambda: TableSource(make(), ReadOptions(), Limits(block_rows=7, chunk_bytes=300)), records=100)


def test_a_table_of_pandas_is_read_as_the_same_parquet_file_is(tmp_path: Path) -> None:
    table = TABLE.drop_columns(["flag"])
    pq.write_table(table, tmp_path / "a.parquet")
    frame = table.to_pandas()
    assert values(ps.read(frame)) == values(ps.read(tmp_path / "a.parquet"))
    check_source(lambda: TableSource(frame, ReadOptions(), Limits(block_rows=7, chunk_bytes=300)), records=100)


@pytest.mark.parametrize(
    ("given", "role", "expected"),
    [
        ([1.5, np.nan, 3.0], Role.number, [1.5, None, 3.0]),
        (pd.array([1, None, 3], dtype="Int64"), Role.integer, [1.0, None, 3.0]),
        (pd.array([1, None, 3], dtype="int64[pyarrow]"), Role.integer, [1.0, None, 3.0]),
        (pd.array([True, None, False], dtype="boolean"), Role.boolean, [True, None, False]),
        (pd.array(["a", None, "b"], dtype="string"), Role.category, ["a", None, "b"]),
        (np.array([1, 2, 3], np.float16), Role.number, [1.0, 2.0, 3.0]),
        (pd.arrays.SparseArray([0, 0, 5]), Role.integer, [0.0, 0.0, 5.0]),
        (pd.Categorical(["x", None, "y"]), Role.category, ["x", None, "y"]),
        (pd.Categorical([3, 1, 3]), Role.category, ["3", "1", "3"]),
        (pd.to_datetime(["2024-01-01", None, "2024-01-02"]), Role.time, [DAY, None, NEXT]),
        (pd.Series([DAY, NEXT, None]).dt.tz_localize("Etc/GMT-1"), Role.time, [DAY - HOUR, NEXT - HOUR, None]),
        (pd.period_range("2024-01-01", periods=2, freq="D"), Role.time, [DAY, NEXT]),
        (pd.to_timedelta([1.5, None, 3], unit="s"), Role.number, [1.5, None, 3.0]),
        (["a", None, np.nan], Role.category, ["a", None, None]),
        ([True, None, False], Role.boolean, [True, None, False]),
        ([decimal.Decimal("1.5"), None, decimal.Decimal("2")], Role.number, [1.5, None, 2.0]),
        ([datetime.date(2024, 1, 1), None, datetime.date(2024, 1, 2)], Role.time, [DAY, None, NEXT]),
        ([["a"], None, ["b", "c"]], Role.list, [["a"], None, ["b", "c"]]),
        ([1, "a", pd.NA], Role.category, ["1", "a", None]),
        ([2**60, 2**60 + 1, 1], Role.category, [str(2**60), str(2**60 + 1), "1"]),
    ],
)  # fmt: skip
def test_types_of_pandas_have_a_role(given: Any, role: Role, expected: list[Any]) -> None:
    assert column(given) == (role, expected)


def test_an_infinite_number_costs_its_row_as_in_a_file() -> None:
    source = ps.read(pl.DataFrame({"x": [1.0, float("inf"), 3.0]}))
    assert values(source) == {"x": [1.0, 3.0]}
    (row,) = [row for b in read_all(source) if b.rejected is not None for row in b.rejected.to_pylist()]
    assert (row["path"], row["row"], row["column"], row["code"]) == ("table", 1, "x", "infinite")


def test_the_index_is_no_column_and_said_unless_it_only_counts() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]})
    assert not [note for note in ps.read(frame).notes if note.topic == "index"]
    for other in (frame.iloc[[2, 0, 1]], frame.set_index(pd.Index(["a", "b", "c"], name="who"))):
        source = ps.read(other)
        assert source.schema.names == ("x",)
        (note,) = [note for note in source.notes if note.topic == "index"]
        assert "reset_index" in note.override
    assert values(ps.read(frame.iloc[[2, 0, 1]])) == {"x": [3.0, 1.0, 2.0]}


def test_columns_may_have_any_label() -> None:
    frame = pd.DataFrame([[1, 2, 3, 4]] * 2, columns=[0, "a b", ("m", 1), "中"])
    assert ps.read(frame).schema.names == ("0", "a b", "m.1", "中")


def test_objects_that_are_no_values_are_left_out_and_said() -> None:
    frame = pd.DataFrame(
        {"x": [1, 2], "o": [object(), object()], "d": [{"a": 1}] * 2, "b": [b"x"] * 2, "l": [[1], "a"]}
    )
    source = ps.read(frame)
    assert source.schema.names == ("x",)
    said = {note.topic for note in source.notes if "not read" in note.text}
    assert said == {"column 'o'", "column 'd'", "column 'b'", "column 'l'"}
    assert not any("0x" in str(note) for note in source.notes)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (pl.LazyFrame({"a": [1]}), UsageError, "a query that was not run is no table"),
        (pl.Series([1]), UsageError, "a single column is no table"),
        (pd.Series([1]), UsageError, "a single column is no table"),
        (pd.DataFrame(), SchemaError, "no column can be used"),
        (pd.DataFrame({"o": [object()]}), SchemaError, "no column can be used"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), SchemaError, "two columns have one name"),
        (pd.DataFrame({"a": []}), SourceError, "there are no rows"),
        (pa.table({"a": pa.array([], pa.int64())}), SourceError, "there are no rows"),
        (pl.DataFrame({"o": [object()]}), SchemaError, "no column can be used"),
        (pl.DataFrame({"i": pl.Series([1], dtype=pl.Int128)}), SchemaError, "the table can't be given as Arrow"),
        ({"a": [1]}, UsageError, "not data that can be read"),
        (np.zeros((2, 2)), UsageError, "not data that can be read"),
        (None, UsageError, "not data that can be read"),
        ([pl.DataFrame({"a": [1]})], UsageError, "not data that can be read"),
        ([1, 2], UsageError, "not data that can be read"),
        ([], UsageError, "nothing to read"),
        (pa.table({"d": pa.array([1], pa.date64())}), SourceError, "can't be read as Arrow"),
    ],
)
def test_what_is_no_table_is_refused(data: Any, error: type[PenstockError], message: str) -> None:
    with pytest.raises(error, match=message):
        ps.read(data)


def test_what_gives_its_columns_as_arrow_is_a_table() -> None:
    source = ps.read(duckdb.sql("SELECT range AS i, 'w' || (range % 2) AS w FROM range(6) ORDER BY i"))
    assert values(source) == {"i": [float(i) for i in range(6)], "w": ["w0", "w1"] * 3}


def test_a_fingerprint_is_of_the_content_alone() -> None:
    pieces = pa.concat_tables([TABLE.slice(0, 33), TABLE.slice(33)])
    assert ps.read(pieces).fingerprints() == ps.read(TABLE).fingerprints()
    changed = TABLE.set_column(1, "whole", pa.array([*range(99), 7]))
    assert ps.read(changed).fingerprints() != ps.read(TABLE).fingerprints()
    assert ps.read(TABLE.rename_columns(["n", *TABLE.column_names[1:]])).fingerprints() != ps.read(TABLE).fingerprints()


def test_dictionaries_that_differ_between_pieces_are_one_column() -> None:
    one = pa.table({"c": pa.array(["a", "b"]).dictionary_encode(), "n": [1, 2]})
    other = pa.table({"c": pa.array(["c", "a"]).dictionary_encode(), "n": [3, 4]})
    assert values(ps.read(pa.concat_tables([one, other])))["c"] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_a_pipeline_is_fitted_to_and_predicts_a_table(library: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    table = pa.table({"x": x, "c": random.choice(["u", "v"], 400), "y": np.where(x > 0, "yes", "no")})
    data: Any = {"polars": pl.from_arrow, "pandas": lambda t: t.to_pandas(), "pyarrow": lambda t: t}[library](table)
    fitted = ps.Pipeline([ps.Standardize(ps.numeric())], ps.Linear(), target="y").fit(data)
    predicted = fitted.predict(data)
    assert predicted.num_rows == 400
    right = sum(a == b for a, b in zip(predicted["prediction"].to_pylist(), table["y"].to_pylist(), strict=True))
    assert right > 380
    assert fitted.evaluate(data).rows == 400
    less = {"polars": lambda t: t.drop("x"), "pandas": lambda t: t.drop(columns="x")}
    without = less.get(library, lambda t: t.drop_columns(["x"]))(data)
    with pytest.raises(PenstockError, match="missing from the data"):
        fitted.predict(without)
