"""A job that goes on while its caller does something else: how far it is, what it gives, and its end before that.

What users hold, beside `api.py`. A job runs in a thread of its own and is told apart from nothing else: it is the same
call, with the same run's folder, so a process that dies in the middle goes on by the same call.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from penstock.engine import Figures, Listener, Silent
from penstock.errors import Cancelled
from penstock.source import Note

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class Job(Generic[R]):
    """A job under way: what an API call with ``wait=False`` gives.

    ``await job`` gives its result as well, in a notebook or in any event loop.

    Args:
        do: does the job, telling the listener that it is given.
        listener: who is told how it goes as well, from the job's thread.

    Attributes:
        notes: what was inferred or decided so far.

    Example:
        >>> job = Job(lambda listener: 6 * 7)
        >>> job.result()
        42
        >>> job.done, job.cancelled
        (True, False)
    """

    def __init__(self, do: Callable[[Listener], R], listener: Listener | None = None) -> None:
        self._do = do
        self._listener: Listener = listener or Silent()
        self._future: Future[R] = Future()
        self._stop = threading.Event()
        self._figures: Figures | None = None
        self.notes: list[Note] = []
        self._future.set_running_or_notify_cancel()
        # Not a daemon: a program that ends waits for what it has begun, as it would have with the plain call.
        self._thread = threading.Thread(target=self._run, name="penstock-job")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._do(_Watch(self)))
        except BaseException as error:
            self._future.set_exception(error)

    def __repr__(self) -> str:
        state = "running"
        if self.done:
            state = "cancelled" if self.cancelled else "failed" if self._future.exception() else "done"
        figures = self._figures
        at = "" if figures is None else f": {figures.title}, {figures.rows:,} rows, {figures.seconds:.1f} s"
        return f"Job({state}{at})"

    @property
    def progress(self) -> Figures | None:
        """Where it stands: the figures of the pass that is under way, or was last; None before the first."""
        return self._figures

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether it has ended since it was cancelled."""
        return self.done and isinstance(self._future.exception(), Cancelled)

    def result(self, timeout: float | None = None) -> R:
        """What the call would have given; waits for it.

        Args:
            timeout: how long to wait [s]; None for as long as it takes.

        Raises:
            TimeoutError: it is not done yet; it goes on.
            Cancelled: it was cancelled.
            PenstockError: what the call would have raised.
        """
        try:
            return self._future.result(timeout)
        except FutureTimeout:
            if self._future.done():
                raise  # the job's own
            raise TimeoutError(f"the job is not done after {timeout} s; it goes on") from None

    def cancel(self) -> bool:
        """Ask it to end: it does so at its next report, a few times a second, or after the block in hand.

        What was finished stays in the run's folder, and nothing is published; the same call goes on from there.

        Returns:
            Whether it was still running.
        """
        self._stop.set()
        return not self.done

    def __await__(self) -> Generator[Any, None, R]:
        waiting = asyncio.wrap_future(self._future)
        return asyncio.shield(waiting).__await__()


class _Watch:
    """Tells the handle and the user's listener, and ends the job where that was asked for."""

    def __init__(self, job: Job[Any]) -> None:
        self._job = job

    def said(self, note: Note) -> None:
        """Keep it, and pass it on."""
        self._job.notes.append(note)
        self._job._listener.said(note)
        self._check()

    def progressed(self, figures: Figures) -> None:
        """Keep them, and pass them on."""
        self._job._figures = figures
        self._job._listener.progressed(figures)
        if not figures.finished:  # the last report comes while threads are ended: there is nothing left to stop
            self._check()

    def _check(self) -> None:
        if self._job._stop.is_set():
            raise Cancelled(
                "the job was cancelled",
                got="finished chunks are kept; nothing was published",
                remedy="the same call goes on from there",
            )


class Startable(Protocol[P, R_co]):
    """A job of the API: waited for, or, with ``wait=False``, started."""

    @overload
    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R_co: ...

    @overload
    def __call__(self, *arguments: Any, wait: Literal[False], **options: Any) -> Job[Any]: ...

    @overload
    def __call__(self, *arguments: Any, wait: Literal[True], **options: Any) -> R_co: ...


class StartableMethod(Protocol[S_contra, P, R_co]):
    """The same, as a method."""

    def __get__(self, instance: S_contra, owner: type[Any]) -> Startable[P, R_co]:
        """The job of one object."""
        ...


def startable(do: Callable[Concatenate[S, P], R]) -> StartableMethod[S, P, R]:
    """Let a method that takes a ``listener`` also be started: ``wait=False`` gives its `Job` at once.

    Example:
        >>> class Jobs:
        ...     @startable
        ...     def add(self, one, other, listener=None):
        ...         return one + other
        >>> Jobs().add(1, 2), Jobs().add(1, 2, wait=False).result()
        (3, 3)
    """

    return cast("StartableMethod[S, P, R]", _either(do))


def startable_function(do: Callable[P, R]) -> Startable[P, R]:
    """The same for a function.

    Example:
        >>> @startable_function
        ... def add(one, other, listener=None):
        ...     return one + other
        >>> add(1, other=2), add(1, other=2, wait=False).result()
        (3, 3)
    """
    return cast("Startable[P, R]", _either(do))


def _either(do: Callable[..., R]) -> Callable[..., R | Job[R]]:
    """Waits for what it is told to do, or, with ``wait=False``, starts it."""

    @functools.wraps(do)
    def call(*arguments: Any, **options: Any) -> R | Job[R]:
        if options.pop("wait", True):
            return do(*arguments, **options)
        told = cast("Listener | None", options.pop("listener", None))
        return Job(lambda listener: do(*arguments, **{**options, "listener": listener}), told)

    signature = inspect.signature(do)
    wait = inspect.Parameter("wait", inspect.Parameter.KEYWORD_ONLY, default=True, annotation="bool")
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), wait])  # type: ignore[attr-defined]
    return call
