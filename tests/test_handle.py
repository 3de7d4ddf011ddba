"""A job that is not waited for: its progress, its result, its end before that, in threads and in event loops."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.engine import Figures
from penstock.errors import Cancelled, SourceError
from penstock.source import Note


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = 60_000
    x = random.normal(size=rows)
    table = pa.table({"x": x, "z": random.normal(size=rows), "y": np.where(x > 0, "yes", "no")})
    pq.write_table(table, folder / "rows.parquet", row_group_size=20_000)
    return folder / "rows.parquet"


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ps.FittedPipeline:
    few = tmp_path_factory.mktemp("few") / "rows.parquet"
    pq.write_table(pq.read_table(data).slice(0, 2_000), few)
    return ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(few)


class Held:
    """A listener that holds the job at its first report, until it is let go on."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.go_on = threading.Event()

    def said(self, note: Note) -> None:
        pass

    def progressed(self, figures: Figures) -> None:
        self.there.set()
        assert self.go_on.wait(60)


def test_a_job_gives_what_the_call_gives(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    job = fitted.predict(data, to=tmp_path / "out", wait=False)
    assert isinstance(job, ps.Job)
    assert job.result(60).rows == 60_000
    assert job.progress is not None
    assert job.progress.rows == 60_000
    assert job.done
    assert not job.cancelled
    assert "done" in repr(job)
    evaluated = fitted.evaluate(data, wait=False).result(60)
    assert evaluated.metrics == fitted.evaluate(data).metrics
    again = ps.Pipeline([ps.Standardize("x")], ps.Linear(), target="y").fit(data, wait=False, cores=1).result(120)
    assert again.target.column == "y"


def test_the_functions_of_the_api_are_started_as_the_methods_are(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    ps.load(tmp_path / "model").predict(data, to=tmp_path / "out")
    profiled = ps.profile(data, wait=False)
    assert isinstance(profiled, ps.Job)
    assert profiled.result(60).to_json()["rows"] == 60_000
    assert profiled.progress is not None
    again = ps.repro(run=tmp_path / "out", wait=False)
    assert isinstance(again, ps.Job)
    assert again.result(60).identical
    replayed = ps.replay(tmp_path / "out", wait=False)
    assert isinstance(replayed, ps.Job)
    assert replayed.result(60).rows == 60_000


def test_progress_is_seen_and_a_result_that_is_not_there_yet_is_said(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    held = Held()
    job = fitted.predict(data, to=tmp_path / "out", wait=False, listener=held)
    assert held.there.wait(60)
    assert not job.done
    assert job.progress is not None
    assert "running" in repr(job)
    with pytest.raises(TimeoutError, match="it goes on"):
        job.result(0.01)
    held.go_on.set()
    assert job.result(60).rows == 60_000


def test_a_cancelled_job_publishes_nothing_and_the_same_call_goes_on(
    fitted: ps.FittedPipeline, data: Path, tmp_path: Path
) -> None:
    held = Held()
    job = fitted.predict(data, to=tmp_path / "out", wait=False, listener=held)
    assert held.there.wait(60)
    assert job.cancel()
    held.go_on.set()
    with pytest.raises(Cancelled):
        job.result(60)
    assert job.cancelled
    assert not job.cancel()
    assert not (tmp_path / "out").exists()
    assert fitted.predict(data, to=tmp_path / "out").rows == 60_000


def test_a_job_is_awaited_beside_other_work(fitted: ps.FittedPipeline, data: Path, tmp_path: Path) -> None:
    async def both() -> tuple[int, int]:
        job = fitted.predict(data, to=tmp_path / "out", wait=False)
        turns = 0
        while not job.done:
            turns += 1
            await asyncio.sleep(0.01)
        return (await job).rows, turns

    rows, turns = asyncio.run(both())
    assert rows == 60_000
    assert turns > 1


def test_an_error_reaches_whoever_asks_for_the_result(fitted: ps.FittedPipeline, tmp_path: Path) -> None:
    job = fitted.predict(tmp_path / "nothing.csv", to=tmp_path / "out", wait=False)
    with pytest.raises(SourceError, match="no such file"):
        job.result(60)

    async def awaited() -> None:
        await fitted.evaluate(tmp_path / "nothing.csv", wait=False)

    with pytest.raises(SourceError, match="no such file"):
        asyncio.run(awaited())
