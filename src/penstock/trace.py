"""What happened when, in one job: collected while it runs, written at its end in Chrome's trace format.

Machinery: jobs, the executor and models tell a `penstock.engine.Tracer`, which their listener carries; this is one. The
file is a trace in the *JSON Object Format* ("Trace Event Format", Google, 2016), which https://ui.perfetto.dev and
chrome://tracing open. `penstock.trace_findings` reads it again.

Nothing is measured a second time: spans of stages and waits are what `penstock.engine.Figures` are summed from.
"""

from __future__ import annotations

import functools
import json
import math
import os
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from penstock import __version__
from penstock.durable import watcher, write_atomically, writing
from penstock.errors import Cancelled, PenstockError, UsageError

if TYPE_CHECKING:
    from penstock.engine import Figures, Listener, Tracer
    from penstock.source import Note

MOST_EVENTS = 100_000
"""Events kept; beyond, the shorter half goes (about 300 bytes each, so at most 30 MB)."""
PROGRAM = "penstock"

_ALWAYS = frozenset({"job", "part", "pass", "candidate", "training", "explanation"})
"""Kinds of spans that are few, and that all else stands in."""
_PROCESS = 1


class _Lane:
    """A line of the picture: one thread after another, of the same name."""

    def __init__(self, number: int, thread: threading.Thread) -> None:
        self.number = number
        self.thread = thread
        self.name = thread.name


_Event = tuple[str, str, str, int, float, float, tuple[str, ...], tuple[Any, ...]]
"""Phase, name, kind, lane, from when and how long [s], and what is told: its names and its values."""


class Trace:
    """Collects the events of one job, of any thread, in bounded memory.

    Args:
        title: the job, for people.
        most: how many events are kept.

    Attributes:
        left_out: by kind and name, how many events were left out, and how long they took together [s].
        peak_held: the most that the process was seen to hold [bytes].
        origin: when it began, of `time.monotonic` [s].

    Example:
        >>> trace = Trace("example")
        >>> now = time.monotonic()
        >>> trace.span("read", "stage", now, now + 0.5, rows=10)
        >>> [event["name"] for event in trace.to_json("done")["traceEvents"] if event["ph"] == "X"]
        ['example', 'read']
    """

    def __init__(self, title: str, most: int = MOST_EVENTS) -> None:
        self.title = title
        self.left_out: dict[tuple[str, str], tuple[int, float]] = {}
        self.peak_held = 0
        self._most = most
        self._events: list[_Event] = []
        self._keys: dict[tuple[str, ...], tuple[str, ...]] = {}  # the same names are kept once
        self._lanes: list[_Lane] = []
        self._lock = threading.Lock()
        self.origin = time.monotonic()
        self._lane()

    # ------------------------------------------------------------------ what a tracer is told

    def span(self, name: str, kind: str, began: float, ended: float, **told: Any) -> None:
        """This thread did something, from then to then."""
        self._add("X", name, kind, began, ended - began, told)

    def mark(self, name: str, kind: str, at: float, weight: float = 0.0, **told: Any) -> None:
        """Something happened; where there is too much to keep, the heaviest is kept."""
        self._add("i", name, kind, at, weight, told)

    def count(self, name: str, at: float, **values: float) -> None:
        """So much there was of something."""
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        if finite:
            self._add("C", name, "counter", at, 0.0, finite)

    def disk(self, name: str, path: str, began: float, ended: float) -> None:
        """This thread waited for the disk; see `penstock.durable.watcher`."""
        self.span(name, "disk", began, ended, path=path)

    def _add(self, phase: str, name: str, kind: str, at: float, lasted: float, told: Mapping[str, Any]) -> None:  # noqa: PLR0917
        keys = tuple(told)
        with self._lock:
            held = told.get("held", 0)
            self.peak_held = max(self.peak_held, held)
            keys = self._keys.setdefault(keys, keys)
            self._events.append((phase, name, kind, self._lane(), at, lasted, keys, tuple(told.values())))
            if len(self._events) >= self._most:
                self._thin()

    def _lane(self) -> int:
        thread = threading.current_thread()
        free = None
        for lane in self._lanes:
            if lane.thread is thread:
                return lane.number
            if free is None and lane.name == thread.name and not lane.thread.is_alive():
                free = lane
        if free is None:
            free = _Lane(len(self._lanes) + 1, thread)
            self._lanes.append(free)
        free.thread = thread
        return free.number

    def _thin(self) -> None:
        """Leave the shorter half out, and every other sample of a counter; how much that was is kept."""
        spare = [index for index, event in enumerate(self._events) if event[0] != "C" and event[2] not in _ALWAYS]
        spare.sort(key=lambda index: self._events[index][5])
        gone = set(spare[: (len(spare) + 1) // 2])
        gone |= set([index for index, event in enumerate(self._events) if event[0] == "C"][1::2])
        if len(self._events) - len(gone) > 3 * self._most // 4:  # even what is always kept is too much
            always = [index for index in range(len(self._events)) if index not in gone]
            always.sort(key=lambda index: self._events[index][5])
            gone |= set(always[: len(always) // 2])
        for index in gone:
            _, name, kind, _, _, lasted, _, _ = self._events[index]
            count, seconds = self.left_out.get((kind, name), (0, 0.0))
            self.left_out[kind, name] = (count + 1, seconds + lasted)
        self._events = [event for index, event in enumerate(self._events) if index not in gone]

    # ------------------------------------------------------------------ the file

    def to_json(self, outcome: str) -> dict[str, Any]:
        """The trace as it stands, with how the job ended, as JSON values."""
        ended = time.monotonic()
        self._add("X", self.title, "job", self.origin, ended - self.origin, {"outcome": outcome})
        with self._lock:
            events = [self._shown(event) for event in sorted(self._events, key=lambda one: (one[4], -one[5]))]
            names = [_meta("process_name", 0, f"penstock {self.title}")]
            names += [_meta("thread_name", lane.number, lane.name) for lane in self._lanes]
        other: dict[str, Any] = {
            "program": PROGRAM,
            "version": __version__,
            "title": self.title,
            "outcome": outcome,
            "seconds": round(ended - self.origin, 6),
            "peak_held": self.peak_held,
        }
        if self.left_out:
            count = sum(count for count, _ in self.left_out.values())
            other["note"] = f"{count:,} short events are left out: no more than {self._most:,} are kept"
            other["left_out"] = [
                {"kind": kind, "name": name, "count": count, "seconds": round(seconds, 6)}
                for (kind, name), (count, seconds) in sorted(self.left_out.items())
            ]
        return {"displayTimeUnit": "ms", "otherData": other, "traceEvents": [*names, *events]}

    def _shown(self, event: _Event) -> dict[str, Any]:
        phase, name, kind, lane, at, lasted, keys, values = event
        began = _micro(at - self.origin)
        shown = {"ph": phase, "name": name, "cat": kind, "pid": _PROCESS, "tid": lane, "ts": began}
        if phase == "X":
            # From the rounded ends: what stands in something still does after the rounding.
            shown["dur"] = round(_micro(at + lasted - self.origin) - began, 3)
        elif phase == "i":
            shown["s"] = "t"
        if keys:
            shown["args"] = dict(zip(keys, values, strict=True))
        return shown

    def write(self, path: Path, outcome: str) -> None:
        """Write the trace, an event a line; a reader sees all of it or none.

        Raises:
            ResourceError: it can't be written.
        """
        whole = self.to_json(outcome)
        head = {name: whole[name] for name in ("displayTimeUnit", "otherData")}
        lines = ",\n".join(json.dumps(_finite(event), ensure_ascii=False) for event in whole["traceEvents"])
        text = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "traceEvents": [\n{lines}\n]}}\n'
        write_atomically(path, text.encode("utf-8", "backslashreplace"))


def _micro(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1e6, 3)


def _meta(name: str, lane: int, value: str) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": _PROCESS, "tid": lane, "ts": 0, "args": {"name": value}}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------------- a job with a trace


class Traced:
    """A listener as it was, that carries a tracer too."""

    def __init__(self, listener: Listener | None, tracer: Tracer) -> None:
        self.tracer = tracer
        self._listener = listener

    def said(self, note: Note) -> None:
        """Pass it on."""
        if self._listener is not None:
            self._listener.said(note)

    def progressed(self, figures: Figures) -> None:
        """Pass it on."""
        if self._listener is not None:
            self._listener.progressed(figures)


@contextmanager
def recording(to: str | Path | None, title: str) -> Iterator[Trace | None]:
    """Collect what is done inside, and write it at the end, however that comes; None asks for nothing.

    Raises:
        UsageError: the file can't have that name.
        ResourceError: it can't be written.
    """
    if to is None:
        yield None
        return
    path = Path(to).absolute()
    _refuse_to_overwrite(path)
    trace = Trace(title)
    token = watcher.set(trace.disk)
    try:
        yield trace
    except BaseException as error:
        watcher.reset(token)
        stopped = isinstance(error, (KeyboardInterrupt, Cancelled, CancelledError, GeneratorExit))
        try:
            # The kind of the error alone: its words may tell values.
            trace.write(path, "stopped" if stopped else f"failed: {type(error).__name__}")
        except PenstockError as other:
            error.add_note(f"and its trace can't be written: {other}")
        raise
    watcher.reset(token)
    trace.write(path, "done")


def _refuse_to_overwrite(path: Path) -> None:
    """Before the work: a slip of the fingers must cost neither data nor the trace."""
    got = ""
    if not path.name or path.is_dir():
        got = "a folder"
    elif path.exists():
        with writing(path):
            with path.open("rb") as file:
                head = file.read(200)
            got = "" if not head or f'"program": "{PROGRAM}"'.encode() in head else "a file that is no trace"
    elif not path.parent.is_dir():
        got = f"no folder {str(path.parent)!r}"
    elif not os.access(path.parent, os.W_OK):
        got = "a folder that can't be written to"
    if got:
        raise UsageError(
            "a trace can't be written there",
            where=str(path),
            expected="a new file, or an earlier trace, in a folder that is there",
            got=got,
            remedy="name another file after --trace",
        )


P = ParamSpec("P")
R = TypeVar("R")


def traceable(do: Callable[P, R]) -> Callable[P, R]:
    """Let a job that takes a ``listener`` and a ``trace`` write its trace.

    Example:
        >>> @traceable
        ... def add(one, other, listener=None, trace=None):
        ...     return one + other
        >>> add(1, 2)
        3
    """

    @functools.wraps(do)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        to = cast("str | Path | None", options.get("trace"))
        if to is None or options.get("wait") is False:  # a job that is started: it comes here again, in its thread
            return do(*arguments, **options)
        listener = cast("Listener | None", options.get("listener"))
        with recording(to, do.__name__) as trace:
            assert trace is not None
            changed: Any = {**options, "listener": Traced(listener, trace)}
            return do(*arguments, **changed)

    return call
