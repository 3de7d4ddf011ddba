"""A block that fails is halved to the rows that make it fail: exactly those are rejected, and the others go on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch, RowKeys
from penstock.engine import Resources, Station, Task
from penstock.engines.local import LocalEngine
from penstock.errors import DataError, UsageError
from penstock.failing import MOST, without_failing
from penstock.schema import Schema
from penstock.sink import ledger
from penstock.sinks.parts import PartsSink
from penstock.source import ReadOptions
from penstock.sources.files import Limits, find_files
from penstock.sources.parquet import ParquetSource


@dataclass(frozen=True)
class Brittle:
    """Fails, as a foreign library would, where a row has a value that it does not like."""

    bad: float = -1.0

    def transform(self, batch: Batch) -> Batch:
        if self.bad in batch.column("x").to_pylist():
            raise ArithmeticError("it does not like this value")
        return batch


def block(values: list[float]) -> Batch:
    return Batch(pa.record_batch({"x": pa.array(values, pa.float64())}), RowKeys.span("a", 0, len(values)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), min_size=2, max_size=70))
def test_exactly_the_failing_rows_leave(values: list[float]) -> None:
    if all(value == -1 for value in values):
        with pytest.raises(DataError, match="not on some rows alone"):
            without_failing(Brittle().transform, block(values))
        return
    made = without_failing(Brittle().transform, block(values))
    assert made.column("x").to_pylist() == [value for value in values if value != -1]
    wrong = [row for row, value in enumerate(values) if value == -1]
    assert ([] if made.rejected is None else sorted(made.rejected.column("row").to_pylist())) == wrong
    assert all(count.balanced for count in made.counts)


def test_errors_that_are_meant_are_not_looked_into() -> None:
    def refuse(batch: Batch) -> Batch:
        raise UsageError("no")

    with pytest.raises(UsageError):
        without_failing(refuse, block([1.0, 2.0]))


def test_a_failure_of_most_rows_is_one_error_soon() -> None:
    tried = 0

    def count(batch: Batch) -> Batch:
        nonlocal tried
        tried += 1
        return Brittle().transform(batch)

    with pytest.raises(DataError, match="ArithmeticError"):
        without_failing(count, block([-1.0] * 20_000 + [1.0]))
    assert tried < 4 * MOST


def test_poison_in_a_thousand_rows_of_a_million_is_rejected_and_nothing_else(tmp_path: Path) -> None:
    rows = 1_000_000
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    poison = np.sort(random.choice(rows, rows // 1000, replace=False))
    x[poison] = -1.0
    pq.write_table(pa.table({"x": x}), tmp_path / "rows.parquet", row_group_size=100_000)
    source = ParquetSource(find_files(tmp_path / "rows.parquet"), ReadOptions(), Limits())
    sink = PartsSink(tmp_path / "parts", tmp_path / "rejected", tmp_path / "out", Schema(tuple(source.schema)))
    engine = LocalEngine(Resources(2, 2**31))
    receipts = list(engine.map(Task("brittle", source, None, (Station(Brittle()),), sink)))
    out = np.concatenate(
        [pq.read_table(tmp_path / "parts" / p.name)["x"].to_numpy() for r in receipts for p in r.parts]
    )
    rejected = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "rejected").glob("*"))])
    assert np.sort(rejected.column("row").to_numpy()).tolist() == poison.tolist()
    np.testing.assert_array_equal(out, np.delete(x, poison))
    assert all(count.balanced for count in ledger(receipts))
