"""One job's folder: what was asked, on what it ran, how far it got, and the one commit.

Beside the output ``out`` lies ``out.run``: ``run.json`` (the job's identity, its state, the ledger, the hash of every
part), ``progress.jsonl`` (a line per finished chunk), ``parts/`` (not published yet) and ``rejected/``. A job that was
killed goes on where it was by the same command: chunks with a receipt are not done again.

States: *running*, then *committing* once every part is durable, then *committed* once the output has its name. A
reader of ``out`` sees nothing before the rename and all of it after.
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

from penstock.durable import read_json, write_json, writing
from penstock.engine import Resources
from penstock.errors import RunError
from penstock.resources import instruction_sets
from penstock.sink import Receipt, ledger
from penstock.source import Chunk, Fingerprint

FORMAT = 1
_LIBRARIES = ("penstock", "numpy", "pyarrow", "polars", "lightgbm", "scikit-learn")


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
        identity: what makes two jobs the same job: command, configuration, seed, inputs' fingerprints.
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
        self._identity = json.loads(json.dumps(identity))
        self._resources = resources
        self._receipts: dict[int, Receipt] = {}
        self._plan: dict[int, str] = {}  # chunks with a receipt of an earlier try
        self._begun: dict[int, str] = {}
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        self._acquire()
        replaces = restart and (replaceable or (self.folder / "run.json").exists())
        if restart:
            self._clear()
        self._document = self._open_document(replaces)

    # ------------------------------------------------------------------ opening

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunError(
                "another process is at this run",
                where=str(self.folder),
                expected="one process for each output",
                got="the lock is held",
                remedy="wait for it, or write elsewhere with --to",
            ) from error

    def _clear(self) -> None:
        with writing(self.folder):
            for path in self.folder.iterdir():
                if path.name == "lock":
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _open_document(self, replaces: bool) -> dict[str, Any]:
        path = self.folder / "run.json"
        if not path.exists():
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
            write_json(path, document)
            return document
        document = read_json(path)
        changed = [
            key
            for key in sorted({*document.get("identity", {}), *self._identity})
            if document.get("identity", {}).get(key) != self._identity.get(key)
        ]
        if changed and document["state"] == "running" and not (self.folder / "progress.jsonl").exists():
            self._clear()  # an earlier try ended before any of its work was done: there is nothing to protect
            return self._open_document(bool(document["replaces"]))
        if changed:
            raise RunError(
                "this output belongs to another job",
                where=str(self.folder),
                expected="the same " + ", ".join(changed) + " as before",
                got="\n            ".join(self._difference(document["identity"], key) for key in changed),
                remedy="write elsewhere with --to, or begin anew with --restart",
            )
        self._receipts = {receipt.chunk: receipt for receipt in self._read_progress()}
        return dict(document)

    def _refuse_foreign_output(self) -> None:
        there = self.destination
        if there.exists() and not (there.is_dir() and not any(there.iterdir())):
            raise RunError(
                "the output is there already, and no run of Penstock made it",
                where=str(there),
                expected="a name that is free",
                remedy="write elsewhere with --to, or remove it yourself",
            )

    def _difference(self, before: Mapping[str, Any], key: str) -> str:
        if key == "inputs":
            old = {item["path"]: item for item in before.get(key, [])}
            new = {item["path"]: item for item in self._identity.get(key, [])}
            names = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
            return "inputs that differ: " + ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        was, now = before.get(key), self._identity.get(key)
        if isinstance(was, str) and isinstance(now, str):
            pairs = itertools.zip_longest(was.splitlines(), now.splitlines(), fillvalue="")
            was, now = next((pair for pair in pairs if pair[0] != pair[1]), (was, now))
        return f"{key}: {_short(was)} before, {_short(now)} now"

    def _read_progress(self) -> Iterator[Receipt]:
        path = self.folder / "progress.jsonl"
        if not path.exists():
            return
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                return  # the last line of a killed process: its chunk is done again
            receipt = Receipt.from_json(entry["receipt"])
            if all(self._is_whole(self.parts / part.name, part.nbytes) for part in receipt.parts):
                self._plan[receipt.chunk] = entry["chunk"]
                yield receipt

    @staticmethod
    def _is_whole(path: Path, size: int) -> bool:
        try:
            return path.stat().st_size == size
        except OSError:
            return False

    # ------------------------------------------------------------------ going on

    @property
    def committed(self) -> bool:
        """Whether it is finished: then there is nothing to do."""
        return bool(self._document["state"] == "committed")

    @property
    def document(self) -> Mapping[str, Any]:
        """What ``run.json`` holds."""
        return self._document

    @property
    def done_before(self) -> int:
        """Chunks that an earlier try of the same job has finished."""
        return len(self._plan)

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The chunks that have no receipt yet."""
        for chunk in chunks:
            if self._plan.get(chunk.index) != chunk.canonical():
                self._receipts.pop(chunk.index, None)
                self._begun[chunk.index] = chunk.canonical()
                yield chunk

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

        A crash at any point is finished by the same command: before the rename the parts are still there, after it
        the output is.
        """
        if not self.committing:
            self._put(
                state="committing",
                ledger=[count.to_json() for count in ledger(self.receipts)],
                parts=[part.to_json() for receipt in self.receipts for part in receipt.parts],
                rejected=[receipt.rejected.to_json() for receipt in self.receipts if receipt.rejected],
                summary=summary,
            )
        replaced = self.folder / "replaced"
        with writing(self.destination):
            if self.parts.exists() or not self.destination.exists():
                if self.destination.is_dir() and not any(self.destination.iterdir()):
                    self.destination.rmdir()
                elif self.destination.exists() and self._document["replaces"] and not replaced.exists():
                    self.destination.replace(replaced)
                publish()
                if self.parts.exists():  # merged into one file
                    shutil.rmtree(self.parts)
            if replaced.exists():
                shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
        self._put(state="committed", finished=_now())

    @property
    def committing(self) -> bool:
        """Whether a try was stopped in the middle of its commit."""
        return bool(self._document["state"] == "committing")

    def put(self, **values: Any) -> None:
        """Add to ``run.json``."""
        self._put(**values)

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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
