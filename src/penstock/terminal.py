"""What a person sees while a command runs: notes, progress, the summary, errors; and the exit code it ends with.

The outermost room, beside `cli.py`. Notes, progress and errors go to the error stream, the result to the output stream:
a table for people, or one JSON object and nothing else. What tables look like is in `terminal_tables.py`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from penstock.engine import Figures, Tracer
    from penstock.source import Note

FRAME_SECONDS = 0.1
"""How often a live display is drawn at most [s]."""
QUIET_SECONDS = 10.0
"""Where the error stream is no terminal, progress is told this seldom [s]."""
FAILED = 1
"""The exit code of what has no code of its own."""
_WIDEST = 100


class Terminal:
    """A listener that prints, and the place where a command's errors end.

    Args:
        as_json: print one JSON object on the output stream, errors too.
        quiet: no notes and no progress.
        debug: print tracebacks.
        stopped: what is said when the user stops the command.

    Attributes:
        exit_code: what the command ends with; None while it goes well.
        tracer: who notes what happened when; None where nobody asked.

    Example:
        >>> from penstock.errors import UsageError
        >>> with Terminal(as_json=True) as terminal:
        ...     raise UsageError("no such column", got="'Age'")
        {"error": {"type": "UsageError", "message": "no such column", "got": "'Age'", "exit_code": 2}}
        >>> terminal.exit_code
        2
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        debug: bool = False,
        stopped: str = "stopped; nothing was written",
    ) -> None:
        self.exit_code: int | None = None
        self.tracer: Tracer | None = None
        self._json = as_json
        self._quiet = quiet
        self._debug = debug or os.environ.get("PENSTOCK_DEBUG", "") not in ("", "0")
        self._stopped = stopped
        self._notes: list[Note] = []
        self._roles: list[Note] = []
        self._live: Live | None = None
        self._next_line = time.monotonic() + QUIET_SECONDS
        self._next_frame = 0.0
        self._error = _console(sys.stderr)

    # ------------------------------------------------------------------ listening

    def said(self, note: Note) -> None:
        """Print what was decided; the roles of columns are gathered into one table."""
        self._notes.append(note)
        if self._quiet:
            return
        if note.topic.startswith("role of "):
            self._roles.append(note)
            return
        from penstock.terminal_tables import note_lines

        self._flush()
        self._tell(note_lines(note))

    def progressed(self, figures: Figures) -> None:
        """Show where the job stands."""
        if self._quiet:
            return
        from penstock.terminal_tables import finished_line, progress_lines, progress_text

        self._flush()
        if figures.finished:
            self._end_progress()
            self._tell(finished_line(figures))
        elif self._error.is_terminal:
            if time.monotonic() < self._next_frame:
                return
            self._next_frame = time.monotonic() + FRAME_SECONDS
            self._show(progress_lines(figures, ascii_only=self._error.options.ascii_only))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + QUIET_SECONDS
            self._tell(progress_text(figures))

    def _flush(self) -> None:
        """Print the table of roles, if any were gathered."""
        if self._roles:
            from penstock.terminal_tables import roles_table

            roles, self._roles = self._roles, []
            self._tell(roles_table(roles))

    def _show(self, lines: RenderableType) -> None:
        from rich.live import Live

        try:
            if self._live is None:
                self._live = Live(lines, console=self._error, auto_refresh=False, transient=True)
                self._live.start(refresh=True)
            else:
                self._live.update(lines, refresh=True)
        except BrokenPipeError:
            self._nobody_reads()

    def _end_progress(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _tell(self, *what: RenderableType) -> None:
        try:
            for one in what:
                _print(self._error, one)
        except BrokenPipeError:
            self._nobody_reads()

    def _nobody_reads(self) -> None:
        """The error stream's reader went away: a night's job goes on without it."""
        self._quiet = True
        self._live = None
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  it serves until the process ends
        self._error = _console(sys.stderr)

    # ------------------------------------------------------------------ the result

    def result(self, value: Mapping[str, Any], tables: Sequence[RenderableType]) -> None:
        """Print a command's result.

        Args:
            value: JSON values; what was said is added as ``notes``.
            tables: the same for people.
        """
        self._end_progress()
        self._flush()
        if self._json:
            notes = [
                {"topic": note.topic, "text": note.text, "reason": note.reason, "override": note.override}
                for note in self._notes
            ]
            self._write({**value, "notes": notes})
            return
        out = _console(sys.stdout)
        for table in tables:
            _print(out, table)
        sys.stdout.flush()

    def written(self, text: str) -> None:
        """Print a text that is itself the result: a file, for a person or a program."""
        self._end_progress()
        self._flush()
        sys.stdout.write(text)
        sys.stdout.flush()

    def _write(self, value: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str) + "\n")
        sys.stdout.flush()

    # ------------------------------------------------------------------ errors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._end_progress()
        if error is None:
            return False
        if isinstance(error, (BrokenPipeError, SystemExit)):
            return False  # the first is the output stream's: see `penstock.cli.main`
        self._flush()
        if self._debug:
            traceback.print_exception(error, file=sys.stderr)
        self.failed(error)
        return True

    def failed(self, error: BaseException) -> None:
        """Tell an error, in words and, where that was asked for, as JSON; and remember its exit code."""
        from penstock.terminal_tables import error_lines

        if isinstance(error, PenstockError):
            self.exit_code = error.exit_code
            parts = {name: getattr(error, name) for name in ("message", "where", "expected", "got", "remedy")}
        elif isinstance(error, KeyboardInterrupt):
            self.exit_code = FAILED
            parts = {"message": self._stopped}
        else:
            self.exit_code = FAILED
            parts = {
                "message": f"something went wrong in Penstock itself: {type(error).__name__}: {error}",
                "remedy": "" if self._debug else "run it again with --debug, and report what it prints",
            }
        title = "" if isinstance(error, KeyboardInterrupt) else "error: "
        self._tell(error_lines(parts, title))
        if self._json:
            told = {name: text for name, text in parts.items() if text}
            self._write({"error": {"type": type(error).__name__, **told, "exit_code": self.exit_code}})


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(console: Console, what: RenderableType) -> None:
    """Print; into a file without the spaces that fill up a table's lines."""
    if console.is_terminal:
        console.print(what, highlight=False)
        return
    with console.capture() as captured:
        console.print(what, highlight=False)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


def _console(stream: Any) -> Console:
    """A console as wide as the terminal, and 80 columns where there is none; NO_COLOR is rich's to respect."""
    from rich.console import Console

    console = Console(file=stream, emoji=False, markup=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 80
    console.width = min(console.width, _WIDEST)
    return console
