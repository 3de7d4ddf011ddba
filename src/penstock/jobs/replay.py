"""Replay: the rows that a run rejected put through again, after a fix, and published in their places.

Only those rows: of the files that they came from, the others are read and passed over. What the run published stays as
it is but for them, and the whole takes the place of what was there at once; so each row is in it once at most, whenever
the job is killed.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.batch import REJECTED, Batch, Count, add_counts
from penstock.durable import HashedFile, share_file, sync_folder, writing
from penstock.engine import Engine, Station, Task
from penstock.errors import RunError, UsageError
from penstock.failing import STEP as FAILING
from penstock.jobs.publish import summary_of
from penstock.run import Run
from penstock.schema import Field, Role, Schema
from penstock.sink import Part, ledger
from penstock.sinks.parts import PLACED, PartsSink, format_of
from penstock.sinks.splice import splice
from penstock.source import Chunk, Fingerprint, Note, Source
from penstock.summary import Summary

PATH, ROW = "__path__", "__row__"
_KEYS = (Field(PATH, pa.string(), Role.ignored), Field(ROW, pa.int64(), Role.ignored))
_FILE_BITS = 44
Index = npt.NDArray[np.int64]


class Way(Protocol):
    """What rows are put through: the fitted steps, or those and the model."""

    @property
    def inputs(self) -> Sequence[str]:
        """The columns that have to be read."""
        ...

    def transform(self, batch: Batch) -> Batch:
        """The rows as they are published."""
        ...


def replay(
    run: Run,
    source: Source,
    way: Way,
    schema: Schema,
    *,
    engine: Engine,
    identity: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> Summary:
    """Put the rows that a finished run rejected through again.

    Args:
        run: the run, open.
        source: all its inputs, read as they now should be.
        way: what the rows are put through, as they now should be.
        schema: of what the run published.
        engine: what reads and maps.
        identity: what of the job's identity is another from now on.
        asked: what has to be known to do the job again, from now on.

    Raises:
        RunError: an input is gone, or its rows are no longer at their places.
        UsageError: rows of the run depend on others, so that they can't be put through by themselves.
    """
    began = time.monotonic()
    old = _Rejected.of(run)
    if not len(old.rows):
        engine.listener.said(Note("replay", "no row is rejected", "there is nothing to put through again"))
        return summary_of(run, "replay", 0.0, already=True)
    known = dict.fromkeys(old.paths, 1) if source.a_row_each else run.files
    for path in old.rows.column("path").unique().to_pylist():
        if path not in known:
            raise UsageError(
                "rows of this run can't be put through by themselves",
                where=str(run.folder),
                expected="rows that come out of one file, in its order",
                got=repr(path),
                remedy="do the whole again with --restart",
            )
    work = run.folder / "replay"
    with writing(work):
        shutil.rmtree(work, ignore_errors=True)
    chosen = ChosenRows(_only(source, old.paths, run), old.by_path())
    sink = PartsSink(work / "parts", work / "rejected", work / "unused", schema.put(*_KEYS), "arrow", durable=False)
    task = Task("replay", chosen, tuple(way.inputs), (Station(Keyed(way)),), sink)
    receipts = list(engine.map(task))
    _refuse_moved_rows(chosen, known, run)
    counts = ledger(receipts)
    recovered = _recovered(work / "parts", [part.name for receipt in receipts for part in receipt.parts], schema)
    if not recovered.num_rows:
        text = f"none of {len(old.rows):,} rejected rows came through"
        engine.listener.said(Note("replay", text, "nothing is published", "look at their reasons in " + str(work)))
        return summary_of(run, "replay", time.monotonic() - began, already=True)
    still = _concat([pq.read_table(path) for path in sorted((work / "rejected").glob("*.parquet"))], REJECTED)
    made = _Made(recovered, still, tuple(counts), time.monotonic() - began)
    changed = {"identity": {**run.document["identity"], **identity}, "asked": asked}
    _publish(run, old, made, schema, changed)
    left = len(old.rows) - recovered.num_rows
    came = f"{recovered.num_rows:,} row{'s' if recovered.num_rows > 1 else ''} came"
    engine.listener.said(Note("replay", f"of {len(old.rows):,} rejected {came} through, {left:,} did not"))
    return summary_of(run, "replay", time.monotonic() - began)


def _only(source: Source, paths: Sequence[str], run: Run) -> Source:
    there = {fingerprint.path for fingerprint in source.fingerprints()}
    gone = [path for path in paths if path not in there]
    if gone:
        raise RunError(
            "an input with rejected rows is gone",
            where=str(run.folder),
            expected=repr(gone[0]),
            got=f"{len(there)} other files",
            remedy="put it back",
        )
    return source.only(paths)


def _refuse_moved_rows(chosen: ChosenRows, known: Mapping[str, int], run: Run) -> None:
    for path, rows in sorted(chosen.seen.items()):
        if rows != known[path]:
            raise RunError(
                "the rows of an input are no longer at their places, so none can be told by its number",
                where=path,
                expected=f"{known[path]:,} rows, as when {run.destination.name} was made",
                got=f"{rows:,}",
                remedy="mend its lines without adding or removing any, or do the whole again with --restart",
            )


def _concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(tables).select(schema.names) if tables else schema.empty_table()


def _recovered(folder: Path, names: Sequence[str], schema: Schema) -> pa.Table:
    tables = []
    for name in names:
        with pa.OSFile(str(folder / name), "rb") as file:
            tables.append(pa.ipc.open_file(file).read_all())
    return _concat(tables, schema.put(*_KEYS).to_arrow())


@dataclass(frozen=True)
class _Rejected:
    """The rows that a run rejected, by the part that they belong to.

    Attributes:
        rows: of schema `PLACED`.
        part: of each row, the number of its part.
        stems: the parts' names without their endings.
        paths: the files that the rows came from, in the order of the run's inputs.
        keys: of each row, one number for its file and row, ascending with both.
    """

    rows: pa.Table
    part: Index
    stems: tuple[str, ...]
    paths: tuple[str, ...]
    keys: Index

    @classmethod
    def of(cls, run: Run) -> _Rejected:
        """Of all generations of a run."""
        stems = tuple(part["name"].rpartition(".")[0] for part in run.document["parts"])
        place = {stem: number for number, stem in enumerate(stems)}
        tables, parts = [], []
        for path in sorted(run.rejected.glob("*.parquet")) if run.rejected.is_dir() else []:
            if path.stem in place:
                tables.append(pq.read_table(path))
                parts.append(np.full(tables[-1].num_rows, place[path.stem], np.int64))
        rows = _concat(tables, PLACED)
        read = run.inputs.paths
        paths = tuple(dict.fromkeys(read.filter(pc.is_in(read, rows.column("path"))).to_pylist()))
        return cls(rows, np.concatenate([*parts, np.zeros(0, np.int64)]), stems, paths, keys_of(rows, paths))

    def by_path(self) -> dict[str, Index]:
        """The numbers of the rows, ascending, by file."""
        keys = np.sort(self.keys)
        ends = np.searchsorted(keys >> _FILE_BITS, np.arange(1, len(self.paths)))
        rows = np.split(keys & ((1 << _FILE_BITS) - 1), ends)
        return dict(zip(self.paths, rows, strict=True))


def keys_of(table: pa.Table, paths: Sequence[str], path: str = "path", row: str = "row") -> Index:
    """One number for the file and the row of each row; ascending with both."""
    files = pc.index_in(table.column(path), pa.array(paths, pa.string())).to_numpy().astype(np.int64)
    keys: Index = (files << _FILE_BITS) + table.column(row).to_numpy()
    return keys


class ChosenRows(Source):
    """Some rows of a source, by file and number.

    Args:
        source: the source.
        rows: by path, the rows, ascending.

    Attributes:
        seen: how many rows each file has, as far as it was read.
    """

    def __init__(self, source: Source, rows: Mapping[str, Index]) -> None:
        self._source = source
        self._rows = rows
        self._lock = threading.Lock()
        self.seen: dict[str, int] = {}
        self.schema, self.notes, self.reading = source.schema, source.notes, source.reading

    def chunks(self) -> Iterator[Chunk]:
        """The source's plan."""
        return self._source.chunks()

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The chosen rows of the blocks, and those chosen that are rejected."""
        for batch in self._source.read(chunk, columns):
            if self._source.a_row_each:  # and only files whose row is chosen are read
                yield batch
                continue
            path = batch.keys.paths[0]
            with self._lock:
                self.seen[path] = self.seen.get(path, 0) + (batch.counts[0].rows_in if batch.counts else 0)
            chosen = batch.filter(np.isin(batch.keys.rows, self._rows[path]))
            rejected = batch.rejected
            if rejected is not None:
                rejected = rejected.filter(pc.is_in(rejected.column("row"), pa.array(self._rows[path])))
            bad = rejected.num_rows if rejected is not None else 0
            count = Count("read", rows_in=len(chosen) + bad, out=len(chosen), rejected=bad)
            yield replace(chosen, rejected=rejected if bad else None, counts=(count,))

    def fingerprints(self) -> Sequence[Fingerprint]:
        """The source's."""
        return self._source.fingerprints()

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows with other roles."""
        return ChosenRows(self._source.with_roles(roles), self._rows)

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same rows with other ways of writing."""
        return ChosenRows(self._source.with_written(written), self._rows)

    @property
    def block_nbytes(self) -> int:
        """The source's."""
        return self._source.block_nbytes


@dataclass(frozen=True)
class Keyed:
    """A way, and the rows' keys beside what it makes of them."""

    way: Way

    def transform(self, batch: Batch) -> Batch:
        """The rows with their keys."""
        made = self.way.transform(batch)
        columns = [*made.columns.columns, made.keys.path_column(), pa.array(made.keys.rows)]
        return made.with_columns(pa.RecordBatch.from_arrays(columns, [*made.columns.schema.names, PATH, ROW]))


# ---------------------------------------------------------------------- what is published


@dataclass(frozen=True)
class _Made:
    """What became of the rows: those that came through, with their keys; those that did not; the ledger; seconds."""

    recovered: pa.Table
    still: pa.Table
    counts: tuple[Count, ...]
    took: float


def _publish(run: Run, old: _Rejected, made: _Made, schema: Schema, changed: Mapping[str, Any]) -> None:
    recovered = made.recovered
    order = np.argsort(old.keys, kind="stable")
    which = order[np.searchsorted(old.keys, keys_of(recovered, old.paths, PATH, ROW), sorter=order)]
    # Rows of one part in its order: by their places, and by their keys where they share one.
    position = old.rows.column("position").to_numpy()
    sorting = np.lexsort((old.keys[which], position[which], old.part[which]))
    which, recovered = which[sorting], recovered.take(pa.array(sorting)).drop_columns([PATH, ROW])
    parts = _spliced(run, old.part[which], position[which], recovered.cast(schema.to_arrow()))
    rejected = _rejected_next(run, old, which, made.still)
    ready = _ready(run, parts)
    document = run.document
    listed = [parts.get(number, Part.from_json(part)).to_json() for number, part in enumerate(document["parts"])]
    if run.destination.suffix:
        listed = [
            {**part, "rows": part["rows"] + int((old.part[which] == number).sum())}
            for number, part in enumerate(document["parts"])
        ]
    summary = {"command": "replay", "seconds": round(made.took, 3), "recovered": recovered.num_rows}
    run.commit_as(
        ready,
        ledger=_ledger(document, old, made.counts),
        parts=listed,
        rejected=rejected,
        files=run.files,
        summary=summary,
        generation=run.generation + 1,
        kind="replay",
        current=None,
        **changed,
    )
    with writing(run.folder):
        shutil.rmtree(run.folder / "replay", ignore_errors=True)


def _spliced(run: Run, part: Index, position: Index, rows: pa.Table) -> dict[int, Part]:
    """The parts that rows come into, written again in the run's folder; one file is a single part."""
    folder = run.parts
    kind = format_of(run.destination)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    listed = run.document["parts"]
    if run.destination.suffix:
        starts = np.cumsum([0, *(one["rows"] for one in listed)])[:-1]
        to = run.folder / f"merged{run.destination.suffix}"
        return {0: splice(run.destination, to, position + starts[part], rows, kind)}
    found = {}
    for number in np.unique(part):
        low, high = np.searchsorted(part, (number, number + 1))
        name = listed[number]["name"]
        found[int(number)] = splice(
            run.destination / name, folder / name, position[low:high], rows.slice(low, high - low), kind
        )
    return found


def _ready(run: Run, parts: Mapping[int, Part]) -> Path:
    """All that the next generation consists of, durable: the parts written again, and those that stay."""
    with writing(run.folder):
        if run.destination.suffix:
            sync_folder(run.folder)
            return run.folder / parts[0].name
        for number, part in enumerate(run.document["parts"]):
            if number not in parts:
                share_file(run.destination / part["name"], run.parts / part["name"])
        sync_folder(run.parts)
    return run.parts


def _rejected_next(run: Run, old: _Rejected, which: Index, still: pa.Table) -> list[dict[str, Any]]:
    """The rows that stay rejected, each with its latest reason and its place in the part as it now is."""
    folder = run.folder / "rejected.next"
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    came = np.zeros(len(old.rows), bool)
    came[which] = True
    order = np.argsort(old.keys, kind="stable")
    place = order[np.searchsorted(old.keys, keys_of(still, old.paths), sorter=order)]
    position = old.rows.column("position").to_numpy()
    listed = []
    for number in np.unique(old.part[place]):
        own = place[old.part[place] == number]
        back = which[old.part[which] == number]
        before = [
            int(
                (
                    (position[back] < position[i]) | ((position[back] == position[i]) & (old.keys[back] < old.keys[i]))
                ).sum()
            )
            for i in own
        ]
        rows = still.filter(pa.array(old.part[place] == number))
        rows = rows.append_column(PLACED.field(-1), pa.array(position[own] + np.array(before, np.int64)))
        listed.append(_write(rows, folder / f"{old.stems[number]}.parquet"))
    with writing(folder):
        sync_folder(folder)
    return [part.to_json() for part in listed]


def _write(rows: pa.Table, path: Path) -> Part:
    with writing(path):
        file = HashedFile(path)
        pq.write_table(rows.cast(PLACED), file)
        size, digest = file.seal()
    return Part(path.name, rows.num_rows, size, digest)


def _ledger(document: Mapping[str, Any], old: _Rejected, counts: Sequence[Count]) -> tuple[Count, ...]:
    """The ledger with each replayed row counted once: what it went through before, taken out again."""
    before = [Count.from_json(count) for count in document["ledger"]]
    before.sort(key=lambda count: (count.step != "read", count.step != FAILING))  # in the order that rows meet them
    rejected: dict[str, int] = {}
    for step in old.rows.column("step").to_pylist():
        rejected[step] = rejected.get(step, 0) + 1
    undone, through = [], len(old.rows)
    for count in before:
        gone = rejected.get(count.step, 0)
        undone.append(Count(count.step, rows_in=-through, out=gone - through, rejected=-gone))
        through -= gone
    return add_counts(before, undone, counts)
