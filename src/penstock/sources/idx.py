"""IDX, the format of MNIST (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"), as a source.

A source. A file begins with two zeros, the type of its values, the number of its dimensions, and their sizes, 32 bits
each, high byte first; then follow the values.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import SourceError, UsageError
from penstock.source import Fingerprint, ReadOptions, Source
from penstock.sources.arrays import LABEL, PICTURE, ArraySource, Shape, checked_shape
from penstock.sources.conform import Verdict
from penstock.sources.files import DataFile, DataFiles, Limits, find_files
from penstock.sources.spool import UTF_8, SpoolFolder, TextFile

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class IdxSource(ArraySource):
    """IDX files, plain or compressed (.gz, .zst, .zip): of three or four dimensions pictures, of one labels.

    ``picture`` is a tensor (height, width, channels). ``label`` comes from another file (`ReadOptions.labels`), or is
    the only column where the file itself holds labels: whole numbers are categories, others numbers.

    Raises:
        SourceError: a file is damaged, of other dimensions, or there are not as many labels as pictures.
        UsageError: labels are given beside several files.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._opened: list[_IdxFile] = []
        self._labels: _IdxFile | None = None
        if options.labels is not None and len(files) > 1:
            raise UsageError(
                "one file of labels for several files",
                where="labels",
                expected="one file of pictures",
                got=f"{len(files)} files, the first {files[0].path}",
                remedy="read one of them",
            )
        super().__init__(files, options, limits)

    def _open(self, index: int, options: ReadOptions) -> Shape:
        file = self._files[index]
        found = _IdxFile(file, self._folder, index)
        self._opened.append(found)
        if options.labels is not None and index == 0:
            self._labels = self._labels_of(found, options.labels)
        if len(found.sizes) == 1:
            return Shape(found.rows, None, found.values.newbyteorder("="))
        return checked_shape(file, found.rows, found.sizes[1:], found.values)

    def _labels_of(self, pictures: _IdxFile, path: str) -> _IdxFile:
        files = find_files(path, ReadOptions())
        file = files[0]
        if file.format != ".idx" or len(files) > 1:
            raise SourceError(
                "labels are read from one IDX file",
                where=str(file.path),
                expected="a file such as train-labels-idx1-ubyte.gz",
                got=file.format if len(files) == 1 else f"{len(files)} files",
                remedy="put labels of other files beside the rows with penstock.JoinRows",
            )
        below = os.path.relpath(file.path, self._files.root)
        key = str(file.path) if below.startswith("..") else Path(below).as_posix()
        found = _IdxFile(
            replace(file, key=key, fingerprint=replace(file.fingerprint, path=key)), self._folder, len(self._files)
        )
        if len(found.sizes) != 1:
            raise SourceError("not labels", where=str(file.path), expected="one dimension", got=str(found.sizes))
        if found.rows != pictures.rows:
            raise SourceError(
                "there are not as many labels as pictures",
                where=str(file.path),
                expected=f"{pictures.rows:,}, as {pictures.file.path} has",
                got=f"{found.rows:,}",
                remedy="give the labels of these pictures",
            )
        return found

    def _read(
        self, index: int, start: int, stop: int, *, pictures: bool
    ) -> tuple[dict[str, pa.Array | npt.NDArray[Any]], dict[int, Verdict]]:
        opened, shape = self._opened[index], self._shapes_of(index)
        found: dict[str, pa.Array | npt.NDArray[Any]] = {}
        if shape is None:
            found[LABEL] = opened.read(start, stop)
        elif pictures:
            found[PICTURE] = opened.read(start, stop).reshape(-1, *shape)
        if self._labels is not None:
            found[LABEL] = self._labels.read(start, stop)
        return found, {}

    def _shapes_of(self, index: int) -> tuple[int, ...] | None:
        sizes = self._opened[index].sizes[1:]
        return None if not sizes else (*sizes, 1) if len(sizes) == 2 else sizes

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order, and of the one of labels."""
        labels = () if self._labels is None else (self._labels.file.fingerprint,)
        return (*self._files.fingerprints, *labels)

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        labels = set() if self._labels is None else {self._labels.file.key}
        return super().only(set(paths) - labels)


class _IdxFile:
    """One IDX file: its head, and its values by rows."""

    def __init__(self, file: DataFile, folder: SpoolFolder, index: int) -> None:
        self.file = file
        self._bytes = TextFile(file, UTF_8, folder, index)  # plain bytes, decompressed once
        head, _ = self._bytes.window(0, 4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not head[3]:
            raise self._damaged("two zeros, a type and a number of dimensions", f"it begins with {head.hex(' ')}")
        self.values = np.dtype(_TYPES[head[2]])
        sizes, _ = self._bytes.window(4, 4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise self._damaged(f"{head[3]} sizes of dimensions", f"{len(sizes)} bytes of them")
        self.sizes = tuple(np.frombuffer(sizes, ">u4").tolist())
        self._start = 4 + 4 * head[3]
        self._rows = int(self.sizes[0])
        self._row: int = math.prod(self.sizes[1:]) * self.values.itemsize
        if not self._bytes.spooled:
            self._refuse_size(file.fingerprint.size)
        self._bytes.release()

    @property
    def rows(self) -> int:
        """How many there are, by the head."""
        return self._rows

    @property
    def _size(self) -> int:
        return self._start + self.rows * self._row

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The values of rows, one after the other, in the byte order of the machine."""
        place, size = self._start + start * self._row, (stop - start) * self._row
        data, ended = self._bytes.window(place, size)
        if len(data) < size:
            self._refuse_size(place + len(data))
        if stop == self.rows and not ended:
            more, _ = self._bytes.window(self._size, 1)
            self._refuse_size(self._size + len(more))
        values = np.frombuffer(data, self.values)
        return values if self.values.isnative else values.astype(self.values.newbyteorder("="))

    def _refuse_size(self, size: int) -> None:
        if size != self._size:
            what = "more than its head says" if size > self._size else "it ends too early"
            shape = " x ".join(map(str, self.sizes))
            raise self._damaged(f"{self._size:,} bytes, for {shape} values", f"{size:,} bytes or more: {what}")

    def _damaged(self, expected: str, got: str) -> SourceError:
        return SourceError(
            "not an IDX file, or a damaged one",
            where=str(self.file.path),
            expected=expected,
            got=got,
            remedy="fetch it again",
        )
