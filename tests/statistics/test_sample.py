"""The sample of rows against the rows of the least hashes, found by sorting all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from statistic_samples import batch, folded

from penstock.batch import RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.statistics.sample import Sample


def parts(rows: int, size: int = 700):
    return [
        batch(
            {
                "x": pa.array(np.arange(at, min(at + size, rows), dtype=float)),
                "y": pa.array([f"text {i}" for i in range(at, min(at + size, rows))]),
            },
            at,
        )
        for at in range(0, rows, size)
    ]


def test_it_is_the_rows_of_the_least_hashes():
    value = folded(Sample(["x"], ["y"], size=50, seed=3), parts(5_000)).value()
    hashes = RowKeys.span("", 0, 5_000).hash(3)
    wanted = np.argsort(hashes)[:50]
    assert value.rows == 5_000
    assert not value.complete
    assert value.table["x"].to_pylist() == wanted.astype(float).tolist()
    assert value.numbers.to_pylist() == wanted.tolist()
    assert value.table["y"].to_pylist() == [f"text {i}" for i in wanted]


def test_it_is_even_over_the_rows():
    value = folded(Sample(["x"], size=2_000), parts(20_000)).value()
    assert np.histogram(value.table["x"].to_numpy(), 10, (0, 20_000))[0] == pytest.approx(200, abs=5 * 200**0.5)


def test_fewer_rows_than_its_size_are_all_kept():
    value = folded(Sample(["x"], ["y"], size=100), parts(40)).value()
    assert value.complete
    assert sorted(value.table["x"].to_pylist()) == [float(i) for i in range(40)]


def test_vectors_are_kept_with_their_rows():
    points = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(20, dtype=np.float32)), 2)
    found = folded(Sample(["x"], size=4, vectors={"p": 2}), [batch({"x": np.arange(10.0), "p": points})])
    value = found.value()
    assert value.table.num_rows == 4
    wanted = [[2 * x, 2 * x + 1] for x in value.table["x"].to_pylist()]
    assert value.table["p"].to_pylist() == wanted
    assert Sample(**found.parameters()).from_state(found.state()).value().table.equals(value.table)


def test_names_that_are_those_of_keys_or_places_are_no_trouble():
    columns = {"hash": [1.0, 2.0], "0": ["a", None], "row": [True, None], "path": ["p", "q"]}
    value = folded(Sample(["hash", "row"], ["0", "path"], size=5), [batch(columns)]).value()
    assert value.table.column_names == ["hash", "row", "0", "path"]
    assert sorted(value.table["0"].to_pylist(), key=str) == [None, "a"]
    assert set(value.table["row"].to_pylist()) == {1.0, None}


def test_long_texts_are_cut():
    value = folded(Sample([], ["t"], size=2), [batch({"t": ["é" * 1000]})]).value()
    assert value.table["t"][0].as_py() == "é" * 64


def test_what_is_wrong_is_refused():
    with pytest.raises(UsageError, match="not a sample"):
        Sample(["x"], ["x"])
    with pytest.raises(UsageError, match="not a sample"):
        Sample(["x"], size=0)
    with pytest.raises(SchemaError, match="has none"):
        folded(Sample(["x"]), [batch({"x": ["a"]})])
