"""Blocks kept in memory between the scans of one job, as far as a bound allows.

Part of the pipeline's machinery: a fit scans the same blocks several times, and decoding them costs more than most of
what is done to them. The bound is small and does not grow with the data, so a job over ten times the rows holds the
same; what is not kept is read again. Which blocks there are, and what is in them, never changes.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from penstock.batch import Batch, record_batch
from penstock.resources import held
from penstock.schema import Role
from penstock.source import Chunk, Fingerprint, Source

MOST_BYTES = 512 * 2**20
"""The most that is kept, however much memory there is [bytes]."""
SHARE = 0.25
"""The most that is kept, of the memory that is still free when the job begins and that its work does not need."""
WORK = 9
"""What the work on blocks needs, in blocks: three of them under way, each read, mapped and encoded."""


@dataclass
class _Kept:
    """The blocks of one chunk: each once without columns, and the columns that were read so far."""

    blocks: list[Batch] = field(default_factory=list)
    columns: dict[str, list[pa.Array]] = field(default_factory=dict)

    def batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """The blocks with these columns."""
        for number, block in enumerate(self.blocks):
            arrays = [self.columns[name][number] for name in names]
            yield block.with_columns(record_batch(arrays, names, len(block.keys)))


class KeptSource(Source):
    """A source whose columns stay in memory once they were read, chunk by chunk, as far as the bound allows.

    That columns can be read one by one, whenever they are first asked for, rests on a law of sources: the blocks of
    a chunk are the same whichever columns are asked for.

    Args:
        source: the source itself.
        memory: what the job may hold [bytes].
    """

    def __init__(self, source: Source, memory: int) -> None:
        self._source = source
        spare = memory - held() - WORK * source.block_nbytes
        self._budget = int(min(MOST_BYTES, max(0, spare) * SHARE))
        self._lock = threading.Lock()
        self._kept: dict[int, _Kept] = {}
        self.schema = source.schema
        self.notes = source.notes
        self.reading = source.reading
        self.origin = source.origin

    def chunks(self) -> Iterator[Chunk]:
        """The source's plan."""
        return self._source.chunks()

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The source's blocks: from memory, or read, and kept while there is room."""
        names = tuple(self.schema.names if columns is None else columns)
        kept = self._kept.get(chunk.index, _Kept())
        lacking = tuple(name for name in names if name not in kept.columns)
        if kept.blocks and not lacking:
            yield from kept.batches(names)
            return
        fresh = _Kept([], {name: [] for name in lacking})
        reserved: int | None = 0
        for number, batch in enumerate(self._source.read(chunk, lacking)):
            size = int(batch.columns.nbytes) + (0 if kept.blocks else batch.nbytes - int(batch.columns.nbytes))
            if reserved is not None and self._reserve(size):
                reserved += size
                fresh.blocks.append(batch.with_columns(record_batch([], (), len(batch))))
                for name in lacking:
                    fresh.columns[name].append(batch.column(name))
            elif reserved is not None:  # no room for the whole chunk: none of it is kept
                self._reserve(-reserved)
                reserved = None
                fresh = _Kept()
            arrays = [kept.columns[n][number] if n in kept.columns else batch.column(n) for n in names]
            yield batch.with_columns(record_batch(arrays, names, len(batch)))
        if reserved is not None:
            self._kept[chunk.index] = _Kept(kept.blocks or fresh.blocks, {**kept.columns, **fresh.columns})

    def _reserve(self, nbytes: int) -> bool:
        with self._lock:
            if nbytes > self._budget:
                return False
            self._budget -= nbytes
            return True

    def fingerprints(self) -> Sequence[Fingerprint]:
        """The source's."""
        return self._source.fingerprints()

    def only(self, paths: Collection[str]) -> Source:
        """The source of these files alone, nothing kept."""
        return self._source.only(paths)

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The source with other roles, nothing kept."""
        return self._source.with_roles(roles)

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The source with other ways of writing, nothing kept."""
        return self._source.with_written(written)

    @property
    def planned_nbytes(self) -> int | None:
        """The source's."""
        return self._source.planned_nbytes

    @property
    def block_nbytes(self) -> int:
        """The source's."""
        return self._source.block_nbytes

    def forget(self) -> None:
        """Let go of what is kept, for good: the job goes on to what needs the memory more."""
        with self._lock:
            self._budget = 0
            self._kept.clear()

    def close(self) -> None:
        """Let go of what is kept, and of the source."""
        self.forget()
        self._source.close()
