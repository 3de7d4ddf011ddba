"""Files of arrays as sources: as many pictures of one shape as the file says, and their labels.

Part of the sources: what IDX, the binary format of CIFAR and npz have in common. A row's place in its file follows from
its number, so that any block can be read at once.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, SourceError
from penstock.inference import ColumnSample, Inferred, infer_role
from penstock.schema import Role, tensor
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.conform import Verdict
from penstock.sources.files import DataFile, DataFiles, Limits
from penstock.sources.made_columns import MadeColumns, coded, inferred_labels
from penstock.sources.parquet_cut import Group, cut
from penstock.sources.spool import SpoolFolder

PICTURE, LABEL = "picture", "label"
_VALUES = ("uint8", "uint16", "float16", "float32", "float64")
"""What the values of a picture may be, as NumPy calls them."""
_MOST_BYTES = 256 * 2**20
"""The largest picture that is a row [bytes]."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The pictures of one file.

    Attributes:
        rows: how many there are.
        shape: of each: (height, width, channels); None where there are labels alone.
        values: the type of their values.
    """

    rows: int
    shape: tuple[int, ...] | None
    values: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """What a row holds in memory [bytes]."""
        return 16 + (0 if self.shape is None else math.prod(self.shape) * self.values.itemsize)


class ArraySource(Source):
    """Pictures of one shape from files of arrays; see `IdxSource`, `CifarSource`, `NpzSource`.

    Args:
        files: the files, all of one shape.
        options: how to read.
        limits: how large blocks and chunks may become.

    Raises:
        SourceError: a file is damaged, or holds no row.
        SchemaError: the files do not agree.
    """

    def __init__(self, files: DataFiles, options: ReadOptions, limits: Limits | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self._folder = SpoolFolder()
        self._said: list[Note] = []
        self._shapes = [self._open(index, options) for index in range(len(files))]
        self.reading = repr((self._limits, self._shapes[0].shape))
        for index, shape in enumerate(self._shapes):
            self._refuse_other(files[index], shape)
        if not sum(shape.rows for shape in self._shapes):
            raise SourceError("there are no rows", where=str(files[0].path), expected="at least one row", got="0 rows")
        inferred: dict[str, Inferred] = {}
        fixed: dict[str, pa.DataType] = {}
        first = self._shapes[0]
        if first.shape is not None:
            shown = " x ".join(map(str, first.shape))
            inferred[PICTURE] = Inferred(Role.picture, Role.picture, f"{shown} values of {first.values.name}")
            fixed[PICTURE] = tensor(pa.from_numpy_dtype(first.values), first.shape)
        sample = min(first.rows, max(1, options.sample_rows))
        complete = sample == first.rows and len(files) == 1
        if sample:
            for name, values in self._read(0, 0, sample, pictures=False)[0].items():
                inferred[name] = _inferred(name, values, complete=complete)
        self._set(MadeColumns(inferred, fixed, options.roles, options.written))

    def _set(self, columns: MadeColumns) -> None:
        self._columns = columns
        self.schema = columns.schema
        self.notes = (*self._files.notes, *self._said, *columns.notes)

    def _refuse_other(self, file: DataFile, shape: Shape) -> None:
        first = self._shapes[0]
        if (shape.shape, shape.values) != (first.shape, first.values):
            raise SchemaError(
                "pictures of another shape than in the first file",
                where=str(file.path),
                expected=f"{_described(first)}, as in {self._files[0].path}",
                got=_described(shape),
                remedy="read them apart; labels are given beside their pictures (labels)",
            )

    # --- what each format does

    @abstractmethod
    def _open(self, index: int, options: ReadOptions) -> Shape:
        """Look at the head of a file."""

    @abstractmethod
    def _read(
        self, index: int, start: int, stop: int, *, pictures: bool
    ) -> tuple[dict[str, pa.Array | npt.NDArray[Any]], dict[int, Verdict]]:
        """Rows of a file: the pictures, where they are asked for, and the other columns, as texts or numbers; and rows
        that are rejected."""

    # --- the plan

    @cached_property
    def _plan(self) -> tuple[Chunk, ...]:
        groups = [
            Group(index, 0, 0, shape.rows, shape.rows * shape.row_bytes)
            for index, shape in enumerate(self._shapes)
            if self._files.is_chosen(index)
        ]
        return tuple(cut(groups, self._limits, seekable=True))

    def chunks(self) -> Iterator[Chunk]:
        """The plan, from the numbers of rows alone."""
        yield from self._plan

    @property
    def planned_nbytes(self) -> int | None:
        """Of all chunks together [bytes]."""
        return sum(chunk.nbytes for chunk in self._plan)

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: as it is stored, and as it is given."""
        row = max(shape.row_bytes for shape in self._shapes)
        rows = min(self._limits.block_rows, max(1, self._limits.block_bytes // row))
        return 2 * row * min(rows, max(shape.rows for shape in self._shapes))

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files, in order."""
        return self._files.fingerprints

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files alone."""
        other = copy.copy(self)
        other._files = self._files.only(paths)
        other.__dict__.pop("_plan", None)  # it is of all files
        return other

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows with other roles for some columns."""
        other = copy.copy(self)
        other._set(self._columns.with_roles(roles))
        return other

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for the labels."""
        other = copy.copy(self)
        other._set(self._columns.with_written(written))
        return other

    def close(self) -> None:
        """Remove the spool files; reading on makes them anew."""
        self._folder.close()

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            SourceError: a file is damaged.
            ChangedError: a file is not what it was.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        for part in chunk.parts:
            index, size, stop = int(part["file"]), int(part["block"]), int(part["stop"])
            file = self._files[index]
            file.check()
            for start in range(int(part["start"]), stop, size):
                end = min(start + size, stop)
                found, bad = self._read(index, start, end, pictures=PICTURE in asked)
                raw = {name: _as_arrow(values) for name, values in found.items() if name != PICTURE}
                if PICTURE in asked:
                    raw[PICTURE] = pa.FixedShapeTensorArray.from_numpy_ndarray(found[PICTURE])
                yield self._columns.batch(raw, RowKeys.span(file.key, start, end - start), asked, bad)
            file.check()


def checked_shape(file: DataFile, rows: int, shape: Sequence[int], values: np.dtype[Any]) -> Shape:
    """What pictures a file holds, once it is known that they are some.

    Args:
        file: the file.
        rows: how many there are.
        shape: of each, without the channels where there is one: (height, width) or (height, width, channels).
        values: the type of their values.

    Raises:
        SourceError: they are no pictures.
    """
    whole = (*shape, 1) if len(shape) == 2 else tuple(shape)
    refused = SourceError(
        "not pictures",
        where=str(file.path),
        expected=f"arrays of (pictures, height, width) or (pictures, height, width, channels), {', '.join(_VALUES)}",
        got=f"({', '.join(map(str, (rows, *shape)))}) values of {values.name}",
        remedy="write numbers that are no pictures as Parquet or CSV",
    )
    if len(whole) != 3 or values.name not in _VALUES or min(whole) < 1:
        raise refused
    if math.prod(whole) * values.itemsize > _MOST_BYTES:
        refused.message = f"pictures of more than {_MOST_BYTES:,} bytes each"
        raise refused
    return Shape(rows, whole, values.newbyteorder("="))


def _described(shape: Shape) -> str:
    if shape.shape is None:
        return f"labels of {shape.values.name}"
    return f"{' x '.join(map(str, shape.shape))} values of {shape.values.name}"


def _inferred(name: str, values: pa.Array | npt.NDArray[Any], *, complete: bool) -> Inferred:
    found = _as_arrow(values)
    if pa.types.is_floating(found.type):
        return infer_role(ColumnSample(name, found, complete=complete))
    return inferred_labels(found, "the label of each picture", complete=complete)


def _as_arrow(values: pa.Array | npt.NDArray[Any]) -> pa.Array:
    """Whole numbers and words as categories, other numbers as such."""
    if isinstance(values, pa.Array):
        return values
    if values.dtype.kind == "f":
        return pa.array(values.astype(np.float64))
    words, places = np.unique(values, return_inverse=True)
    texts = [
        word.decode("utf-8", "backslashreplace") if isinstance(word, bytes) else str(word) for word in words.tolist()
    ]
    return coded(places.reshape(-1), texts)
