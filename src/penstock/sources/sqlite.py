"""Tables of SQLite databases: read through ADBC in one transaction, laid down once, and read from there.

A source. SQLite has a type for each value, not for each column: what a column holds is counted before it is read, and
the few values that are of another kind become rejected rows, or the column becomes text.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pyarrow as pa

from penstock.engine import Resources
from penstock.errors import MissingExtra, PenstockError, ResourceError, SourceError, UsageError
from penstock.schema import Role
from penstock.source import Note, ReadOptions
from penstock.sources.cells import ISO, find_time_format
from penstock.sources.csv_types import FIT
from penstock.sources.files import DataFile, DataFiles, Limits, find_files
from penstock.sources.laid_down import Laid, LaidDownSource, TemporaryFolder, lay_down, recut, rows_at_once
from penstock.sources.retry import Retries

PREFIX = "sqlite:///"
"""What an address of one table begins with, as in SQLAlchemy: a path follows, relative to the working directory, or
absolute with a fourth slash."""
_COUNTED_AT_ONCE = 100
_BUSY_WAIT = 200
"""How long SQLite itself waits for a lock at each try [ms]."""
_SAMPLE = 1000


def open_sqlite(address: str, options: ReadOptions, lent: Resources) -> LaidDownSource:
    """The source of one table of a database.

    Args:
        address: ``sqlite:///path.db?table=name``; an absolute path has four slashes. Without ``table``, the only one.
        options: how to read.
        lent: not needed: a batch is in memory at once.

    Raises:
        UsageError: the address is none.
        SourceError: there is no such table, or the file is no database.
        MissingExtra: the driver is not installed.
        ResourceError: the database stays locked.
    """
    path, _mark, asked = address.removeprefix(PREFIX).partition("?")
    pairs = parse_qsl(asked, keep_blank_values=True)
    if not address.startswith(PREFIX) or not path or [name for name, _value in pairs] not in ([], ["table"]):
        raise UsageError(
            "not an address of a table",
            where=address,
            expected=f"{PREFIX}PATH?table=NAME",
            remedy=f"an absolute path has four slashes: {PREFIX}/data/shop.db?table=orders",
        )
    files = find_files(Path(unquote(path)), options)
    return SqliteSource(files, options, table=pairs[0][1] if pairs else None)


class SqliteSource(LaidDownSource):
    """One table of each of some databases, in the order of their rows (rowid).

    Args:
        files: the databases.
        options: how to read.
        limits: how large blocks and chunks may become.
        table: its name; None where there is only one.
        retries: how often a locked database is tried again.

    Raises:
        SourceError: there is no such table, there are several and none is named, or a file is no database.
        MissingExtra: the driver is not installed.
        ResourceError: a database stays locked.
    """

    def __init__(
        self,
        files: DataFiles,
        options: ReadOptions,
        limits: Limits | None = None,
        *,
        table: str | None = None,
        retries: Retries | None = None,
    ) -> None:
        folder = TemporaryFolder()
        try:
            tries = retries or Retries()
            places = [folder.path / f"{index}.parquet" for index in range(len(files))]
            copies = [_copied(file, table, place, tries) for file, place in zip(files, places, strict=True)]
            if not any(copy.rows for copy in copies):
                raise SourceError("there are no rows", where=copies[0].laid.key, expected="at least one row")
            roles: dict[str, Role] = {}
            for copy in copies:
                roles = {**copy.roles, **roles}
            notes = dict.fromkeys((*files.notes, *(note for copy in copies for note in copy.notes)))
            kept = tuple(note for note in notes if note.topic.removeprefix("role of ") not in map(repr, options.roles))
            options = replace(options, roles={**roles, **options.roles})
            super().__init__([copy.laid for copy in copies], folder, options, kept, limits)
        except BaseException:
            folder.close()
            raise


@dataclass(frozen=True, slots=True)
class _Copy:
    """A table that was laid down, and the roles that its declaration speaks for."""

    laid: Laid
    rows: int
    roles: Mapping[str, Role]
    notes: tuple[Note, ...]


def _copied(file: DataFile, table: str | None, path: Path, retries: Retries) -> _Copy:
    """Lay one table down; a locked database is tried again."""
    if file.compression:
        raise SourceError(
            "a compressed database can't be read", where=str(file.path), got=file.compression, remedy="decompress it"
        )
    waits = retries.waits(file.key)
    tries = 0
    driver = _driver()
    while True:
        try:
            with closing(driver.connect(_uri(file.path))) as connection, closing(connection.cursor()) as cursor:
                # The driver begins a transaction at the first statement: all that follows sees one state.
                copy = _Table(cursor, file, _chosen(cursor, file, table)).lay_down(path)
            break
        except (driver.Error, pa.ArrowException, OSError) as error:  # Arrow hands on what comes while it streams
            locked = "locked" in str(error) or "busy" in str(error)
            wait = next(waits, None) if locked else None
            if wait is None:
                raise _told(file, error, locked, retries) from error
            tries += 1
            time.sleep(wait)
    if tries:
        said = Note(f"database {file.key}", f"was locked, and tried again {tries} times")
        copy = replace(copy, notes=(*copy.notes, said))
    return copy


def _driver() -> Any:
    try:
        import adbc_driver_sqlite.dbapi as driver
    except ImportError as error:
        raise MissingExtra(
            "reading SQLite needs a driver that is not installed",
            expected="adbc-driver-sqlite and adbc-driver-manager",
            remedy="pip install 'penstock[sql]'",
        ) from error
    return driver


def _uri(path: Path) -> str:
    """For reading only. Where SQLite could not make its shared index beside a database in WAL mode, and nothing waits
    in the log, the file is taken as one that nobody writes to."""
    log = path.with_name(path.name + "-wal")
    still = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    return f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if still else "")


def _told(file: DataFile, error: Exception, locked: bool, retries: Retries) -> PenstockError:
    if locked:
        return ResourceError(
            "the database is locked",
            where=str(file.path),
            expected=f"a moment without a writer within {retries.attempts} tries",
            remedy="end what writes to it, or set PRAGMA journal_mode = wal there: then readers need not wait",
        )
    return SourceError(
        "can't be read as a SQLite database",
        where=str(file.path),
        expected="an undamaged database",
        got=str(error).splitlines()[0],
        remedy="see what sqlite3 FILE 'PRAGMA integrity_check' says",
    )


def _chosen(cursor: Any, file: DataFile, asked: str | None) -> str:
    """The table that is read."""
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_WAIT}")
    cursor.fetchall()
    cursor.execute(
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' "
        "ESCAPE '\\' AND type <> 'shadow' ORDER BY name"
    )
    kinds = dict(cursor.fetchall())
    tables = [name for name, kind in kinds.items() if kind != "view"] or list(kinds)
    if asked is not None:
        matching = [name for name in kinds if name.lower() == asked.lower()]
        if not matching:
            raise SourceError(
                f"no table {asked!r} in the database",
                where=str(file.path),
                expected="one of " + ", ".join(kinds) if kinds else "a table",
            )
        return str(matching[0])
    if len(tables) == 1:
        return str(tables[0])
    if not tables:
        raise SourceError("the database holds no table", where=str(file.path), expected="at least one")
    raise SourceError(
        f"the database holds {len(tables)} tables",
        where=str(file.path),
        expected="one, or the name of one of them",
        got=", ".join(tables[:20]) + (", ..." if len(tables) > 20 else ""),
        remedy=f"{PREFIX}{quote(str(file.path))}?table={quote(tables[0])}",
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """How many values of each kind a column holds, and how it is declared.

    Attributes:
        integers: whole numbers.
        reals: floating-point numbers.
        texts: texts.
        blobs: bytes.
        large: whole numbers beyond 2^53, where there are floating-point numbers too.
        declared: the type in the table's declaration, which SQLite does not enforce.
    """

    name: str
    declared: str
    integers: int
    reals: int
    texts: int
    blobs: int
    large: int

    @property
    def present(self) -> int:
        """The values that are not null."""
        return self.integers + self.reals + self.texts + self.blobs

    @property
    def only_bytes(self) -> bool:
        """Whether there is nothing but bytes."""
        return 0 < self.blobs == self.present

    @property
    def type(self) -> pa.DataType:
        """What it is laid down as."""
        if not self.present:
            return pa.null()
        if self.texts or self.blobs or (self.reals and self.large):
            return pa.string()
        return pa.float64() if self.reals else pa.int64()

    @property
    def expression(self) -> str:
        """What is selected: values of one kind, none of them changed; numbers among texts in all their digits."""
        name = _quoted(self.name)
        if pa.types.is_floating(self.type):
            return f"CAST({name} AS REAL)"
        if not pa.types.is_string(self.type) or self.texts == self.present:
            return name
        return (
            f"CASE typeof({name}) WHEN 'real' THEN printf('%!.17g', {name}) "
            f"WHEN 'blob' THEN 'x''' || hex({name}) || '''' ELSE CAST({name} AS TEXT) END"
        )

    @property
    def kind(self) -> tuple[Role, str] | None:
        """The role that a column of texts has for another reason than its texts."""
        numbers = self.integers + self.reals
        if not pa.types.is_string(self.type) or numbers < FIT * self.present:
            return None
        others = self.present - numbers
        held = f"{numbers:,} numbers" + (f", and {others:,} other values, which are rejected" if others else "")
        return (Role.number if self.reals else Role.integer), held


class _Table:
    """One table, open."""

    def __init__(self, cursor: Any, file: DataFile, name: str) -> None:
        self._cursor = cursor
        self._file = file
        self._from = f"FROM {_quoted(name)} NOT INDEXED"  # an index would give another order
        self._key = f"{file.key}?table={quote(name)}"
        cursor.execute(f"SELECT name, type FROM pragma_table_xinfo({_text(name)}) WHERE hidden <> 1 ORDER BY cid")
        self._declared: dict[str, str] = dict(cursor.fetchall())

    def lay_down(self, path: Path) -> _Copy:
        """All rows into a file."""
        columns = self._count()
        notes = [
            Note(f"column {column.name!r}", "bytes are not read", "no role takes them")
            for column in columns
            if column.only_bytes
        ]
        columns = [column for column in columns if not column.only_bytes]
        if not columns:
            raise SourceError("no column can be used", where=self._key, got="bytes alone")
        roles: dict[str, Role] = {}
        for column in columns:
            found = column.kind or self._time(column)
            if found is not None:
                roles[column.name] = found[0]
                override = f"read: {{roles: {{{column.name}: category}}}}"
                notes.append(Note(f"role of {column.name!r}", found[0].value, found[1], override))
        schema = pa.schema([(column.name, column.type) for column in columns])
        rows, digest = lay_down(self._batches(columns, schema), schema, path)
        laid = Laid(path, self._key, digest, self._file.fingerprint.mtime_ns)
        return _Copy(laid, rows, roles, tuple(notes))

    def _count(self) -> list[_Held]:
        """What each column holds, by one pass over the table for each hundred of them."""
        names = list(self._declared)
        found: list[_Held] = []
        for start in range(0, len(names), _COUNTED_AT_ONCE):
            some = names[start : start + _COUNTED_AT_ONCE]
            numbers = self._numbers(", ".join(_counts(_quoted(name)) for name in some))
            for place, name in enumerate(some):
                present, integers, texts, blobs = numbers[4 * place : 4 * place + 4]
                reals = present - integers - texts - blobs
                large = self._numbers(_beyond(_quoted(name)))[0] if integers and reals else 0
                found.append(_Held(name, self._declared[name].upper(), integers, reals, texts, blobs, large))
        return found

    def _numbers(self, wanted: str) -> list[int]:
        self._cursor.execute(f"SELECT {wanted} {self._from}")
        return [int(value or 0) for value in self._cursor.fetchone()]

    def _time(self, column: _Held) -> tuple[Role, str] | None:
        """Texts that the table declares to be dates or times, where a sample of them is."""
        if not ("DATE" in column.declared or "TIME" in column.declared) or not 0 < column.texts == column.present:
            return None
        name = _quoted(column.name)
        self._cursor.execute(f"SELECT {name} {self._from} WHERE {name} IS NOT NULL LIMIT {_SAMPLE}")
        texts = pa.array([row[0].strip() for row in self._cursor.fetchall()], pa.string())
        fits = find_time_format(texts, FIT) == ISO
        return (Role.time, f"declared as {column.declared}, and written so") if fits else None

    def _batches(self, columns: Sequence[_Held], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows. The driver finds types in the first batch: a first row of examples tells them, and is left out."""
        size = rows_at_once(schema)
        examples = ", ".join(
            f"{'0.0' if pa.types.is_floating(c.type) else repr('') if pa.types.is_string(c.type) else '0'}"
            f" AS {_quoted(c.name)}"
            for c in columns
        )
        wanted = ", ".join(column.expression for column in columns)
        self._cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(size)})
        self._cursor.execute(f"SELECT {examples} UNION ALL SELECT {wanted} {self._from}")
        with self._cursor.fetch_record_batch() as reader:
            for batch in recut(_without_first(reader), size):
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.nulls(len(values)) if pa.types.is_null(field.type) else values
                        for values, field in zip(batch.columns, schema, strict=True)
                    ],
                    schema=schema,
                )


def _without_first(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    skip = 1
    for batch in batches:
        yield batch.slice(min(skip, batch.num_rows))
        skip -= min(skip, batch.num_rows)


def _counts(name: str) -> str:
    """How many values there are, and how many of them are whole numbers, texts and bytes; the others are floats."""
    kinds = ", ".join(f"sum(typeof({name}) = '{kind}')" for kind in ("integer", "text", "blob"))
    return f"count({name}), {kinds}"


def _beyond(name: str) -> str:
    """How many whole numbers a float would round."""
    return f"sum(typeof({name}) = 'integer' AND ({name} > {2**53} OR {name} < -{2**53}))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
