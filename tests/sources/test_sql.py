"""A query's rows are DuckDB's own, laid down in bounded memory; a wrong query says where and why."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import Batch
from penstock.engine import Resources
from penstock.errors import PenstockError, ResourceError, SchemaError, SourceError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.files import open_source
from penstock.sources.sql import open_sql
from penstock.testing import check_source

LENT = Resources(2, 2**28)


def batches_of(source: Source) -> list[Batch]:
    return [batch for chunk in source.chunks() for batch in source.read(chunk)]


def rows_of(source: Source) -> list[dict[str, Any]]:
    return [row for batch in batches_of(source) for row in batch.columns.to_pylist()]


def query(text: str, **options: Any) -> Source:
    return open_sql(f"sql:{text}", ReadOptions(**options), LENT)


def refused(text: str) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        query(text)
    return caught.value


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    pq.write_table(
        pa.table({"id": range(1000), "amount": [i / 7 for i in range(1000)], "shop": ["a", "b"] * 500}),
        tmp_path / "orders.parquet",
    )
    lines = "".join(f"{i},{'gold' if i % 3 else 'tin'}\n" for i in range(0, 1000, 2))
    (tmp_path / "customers.csv").write_text("id,rank\n" + lines)
    return tmp_path


def test_a_join_gives_what_duckdb_gives(tables: Path) -> None:
    text = (
        f"SELECT o.id AS number, amount, shop, rank FROM '{tables}/orders.parquet' o "
        f"JOIN '{tables}/customers.csv' USING (id) WHERE amount > 10 ORDER BY o.id DESC"
    )
    expected = duckdb.sql(text).to_arrow_table().to_pylist()
    source = query(text)
    found = rows_of(source)
    assert len(found) == (998 - 72) // 2 + 1
    assert found == [{**row, "number": float(row["number"])} for row in expected]
    assert [f.role for f in source.schema] == [Role.integer, Role.number, Role.constant, Role.category]
    assert {path for batch in batches_of(source) for path in batch.keys.paths} == {"query"}
    source.close()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 300), st.integers(0, 5))
def test_the_laws_of_sources_hold(rows: int, salt: int) -> None:
    columns = f"i, i * 1.5 + {salt} AS x, nullif(i % 3, 0)::VARCHAR AS word, i > 5 AS flag"
    text = f"SELECT {columns} FROM range({rows}) t(i) ORDER BY i"
    check_source(lambda: query(text), records=rows)


def test_the_types_of_duckdb_become_those_of_roles() -> None:
    source = query(
        "SELECT 1.25::DECIMAL(10,2) AS fixed, sum(i)::HUGEINT AS huge, INTERVAL '1 month 2 days 3 seconds' AS span, "
        "'a'::ENUM('a','b') AS kind, uuid() AS uid, TIME '10:00:01.5' AS clock, DATE '2024-02-29' AS day, "
        "TIMESTAMPTZ '2024-02-29 10:00:00+02' AS moment, TIMESTAMP_NS '2024-02-29 10:00:00' AS nanos, true AS yes, "
        "NULL AS nothing, 7::UTINYINT AS small, '{\"a\": 1}'::JSON AS doc, {'a': 1} AS nested, MAP {'a': 1} AS map, "
        "'x'::BLOB AS bytes FROM range(10) t(i)"
    )
    row = rows_of(source)[0]
    assert row.pop("uid").count("-") == 4
    assert row == {
        "fixed": 1.25,
        "huge": 45.0,
        "span": 32 * 86_400 + 3.0,
        "kind": "a",
        "clock": 36_001.5,
        "day": datetime.datetime(2024, 2, 29),
        "moment": datetime.datetime(2024, 2, 29, 8),
        "nanos": datetime.datetime(2024, 2, 29, 10),
        "yes": True,
        "nothing": None,
        "small": 7.0,
        "doc": '{"a": 1}',
    }
    said = {note.topic: str(note) for note in source.notes}
    assert "in seconds" in said["column 'span'"]
    assert all("is not read" in said[f"column {name!r}"] for name in ("nested", "map", "bytes"))


def test_values_that_are_no_numbers_are_rejected_with_their_row() -> None:
    source = query(
        "SELECT i AS n, CASE i WHEN 3 THEN 'inf'::DOUBLE WHEN 4 THEN 'nan'::DOUBLE ELSE i END AS x "
        "FROM range(6) t(i) ORDER BY i"
    )
    rejected = [row for batch in batches_of(source) if batch.rejected is not None for row in batch.rejected.to_pylist()]
    assert [(row["path"], row["row"], row["column"], row["code"]) for row in rejected] == [
        ("query", 3, "x", "infinite")
    ]
    assert [row["x"] for row in rows_of(source)] == [0.0, 1.0, 2.0, None, 5.0]


def test_times_that_no_calendar_has_are_rejected() -> None:
    source = query(
        "SELECT 1 AS n, 'infinity'::TIMESTAMP AS at, DATE '2024-02-29' AS day UNION ALL "
        "SELECT 2, TIMESTAMP '2024-02-29 01:02:03', DATE '-infinity' UNION ALL "
        "SELECT 3, TIMESTAMP '2024-02-29 01:02:03', DATE '2024-02-29' ORDER BY n"
    )
    assert rows_of(source) == [
        {"n": 3.0, "at": datetime.datetime(2024, 2, 29, 1, 2, 3), "day": datetime.datetime(2024, 2, 29)}
    ]
    rejected = [row for batch in batches_of(source) if batch.rejected is not None for row in batch.rejected.to_pylist()]
    assert [(row["row"], row["column"], row["code"]) for row in rejected] == [
        (0, "at", "too_large"),
        (1, "day", "too_large"),
    ]


_ENDLESS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import penstock as ps
print("ready", flush=True)
ps.read("sql:SELECT sum(sqrt(i) * sin(i)) AS s FROM range(900000000000) t(i)")
"""


def test_a_query_is_stopped_from_the_keyboard(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", _ENDLESS]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert "KeyboardInterrupt" in process.stderr.read()
    assert not list(tmp_path.iterdir())


def test_the_same_query_over_the_same_data_has_the_same_fingerprint(tables: Path) -> None:
    text = f"SELECT id, amount, nullif(shop, 'a') AS shop FROM '{tables}/orders.parquet' ORDER BY id"
    first = query(text)
    for cores in (1, 2, 4):
        again = open_sql(text, ReadOptions(), Resources(cores, 2**27))
        assert again.fingerprints() == first.fingerprints()
    assert query(text.replace("BY id", "BY id DESC")).fingerprints() != first.fingerprints()
    assert query(text.replace("amount", "amount + 1 AS amount")).fingerprints() != first.fingerprints()


def test_order_is_said_to_be_certain_only_where_it_is() -> None:
    assert "ORDER BY makes it certain" in str(query("SELECT 1 AS x ORDER BY x").notes[0])
    assert "without ORDER BY" in str(query("SELECT 1 AS x").notes[0])


@pytest.mark.parametrize(
    ("text", "kind", "message", "told"),
    [
        ("SELCT 1", UsageError, "the query is wrong", "line 1, at 'SELCT 1'"),
        ("SELECT xx FROM (SELECT 1 AS xy)", UsageError, "the query is wrong", 'Candidate bindings: "xy"'),
        ("SELECT 1 AS a,\n  xx + 1\nFROM (SELECT 1 AS xy)", UsageError, "the query is wrong", "line 2, at 'xx + 1'"),
        ("SELECT * FROM 'nowhere.parquet'", SourceError, "the query failed", "nowhere.parquet"),
        ("SELECT * FROM frame", UsageError, "the query is wrong", "frame does not exist"),
        ("SELECT CAST('a' AS INT)", SourceError, "the query failed", "TRY_CAST"),
        ("SELECT CAST(if(i < 99999, '1', 'b') AS INT) FROM range(200000) t(i)", SourceError, "the query failed", "'b'"),
        ("SELECT 9223372036854775807 + 1", SourceError, "the query failed", "Overflow"),
        ("SELECT ?", UsageError, "the query is wrong", "parameters"),
        ("SELECT 1; SELECT 2", UsageError, "not a query", "SELECT, SELECT"),
        ("", UsageError, "not a query", "nothing"),
        ("SELECT '\ud800'", UsageError, "the query is no text", "UTF-8"),
        ("INSTALL httpfs", UsageError, "not a query", "LOAD"),
        ("SET threads = 1", UsageError, "not a query", "SET"),
        ("ATTACH 'x.db'", UsageError, "not a query", "ATTACH"),
        ("SELECT * FROM 'https://localhost:1/x.csv'", UsageError, "the query needs an extension of DuckDB", "httpfs"),
        ("SELECT a.x, b.x FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b", SchemaError, "two columns have one name", "'x'"),
        ("SELECT {'a': 1} AS s", SchemaError, "no column can be used", "struct"),
        ("SELECT 1 AS x WHERE false", SourceError, "the query gives no row", "0 rows"),
    ],
)  # fmt: skip
def test_a_query_that_fails_says_where_and_why(text: str, kind: type, message: str, told: str) -> None:
    error = refused(text)
    assert type(error) is kind
    assert error.message.startswith(message)
    assert told in str(error)
    assert error.where.startswith("sql:")
    assert "penstock-" not in str(error)


def test_a_query_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    assert refused(f"COPY (SELECT 1) TO '{target}'").message == "not a query"
    assert not target.exists()


def test_memory_that_does_not_suffice_is_an_error_of_resources() -> None:
    with pytest.raises(ResourceError, match="needs more memory"):
        open_sql("SELECT list(i) AS l FROM range(40000000) t(i)", ReadOptions(), Resources(1, 2**27))


def test_a_query_comes_from_a_call_and_never_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a query can't stand here"):
        open_source("sql:SELECT 1 AS x")
    assert ps.read("sql:SELECT 1 AS x, 2 AS y").schema.names == ("x", "y")
    with pytest.raises(SourceError, match="several data where one is expected"):
        ps.read(["sql:SELECT 1 AS x", "sql:SELECT 2 AS x"])
    with pytest.raises(SourceError, match="several kinds"):
        ps.read(["sql:SELECT 1 AS x", str(tmp_path)])


def test_roles_and_missing_are_those_asked_for() -> None:
    source = query("SELECT i AS zip, '?' AS note FROM range(3) t(i)", roles={"zip": Role.category}, missing=("?",))
    assert source.schema["zip"].role is Role.category
    assert rows_of(source)[0] == {"zip": "0", "note": None}
    assert source.with_roles({"zip": Role.number}).schema["zip"].role is Role.number


def test_closing_removes_what_was_laid_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = query("SELECT 1 AS x")
    assert len(list(tmp_path.iterdir())) == 1
    source.close()
    assert not list(tmp_path.iterdir())
    refused("SELECT error('x')")
    assert not list(tmp_path.iterdir())


_MEASURE = """
import threading, time
from penstock.engine import Resources
from penstock.resources import held
from penstock.source import ReadOptions
from penstock.sources.sql import open_sql
open_sql("SELECT 1 AS x", ReadOptions(), Resources(2, 2**27))
before, peak, done = held(), [0], threading.Event()
def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], held())
watcher = threading.Thread(target=watch)
watcher.start()
query = "SELECT i, i * 2.5 AS x, 'text number ' || i AS t FROM range(3000000) t(i)"
source = open_sql(query, ReadOptions(), Resources(2, 2**27))
done.set(); watcher.join()
print(peak[0] - before)
"""


def test_the_result_is_never_whole_in_memory() -> None:
    command: Sequence[str] = [sys.executable, "-c", _MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    whole = 3_000_000 * (8 + 8 + 4 + 17)
    assert int(done.stdout) < whole
