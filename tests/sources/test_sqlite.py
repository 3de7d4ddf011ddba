"""SQLite tables: values as sqlite3 gives them, cells of another kind rejected, databases that others write to."""

from __future__ import annotations

import datetime
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import Batch
from penstock.errors import MissingExtra, PenstockError, ResourceError, SourceError, UsageError
from penstock.schema import Role
from penstock.source import ReadOptions, Source
from penstock.sources.files import Limits, find_files, open_source
from penstock.sources.retry import Retries
from penstock.sources.sqlite import SqliteSource
from penstock.testing import check_source


def database(path: Path, *statements: str, rows: dict[str, Sequence[Sequence[Any]]] | None = None) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        for table, values in (rows or {}).items():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values)
    return path


def batches_of(source: Source) -> list[Batch]:
    return [batch for chunk in source.chunks() for batch in source.read(chunk)]


def values_of(source: Source, name: str) -> list[Any]:
    return [value for batch in batches_of(source) for value in batch.column(name).to_pylist()]


def rejects_of(source: Source) -> list[dict[str, Any]]:
    return [row for b in batches_of(source) if b.rejected is not None for row in b.rejected.to_pylist()]


def refused(data: Any, kind: type[PenstockError] = SourceError) -> PenstockError:
    with pytest.raises(kind) as caught:
        open_source(data)
    return caught.value


CELLS = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, st.one_of(st.none(), st.text(max_size=5)), CELLS), min_size=1, max_size=60))
def test_values_are_those_that_sqlite3_reads(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("db") / "shop.db"
    rows = [(n, None if t is None else t.encode("utf-8", "ignore").decode(), i) for n, t, i in rows]
    database(path, "CREATE TABLE t (n REAL, word TEXT, any)", rows={"t": rows})
    with closing(sqlite3.connect(path)) as connection:
        expected = connection.execute("SELECT n, word, any FROM t ORDER BY rowid").fetchall()
    roles = {"n": Role.number, "word": Role.category, "any": Role.number}
    source = SqliteSource(find_files(path), ReadOptions(roles=roles), Limits(block_rows=7))
    found = list(zip(*(values_of(source, name) for name in ("n", "word", "any")), strict=True))
    assert found == expected
    check_source(lambda: SqliteSource(find_files(path), ReadOptions(), Limits(block_rows=7)), records=len(rows))


def test_a_text_among_numbers_is_rejected_and_a_column_of_both_is_text(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(None, None)] * 3000 + [(i, i if i % 2 else f"word {i % 4}") for i in range(1000)]
    rows[3500] = ("n/a", 1)
    rows[3501] = (b"\x01\xff", 1)
    path = database(tmp_path / "a.sqlite", "CREATE TABLE t (age INTEGER, odd)", rows={"t": rows})
    source = open_source(path)
    assert source.schema["age"].role is Role.integer
    assert source.schema["odd"].role is Role.category
    assert "2 other values, which are rejected" in str([note for note in source.notes if "'age'" in note.topic])
    told = [(r["path"], r["row"], r["column"], r["code"], r["value"]) for r in rejects_of(source)]
    assert told == [
        ("a.sqlite?table=t", 3500, "age", "not_a_number", "n/a"),
        ("a.sqlite?table=t", 3501, "age", "not_a_number", "x'01FF'"),
    ]
    assert set(values_of(source, "odd")) == {None, "word 0", "word 2", *map(str, range(1, 1000, 2))} - {"501"}
    as_text = open_source(path, ReadOptions(roles={"age": Role.category}))
    assert values_of(as_text, "age")[3500] == "n/a"
    assert not rejects_of(as_text)


def test_numbers_keep_all_their_digits_wherever_they_stand(tmp_path: Path) -> None:
    numbers = [0.1, 1 / 3, 1e300, 5e-324, -0.0, 123456789.123456789]
    rows = [(x, x) for x in numbers * 40] + [(None, "a text")]
    path = database(tmp_path / "a.db", "CREATE TABLE t (plain REAL, mixed)", rows={"t": rows})
    source = open_source(path)
    assert source.schema["mixed"].role is Role.number
    assert values_of(source, "plain") == numbers * 40
    assert values_of(source, "mixed") == numbers * 40
    assert len(rejects_of(source)) == 1


def test_whole_numbers_beyond_float64_are_codes_and_not_rounded(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (n)", rows={"t": [(2**63 - 1,), (-(2**63),), (1,)]})
    assert values_of(open_source(path), "n") == [str(2**63 - 1), str(-(2**63)), "1"]


def test_declared_dates_are_times_and_bytes_are_left_out(tmp_path: Path) -> None:
    rows = [("2024-02-29", "2024-02-29 10:30:00", "later", b"\0"), ("2024-03-01", None, "2024-03-01", None)]
    statement = "CREATE TABLE t (day DATE, at DATETIME, free TIMESTAMP, photo BLOB)"
    source = open_source(database(tmp_path / "a.db", statement, rows={"t": rows}))
    assert [(field.name, field.role) for field in source.schema][:3] == [
        ("day", Role.time),
        ("at", Role.time),
        ("free", Role.category),
    ]
    assert values_of(source, "at") == [datetime.datetime(2024, 2, 29, 10, 30), None]
    assert "photo" not in source.schema
    assert any(note.topic == "column 'photo'" for note in source.notes)
    other = open_source(tmp_path / "a.db", ReadOptions(roles={"day": Role.category}))
    assert values_of(other, "day") == ["2024-02-29", "2024-03-01"]


def test_which_table_is_meant(tmp_path: Path) -> None:
    one = database(
        tmp_path / "one.db", "CREATE TABLE t (x)", "CREATE VIEW v AS SELECT x + 1 AS y FROM t", rows={"t": [(1,), (2,)]}
    )
    assert open_source(one).schema.names == ("x",)
    assert values_of(open_source(f"sqlite:///{one}?table=v"), "y") == [2.0, 3.0]
    two = database(tmp_path / "two.db", "CREATE TABLE orders (x)", 'CREATE TABLE "odd name?&#" ("""" , "*", "ü")',
                   rows={'"odd name?&#"': [(1, 2, 3), (4, 5, 6)]})  # fmt: skip
    error = refused(two)
    assert error.got == "odd name?&#, orders"
    assert open_source(error.remedy).schema.names == ('"', "*", "ü")
    assert refused(f"sqlite:///{two}?table=order").expected == "one of odd name?&#, orders"
    assert refused(f"sqlite:///{two}?table=orders").message == "there are no rows"
    assert refused(f"sqlite:///{two}?tabel=orders", UsageError).expected == "sqlite:///PATH?table=NAME"
    assert refused("sqlite://x", UsageError).message == "not an address of a table"
    assert refused(f"sqlite:///{tmp_path}/three.db").message == "no such file or folder"


def test_a_relative_address_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database(tmp_path / "a b%.db", "CREATE TABLE t (x)", rows={"t": [(1,)]})
    monkeypatch.chdir(tmp_path)
    assert ps.read("sqlite:///a b%25.db?table=T").schema.names == ("x",)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("id,name\n1,a\n" * 100)
    assert "not a database" in refused(tmp_path / "text.db").got
    path = database(tmp_path / "a.db", "CREATE TABLE t (x)", rows={"t": [(f"text {i}" * 50,) for i in range(500)]})
    data = bytearray(path.read_bytes())
    data[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(data)
    assert refused(path).message == "can't be read as a SQLite database"
    assert (
        refused(database(tmp_path / "none.db", "CREATE TABLE t (x)", "DROP TABLE t")).message
        == "the database holds no table"
    )
    assert (
        refused(database(tmp_path / "blob.db", "CREATE TABLE t (x)", rows={"t": [(b"a",)]})).message
        == "no column can be used"
    )


def test_several_databases_are_one_source(tmp_path: Path) -> None:
    for number, rows in enumerate(([(1, None)], [(2.5, "a")])):
        database(tmp_path / f"{number}.sqlite3", "CREATE TABLE t (x, word)", rows={"t": rows})
    source = open_source(tmp_path)
    assert values_of(source, "x") == [1.0, 2.5]
    assert [f.path for f in source.fingerprints()] == ["0.sqlite3?table=t", "1.sqlite3?table=t"]


def test_a_database_in_wal_mode_is_read_as_it_is_and_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = wal")
    writer.execute("CREATE TABLE t (x)")
    writer.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(100)])
    writer.commit()
    writer.execute("INSERT INTO t VALUES (100)")  # not committed: not seen
    before = path.read_bytes()
    assert values_of(open_source(path), "x") == list(range(100))
    assert path.read_bytes() == before
    writer.commit()
    assert len(values_of(open_source(path), "x")) == 101
    writer.close()


# Locks of files are a process's: what locks must be another one, or the driver's SQLite would not see it.
_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    command = [sys.executable, "-c", _LOCK, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.terminate()


def test_a_locked_database_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (x)", rows={"t": [(1,), (2,)]})
    with locked(path, 1.0):
        source = open_source(path)
    assert values_of(source, "x") == [1.0, 2.0]
    assert any("was locked, and tried again" in note.text for note in source.notes)
    with locked(path, 60), pytest.raises(ResourceError) as caught:
        SqliteSource(find_files(path), ReadOptions(), retries=Retries(attempts=3, first=0.05))
    assert caught.value.message == "the database is locked"
    assert "journal_mode" in caught.value.remedy


def test_the_fingerprint_is_of_the_rows(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (x, y)", "CREATE TABLE u (z)", rows={"t": [(1, None), (2, "b")]})
    address = f"sqlite:///{path}?table=t"
    first = open_source(address).fingerprints()[0]
    database(path, "INSERT INTO u VALUES (1)")
    assert open_source(address).fingerprints()[0].digest == first.digest
    database(path, "UPDATE t SET y = 'c' WHERE x = 2")
    assert open_source(address).fingerprints()[0].digest != first.digest


def test_without_the_driver_the_remedy_is_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (x)", rows={"t": [(1,)]})
    for name in ("adbc_driver_sqlite", "adbc_driver_sqlite.dbapi"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused(path, MissingExtra).remedy == "pip install 'penstock[sql]'"


def test_rows_come_in_the_order_of_the_table_although_an_index_covers_it(tmp_path: Path) -> None:
    rows: Iterable[int] = [5, 3, 9, 1]
    path = database(
        tmp_path / "a.db", "CREATE TABLE t (x)", "CREATE INDEX i ON t (x)", rows={"t": [(x,) for x in rows]}
    )
    assert values_of(open_source(path), "x") == [5.0, 3.0, 9.0, 1.0]
    shutil.rmtree(tmp_path)
