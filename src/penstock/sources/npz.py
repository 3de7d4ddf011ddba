"""NumPy's archives (.npz) as a source: an array of pictures, and one of their labels.

A source. Arrays are read by rows: those that are stored as they are, from their place in the file; compressed ones from
a spool file, decompressed once. Arrays of objects are pickles, and refused: data is never code.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.errors import SourceError
from penstock.source import Note, ReadOptions
from penstock.sources.arrays import LABEL, PICTURE, ArraySource, Shape, checked_shape
from penstock.sources.conform import Verdict
from penstock.sources.files import DataFile, unreadable
from penstock.sources.spool import UTF_8, SpoolFolder, TextFile

_PICTURES = re.compile(r"(x|images?|pictures?|data|features|arr_0)((_|-)?train)?|train(_|-)(x|images?|data)")
_LABELS = re.compile(r"(y|labels?|targets?|arr_1)((_|-)?train)?|train(_|-)(y|labels?|targets?)")
_HEAD = 2**16
_LOCAL = struct.Struct("<4s22xHH")
"""Of a local file header of zip (APPNOTE 4.3.7): its sign, and the lengths of what follows it."""
_CHANNELS = (1, 3, 4)


class NpzSource(ArraySource):
    """Archives of NumPy with pictures, (pictures, height, width) or (pictures, height, width, channels), under a name
    such as ``x``, ``images``, ``data`` or ``x_train``, and labels under ``y``, ``labels`` or ``y_train``.

    Raises:
        SourceError: there are no such arrays, they do not belong together, or the file is damaged.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arrays: list[tuple[_Array, _Array | None]] = []
        super().__init__(*arguments)

    def _open(self, index: int, options: ReadOptions) -> Shape:
        file = self._files[index]
        arrays = _arrays_of(file, self._folder, index)
        pictures = _first(arrays, _PICTURES, lambda shape: len(shape) in (3, 4))
        if pictures is None:
            raise SourceError(
                "no array of pictures",
                where=str(file.path),
                expected="an array of three or four dimensions named x, images, data or x_train",
                got=", ".join(f"{array.name} {array.shape}" for array in arrays) or "no array",
                remedy="write it with numpy.savez(FILE, x=PICTURES, y=LABELS)",
            )
        rows = pictures.shape[0]
        labels = _first(arrays, _LABELS, lambda shape: shape in ((rows,), (rows, 1)))
        others = _first(arrays, _LABELS, lambda shape: True)
        if labels is None and others is not None:
            raise SourceError(
                "there are not as many labels as pictures",
                where=str(file.path),
                expected=f"{rows:,}, as {pictures.name} has pictures",
                got=f"{others.name} of shape {others.shape}",
            )
        self._arrays.append((pictures, labels))
        if index == 0:
            self._say(arrays, pictures, labels)
        return checked_shape(file, rows, pictures.shape[1:], pictures.values)

    def _say(self, arrays: Iterable[_Array], pictures: _Array, labels: _Array | None) -> None:
        used = [pictures.name, *([] if labels is None else [labels.name])]
        left = [array.name for array in arrays if array.name not in used]
        more = f"; {', '.join(left)} not read" if left else ""
        self._said.append(Note("arrays", f"{' and '.join(used)}{more}", "by their names and shapes"))

    def _read(
        self, index: int, start: int, stop: int, *, pictures: bool
    ) -> tuple[dict[str, pa.Array | npt.NDArray[Any]], dict[int, Verdict]]:
        images, labels = self._arrays[index]
        found: dict[str, pa.Array | npt.NDArray[Any]] = {}
        if pictures:
            shape = images.shape[1:]
            values = images.read(start, stop)
            found[PICTURE] = values.reshape(-1, *((*shape, 1) if len(shape) == 2 else shape))
        if labels is not None:
            found[LABEL] = labels.read(start, stop)
        return found, {}


@dataclass(frozen=True, slots=True)
class _Array:
    """One array of an archive."""

    file: DataFile
    name: str
    shape: tuple[int, ...]
    values: np.dtype[Any]
    bytes: TextFile
    place: int

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The values of rows, one after the other, in the byte order of the machine."""
        row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.values.itemsize
        data, _ = self.bytes.window(self.place + start * row, (stop - start) * row)
        if len(data) < (stop - start) * row:
            raise SourceError(
                "an array ends too early",
                where=str(self.file.path),
                expected=f"{self.name} of shape {self.shape}",
                got=f"{start + len(data) // max(row, 1):,} rows",
                remedy="fetch the file again",
            )
        values = np.frombuffer(data, self.values)
        return values if self.values.isnative else values.astype(self.values.newbyteorder("="))


def _first(arrays: Iterable[_Array], names: re.Pattern[str], fits: Any) -> _Array | None:
    return next((a for a in arrays if names.fullmatch(a.name.lower()) and fits(a.shape)), None)


def _arrays_of(file: DataFile, folder: SpoolFolder, index: int) -> list[_Array]:
    """The arrays of an archive, by their heads.

    Raises:
        SourceError: it is no archive of arrays, or one holds objects.
    """
    if file.compression:
        raise SourceError(
            "an archive in an archive", where=str(file.path), got=file.compression, remedy="unpack it once"
        )
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return [
                _array(file, archive, member, folder, 1000 * index + number) for number, member in enumerate(members)
            ]
    except OSError as error:
        raise unreadable(file.path, error) from error
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise SourceError(
            "not an archive of NumPy",
            where=str(file.path),
            expected="what numpy.savez writes, without objects",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy="write it anew",
        ) from error


def _array(
    file: DataFile, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: SpoolFolder, number: int
) -> _Array:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(_HEAD))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, values = read(head)
    if values.hasobject:
        raise ValueError(f"the array {name!r} holds objects, which are never read")
    if fortran and len(shape) > 1:
        raise ValueError(f"the array {name!r} is stored by columns: write it with numpy.ascontiguousarray")
    if member.compress_type == zipfile.ZIP_STORED:
        return _Array(
            file, name, shape, values, TextFile(file, UTF_8, folder, number), _place(file, member) + head.tell()
        )
    inner = replace(file, compression=".zip", member=member.filename)
    return _Array(file, name, shape, values, TextFile(inner, UTF_8, folder, number), head.tell())


def _place(file: DataFile, member: zipfile.ZipInfo) -> int:
    """Where the content of a member that is stored as it is begins in the file."""
    with file.path.open("rb") as archive:
        archive.seek(member.header_offset)
        sign, name, extra = _LOCAL.unpack(archive.read(_LOCAL.size))
    if sign != b"PK\3\4":
        raise ValueError(f"no member begins at byte {member.header_offset}")
    return int(member.header_offset + _LOCAL.size + name + extra)
