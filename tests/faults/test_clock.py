"""The wall clock jumps by a year, there and back, while jobs run: nothing waits, hurries or comes out otherwise."""

from __future__ import annotations

import ast
import datetime
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from killed import LIMITS, READING, STEPS, write_data

import penstock as ps
from penstock.durable import read_json, sha256
from penstock.engine import Figures, Silent
from penstock.source import ReadOptions
from penstock.sources.csv import CsvSource
from penstock.sources.files import find_files
from penstock.sources.remote import open_remote
from penstock.sources.retry import Retries

YEAR = 365.25 * 86_400
SOURCES = Path(ps.__file__).parent


@contextmanager
def jumping_clock() -> Iterator[list[int]]:
    """Whoever asks for the time of day is told a time a year ahead, then one a year behind, and so on."""
    asked = [0]
    real, real_ns, kind = time.time, time.time_ns, datetime.datetime

    def offset() -> float:
        asked[0] += 1
        return YEAR if asked[0] % 2 else -YEAR

    class Moved(kind):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return kind.fromtimestamp(real() + offset(), tz)

    with (
        mock.patch.object(time, "time", lambda: real() + offset()),
        mock.patch.object(time, "time_ns", lambda: real_ns() + int(offset()) * 10**9),
        mock.patch.object(datetime, "datetime", Moved),
    ):
        yield asked


class Heard(Silent):
    """How often progress was told, and what."""

    def __init__(self) -> None:
        self.figures: list[Figures] = []

    def progressed(self, figures: Figures) -> None:
        self.figures.append(figures)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def source(data: Path) -> CsvSource:
    return CsvSource(find_files(data), READING, LIMITS)


def published(place: Path) -> dict[str, str]:
    paths = [
        path for path in place.rglob("*") if path.is_file() and (".run" not in str(path) or "rejected" in str(path))
    ]
    return {str(path.relative_to(place)): sha256(path) for path in paths}


@pytest.mark.parametrize("model", [ps.Linear(), ps.BoostedTrees(rounds=5)], ids=["linear", "boosted"])
def test_a_clock_that_jumps_by_a_year_changes_no_output_and_no_timer(
    data: Path, tmp_path: Path, model: ps.Linear | ps.BoostedTrees
) -> None:
    def jobs(place: Path) -> Heard:
        heard = Heard()
        place.mkdir()
        ps.Pipeline(STEPS, max_rejected=0.1).prepare(source(data), to=place / "prepared", listener=heard, cores=2)
        pipeline = ps.Pipeline(STEPS, model, target="y", max_rejected=0.1)
        fitted = pipeline.fit(source(data), to=place / "model", listener=heard, cores=2)
        fitted.predict(source(data), to=place / "out.csv", keep=["id"], listener=heard, cores=2)
        return heard

    steady = jobs(tmp_path / "steady")
    began = time.monotonic()
    with jumping_clock() as asked:
        heard = jobs(tmp_path / "jumping")
    took = time.monotonic() - began
    assert asked[0] >= 6, "nobody asked for the time"
    assert published(tmp_path / "jumping") == published(tmp_path / "steady")
    assert len(heard.figures) < 20 * len(steady.figures), "progress is told at another pace"
    assert all(0 <= figures.seconds <= took + 1 for figures in heard.figures)
    for path in tmp_path.glob("jumping/*.run/run.json"):
        document = read_json(path)
        for figures in document["summary"]["passes"]:
            assert 0 <= figures["seconds"] <= took + 1
        stamps = [datetime.datetime.fromisoformat(document[name]) for name in ("started", "finished")]
        assert abs(stamps[1] - stamps[0]) > datetime.timedelta(days=300), "the clock has not jumped"


def test_an_interrupted_job_goes_on_although_the_clock_went_back(data: Path, tmp_path: Path) -> None:
    pipeline = ps.Pipeline(STEPS, max_rejected=0.1)
    pipeline.prepare(source(data), to=tmp_path / "clean", cores=1)
    from penstock.run import Run

    real, calls = Run.record, [0]

    def stop(run: Run, receipt: Any) -> None:
        calls[0] += 1
        if calls[0] == 12:
            raise KeyboardInterrupt
        real(run, receipt)

    with jumping_clock():
        with mock.patch.object(Run, "record", stop), pytest.raises(KeyboardInterrupt):
            pipeline.prepare(source(data), to=tmp_path / "out", cores=1)
        assert pipeline.prepare(source(data), to=tmp_path / "out", cores=1).resumed == 11
    for path in (tmp_path / "clean").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_waits_between_tries_do_not_follow_the_clock() -> None:
    states = [503, 503, 503]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(states.pop() if states else 200)
            body = b"x,y\n1,2\n3,4\n"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    waited: list[float] = []
    real = time.sleep
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.csv"
        with jumping_clock(), mock.patch.object(time, "sleep", lambda wait: (waited.append(wait), real(wait))):
            found = open_remote([address], ReadOptions(), retries=Retries(attempts=5, first=0.02, longest=0.1))
        server.shutdown()
    assert sum(len(batch) for chunk in found.chunks() for batch in found.read(chunk)) == 2
    assert not states
    assert len([wait for wait in waited if wait]) >= 3 and max(waited) <= 0.1


# ---------------------------------------------------------------------- who may ask for the time of day

WALL = {
    ("time", name)
    for name in ("time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "asctime", "clock_gettime")
}
WALL |= {("datetime", name) for name in ("now", "utcnow", "today")} | {("date", "today")}
ALLOWED = {("run.py", "datetime.now")}
"""The stamps of a run: when it began and ended, for people."""


def test_durations_are_of_the_monotonic_clock_and_only_stamps_of_the_wall_clock() -> None:
    found = set()
    monotonic = 0
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                found |= {(path.name, f"from time import {name.name}") for name in node.names}
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            monotonic += (owner, node.attr) == ("time", "monotonic")
            if (owner, node.attr) in WALL:
                found.add((path.relative_to(SOURCES).as_posix(), f"{owner}.{node.attr}"))
    assert monotonic > 20
    assert found == ALLOWED
