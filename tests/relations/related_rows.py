"""Small tables as sources of many blocks, and the rows of what relations make of them, checked by the way."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.batch import Batch, Count, add_counts
from penstock.engine import Resources, Silent
from penstock.relation import Relation
from penstock.relational import related
from penstock.schema import Role
from penstock.source import BLOCK_ROWS, Note, ReadOptions, Source
from penstock.sources.files import Limits, find_files
from penstock.sources.parquet import ParquetSource
from penstock.summary import total

TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.string(),
    "key": pa.string(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us"),
}


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def said(self, note: Note) -> None:
        self.notes.append(note)

    @property
    def text(self) -> str:
        return "\n".join(map(str, self.notes))


def source_of(
    folder: Path, columns: Mapping[str, tuple[str, Sequence[Any]]], *, name: str = "rows", block: int = 3
) -> Source:
    """A Parquet file as a source of blocks of so many rows and chunks of a few blocks.

    ``columns`` gives for each name its role and its values.
    """
    path = folder / f"{name}.parquet"
    arrays = {column: pa.array(values, TYPES[role]) for column, (role, values) in columns.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=2 * block)
    options = ReadOptions(roles={column: Role(role) for column, (role, _) in columns.items()})
    return ParquetSource(find_files(path), options, Limits(block_rows=block, chunk_bytes=300))


def frame_of(columns: Mapping[str, tuple[str, Sequence[Any]]]) -> pl.DataFrame:
    """The same values for Polars."""
    found = {name: pl.Series(name, pa.array(values, TYPES[role])) for name, (role, values) in columns.items()}
    return pl.DataFrame([s.cast(pl.Float64) if s.dtype == pl.Int64 else s for s in found.values()])


def laid(
    source: Source, *relations: Relation, cores: int = 2, memory: int = 2**30, folder: Path | None = None
) -> tuple[Source, Heard]:
    """The source after the relations, laid down in a folder, and what was said."""
    heard = Heard()
    place = folder or Path(tempfile.mkdtemp(prefix="related-"))
    try:
        found = related(source, relations).laid_down(place / "relations", Resources(cores, memory), heard)
    except BaseException:
        if folder is None:
            shutil.rmtree(place)
        raise
    if folder is None:
        weakref.finalize(found, shutil.rmtree, place)
    return found, heard


def batches_of(source: Source, columns: Sequence[str] | None = None) -> list[Batch]:
    return [batch for chunk in source.chunks() for batch in source.read(chunk, columns)]


def rows_of(source: Source) -> pl.DataFrame:
    """All rows of a source that was laid down; the laws are checked on the way."""
    batches = batches_of(source)
    counts = counts_of(source)
    assert all(count.balanced for count in counts), counts
    assert total(counts).balanced, counts
    assert counts[-1].out == sum(map(len, batches))
    keys = keys_of(batches)
    assert len(set(keys)) == len(keys), "row keys are not unique"
    for batch in batches:
        assert len(batch) <= BLOCK_ROWS and len(batch.keys) == len(batch)
        assert tuple(batch.columns.schema.names) == source.schema.names
    for name in source.schema.names:
        alone = batches_of(source, (name,))
        assert [len(one) for one in alone] == [len(one) for one in batches], f"blocks differ when {name!r} is read"
        assert _column(alone, name, source).equals(_column(batches, name, source)), name
    backwards = [list(source.read(chunk)) for chunk in reversed(list(source.chunks()))]
    assert keys_of([batch for part in reversed(backwards) for batch in part]) == keys
    return pl.DataFrame({name: pl.Series(name, _column(batches, name, source)) for name in source.schema.names})


def _column(batches: Sequence[Batch], name: str, source: Source) -> pa.ChunkedArray:
    kind = source.schema[name].type
    return pa.chunked_array([batch.column(name).cast(kind) for batch in batches], kind).combine_chunks()


def keys_of(batches: Sequence[Batch]) -> list[tuple[str, int]]:
    return [
        key
        for batch in batches
        for key in zip(batch.keys.path_column().to_pylist(), batch.keys.rows.tolist(), strict=True)
    ]


def counts_of(source: Source) -> tuple[Count, ...]:
    return add_counts(*(batch.counts for batch in batches_of(source)))


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """See that two tables are equal, in order; floats to 1e-9."""
    from polars.testing import assert_frame_equal

    assert_frame_equal(one, other, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)
