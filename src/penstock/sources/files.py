"""Which files a source reads: a path, a glob, a folder or a list of them, turned into files with keys and fingerprints.

A source's first half: it knows names, sizes and digests, and never what is inside. `open_source` finds the source
for the files' extension in the registry.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast
from urllib.parse import unquote

from penstock import registry
from penstock.engine import Resources
from penstock.errors import ChangedError, DataError, ResourceError, SourceError, UsageError
from penstock.source import BLOCK_BYTES, BLOCK_ROWS, CHUNK_BYTES, Fingerprint, Note, Origin, ReadOptions, Source
from penstock.sources.addresses import has_address, open_address
from penstock.sources.formats import (
    extension,
    format_of,
    is_record_format,
    known,
    members,
    refuse_mixture,
    says_delimited,
    sniffed,
)

if TYPE_CHECKING:
    from penstock.sources.frames import Table

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, Spark and DuckDB name the folder of the rows without a value."""
_FOLDER = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_SAID = 5
_MANY_TEXTS = 20
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
        member: its name in the archive, where ``path`` is one of several files.
        folders: the columns that its folders are named after (``dt=2026-11-20``), outermost first; None for no value.
    """

    path: Path
    key: str
    format: str
    compression: str
    fingerprint: Fingerprint
    member: str = ""
    folders: tuple[tuple[str, str | None], ...] = ()

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
        chosen: the numbers of those that are read; None for all. The others only say what the columns are.
    """

    root: Path
    files: tuple[DataFile, ...]
    notes: tuple[Note, ...] = ()
    chosen: frozenset[int] | None = None

    def only(self, paths: Collection[str]) -> DataFiles:
        """The same files, of which only those under these keys are read.

        Raises:
            SourceError: one is not there.
        """
        wanted = set(paths)
        lacking = sorted(wanted - {file.key for file in self.files})
        if lacking:
            got = f"{len(self)} others"
            raise SourceError("no such file", where=str(self.root), expected=repr(lacking[0]), got=got)
        return replace(self, chosen=frozenset(i for i, file in enumerate(self.files) if file.key in wanted))

    def is_chosen(self, index: int) -> bool:
        """Whether a file is read."""
        return self.chosen is None or index in self.chosen

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files that are read, in order."""
        return tuple(file.fingerprint for index, file in enumerate(self.files) if self.is_chosen(index))

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[DataFile]:
        return iter(self.files)

    def __getitem__(self, index: int) -> DataFile:
        return self.files[index]


def open_source(
    data: str | Path | Sequence[str | Path] | Table,
    options: ReadOptions | None = None,
    *,
    lent: Resources | None = None,
    queries: bool = False,
) -> Source:
    """The source that reads these files.

    Args:
        data: a file; a folder (all data files below it, sorted by relative path; names that begin with "." or "_"
            are passed over); a glob, sorted; or a list of these, in the order given; or a table in memory, of
            pyarrow, Polars, pandas or what else gives its columns as Arrow.
        options: how to read, where it is not to be inferred.
        lent: what a query may use while it runs; None for what the machine lends.
        queries: whether ``data`` may be a query, ``sql:SELECT ...``; never where it comes out of a file.

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
    from penstock.sources.file_columns import with_files
    from penstock.sources.whole_files import find_whole_files

    options = _located(options or ReadOptions())
    if not isinstance(data, (str, Path)) and not _are_names(data):
        from penstock.sources.frames import open_table

        return with_files(open_table(data, options), options)
    items = [data] if isinstance(data, (str, Path)) else list(data)
    if has_address(data):
        source = open_address(data, options, lent=lent, queries=queries)
        source.origin = Origin(tuple(map(str, items)), options)
        return with_files(source, options)
    whole = find_whole_files(data, options)
    if whole is not None:
        source = cast(Source, registry.find("sources", whole.kind)(whole, options))
    else:
        files = find_files(data, options)
        if options.labels is not None and files[0].format != ".idx":
            raise UsageError(
                "a file of labels goes with pictures in an IDX file",
                where="labels",
                expected="data such as train-images-idx3-ubyte.gz",
                got=str(files[0].path),
                remedy="put columns of other files beside the rows with penstock.JoinRows",
            )
        source = cast(Source, registry.find("sources", files[0].format)(files, options))
    source.origin = Origin(tuple(os.path.abspath(Path(item).expanduser()) for item in items), options)  # noqa: PTH100
    return with_files(source, options)


def _located(options: ReadOptions) -> ReadOptions:
    """The same with absolute paths, so that the data can be opened again from anywhere."""
    labels, root = (
        None if path is None else os.path.abspath(Path(path).expanduser())  # noqa: PTH100
        for path in (options.labels, options.root)
    )
    if options.each not in ("record", "file"):
        raise UsageError("no such choice", where="each", expected="'record' or 'file'", got=repr(options.each))
    return replace(options, labels=labels, root=root)


def _are_names(data: object) -> TypeGuard[Sequence[str | Path]]:
    return isinstance(data, Sequence) and all(isinstance(item, (str, Path)) for item in data)


def find_files(data: str | Path | Sequence[str | Path], options: ReadOptions | None = None) -> DataFiles:
    """The files meant by ``data``, all of one format, each with its fingerprint; see `open_source`."""
    options = options or ReadOptions()
    asked = [data] if isinstance(data, (str, Path)) else list(data)
    if not asked or any(str(item) == "" for item in asked):
        raise UsageError("nothing to read", expected="a file, a folder or a glob", got=repr(data))
    found: list[Path] = []
    roots: list[Path] = []
    passed_over = 0
    for item in asked:
        root, paths, others = _resolve(Path(item), options)
        found += paths
        roots.append(root)
        passed_over += others
    root = Path(os.path.commonpath(roots))
    _refuse_doubles(found)
    notes: list[Note] = []
    if passed_over:
        text = f"{passed_over} files with other extensions are passed over"
        notes.append(Note("files", text, f"known are {known()}", "give a glob or a list of files"))
    classes = {path.parent for path in found} - {root}
    if len(classes) > 1 and len(found) >= _MANY_TEXTS and all(path.suffix.lower() == ".txt" for path in found):
        text, reason = f"each line of {len(found):,} files is a record", f"they lie in {len(classes):,} folders"
        notes.append(Note("texts", text, reason + ", as documents of as many classes do", "--each file"))
    formats = [format_of(path, options) for path in found]
    for path, (name, _, reason) in zip(found, formats, strict=True):
        if reason and len(notes) < _SAID:
            notes.append(Note(f"format of {path.name}", name, reason, "rename the file"))
    refuse_mixture(found, [name for name, _, _ in formats])
    files: list[DataFile] = []
    for path, (name, compression, _) in zip(found, formats, strict=True):
        key = _key(path, root)
        mark = fingerprint(path, key, empty=not is_record_format(path))
        packed = members(path, name) if compression == ".zip" else []
        if len(packed) < 2:
            files.append(DataFile(path, key, name, compression, mark, "".join(packed), folders_of(root, key)))
        for member in packed if len(packed) > 1 else ():
            inner = f"{key}/{member}"
            own = replace(mark, path=inner)
            files.append(DataFile(path, inner, name, compression, own, member, folders_of(root, inner)))
    return DataFiles(root, tuple(files), tuple(notes))


def folders_of(root: Path, key: str) -> tuple[tuple[str, str | None], ...]:
    """What the folders of a file are named after, ``name=value``: those below the root, and those that lead to it
    without another between.

    Example:
        >>> folders_of(Path("/data"), "dt=2026-11-20/city=New%20York/a.csv")
        (('dt', '2026-11-20'), ('city', 'New York'))
    """
    parts: list[str] = []
    for part in reversed(root.parts):
        if _FOLDER.fullmatch(part) is None:
            break
        parts.insert(0, part)
    found: dict[str, str | None] = {}
    for part in (*parts, *key.split("/")[:-1]):
        match = _FOLDER.fullmatch(part)
        if match is not None:
            name, value = unquote(match[1]), unquote(match[2])
            found[name] = None if value in ("", NO_VALUE) else value
    return tuple(found.items())


def fingerprint(path: Path, key: str, *, empty: bool = False) -> Fingerprint:
    """What a file is like now: size, time of change, and BLAKE2b of the size, the first and the last MiB.

    Args:
        path: where it is.
        key: its path relative to the source's root.
        empty: whether it may be empty.

    Raises:
        SourceError: it is empty, or no ordinary file.
        ResourceError: there is no permission to read it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("not an ordinary file", where=str(path), remedy="copy its content into a file first")
        if status.st_size == 0 and not empty:
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


def root_of(items: Sequence[str]) -> Path:
    """What the keys of these files, folders and globs are relative to."""
    roots = [item if os.path.isdir(item) else _before_magic(Path(item)) for item in items]  # noqa: PTH112
    return Path(os.path.commonpath(roots))


def _before_magic(path: Path) -> str:
    """The folders of a file, or those before the first sign of a glob."""
    if os.path.lexists(path):
        return str(path.parent)
    return str(Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)))


def _resolve(path: Path, options: ReadOptions) -> tuple[Path, list[Path], int]:
    """(root, files, number of other files) of one item that was asked for."""
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 (resolve would follow links: keys keep the name given)
    try:
        if path.is_dir():
            return (path, *_below(path, options))
        if path.exists():
            return path.parent, [path], 0
    except OSError as error:
        raise unreadable(path, error) from error
    if glob.has_magic(str(path)):
        return _matching(path, options)
    raise _missing(path)


def _matching(pattern: Path, options: ReadOptions) -> tuple[Path, list[Path], int]:
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
            below, count = _below(path, options)
            found += below
            others += count
    if not found:
        raise SourceError(
            "no file matches", where=str(pattern), expected=f"a match in {root}", remedy="quote it, and see with ls"
        )
    return root, found, others


def _below(folder: Path, options: ReadOptions) -> tuple[list[Path], int]:
    """The data files below a folder, sorted by relative path, and how many others there are."""
    found: list[Path] = []
    others: list[Path] = []
    for where, names in walked(folder):
        for name in names:
            path = Path(where, name)
            if is_record_format(path):
                found.append(path)
            else:
                others.append(path)
    if not found:  # files that are a row each are read where there are no others
        found = [path for path in others if extension(path)[0] in registry.names("sources")]
        others = [path for path in others if path not in set(found)]
    if not found:  # as programs leave them that write part-00000: told by what they hold, or by the options given
        found = [path for path in others if says_delimited(options) or sniffed(path)[0]]
        others = [path for path in others if path not in set(found)]
    if not found:
        raise SourceError(
            "the folder holds no data file",
            where=str(folder),
            expected=f"files with one of {known()}",
            got=f"{len(others)} files with other extensions" if others else "no file",
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts), len(others)


def walked(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folders below one, itself first, each with the sorted names of its files: links are followed, but none in
    circles, and names that begin with "." or "_" are passed over.

    Raises:
        SourceError: one can't be listed.
        ResourceError: there is no permission to list one.
    """
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise unreadable(Path(str(error.filename)), error) from error

    for where, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(name for name in folders if name[0] not in "._")
        if real not in seen:
            seen.add(real)
            yield where, sorted(name for name in names if name[0] not in "._")


def _refuse_doubles(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise SourceError("the file is named twice", where=str(path), remedy="name it once")
        seen.add(path)


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
