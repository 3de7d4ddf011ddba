"""Servers that fail, are slow or hang up, and databases that are locked: asked again, so many times, and said."""

from __future__ import annotations

import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pytest

import penstock as ps
from penstock.errors import PenstockError, ResourceError, SourceError
from penstock.source import Note, ReadOptions, Source
from penstock.sources import remote_http
from penstock.sources.files import find_files
from penstock.sources.remote import open_remote
from penstock.sources.retry import Retries
from penstock.sources.sqlite import SqliteSource

CSV = b"n,word\n" + b"".join(b"%d,%s\n" % (i, b"abc"[i % 3 :]) for i in range(150_000))
QUICK = Retries(attempts=6, first=0.02, longest=0.1)


# ---------------------------------------------------------------------- waits


@pytest.mark.parametrize("name", ["s3://bucket/key", "https://host/a.csv", "shop.db", ""])
def test_waits_grow_are_jittered_and_have_an_end(name: str) -> None:
    retries = Retries(attempts=9, first=0.25, longest=8.0)
    waits = list(retries.waits(name))
    assert len(waits) == 8
    for number, wait in enumerate(waits):
        full = min(8.0, 0.25 * 2**number)
        assert full / 2 <= wait <= full
    assert waits[:5] == sorted(waits[:5])
    assert waits == list(retries.waits(name)), "the same failure takes the same course"
    assert waits != list(retries.waits(name + "x")), "neighbours do not come back at once"


# ---------------------------------------------------------------------- a server


class Server:
    """Serves one file, and does wrong what it is told to, a number of times."""

    def __init__(self) -> None:
        self.states: list[int] = []
        self.reset_after: list[int] = []
        self.silent: list[float] = []
        self.piece, self.pause = 2**20, 0.0
        self.ranges: list[str] = []
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/data.csv"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def do_GET(self) -> None:
        told = self.told
        told.ranges.append(self.headers.get("Range") or "")
        if told.silent:
            time.sleep(told.silent.pop(0))
        if told.states:
            self.send_response(told.states.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(told.ranges[-1][6:-1]) if told.ranges[-1] else 0
        body = CSV[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CSV) - 1}/{len(CSV)}")
        self.end_headers()
        self.send(body)

    def send(self, body: bytes) -> None:
        told = self.told
        stop = told.reset_after.pop(0) if told.reset_after else len(body)
        for at in range(0, stop, told.piece):
            self.wfile.write(body[at : min(stop, at + told.piece)])
            self.wfile.flush()
            time.sleep(told.pause)
        if stop < len(body):
            time.sleep(0.1)  # what was sent arrives before the connection is torn down
            # Closed without lingering, a connection is reset, not ended.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError):  # it is closed already
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"told": told})) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        told.port = running.server_port
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield told
        running.shutdown()


def rows(source: Source) -> int:
    return sum(len(batch) for chunk in source.chunks() for batch in source.read(chunk))


def note(source: Source, topic: str) -> Note:
    return next(one for one in source.notes if one.topic == topic)


@pytest.mark.parametrize("failures", [0, 1, 3, 5])
def test_a_server_that_fails_a_few_times_is_read_and_that_is_said(server: Server, failures: int) -> None:
    server.states = [503, 500, 429, 502, 504][:failures]
    source = open_remote([server.address], ReadOptions(), retries=QUICK)
    assert rows(source) == 150_000
    if failures:
        assert note(source, "tried again").text == f"{failures} times"
    else:
        assert all(one.topic != "tried again" for one in source.notes)


def test_a_server_that_never_recovers_is_given_up_after_all_tries(server: Server) -> None:
    server.states = [503] * 100
    with pytest.raises(SourceError) as caught:
        open_remote([server.address], ReadOptions(), retries=QUICK)
    assert len(server.ranges) == QUICK.attempts
    assert caught.value.expected == "an answer within 6 tries"
    assert "503" in caught.value.got and caught.value.where == server.address


def test_what_came_before_a_reset_is_not_fetched_again(server: Server) -> None:
    server.reset_after = [300_000, 200_000, 100_000]
    source = open_remote([server.address], ReadOptions(), retries=QUICK)
    assert rows(source) == 150_000
    assert server.ranges == ["", "bytes=300000-", "bytes=500000-", "bytes=600000-"]
    assert "reset" in note(source, "tried again").reason.lower()


def test_a_server_that_is_silent_is_asked_again(server: Server) -> None:
    server.silent = [1.5, 1.5]
    with mock.patch.object(remote_http, "_TIMEOUT", 0.3):
        source = open_remote([server.address], ReadOptions(), retries=QUICK)
    assert rows(source) == 150_000
    assert note(source, "tried again").text == "2 times"
    assert "timed out" in note(source, "tried again").reason


def test_a_server_that_is_silent_for_ever_is_given_up(server: Server) -> None:
    server.silent = [5.0] * 10
    began = time.monotonic()
    with mock.patch.object(remote_http, "_TIMEOUT", 0.1), pytest.raises(SourceError, match="can't be fetched"):
        open_remote([server.address], ReadOptions(), retries=Retries(attempts=3, first=0.01, longest=0.02))
    assert time.monotonic() - began < 5


def test_a_server_that_is_slow_is_waited_for(server: Server) -> None:
    server.piece, server.pause = len(CSV) // 8, 0.15
    with mock.patch.object(remote_http, "_TIMEOUT", 1.0):
        source = open_remote([server.address], ReadOptions(), retries=QUICK)
    assert rows(source) == 150_000
    assert server.ranges == [""]


def test_nobody_at_the_address_is_one_clear_error() -> None:
    with pytest.raises(SourceError, match="can't be fetched") as caught:
        open_remote(["http://127.0.0.1:9/data.csv"], ReadOptions(), retries=QUICK)
    assert "refused" in caught.value.got.lower()


def test_a_prediction_over_a_server_that_fails_makes_the_same_bytes(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(CSV)
    pipeline = ps.Pipeline([ps.Standardize("n")])
    pipeline.prepare(tmp_path / "data.csv", to=tmp_path / "local")
    server.states, server.reset_after = [503], [100_000]
    pipeline.prepare(server.address, to=tmp_path / "remote")
    assert len(server.ranges) == 3
    for path in (tmp_path / "local").iterdir():
        assert path.read_bytes() == (tmp_path / "remote" / path.name).read_bytes()


# ---------------------------------------------------------------------- a locked database

# Locks of files are a process's: what locks must be another one, or the driver's SQLite would not see it.
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("UPDATE orders SET n = n + 1000")
connection.execute("COMMIT")
"""


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    process: Any = subprocess.Popen([sys.executable, "-c", LOCK, str(path), str(seconds)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"locked\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (n INTEGER, word TEXT)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", [(i, f"w{i % 3}") for i in range(500)])
        connection.commit()
    return path


def test_a_locked_database_is_read_when_its_writer_is_done_and_that_is_said(database: Path, tmp_path: Path) -> None:
    with locked(database, 1.0):
        source = SqliteSource(
            find_files(database), ReadOptions(), retries=Retries(attempts=40, first=0.05, longest=0.2)
        )
        assert "was locked, and tried again" in note(source, "database shop.db").text
        ps.Pipeline([ps.Standardize("n")]).prepare(source, to=tmp_path / "out")
    done = pl.read_parquet(tmp_path / "out" / "*.parquet")
    assert done.height == 500
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT min(n) FROM orders").fetchone() == (1000,), "the writer was in the way"


def test_a_database_that_stays_locked_is_one_clear_error_and_nothing_is_made(database: Path, tmp_path: Path) -> None:
    with locked(database, 60), pytest.raises(ResourceError) as caught:
        SqliteSource(find_files(database), ReadOptions(), retries=Retries(attempts=3, first=0.01, longest=0.02))
    assert caught.value.message == "the database is locked"
    assert "within 3 tries" in caught.value.expected
    assert caught.value.remedy
    assert isinstance(caught.value, PenstockError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.db"]
