"""Of which format a file is: by its name, by the names in an archive, by the options given, or by its first bytes.

Part of the sources.
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from penstock import registry
from penstock.errors import SourceError
from penstock.inference import CLIPS, PICTURES
from penstock.schema import Role
from penstock.source import ReadOptions

COMPRESSIONS = (".gz", ".zst", ".zip")
"""Suffixes that may follow the extension of a format."""
_PICTURE_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6", b"v/1\x01")
_CLIP_HEADS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01")
WHOLE = frozenset(("picture", "clip", "text"))
"""Formats whose files are a row each."""
_HEAD = 2**16
_IDX = re.compile(r".*[-.]idx\d-(?:ubyte|byte|short|int|float|double)$")
_BESIDE = frozenset(("batches.meta.txt", "coarse_label_names.txt", "fine_label_names.txt"))
"""What lies beside the binary files of CIFAR, and is no data by itself."""


def extension(path: Path) -> tuple[str, str]:
    """(format, compression) by the name; of an archive without a format in its name, by that of the file in it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".tgz":
        return ".tar", ".gz"
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    if _IDX.match(path.name.lower().removesuffix(compression)):
        return ".idx", compression
    if compression == ".zip" and (not suffixes or suffixes[-1] not in registry.names("sources")):
        suffixes += _packed(path)
    suffix = suffixes[-1] if suffixes else ""
    return (whole_kind(suffix) or suffix, compression)


def whole_kind(suffix: str) -> str:
    """The kind of files that are a row each, by their extension in small letters; "" for others.

    Example:
        >>> whole_kind(".jpg"), whole_kind(".mp4"), whole_kind(".csv")
        ('picture', 'clip', '')
    """
    return "picture" if suffix in PICTURES else "clip" if suffix in CLIPS else ""


def role_of_bytes(head: bytes) -> Role | None:
    """Whether a file that begins with these sixteen bytes is a picture or a clip.

    Example:
        >>> role_of_bytes(b"GIF89a").value, role_of_bytes(b"PK\3\4")
        ('picture', None)
    """
    if head.startswith(_PICTURE_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] == b"ftypavif":
        return Role.picture
    if head.startswith(_CLIP_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI ") or head[4:8] == b"ftyp":
        return Role.clip
    return None


def is_record_format(path: Path) -> bool:
    """Whether a file holds rows in a format that can be read, by its name: it is none itself, as a picture is.

    Example:
        >>> [is_record_format(Path(name)) for name in ("a.csv.gz", "train-images-idx3-ubyte", "a.jpg", "a.doc")]
        [True, True, False, False]
    """
    name = extension(path)[0]
    return name in registry.names("sources") and name not in WHOLE and path.name not in _BESIDE


def _packed(path: Path) -> list[str]:
    """The one extension of the files in a zip archive, if there is one."""
    found = {Path(name).suffix.lower() for name in members(path)}
    return list(found) if len(found) == 1 else []


def members(path: Path, format_name: str = "") -> list[str]:
    """The files in a zip archive, sorted by name: those of a format where there are any, else all; hidden ones are
    passed over, as in a folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError):
        return []  # a damaged archive, or none: reading it says so
    shown = sorted(name for name in names if not any(part[:1] in (".", "_") for part in name.split("/")))
    return [name for name in shown if Path(name).suffix.lower() == format_name] or shown


def format_of(path: Path, options: ReadOptions) -> tuple[str, str, str]:
    """(format, compression, why it was taken for that, where its name does not say it)."""
    name, compression = extension(path)
    names = registry.names("sources")
    if name in names:
        return name, compression, ""
    if says_delimited(options):
        return ".csv", compression, "a delimiter, names of columns or an encoding are given"
    found, reason = sniffed(path)
    if found in names:
        return found, compression, reason
    raise SourceError(
        "not a known kind of data",
        where=str(path),
        expected=f"a name that ends in one of {known()}, each also with {', '.join(COMPRESSIONS)}",
        got=repr(name) if name else "a name without an extension",
        remedy="rename the file, or, if it is delimited text, give its delimiter",
    )


def says_delimited(options: ReadOptions) -> bool:
    """Whether an option was given that only delimited text has."""
    return options.delimiter is not None or options.columns is not None or options.encoding is not None


def sniffed(path: Path) -> tuple[str, str]:
    """(format, reason) by the first bytes of a plain file; "" where they tell nothing."""
    try:
        if not path.is_file():
            return "", ""
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return "", ""  # that it can't be read is said where it is read
    found = _sniffed_idx(path, head)
    if found:
        return found, "it begins as IDX does"
    if head.startswith(b"PAR1"):
        return ".parquet", "it begins as Parquet does"
    if head.startswith(b"SQLite format 3\0"):
        return ".sqlite", "it begins as SQLite does"
    if head.startswith((b"ARROW1\0\0", b"\xff\xff\xff\xff")):
        return ".arrow", "it begins as Arrow does"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(b"{"):
        return ".jsonl", "it begins with {, as JSON lines do"
    return "", ""


def _sniffed_idx(path: Path, head: bytes) -> str:
    """IDX is told by two zeros, a type and a number of dimensions."""
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as file:
                return ".idx" if _begins_as_idx(file.read(4)) else ""
        except (OSError, EOFError, zlib.error):
            return ""  # that it is damaged is said where it is read
    return ".idx" if _begins_as_idx(head) else ""


def _begins_as_idx(head: bytes) -> bool:
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in (8, 9, 11, 12, 13, 14) and 1 <= head[3] <= 4


def known() -> str:
    """The extensions of the formats that can be read, for a message."""
    return ", ".join(sorted((set(registry.names("sources")) - WHOLE) | {".jpg", ".mp4", ".png"}))


def refuse_mixture(paths: Sequence[Path], formats: Sequence[str]) -> None:
    """See that one source reads them all.

    Raises:
        SourceError: they are of several formats.
    """
    first = registry.find("sources", formats[0])
    for path, name in zip(paths, formats, strict=True):
        if registry.find("sources", name) is not first:
            raise SourceError(
                "files of several formats in one source",
                where=str(path),
                expected=f"{formats[0]}, as {paths[0].name}",
                got=name,
                remedy=f"give a glob, such as '*{paths[0].suffix}', or move the others away",
            )
