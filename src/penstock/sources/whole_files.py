"""Which files are one row each: pictures, clips and texts below a folder, found and marked at little cost.

Part of the sources. There may be a million of them, so they are kept as columns: names, sizes, digests. What makes a
file no row is known from here on (empty, unreadable, too large), so that which rows are rejected never depends on what
is read.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from penstock.errors import ChangedError, SourceError
from penstock.source import Fingerprint, Note, ReadOptions
from penstock.sources.files import DataFiles, walked
from penstock.sources.formats import is_record_format, whole_kind

MARKED = 4096
"""How much of a file's head, and of its tail, goes into its digest: enough to tell two pictures apart, and little to
read of a million of them [bytes]."""
FINE, EMPTY, UNREADABLE, TOO_LARGE = range(4)
"""What is wrong with a file."""
MOST_BYTES = {"picture": 256 * 2**20, "clip": 2**40, "text": 64 * 2**20}
"""The largest file of each kind that is a row [bytes]."""


@dataclass(frozen=True, eq=False)
class WholeFiles:
    """Files of one kind, in order.

    Attributes:
        root: what their keys are relative to.
        kind: "picture", "clip" or "text".
        folders: the folders they lie in, relative to the root; "" is the root itself.
        folder_of: int32, shape (files,): index into ``folders``.
        names: of the files.
        sizes: int64, shape (files,) [bytes].
        times: int64, shape (files,): when each changed [ns].
        digests: BLAKE2b of each file's size, its first and its last 4 KiB.
        faults: uint8, shape (files,): what makes a file no row; `FINE` where it is one.
        notes: what was decided in choosing them.
        paths: where each is, where that is not below the root under its key.
    """

    root: Path
    kind: str
    folders: tuple[str, ...]
    folder_of: npt.NDArray[np.int32]
    names: Sequence[str]
    sizes: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    digests: Sequence[bytes]
    faults: npt.NDArray[np.uint8]
    notes: tuple[Note, ...] = ()
    paths: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """A file's path relative to the root, as the system has it."""
        folder = self.folders[self.folder_of[index]]
        return f"{folder}/{self.names[index]}" if folder else self.names[index]

    def key(self, index: int) -> str:
        """The same as text: the path of its row key."""
        return os.fsencode(self.name(index)).decode("utf-8", "backslashreplace")

    def path(self, index: int) -> str:
        """Where a file is."""
        if self.paths is not None:
            return self.paths[index]
        return os.path.join(self.root, self.name(index))  # noqa: PTH118  a million of them

    def take(self, index: npt.NDArray[np.int64]) -> WholeFiles:
        """Some of the files, in this order."""
        return replace(
            self,
            folder_of=self.folder_of[index],
            names=[self.names[i] for i in index],
            sizes=self.sizes[index],
            times=self.times[index],
            digests=[self.digests[i] for i in index],
            faults=self.faults[index],
            paths=None if self.paths is None else [self.paths[i] for i in index],
        )

    def only(self, paths: Collection[str]) -> WholeFiles:
        """Those under these keys.

        Raises:
            SourceError: one is not there.
        """
        wanted = set(paths)
        there = {self.key(i): i for i in range(len(self))}
        lacking = sorted(wanted - there.keys())
        if lacking:
            got = f"{len(self)} others"
            raise SourceError("no such file", where=str(self.root), expected=repr(lacking[0]), got=got)
        return self.take(np.array(sorted(there[path] for path in wanted), np.int64))

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files, in order; each is made when it is asked for."""
        return _Fingerprints(self)

    def read(self, index: int, into: memoryview) -> None:
        """The content of one file, as large as it was.

        Raises:
            ChangedError: it is not what it was.
        """
        path = self.path(index)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                now = os.fstat(handle)
                have = 0
                while have < len(into) and (count := os.readv(handle, [into[have:]])):
                    have += count
            finally:
                os.close(handle)
        except OSError as error:
            raise _changed(path, f"{len(into)} bytes, as when it was opened", error.strerror or str(error)) from error
        if have < len(into) or now.st_size != len(into):
            raise _changed(path, f"{len(into)} bytes, as when it was opened", f"{now.st_size} bytes")
        if (
            now.st_mtime_ns != self.times[index]
            and _mark(into[:MARKED], _tail_of(into), now.st_size) != self.digests[index]
        ):
            raise _changed(path, "the content that it had", "another one of the same size")

    @classmethod
    def of(cls, files: DataFiles) -> WholeFiles:
        """Of files that were found one by one, all of one kind.

        Raises:
            SourceError: one is compressed.
        """
        for file in files:
            if file.compression:
                raise SourceError(
                    "compressed pictures, clips or texts can't be read one by one",
                    where=str(file.path),
                    expected="the files themselves: what is in them is compressed already",
                    got=file.compression,
                    remedy="unpack it into a folder, and read the folder",
                )
        chosen = [file for index, file in enumerate(files) if files.is_chosen(index)]
        split = [file.key.rpartition("/") for file in chosen]
        there = [(folder, name, str(file.path)) for (folder, _, name), file in zip(split, chosen, strict=True)]
        found = marked(files.root, kind_of(files[0].path.name) or "text", there)
        return replace(found, notes=files.notes, paths=[path for _, _, path in there])


class _Fingerprints(Sequence[Fingerprint]):
    """Those of many files, of which the columns are held alone: a million objects would be half a GiB."""

    def __init__(self, files: WholeFiles) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Fingerprint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Fingerprint, ...]: ...
    def __getitem__(self, index: int | slice) -> Fingerprint | tuple[Fingerprint, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        files, i = self._files, range(len(self))[index]
        return Fingerprint(files.key(i), int(files.sizes[i]), int(files.times[i]), files.digests[i].hex())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _changed(path: str, expected: str, got: str) -> ChangedError:
    return ChangedError(
        "the file changed since it was opened",
        where=path,
        expected=expected,
        got=got,
        remedy="let nothing write to it while it is read, and start anew",
    )


def kind_of(name: str) -> str:
    """ "picture" or "clip", by a file's name; "" for what is neither.

    Example:
        >>> kind_of("IMG_1.JPG"), kind_of("a.mp4"), kind_of("jpg")
        ('picture', 'clip', '')
    """
    return whole_kind(os.path.splitext(name)[1].lower())  # noqa: PTH122  a million of them


def find_whole_files(data: str | Path | Sequence[str | Path], options: ReadOptions) -> WholeFiles | None:
    """The files meant by ``data``, where each is a row: pictures, clips, or whatever it is where the options say so.

    In a folder, the kind that most files are of counts, and the others are passed over; None where most are tables.

    Raises:
        SourceError: a folder can't be read.
    """
    asked = [data] if isinstance(data, (str, Path)) else list(data)
    if any(str(item) == "" for item in asked):
        return None
    named: list[str] = []
    roots: list[str] = []
    found: dict[str, list[tuple[str, str]]] = {"picture": [], "clip": [], "text": [], "table": [], "": []}
    for item in asked:
        path = os.path.abspath(Path(item).expanduser())  # noqa: PTH100  links keep their names
        if not os.path.isdir(path):  # noqa: PTH112
            items = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
            root = os.path.dirname(path) if items == [path] else _fixed(path)  # noqa: PTH120
            named += [one for one in items if not os.path.isdir(one)]  # noqa: PTH112
            folders = [one for one in items if os.path.isdir(one) and "**" not in path]  # noqa: PTH112
        else:
            root, folders = path, [path]
        roots.append(root)
        for folder in folders:
            for where, names in walked(Path(folder)):
                for name in names:
                    found[_kind_in_folder(where, name, options)].append((where, name))
    kind = _chosen(named, found, options)
    if kind is None:
        return None
    root = os.path.commonpath(roots)
    there = [(os.path.dirname(one), os.path.basename(one)) for one in named] + found[kind]  # noqa: PTH119, PTH120
    relative = {where: _relative(where, root) for where in dict.fromkeys(where for where, _ in there)}
    places = ((relative[where], name, os.path.join(where, name)) for where, name in there)  # noqa: PTH118
    files = marked(Path(root), kind, places)
    others = sum(len(those) for other, those in found.items() if other != kind)
    return replace(files, notes=_notes(kind, len(files), others))


def _kind_in_folder(where: str, name: str, options: ReadOptions) -> str:
    kind = kind_of(name)
    if kind or options.each == "file":
        return kind or "text"
    return "table" if is_record_format(Path(where, name)) else ""


def _chosen(named: Sequence[str], found: dict[str, list[tuple[str, str]]], options: ReadOptions) -> str | None:
    """Of which kind the files are that are read; None for records."""
    kinds = {kind_of(name) or ("text" if options.each == "file" else "table") for name in named}
    if kinds:
        kind = kinds.pop()
        return None if kinds or kind == "table" else kind  # a mixture of named files is refused where it is read
    most = max(("table", "picture", "clip", "text"), key=lambda kind: len(found[kind]))
    return None if most == "table" or not found[most] else most


def _notes(kind: str, count: int, others: int) -> tuple[Note, ...]:
    said = [Note("files", f"each of {count:,} files is a row, a {kind}", "", "give a glob or a list of files")]
    if others:
        said.append(Note("other files", f"{others:,} that are no {kind}s are passed over", "", "give a glob or a list"))
    return tuple(said)


def _fixed(pattern: str) -> str:
    """The folders before the first sign of a glob."""
    parts = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return str(Path(*parts))


def _relative(folder: str, root: str) -> str:
    found = os.path.relpath(folder, root).replace(os.sep, "/")
    return "" if found == "." else found


def marked(root: Path, kind: str, there: Iterable[tuple[str, str, str]]) -> WholeFiles:
    """Files, as (folder relative to the root, name, path), with what tells each from what it may become.

    Raises:
        SourceError: one is named twice.
    """
    places: dict[str, int] = {}
    folder_of, names, sizes, times, digests, faults = [], [], [], [], [], []
    seen: set[tuple[int, str]] = set()
    for folder, name, path in there:
        place = places.setdefault(folder, len(places))
        if (place, name) in seen:
            raise SourceError("the file is named twice", where=path, remedy="name it once")
        seen.add((place, name))
        size, time, digest, fault = _look(path, MOST_BYTES[kind])
        folder_of.append(place)
        names.append(name)
        sizes.append(size)
        times.append(time)
        digests.append(digest)
        faults.append(fault)
    return WholeFiles(
        root,
        kind,
        tuple(places),
        np.array(folder_of, np.int32),
        names,
        np.array(sizes, np.int64),
        np.array(times, np.int64),
        digests,
        np.array(faults, np.uint8),
    )


def _look(path: str, most: int) -> tuple[int, int, bytes, int]:
    """(size, time of change, digest, fault) of a file; one that can't be read has neither size nor content."""
    try:
        # Without waiting: who opens a pipe that nobody writes to would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 0, 0, _mark(b"", b"", 0), UNREADABLE
    try:
        status = os.fstat(handle)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return 0, 0, _mark(b"", b"", 0), UNREADABLE
        head = os.read(handle, MARKED)
        tail = os.pread(handle, min(MARKED, size - MARKED), max(MARKED, size - MARKED)) if size > MARKED else b""
    except OSError:
        return 0, 0, _mark(b"", b"", 0), UNREADABLE
    finally:
        os.close(handle)
    fault = EMPTY if size == 0 else TOO_LARGE if size > most else FINE
    return size, status.st_mtime_ns, _mark(head, tail, size), fault


def _tail_of(content: memoryview) -> memoryview:
    return content[max(MARKED, len(content) - MARKED) :]


def _mark(head: bytes | memoryview, tail: bytes | memoryview, size: int) -> bytes:
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=8)
    digest.update(head)
    digest.update(tail)
    return digest.digest()
