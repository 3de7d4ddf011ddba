"""What is where in a tar shard: the samples, and the place and size of each of their members.

Part of the tar source. Kept as columns, since a shard may have a million members.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from penstock.errors import SourceError
from penstock.schema import Role
from penstock.sources.files import DataFile
from penstock.sources.formats import whole_kind
from penstock.sources.spool import TextFile

JSON = ".json"
"""The name under which members of JSON are kept; no column can have it, since a member's is without a dot."""
_TEXTS = {"cls": ("label", Role.category), "txt": ("text", Role.text)}
_WINDOW = 2**16


@dataclass(slots=True)
class Index:
    """The samples of one shard.

    Attributes:
        names: of the samples.
        kinds: of each column of members, what it holds.
        starts: of each column, and of `JSON`: int64, shape (samples,): where each member begins in the archive [bytes].
        counts: the same for its size, -1 where a sample has none [bytes].
        others: extensions that are passed over.
    """

    names: list[str] = field(default_factory=list)
    kinds: dict[str, Role] = field(default_factory=dict)
    starts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def sizes(self) -> npt.NDArray[np.int64]:
        """What all members of each sample hold together [bytes]."""
        total = np.zeros(len(self.names), np.int64)
        for counts in self.counts.values():
            total += np.maximum(counts, 0)
        return total

    def places(self, name: str, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Where the members of some samples begin [bytes]."""
        found = self.starts.get(name)
        return np.zeros(stop - start, np.int64) if found is None else found[start:stop]

    def lengths(self, name: str, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Their sizes; -1 where there is none [bytes]."""
        found = self.counts.get(name)
        return np.full(stop - start, -1, np.int64) if found is None else found[start:stop]


def index_of(file: DataFile, text: TextFile) -> Index:
    """The samples of a shard, from the heads in it.

    Raises:
        SourceError: it is damaged.
    """
    found = Index()
    rows: dict[str, tuple[list[int], list[int], list[int]]] = {}
    last: str | None = None
    seen: set[str] = set()
    try:
        with io.BufferedReader(_Bytes(text), _WINDOW) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"].clear()  # else all of them are kept
                sample, _, ending = _split(member.name)
                if not member.isreg() or member.issparse() or not ending or _is_hidden(member.name):
                    continue
                column, role = _column(ending)
                if not column or (sample == last and column in seen and ending not in seen):
                    found.others.add(f".{ending}")
                    continue
                if sample != last or ending in seen:
                    found.names.append(_shown(sample))
                    last, seen = sample, set()
                seen |= {ending, column}
                places = rows.setdefault(column, ([], [], []))
                if role is not None:
                    found.kinds[column] = role
                for kept, value in zip(places, (len(found.names) - 1, member.offset_data, member.size), strict=True):
                    kept.append(value)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise SourceError(
            "not a tar archive, or a damaged one",
            where=str(file.path),
            expected="an archive that is whole",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy="write it anew, or leave it out",
        ) from error
    finally:
        text.release()
    for column, (samples, starts, counts) in rows.items():
        found.starts[column] = np.zeros(len(found.names), np.int64)
        found.counts[column] = np.full(len(found.names), -1, np.int64)
        found.starts[column][samples] = starts
        found.counts[column][samples] = counts
    return found


def _split(name: str) -> tuple[str, str, str]:
    """(sample, ".", ending): up to the first dot of the last part, and what follows it."""
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.partition(".")
    return folder + slash + stem, dot, ending.lower()


def _is_hidden(name: str) -> bool:
    return any(part[:1] == "." and part not in (".", "..") for part in PurePosixPath(name).parts)


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _column(ending: str) -> tuple[str, Role | None]:
    """The column of members with this ending, and what it holds; "" where it is passed over.

    Example:
        >>> [_column(one)[0] for one in ("jpg", "seg.png", "cls", "json", "npy")]
        ['picture', 'seg', 'label', '.json', '']
    """
    before, _, suffix = ending.rpartition(".")
    kind = whole_kind(f".{suffix}")
    if kind:
        return before or kind, Role(kind)
    if ending in _TEXTS:
        return _TEXTS[ending]
    return (JSON, None) if ending == "json" else ("", None)


class _Bytes(io.RawIOBase):
    """A file, decompressed as far as it is read, as a stream that can be sought in."""

    def __init__(self, text: TextFile) -> None:
        self._text = text
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise ValueError("the end is not known before it is reached")
        self._place = offset + (self._place if whence == io.SEEK_CUR else 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        data, _ = self._text.window(self._place, len(into))
        into[: len(data)] = data
        self._place += len(data)
        return len(data)
