"""Mapping a source into a run's parts, going on where an earlier try stopped, and publishing them by one commit.

Shared by the jobs that write rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.batch import Count
from penstock.engine import Engine, Listener, Resources, Station, Task, Transform, check_rejected
from penstock.run import Run
from penstock.schema import Schema
from penstock.sink import ledger
from penstock.sinks.parts import PartsSink, format_of
from penstock.source import Source
from penstock.summary import Summary


def publish(
    run: Run,
    source: Source,
    transform: Transform,
    *,
    command: str,
    columns: Sequence[str],
    schema: Schema,
    engine: Engine,
    max_rejected: float | None,
    began: float,
) -> Summary:
    """Read, transform and write all chunks that have no receipt yet, then commit.

    Raises:
        TooManyRejected: more rows were rejected than allowed; nothing was published.
        ChangedError: an input changed meanwhile; nothing was published.
    """
    destination = run.destination
    sink = PartsSink(
        run.parts,
        run.rejected,
        destination,
        schema,
        format_of(destination),
        single=bool(destination.suffix),
        prefix=run.prefix,
        places=True,
    )
    resumed = run.done_before
    task = Task(command, source, tuple(columns), (Station(transform),), sink)
    bounded = replace(task, max_rejected=max_rejected)
    for receipt in engine.map(task, run.remaining(source.chunks())):
        run.record(receipt)
        check_rejected(
            bounded, ledger(run.receipts), early=True, example=engine.example
        )  # of this try and of those before it
    check_rejected(bounded, ledger(run.receipts), early=False, example=engine.example)
    passes = [figures.to_json() for figures in engine.passes]
    took = round(time.monotonic() - began, 3)
    beside = None if run.generation == 1 else list(run.document["published"])
    run.commit(
        lambda: sink.assemble(run.receipts, beside=beside), {"command": command, "seconds": took, "passes": passes}
    )
    return summary_of(run, command, time.monotonic() - began, resumed=resumed)


def limited(run: Run, source: Source, listener: Listener) -> Source:
    """The source of what the run's generation is to read, and what the run has to say of it."""
    for note in run.notes:
        listener.said(note)
    return source if run.only is None else source.only(run.only)


def asked_of(command: str, source: Source, resources: Resources, **more: Any) -> dict[str, Any] | None:
    """What has to be known to do a job again; None where its data can't be opened again."""
    if source.origin is None:
        return None
    hidden = [] if resources.masking is None else sorted(resources.masking.columns)
    return {"command": command, "data": source.origin.to_json(), "sensitive": hidden, **more}


def summary_of(run: Run, command: str, seconds: float, *, resumed: int = 0, already: bool = False) -> Summary:
    """The summary of a committed run."""
    document = run.document
    counts = tuple(Count.from_json(count) for count in document["ledger"])
    parts = document["parts"]
    return Summary(
        command=command,
        output=run.destination,
        run=run.folder,
        rows=sum(part["rows"] for part in parts),
        counts=counts,
        seconds=seconds,
        nbytes=sum(part["nbytes"] for part in parts),
        already_done=already,
        resumed=resumed,
    )


def absolute(destination: str | Path) -> Path:
    """The output's path, free of what depends on the working folder."""
    return Path(destination).absolute()
