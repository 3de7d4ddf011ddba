"""One job's folder: what was asked, on what it ran, how far it got, and the one commit.

Beside the output ``out`` lies ``out.run``: ``run.json`` (the job's identity, its state, the ledger, the hash of every
part), ``progress.jsonl`` (a line per finished chunk), ``parts/`` (not published yet) and ``rejected/``. A job that was
killed goes on where it was by the same command: chunks with a receipt are not done again.

States: *running*; *committing* once every part is durable and listed in ``run.json``; *committed* once the output has
its name. A reader of ``out`` sees nothing before the rename and all of it after. What was there before, if a restart
may replace it, stays until then, and lies in ``replaced`` while it changes places.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from penstock.durable import read_json, sha256, sync_folder, write_json, writing
from penstock.engine import Resources
from penstock.errors import RunError
from penstock.resources import instruction_sets
from penstock.sink import Receipt, ledger
from penstock.source import Chunk, Fingerprint

FORMAT = 1
_LIBRARIES = ("penstock", "numpy", "pyarrow", "polars", "lightgbm", "scikit-learn")
_OURS = ("progress.jsonl", "parts", "parts.done", "rejected", "work", "fitted", "merged", "relations")
_HASHED_BYTES = 2**20


def versions() -> dict[str, str]:
    """What the bytes of a result depend on besides the job: libraries, Python, instruction sets."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    found["python"] = platform.python_version()
    found["machine"] = platform.machine()
    found["instruction sets"] = " ".join(instruction_sets())
    return found


class Run:
    """A job's folder, held by one process at a time.

    Args:
        destination: the folder or file that the job makes; the run's folder is ``destination`` + ".run".
        identity: what makes two jobs the same job: command, configuration, seed, how inputs are read, their contents.
        resources: what the job may use, to be recorded.
        restart: begin anew; what an earlier run published stays until the new output takes its place.
        replaceable: whether what is at ``destination`` may be replaced by a restart although no run made it.

    Raises:
        RunError: another process has the run; another job made it; or the output is there and is not of a run.
    """

    def __init__(
        self,
        destination: Path,
        identity: Mapping[str, Any],
        resources: Resources,
        *,
        restart: bool = False,
        replaceable: bool = False,
    ) -> None:
        self.destination = destination
        self.folder = destination.with_name(destination.name + ".run")
        self.parts = self.folder / "parts"
        self.rejected = self.folder / "rejected"
        self._replaced = self.folder / "replaced"
        self._identity = json.loads(json.dumps(identity))
        self._resources = resources
        self._receipts: dict[int, Receipt] = {}
        self._plan: dict[int, str] = {}  # chunks with a receipt of an earlier try
        self._begun: dict[int, str] = {}
        self._document: dict[str, Any] = {}
        with writing(self.folder):
            self._refuse_foreign_folder()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        try:
            self._acquire()
            self._open(restart, replaceable)
        except BaseException:
            self._lock.close()
            raise

    # ------------------------------------------------------------------ opening

    def _refuse_foreign_folder(self) -> None:
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if there - {"lock", "run.json"} and "run.json" not in there and not (there & set(_OURS)):
            raise RunError(
                "the run's folder is there already, and holds something else",
                where=str(self.folder),
                expected="no folder of this name, or one of an earlier run",
                got=", ".join(sorted(there)[:5]),
                remedy="write elsewhere with --to, or move it away",
            )

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                "another process is at this run",
                where=str(self.folder),
                expected="one process for each output",
                got="the lock is held",
                remedy="wait for it, or write elsewhere with --to",
            ) from error

    def _open(self, restart: bool, replaceable: bool) -> None:
        path = self.folder / "run.json"
        before: Mapping[str, Any] = read_json(path) if path.exists() else {"state": "none", "replaces": False}
        published = before["state"] in ("committing", "committed") or before["replaces"]
        with writing(self.destination):
            if self._replaced.exists() and not self.destination.exists() and restart:
                self._replaced.replace(self.destination)  # a replacement that was stopped half way
        if before["state"] == "none" or restart:
            self._begin(replaces=restart and (replaceable or published))
            return
        changed = self._changes(before)
        unfinished = before["state"] == "running"
        if changed and unfinished and not (self.folder / "progress.jsonl").exists():
            self._begin(replaces=before["replaces"])  # an earlier try ended before any of its work was done
            return
        if changed:
            raise RunError(
                "this output belongs to another job",
                where=str(self.folder),
                expected="the same " + ", ".join(changed) + " as before",
                got="\n            ".join(self._difference(before, key) for key in changed),
                remedy="write elsewhere with --to, or begin anew with --restart",
            )
        self._document = dict(before)
        self._read_progress(whole_parts=unfinished)
        if self.committed:
            self._refuse_altered_output()

    def _begin(self, *, replaces: bool) -> None:
        """Write a new ``run.json``; there is always one, whenever the process is killed, and never an old progress."""
        if not replaces:
            self._refuse_foreign_output()
        document = {
            "format": FORMAT,
            "state": "running",
            "started": _now(),
            "replaces": replaces,
            "identity": self._identity,
            "versions": versions(),
            "argv": sys.argv,
            "resources": {"cores": self._resources.cores, "memory": self._resources.memory},
        }
        with writing(self.folder):
            (self.folder / "progress.jsonl").unlink(missing_ok=True)
            sync_folder(self.folder)
            self._document = document
            write_json(self.folder / "run.json", document)
            for path in self.folder.iterdir():
                if path.name in _OURS or path.stem in _OURS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _refuse_foreign_output(self) -> None:
        there = self.destination
        if there.exists() and not (there.is_dir() and not any(there.iterdir())):
            raise RunError(
                "the output is there already, and no run of Penstock made it",
                where=str(there),
                expected="a name that is free",
                remedy="write elsewhere with --to, or remove it yourself",
            )

    def _changes(self, before: Mapping[str, Any]) -> list[str]:
        identity = before.get("identity", {})
        changed = [key for key in sorted({*identity, *self._identity}) if identity.get(key) != self._identity.get(key)]
        if before["state"] == "running" and before.get("versions") != versions():
            changed.append("versions")  # the chunks to come would not be of the same making as those that are there
        return changed

    def _difference(self, before: Mapping[str, Any], key: str) -> str:
        if key == "versions":
            old, new = before.get(key, {}), versions()
            return ", ".join(f"{n} {old.get(n)} before, {new[n]} now" for n in new if old.get(n) != new[n])
        was, now = before.get("identity", {}).get(key), self._identity.get(key)
        if key in ("inputs", "test"):
            first, second = ({item["path"]: item for item in items or []} for items in (was, now))
            names = [path for path in sorted({*first, *second}) if first.get(path) != second.get(path)]
            return f"{key} that differ: " + ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        if isinstance(was, str) and isinstance(now, str):
            pairs = itertools.zip_longest(was.splitlines(), now.splitlines(), fillvalue="")
            was, now = next((pair for pair in pairs if pair[0] != pair[1]), (was, now))
        return f"{key}: {_short(was)} before, {_short(now)} now"

    def _read_progress(self, *, whole_parts: bool) -> None:
        """Take in the receipts; the torn line of a killed process is cut off, and its chunk done again."""
        path = self.folder / "progress.jsonl"
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with writing(path), path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            entry = json.loads(line)
            receipt = Receipt.from_json(entry["receipt"])
            if not whole_parts or all(_size(self.parts / part.name) == part.nbytes for part in receipt.parts):
                self._plan[receipt.chunk] = entry["chunk"]
                self._receipts[receipt.chunk] = receipt

    def _refuse_altered_output(self) -> None:
        recorded = self._document.get("published", {})
        found = _contents(self.destination)
        if recorded != found:
            gone = [name for name in recorded if name not in found]
            raise RunError(
                "the run is finished, and its output is no longer what it made",
                where=str(self.destination),
                expected=f"{len(recorded)} files, as they were published",
                got=f"{len(gone)} of them gone" if gone else "other files, or other contents",
                remedy="make it anew with --restart, or write elsewhere with --to",
            )

    # ------------------------------------------------------------------ going on

    @property
    def committed(self) -> bool:
        """Whether it is finished: then there is nothing to do."""
        return bool(self._document["state"] == "committed")

    @property
    def committing(self) -> bool:
        """Whether a try was stopped in the middle of its commit."""
        return bool(self._document["state"] == "committing")

    @property
    def document(self) -> Mapping[str, Any]:
        """What ``run.json`` holds."""
        return self._document

    @property
    def done_before(self) -> int:
        """Chunks that an earlier try of the same job has finished."""
        return len(self._plan)

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The chunks that have no receipt yet; at its end, receipts of chunks not in the plan are forgotten."""
        seen = set()
        for chunk in chunks:
            seen.add(chunk.index)
            if self._plan.get(chunk.index) != chunk.canonical():
                self._receipts.pop(chunk.index, None)
                self._begun[chunk.index] = chunk.canonical()
                yield chunk
        for index in set(self._receipts) - seen:
            del self._receipts[index]

    def record(self, receipt: Receipt) -> None:
        """A chunk is finished and its parts are durable: remember it, durably."""
        entry = {"chunk": self._begun.pop(receipt.chunk), "receipt": receipt.to_json()}
        with writing(self.folder), (self.folder / "progress.jsonl").open("ab") as file:
            file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._receipts[receipt.chunk] = receipt

    def adopt(self, receipts: Iterable[Receipt]) -> None:
        """Take in the ledger of a pass that does not go on where it was: it counts when the run is committed."""
        self._receipts = {receipt.chunk: replace(receipt, parts=()) for receipt in receipts}

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """All receipts, in plan order."""
        return tuple(self._receipts[index] for index in sorted(self._receipts))

    # ------------------------------------------------------------------ the end

    def commit(self, publish: Callable[[], None], summary: Mapping[str, Any]) -> None:
        """Publish, all at once: ``publish`` gives the parts their place by one rename.

        A crash at any point is finished by the same command: as long as ``parts``, or the file that they were merged
        into, is there, the output is not yet; what is to be published is what ``run.json`` lists.

        Raises:
            RunError: a part is gone, or something else has taken the output's place meanwhile.
        """
        if not self.committing:
            self._put(
                state="committing",
                ledger=[count.to_json() for count in ledger(self.receipts)],
                parts=[part.to_json() for receipt in self.receipts for part in receipt.parts],
                rejected=[receipt.rejected.to_json() for receipt in self.receipts if receipt.rejected],
                summary=summary,
            )
        done = self.folder / "parts.done"
        with writing(self.destination):
            if self.parts.exists():
                self._refuse_lost_parts()
            if self.parts.exists() or any(self.folder.glob("merged.*")):
                self._make_room()
                publish()
            for path in (done, self._replaced):
                if path.exists():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._put(state="committed", finished=_now(), published=_contents(self.destination))

    def _refuse_lost_parts(self) -> None:
        lost = [part["name"] for part in self._document["parts"] if _size(self.parts / part["name"]) != part["nbytes"]]
        if lost:
            raise RunError(
                "finished parts are gone, so nothing is published",
                where=str(self.parts),
                expected=f"all {len(self._document['parts'])} parts of the run",
                got=f"{len(lost)} gone or cut short: " + ", ".join(lost[:5]),
                remedy="begin anew with --restart",
            )

    def _make_room(self) -> None:
        there = self.destination
        if there.is_dir() and not any(there.iterdir()):
            there.rmdir()
        elif there.exists() and self._document["replaces"] and not self._replaced.exists():
            there.replace(self._replaced)
        elif there.exists() and not self._document["replaces"]:
            self._refuse_foreign_output()

    def _put(self, **values: Any) -> None:
        self._document = {**self._document, **values}
        write_json(self.folder / "run.json", self._document)

    def close(self) -> None:
        """Let go of the run."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def inputs_of(fingerprints: Iterable[Fingerprint]) -> list[dict[str, Any]]:
    """Inputs as they count for a job's identity: by content, not by time of change."""
    return [{"path": f.path, "size": f.size, "digest": f.digest} for f in fingerprints]


def digest_of(value: Any) -> str:
    """A short hash of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _contents(path: Path) -> dict[str, str]:
    """What was published, by file: the size, and of a small file the hash."""
    if path.is_file():
        return {path.name: _described(path)}
    return {p.relative_to(path).as_posix(): _described(p) for p in sorted(path.rglob("*")) if p.is_file()}


def _described(path: Path) -> str:
    size = path.stat().st_size
    return f"{size} bytes" + (f", SHA-256 {sha256(path)}" if size <= _HASHED_BYTES else "")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
