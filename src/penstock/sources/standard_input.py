"""Standard input as a source: kept whole in a temporary file, and read from there in the format that it has.

A source. A job passes over its data more than once, and says first what it found in them; a pipe can be read once.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from penstock.durable import writing
from penstock.engine import Resources
from penstock.errors import SourceError, UsageError
from penstock.resources import show_bytes
from penstock.source import Note, ReadOptions
from penstock.sources.files import DataFile, fingerprint
from penstock.sources.formats import says_delimited, sniffed
from penstock.sources.laid_down import Laid, LaidDownSource, TemporaryFolder
from penstock.sources.spool import decompressed

ADDRESS = "-"
"""What stands for standard input where a path is expected."""
KEY = "standard input"
"""The path of its row keys."""
_PIECE = 2**20
_HEAD = 2**16
_COMPRESSIONS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".zip"}
"""First bytes of compressed data (RFC 1952, RFC 8878, PKWARE's APPNOTE 4.3.7)."""


def open_standard_input(
    address: str, options: ReadOptions, lent: Resources | None = None, *, stream: BinaryIO | None = None
) -> LaidDownSource:
    """The rows that come in through a pipe.

    Args:
        address: `ADDRESS`.
        options: how to read; a delimiter, names of columns or an encoding say that it is delimited text.
        lent: not needed: a piece is in memory at once.
        stream: what is read to its end; None for the process's own.

    Raises:
        UsageError: standard input is a terminal.
        SourceError: nothing came, or it can't be read.
        ResourceError: there is no space to keep it.

    Example:
        >>> import io
        >>> source = open_standard_input("-", ReadOptions(), stream=io.BytesIO(b"x,y\\n1,red\\n2,blue\\n"))
        >>> source.schema.names
        ('x', 'y')
    """
    stream = _own() if stream is None else stream
    folder = TemporaryFolder()
    try:
        path = folder.path / "data"
        size, digest = _kept(stream, path)
        named, why = _named(path, options)
        notes = (
            Note(KEY, f"{show_bytes(size)} kept in a temporary folder", "it is read more than once", "TMPDIR=FOLDER"),
            Note(f"format of {KEY}", "".join(named.suffixes), why, "--delimiter says that it is delimited text"),
        )
        return LaidDownSource([Laid(named, KEY, digest)], folder, options, notes)
    except BaseException:
        folder.close()
        raise


def _own() -> BinaryIO:
    stream = sys.stdin
    if stream is None or stream.closed:
        raise UsageError("standard input is closed", where=ADDRESS, expected="data through a pipe", remedy=_REMEDY)
    if stream.isatty():
        raise UsageError(
            "standard input is a terminal",
            where=ADDRESS,
            expected="data through a pipe or from a file",
            got="a keyboard",
            remedy=_REMEDY,
        )
    return stream.buffer


_REMEDY = "such as `penstock predict MODEL - --to out < data.csv`"


def _kept(stream: BinaryIO, path: Path) -> tuple[int, str]:
    """All of a stream in a file: its size, and the digest of all of it."""
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    with writing(path), path.open("wb") as file:
        while piece := _read(stream):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    if not size:
        raise SourceError(
            "nothing came through standard input",
            where=KEY,
            expected="at least one record",
            got="0 bytes",
            remedy="see whether the command before it failed; it can be read once only",
        )
    return size, digest.hexdigest()


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(_PIECE)
    except OSError as error:
        raise SourceError("can't be read", where=KEY, got=error.strerror or str(error)) from error


def _named(path: Path, options: ReadOptions) -> tuple[Path, str]:
    """The file under a name that says what it is, and how that was found."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    packed = next((suffix for magic, suffix in _COMPRESSIONS.items() if head.startswith(magic)), "")
    if says_delimited(options):
        format_name, why = ".csv", "a delimiter, names of columns or an encoding are given"
    elif packed == ".zip":
        format_name, why = "", "it begins as an archive does"  # the names in it say the rest
    else:
        plain = path
        if packed:
            plain = path.with_name("head")
            _unpack_head(path, packed, plain)
        format_name, why = sniffed(plain)
        if not format_name:
            format_name, why = ".csv", "it begins as nothing else does"
    return path.rename(path.with_name("data" + format_name + packed)), why


def _unpack_head(path: Path, compression: str, to: Path) -> None:
    file = DataFile(path, KEY, "", compression, fingerprint(path, KEY))
    head = b""
    with closing(decompressed(file)) as pieces:
        try:
            while len(head) < _HEAD and (piece := next(pieces, b"")):
                head += piece
        except SourceError:
            pass  # what came before the damage tells the format; reading says where the damage is
    to.write_bytes(head)
