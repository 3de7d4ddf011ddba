"""The rows of a query: run by DuckDB, laid down once, and read from there.

A source. A query comes from the command line or from Python, never from a pipeline file. It may read files and write
none: one SELECT, on a database that is empty and in memory, with settings that can't be changed and without extensions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from penstock.engine import Resources
from penstock.errors import PenstockError, ResourceError, SchemaError, SourceError, UsageError
from penstock.source import Note, ReadOptions
from penstock.sources.laid_down import Laid, LaidDownSource, TemporaryFolder, lay_down, recut, rows_at_once

PREFIX = "sql:"
"""What an address begins with that is a query."""
KEY = "query"
"""The path of the row keys: rows are known by their place in the result."""
_SHARE = 0.5
"""The share of the job's memory that DuckDB may take; the rest is for batches on their way to the disk."""
_LEAST_MEMORY = 64 * 2**20
_DAY = 86_400.0
_MONTH_DAYS = 30
_LOOK = 0.1
"""How long Ctrl-C may wait [s]."""
_Result = TypeVar("_Result")


def open_sql(query: str, options: ReadOptions, lent: Resources) -> LaidDownSource:
    """Run a query and lay its rows down.

    Args:
        query: one SELECT of DuckDB's SQL, with or without ``sql:`` before it; files are named in it as
            ``FROM 'a.parquet'``, relative to the working directory.
        options: how to read what comes out: roles, missing.
        lent: DuckDB takes half of the memory and all cores, and spills to the temporary folder.

    Raises:
        UsageError: the query is wrong, or is no SELECT; says where.
        SourceError: a file in it can't be read, a value can't be cast, or there are no rows.
        SchemaError: two columns have one name.
        ResourceError: neither memory nor disk suffice.

    Example:
        >>> source = open_sql("sql:SELECT i, i * i AS square FROM range(3) AS t(i)", ReadOptions(), Resources(1, 2**28))
        >>> source.schema.names
        ('i', 'square')
    """
    query = query.removeprefix(PREFIX).strip()
    if any("\ud800" <= sign <= "\udfff" for sign in query):
        raise UsageError("the query is no text", where=PREFIX, expected="UTF-8", got=ascii(query[:60]))
    folder = TemporaryFolder()
    try:
        with _translated(query), _connected(folder.path, lent) as connection:
            ordered = _checked(connection, query)
            path = folder.path / f"{KEY}.parquet"
            rows, digest, notes = _interruptible(connection, lambda: _run(connection, query, path))
    except BaseException:
        folder.close()
        raise
    if not rows:
        folder.close()
        raise SourceError("the query gives no row", where=_shown(query), expected="at least one row", got="0 rows")
    note = Note(
        "query",
        f"{rows:,} rows in the order that the query gives them",
        "ORDER BY makes it certain" if ordered else "without ORDER BY, so another run may give another order",
        "" if ordered else "end the query in ORDER BY",
    )
    laid = Laid(path, KEY, digest)
    return LaidDownSource([laid], folder, options, (note, *notes))


@contextmanager
def _connected(folder: Path, lent: Resources) -> Iterator[Any]:
    spill = folder / "spill"
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{max(_LEAST_MEMORY, int(lent.memory * _SHARE)) // 2**20}MiB",
            "threads": lent.cores,
            "temp_directory": str(spill),
            "extension_directory": str(folder / "extensions"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    try:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _checked(connection: Any, query: str) -> bool:
    """Refuse all but one SELECT; whether it is ordered."""
    statements = connection.extract_statements(query)
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        raise UsageError(
            "not a query",
            where=_shown(query),
            expected="one SELECT",
            got=", ".join(str(kind).rpartition(".")[2] for kind in kinds) or "nothing",
            remedy=f"penstock ... \"{PREFIX}SELECT * FROM 'data.parquet'\"",
        )
    return re.search(r"\border\s+by\b", query, re.IGNORECASE) is not None


def _interruptible(connection: Any, do: Callable[[], _Result]) -> _Result:
    """Do it on another thread: on its own DuckDB looks for no signal, so that Ctrl-C would wait for its end."""
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(do)
        try:
            while not wait([work], timeout=_LOOK).done:
                pass  # a wait without an end is not woken where another thread was given the signal
            return work.result()
        except BaseException:
            connection.interrupt()
            raise


def _run(connection: Any, query: str, path: Path) -> tuple[int, str, list[Note]]:
    """Stream the rows to a file: their number, their digest, and what was changed on the way."""
    connection.execute(f"EXPLAIN {query}").fetchall()  # binds it: unlike a relation, it says where an error is
    relation = connection.sql(query)
    names = list(relation.columns)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SchemaError(
            "two columns have one name",
            where=_shown(query),
            expected="a name for each column",
            got=", ".join(map(repr, doubled)),
            remedy=f"name one of them: {doubled[0]} AS other",
        )
    schema = relation.limit(0).to_arrow_reader(1).schema
    size = rows_at_once(schema)
    reader = relation.to_arrow_reader(size)
    takes, notes = _taken(reader.schema)
    if not len(takes):
        raise SchemaError(
            "no column can be used",
            where=_shown(query),
            expected="columns of numbers, texts, truth values or times",
            got=", ".join(f"{field.name!r}: {field.type}" for field in reader.schema),
            remedy="take them apart in the query: column.field, unnest(column), to_json(column)",
        )
    batches = (_conformed(batch, takes) for batch in recut(reader, size))
    rows, digest = lay_down(batches, takes, path)
    return rows, digest, notes


def _taken(schema: pa.Schema) -> tuple[pa.Schema, list[Note]]:
    """The columns as they are laid down, and what is said about those that differ."""
    fields: list[pa.Field] = []
    notes: list[Note] = []
    for field in schema:
        topic = f"column {field.name!r}"
        if pa.types.is_interval(field.type):
            fields.append(pa.field(field.name, pa.float64()))
            notes.append(
                Note(topic, "intervals in seconds", f"a month counts {_MONTH_DAYS} days, as when DuckDB compares")
            )
        elif pa.types.is_nested(field.type) and not pa.types.is_list(field.type):
            text = f"{field.type} is not read"
            notes.append(Note(topic, text, "no role takes nested values", "take it apart in the query: column.field"))
        elif pa.types.is_binary(field.type) or isinstance(field.type, pa.BaseExtensionType):
            notes.append(Note(topic, f"{field.type} is not read", "no role takes it", "cast it in the query"))
        else:
            fields.append(field)
    return pa.schema(fields), notes


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = batch.column(field.name)
        columns.append(_seconds(values) if pa.types.is_interval(values.type) else values)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _seconds(values: pa.Array) -> pa.Array:
    """Intervals (months, days, nanoseconds) as seconds."""
    lengths = [
        None if one is None else (one.months * _MONTH_DAYS + one.days) * _DAY + one.nanoseconds / 1e9
        for one in values.to_pylist()
    ]
    return pa.array(lengths, pa.float64())


# ---------------------------------------------------------------------- DuckDB's errors

_PLACE = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_CANDIDATES = re.compile(r"^(?:Did you mean|Candidate \w+:) .*$", re.MULTILINE)


@contextmanager
def _translated(query: str) -> Iterator[None]:
    """Errors of DuckDB in our words; Arrow hands them on as its own while a result is streamed."""
    try:
        yield
    except PenstockError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeError, RuntimeError) as error:
        raise _told(query, error) from error


def _told(query: str, error: Exception) -> PenstockError:
    text = str(error).strip()
    first, _, rest = text.partition("\n")
    kind, colon, said = first.partition(" Error: ")
    said = said if colon else first
    where = _shown(query)
    if found := _PLACE.search(text):
        where = f"{where}, line {found[1]}, at {_pointed(found, query)}"
    near = _CANDIDATES.search(rest)
    if "extension" in text and ("INSTALL" in text or "requires the extension" in text or "troubleshooting" in text):
        return UsageError(
            "the query needs an extension of DuckDB, and none is loaded or fetched",
            where=where,
            expected="local files: CSV, Parquet, JSON",
            got=said,
            remedy="give a remote address as the data itself, or fetch the file first",
        )
    if isinstance(error, duckdb.OutOfMemoryException) or kind.endswith("Out of Memory"):
        return ResourceError(
            "the query needs more memory or temporary space than there is",
            where=where,
            got=said,
            remedy="give more with --memory, set TMPDIR to a folder with more space, or select less",
        )
    if isinstance(error, (duckdb.ProgrammingError, duckdb.NotSupportedError)):
        return UsageError("the query is wrong", where=where, got=said, remedy=near[0] if near else "")
    return SourceError("the query failed", where=where, got=said, remedy=near[0] if near else _remedy(said))


def _remedy(said: str) -> str:
    if "No files found" in said:
        return "paths are relative to the working directory; see what is there with ls"
    if "convert" in said.lower():
        return "TRY_CAST gives null where a value can't be cast"
    return ""


def _pointed(found: re.Match[str], query: str) -> str:
    """The words of the query that DuckDB points at."""
    shown, column = found[2], len(found[3]) - len(f"LINE {found[1]}: ")
    words = shown[column : column + 30].strip() if 0 <= column < len(shown) else ""
    return repr(words) if words else "its end"


def _shown(query: str) -> str:
    line = " ".join(query.split())
    return PREFIX + (line if len(line) <= 60 else line[:57] + "...")
