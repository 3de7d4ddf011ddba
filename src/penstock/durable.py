"""Writing files so that they are there after a power cut, or not at all.

A contract's helper, used by sinks, runs and artifacts: everything durable is written through here, so that a fault
can be injected in one place, and a system's error is translated in one place.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, ResourceError, RunError

_REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space within the quota, or write to another disk",
    errno.EACCES: "grant the permission to write there, or write elsewhere",
    errno.EPERM: "grant the permission to write there, or write elsewhere",
    errno.EROFS: "the file system is read-only: write elsewhere",
    errno.EIO: "the disk failed: check it before anything is trusted to it",
    errno.ENOTDIR: "a part of the path is a file: write elsewhere",
    errno.ENOENT: "the folder is gone: run the command again",
    errno.ENAMETOOLONG: "use a shorter name",
}


watcher: ContextVar[Callable[[str, str, float, float], None] | None] = ContextVar("watcher", default=None)
"""Who is told of every wait for the disk, of the job of this context: what it was, the path, from when to when [s]."""


@contextmanager
def watched(name: str, path: Path) -> Iterator[None]:
    """Tell the watcher, where there is one, how long this took."""
    watch = watcher.get()
    if watch is None:
        yield
        return
    began = time.monotonic()
    try:
        yield
    finally:
        watch(name, str(path), began, time.monotonic())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate the system's errors while ``path`` is written.

    Raises:
        ResourceError: no space, no permission, a failing disk, ...
    """
    try:
        yield
    except PenstockError:
        raise
    except OSError as error:
        raise ResourceError(
            "can't be written",
            where=str(error.filename or path),
            expected="a file system that takes the data",
            got=f"{error.strerror or error} (errno {error.errno})",
            remedy=_REMEDIES.get(error.errno or 0, "mend what the system reports, and run the command again"),
        ) from error


class HashedFile(io.RawIOBase):
    """A file written from front to end, hashed on the way, durable when closed by `seal`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._hash = hashlib.sha256()
        self._size = 0
        self._discarded = False
        self._file = path.open("wb", buffering=2**20)

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: Any) -> int:
        """Append these bytes."""
        view = memoryview(data).cast("B")
        if self._discarded:
            return len(view)
        self._hash.update(view)
        self._file.write(view)
        self._size += len(view)
        return len(view)

    def seal(self, *, durable: bool = True) -> tuple[int, str]:
        """Flush, fsync (where ``durable``) and close; gives the size [bytes] and the SHA-256 in hex."""
        self._file.flush()
        if durable:
            with watched("fsync", self.path):
                os.fsync(self._file.fileno())
        self.close()
        return self._size, self._hash.hexdigest()

    def discard(self) -> None:
        """Remove the file; what a format's writer still has to say at its end goes nowhere."""
        self._discarded = True
        with suppress(OSError):  # on a full disk, what it still buffers can't be written
            self._file.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close without promising anything."""
        if not self.closed:
            self._file.close()
        super().close()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with watched("fsync", folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by one with this content: readers see the old one or the new one, also after a power cut."""
    with writing(path):
        temporary = path.with_name(f".{path.name}.new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            with watched("fsync", path):
                os.fsync(file.fileno())
        with watched("rename", path):
            temporary.replace(path)
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by JSON for people and machines, atomically."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What `write_json` wrote.

    Raises:
        RunError: it is not there, or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(
            "can't be read", where=str(path), expected="a JSON file that Penstock wrote", got=str(error)
        ) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_in_place(new: Path, destination: Path) -> None:
    """Give what is finished and durable its name, at once: a reader sees what had the name before, or all of the new.

    What had the name has that of ``new`` afterwards, where it was a folder; a file is gone. Where the file system can't
    exchange two names (Linux since 3.15 does, but for some network file systems), there is a moment without the
    name; a crash in it leaves what was there as ``.NAME.old`` beside it, which `restore` puts back.
    """
    with writing(destination), watched("publish", destination):
        if not destination.exists() or (destination.is_file() and new.is_file()):
            new.replace(destination)
        elif not _exchange(new, destination):
            old = _old(destination)
            _remove(old)
            destination.replace(old)
            new.replace(destination)
            old.replace(new)
        sync_folder(destination.parent)
        if new.parent != destination.parent:
            sync_folder(new.parent)


def restore(destination: Path) -> None:
    """Undo an exchange of names that was stopped half way; see `put_in_place`."""
    old = _old(destination)
    if old.exists() and not destination.exists():
        with writing(destination):
            old.replace(destination)
            sync_folder(destination.parent)


def replace_folder(new: Path, destination: Path) -> None:
    """Give a finished folder its name; one that had the name is removed."""
    put_in_place(new, destination)
    with writing(destination):
        _remove(new)


def share_file(path: Path, to: Path) -> None:
    """Let a file that nobody will change have a second name; where the file system can't, a copy of it, durable."""
    with writing(to):
        to.unlink(missing_ok=True)
        try:
            to.hardlink_to(path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                raise
            copied = HashedFile(to)
            with path.open("rb") as file:
                while data := file.read(2**20):
                    copied.write(data)
            copied.seal()


def _old(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.old")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Of Linux's fcntl.h and renameat2(2)."""


@cache
def _renameat2() -> Any:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call


def _exchange(first: Path, second: Path) -> bool:
    """Let two paths exchange their names; whether the system and the file system can."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
