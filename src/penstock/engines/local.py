"""The engine of one machine: the executor's threads, states merged as chunks come out in plan order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from penstock.batch import Count, add_counts
from penstock.engine import Engine, Figures, Folded, Listener, Resources, Silent, Task, check_rejected
from penstock.engines.kept_scans import KeptScan
from penstock.executor import Done, Executor
from penstock.sink import Receipt
from penstock.source import Chunk
from penstock.statistic import Statistic


class LocalEngine(Engine):
    """Maps and folds on the threads of this process."""

    def __init__(self, resources: Resources, listener: Listener | None = None) -> None:
        self.resources = resources
        self.listener: Listener = listener or Silent()
        self.passes: list[Figures] = []

    def _look_at(self, rejected: Mapping[str, Any] | None) -> None:
        if rejected is not None and not self.example:
            place = f"line {rejected['line']}" if rejected["line"] is not None else f"row {rejected['row']}"
            cell = f", column {rejected['column']!r}, {rejected['value']!r}" if rejected["column"] is not None else ""
            self.example = f"{rejected['path']} {place}{cell}: {rejected['reason']}"

    def map(self, task: Task, chunks: Iterable[Chunk] | None = None) -> Iterator[Receipt]:
        """Read, transform and write the chunks; receipts come in plan order."""
        self.example = ""
        for done in self._run(task, chunks):
            yield done.receipt

    def fold(self, task: Task, chunks: Iterable[Chunk] | None = None) -> Folded:
        """Read, transform and take in the chunks; states are merged left to right in plan order."""
        totals: tuple[tuple[Statistic[Any], ...], ...] = tuple(
            tuple(statistic.empty() for statistic in station.statistics) for station in task.stations
        )
        counts: tuple[Count, ...] = ()
        kept = None
        if self.keep_in is not None:
            kept = KeptScan(self.keep_in / f"scan-{len(self.passes)}", task)
            plan = iter(kept.remaining(task.source.chunks() if chunks is None else chunks))
            first = list(islice(plan, 1))  # what an earlier try has done is known once the first chunk is
            totals, counts = kept.states or totals, kept.counts
            chunks = chain(first, plan)
        self.example = "" if kept is None else kept.example
        for done in self._run(task, chunks, counts):
            for total, new in zip(totals, done.statistics, strict=True):
                for statistic, other in zip(total, new, strict=True):
                    statistic.merge(other)
            counts = add_counts(counts, done.receipt.counts)
            if kept is not None:
                kept.merged(done.chunk, totals, counts, self.example)
        if kept is not None:
            kept.write(totals, counts, self.example)
        return Folded(totals, counts)

    def _run(self, task: Task, chunks: Iterable[Chunk] | None, counts: tuple[Count, ...] = ()) -> Iterator[Done]:
        executor = Executor(task, self.resources, self.listener, first=not self.passes)
        run = executor.run(chunks)
        try:
            for done in run:
                counts = add_counts(counts, done.receipt.counts)
                self._look_at(done.rejected)
                check_rejected(task, counts, early=True, example=self.example)
                yield done
        finally:
            close = getattr(run, "close", None)
            if close is not None:
                close()
            self.passes.append(executor.figures(finished=True))
        check_rejected(task, counts, early=False, example=self.example)
