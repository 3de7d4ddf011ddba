"""The binary format of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images",
2009) as a source.

A source. A record is one byte of a label (CIFAR-100: two, of the coarse and the fine label), then 1,024 bytes of red,
as many of green and of blue, row by row: a picture of 32 x 32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import SourceError
from penstock.source import Note, ReadOptions
from penstock.sources.arrays import LABEL, PICTURE, ArraySource, Shape
from penstock.sources.conform import Verdict
from penstock.sources.made_columns import coded
from penstock.sources.spool import UTF_8, TextFile

COARSE = "coarse_label"
_SIDE, _PIXELS = 32, 3 * 32 * 32
_NAMES = {LABEL: ("batches.meta.txt", "fine_label_names.txt"), COARSE: ("coarse_label_names.txt",)}
_CLASSES = {1: {LABEL: 10}, 2: {COARSE: 20, LABEL: 100}}
"""By the number of labels of a record, the classes of each."""
_LOOKED_AT = 100


class CifarSource(ArraySource):
    """``data_batch_1.bin``, ``test_batch.bin``, ``train.bin``: ``picture`` (32, 32, 3), ``label`` and, in CIFAR-100,
    ``coarse_label``. Labels are names where ``batches.meta.txt`` or the like lies beside the file, else numbers.

    Raises:
        SourceError: the file is of another size than its records make.
    """

    def __init__(self, *arguments: Any) -> None:
        self._texts: list[TextFile] = []
        self._marks = 0
        self._words: dict[str, list[str]] = {}
        super().__init__(*arguments)

    def _open(self, index: int, options: ReadOptions) -> Shape:
        file = self._files[index]
        text = TextFile(file, UTF_8, self._folder, index)
        self._texts.append(text)
        size = file.fingerprint.size
        if text.spooled:
            raise SourceError(
                "a compressed file of CIFAR", where=str(file.path), got=file.compression, remedy="decompress it once"
            )
        fitting = [marks for marks in (1, 2) if size % (marks + _PIXELS) == 0 and self._is_of(text, marks)]
        if not fitting or (self._marks and self._marks not in fitting):
            raise SourceError(
                "not the binary format of CIFAR",
                where=str(file.path),
                expected=f"records of {1 + _PIXELS:,} bytes (CIFAR-10) or of {2 + _PIXELS:,} (CIFAR-100)",
                got=f"{size:,} bytes",
                remedy="fetch it again, or read it in its own format",
            )
        self._marks = self._marks or fitting[0]
        if index == 0:
            self._words = {name: self._named(name, count) for name, count in _CLASSES[self._marks].items()}
        return Shape(size // (self._marks + _PIXELS), (_SIDE, _SIDE, 3), np.dtype("u1"))

    def _is_of(self, text: TextFile, marks: int) -> bool:
        """Whether what would be labels could be some."""
        data = text.read(0, _LOOKED_AT * (marks + _PIXELS))
        records = np.frombuffer(data, np.uint8).reshape(-1, marks + _PIXELS)
        return bool((records[:, :marks] < np.array(list(_CLASSES[marks].values()))).all())

    def _named(self, name: str, count: int) -> list[str]:
        for beside in _NAMES[name]:
            path = self._files[0].path.with_name(beside)
            if path.is_file():
                words = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
                if len(words) == count == len(set(words)):
                    self._said.append(Note(f"names of {name!r}", f"{count} of them", f"from {beside}"))
                    return words
        return [str(number) for number in range(count)]

    def _read(
        self, index: int, start: int, stop: int, *, pictures: bool
    ) -> tuple[dict[str, pa.Array | npt.NDArray[Any]], dict[int, Verdict]]:
        width = self._marks + _PIXELS
        data = self._texts[index].read(start * width, (stop - start) * width)
        records = np.frombuffer(data, np.uint8).reshape(-1, width)
        found: dict[str, pa.Array | npt.NDArray[Any]] = {}
        bad: dict[int, Verdict] = {}
        for place, (name, words) in enumerate(self._words.items()):
            marks = records[:, place].astype(np.int64)
            for row in np.flatnonzero(marks >= len(words)).tolist():
                bad.setdefault(row, Verdict(name, "bad_label", f"{marks[row]}, and there are {len(words)} classes"))
            found[name] = coded(np.minimum(marks, len(words) - 1), words)
        if pictures:
            planes = records[:, self._marks :].reshape(-1, 3, _SIDE, _SIDE)
            found[PICTURE] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        return found, bad
