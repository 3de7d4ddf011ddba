"""Scans that go on where a killed job left them: the merged states after so many chunks, in a file.

Part of the engine of one machine. Such a file promises nothing: one that is torn, or of another scan, is not used, and
the chunks are read again. So it is written without waiting for the disk, as often as costs little.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.batch import Count
from penstock.durable import writing
from penstock.engine import Task
from penstock.source import Chunk
from penstock.statistic import Statistic

_SHARE = 0.03
"""The share of a scan's time that writing its states may take."""
_DIGEST = 32

States = tuple[tuple[Statistic[Any], ...], ...]


@dataclass
class KeptScan:
    """The file of one scan.

    Args:
        path: where it lies.
        task: the scan.

    Attributes:
        chunks: how many chunks its states are of.
        states: the merged states; None where there are none yet.
        counts: the ledger of those chunks.
        example: a row that they rejected, in words.
    """

    path: Path
    task: Task
    chunks: int = 0
    states: States | None = None
    counts: tuple[Count, ...] = ()
    example: str = ""
    _chain: str = ""
    _ahead: dict[int, str] = field(default_factory=dict)
    _cost: float = 0.0
    _saved: float = field(default_factory=time.monotonic)

    def remaining(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The chunks that the states are not of yet; all of them, where those they are of are not in the plan."""
        found = self._read()
        plan = iter(chunks)
        if found is not None:
            head = list(islice(plan, found["chunks"]))
            chain = ""
            for chunk in head:
                chain = _link(chain, chunk)
            if len(head) == found["chunks"] and chain == found["chain"]:
                self.chunks, self.states, self._chain = found["chunks"], found["states"], chain
                self.counts = tuple(Count.from_json(count) for count in found["counts"])
                self.example = found["example"]
            else:
                yield from self._noted(head)
        yield from self._noted(plan)

    def _noted(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self._ahead[chunk.index] = chunk.canonical()
            yield chunk

    def merged(self, chunk: Chunk, states: States, counts: Sequence[Count], example: str) -> None:
        """The states are now of this chunk too; they are written, if that costs little."""
        self._chain = _link_text(self._chain, self._ahead.pop(chunk.index))
        self.chunks += 1
        if time.monotonic() - self._saved >= self._cost / _SHARE:
            self.write(states, counts, example)

    def write(self, states: States, counts: Sequence[Count], example: str) -> None:
        """Write the states as they are."""
        began = time.monotonic()
        flat = [(i, j, _bytes(one.state())) for i, group in enumerate(states) for j, one in enumerate(group)]
        document = {
            "key": _key(self.task),
            "chunks": self.chunks,
            "chain": self._chain,
            "counts": [count.to_json() for count in counts],
            "example": example,
            "states": [[i, j, len(data)] for i, j, data in flat],
        }
        head = json.dumps(document).encode()
        payload = len(head).to_bytes(8, "little") + head + b"".join(data for _, _, data in flat)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(".new")
            temporary.write_bytes(hashlib.blake2b(payload, digest_size=_DIGEST).digest() + payload)
            temporary.replace(self.path)
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def _read(self) -> dict[str, Any] | None:
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        payload = data[_DIGEST:]
        if hashlib.blake2b(payload, digest_size=_DIGEST).digest() != data[:_DIGEST]:
            return None
        at = 8 + int.from_bytes(payload[:8], "little")
        document = json.loads(payload[8:at])
        if document["key"] != _key(self.task):
            return None
        states: list[list[Statistic[Any]]] = [[] for _ in self.task.stations]
        for i, j, size in document["states"]:
            table = pa.ipc.open_stream(payload[at : at + size]).read_all()
            states[i].append(self.task.stations[i].statistics[j].from_state(table))
            at += size
        return {**document, "states": tuple(map(tuple, states))}


def _key(task: Task) -> str:
    parts = [[one.definition for one in station.statistics] for station in task.stations]
    text = json.dumps([task.title, None if task.columns is None else list(task.columns), parts])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _link(chain: str, chunk: Chunk) -> str:
    return _link_text(chain, chunk.canonical())


def _link_text(chain: str, text: str) -> str:
    return hashlib.blake2b((chain + text).encode(), digest_size=16).hexdigest()


def _bytes(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())
