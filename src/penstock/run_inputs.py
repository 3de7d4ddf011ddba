"""Which files a run read, and what each was like; part of `run.py`.

There may be a million of them. So they are held as columns, and a run writes a long list once, into its folder, under
a name that tells its content; ``run.json`` has how many there are, a hash of the whole list and the first ones. A short
list stands in ``run.json`` itself.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.durable import write_atomically, writing
from penstock.errors import RunError
from penstock.source import Fingerprint

FOLDER = "inputs"
"""Where long lists are, in a run's folder."""
LISTED = 1000
"""The longest list that stands in ``run.json`` itself."""
FIRST = 50
"""How many of a longer one do, for people."""
_INPUTS = pa.schema([("path", pa.string()), ("size", pa.int64()), ("digest", pa.string())])
_ROWS = pa.schema([("path", pa.string()), ("rows", pa.int64())])
_ITEMS = pa.schema([("path", pa.string())])
_ORIGINS = {"data", "test"}
_AT_ONCE = 2**16


@dataclass(frozen=True, eq=False)
class Inputs:
    """Files, as they count for a job's identity: by content, not by time of change.

    Attributes:
        table: ``path``, ``size`` [bytes] and ``digest`` of each, in order.

    Example:
        >>> one = Inputs.of([Fingerprint("a.csv", 3, 0, "f0")])
        >>> one.told(), one == Inputs.of([Fingerprint("a.csv", 4, 0, "f0")])
        ([{'path': 'a.csv', 'size': 3, 'digest': 'f0'}], False)
    """

    table: pa.Table

    @classmethod
    def of(cls, fingerprints: Iterable[Fingerprint]) -> Inputs:
        """Of the files of a source."""
        left, batches = iter(fingerprints), []
        while some := list(itertools.islice(left, _AT_ONCE)):
            columns = ([f.path for f in some], [f.size for f in some], [f.digest for f in some])
            batches.append(
                pa.record_batch([pa.array(c, t) for c, t in zip(columns, _INPUTS.types, strict=True)], schema=_INPUTS)
            )
        return cls(pa.Table.from_batches(batches, _INPUTS))

    @classmethod
    def read(cls, value: Any, folder: Path) -> Inputs:
        """From what a ``run.json`` in ``folder`` has.

        Raises:
            RunError: the list beside it is gone, or another one.
        """
        if isinstance(value, Inputs):
            return value
        if isinstance(value, Mapping):
            return cls(_read(value, folder, _INPUTS))
        return cls(pa.Table.from_pylist(list(value or ()), _INPUTS))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inputs) and len(self) == len(other) and self.sha256 == other.sha256

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def sha256(self) -> str:
        """Of the whole list, however it is cut."""
        return _sha256(self.table)

    @property
    def paths(self) -> pa.ChunkedArray:
        """Of the files."""
        return self.table.column("path")

    def told(self) -> Any:
        """As JSON values for people: a short list itself; of a long one how many, the hash and the first."""
        if len(self) <= LISTED:
            return self.table.to_pylist()
        nbytes = pc.sum(self.table.column("size")).as_py()
        return {
            "count": len(self),
            "bytes": nbytes,
            "sha256": self.sha256,
            "first": self.table.slice(0, FIRST).to_pylist(),
        }

    def to_json(self) -> Any:
        """As it stands in ``run.json``: with the name of the file that `save` writes a long list to."""
        told = self.told()
        return {**told, "file": _name(told["sha256"])} if isinstance(told, dict) else told

    def save(self, folder: Path) -> Any:
        """Write a long list into a run's folder, durably, if it is not there; gives what `to_json` does."""
        found = self.to_json()
        if isinstance(found, dict):
            _write(self.table, folder, found["file"])
        return found

    # --- beside others; of files that have the same path, the last one counts

    def beyond(self, other: Inputs) -> Inputs:
        """Those whose paths are not among the others'."""
        return Inputs(self.table.filter(pc.invert(pc.is_in(self.paths, other.paths))))

    def changed(self, other: Inputs) -> Inputs:
        """Those that the others have under the same path with another content."""
        return Inputs(self._last.filter(pa.array(~self._same(other) & self._known(other))))

    def follows(self, other: Inputs) -> bool:
        """Whether all that the others are is here as it was."""
        return not len(other.beyond(self)) and not len(other.changed(self))

    def agrees(self, other: Inputs) -> bool:
        """Whether they are the same files, in whatever order."""
        return self.follows(other) and not len(self.beyond(other))

    def plus(self, other: Inputs) -> Inputs:
        """These, then the others."""
        return Inputs(pa.concat_tables([self.table, other.table]))

    def renewed(self, other: Inputs) -> Inputs:
        """These in their order, as the others have them where they do."""
        last = other._last
        place = pc.index_in(self.paths, last.column("path").combine_chunks())
        found = pa.array(np.arange(len(self)) + len(last))
        at = pc.coalesce(place.cast(pa.int64()), pa.chunked_array([found]))
        return Inputs(pa.concat_tables([last, self.table]).take(at))

    @cached_property
    def _last(self) -> pa.Table:
        """The last of those that have the same path."""
        if pc.count_distinct(self.paths).as_py() == len(self):
            return self.table
        places = {path: i for i, path in enumerate(self.paths.to_pylist())}
        return self.table.take(pa.array(sorted(places.values())))

    def _known(self, other: Inputs) -> Any:
        return pc.is_in(self._last.column("path"), other.paths).to_numpy()

    def _same(self, other: Inputs) -> Any:
        """Of each of the last ones, whether the other has it with the same content."""
        theirs = other._last
        place = pc.index_in(self._last.column("path"), theirs.column("path").combine_chunks())
        same = [pc.equal(self._last.column(name), theirs.column(name).take(place)) for name in ("size", "digest")]
        return pc.fill_null(pc.and_(*same), False).to_numpy()


def difference_of(was: Inputs, now: Inputs) -> str:
    """In words, which files are others than they were."""
    told = {"came in since": now.beyond(was), "no longer there": was.beyond(now), "changed": now.changed(was)}
    texts = [
        f"{some(found.paths.slice(0, 6).to_pylist(), len(found))} {what}" for what, found in told.items() if len(found)
    ]
    return "; ".join(texts) or "the same, in another order"


def some(names: Sequence[str], count: int) -> str:
    """The first names of so many.

    Example:
        >>> some(["a", "b"], 2), some(["a", "b", "c", "d", "e", "f"], 9)
        ('a, b', 'a, b, c, d, e and 4 more')
    """
    return ", ".join(names[:5]) + (f" and {count - 5:,} more" if count > 5 else "")


# ---------------------------------------------------------------------- rows of files


def save_rows(rows: Mapping[str, int], folder: Path) -> Any:
    """How many rows each file has, as it stands in ``run.json``; a long list is written beside it."""
    if len(rows) <= LISTED:
        return dict(rows)
    table = pa.table([pa.array(list(rows), pa.string()), pa.array(list(rows.values()), pa.int64())], schema=_ROWS)
    digest = _sha256(table)
    _write(table, folder, _name(digest))
    return {"count": len(rows), "rows": sum(rows.values()), "sha256": digest, "file": _name(digest)}


def read_rows(value: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """What `save_rows` kept.

    Raises:
        RunError: the list is gone, or another one.
    """
    if not isinstance(value.get("sha256"), str):
        return dict(value)
    table = _read(value, folder, _ROWS)
    return dict(zip(table.column("path").to_pylist(), table.column("rows").to_pylist(), strict=True))


# ---------------------------------------------------------------------- what was asked


def save_asked(asked: Mapping[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """What has to be known to do a job again, as it stands in ``run.json``: of a long list of paths the first ones,
    and the name of the file with all of them."""
    if asked is None:
        return None
    kept = dict(asked)
    for key in _ORIGINS & kept.keys():
        items = kept[key] and kept[key]["items"]
        if items and len(items) > LISTED:
            table = pa.table([pa.array(items, pa.string())], schema=_ITEMS)
            digest = _sha256(table)
            _write(table, folder, _name(digest))
            told = {"count": len(items), "sha256": digest, "first": items[:FIRST], "file": _name(digest)}
            kept[key] = {**kept[key], "items": told}
    return kept


def read_asked(value: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `save_asked` kept.

    Raises:
        RunError: a list is gone, or another one.
    """
    asked = dict(value)
    for key in _ORIGINS & asked.keys():
        if asked[key] and isinstance(asked[key]["items"], Mapping):
            items = _read(asked[key]["items"], folder, _ITEMS).column("path").to_pylist()
            asked[key] = {**asked[key], "items": items}
    return asked


def shortened(argv: Sequence[str]) -> list[str]:
    """What was typed, without most of a thousand paths."""
    return list(argv) if len(argv) <= LISTED else [*argv[:FIRST], f"... and {len(argv) - FIRST:,} more"]


# ---------------------------------------------------------------------- files beside run.json


def prune(folder: Path, document: Any) -> None:
    """Remove the lists in a run's folder that its document does not name."""
    if (folder / FOLDER).is_dir():
        named = set(_named(document))
        with writing(folder / FOLDER):
            for path in (folder / FOLDER).iterdir():
                if f"{FOLDER}/{path.name}" not in named:
                    path.unlink()


def _named(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("sha256"), str) and isinstance(value.get("file"), str):
            yield value["file"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            if isinstance(one, (Mapping, list)):
                yield from _named(one)


def _name(digest: str) -> str:
    return f"{FOLDER}/{digest[:16]}.parquet"


def _write(table: pa.Table, folder: Path, name: str) -> None:
    path = folder / name
    if path.exists():  # under a name that tells its content, and put there whole
        return
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    held = pa.BufferOutputStream()
    pq.write_table(table, held, compression="zstd")
    write_atomically(path, held.getvalue())


def _read(value: Mapping[str, Any], folder: Path, schema: pa.Schema) -> pa.Table:
    path = folder / str(value["file"])
    try:
        table = pq.read_table(path).select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _lost(path, value, str(error).splitlines()[0]) from error
    found = _sha256(table)
    if found != value["sha256"]:
        raise _lost(path, value, f"a list with SHA-256 {found[:16]}")
    return table


def _lost(path: Path, value: Mapping[str, Any], got: str) -> RunError:
    return RunError(
        "the list of the run's inputs is gone or altered",
        where=str(path),
        expected=f"{value['count']:,} files, SHA-256 {value['sha256'][:16]}",
        got=got,
        remedy="put it back, or begin anew with --restart",
    )


def _sha256(table: pa.Table) -> str:
    """Of the values of a table of texts and whole numbers without nulls, however its rows are cut."""
    found = hashlib.sha256(repr((table.schema.names, table.num_rows)).encode())
    for column in table.columns:
        parts = (hashlib.sha256(), hashlib.sha256())
        for chunk in column.chunks:
            if not len(chunk):
                continue
            if pa.types.is_string(chunk.type):
                _, offsets, data = chunk.buffers()
                ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
                parts[0].update(np.diff(ends).tobytes())
                if data is not None:
                    parts[1].update(memoryview(data)[ends[0] : ends[-1]])
            else:
                parts[0].update(chunk.to_numpy().tobytes())
        found.update(parts[0].digest() + parts[1].digest())
    return found.hexdigest()
