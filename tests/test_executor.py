"""The executor: order, bounds, failure and cancel, as its docstring promises."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from penstock.batch import Batch
from penstock.engine import Resources, Silent, Station, Task, lending_core
from penstock.engines.local import LocalEngine
from penstock.errors import DataError, ResourceError, TooManyRejected
from penstock.executor import Executor
from penstock.resources import held
from penstock.schema import Schema
from penstock.sinks.parts import PartsSink
from penstock.source import Chunk
from penstock.testing.tables import TableSource

PLENTY = Resources(cores=4, memory=2**34)


def source(rows: int = 2_000, **cut: int) -> TableSource:
    return TableSource(pa.table({"x": np.arange(rows, dtype=np.float64)}), **(cut or {"block": 50, "blocks": 4}))


def sink(folder: Path, schema: Schema) -> PartsSink:
    return PartsSink(folder / "parts", folder / "rejected", folder / "out", schema)


class Jittered:
    """Takes longer for some blocks than for others, so that they finish out of order."""

    def transform(self, batch: Batch) -> Batch:
        time.sleep(0.003 * (int(batch.keys.rows[0]) // 50 % 3 == 0))
        return batch


class Failing:
    def __init__(self, at: int) -> None:
        self.at = at

    def transform(self, batch: Batch) -> Batch:
        if self.at in batch.keys.rows:
            raise DataError(f"row {self.at}")
        return batch


def test_chunks_leave_in_plan_order_whatever_finishes_first(tmp_path: Path) -> None:
    rows = source()
    task = Task("t", rows, None, (Station(Jittered()),), sink(tmp_path, rows.schema))
    done = list(Executor(task, PLENTY).run())
    assert [one.chunk.index for one in done] == list(range(10))
    read = pa.concat_tables([pa.parquet.read_table(tmp_path / "parts" / one.receipt.parts[0].name) for one in done])
    assert read.column("x").to_pylist() == [float(i) for i in range(2_000)]


def test_an_error_of_a_step_is_raised_and_what_was_begun_is_abandoned(tmp_path: Path) -> None:
    rows = source()
    task = Task("t", rows, None, (Station(Failing(1_000)),), sink(tmp_path, rows.schema))
    finished: list[int] = []
    with pytest.raises(DataError, match="row 1000"):
        finished.extend(done.chunk.index for done in Executor(task, PLENTY).run())
    assert 5 not in finished
    left = {path.name for path in (tmp_path / "parts").iterdir()}
    assert {f"part-{index:05d}.parquet" for index in finished} <= left
    assert "part-00005.parquet" not in left
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock-")]


def test_an_error_of_the_source_is_raised() -> None:
    class Broken(TableSource):
        def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
            yield from super().read(chunk, columns)
            if chunk.index == 3:
                raise OSError("the disk is gone")

    broken = Broken(pa.table({"x": np.arange(2_000.0)}), block=50, blocks=4)
    with pytest.raises(OSError, match="the disk is gone"):
        list(Executor(Task("t", broken), PLENTY).run())


def test_an_error_of_the_plan_is_raised() -> None:
    class Broken(TableSource):
        def chunks(self) -> Iterator[Chunk]:
            yield next(super().chunks())
            raise OSError("no plan")

    with pytest.raises(OSError, match="no plan"):
        list(Executor(Task("t", Broken(pa.table({"x": np.arange(500.0)}))), PLENTY).run())


def test_closing_the_iterator_stops_all_threads_and_abandons_what_was_begun(tmp_path: Path) -> None:
    rows = source(20_000)
    task = Task("t", rows, None, (Station(Jittered()),), sink(tmp_path, rows.schema))
    run = Executor(task, PLENTY).run()
    first = next(run)
    run.close()
    assert first.chunk.index == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock-")]
    assert len(list((tmp_path / "parts").iterdir())) < 100
    for path in (tmp_path / "parts").iterdir():
        assert pa.parquet.read_metadata(path).num_rows == 200, "a part that was not finished was left"


class Lending:
    """The first block waits for the third to come: for ever, where no other thread works meanwhile."""

    def __init__(self) -> None:
        self.came, self.lock = threading.Event(), threading.Lock()
        self.working, self.most = 0, 0

    def transform(self, batch: Batch) -> Batch:
        first = int(batch.keys.rows[0])
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)
        if first == 100:
            self.came.set()
        if first == 0:
            with self.lock:
                self.working -= 1
            with lending_core():
                assert self.came.wait(30), "nobody worked while the first block waited"
            with self.lock:
                self.working += 1
                self.most = max(self.most, self.working)
        with self.lock:
            self.working -= 1
        return batch


@pytest.mark.parametrize("cores", [1, 2])
def test_a_thread_that_waits_lends_its_core_and_gets_it_back(cores: int, tmp_path: Path) -> None:
    rows, lending = source(), Lending()
    task = Task("t", rows, None, (Station(lending),), sink(tmp_path, rows.schema))
    done = list(Executor(task, Resources(cores, 2**34)).run())
    assert [one.chunk.index for one in done] == list(range(10))
    assert lending.most <= cores
    read = pa.concat_tables([pa.parquet.read_table(tmp_path / "parts" / one.receipt.parts[0].name) for one in done])
    assert read.column("x").to_pylist() == [float(i) for i in range(2_000)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock-")]


def test_an_error_beside_a_thread_that_waits_ends_the_job() -> None:
    class Stuck(Failing):
        def transform(self, batch: Batch) -> Batch:
            if batch.keys.rows[0] == 0:
                with lending_core():
                    assert failed.wait(30)
            if self.at in batch.keys.rows:
                failed.set()
            return super().transform(batch)

    failed = threading.Event()
    with pytest.raises(DataError, match="row 70"):
        list(Executor(Task("t", source(), None, (Station(Stuck(70)),)), Resources(1, 2**34)).run())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock-")]


def test_a_block_that_can_never_fit_is_refused_before_the_first_is_read() -> None:
    class Wide(TableSource):
        @property
        def block_nbytes(self) -> int:
            return 2**33

        def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
            raise AssertionError("it was read")

    with pytest.raises(ResourceError, match=r"one block does not fit[\s\S]*--memory \d+MiB"):
        list(Executor(Task("t", Wide(pa.table({"x": [1.0]}))), Resources(2, 2**30)).run())


def test_no_more_than_one_block_at_a_time_is_read_when_memory_is_tight() -> None:
    most = 0
    out = 0
    lock = threading.Lock()

    class Counting(TableSource):
        @property
        def block_nbytes(self) -> int:
            return 8 * 2**20

        def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
            nonlocal most, out
            for batch in super().read(chunk, columns):
                with lock:
                    out += 1
                    most = max(most, out)
                yield batch

    class Letting:
        def transform(self, batch: Batch) -> Batch:
            nonlocal out
            time.sleep(0.001)
            with lock:
                out -= 1
            return batch

    rows = Counting(pa.table({"x": np.arange(1_000.0)}), block=50, blocks=2)
    list(Executor(Task("t", source()), PLENTY).run())  # what the first run loads and keeps is held already
    tight = Resources(4, held() + 3 * 8 * 2**20 + 12 * 2**20)  # for one block being worked on, not for two
    done = list(Executor(Task("t", rows, None, (Station(Letting()),)), tight).run())
    assert len(done) == 10
    assert most == 1


def test_counts_of_all_stages_add_up_and_progress_is_told() -> None:
    told = []

    class Listening(Silent):
        def progressed(self, figures) -> None:  # type: ignore[no-untyped-def]
            told.append(figures)

    list(Executor(Task("a title", source()), PLENTY, Listening()).run())
    assert told[-1].finished
    assert told[-1].rows == 2_000
    assert told[-1].title == "a title"
    assert set(told[-1].busy) == {"plan", "read", "map", "take"}
    assert all(seconds >= 0 for seconds in told[-1].busy.values())


def test_a_pass_that_rejects_too_many_rows_is_stopped() -> None:
    class Rejecting:
        def transform(self, batch: Batch) -> Batch:
            from penstock.batch import Count

            bad = batch.keys.rows % 10 == 0
            after = batch.reject(bad, step="s", column="x", code="bad", reason="it is bad")
            count = Count("s", rows_in=len(batch), out=len(after), rejected=int(bad.sum()))
            return replace(after, counts=(*batch.counts, count))

    task = Task("t", source(), None, (Station(Rejecting()),), max_rejected=0.05)
    with pytest.raises(TooManyRejected, match=r"200 of 2,000 rows were rejected \(10.00%\), most of them by 's'"):
        LocalEngine(PLENTY).fold(task)
    allowed = replace(task, max_rejected=0.1)
    assert sum(count.rejected for count in LocalEngine(PLENTY).fold(allowed).counts) == 200
