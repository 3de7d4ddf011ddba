"""The contract of what maps and folds. Implementations live in `engines/`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.batch import Batch, Count
from penstock.errors import TooManyRejected
from penstock.masking import Masking
from penstock.sink import Receipt, Sink
from penstock.source import Chunk, Note, Source
from penstock.statistic import Statistic

LENDING: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("LENDING", default=nullcontext)
"""Set by what runs threads for a job: how one of them lends its core; see `lending_core`."""


def lending_core() -> AbstractContextManager[None]:
    """Within it the calling thread waits for another, and does nothing: one more thread of its job may work meanwhile.

    To go on it waits for a core again, so that never more threads work than the job has cores.
    """
    return LENDING.get()()


class Transform(Protocol):
    """What maps a batch to a batch: fitted steps in a row (see `penstock.fusion.Chain`)."""

    def transform(self, batch: Batch) -> Batch:
        """The batch with every step applied."""
        ...


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job may use, and what it may tell: recorded in the run, never part of its plan.

    Attributes:
        cores: threads that work at once, inner threads of libraries included.
        memory: what our processes may hold [bytes].
        masking: what keeps values of sensitive columns out of what is told; None where there are none.
    """

    cores: int
    memory: int
    masking: Masking | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Where a job stands, for people: the same figures in progress, trace and report.

    Attributes:
        title: what is being done.
        rows: rows read so far.
        total_rows: rows in all, where known.
        nbytes: bytes of the chunks finished or begun, as planned [bytes].
        total_bytes: of all chunks, where known [bytes].
        in_flight: bytes held by blocks between the stages [bytes].
        held: what the process holds now [bytes].
        seconds: since the start [s].
        busy: seconds of work by stage, summed over threads [s].
        waiting: seconds of threads without work, by what they waited for [s].
        values: what else there is to tell of a training: its loss, a metric.
    """

    title: str
    rows: int = 0
    total_rows: int | None = None
    nbytes: int = 0
    total_bytes: int | None = None
    in_flight: int = 0
    held: int = 0
    seconds: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    values: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What is worth keeping of a finished pass, as JSON values."""
        return {
            "pass": self.title,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "busy": {stage: round(seconds, 3) for stage, seconds in self.busy.items()},
            "waiting": {reason: round(seconds, 3) for reason, seconds in self.waiting.items()},
            "held": self.held,
        }


class Listener(Protocol):
    """Who is told how a job goes. Called from the thread that runs the job, a few times a second."""

    def said(self, note: Note) -> None:
        """Something was inferred or decided."""
        ...

    def progressed(self, figures: Figures) -> None:
        """The job got on."""
        ...


class Silent:
    """A listener that tells nobody."""

    def said(self, note: Note) -> None:
        """Nothing is told."""

    def progressed(self, figures: Figures) -> None:
        """Nothing is told."""


class Tracer(Protocol):
    """Who notes what happened when, to be looked at afterwards; times are of `time.monotonic` [s]."""

    def span(self, name: str, kind: str, began: float, ended: float, **told: Any) -> None:
        """This thread did something, from then to then."""
        ...

    def mark(self, name: str, kind: str, at: float, weight: float = 0.0, **told: Any) -> None:
        """Something happened; where there is too much to keep, the heaviest is kept."""
        ...

    def count(self, name: str, at: float, **values: float) -> None:
        """So much there was of something."""
        ...


def tracer_of(listener: Listener) -> Tracer | None:
    """The tracer that a listener carries through the layers; None where nobody asked for a trace."""
    tracer: Tracer | None = getattr(listener, "tracer", None)
    return tracer


@contextmanager
def spanned(listener: Listener, name: str, kind: str, **told: Any) -> Iterator[None]:
    """What is done inside is a span of the trace, where there is one."""
    tracer = tracer_of(listener)
    if tracer is None:
        yield
        return
    began = time.monotonic()
    try:
        yield
    finally:
        tracer.span(name, kind, began, time.monotonic(), **told)


@dataclass(frozen=True, slots=True)
class Station:
    """A stop on a batch's way: steps to apply, then statistics that take in what came out."""

    transform: Transform | None = None
    statistics: tuple[Statistic[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One pass over a source: what to read, what to do to it, and where it ends. Frozen.

    Attributes:
        title: what it is, for people.
        source: where batches come from.
        columns: the columns to read; None for all.
        stations: what a batch goes through, in order.
        sink: where the batches of the last station go; None where only the statistics are wanted.
        max_rejected: the share of rows (0 to 1) above which the pass is stopped; None for no bound.
    """

    title: str
    source: Source
    columns: tuple[str, ...] | None = None
    stations: tuple[Station, ...] = ()
    sink: Sink | None = None
    max_rejected: float | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """The result of a fold: the statistics station by station, and the ledger of the pass."""

    statistics: tuple[tuple[Statistic[Any], ...], ...]
    counts: tuple[Count, ...]


class Engine(ABC):
    """What maps and folds. The law for all of them: same task, same bytes, for any number of workers.

    Checked by `penstock.testing.check_engine`.

    Attributes:
        resources: what it may use.
        passes: the figures of every pass it has finished.
        listener: who is told how they go.
        keep_in: a folder of the job where the states of scans are kept, so that a job that was killed goes on in the
            middle of one; None where nothing is kept.
        example: a rejected row of the pass that is under way or was last, in words; empty where there was none.
    """

    resources: Resources
    passes: list[Figures]
    listener: Listener = Silent()
    keep_in: Path | None = None
    example: str = ""

    @abstractmethod
    def map(self, task: Task, chunks: Iterable[Chunk] | None = None) -> Iterator[Receipt]:
        """Read, transform and write the chunks (None for all); receipts come in plan order, as they are done."""

    @abstractmethod
    def fold(self, task: Task, chunks: Iterable[Chunk] | None = None) -> Folded:
        """Read, transform and take in the chunks; states are updated block by block and merged in plan order."""


_EARLY_ROWS = 100_000
"""Rows after which a pass that rejects too many is stopped before its end."""


def check_rejected(task: Task, counts: tuple[Count, ...], *, early: bool, example: str = "") -> None:
    """Stop a pass that rejects more than it may.

    Raises:
        TooManyRejected: the share is above ``task.max_rejected``.
    """
    rows = counts[0].rows_in if counts else 0
    rejected = sum(count.rejected for count in counts)
    if task.max_rejected is None or rejected <= task.max_rejected * max(rows, _EARLY_ROWS if early else 0):
        return
    worst = max(counts, key=lambda count: count.rejected)
    folder = getattr(task.sink, "rejected", None)
    raise TooManyRejected(
        f"{rejected:,} of {rows:,} rows were rejected ({rejected / rows:.2%}), most of them by {worst.step!r}",
        where=task.title,
        expected=f"at most {task.max_rejected:.2%} (--max-rejected)",
        got=f"{rejected / rows:.2%}" + (f", such as {example}" if example else "") + "; nothing was published",
        remedy="look at the rejected rows' reasons"
        + (f" in {folder}" if folder is not None and folder.is_dir() else " (penstock prepare keeps them)")
        + ", mend the data or the configuration, or allow more with --max-rejected",
    )
