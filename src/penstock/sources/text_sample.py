"""Which records of text files a sample is made of: from the head, the middle and the tail, and of every column.

Part of the CSV and JSON lines sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from penstock.sources.csv_dialect import Dialect
from penstock.sources.csv_plan import blocks_of
from penstock.sources.files import Limits
from penstock.sources.spool import TextFile

_SMALL = 8 * 2**20
"""Sources of no more than this are read from the beginning, to see whether the sample is all of them [bytes]."""
_MOST = 8 * 2**20
"""A piece of the sample from the beginning is not longer than about this, and a further one than a fourth of it, so
that long texts do not fill the memory [bytes]."""


class Records(Protocol):
    """Records that were read: how many are good, and those that are not."""

    @property
    def count(self) -> int:
        """How many are good."""
        ...

    @property
    def rejected(self) -> Sized:
        """The others."""
        ...


B = TypeVar("B", bound=Records)
Read = Callable[[int, Mapping[str, Any]], B]
"""Reads a block: the number of its file, and the block's part of a chunk."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[B]):
    """A piece of a sample.

    Attributes:
        file: the number of its file.
        block: what was read.
        nbytes: the bytes of its text [bytes].
        ended: whether it ends what it was taken from.
    """

    file: int
    block: B
    nbytes: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Sampler(Generic[B]):
    """What a sample is taken of, and how.

    Attributes:
        texts: the files.
        starts: where the first record of each begins [bytes].
        dialect: how they are written.
        rows: about how many records are wanted.
        limits: how large blocks may become.
        read: reads a block.
        needed: files that must be looked at, since no other has all of their columns.
    """

    texts: Sequence[TextFile]
    starts: Sequence[int]
    dialect: Dialect
    rows: int
    limits: Limits
    read: Read[B]
    needed: Sequence[int] = ()

    def pieces(self) -> Iterator[Piece[B]]:
        """Every piece of the sample."""
        last = len(self.starts) - 1
        if sum(text.file.fingerprint.size for text in self.texts) <= _SMALL:
            yield from self._small(last)
        elif last:
            chosen = sorted({0, len(self.starts) // 2, last, *self.needed})
            for index in chosen:
                most = max(_MOST // 16, min(_MOST // 2, 2 * _MOST // len(chosen)))
                for piece in self._from(index, self.starts[index], max(1, self.rows // len(chosen)), most=most):
                    yield replace(piece, ended=False)
        else:
            yield from self._large()

    def _small(self, last: int) -> Iterator[Piece[B]]:
        left = self.rows
        needed = set(self.needed)
        for index, start in enumerate(self.starts):
            if left <= 0 and index not in needed:
                continue
            for piece in self._from(index, start, max(left, 1 if left > 0 else self.rows // 10 + 1)):
                left -= piece.block.count + len(piece.block.rejected)
                yield replace(piece, ended=piece.ended and (left > 0 or index == last))

    def _large(self) -> Iterator[Piece[B]]:
        count = length = 0
        spooled = self.texts[0].spooled
        for piece in self._from(0, self.starts[0], self.rows if spooled else max(1, self.rows // 2)):
            count += piece.block.count + len(piece.block.rejected)
            length += piece.nbytes
            yield replace(piece, ended=False)
        if not spooled:
            share = max(1, self.rows // 4)
            yield from self._further(share, int(1.2 * share * length / max(count, 1)))

    def _from(self, index: int, start: int, rows: int, *, most: int = _MOST) -> Iterator[Piece[B]]:
        """The first rows from a place on, as far as ``most`` bytes go."""
        text = self.texts[index]
        limits = replace(
            self.limits,
            block_rows=min(rows, self.limits.block_rows),
            block_bytes=min(most, self.limits.block_bytes),
        )
        parts = blocks_of(text, start, 1, self.dialect, limits)
        part: dict[str, Any] | None = next(parts, None)
        taken = nbytes = 0
        while part is not None and taken < rows and nbytes < most:
            following = next(parts, None)
            taken += part["rows"]
            size = part["stop"] - part["start"]
            nbytes += size
            yield Piece(index, self.read(index, part), size, following is None)
            part = following
        text.release()

    def _further(self, rows: int, nbytes: int) -> Iterator[Piece[B]]:
        """Rows from the middle and the tail of a plain file. Where a line end found there lies within quotes most
        records are ragged; such a piece is left out."""
        text = self.texts[0]
        size = text.file.fingerprint.size
        for place in (size // 2, max(size // 2, size - nbytes)):
            head, _ = text.window(place, self.limits.window_bytes)
            found = head.find(b"\n") + 1
            if not found:
                continue
            for piece in self._from(0, place + found, rows, most=_MOST // 4):
                if len(piece.block.rejected) <= 0.2 * (piece.block.count + len(piece.block.rejected)):
                    yield replace(piece, ended=False)
