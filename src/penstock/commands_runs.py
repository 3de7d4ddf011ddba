"""What the commands do that begin with a run, or with what one left: replay, repro, trace.

The outermost room, beside `commands.py`; loaded when one of them runs.
"""

from __future__ import annotations

from pathlib import Path

from penstock.api import Pipeline
from penstock.api import replay as replay_run
from penstock.api import repro as repro_run
from penstock.asked import Asked
from penstock.commands import written_tables
from penstock.config import load_config
from penstock.jobs.again import Record
from penstock.terminal import FAILED, Terminal
from penstock.terminal_tables import duration, facts, shown_path
from penstock.terminal_trace import trace_tables
from penstock.trace_findings import findings, read_trace

MOST_DIFFERENCES = 10
"""Files that a person is told of; JSON has them all."""


def replay(terminal: Terminal, asked: Asked) -> None:
    """Put rejected rows through again."""
    config = None if asked.config is None else load_config(Path(asked.config))
    record = Record.of(Path(asked.run).absolute())
    summary = replay_run(
        asked.run,
        config=None if config is None else Pipeline.of(config),
        options=asked.over(record.data.options if config is None else config.read),
        memory=asked.nbytes,
        cores=asked.cores,
        listener=terminal,
    )
    terminal.result(summary.to_json(), written_tables(summary, ""))


def repro(terminal: Terminal, asked: Asked) -> None:
    """Do a run again, and compare."""
    found = repro_run(asked.run, memory=asked.nbytes, cores=asked.cores, listener=terminal)
    for note in found.notes:
        terminal.said(note)
    rows = [("compared", f"{found.files:,} files of {shown_path(found.run)}")]
    if found.identical:
        rows.append(("result", "identical: every file has the same bytes"))
    for one in found.differences[:MOST_DIFFERENCES]:
        place = "" if one.row is None else f", row {one.row:,}"
        place += "" if one.column is None else f", column {one.column!r}: {one.before} then, {one.now} now"
        rows.append((one.file, one.reason + place))
    more = len(found.differences) - MOST_DIFFERENCES
    if more > 0:
        rows.append(("", f"and {more:,} more files"))
    rows.append(("took", duration(found.seconds)))
    if not found.identical:
        terminal.exit_code = FAILED
    terminal.result(found.to_json(), [facts(rows)])


def trace(terminal: Terminal, asked: Asked) -> None:
    """Say where the time of a job went."""
    found = findings(read_trace(Path(asked.file)))
    terminal.result({"command": "trace", "file": str(Path(asked.file).absolute()), **found}, trace_tables(found))
