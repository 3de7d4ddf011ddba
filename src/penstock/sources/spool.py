"""Text files as UTF-8 that can be read from any place: plain ones in place, others through a spool file.

Part of the CSV source. A compressed file, or one in another encoding, is decompressed and transcoded once, as far as
it is asked for, into a spool file in a temporary folder; so that its chunks can be read by several threads, and in
later passes, without doing it again. A spool file that is gone is made anew.
"""

from __future__ import annotations

import codecs
import os
import shutil
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, TypeAlias

from penstock.errors import ResourceError, SourceError
from penstock.sources.files import DataFile, unreadable

Pieces: TypeAlias = Generator[bytes, None, None]

_PIECE = 2**20
UTF_8 = "utf-8"
UTF_8_BOM = codecs.BOM_UTF8
UNDECODABLE = "\udcff"
"""What stands for bytes that can't be decoded: in UTF-8 an invalid byte, so that the row is rejected."""


class SpoolFolder:
    """A temporary folder for spool files, removed with `close` or when nobody holds this object any more."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lock = threading.Lock()
        self._finalizer: weakref.finalize[..., SpoolFolder] | None = None

    def place(self, index: int) -> Path:
        """Where the spool file of this number goes; the folder is made if it is not there."""
        with self._lock:
            if self._path is None or not self._path.is_dir():
                self._path = Path(tempfile.mkdtemp(prefix="penstock-"))
                self._finalizer = weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
            return self._path / f"{index}.utf8"

    def close(self) -> None:
        """Remove the folder; what is read later makes it anew."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._path = None


class TextFile:
    """One text file as UTF-8.

    Args:
        file: the file.
        encoding: a codec's name.
        folder: where a spool file goes, if one is needed.
        index: the file's number in its source.
    """

    def __init__(self, file: DataFile, encoding: str, folder: SpoolFolder, index: int) -> None:
        self.file = file
        self.encoding = encoding
        self._folder = folder
        self._index = index
        self.spooled = bool(file.compression) or encoding != UTF_8
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._pieces: Pieces | None = None
        self._position = 0
        self._size: int | None = None if self.spooled else file.fingerprint.size

    def window(self, start: int, size: int) -> tuple[bytes, bool]:
        """So many bytes from ``start``, fewer only at the end; and whether the file ends with them.

        Raises:
            SourceError: the file can't be decompressed to there.
            ResourceError: there is no space for the spool file.
        """
        if self.spooled:
            self._grow(start + size)
        data = self.read(start, size)
        return data, self._size is not None and start + len(data) >= self._size

    def read(self, start: int, size: int) -> bytes:
        """So many bytes from ``start``, fewer only at the end. May be called from any thread."""
        try:
            with self._source(start + size).open("rb", buffering=0) as handle:
                handle.seek(start)
                pieces = []
                while size > 0 and (piece := handle.read(size)):
                    pieces.append(piece)
                    size -= len(piece)
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        except OSError as error:
            raise unreadable(self.file.path, error) from error

    def release(self) -> None:
        """Let go of the open file; what is spooled stays."""
        with self._lock:
            self._stop()

    def _source(self, until: int) -> Path:
        if not self.spooled:
            return self.file.path
        path = self._path
        if path is None or not path.exists():
            self._grow(until)
        assert self._path is not None
        return self._path

    def _grow(self, until: int) -> None:
        """Decompress and transcode up to this place, or to the end."""
        with self._lock:
            there = self._path is not None and self._path.exists()
            if there and self._path is not None:
                have = self._path.stat().st_size
                if have >= until or have == self._size:
                    return
            else:
                self._stop()
                self._path = self._folder.place(self._index)
            if self._pieces is None:
                self._pieces, self._position = self._transcoded(), 0
            try:
                self._write(until)
            except OSError as error:
                self._stop()
                if error.errno is None:
                    raise
                raise ResourceError(
                    "no space to spool a decompressed file",
                    where=str(self._path),
                    got=error.strerror or str(error),
                    remedy="free some, or set TMPDIR to a folder with more",
                ) from error
            except BaseException:
                self._stop()
                raise

    def _write(self, until: int) -> None:
        assert self._path is not None and self._pieces is not None
        have = self._path.stat().st_size if self._path.exists() else 0
        with self._path.open("r+b" if have else "wb") as spool:
            spool.seek(have)
            while max(self._position, have) < until:
                piece = next(self._pieces, None)
                if piece is None:
                    self._size = self._position
                    self._stop()
                    return
                # After a restart what is spooled already is passed over: the same bytes come again.
                fresh = piece[max(0, have - self._position) :]
                self._position += len(piece)
                if fresh:
                    spool.write(fresh)

    def _stop(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            pieces.close()

    def _transcoded(self) -> Pieces:
        """The file's content as UTF-8."""
        with closing(decompressed(self.file)) as pieces:
            if self.encoding == UTF_8:
                yield from pieces
                return
            decoder = codecs.getincrementaldecoder(self.encoding)(errors="penstock")
            for piece in pieces:
                yield decoder.decode(piece).encode("utf-8", "surrogateescape")
            yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")


def _keep(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error("penstock", _keep)


def decompressed(file: DataFile) -> Pieces:
    """The content of a file, decompressed, piece by piece.

    Raises:
        SourceError: it is damaged or cut short; says where.
    """
    reader = {"": _plain, ".gz": _gzip, ".zst": _zstandard, ".zip": _zip}[file.compression]
    try:
        with file.path.open("rb") as handle:
            yield from reader(file, handle)
    except OSError as error:
        raise unreadable(file.path, error) from error


def _plain(_: DataFile, handle: BinaryIO) -> Pieces:
    while piece := handle.read(_PIECE):
        yield piece


def _gzip(file: DataFile, handle: BinaryIO) -> Pieces:
    """Members one after the other (RFC 1952); zeros after the last are padding."""
    unpack = zlib.decompressobj(wbits=31)
    begun = False
    given = 0
    rest = b""
    while True:
        rest = rest or handle.read(_PIECE)
        if not rest:
            break
        if not begun and given and not rest.strip(b"\0"):
            rest = b""
            continue
        try:
            piece = unpack.decompress(rest, _PIECE)
        except zlib.error as error:
            raise _damaged(file, handle, given, str(error)) from error
        begun = True
        given += len(piece)
        rest = unpack.unconsumed_tail
        if unpack.eof:
            rest, unpack, begun = unpack.unused_data, zlib.decompressobj(wbits=31), False
        if piece:
            yield piece
    while begun and (piece := unpack.decompress(unpack.unconsumed_tail, _PIECE)):
        given += len(piece)
        yield piece
    if begun and not unpack.eof:
        raise _damaged(file, handle, given, "the file ends too early")


def _zstandard(file: DataFile, handle: BinaryIO) -> Pieces:
    """Frames one after the other (RFC 8878)."""
    import zstandard

    unpack = zstandard.ZstdDecompressor().decompressobj()
    begun = False
    given = 0
    while piece := handle.read(_PIECE // 16):
        while piece:
            try:
                content = unpack.decompress(piece)
            except zstandard.ZstdError as error:
                raise _damaged(file, handle, given, str(error)) from error
            given += len(content)
            begun, piece = True, b""
            if unpack.eof:
                piece, unpack, begun = unpack.unused_data, zstandard.ZstdDecompressor().decompressobj(), False
            if content:
                yield content
    if begun:
        raise _damaged(file, handle, given, "the file ends too early")


def _zip(file: DataFile, handle: BinaryIO) -> Pieces:
    """The one file in a zip archive, or the one of several that is meant."""
    given = 0
    try:
        with zipfile.ZipFile(handle) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            if file.member:
                members = [member for member in members if member.filename == file.member]
            if len(members) != 1:
                raise SourceError(
                    "an archive must hold one file",
                    where=str(file.path),
                    expected="one file",
                    got=f"{len(members)}: " + ", ".join(member.filename for member in members[:5]),
                    remedy="unpack it into a folder, and read the folder",
                )
            with archive.open(members[0]) as member:
                while piece := member.read(_PIECE):
                    given += len(piece)
                    yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(file, handle, given, str(error) or "the file ends too early") from error


def _damaged(file: DataFile, handle: BinaryIO, given: int, why: str) -> SourceError:
    return SourceError(
        "a compressed file is damaged",
        where=str(file.path),
        expected=f"{file.compression} data to the end, at byte {file.fingerprint.size}",
        got=f"{why}, at about byte {handle.tell()}, after {given} decompressed bytes",
        remedy="fetch it again",
    )


def sample_bytes(file: DataFile, size: int) -> list[bytes]:
    """Pieces of a file's content from its head and, where it is not compressed, from its middle and tail.

    Those after the first begin after a line feed.
    """
    if file.compression:
        head = bytearray()
        with closing(decompressed(file)) as pieces:
            for piece in pieces:
                head += piece
                if len(head) >= size:
                    break
        return [bytes(head[:size])]
    total = file.fingerprint.size
    try:
        with file.path.open("rb") as handle:
            if total <= 3 * size:
                return [handle.read(3 * size)]
            found = [handle.read(size)]
            for place in (total // 2, total - size):
                os.lseek(handle.fileno(), place, os.SEEK_SET)
                piece = os.read(handle.fileno(), size)
                found.append(piece[piece.find(b"\n") + 1 :])
            return found
    except OSError as error:
        raise unreadable(file.path, error) from error
