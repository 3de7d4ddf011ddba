"""Queries of relational work, run by DuckDB within what the job may hold; its errors in our words.

Part of the pipeline's machinery, beside `relational.py`. Queries are those of `relations/`: no SQL, no name of a
column and no path out of data or files gets here. DuckDB may read and write nothing but its own temporary folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from penstock.engine import Resources
from penstock.errors import DataError, PenstockError, ResourceError
from penstock.resources import give_back, held, show_bytes

LEAST_MEMORY = 48 * 2**20
"""With less, DuckDB can't sort or join at all [bytes]."""
SHARE = 0.8
"""The share of what is left of the job's memory that DuckDB may count; it holds more than it counts."""
ROWS = 65_536
"""Rows that a result is handed out in."""


@contextmanager
def connected(folder: Path, lent: Resources) -> Iterator[Any]:
    """A connection to an empty database in memory, which spills into ``folder``.

    Raises:
        ResourceError: what the job may hold is used up.
    """
    give_back()
    left = int((lent.memory - held()) * SHARE)
    if left < LEAST_MEMORY:
        raise ResourceError(
            "relational work does not fit into the memory given",
            expected=f"{show_bytes(LEAST_MEMORY / SHARE)} beside the {show_bytes(held())} that the process holds",
            got=show_bytes(lent.memory),
            remedy=f"--memory {-(-int(held() + 2 * LEAST_MEMORY / SHARE) // 2**20)}MiB or more",
        )
    with translated():
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{left // 2**20}MiB",
                "threads": lent.cores,
                "temp_directory": str(folder / "spill"),
                "extension_directory": str(folder / "extensions"),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
                "preserve_insertion_order": "false",  # what has an order says ORDER BY
            },
        )
    try:
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def run(connection: Any, sql: str, tables: Mapping[str, pa.RecordBatchReader]) -> Iterator[pa.RecordBatch]:
    """The rows of a query, as they come.

    Raises:
        ResourceError: neither memory nor disk suffice.
        DataError: it fails otherwise.
    """
    with translated():
        for name, reader in tables.items():
            connection.register(name, reader)
        try:
            yield from connection.sql(sql).to_arrow_reader(ROWS)
        finally:
            for name in tables:
                connection.unregister(name)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of DuckDB in our words; Arrow hands them on as its own while a result is streamed."""
    try:
        yield
    except PenstockError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
        text = str(error).strip()
        said = text.partition("\n")[0]
        if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in text or "out of memory" in text:
            raise ResourceError(
                "relational work needs more memory or disk than there is",
                where="data",
                got=said,
                remedy="give more with --memory, write to a disk with more space, or use fewer columns as keys",
            ) from error
        raise DataError("relational work failed", where="data", got=said) from error
