"""One job's folder: what was asked, on what it ran, how far it got, and the one commit.

Beside the output ``out`` lies ``out.run``: ``run.json`` (the job's identity, its state, the ledger, the hash of every
part), ``progress.jsonl`` (a line per finished chunk), ``parts/`` (not published yet) and ``rejected/``. A job that was
killed goes on where it was by the same command: chunks with a receipt are not done again.

States: *running*; *committing* once what is to be published is complete, durable and listed in ``run.json``;
*committed* once the output has its name. A reader of ``out`` sees nothing before the rename and all of it after.

An output may have several *generations*: the whole; then what came in later (``new``), or rejected rows put through
again (``replay``). Each is a whole folder or file that takes the place of the one before at once; files that did not
change are shared between them.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from penstock.batch import Count, add_counts
from penstock.durable import put_in_place, read_json, restore, sync_folder, watched, write_json, writing
from penstock.engine import Resources
from penstock.errors import RunError
from penstock.run_identity import contents, difference, versions
from penstock.run_inputs import FOLDER as INPUTS
from penstock.run_inputs import Inputs, prune, read_asked, read_rows, save_asked, save_rows, shortened
from penstock.sink import Receipt, ledger
from penstock.source import Chunk, Note

FORMAT = 3
_READABLE = (2, FORMAT)
"""Format 2 has every list of files in ``run.json`` itself."""
_LISTS = ("inputs", "test")
"""What of an identity is a list of files."""
_OURS = (
    "progress.jsonl",
    "parts",
    "rejected",
    "rejected.next",
    "work",
    "fitted",
    "merged",
    "relations",
    "replay",
    "scans",
)


class Run:
    """A job's folder, held by one process at a time.

    Args:
        destination: the folder or file that the job makes; the run's folder is ``destination`` + ".run".
        identity: what makes two jobs the same job: command, configuration, seed, how inputs are read, their contents.
        resources: what the job may use, to be recorded.
        restart: begin anew; what an earlier run published stays until the new output takes its place.
        replaceable: whether what is at ``destination`` may be replaced by a restart although no run made it.
        new_only: take the inputs that no generation has had into a further one; where there are none, it is finished.
        asked: what has to be known to do the job again, as JSON values; None where it can't be.

    Raises:
        RunError: another process has the run; another job made it; or the output is there and is not of a run.

    Attributes:
        only: the inputs of this generation, where they are not all that the job was given.
        notes: what was decided about them.
    """

    def __init__(
        self,
        destination: Path,
        identity: Mapping[str, Any],
        resources: Resources,
        *,
        restart: bool = False,
        replaceable: bool = False,
        new_only: bool = False,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        self.destination = destination
        self.folder = destination.with_name(destination.name + ".run")
        self.parts = self.folder / "parts"
        self.rejected = self.folder / "rejected"
        self.only: tuple[str, ...] | None = None
        self.notes: tuple[Note, ...] = ()
        self._given = {key: Inputs.read(identity[key], self.folder) for key in _LISTS if key in identity}
        lists = {key: found.to_json() for key, found in self._given.items()}
        self._identity = json.loads(json.dumps({**identity, **lists}))
        self._asked = None if asked is None else read_asked(json.loads(json.dumps(asked)), self.folder)
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
            self._open(restart, replaceable, new_only)
        except BaseException:
            self._lock.close()
            raise

    @classmethod
    def reopen(cls, destination: Path, resources: Resources) -> Run:
        """A finished run, to do more with what it published.

        Raises:
            RunError: there is none, or it is not finished.
        """
        path = destination.with_name(destination.name + ".run") / "run.json"
        document = read_json(path)
        if document.get("state") == "running":
            raise RunError(
                "the run is not finished",
                where=str(path.parent),
                expected="one that published its output",
                remedy="finish it first, by the command that began it",
            )
        return cls(destination, document.get("identity", {}), resources, asked=document.get("asked"))

    # ------------------------------------------------------------------ opening

    def _refuse_foreign_folder(self) -> None:
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if there - {"lock", "run.json", ".run.json.new"} and "run.json" not in there and not (there & {*_OURS, INPUTS}):
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

    def _open(self, restart: bool, replaceable: bool, new_only: bool) -> None:
        path = self.folder / "run.json"
        before: dict[str, Any] = read_json(path) if path.exists() else {"state": "none", "replaces": False}
        restore(self.destination)
        published = before["state"] in ("committing", "committed") or before["replaces"] or "published" in before
        if before["state"] == "none" or restart:
            self._begin(replaces=restart and (replaceable or published))
            return
        if before.get("format") not in _READABLE:
            raise RunError(
                "this run was made by another version of Penstock",
                where=str(self.folder),
                expected=f"format {FORMAT}",
                got=f"format {before.get('format')}",
                remedy="finish it with that version, or begin anew with --restart",
            )
        unfinished = before["state"] == "running"
        changed = self._changed(before, new_only)
        if changed and unfinished and before["generation"] == 1 and not (self.folder / "progress.jsonl").exists():
            self._begin(replaces=before["replaces"])  # an earlier try ended before any of its work was done
            return
        if changed:
            self._refuse_change(before, changed)
        self._document = before
        if before["state"] == "committing":
            self._publish()
        if unfinished:
            self._read_progress()
            self._limit(before["current"], new_only)
            return
        self._refuse_altered_output()
        if new_only:
            self._begin_new()

    def _changed(self, before: Mapping[str, Any], new_only: bool) -> list[str]:
        """What is another than before; of inputs, where only new ones are wanted, those that were there before."""
        identity, now = before["identity"], self._identity
        changed = [
            key
            for key in sorted({*identity, *now})
            if identity.get(key) != now.get(key) and not self._same_files(key, before, new_only)
        ]
        if before["state"] == "running" and before.get("versions") != versions():
            changed.append("versions")  # the chunks to come would not be of the same making as those that are there
        return changed

    def _same_files(self, key: str, before: Mapping[str, Any], new_only: bool) -> bool:
        """Whether a part of the identity is a list of files that counts as the same, however it is written down."""
        if key not in self._given or key not in before["identity"]:
            return False
        was, now = Inputs.read(before["identity"][key], self.folder), self._given[key]
        if now == was or key != "inputs":
            return now == was
        if new_only:
            return not len(now.changed(was))
        return before["generation"] > 1 and now.agrees(was)

    def _refuse_change(self, before: Mapping[str, Any], changed: list[str]) -> None:
        pairs: dict[str, tuple[Any, Any]] = {
            key: (Inputs.read(before["identity"].get(key), self.folder), self._given[key])
            if key in self._given
            else (before["identity"].get(key), self._identity.get(key))
            for key in changed
        }
        if "versions" in pairs:
            pairs["versions"] = (before["versions"], versions())
        remedy = "write elsewhere with --to, or begin anew with --restart"
        if changed == ["inputs"] and self._given["inputs"].follows(pairs["inputs"][0]):
            remedy = "take the files that came in since with --new-only, or begin anew with --restart"
        raise RunError(
            "this output belongs to another job",
            where=str(self.folder),
            expected="the same " + ", ".join(changed) + " as before",
            got="\n            ".join(difference(key, *pair) for key, pair in pairs.items()),
            remedy=remedy,
        )

    def _begin(self, *, replaces: bool) -> None:
        """Write a new ``run.json``; there is always one, whenever the process is killed, and never an old progress."""
        if not replaces:
            self._refuse_foreign_output()
        document = {"format": FORMAT, "generation": 1, "kind": "whole", "current": None, "generations": []}
        for found in self._given.values():
            found.save(self.folder)
        self._start({**document, "replaces": replaces, "identity": self._identity})
        prune(self.folder, self._document)
        with writing(self.folder):
            for path in self.folder.iterdir():
                if path.name in _OURS or path.stem in _OURS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _start(self, document: Mapping[str, Any]) -> None:
        with writing(self.folder):
            (self.folder / "progress.jsonl").unlink(missing_ok=True)
            sync_folder(self.folder)
            self._document = dict(document)
            self._put(
                state="running",
                started=_now(),
                asked=save_asked(self._asked, self.folder),
                argv=shortened(sys.argv),
                versions=versions(),
                resources={"cores": self._resources.cores, "memory": self._resources.memory},
            )

    def _begin_new(self) -> None:
        """A further generation of what came in since; none where nothing did."""
        had = self.inputs
        fresh, gone = self._given["inputs"].beyond(had), len(had.beyond(self._given["inputs"]))
        text = f"{len(fresh):,}, beside {len(had):,} that the output has already"
        self.notes = (Note("new files", text, f"of those {gone:,} no longer there" if gone else ""),)
        if not len(fresh):
            return
        self.begin_generation("new", fresh)
        self._limit(fresh, new_only=True)

    @property
    def inputs(self) -> Inputs:
        """The files that all generations up to now have read, in order."""
        return Inputs.read(self._document["identity"].get("inputs"), self.folder)

    def begin_generation(self, kind: str, inputs: Inputs | None) -> None:
        """Begin a further generation of a finished output: what it had stays, until this one takes its place.

        Args:
            kind: what it adds, "new" or "replay".
            inputs: what it reads that no other has had; None for nothing of that kind.
        """
        identity = dict(self._document["identity"])
        if inputs is not None:
            identity["inputs"] = self.inputs.plus(inputs).save(self.folder)
        number = self._document["generation"] + 1
        current = None if inputs is None else inputs.save(self.folder)
        self._start({**self._document, "generation": number, "kind": kind, "current": current, "identity": identity})
        with writing(self.folder):
            for path in (self.parts, self.folder / "replay", self.folder / "rejected.next"):
                if path.exists():
                    shutil.rmtree(path)
        self._receipts, self._plan, self._begun = {}, {}, {}

    def _limit(self, inputs: Any, new_only: bool) -> None:
        """Keep to the inputs that the generation under way began with."""
        now, had = self._given.get("inputs", Inputs.of(())), self.inputs
        began = had if inputs is None else Inputs.read(inputs, self.folder)
        if not began.paths.equals(now.paths):
            self.only = tuple(began.paths.to_pylist())
        late = len(now.beyond(had))
        if late and new_only:
            text = f"{late:,} more, in since the generation under way began"
            self.notes = (*self.notes, Note("new files", text, "it is finished first", "the same command once more"))

    def _refuse_foreign_output(self) -> None:
        there = self.destination
        if there.exists() and not (there.is_dir() and not any(there.iterdir())):
            raise RunError(
                "the output is there already, and no run of Penstock made it",
                where=str(there),
                expected="a name that is free",
                remedy="write elsewhere with --to, or remove it yourself",
            )

    def _read_progress(self) -> None:
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
            if all(_size(self.parts / part.name) == part.nbytes for part in receipt.parts):
                self._plan[receipt.chunk] = entry["chunk"]
                self._receipts[receipt.chunk] = receipt

    def _refuse_altered_output(self) -> None:
        recorded = self._document["published"]
        found = contents(self.destination)
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
    def generation(self) -> int:
        """Which generation of the output is under way, or was last; from 1."""
        return int(self._document["generation"])

    @property
    def prefix(self) -> str:
        """What names of parts begin with: those of later generations come after all that are there."""
        return "part-" if self.generation == 1 else f"part-g{self.generation:04d}-"

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
            with watched("receipt", self.folder):
                os.fsync(file.fileno())
        self._receipts[receipt.chunk] = receipt

    def adopt(self, receipts: Iterable[Receipt]) -> None:
        """Take in the ledger of a pass that does not go on where it was: it counts when the run is committed."""
        self._receipts = {receipt.chunk: replace(receipt, parts=()) for receipt in receipts}

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """All receipts, in plan order."""
        return tuple(self._receipts[index] for index in sorted(self._receipts))

    @property
    def files(self) -> dict[str, int]:
        """How many rows each input has, where that is known."""
        return read_rows(self._document.get("files", {}), self.folder)

    # ------------------------------------------------------------------ the end

    def commit(self, assemble: Callable[[], Path], summary: Mapping[str, Any]) -> None:
        """Publish, all at once.

        Args:
            assemble: makes what is to be published, complete and durable, in the run's folder, and gives its path;
                what is published already has to be in it.
            summary: what is told about the run, as JSON values.

        A crash at any point is finished by the same command.

        Raises:
            RunError: a part is gone, or something else has taken the output's place meanwhile.
        """
        own = [part.to_json() for receipt in self.receipts for part in receipt.parts]
        self._refuse_lost_parts(own)
        counts = ledger(self.receipts)
        files = self.files if self.generation > 1 else {}
        for receipt in self.receipts:
            for path, rows in receipt.files.items():
                files[path] = files.get(path, 0) + rows
        rejected = [receipt.rejected.to_json() for receipt in self.receipts if receipt.rejected]
        if self.generation > 1:
            before = self._document
            own = [*before["parts"], *own]
            counts = add_counts(map(Count.from_json, before["ledger"]), counts)
            rejected = [*before["rejected"], *rejected]
        self.commit_as(assemble(), ledger=counts, parts=own, rejected=rejected, files=files, summary=summary)

    def commit_as(
        self,
        ready: Path,
        *,
        ledger: Iterable[Count],
        parts: list[dict[str, Any]],
        rejected: list[dict[str, Any]],
        files: Mapping[str, int],
        summary: Mapping[str, Any],
        **changed: Any,
    ) -> None:
        """Publish what is complete and durable at ``ready``, in the run's folder, as these parts; see `commit`.

        Args:
            ready: the folder or file.
            ledger: of all generations.
            parts: of all generations.
            rejected: the files of the rows rejected by now; a folder ``rejected.next`` takes the place of ``rejected``.
            files: how many rows each input has.
            summary: what is told about the run.
            changed: what else of ``run.json`` is another from now on.
        """
        counts = [count.to_json() for count in ledger]
        if "identity" in changed:
            lists = {
                key: Inputs.read(found, self.folder) for key, found in changed["identity"].items() if key in _LISTS
            }
            saved = {key: found.save(self.folder) for key, found in lists.items()}
            changed["identity"] = {**changed["identity"], **saved}
        if "asked" in changed:
            changed["asked"] = save_asked(changed["asked"], self.folder)
        self._document |= changed
        generation = {key: self._document[key] for key in ("generation", "kind", "started", "current", "versions")}
        self._put(
            state="committing",
            ready={"name": ready.name, "inode": ready.stat().st_ino},
            ledger=counts,
            parts=parts,
            rejected=rejected,
            files=save_rows(files, self.folder),
            summary=summary,
            published=contents(ready, self.destination.name),
            generations=[*self._document["generations"], {**generation, "parts": len(parts), "summary": summary}],
        )
        self._publish()

    def _publish(self) -> None:
        """Give what is ready its name, if it has not got it yet."""
        ready = self.folder / self._document["ready"]["name"]
        if not self._in_place(ready):
            if not ready.exists() or contents(ready, self.destination.name) != self._document["published"]:
                self._refuse_lost()
            self._make_room()
            put_in_place(ready, self.destination)
        with writing(self.folder):
            for path in {ready, self.parts}:
                if path.exists():  # the generation before, or the parts of a file
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            following = self.folder / "rejected.next"
            if following.exists():
                shutil.rmtree(self.rejected, ignore_errors=True)
                following.replace(self.rejected)
            sync_folder(self.folder)
        self._put(state="committed", finished=_now(), ready=None)
        prune(self.folder, self._document)

    def _in_place(self, ready: Path) -> bool:
        """Whether what is ready has its name already: told by its contents, and, since a generation may look like the
        one before, by its inode too; not by the inode alone, which another may have where the folder was copied."""
        there, published = self.destination, self._document["published"]
        if not there.exists() or contents(there) != published:
            return False
        if there.stat().st_ino == self._document["ready"]["inode"]:
            return True
        return not (ready.exists() and contents(ready, there.name) == published)

    def _refuse_lost(self) -> None:
        raise RunError(
            "what was to be published is gone or altered, so nothing is",
            where=str(self.folder),
            expected=f"{self._document['ready']['name']!r}, as it was when it was complete",
            remedy="begin anew with --restart",
        )

    def _refuse_lost_parts(self, parts: list[dict[str, Any]]) -> None:
        lost = [part["name"] for part in parts if _size(self.parts / part["name"]) != part["nbytes"]]
        if lost:
            raise RunError(
                "finished parts are gone, so nothing is published",
                where=str(self.parts),
                expected=f"all {len(parts)} parts of the run",
                got=f"{len(lost)} gone or cut short: " + ", ".join(lost[:5]),
                remedy="begin anew with --restart",
            )

    def _make_room(self) -> None:
        there = self.destination
        if there.is_dir() and not any(there.iterdir()):
            there.rmdir()
        elif there.exists() and not self._document["replaces"] and self.generation == 1:
            self._refuse_foreign_output()

    def _put(self, **values: Any) -> None:
        self._document = {**self._document, **values, "format": FORMAT}
        write_json(self.folder / "run.json", self._document)

    def close(self) -> None:
        """Let go of the run."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
