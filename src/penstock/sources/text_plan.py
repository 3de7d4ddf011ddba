"""The plan of text files: cut at record ends while they are read, and remembered.

Part of the CSV and JSON lines sources.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from penstock.errors import DataError
from penstock.source import Chunk
from penstock.sources.csv_dialect import Dialect
from penstock.sources.csv_plan import blocks_of, chunks_of
from penstock.sources.files import DataFiles, Limits
from penstock.sources.spool import TextFile


class GrowingPlan:
    """Chunks that are found one after the other and remembered; the same for all who ask, from any thread."""

    def __init__(self, make: Callable[[], Iterator[Chunk]]) -> None:
        self._source = make()
        self._chunks: list[Chunk] = []
        self._complete = False
        self._failure: DataError | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Chunk]:
        index = 0
        while (chunk := self._get(index)) is not None:
            yield chunk
            index += 1

    def _get(self, index: int) -> Chunk | None:
        with self._lock:
            if index == len(self._chunks) and not self._complete:
                if self._failure is not None:
                    raise self._failure
                try:
                    chunk = next(self._source, None)
                except DataError as error:
                    self._failure = error
                    raise
                if chunk is None:
                    self._complete = True
                else:
                    self._chunks.append(chunk)
            return self._chunks[index] if index < len(self._chunks) else None


class TextPlan:
    """The chunks of text files, and their parts while nothing changes.

    Args:
        files: the files.
        texts: the same as UTF-8.
        begins: of each the byte and the line that its first record begins at.
        dialect: how they are written.
        limits: how large blocks and chunks may become.
        weight: what so many bytes of text hold in memory [bytes].
    """

    def __init__(
        self,
        files: DataFiles,
        texts: Sequence[TextFile],
        begins: Sequence[tuple[int, int]],
        dialect: Dialect,
        *,
        limits: Limits,
        weight: Callable[[int], int],
    ) -> None:
        self._files = files
        self._texts = texts
        self._begins = begins
        self._dialect = dialect
        self._limits = limits
        self._weight = weight
        self._plan = GrowingPlan(lambda: chunks_of(self._blocks(), limits, weight))

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._plan)

    def _blocks(self) -> Iterator[dict[str, Any]]:
        for index, (start, line) in enumerate(self._begins):
            if not self._files.is_chosen(index):
                continue
            file, text = self._files[index], self._texts[index]
            file.check()
            for block in blocks_of(text, start, line, self._dialect, self._limits):
                yield {"file": index, **block}
            text.release()
            file.check()

    @property
    def nbytes(self) -> int | None:
        """Of all chunks together; unknown for compressed files, whose size says little [bytes]."""
        if any(file.compression for file in self._files):
            return None
        return self._weight(sum(fingerprint.size for fingerprint in self._files.fingerprints))

    def only(self, files: DataFiles) -> TextPlan:
        """The plan of the same files, of which others are read."""
        return TextPlan(files, self._texts, self._begins, self._dialect, limits=self._limits, weight=self._weight)

    def parts(self, chunk: Chunk) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The parts of a chunk, each with its file's number.

        Raises:
            ChangedError: a file is not what it was.
        """
        last = -1
        for part in chunk.parts:
            index = int(part["file"])
            if index != last:
                if last >= 0:
                    self._files[last].check()
                self._files[index].check()
                last = index
            yield index, part
        if last >= 0:
            self._files[last].check()
