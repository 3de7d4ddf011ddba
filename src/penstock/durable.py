"""Writing files so that they are there after a power cut, or not at all.

A contract's helper, used by sinks, runs and artifacts: everything durable is written through here, so that a fault
can be injected in one place, and a system's error is translated in one place.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
            os.fsync(file.fileno())
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


def replace_folder(new: Path, destination: Path) -> None:
    """Give a finished folder its name; one that has the name already is moved away first and removed after."""
    with writing(destination):
        old = destination.with_name(f".{destination.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if destination.exists():
            destination.replace(old)
        new.replace(destination)
        sync_folder(destination.parent)
        shutil.rmtree(old, ignore_errors=True)
