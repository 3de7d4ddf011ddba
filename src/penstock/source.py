"""The contract of where batches come from. Implementations live in `sources/`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.schema import Role, Schema

if TYPE_CHECKING:
    from penstock.engine import Listener, Resources
    from penstock.relation import Relation

BLOCK_ROWS = 65_536
"""The most rows of a block: the unit of arithmetic."""
BLOCK_BYTES = 16 * 2**20
"""About the most bytes of a block [bytes]."""
CHUNK_BYTES = 64 * 2**20
"""About the bytes of a chunk: the unit of durable work [bytes]."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read, where it is not to be inferred. None means: infer it, and say so.

    Attributes:
        columns: names for the columns of files without a header.
        encoding: of text files: "utf-8", "utf-16", "gb18030", "latin-1".
        delimiter: of text files, one character.
        missing: the texts that mean "no value".
        roles: roles by column, over what is inferred.
        written: how columns of text write their values, by column, over what is inferred: "1.234,5" (the number
            1234.5 as the column would write it), "%d/%m/%Y", "iso", "epoch seconds", "time of day", "a;b" for lists;
            "" for the plain way.
        sample_rows: rows that types and roles are inferred from.
        missing_columns: what becomes of a column of the first file that another lacks: "insert" nulls there, which is
            said, or "raise", as Polars calls it. JSON lines have no header: there a field that is left out is null.
        each: what a row of files of text is: a "record" in them, or each "file" as a whole. Pictures and clips are a
            row each anyway.
        labels: a file with the label of each picture of an IDX file, in its order: IDX too.
        root: the folder that the paths of pictures and clips in a table are relative to; then they may also be
            absolute. None for the folder that the table is in, which they may not leave.
    """

    columns: tuple[str, ...] | None = None
    encoding: str | None = None
    delimiter: str | None = None
    missing: tuple[str, ...] | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    sample_rows: int = 20_000
    missing_columns: Literal["insert", "raise"] = "insert"
    each: Literal["record", "file"] = "record"
    labels: str | None = None
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a source was opened from: enough to open it again.

    Attributes:
        items: absolute paths, globs, addresses or a query.
        options: how they are read.
    """

    items: tuple[str, ...]
    options: ReadOptions

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        options = {item.name: getattr(self.options, item.name) for item in fields(self.options)}
        options["roles"] = {name: role.value for name, role in self.options.roles.items()}
        options["written"] = dict(self.options.written)
        return {"items": list(self.items), "options": options}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Origin:
        """From what `to_json` gave."""
        options = dict(value["options"])
        for name in ("columns", "missing"):
            options[name] = None if options[name] is None else tuple(options[name])
        options["roles"] = {name: Role(role) for name, role in options["roles"].items()}
        return cls(tuple(value["items"]), ReadOptions(**options))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file was like when the plan was made; for resuming, and for noticing a change.

    Attributes:
        path: relative to the source's root.
        size: [bytes].
        mtime_ns: [ns].
        digest: BLAKE2b of the size, the first and the last MiB.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, "digest": self.digest}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fingerprint:
        """From what `to_json` gave."""
        return cls(str(value["path"]), int(value["size"]), int(value["mtime_ns"]), str(value["digest"]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A unit of durable work: parts of one or of many files, cut from the data alone.

    Attributes:
        index: its place in the plan, from 0.
        parts: what to read, in order; JSON values that only the source understands.
        nbytes: about what its blocks hold in memory, all together [bytes].
        rows: how many rows, where that is known before reading.
    """

    index: int
    parts: tuple[Mapping[str, Any], ...]
    nbytes: int
    rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"index": self.index, "parts": list(self.parts), "nbytes": self.nbytes, "rows": self.rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Chunk:
        """From what `to_json` gave."""
        return cls(int(value["index"]), tuple(value["parts"]), int(value["nbytes"]), value["rows"])

    def canonical(self) -> str:
        """The chunk as one line of JSON, the same for equal chunks."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was inferred or decided and that the user may override: said, never silent.

    Attributes:
        topic: what it is about: "delimiter", "role of 'age'", ...
        text: what was decided.
        reason: why.
        override: the option or the line that decides otherwise.
    """

    topic: str
    text: str
    reason: str = ""
    override: str = ""

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        override = f"; to override: {self.override}" if self.override else ""
        return f"{self.topic}: {self.text}{reason}{override}"


class Source(ABC):
    """Where batches come from: a frozen plan over data that does not change.

    Laws, checked by `penstock.testing.check_source`: the chunks are the same each time; the blocks of a chunk are
    the same whichever columns are asked for and whatever was read before; row keys are unique and ascending in a
    file; every record of the data is a row or a reject; all batches have the columns and types of the schema.
    """

    schema: Schema
    """The columns of its batches."""
    notes: tuple[Note, ...] = ()
    """What was inferred about it."""
    reading: str = ""
    """How it is read, the schema apart: the same files read in the same way give the same rows."""
    origin: Origin | None = None
    """What it was opened from; None for what can't be opened again, as a table in memory."""
    a_row_each: bool = False
    """Whether each of its files is one row, number 0: pictures, clips, whole texts."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """The plan, in order. Where a format has no index it grows as the files are read, the same each time."""

    @abstractmethod
    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of one chunk, in order; only these columns, None for all. May be called from any thread.

        Each batch counts its records under the step "read".
        """

    @abstractmethod
    def fingerprints(self) -> Sequence[Fingerprint]:
        """Of the files it reads, in order."""

    @abstractmethod
    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same data with other roles for some columns."""

    def only(self, paths: Collection[str]) -> Source:
        """The same columns, of the files under these paths alone (see `fingerprints`): its plan is that of a source of
        those files, and nothing of the others is read.

        Raises:
            UsageError: it can't be read in parts.
            SourceError: a file is not there.
        """
        raise UsageError(
            "these data can't be taken file by file",
            expected="files, or objects of a store",
            got=type(self).__name__,
            remedy="write them as files, one for each delivery",
        )

    def with_written(self, written: Mapping[str, str]) -> Source:
        """The same data with other ways of writing for some columns of text: "" is the plain one. Sources whose values
        are no texts give themselves.

        Raises:
            UsageError: one is no way of writing.
            SchemaError: one is for a column that is not there.
        """
        return self

    def like(self, schema: Schema) -> Source:
        """The same data as they were read by an earlier schema: the columns that are in both with its roles, and their
        values written as they were then.

        Numbers that were plain then are plain now, lest 12% be taken for 0.12; times of another format are times.
        """
        there = [field for field in schema if field.name in self.schema]
        ways = {field.name: field.written for field in there if field.written or field.kind.is_numeric}
        source = self.with_written(ways) if ways else self
        files = {field.name: field.kind for field in there if field.kind in (Role.picture, Role.clip)}
        if files:  # texts that are read as the files they name, even where none of them is there now
            from penstock.sources.file_columns import naming_files

            source = naming_files(source, files)
        return source.with_roles({field.name: field.kind for field in there})

    @property
    def nbytes(self) -> int:
        """The size of the files [bytes], for progress."""
        return sum(fingerprint.size for fingerprint in self.fingerprints())

    @property
    def planned_nbytes(self) -> int | None:
        """The sum of its chunks' ``nbytes``, exact or nearly, where it is known before the plan is complete [bytes]."""
        return None

    @property
    def block_nbytes(self) -> int:
        """About what reading one block holds in memory at its peak [bytes]."""
        return BLOCK_BYTES

    def laid_down(self, folder: Path, lent: Resources, listener: Listener) -> Source:
        """The same rows after the work that needs other rows was done: what that lays down is in ``folder``, and has
        to stay there as long as the result is read. Most sources need none, and give themselves.

        Args:
            folder: a folder of the job; it need not be there, and is found again by a job that goes on.
            lent: what the work may use.
            listener: who is told how it goes.
        """
        return self

    def related(self, *relations: Relation) -> Source:
        """These rows with relations after them, done before they are read; see `penstock.relations`.

        Raises:
            SchemaError: a column is missing, or of a type that a relation can't work on.
            SourceError: the other side of a join can't be read.
        """
        from penstock.relational import related

        return related(self, relations)

    def deduplicate(self, *arguments: Any, **settings: Any) -> Source:
        """Of rows that are equal in some columns, one: see `penstock.Deduplicate`."""
        return self._related("deduplicate", arguments, settings)

    def join(self, *arguments: Any, **settings: Any) -> Source:
        """Columns of other data beside the rows, found by keys: see `penstock.Join`."""
        return self._related("join", arguments, settings)

    def join_rows(self, *arguments: Any, **settings: Any) -> Source:
        """Columns of other data beside the rows, row by row: see `penstock.JoinRows`."""
        return self._related("join_rows", arguments, settings)

    def sort(self, *arguments: Any, **settings: Any) -> Source:
        """The rows in another order: see `penstock.Sort`."""
        return self._related("sort", arguments, settings)

    def filter(self, *arguments: Any, **settings: Any) -> Source:
        """The rows that meet a condition: see `penstock.Filter`."""
        return self._related("filter", arguments, settings)

    def group(self, *arguments: Any, **settings: Any) -> Source:
        """A row for each group of rows: see `penstock.Group`."""
        return self._related("group", arguments, settings)

    def rolling(self, *arguments: Any, **settings: Any) -> Source:
        """New columns of the rows before each row: see `penstock.Rolling`."""
        return self._related("rolling", arguments, settings)

    def map_columns(self, *arguments: Any, **settings: Any) -> Source:
        """Other names and units for columns: see `penstock.MapColumns`."""
        return self._related("map_columns", arguments, settings)

    def _related(self, name: str, arguments: tuple[Any, ...], settings: Mapping[str, Any]) -> Source:
        from penstock import registry

        return self.related(registry.find("relations", name)(*arguments, **settings))

    def close(self) -> None:  # noqa: B027  most sources hold nothing
        """Let go of temporary files."""
