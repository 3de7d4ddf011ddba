"""Files in object stores and on web servers as a source: each copied once, and read from its copy.

A source. A copy is one version of an object, whole: what changes while it is fetched is refused, what changes later is
not seen. Fetching goes on where it broke off, is tried a bounded number of times, and both are said. All copies lie on
the disk at once; whether they fit is seen before.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.durable import writing
from penstock.engine import Resources
from penstock.errors import ChangedError, ResourceError, SourceError
from penstock.resources import show_bytes
from penstock.source import Note, ReadOptions
from penstock.sources.laid_down import Laid, LaidDownSource, TemporaryFolder
from penstock.sources.remote_filesystems import filesystem_of
from penstock.sources.remote_http import HttpStore
from penstock.sources.remote_store import Found, Opened, RemoteObject, Store, Unsteady, scheme_of, shown
from penstock.sources.retry import Retries

_PIECE = 2**20
_AT_ONCE = 8
"""Objects that are fetched at the same time: waiting for a store takes no core."""
_PROGRESS = 8 * 2**20
"""After so many bytes a failure is a new one, with all its tries [bytes]."""
_NAME_BYTES = 200
_SAID = 5


def open_remote(
    addresses: Sequence[str], options: ReadOptions, lent: Resources | None = None, *, retries: Retries | None = None
) -> LaidDownSource:
    """The source that reads these objects.

    Args:
        addresses: ``s3://``, ``gs://``, ``az://``, ``abfss://``, ``hdfs://``, ``memory://`` (an object, a folder or a
            glob) and ``https://`` (an object); credentials and endpoints are taken from the environment, as AWS,
            Google and Azure name them.
        options: how to read.
        lent: not needed: a piece of each of eight objects is in memory at once.
        retries: how often what fails is tried again.

    Raises:
        SourceError: there is no such object, or it can't be fetched.
        ChangedError: an object changed while it was fetched.
        ResourceError: access is refused, or the disk has no space for the copies.
        MissingExtra: a library is not installed.
        UsageError: an address lacks a part.
    """
    retries = retries or Retries()
    folder = TemporaryFolder()
    try:
        found: list[tuple[Store, RemoteObject]] = []
        tried: list[str] = []
        others = 0
        for address in addresses:
            store = HttpStore() if scheme_of(address) in ("http", "https") else filesystem_of(address)
            there = _found(store, address, retries, tried)
            found += [(store, one) for one in there.objects]
            others += there.others
        found = _own_keys(found)
        _refuse_lack_of_space(folder.path, sum(one.size or 0 for _, one in found), shown(addresses[0]))
        fetched = [
            _Fetched(store, one, path, retries)
            for (store, one), path in zip(found, _places(folder, found), strict=True)
        ]
        _fetch_all(fetched)
        tried += [f"{one.object.address}: {reason}" for one in fetched for reason in one.tried]
        laid = [Laid(one.path, one.object.key, one.digest, one.mtime_ns) for one in fetched]
        return LaidDownSource(laid, folder, options, _notes(fetched, tried, others))
    except BaseException:
        folder.close()
        raise


def _notes(fetched: Sequence[_Fetched], tried: Sequence[str], others: int) -> Iterator[Note]:
    size = show_bytes(sum(one.path.stat().st_size for one in fetched))
    count = f"{len(fetched)} object{'s' if len(fetched) > 1 else ''}"
    yield Note(
        "remote data", f"{count}, {size}, copied to a temporary folder", "they are read more than once", "TMPDIR=FOLDER"
    )
    if others:
        yield Note("objects", f"{others} with other extensions are passed over", "", "give a glob")
    if tried:
        more = f" and {len(tried) - _SAID} more" if len(tried) > _SAID else ""
        yield Note("tried again", f"{len(tried)} times", "; ".join(tried[:_SAID]) + more)


def _own_keys(found: Sequence[tuple[Store, RemoteObject]]) -> list[tuple[Store, RemoteObject]]:
    """Objects of several addresses under keys of their own: where two would be one, all are known by their address."""
    keys = [one.key for _, one in found]
    addresses = [one.address for _, one in found]
    doubled = [address for address in addresses if addresses.count(address) > 1] if len(set(keys)) < len(keys) else []
    if doubled:
        raise SourceError("the object is named twice", where=doubled[0], remedy="name it once")
    if len(set(keys)) == len(keys):
        return list(found)
    return [(store, replace(one, key=one.address)) for store, one in found]


def _places(folder: TemporaryFolder, found: Sequence[tuple[Store, RemoteObject]]) -> Iterator[Path]:
    """Where each copy goes: under its own key as far as a file system takes it, so that its folders mean the same."""
    taken: set[Path] = set()
    for index, (_, one) in enumerate(found):
        parts = [_safe(part) for part in one.key.split("/") if part] or ["object"]
        path = folder.path.joinpath("copies", *parts)
        if taken & {path, *path.parents} or any(path in other.parents for other in taken):
            path = folder.path.joinpath(f"copies-{index}", *parts)  # "a" and "a/b" may both be objects
        taken.add(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield path


def _safe(part: str) -> str:
    """A part of a key as the name of a file."""
    name = part.replace("\0", "_")
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > _NAME_BYTES:
        name = hashlib.blake2b(raw, digest_size=8).hexdigest() + raw[-_NAME_BYTES // 2 :].decode("utf-8", "ignore")
    return "_" if name in (".", "..") else name


def _refuse_lack_of_space(folder: Path, needed: int, where: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            "the copies do not fit on the disk",
            where=where,
            expected=f"{show_bytes(needed)} free in {folder.parent}",
            got=show_bytes(free),
            remedy="free some, set TMPDIR to a folder with more, or read fewer objects",
        )


def _fetch_all(fetched: Sequence[_Fetched]) -> None:
    with ThreadPoolExecutor(min(_AT_ONCE, len(fetched))) as pool:
        waiting = [pool.submit(one.fetch) for one in fetched]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True, wait=False)
            raise


def _found(store: Store, address: str, retries: Retries, tried: list[str]) -> Found:
    waits = retries.waits(address)
    while True:
        try:
            return store.find(address)
        except Unsteady as error:
            wait = next(waits, None)
            if wait is None:
                raise _given_up(shown(address), retries, str(error)) from error
            tried.append(f"{shown(address)}: {error}")
            time.sleep(wait)


def _given_up(address: str, retries: Retries, reason: str) -> SourceError:
    return SourceError(
        "can't be fetched",
        where=address,
        expected=f"an answer within {retries.attempts} tries",
        got=reason,
        remedy="see whether the address is right and the server up, and run the command again",
    )


@dataclass(slots=True)
class _Fetched:
    """The copy of one object: how far it got, and of which version it is."""

    store: Store
    object: RemoteObject
    path: Path
    retries: Retries
    have: int = 0
    size: int | None = None
    tag: str | None = None
    mtime_ns: int = 0
    digest: str = ""
    tried: list[str] = field(default_factory=list)

    def fetch(self) -> None:
        """Copy all of it.

        Raises:
            SourceError: it can't be had.
            ChangedError: it changed meanwhile.
        """
        waits = self.retries.waits(self.object.address)
        since = 0
        with writing(self.path), self.path.open("wb"):
            pass
        while True:
            try:
                self._go_on()
                break
            except Unsteady as error:
                if self.have - since >= _PROGRESS:
                    waits = self.retries.waits(self.object.address)
                since = self.have
                wait = next(waits, None)
                if wait is None:
                    raise _given_up(self.object.address, self.retries, str(error)) from error
                self.tried.append(str(error))
                time.sleep(wait)
        digest = hashlib.blake2b(digest_size=16)
        with writing(self.path), self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        self.digest = digest.hexdigest()

    def _go_on(self) -> None:
        """From where it broke off to the end, if it is still the same."""
        with self.store.open(self.object, self.have, self.tag or "") as opened:
            self._compare(opened)
            self.have = opened.start
            while piece := opened.stream.read(_PIECE):
                with writing(self.path), self.path.open("r+b") as file:
                    file.seek(self.have)
                    file.write(piece)
                    file.truncate()
                self.have += len(piece)
        if self.size is not None and self.have < self.size:
            raise Unsteady(f"it ended after {self.have:,} of {self.size:,} bytes")
        if self.size is not None and self.have > self.size:
            raise self._changed(f"{self.size:,} bytes", f"{self.have:,} bytes")
        if not self.store.reads_one_version:
            with self.store.open(self.object, self.have, self.tag or "") as again:
                self._compare(again)

    def _compare(self, opened: Opened) -> None:
        if self.tag is None:
            self.tag, self.size, self.mtime_ns = opened.tag, opened.size, opened.mtime_ns
            if self.object.size not in (None, opened.size):
                raise self._changed(f"{self.object.size:,} bytes, as listed", f"{opened.size} bytes")
            _refuse_lack_of_space(self.path.parent, opened.size or 0, self.object.address)
        elif (self.tag, self.size, self.mtime_ns) != (opened.tag, opened.size, opened.mtime_ns):
            raise self._changed(
                f"{self.size} bytes, version {self.tag or '?'}", f"{opened.size} bytes, version {opened.tag or '?'}"
            )

    def _changed(self, expected: str, got: str) -> ChangedError:
        return ChangedError(
            "the object changed while it was fetched",
            where=self.object.address,
            expected=expected,
            got=got,
            remedy="let nothing write to it while it is read, and start anew",
        )
