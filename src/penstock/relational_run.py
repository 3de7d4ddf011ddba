"""The running of relations: scans, the workbench they are run on, rows laid down anew, the marker at the end.

Part of the pipeline's machinery, beside `relational.py`, loaded when there is relational work to do.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock import registry
from penstock.batch import Batch, Count, add_counts, record_batch
from penstock.durable import read_json, sync_folder, write_json, writing
from penstock.engine import Figures, Listener, Resources, Station, Task, Transform
from penstock.executor import Executor
from penstock.relation import PATH, POSITION, ROW, Outcome, Relation, Shape, Table, Workbench
from penstock.relational import Head, Laid, LaidSource, RelatedSource
from penstock.relational_link import Link, Linked
from penstock.relational_query import connected, run
from penstock.relational_store import Store, StoredSource, new_array, open_array, ordered
from penstock.relational_store import lay_down as write_arrow
from penstock.resources import held
from penstock.run_identity import digest_of, inputs_of
from penstock.schema import Field, Role, Schema
from penstock.sink import Receipt, ledger
from penstock.sinks.parts import PartsSink
from penstock.source import BLOCK_ROWS, Chunk, Note, Source

_FORMAT = 1
_KEYS = (Field(PATH, pa.string(), Role.ignored), Field(ROW, pa.int64(), Role.ignored))


def lay_down(related: RelatedSource, folder: Path, lent: Resources, listener: Listener) -> Source:
    """Run the relations of a source, or find them run.

    Raises:
        PenstockError: see its tree in `penstock.errors`.
    """
    marker = folder / "done.json"
    identity = {
        "format": _FORMAT,
        "reading": related.reading,
        "schemas": [related.base.schema.to_json(), *(shape.schema.to_json() for shape in related.shapes)],
        "inputs": inputs_of(related.fingerprints()).told(),
        "duckdb": duckdb.__version__,
    }
    digest = digest_of(identity)
    job = _Job(related, folder, lent, listener)
    if marker.exists() and (found := read_json(marker))["digest"] == digest:
        listener.said(Note("data", "the relational work of an earlier try is used", "its inputs are the same"))
        return LaidSource(related, job.opened(found["laid"]))
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for note in (note for _, other in related.relations if other is not None for note in other.notes):
        listener.said(note)
    for note in (note for shape in related.shapes for note in shape.notes):
        listener.said(note)
    laid = job.run()
    job.tidy(laid)
    with writing(folder):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sync_folder(path)
    write_json(marker, {"digest": digest, "laid": job.record})
    return LaidSource(related, laid)


@dataclass(frozen=True)
class _WithKeys(Transform):
    """Adds the row keys as columns."""

    def transform(self, batch: Batch) -> Batch:
        arrays = [*batch.columns.columns, batch.keys.path_column(), pa.array(batch.keys.rows)]
        return replace(batch, columns=record_batch(arrays, [*batch.columns.schema.names, PATH, ROW], len(batch)))


@dataclass(frozen=True)
class _Scanned:
    """A source whose columns were laid down: as a table, and its plan with the rows of each chunk."""

    store: Store
    plan: tuple[Chunk, ...]
    rows: tuple[int, ...]
    counts: tuple[Count, ...]
    rejected: tuple[Path, ...]


class _Job:
    """One running of a chain of relations; ``record`` is what opens its results again."""

    def __init__(self, related: RelatedSource, folder: Path, lent: Resources, listener: Listener) -> None:
        self._related = related
        self._folder = folder
        self._lent = lent
        self._listener = listener
        self.record: dict[str, Any] = {}
        self._first = True  # only before the first scan is the job refused for want of memory

    # ------------------------------------------------------------------ doing it

    def run(self) -> Laid:
        """Run everything."""
        base: Source = self._related.base.laid_down(self._folder / "base", self._lent, self._listener)
        head = Head()
        labels = _labels([relation for relation, _ in self._related.relations])
        links: list[Link] = []
        rows: Table | None = None
        scanned: _Scanned | None = None
        stored: dict[str, Any] | None = None
        for number, ((relation, other), shape) in enumerate(
            zip(self._related.relations, self._related.shapes, strict=True)
        ):
            if rows is None:
                scanned = self._scan(base, self._needed(number, base.schema), f"scan-{number}", "data: look")
                rows = scanned.store
            place = self._folder / f"{number}-{relation.name}"
            place.mkdir()
            side, head = self._other(other, shape, labels[number], place, head)
            bench = _Bench(shape, rows, side, place, self._lent)
            began = time.monotonic()
            outcome = relation.run(bench)
            took = time.monotonic() - began
            done = Figures(
                "data: " + labels[number].removeprefix("data: "),
                rows.rows,
                rows.rows,
                seconds=took,
                held=held(),
                finished=True,
            )
            self._listener.progressed(done)
            for note in outcome.notes:
                self._listener.said(note)
            link = Link(labels[number], shape, outcome, place, BLOCK_ROWS)
            if not shape.rewrites:
                links.append(link)
                rows = Linked(rows, link)
                continue
            assert scanned is not None
            base, head, stored = self._rewritten(base, scanned, [*links, link], head, place)
            links, rows, scanned = [], None, None
        if scanned is None:
            scanned = _plan_of(base)
        return self._finished(base, links, scanned, head, stored)

    def _needed(self, first: int, schema: Schema) -> tuple[str, ...]:
        """The base's columns that the relations from one on look at, up to the next that lays all rows down anew."""
        last = first
        while last < len(self._related.shapes) - 1 and not self._related.shapes[last].rewrites:
            last += 1
        needed: tuple[str, ...] = ()
        for shape in reversed(self._related.shapes[first : last + 1]):
            needed = tuple(
                dict.fromkeys((*(shape.origins[name] for name in needed if name in shape.origins), *shape.reads))
            )
        return needed or schema.names[:1]

    def _scan(self, source: Source, columns: Sequence[str], name: str, title: str, *, keyed: bool = False) -> _Scanned:
        """Lay columns of a source down."""
        if isinstance(source, StoredSource) and not keyed:
            plan = _plan_of(source)
            return replace(plan, store=Store(source.store.paths, source.schema.select(columns)))
        folder = self._folder / name
        schema = source.schema.select(columns)
        laid = schema.put(*_KEYS) if keyed else schema
        sink = PartsSink(folder, folder / "rejected", folder / "unused", laid, kind="arrow", durable=False)
        stations = (Station(_WithKeys()),) if keyed else ()
        task = Task(title, source, tuple(columns), stations, sink)
        chunks: list[Chunk] = []
        receipts: list[Receipt] = []
        for done in Executor(task, self._lent, self._listener, first=self._first).run():
            chunks.append(done.chunk)
            receipts.append(done.receipt)
        self._first = False
        paths = [folder / part.name for receipt in receipts for part in receipt.parts]
        rejected = tuple(folder / "rejected" / receipt.rejected.name for receipt in receipts if receipt.rejected)
        counts = ledger(receipts)
        store = Store(paths, laid, rejected=sum(count.rejected for count in counts))
        rows = tuple(sum(part.rows for part in receipt.parts) for receipt in receipts)
        return _Scanned(store, tuple(chunks), rows, counts, rejected)

    def _other(
        self, other: Source | None, shape: Shape, label: str, place: Path, head: Head
    ) -> tuple[Store | None, Head]:
        """The other side, laid down; its rejected rows are rows made, and rejected."""
        if other is None:
            return None, head
        name = f"{place.name}/other"
        other = other.laid_down(place / "other-data", self._lent, self._listener)
        scanned = self._scan(other, other.schema.names, name, f"data: other side of {label}", keyed=True)
        bad = scanned.store.rejected
        if bad:
            count = Count(f"{label}: read the other side", made=bad, rejected=bad)
            head = Head((*head.counts, count), (*head.rejected, *scanned.rejected))
        return scanned.store, head

    def tidy(self, laid: Laid) -> None:
        """Remove what was only needed on the way."""
        needed = set(laid.head.rejected)
        needed |= {self._folder / path for path in (self.record["stored"] or {"paths": ()})["paths"]}
        for link in laid.links:
            names = [name for files, _ in link.outcome.beside.values() for name in files]
            needed |= {link.folder / name for name in (*names, link.outcome.repeats) if name is not None}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path not in needed and self._folder / "base" not in path.parents:
                path.unlink()

    # ------------------------------------------------------------------ rows laid down anew

    def _rewritten(
        self, base: Source, scanned: _Scanned, links: Sequence[Link], head: Head, place: Path
    ) -> tuple[Source, Head, dict[str, Any]]:
        """All rows as they come out of the links, laid down in the order of the last one."""
        *before, last = links
        outcome = last.outcome
        through = before if outcome.order is not None else links
        plan = Laid(base, tuple(through), scanned.plan, _starts(scanned, through), head)
        whole = LaidSource(self._related, plan)
        whole.schema = through[-1].shape.schema if through else base.schema
        laid = self._scan(whole, whole.schema.names, f"{place.name}/rows", f"data: rows for {last.label}", keyed=True)
        paths, counts = list(laid.store.paths), list(laid.counts)
        if outcome.order is not None:
            path = place / "sorted.arrow"
            order = open_array(place / outcome.order)
            write_arrow(path, ordered(laid.store, order), laid.store.schema.to_arrow())
            paths = [path]
            counts.append(Count(last.label, rows_in=outcome.rows, out=outcome.rows))
        if outcome.tail is not None:
            paths.append(place / outcome.tail)
            tail = Store(paths[-1:], Schema(())).rows
            counts = list(add_counts(counts, (Count(last.label, made=tail, out=tail),)))
        schema = last.shape.schema
        head = Head(tuple(counts), laid.rejected)
        stored = {"paths": [path.relative_to(self._folder).as_posix() for path in paths], "schema": schema.to_json()}
        return StoredSource(Store(paths, schema), base.fingerprints()), head, stored

    # ------------------------------------------------------------------ what is remembered

    def _finished(
        self, base: Source, links: Sequence[Link], scanned: _Scanned, head: Head, stored: dict[str, Any] | None
    ) -> Laid:
        starts = _starts(scanned, links)
        self.record = {
            "stored": stored,
            "plan": [chunk.to_json() for chunk in scanned.plan],
            "starts": [list(start) for start in starts],
            "links": [_link_json(link) for link in links],
            "head": {
                "counts": [count.to_json() for count in head.counts],
                "rejected": [path.relative_to(self._folder).as_posix() for path in head.rejected],
            },
        }
        return Laid(base, tuple(links), scanned.plan, starts, head)

    def opened(self, record: Mapping[str, Any]) -> Laid:
        """What an earlier running of the same laid down."""
        base: Source = self._related.base.laid_down(self._folder / "base", self._lent, self._listener)
        if record["stored"] is not None:
            schema = Schema.from_json(record["stored"]["schema"])
            store = Store([self._folder / path for path in record["stored"]["paths"]], schema)
            base = StoredSource(store, base.fingerprints())
        first = len(self._related.shapes) - len(record["links"])
        links = tuple(
            Link(item["label"], shape, _outcome(item), self._folder / item["folder"], BLOCK_ROWS)
            for item, shape in zip(record["links"], self._related.shapes[first:], strict=True)
        )
        head = Head(
            tuple(Count.from_json(count) for count in record["head"]["counts"]),
            tuple(self._folder / path for path in record["head"]["rejected"]),
        )
        plan = tuple(Chunk.from_json(chunk) for chunk in record["plan"])
        return Laid(base, links, plan, tuple(tuple(start) for start in record["starts"]), head)


def _link_json(link: Link) -> dict[str, Any]:
    outcome = link.outcome
    return {
        "label": link.label,
        "folder": link.folder.name,
        "rows": outcome.rows,
        "count": outcome.count.to_json(),
        "repeats": outcome.repeats,
        "beside": {name: [list(files), column] for name, (files, column) in outcome.beside.items()},
    }


def _outcome(item: Mapping[str, Any]) -> Outcome:
    beside = {name: (tuple(files), str(column)) for name, (files, column) in item["beside"].items()}
    return Outcome(int(item["rows"]), Count.from_json(item["count"]), item["repeats"], beside)


def _labels(relations: Sequence[Relation]) -> list[str]:
    """The relations' names in the ledger: numbered where one stands there twice, marked where a step has it too."""
    met = Counter[str]()
    labels: list[str] = []
    for relation in relations:
        name = f"data: {relation.name}" if relation.name in registry.names("steps") else relation.name
        met[name] += 1
        labels.append(name if met[name] == 1 else f"{name} {met[name]}")
    return labels


def _starts(scanned: _Scanned, links: Sequence[Link]) -> tuple[tuple[int, ...], ...]:
    """Where each chunk begins, in the base and after each link; at the end, where the last one ends."""
    places = [list(accumulate(scanned.rows, initial=0))]
    for link in links:
        counts = [link.count(start, stop).out for start, stop in zip(places[-1], places[-1][1:], strict=False)]
        places.append(list(accumulate(counts, initial=0)))
    return tuple(zip(*places, strict=True))


def _plan_of(source: Source) -> _Scanned:
    chunks = tuple(source.chunks())
    return _Scanned(Store((), source.schema), chunks, tuple(int(chunk.rows or 0) for chunk in chunks), (), ())


# ---------------------------------------------------------------------- the workbench


class _Bench(Workbench):
    """What a relation is run with."""

    def __init__(self, shape: Shape, rows: Table, other: Store | None, folder: Path, lent: Resources) -> None:
        self.shape = shape
        self.rows = rows
        self.other = other
        self.folder = folder
        self._lent = lent
        self.cores = lent.cores
        if other is not None:
            other.most_bytes = max(2**20, (lent.memory - held()) // (4 * lent.cores))

    def query(
        self, sql: str, rows: Sequence[str] = (), other: Sequence[str] = (), **files: str
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query over positions and columns."""
        with connected(self.folder, self._lent) as connection:
            tables = {"rows": _numbered(self.rows, rows)}
            if self.other is not None:
                tables["other"] = _numbered(self.other, other)
            for name, file in files.items():
                reader = pa.ipc.open_file(pa.memory_map(str(self.folder / file)))
                views = (reader.get_batch(i) for i in range(reader.num_record_batches))
                tables[name] = pa.RecordBatchReader.from_batches(reader.schema, views)
            yield from run(connection, sql, {name: table for name, table in tables.items() if name in sql})

    def array(self, name: str, kind: Any, rows: int) -> npt.NDArray[Any]:
        """A new array of zeros in a file."""
        return new_array(self.folder / name, kind, rows)

    def write(self, name: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
        """Lay batches down in an Arrow file."""
        return write_arrow(self.folder / name, batches, schema)


def _numbered(table: Table, columns: Sequence[str]) -> pa.RecordBatchReader:
    """Columns under plain names, and the position of each row."""
    types = [table.schema[name].type for name in columns]
    schema = pa.schema([(POSITION, pa.int64()), *((f"c{i}", kind) for i, kind in enumerate(types))])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in table.batches(columns):
            numbers = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int64))
            yield pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=schema)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, batches())
