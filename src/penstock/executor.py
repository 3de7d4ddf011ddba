"""The staged, byte-bounded, ordered executor of one machine.

Three stages: *read* (a chunk's blocks, one after the other), *map* (the steps, any block on any thread) and *take*
(statistics and the writer of the chunk, blocks in order). Between them stand queues bounded in bytes. Threads are
not tied to a stage: each takes the work that is nearest to the end of the chain and to the front of the plan, so all
of them are busy as long as there is any work, and memory drains before it fills.

What happens, so that nothing has to be guessed:

- *Order.* Blocks of a chunk are taken in order by one thread at a time; finished chunks leave in plan order, however
  early they were ready.
- *Memory.* A block is read only if it fits into what is left of ``resources.memory``, as measured; the first
  unfinished chunk may always have one block, so the work goes on, one block at a time, when memory is tight. A block
  that could never fit is refused before the first one is read.
- *Lending.* A thread that waits for another inside a step (for a network that is being opened) lends its core: one
  more thread works meanwhile, as far as memory allows, and never more at once than there are cores.
- *Success.* Every writer is finished and every reader exhausted; all threads have ended when the iterator ends.
- *Failure.* The first error wins. No thread takes new work; each ends the block it has in hand; writers that are not
  finished are abandoned, readers closed; then the error is raised where the caller waits. Chunks given out before stay.
- *Cancel.* Closing the iterator (or an interrupt while waiting in it) does the same without an error.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from penstock.batch import Batch, Count, add_counts
from penstock.engine import LENDING, Figures, Listener, Resources, Silent, Station, Task, tracer_of
from penstock.errors import DataError, ResourceError
from penstock.failing import without_failing
from penstock.resources import give_back, held, keep_freed_memory, show_bytes
from penstock.sink import Receipt, Writer
from penstock.source import BLOCK_BYTES, Chunk
from penstock.statistic import Statistic

_BLOCKS_PER_CORE = 3
"""Blocks in flight per core: enough that no stage starves; more would only hold memory."""
_COPIES = 2
"""What a block needs while it is worked on, beside its reading, in multiples of its size: as mapped, as encoded."""
_TELL_EVERY = 0.2
"""Between two reports of progress [s]."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished chunk: its ledger and parts, its statistics station by station, and the first row it rejected."""

    chunk: Chunk
    receipt: Receipt
    statistics: tuple[tuple[Statistic[Any], ...], ...]
    rejected: Mapping[str, Any] | None = None


_Piece: TypeAlias = "tuple[_Active | None, int, int]"
"""What a piece of work was: of which chunk, how many rows and bytes."""


@dataclass(eq=False)
class _Active:
    """A chunk under way. Changed only under the executor's lock, or by the one thread that has the flag."""

    chunk: Chunk
    statistics: tuple[tuple[Statistic[Any], ...], ...]
    reader: Iterator[Batch] | None = None
    writer: Writer | None = None
    reading: bool = False
    exhausted: bool = False
    taking: bool = False
    read: int = 0  # blocks read
    taken: int = 0  # blocks taken
    gone: int = 0  # bytes of the blocks taken
    unmapped: deque[tuple[int, Batch]] = field(default_factory=deque)
    mapped: dict[int, tuple[Batch, ...]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    counts: tuple[Count, ...] = ()
    rejected: Mapping[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)
    spent: dict[str, float] = field(default_factory=dict)  # by stage [s], where there is a tracer
    finished: bool = False

    @property
    def complete(self) -> bool:
        """Whether only the end of the chunk is left to do."""
        return self.exhausted and self.taken == self.read


class Executor:
    """Runs one task. Make a new one for each.

    Args:
        task: what to do.
        resources: with how many threads, in how much memory.
        listener: who is told how it goes.
        first: whether this is the first pass of a job, in which what can never fit is refused.
    """

    def __init__(
        self, task: Task, resources: Resources, listener: Listener | None = None, *, first: bool = True
    ) -> None:
        self._task = task
        self._resources = resources
        self._listener: Listener = listener or Silent()
        self._tracer = tracer_of(self._listener)
        self._first = first
        self._lock = threading.Condition()
        self._active: list[_Active] = []
        self._order: deque[int] = deque()  # chunks begun and not yet given out
        self._done: dict[int, Done] = {}
        self._plan: Iterator[Chunk] = iter(())
        self._planning = False
        self._planned_all = False
        self._threads: list[threading.Thread] = []
        self._working = 0  # threads at work
        self._lent = 0  # threads that have lent their core
        self._returning = 0  # threads that want theirs back
        self._there = 0  # all threads
        self._stopped = False
        self._failure: BaseException | None = None
        self._in_flight = 0
        self._block = task.source.block_nbytes
        self._largest = min(self._block, BLOCK_BYTES)  # what of it is the block itself, and not its decoding
        # A writer holds a group of rows and its encoded form; of small data, no more than there is.
        self._writing = 0 if task.sink is None else _COPIES * self._largest
        self._mapped = 0  # the largest block that the steps have made so far [bytes]
        self._rows = 0
        self._bytes_done = 0
        self._chunks_done = 0
        self._busy = dict.fromkeys(("plan", "read", "map", "take"), 0.0)
        self._waiting = dict.fromkeys(("memory", "work"), 0.0)
        self._start = time.monotonic()
        self._ended: float | None = None
        self._base = held()

    # ------------------------------------------------------------------ the caller's side

    def run(self, chunks: Iterable[Chunk] | None = None) -> Iterator[Done]:
        """Run the task over these chunks (None for all of the source); finished chunks come in plan order."""
        give_back()  # what opening the data, or an earlier pass, has left in the allocators
        self._base = held()
        self._refuse_what_cannot_fit()
        keep_freed_memory()
        self._plan = iter(self._task.source.chunks() if chunks is None else chunks)
        with self._lock:
            for _ in range(self._resources.cores):
                self._begin_thread()
        try:
            yield from self._collect()
        finally:
            with self._lock:
                self._stopped = True
                self._lock.notify_all()
            for thread in self._threads:  # none begins any more
                thread.join()
            self._abandon()
            self._ended = time.monotonic()
            self._listener.progressed(self._traced_pass(self.figures(finished=True)))

    def figures(self, *, finished: bool = False) -> Figures:
        """Where the task stands."""
        return Figures(
            title=self._task.title,
            rows=self._rows,
            nbytes=self._bytes_done + sum(min(active.gone, active.chunk.nbytes) for active in tuple(self._active)),
            total_bytes=self._task.source.planned_nbytes,
            in_flight=self._in_flight,
            held=held(),
            seconds=(self._ended or time.monotonic()) - self._start,
            busy=dict(self._busy),
            waiting=dict(self._waiting),
            finished=finished,
        )

    def _collect(self) -> Iterator[Done]:
        next_told = 0.0
        while True:
            ready: list[Done] = []
            with self._lock:
                while True:
                    while self._order and self._order[0] in self._done:
                        ready.append(self._done.pop(self._order.popleft()))
                    ended = self._all_done() and not self._order
                    if self._failure is not None or ready or ended or time.monotonic() >= next_told:
                        break
                    self._lock.wait(_TELL_EVERY)
                failure = self._failure
            if failure is not None:
                raise failure
            if time.monotonic() >= next_told:
                self._listener.progressed(self._traced(self.figures()))
                next_told = time.monotonic() + _TELL_EVERY
            yield from ready
            if ended:
                return

    def _traced(self, figures: Figures) -> Figures:
        """The same figures; where there is a tracer, it has them too."""
        if self._tracer is not None:
            now, active = time.monotonic(), tuple(self._active)
            self._tracer.count("bytes", now, in_flight=figures.in_flight, held=figures.held)
            self._tracer.count("done", now, rows=figures.rows, chunks=self._chunks_done)
            mapped, unmapped = sum(len(one.mapped) for one in active), sum(len(one.unmapped) for one in active)
            self._tracer.count("queues", now, to_map=unmapped, to_take=mapped, to_give_out=len(self._done))
        return figures

    def _traced_pass(self, figures: Figures) -> Figures:
        if self._tracer is not None:
            self._traced(figures)
            wanted = self._base + self._need() * _BLOCKS_PER_CORE * self._resources.cores
            told = {"chunks": self._chunks_done, "bytes": self._bytes_done, "memory_wanted": wanted}
            told |= {"cores": self._resources.cores, "memory": self._resources.memory}
            began = self._start
            self._tracer.span(figures.title, "pass", began, began + figures.seconds, **figures.to_json(), **told)
        return figures

    def _traced_piece(self, stage: str, piece: _Piece, began: float, ended: float) -> None:
        """A piece of work, and after its last one the chunk."""
        assert self._tracer is not None
        active, rows, nbytes = piece
        if active is None:
            self._tracer.span(stage, "stage", began, ended)
            return
        chunk = active.chunk.index
        self._tracer.span(stage, "stage", began, ended, chunk=chunk, rows=rows, bytes=nbytes)
        with self._lock:
            active.spent[stage] = active.spent.get(stage, 0.0) + ended - began
        if active.finished and stage == "take":
            spent = {name: round(seconds, 6) for name, seconds in active.spent.items()}
            took = ended - active.began
            told = {"chunk": chunk, "pass": self._task.title, "rows": rows, "bytes": active.chunk.nbytes, "took": took}
            self._tracer.mark("chunk", "chunk", ended, took, **told, **spent)

    def _refuse_what_cannot_fit(self) -> None:
        now = self._base
        need = now + self._need()
        # Only before the work: a job that was let begin goes on, block by block, with what it holds by then.
        if self._first and need > self._resources.memory:
            raise ResourceError(
                "one block does not fit into the memory given",
                where=self._task.title,
                expected=f"at least {show_bytes(need)}: {show_bytes(now)} held by the process, "
                f"{show_bytes(self._need())} for a block being worked on",
                got=show_bytes(self._resources.memory),
                remedy=f"--memory {-(-need // 2**20)}MiB or more",
            )

    def _abandon(self) -> None:
        # Of every one, whatever another one's clean-up runs into: the first error is the one that is told.
        for active in self._active:
            with suppress(Exception):
                if active.writer is not None:
                    active.writer.abandon()
            with suppress(Exception):
                getattr(active.reader, "close", lambda: None)()
        with suppress(Exception):
            getattr(self._plan, "close", lambda: None)()
        self._active.clear()

    # ------------------------------------------------------------------ the threads' side

    def _begin_thread(self) -> None:
        # In the caller's context: whoever watches this job's waits for the disk, watches these threads' too.
        name = f"penstock-{len(self._threads)}"
        thread = threading.Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True)
        self._threads.append(thread)
        self._there += 1
        thread.start()

    @contextmanager
    def _lending(self) -> Iterator[None]:
        """See `penstock.engine.lending_core`."""
        with self._lock:
            self._working -= 1
            self._lent += 1
            if not self._stopped and self._there < self._resources.cores + self._lent:
                self._begin_thread()
            self._lock.notify_all()
        try:
            yield
        finally:
            with self._lock:
                self._lent -= 1
                self._returning += 1  # before whoever would begin something new
                while self._working >= self._resources.cores:
                    self._lock.wait()
                self._returning -= 1
                self._working += 1

    def _work(self) -> None:
        LENDING.set(self._lending)
        try:
            self._work_on()
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
                self._lock.notify_all()

    def _work_on(self) -> None:
        while True:
            with self._lock:
                picked = self._pick()
                while picked is None:
                    if self._there > self._resources.cores + self._lent:
                        self._there -= 1
                        return
                    if self._stopped or self._failure or self._all_done():
                        self._lock.notify_all()
                        return
                    began = time.monotonic()
                    reason = "memory" if self._short_of_memory else "work"
                    self._lock.wait(0.5)
                    ended = time.monotonic()
                    self._waiting[reason] += ended - began
                    if self._tracer is not None:
                        self._tracer.span(f"wait for {reason}", "wait", began, ended)
                    picked = self._pick()
                self._working += 1
            stage, job = picked
            began = time.monotonic()
            try:
                piece = job()
            finally:
                with self._lock:
                    self._working -= 1
            ended = time.monotonic()
            if self._tracer is not None:
                self._traced_piece(stage, piece, began, ended)
            with self._lock:
                self._busy[stage] += ended - began
                self._lock.notify_all()

    def _all_done(self) -> bool:
        return self._planned_all and not self._planning and not self._active

    def _pick(self) -> tuple[str, Callable[[], _Piece]] | None:
        """The next piece of work: nearest to the end first, then nearest to the front of the plan."""
        self._short_of_memory = False
        if self._stopped or self._failure or self._working + self._returning >= self._resources.cores:
            return None
        for active in self._active:
            if not active.taking and (active.taken in active.mapped or active.complete):
                active.taking = True
                if active.complete:
                    return "take", lambda a=active: self._finish(a)
                return "take", lambda a=active: self._take(a)
        for place, active in enumerate(self._active):
            if active.unmapped:
                next_out = place == 0 and active.unmapped[0][0] == active.taken
                if not next_out and not self._may_map():
                    continue
                number, batch = active.unmapped.popleft()
                return "map", lambda a=active, n=number, b=batch: self._map(a, n, b)
        for place, active in enumerate(self._active):
            if not active.reading and not active.exhausted and self._may_read(active, first=place == 0):
                active.reading = True
                return "read", lambda a=active: self._read(a)
        if not self._planning and not self._planned_all and self._may_begin():
            self._planning = True
            return "plan", self._begin
        return None

    _short_of_memory = False

    def _may_begin(self) -> bool:
        if not self._active:
            return True
        return len(self._active) + len(self._done) <= self._resources.cores and self._fits()

    def _may_read(self, active: _Active, *, first: bool) -> bool:
        if first and active.read == active.taken:
            return True
        return self._fits()

    def _fits(self) -> bool:
        blocks = sum(active.read - active.taken + active.reading for active in self._active)
        if blocks >= _BLOCKS_PER_CORE * self._resources.cores + self._lent:
            return False
        need = self._need()
        room = self._resources.memory
        # What blocks under way may still come to hold, and what is really held, must both leave room for one more.
        fits = self._base + need * (blocks + 1) <= room
        if fits and held() + need > room:
            give_back()
            fits = held() + need <= room
        self._short_of_memory = not fits
        return fits

    def _need(self) -> int:
        """What one more block may come to hold: as read and while it is worked on, and what the steps make of it."""
        return self._block + _COPIES * max(self._largest, self._mapped) + self._writing

    def _may_map(self) -> bool:
        if held() + 2 * self._mapped <= self._resources.memory:
            return True
        give_back()
        self._short_of_memory = held() + 2 * self._mapped > self._resources.memory
        return not self._short_of_memory

    def _begin(self) -> _Piece:
        chunk = next(self._plan, None)
        with self._lock:
            self._planning = False
            if chunk is None:
                self._planned_all = True
            else:
                statistics = tuple(
                    tuple(statistic.empty() for statistic in station.statistics) for station in self._task.stations
                )
                self._active.append(_Active(chunk, statistics))
                self._order.append(chunk.index)
        return None, 0, 0

    def _read(self, active: _Active) -> _Piece:
        if active.reader is None:
            active.reader = iter(self._task.source.read(active.chunk, self._task.columns))
        batch = next(active.reader, None)
        with self._lock:
            active.reading = False
            if batch is None:
                active.exhausted = True
                return active, 0, 0
            size = batch.nbytes
            self._block = max(self._block, size)
            self._largest = max(self._largest, size)
            self._in_flight += size
            active.sizes[active.read] = size
            active.unmapped.append((active.read, batch))
            active.read += 1
        return active, len(batch), size

    def _map(self, active: _Active, number: int, batch: Batch) -> _Piece:
        results = self._told(batch)
        with self._lock:
            self._mapped = max(self._mapped, results[-1].nbytes)
            active.mapped[number] = results
        return active, len(batch), results[-1].nbytes

    def _told(self, batch: Batch) -> tuple[Batch, ...]:
        """A block through the stations, with what may be told of the rows that left it."""
        masking = self._resources.masking
        try:
            results = without_failing(lambda block: tuple(_through(self._task.stations, block)), batch) or (batch,)
        except DataError as error:
            if masking is not None:
                error.got = "not told, since there are sensitive columns"
            raise
        last = results[-1]
        if masking is None or last.rejected is None or not last.rejected.num_rows:
            return results
        return (*results[:-1], replace(last, rejected=masking.rejected(last.rejected)))

    def _take(self, active: _Active) -> _Piece:
        results = active.mapped.pop(active.taken)
        for statistics, result in zip(active.statistics, results, strict=False):
            for statistic in statistics:
                statistic.update(result)
        last = results[-1]
        if self._task.sink is not None:
            if active.writer is None:
                active.writer = self._task.sink.open(active.chunk)
            active.writer.write(last)
        active.counts = add_counts(active.counts, last.counts)
        if active.rejected is None and last.rejected is not None and last.rejected.num_rows:
            active.rejected = last.rejected.slice(0, 1).to_pylist()[0]
        with self._lock:
            size = active.sizes.pop(active.taken)
            self._in_flight -= size
            active.gone += size
            self._rows += next((c.rows_in for c in last.counts), len(last))
            active.taken += 1
            active.taking = False
        return active, len(last), size

    def _finish(self, active: _Active) -> _Piece:
        receipt = Receipt(active.chunk.index, active.counts)
        if self._task.sink is not None:
            if active.writer is None:
                active.writer = self._task.sink.open(active.chunk)
            written = active.writer.finish()
            receipt = replace(written, counts=active.counts)
        with self._lock:
            self._bytes_done += active.chunk.nbytes
            self._chunks_done += 1
            active.finished = True
            self._active.remove(active)
            self._done[active.chunk.index] = Done(active.chunk, receipt, active.statistics, active.rejected)
        return active, next((count.rows_in for count in active.counts), 0), 0


def _through(stations: tuple[Station, ...], batch: Batch) -> Iterator[Batch]:
    for station in stations:
        if station.transform is not None:
            batch = station.transform.transform(batch)
        yield batch
