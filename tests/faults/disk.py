"""A disk that fails, or forgets what was not synced: the seam through which the fault tests reach what a job writes.

Operations of this process on files below one folder are counted, may be made to fail, and are remembered in order, so
that the state after a power cut can be laid out again: what was synced is there, what was not may be gone.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from penstock import durable


class Killed(BaseException):
    """The process is dead: nothing that it does has an effect any more."""


@dataclass
class Entry:
    """One operation: what was done to which paths, and of a sync of a file its content."""

    name: str
    paths: tuple[str, ...]
    content: bytes | None = None


@dataclass
class Disk:
    """What a process does to the files below a folder.

    Attributes:
        root: the folder.
        fail_at: the number of the operation that fails, from 1; 0 for none.
        error: what it fails with; None to kill the process there.
        log: the operations that were done.
        count: how many were asked for.
    """

    root: Path
    fail_at: int = 0
    error: int | None = None
    log: list[Entry] = field(default_factory=list)
    count: int = 0
    failed: str = ""
    _dead: bool = False
    _open: dict[int, str] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.RLock)

    def _mine(self, path: Any) -> str | None:
        if isinstance(path, int):
            return self._open.get(path)
        text = os.path.abspath(os.fspath(path))
        text = text.decode() if isinstance(text, bytes) else text
        return text if text.startswith(str(self.root) + os.sep) else None

    def _before(self, name: str, path: str) -> None:
        if self._dead:
            raise Killed
        self.count += 1
        if self.count != self.fail_at:
            return
        self.failed = f"{name} {path}"
        if self.error is None:
            self._dead = True
            raise Killed
        raise OSError(self.error, os.strerror(self.error), path)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any, **options: Any) -> Any:
            paths = [self._mine(first)]
            if name in ("replace", "rename", "link"):
                paths.append(self._mine(others[0]))
            if ("dir_fd" in options and options["dir_fd"] is not None) or None in paths:
                return real(first, *others, **options)
            told = tuple(str(path) for path in paths)
            with self._lock:
                self._before(name, told[0])
                content = None
                if name == "fsync" and os.path.isfile(told[0]):
                    content = Path(told[0]).read_bytes()
                made = real(first, *others, **options)
                self.log.append(Entry(name, told, content))
                return made

        return call

    @contextmanager
    def watching(self) -> Iterator[Disk]:
        """Let all operations of this process go through the seam."""
        real_open, real_os_open = io.open, os.open
        disk = self
        self._remember_what_is_there()

        class Raw(io.FileIO):
            def write(self, data: Any) -> int | None:
                path = disk._open.get(self.fileno(), "")
                with disk._lock:
                    disk._before("write", path)
                    return super().write(data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *others: Any, **options: Any) -> Any:
            path = None if isinstance(file, int) else disk._mine(file)
            if path is None or not set(mode) & set("wax+"):
                made = real_open(file, mode, buffering, *others, **options)
                if path is not None:
                    disk._open[made.fileno()] = path
                return made
            with disk._lock:
                disk._before("open", path)
                there = os.path.exists(path)
                raw = Raw(path, mode.replace("b", "").replace("t", ""))
                disk._open[raw.fileno()] = path
                if not there or "w" in mode:
                    disk.log.append(Entry("create", (path,)))
            if "b" not in mode:
                return io.TextIOWrapper(io.BufferedWriter(raw), *others, **options)
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw, max(buffering, 1024))

        def os_opened(path: Any, *others: Any, **options: Any) -> int:
            told = disk._mine(path)
            with disk._lock:
                if told is not None:
                    disk._before("open", told)
                made = real_os_open(path, *others, **options)
                if told is not None:
                    disk._open[made] = told
                return made

        def exchanged(first: Path, second: Path) -> bool:
            with disk._lock:
                disk._before("exchange", str(first))
                made = real_exchange(first, second)
                if made:
                    disk.log.append(Entry("exchange", (str(first), str(second))))
                return made

        real_exchange = durable._exchange
        names = ("fsync", "replace", "rename", "mkdir", "link", "unlink", "rmdir")
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(mock.patch.object(os, name, self._wrapped(name, getattr(os, name))))
            stack.enter_context(mock.patch.object(shutil, "rmtree", self._removed))
            stack.enter_context(mock.patch.object(io, "open", opened))
            stack.enter_context(mock.patch.object(os, "open", os_opened))
            stack.enter_context(mock.patch.object(durable, "_exchange", exchanged))
            yield self

    def _remember_what_is_there(self) -> None:
        """What an earlier process left, as though all of it had been synced."""
        for path in sorted(self.root.rglob("*")):
            self.log.append(Entry("mkdir" if path.is_dir() else "create", (str(path),)))
            if path.is_file():
                self.log.append(Entry("fsync", (str(path),), path.read_bytes()))

    def _removed(self, path: Any, ignore_errors: bool = False, **_: Any) -> None:
        """`shutil.rmtree`, one name after the other, so that it may stop in the middle."""
        try:
            if not os.path.lexists(path):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            for where, folders, files in os.walk(path, topdown=False):
                for name in files:
                    os.unlink(os.path.join(where, name))
                for name in folders:
                    os.rmdir(os.path.join(where, name))
            os.rmdir(path)
        except OSError:
            if not ignore_errors:
                raise

    # ------------------------------------------------------------------ the state after a power cut

    def after_power_cut(self, chance: random.Random) -> None:
        """Lay out what a disk may hold that lost its power now.

        Names are as after some operation at or behind the last sync of anything; a file that was synced holds what it
        held then; one that was not, or was written since, any first part of what it was to hold.
        """
        last = max((i for i, entry in enumerate(self.log) if entry.name == "fsync"), default=-1)
        upto = chance.randint(last, len(self.log) - 1) if self.log else -1
        now = {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        names, folders, synced, ends = self._names(upto)
        shutil.rmtree(self.root)
        self.root.mkdir()
        for folder in sorted(folders):
            Path(folder).mkdir(parents=True, exist_ok=True)
        for path, file in sorted(names.items()):
            final = synced.get(file)
            if final is None:
                whole = now.get(Path(ends.get(file, path)), b"")
                final = whole[: chance.randint(0, len(whole))] if chance.random() < 0.7 else b""
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(final)

    def _names(self, upto: int) -> tuple[dict[str, int], set[str], dict[int, bytes], dict[int, str]]:
        """The names after an operation, each with the number of its file; the folders; what was synced of the files;
        and by which name each file was last known."""
        names: dict[str, int] = {}
        folders: set[str] = set()
        synced: dict[int, bytes] = {}
        made = 0
        for place, entry in enumerate(self.log):
            first = entry.paths[0]
            if entry.name == "fsync":
                if entry.content is not None and first not in names:  # a library of its own made it
                    made += 1
                    names[first] = made
                if entry.content is not None:
                    synced[names[first]] = entry.content
                continue
            if place > upto:
                continue
            if entry.name == "create":
                made += 1
                names[first] = made
            elif entry.name == "mkdir":
                folders.add(first)
            elif entry.name == "link":
                names[entry.paths[1]] = names[first]
            elif entry.name == "unlink":
                names.pop(first, None)
            elif entry.name == "rmdir":
                folders.discard(first)
            else:
                _moved(names, folders, *entry.paths, both=entry.name == "exchange")
        return names, folders, synced, {file: path for path, file in names.items()}


def _moved(names: dict[str, int], folders: set[str], old: str, new: str, *, both: bool) -> None:
    def below(path: str, root: str) -> bool:
        return path == root or path.startswith(root + os.sep)

    def renamed(path: str, root: str, to: str) -> str:
        return to + path[len(root) :]

    first = {path: file for path, file in names.items() if below(path, old)}
    second = {path: file for path, file in names.items() if below(path, new)}
    first_folders = {path for path in folders if below(path, old)}
    second_folders = {path for path in folders if below(path, new)}
    for path in (*first, *second):
        del names[path]
    folders -= first_folders | second_folders
    names.update({renamed(path, old, new): file for path, file in first.items()})
    folders |= {renamed(path, old, new) for path in first_folders}
    if both:
        names.update({renamed(path, new, old): file for path, file in second.items()})
        folders |= {renamed(path, new, old) for path in second_folders}
