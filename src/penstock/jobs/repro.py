"""Repro: a finished run done again from its own record, beside it, and every output compared with what it published."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from penstock.durable import read_json, sha256, writing
from penstock.errors import RunError
from penstock.run_identity import difference, inputs_of, versions
from penstock.run_inputs import Inputs
from penstock.sinks.parts import SUFFIXES, format_of, tables_of
from penstock.source import Note, Source

MOST_SIGNS = 80
"""Of a value that differs, as it is shown."""


@dataclass(frozen=True)
class Difference:
    """The first thing that another run made otherwise.

    Attributes:
        file: which file of the output.
        row: in it, from 0; None where the whole file is at fault.
        column: of the row.
        before: the value that was published.
        now: the value that came out this time.
        reason: in words.
    """

    file: str
    reason: str
    row: int | None = None
    column: str | None = None
    before: str | None = None
    now: str | None = None


@dataclass(frozen=True)
class Reproduced:
    """What doing a run again gave.

    Attributes:
        run: its folder.
        files: how many files of the output were compared.
        same_bytes: of them, those with the same SHA-256.
        differences: the first one of each file whose values differ.
        notes: what was another than then, and whether it may matter.
        seconds: what it took [s].
    """

    run: Path
    files: int
    same_bytes: int
    differences: tuple[Difference, ...]
    notes: tuple[Note, ...]
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether every file came out with the same bytes."""
        return self.same_bytes == self.files and not self.differences

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "command": "repro",
            "run": str(self.run),
            "identical": self.identical,
            "files": self.files,
            "same_bytes": self.same_bytes,
            "differences": [vars(one) for one in self.differences],
            "notes": [str(note) for note in self.notes],
            "seconds": round(self.seconds, 3),
        }


Again = Callable[[Source, Path, bool], object]
"""Does the job over a source, into a place; the last argument: as a further generation of what is there."""


def repro(destination: Path, source: Source, again: Again, *, test: Source | None = None) -> Reproduced:
    """Do a finished run again, and compare.

    Args:
        destination: what the run made.
        source: its inputs.
        again: does the job.
        test: the rows that a training was judged on.

    Raises:
        RunError: it is not finished, or an input is no longer what it was.
    """
    began = time.monotonic()
    folder = destination.with_name(destination.name + ".run")
    document = read_json(folder / "run.json")
    if document["state"] != "committed":
        raise RunError("the run is not finished", where=str(folder), got=document["state"], remedy="finish it first")
    identity = document["identity"]
    _refuse_other_inputs(folder, "inputs", identity["inputs"], source)
    if test is not None:
        _refuse_other_inputs(folder, "test", identity["test"], test)
    notes = []
    if document["versions"] != versions():
        text = difference("versions", document["versions"], versions())
        notes.append(Note("versions", text, "other versions may give other bytes"))
    scratch = folder / "repro"
    to = scratch / destination.name
    with writing(scratch):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    try:
        for number, paths in enumerate(_generations(document, folder, source)):
            again(source if paths is None else source.only(paths), to, number > 0)
        if any(one["kind"] == "replay" for one in document["generations"]):
            notes.append(
                Note(
                    "replay",
                    "rows that came in by a replay are read with all others here: steps that learn learn from them too",
                )
            )
        found = tuple(_compared(destination, to))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    wrong = tuple(one for _, one in found if one is not None)
    alike = sum(same for same, _ in found)
    return Reproduced(folder, len(found), alike, wrong, tuple(notes), time.monotonic() - began)


def _generations(document: Mapping[str, Any], folder: Path, source: Source) -> Iterator[list[str] | None]:
    """The inputs of each generation that read new ones; None for all, where no others have come in since."""
    later = [Inputs.read(one["current"], folder) for one in document["generations"] if one["kind"] == "new"]
    first = known = Inputs.read(document["identity"]["inputs"], folder)
    for one in later:
        first = first.beyond(one)
    more = len(inputs_of(source.fingerprints()).beyond(known))
    yield first.paths.to_pylist() if later or more else None
    for one in later:
        yield one.paths.to_pylist()


def _refuse_other_inputs(folder: Path, name: str, recorded: Any, source: Source) -> None:
    was, now = Inputs.read(recorded, folder), inputs_of(source.fingerprints())
    if not now.follows(was):
        raise RunError(
            "the inputs are not what the run read",
            where=str(folder),
            expected="the same files with the same contents",
            got=difference(name, was, now.beyond(now.beyond(was))),
            remedy="put them back",
        )


# ---------------------------------------------------------------------- comparing


def _compared(old: Path, new: Path) -> Iterator[tuple[bool, Difference | None]]:
    """Of every file of two outputs: whether its bytes are the same, and where its values first differ."""
    files = [sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) for root in (old, new)]
    if old.is_file():
        files = [[""], [""]]
    for name in sorted({*files[0], *files[1]}):
        first, second = (root / name if name else root for root in (old, new))
        shown = name or old.name
        if name not in files[0] or name not in files[1]:
            yield False, Difference(shown, "made only " + ("then" if name in files[0] else "this time"))
        elif sha256(first) == sha256(second):
            yield True, None
        elif first.suffix in SUFFIXES:
            yield False, _first_difference(first, second, shown)
        else:
            yield False, Difference(shown, "other contents")


def _first_difference(old: Path, new: Path, name: str) -> Difference:
    row = 0
    for first, second in _together(_read(old), _read(new)):
        if first is None or second is None:
            return Difference(name, f"{'fewer' if second is None else 'more'} rows than then", row)
        if first.schema.names != second.schema.names:
            return Difference(name, "other columns", before=str(first.schema.names), now=str(second.schema.names))
        wrong = {column: at for column in first.schema.names if (at := _where(first, second, column)) is not None}
        if wrong:
            column = min(wrong, key=lambda one: (wrong[one], first.schema.names.index(one)))
            at = wrong[column]
            values = (_shown(table.column(column)[at].as_py()) for table in (first, second))
            return Difference(name, "another value", row + at, column, *values)
        row += first.num_rows
    return Difference(name, "the same values, laid out in other bytes")


def _shown(value: Any) -> str:
    """A value for people: bytes by their number and hash, and a long text by its first signs."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes, BLAKE2b {blake2b(value, digest_size=8).hexdigest()}"
    text = str(value)
    return text if len(text) <= MOST_SIGNS else text[: MOST_SIGNS - 3] + "..."


def _where(first: pa.Table, second: pa.Table, column: str) -> int | None:
    one, other = (table.column(column).combine_chunks() for table in (first, second))
    if one.type != other.type:
        return 0
    if pa.types.is_floating(one.type):
        bits = [np.asarray(values.fill_null(0)).view(f"u{one.type.bit_width // 8}") for values in (one, other)]
        unequal = (bits[0] != bits[1]) | np.asarray(pc.xor(one.is_null(), other.is_null()))
    elif pa.types.is_nested(one.type):
        unequal = np.array([a != b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)], bool)
    else:
        same = pc.fill_null(pc.equal(one, other), False)
        unequal = ~np.asarray(pc.or_(same, pc.and_(one.is_null(), other.is_null())))
    places = np.flatnonzero(unequal)
    return int(places[0]) if len(places) else None


def _read(path: Path) -> Iterator[pa.Table]:
    if format_of(path) == "csv":
        with pacsv.open_csv(path) as reader:
            texts = dict.fromkeys(reader.schema.names, pa.string())
        yield pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=texts))
    else:
        yield from tables_of(path, format_of(path))


def _together(
    first: Iterator[pa.Table], second: Iterator[pa.Table]
) -> Iterator[tuple[pa.Table | None, pa.Table | None]]:
    """Two tables piece by piece, however each is cut; None for one that has ended."""
    left: list[pa.Table | None] = [None, None]
    sides = (first, second)
    while True:
        for number, side in enumerate(sides):
            held = left[number]
            while held is None or not held.num_rows:
                held = next(side, None)
                if held is None:
                    break
            left[number] = held
        one, other = left
        if one is None or other is None:
            if one is not other:
                yield one, other
            return
        rows = min(one.num_rows, other.num_rows)
        yield one.slice(0, rows), other.slice(0, rows)
        left = [one.slice(rows), other.slice(rows)]
