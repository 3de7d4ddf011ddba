"""What the remote source needs of a place that holds objects. Implementations: `remote_filesystems`, `remote_http`.

Part of the remote source. Foreign errors become ours in the implementations: what may pass is `Unsteady`, and tried
again by whoever asked.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol
from urllib.parse import urlsplit, urlunsplit


class Unsteady(Exception):
    """Something failed that may work the next time."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """One object as it was when it was found.

    Attributes:
        address: its address for people: without user, password and query.
        name: what its store knows it by.
        key: its path relative to what was asked for.
        size: where it is known before reading [bytes].
        mtime_ns: when it changed; 0 where that is not known [ns].
        tag: what its store calls this version of it; "" where it calls it nothing.
    """

    address: str
    name: str
    key: str
    size: int | None = None
    mtime_ns: int = 0
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What an address means.

    Attributes:
        objects: sorted by their keys.
        others: how many more were passed over, since their names are none of data.
    """

    objects: tuple[RemoteObject, ...]
    others: int = 0


class Readable(Protocol):
    """Bytes that come."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, fewer where no more come for now, none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that is being read.

    Attributes:
        stream: its bytes from ``start``.
        start: the first byte that comes: the one asked for, or 0.
        size: of the whole object, where it is known [bytes].
        tag: of the version that is read.
        mtime_ns: when it changed; 0 where that is not known [ns].
    """

    stream: Readable
    start: int
    size: int | None
    tag: str
    mtime_ns: int


class Store(ABC):
    """A place that holds objects."""

    reads_one_version: ClassVar[bool]
    """Whether what is read after one `open` is of one version, whoever writes meanwhile."""

    @abstractmethod
    def find(self, address: str) -> Found:
        """The objects meant by an address, sorted.

        Raises:
            Unsteady: it may work the next time.
            SourceError: there is none.
            ResourceError: access is refused.
        """

    @abstractmethod
    def open(self, one: RemoteObject, start: int, tag: str) -> AbstractContextManager[Opened]:
        """Read an object from a byte on, if it still has this tag.

        Raises:
            Unsteady: it may work the next time.
            SourceError: it is gone.
            ResourceError: access is refused.
        """


def scheme_of(address: str) -> str:
    """What stands before ``://``."""
    return address.partition("://")[0].lower()


def shown(address: str) -> str:
    """An address for people and records: without user, password, query and fragment, which may be secrets.

    Example:
        >>> shown("https://me:secret@host/data.csv?token=abc")
        'https://host/data.csv'
    """
    if scheme_of(address) not in ("http", "https"):
        return re.sub(r"://[^/@]*:[^/@]*@", "://", address)
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
