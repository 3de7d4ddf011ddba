"""The contract of where results go. Implementations live in `sinks/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.batch import Batch, Count, add_counts
from penstock.source import Chunk


@dataclass(frozen=True, slots=True)
class Part:
    """One file that a sink wrote: its name in the run's folder of parts, and what is in it."""

    name: str
    rows: int
    nbytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "rows": self.rows, "nbytes": self.nbytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Part:
        """From what `to_json` gave."""
        return cls(str(value["name"]), int(value["rows"]), int(value["nbytes"]), str(value["sha256"]))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one chunk: the ledger of its rows, and the files that hold them.

    Attributes:
        chunk: its place in the plan.
        counts: the ledger.
        parts: the files of its rows.
        rejected: the file of those rejected.
        files: how many rows of which file were read for it, where that is known.
    """

    chunk: int
    counts: tuple[Count, ...] = ()
    parts: tuple[Part, ...] = ()
    rejected: Part | None = None
    files: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "chunk": self.chunk,
            "counts": [count.to_json() for count in self.counts],
            "parts": [part.to_json() for part in self.parts],
            "rejected": self.rejected.to_json() if self.rejected else None,
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """From what `to_json` gave."""
        return cls(
            int(value["chunk"]),
            tuple(Count.from_json(count) for count in value["counts"]),
            tuple(Part.from_json(part) for part in value["parts"]),
            Part.from_json(value["rejected"]) if value["rejected"] else None,
            {str(path): int(rows) for path, rows in value.get("files", {}).items()},
        )


def ledger(receipts: Iterable[Receipt]) -> tuple[Count, ...]:
    """The counts of all receipts, summed by step."""
    return add_counts(*(receipt.counts for receipt in receipts))


class Writer(ABC):
    """What takes the batches of one chunk, in order, from one thread at a time."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Take one batch, with its rejects."""

    @abstractmethod
    def finish(self) -> Receipt:
        """Make everything durable (fsync) and say what was written; nothing is visible yet."""

    @abstractmethod
    def abandon(self) -> None:
        """Close and remove what was written; called instead of `finish` after a failure or a cancel."""


class Sink(ABC):
    """Where results go: parts per chunk, invisible until the one commit.

    Laws, checked by `penstock.testing.check_sink`: opening a chunk again replaces what was written for it before;
    before `commit` a reader sees nothing, after it all of it; parts are readable by anyone's library.

    Attributes:
        rejected: the folder of the rejected rows, where they are kept.
    """

    rejected: Path | None

    @abstractmethod
    def open(self, chunk: Chunk) -> Writer:
        """Begin the parts of one chunk, whatever an earlier try left of them. May be called from any thread."""

    @abstractmethod
    def commit(self, receipts: Iterable[Receipt]) -> None:
        """Publish the parts of these receipts, all at once, in chunk order."""
