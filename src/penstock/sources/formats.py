"""Of which format a file is: by its name, by the names in an archive, by the options given, or by its first bytes.

Part of the sources.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from penstock import registry
from penstock.errors import SourceError
from penstock.source import ReadOptions

COMPRESSIONS = (".gz", ".zst", ".zip")
"""Suffixes that may follow the extension of a format."""
_HEAD = 2**16


def extension(path: Path) -> tuple[str, str]:
    """(format, compression) by the name; of an archive without a format in its name, by that of the file in it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    if compression == ".zip" and (not suffixes or suffixes[-1] not in registry.names("sources")):
        suffixes += _packed(path)
    return (suffixes[-1] if suffixes else "", compression)


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
    if head.startswith(b"PAR1"):
        return ".parquet", "it begins as Parquet does"
    if head.startswith(b"SQLite format 3\0"):
        return ".sqlite", "it begins as SQLite does"
    if head.startswith((b"ARROW1\0\0", b"\xff\xff\xff\xff")):
        return ".arrow", "it begins as Arrow does"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(b"{"):
        return ".jsonl", "it begins with {, as JSON lines do"
    return "", ""


def known() -> str:
    """The extensions of the formats that can be read, for a message."""
    return ", ".join(registry.names("sources"))


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
                remedy=f"give a glob, such as '*{formats[0]}', or move the others away",
            )
