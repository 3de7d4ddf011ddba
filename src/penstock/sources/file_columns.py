"""Columns of a table that name files: pictures, read as the bytes of the files; clips, as where they are.

A source around another one, which reads the table. Paths are relative to the folder that the table lies in, and may not
leave it, unless the user names another folder: a table that came from elsewhere must not say what is read of this
machine.
"""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penstock import registry
from penstock.batch import Batch, Count, record_batch
from penstock.errors import ChangedError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.source import Chunk, Fingerprint, Note, ReadOptions, Source
from penstock.sources.addresses import scheme_of
from penstock.sources.conform import STEP, Verdict, Verdicts
from penstock.sources.files import Limits, find_files, root_of
from penstock.sources.made_columns import rejected_rows
from penstock.sources.picture_files import runs
from penstock.sources.whole_files import MOST_BYTES

_FILES = (Role.picture, Role.clip)
BLOCK_ROWS = {Role.picture: 64, Role.clip: 8}
"""The most rows of a block."""
_TABLE = Limits(block_rows=1024, chunk_bytes=2**17)
"""How the table itself is cut: a thousand rows of it may be gigabytes of pictures."""
_PROBED = 64
_ASSUMED = 100 * 2**10
"""What a picture is taken to hold, where none could be looked at [bytes]."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files are.

    Attributes:
        root: the folder that the source's keys are relative to, or that the user named; None for what lies nowhere.
        named: whether the user named it: then paths may be absolute, and lead out of it.
    """

    root: Path | None
    named: bool

    def of(self, text: str, key: str) -> tuple[str, str]:
        """(path, what is wrong with it) of what stands in a row of the file under this key."""
        if "\0" in text:
            return "", "a path with a zero in it"
        if self.root is None:
            return "", "the table lies in no folder: name one (root)"
        if self.named:
            return os.path.join(self.root, text), ""  # noqa: PTH118
        if os.path.isabs(text) or ".." in text.split("/"):  # noqa: PTH117
            return "", "the path leaves the folder of the table: name the folder that it is relative to (root)"
        return os.path.join(self.root, os.path.dirname(key), text), ""  # noqa: PTH118, PTH120


def with_files(source: Source, options: ReadOptions) -> Source:
    """The same, with columns that name pictures or clips read as those; itself, where there are none.

    A role that was inferred is taken back where none of the first files is there, which is said.
    """
    roles = {field.name: field.role for field in source.schema if field.role in _FILES}
    found = naming_files(source, roles, options.root)
    if not isinstance(found, FileColumns):
        return source
    checked = found.checked(options)
    if checked.columns:
        return checked
    plain = source.with_roles(dict.fromkeys(roles.keys() & found.columns.keys(), Role.key))
    plain.notes = (*plain.notes, *checked.notes_of_files)
    return plain


def naming_files(source: Source, roles: Mapping[str, Role], root: str | None = None) -> Source:
    """The same, with these columns, those of them that are texts, read as the files that they name.

    Raises:
        UsageError: the folder that the user named is none.
    """
    if isinstance(source, FileColumns):
        return source
    texts: dict[str, Role] = {}
    for name, role in roles.items():
        try:
            source.with_roles({name: Role.key})
        except SchemaError:
            continue  # it holds the files themselves
        texts[name] = role
    if not texts:
        return source
    table = source.with_roles(dict.fromkeys(texts, Role.key))
    return FileColumns(_recut(table, source), texts, _place(source, root), table.notes)


def _place(source: Source, root: str | None) -> Place:
    origin = source.origin
    named = root if origin is None else origin.options.root
    if named is not None:
        if not Path(named).is_dir():
            raise UsageError("no such folder", where="root", expected="the folder of the files", got=named)
        return Place(Path(named), named=True)
    if origin is None or any(scheme_of(item) for item in origin.items):
        return Place(None, named=False)
    return Place(root_of(origin.items), named=False)


def _recut(texts: Source, source: Source) -> Source:
    """The table, cut into few rows at once, where it is of local files."""
    origin = source.origin
    if origin is None or any(scheme_of(item) for item in origin.items):
        return texts
    files = find_files(list(origin.items), origin.options)
    options = replace(origin.options, roles={}, written={})
    cut: Source = registry.find("sources", files[0].format)(files, options, _TABLE)
    cut.origin = origin
    written = {field.name: field.written for field in texts.schema if field.written or field.kind.is_numeric}
    return cut.with_written(written).with_roles({field.name: field.role for field in texts.schema})


class FileColumns(Source):
    """A table, some of whose columns are read as the files that they name.

    Blocks have at most 64 rows or about 16 MiB of pictures (of clips 8 rows). A row whose file is missing, empty, too
    large or outside the folder is rejected; one without a path has a null. What the files hold is not among the
    fingerprints: only the table is.

    Args:
        table: the table, whose columns of names are keys.
        columns: the columns that name files, and what they are.
        place: where those are.
        notes: what was inferred about the table.
    """

    def __init__(self, table: Source, columns: Mapping[str, Role], place: Place, notes: Sequence[Note]) -> None:
        self._table = table
        self._files = dict(columns)
        self._place = place
        self._mean = float(_ASSUMED)
        self._of_table = tuple(notes)
        self._said: tuple[Note, ...] = ()
        self.origin = table.origin
        self._set()

    def _set(self) -> None:
        table = self._table
        fields = [
            Field(name, pa.binary() if role is Role.picture else pa.string(), role, "names of files")
            for name, role in self._files.items()
        ]
        self.schema = table.schema.put(*fields)
        known = {f"role of {field.name!r}" for field in fields}
        self.notes = (*(note for note in self._of_table if note.topic not in known), *self._said)
        self.reading = repr((table.reading, self._place.named))

    @property
    def columns(self) -> Mapping[str, Role]:
        """The columns that name files, and what they are."""
        return self._files

    @property
    def notes_of_files(self) -> tuple[Note, ...]:
        """What was found out about the files."""
        return self._said

    def checked(self, options: ReadOptions) -> FileColumns:
        """The same, once it is known how large the files are; without columns that were taken for names of files, and
        name none that is there."""
        sizes: list[int] = []
        lost: dict[str, Role] = {}
        said: list[Note] = []
        probe = self._probe()
        for name, role in self._files.items():
            found = [size for size, verdict in probe.get(name, ()) if verdict is None]
            if not found and name not in options.roles:
                lost[name] = Role.key
                where = self._place.root or "no folder"
                outside = any(verdict.code == "outside" for _, verdict in probe.get(name, ()) if verdict is not None)
                lies = f"the first lead out of {where}" if outside else f"none of the first is in {where}"
                reason = f"it holds names of {role}s, and {lies}"
                said.append(Note(f"column {name!r}", "read as text", reason, "--root DIR"))
                continue
            if role is Role.picture:
                sizes += found
            where = self._place.root if self._place.named and self._place.root else "the folder of the table"
            text = f"the {role}s that it names, in {where}"
            said.append(Note(f"column {name!r}", text, "their content is not watched: only the table is", "--root DIR"))
        other = copy.copy(self)
        other._said = tuple(said)
        other._mean = float(np.mean(sizes)) if sizes else float(_ASSUMED)
        other._set()
        return other.with_roles(lost) if lost else other

    def _probe(self) -> dict[str, list[tuple[int, Verdict | None]]]:
        """Of the first rows, the size of each file, and what is wrong with it."""
        for chunk in self._table.chunks():
            for batch in self._table.read(chunk, tuple(self._files)):
                if len(batch):
                    first = batch.slice(0, _PROBED)
                    found = {name: self._looked_at(first, name)[1] for name in self._files}
                    return {name: [one for one in those if one is not None] for name, those in found.items()}
        return {}

    # --- the table's

    def chunks(self) -> Iterator[Chunk]:
        """The plan: that of the table."""
        for chunk in self._table.chunks():
            rows = chunk.rows if chunk.rows is not None else BLOCK_ROWS[Role.picture]
            yield replace(chunk, nbytes=chunk.nbytes + int(rows * self._mean * self._pictures))

    @property
    def _pictures(self) -> int:
        return sum(role is Role.picture for role in self._files.values())

    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files of the table, in order."""
        return self._table.fingerprints()

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of these files of the table alone."""
        return self._with(self._table.only(paths))

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same with other ways of writing for some columns of the table."""
        return self._with(self._table.with_written({n: way for n, way in written.items() if n not in self._files}))

    def with_roles(self, roles: Mapping[str, Role]) -> FileColumns:
        """The same with other roles: a column of texts that becomes one of pictures or clips names them."""
        own = self._table.schema
        others = {name: role for name, role in roles.items() if role not in _FILES or own[name].role in _FILES}
        files = {name: role for name, role in self._files.items() if name not in others}
        for name, role in roles.items():
            if name not in others:  # the table has names; else it holds what they name itself
                others[name] = Role.key
                files[name] = role
        other = self._with(self._table.with_roles(others))
        other._files = files
        other._set()
        return other

    def _with(self, table: Source) -> FileColumns:
        other = copy.copy(self)
        other._table = table
        other._set()
        return other

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds at its peak [bytes]: of the table, and of the pictures."""
        pictures = _TABLE.block_bytes if self._pictures else 0
        return self._table.block_nbytes + self._pictures * int(max(pictures, self._mean))

    def close(self) -> None:
        """Let go of temporary files."""
        self._table.close()

    # --- reading

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a chunk.

        Raises:
            ChangedError: a file went while it was read.
        """
        asked = self.schema if columns is None else self.schema.select(columns)
        names = dict.fromkeys((*asked.names, *self._files))
        for batch in self._table.read(chunk, tuple(names)):
            yield from self._blocks(batch, asked)

    def _blocks(self, batch: Batch, asked: Schema) -> Iterator[Batch]:
        """A block of the table as blocks of what its columns name, cut by the sizes of the files."""
        looked = {name: self._looked_at(batch, name) for name in self._files}
        sizes = np.zeros(len(batch), np.int64)
        for name, role in self._files.items():
            if role is Role.picture:
                own = [one[0] if one is not None and one[1] is None else 0 for one in looked[name][1]]
                sizes += np.array(own, np.int64).reshape(-1)
        most = min(BLOCK_ROWS[role] for role in self._files.values()) if self._files else len(batch)
        cuts = list(runs(np.cumsum(sizes), 0, len(batch), most, _TABLE.block_bytes)) or [(0, 0)]
        for start, stop in cuts:
            inner = batch.slice(start, stop - start)
            if start == 0:  # what the table rejects of its own block is told once
                inner = replace(inner, rejected=batch.rejected, counts=batch.counts)
            yield self._block(inner, {name: (p[start:stop], f[start:stop]) for name, (p, f) in looked.items()}, asked)

    def _block(
        self,
        batch: Batch,
        looked: Mapping[str, tuple[list[str], list[tuple[int, Verdict | None] | None]]],
        asked: Schema,
    ) -> Batch:
        verdicts = Verdicts()
        for _, found in looked.values():
            for row, one in enumerate(found):
                if one is not None and one[1] is not None:
                    verdicts.rows.setdefault(row, one[1])
        own: dict[str, pa.Array] = {}
        for name, (paths, found) in looked.items():
            if name in asked:
                own[name] = self._values(self._files[name], paths, found)
        columns = [own[name] if name in own else batch.column(name) for name in asked.names]
        block = record_batch(columns, asked.names, len(batch))
        count, gone = len(batch), len(verdicts.rows)
        before = batch.rejected.num_rows if batch.rejected is not None else 0
        counts = (Count(STEP, rows_in=count + before, out=count - gone, rejected=before + gone),)
        if not gone:
            return Batch(block, batch.keys, batch.rejected, counts)
        kept = verdicts.kept(count)
        rejected = rejected_rows({name: batch.column(name) for name in looked}, batch.keys, verdicts)
        if batch.rejected is not None:
            rejected = pa.concat_tables([batch.rejected, rejected])
        return Batch(block.filter(pa.array(kept)), batch.keys.take(kept), rejected, counts)

    def _looked_at(self, batch: Batch, name: str) -> tuple[list[str], list[tuple[int, Verdict | None] | None]]:
        """The path of each row, and the size of the file there and what is wrong with it; None where there is none."""
        values = batch.column(name)
        texts = (values.dictionary_decode() if pa.types.is_dictionary(values.type) else values).to_pylist()
        keys = batch.keys.path_column().to_pylist()
        paths: list[str] = []
        found: list[tuple[int, Verdict | None] | None] = []
        for text, key in zip(texts, keys, strict=True):
            if not text:
                paths.append("")
                found.append(None)
                continue
            path, wrong = self._place.of(text, key)
            paths.append(path)
            verdict = Verdict(name, "outside", wrong) if wrong else None
            found.append((0, verdict) if verdict else _look(path, name, self._files[name]))
        return paths, found

    def _values(self, role: Role, paths: Sequence[str], found: Sequence[tuple[int, Verdict | None] | None]) -> pa.Array:
        fine = [one is not None and one[1] is None for one in found]
        if role is Role.clip:
            return pa.array([path if good else None for path, good in zip(paths, fine, strict=True)], pa.string())
        held: list[Any] = [_content(path) if good else None for path, good in zip(paths, fine, strict=True)]
        return pa.array(held, pa.binary())


def _look(path: str, column: str, role: Role) -> tuple[int, Verdict | None]:
    """(size, what is wrong) of a file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return 0, Verdict(column, "no_file", "there is no such file")
    except (OSError, ValueError) as error:
        return 0, Verdict(column, "unreadable", f"the file can't be read: {getattr(error, 'strerror', None) or error}")
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        return 0, Verdict(column, "unreadable", "the file can't be read")
    if status.st_size == 0:
        return 0, Verdict(column, "empty_file", "the file is empty")
    most = MOST_BYTES[role.value]
    if status.st_size > most:
        return 0, Verdict(column, "too_large", f"{status.st_size:,} bytes, and at most {most:,} are read")
    return status.st_size, None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()
    except OSError as error:
        raise ChangedError(
            "the file can no longer be read",
            where=path,
            expected="the file that was there a moment before",
            got=error.strerror or str(error),
            remedy="put it back, and run the command again",
        ) from error
