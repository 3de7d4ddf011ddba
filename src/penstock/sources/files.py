"""Which files a source reads: a path, a glob, a folder or a list of them, turned into files with keys and fingerprints.

A source's first half: it knows names, sizes and digests, and never what is inside. `open_source` finds the source
for the files' extension in the registry.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock import registry
from penstock.errors import ChangedError, DataError, ResourceError, SourceError, UsageError
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, CHUNK_BYTES, Fingerprint, Note, ReadOptions, Source

COMPRESSIONS = (".gz", ".zst", ".zip")
"""Suffixes that may follow the extension of a format."""
DIGESTED = 2**20
"""How much of a file's head, and of its tail, goes into its digest [bytes]."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large blocks and chunks may become; smaller ones are for tests.

    Attributes:
        block_rows: the most rows of a block.
        block_bytes: about the most bytes of a block [bytes].
        chunk_bytes: about the bytes of a chunk [bytes].
        record_bytes: the longest record of a text file [bytes].
        window_bytes: how much of a text file is looked at at once while it is cut [bytes].
    """

    block_rows: int = BLOCK_ROWS
    block_bytes: int = BLOCK_BYTES
    chunk_bytes: int = CHUNK_BYTES
    record_bytes: int = BLOCK_BYTES
    window_bytes: int = 4 * 2**20


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file.

    Attributes:
        path: where it is.
        key: its path relative to the source's root, with forward slashes: the path of its row keys.
        format: its extension in small letters, such as ".csv".
        compression: the suffix after it: "", ".gz", ".zst" or ".zip".
        fingerprint: what it was like when the source was opened.
    """

    path: Path
    key: str
    format: str
    compression: str
    fingerprint: Fingerprint

    def check(self) -> None:
        """See that the file is still what it was. A new time of change alone means: digest again, and go on.

        Raises:
            ChangedError: it has another size or content, or is gone.
        """
        was = self.fingerprint
        try:
            now = self.path.stat()
            same = now.st_size == was.size
            if same and now.st_mtime_ns != was.mtime_ns:
                same = _digest(self.path, now.st_size) == was.digest
        except OSError as error:
            raise ChangedError(
                "the file can no longer be read",
                where=str(self.path),
                expected=f"{was.size} bytes, as when it was opened",
                got=error.strerror or str(error),
                remedy="put it back as it was, or start anew",
            ) from error
        if not same:
            raise ChangedError(
                "the file changed since it was opened",
                where=str(self.path),
                expected=f"{was.size} bytes with digest {was.digest[:12]}",
                got=f"{now.st_size} bytes" + (" with another digest" if now.st_size == was.size else ""),
                remedy="let nothing write to it while it is read, and start anew",
            )


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files of one source, in order.

    Attributes:
        root: what their keys are relative to.
        files: the files.
        notes: what was decided in choosing them.
    """

    root: Path
    files: tuple[DataFile, ...]
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[DataFile]:
        return iter(self.files)

    def __getitem__(self, index: int) -> DataFile:
        return self.files[index]


def open_source(data: str | Path | Sequence[str | Path], options: ReadOptions | None = None) -> Source:
    """The source that reads these files.

    Args:
        data: a file; a folder (all data files below it, sorted by relative path; names that begin with "." or "_"
            are passed over); a glob, sorted; or a list of these, in the order given.
        options: how to read, where it is not to be inferred.

    Raises:
        SourceError: there is nothing to read, the format is not known, or formats are mixed.
        ResourceError: there is no permission to read.
        UsageError: ``data`` is empty.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.csv").write_text("x,y\\n1,red\\n2,blue\\n")
        >>> open_source(folder / "a.csv").schema.names
        ('x', 'y')
    """
    files = find_files(data)
    source: Source = registry.find("sources", files[0].format)(files, options or ReadOptions())
    return source


def find_files(data: str | Path | Sequence[str | Path]) -> DataFiles:
    """The files meant by ``data``, all of one format, each with its fingerprint; see `open_source`."""
    asked = [data] if isinstance(data, (str, Path)) else list(data)
    if not asked or any(str(item) == "" for item in asked):
        raise UsageError("nothing to read", expected="a file, a folder or a glob", got=repr(data))
    found: list[Path] = []
    roots: list[Path] = []
    passed_over = 0
    for item in asked:
        root, paths, others = _resolve(Path(item))
        found += paths
        roots.append(root)
        passed_over += others
    root = Path(os.path.commonpath(roots))
    _refuse_doubles(found)
    formats = [_format(path) for path in found]
    _refuse_mixture(found, [name for name, _ in formats])
    files = tuple(
        DataFile(path, key, name, compression, fingerprint(path, key))
        for path, key, (name, compression) in zip(found, (_key(p, root) for p in found), formats, strict=True)
    )
    notes: tuple[Note, ...] = ()
    if passed_over:
        text = f"{passed_over} files with other extensions are passed over"
        notes = (Note("files", text, f"known are {_known()}", "give a glob or a list of files"),)
    return DataFiles(root, files, notes)


def fingerprint(path: Path, key: str) -> Fingerprint:
    """What a file is like now: size, time of change, and BLAKE2b of the size, the first and the last MiB.

    Raises:
        SourceError: it is empty, or no ordinary file.
        ResourceError: there is no permission to read it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("not an ordinary file", where=str(path), remedy="copy its content into a file first")
        if status.st_size == 0:
            raise SourceError(
                "the file is empty", where=str(path), expected="at least one record", got="0 bytes", remedy="remove it"
            )
        return Fingerprint(key, status.st_size, status.st_mtime_ns, _digest(path, status.st_size))
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError | ResourceError:
    """An error of the system about a file, in our words."""
    if isinstance(error, PermissionError):
        return ResourceError(
            "no permission to read", where=str(path), remedy=f"let this user read it, as with chmod u+r {path.name}"
        )
    if isinstance(error, FileNotFoundError):
        return _missing(path)
    return SourceError("can't be read", where=str(path), got=error.strerror or str(error))


def _digest(path: Path, size: int) -> str:
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(DIGESTED))
        if size > DIGESTED:
            file.seek(max(DIGESTED, size - DIGESTED))
            digest.update(file.read(DIGESTED))
    return digest.hexdigest()


def _resolve(path: Path) -> tuple[Path, list[Path], int]:
    """(root, files, number of other files) of one item that was asked for."""
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 (resolve would follow links: keys keep the name given)
    try:
        if path.is_dir():
            return (path, *_below(path))
        if path.exists():
            return path.parent, [path], 0
    except OSError as error:
        raise unreadable(path, error) from error
    if glob.has_magic(str(path)):
        return _matching(path)
    raise _missing(path)


def _matching(pattern: Path) -> tuple[Path, list[Path], int]:
    fixed: list[str] = []
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = Path(*fixed)
    found: list[Path] = []
    others = 0
    for name in sorted(glob.glob(str(pattern), recursive=True)):  # noqa: PTH207 (an absolute pattern)
        path = Path(name)
        if not path.is_dir():
            found.append(path)
        elif "**" not in pattern.parts:
            below, count = _below(path)
            found += below
            others += count
    if not found:
        raise SourceError(
            "no file matches", where=str(pattern), expected=f"a match in {root}", remedy="quote it, and see with ls"
        )
    return root, found, others


def _below(folder: Path) -> tuple[list[Path], int]:
    """The data files below a folder, sorted by relative path, and how many others there are."""
    found: list[Path] = []
    others = 0
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise unreadable(Path(str(error.filename)), error) from error

    for where, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(name for name in folders if name[0] not in "._")
        if real in seen:
            continue
        seen.add(real)
        for name in names:
            if name[0] in "._":
                continue
            path = Path(where, name)
            if _extension(path)[0] in registry.names("sources"):
                found.append(path)
            else:
                others += 1
    if not found:
        raise SourceError(
            "the folder holds no data file",
            where=str(folder),
            expected=f"files with one of {_known()}",
            got=f"{others} files with other extensions" if others else "no file",
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts), others


def _extension(path: Path) -> tuple[str, str]:
    """(format, compression) by the name; of an archive without a format in its name, by that of the file in it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    if compression == ".zip" and (not suffixes or suffixes[-1] not in registry.names("sources")):
        suffixes += _packed(path)
    return (suffixes[-1] if suffixes else "", compression)


def _packed(path: Path) -> list[str]:
    """The one extension of the files in a zip archive, if there is one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError):
        return []  # a damaged archive, or none: then the name says too little
    found = {Path(name).suffix.lower() for name in names}
    return list(found) if len(found) == 1 else []


def _format(path: Path) -> tuple[str, str]:
    name, compression = _extension(path)
    if name not in registry.names("sources"):
        raise SourceError(
            "not a known kind of data",
            where=str(path),
            expected=f"a name that ends in one of {_known()}, each also with {', '.join(COMPRESSIONS)}",
            got=repr(name) if name else "a name without an extension",
            remedy="rename the file, or make a link to it whose name says what it is",
        )
    return name, compression


def _known() -> str:
    return ", ".join(registry.names("sources"))


def _refuse_doubles(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise SourceError("the file is named twice", where=str(path), remedy="name it once")
        seen.add(path)


def _refuse_mixture(paths: Sequence[Path], formats: Sequence[str]) -> None:
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


def _key(path: Path, root: Path) -> str:
    name = Path(os.path.relpath(path, root)).as_posix()
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _missing(path: Path) -> SourceError:
    if path.is_symlink():
        return SourceError(
            "a link that leads nowhere",
            where=str(path),
            expected="a link to a file",
            got=f"a link to {path.readlink()}, which does not exist",
            remedy="make the link anew",
        )
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0]
    try:
        near = difflib.get_close_matches(wanted, sorted(entry.name for entry in parent.iterdir()), n=1, cutoff=0.5)
    except OSError:
        near = []  # the folder can't be listed, so that nothing can be suggested
    return SourceError(
        "no such file or folder",
        where=str(path),
        expected=f"{wanted!r} in {parent}",
        remedy=f"did you mean {parent / near[0]}?" if near else "see what is there with ls",
    )
