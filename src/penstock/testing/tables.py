"""A source over a table in memory, cut as small as a test wants it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from penstock.batch import Batch, Count, RowKeys
from penstock.schema import Field, Role, Schema
from penstock.source import Chunk, Fingerprint, Source


class TableSource(Source):
    """Rows of a table, in blocks of ``block`` rows and chunks of ``blocks`` blocks.

    Args:
        table: the rows.
        roles: by column; where there is none, by the column's type.
        block: rows of a block.
        blocks: blocks of a chunk.
    """

    def __init__(
        self, table: pa.Table, roles: Mapping[str, Role] | None = None, *, block: int = 100, blocks: int = 3
    ) -> None:
        self._table = table.combine_chunks()
        self._roles = dict(roles or {})
        self._block = block
        self._blocks = blocks
        self.schema = Schema(
            tuple(Field(f.name, f.type, self._roles.get(f.name, _role_of(f.type))) for f in self._table.schema)
        )

    def chunks(self) -> Iterator[Chunk]:
        """Runs of rows."""
        size = self._block * self._blocks
        for index, start in enumerate(range(0, self._table.num_rows, size)):
            rows = min(size, self._table.num_rows - start)
            yield Chunk(index, ({"start": start, "rows": rows},), rows * 8 * len(self.schema), rows)

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The blocks of a run."""
        names = list(self.schema.names if columns is None else columns)
        for part in chunk.parts:
            for start in range(part["start"], part["start"] + part["rows"], self._block):
                rows = min(self._block, part["start"] + part["rows"] - start)
                piece = self._table.select(names).slice(start, rows).combine_chunks()
                arrays = [column.chunk(0) for column in piece.columns]
                yield Batch(
                    pa.RecordBatch.from_arrays(arrays, names=names),
                    RowKeys.span("table", start, rows),
                    counts=(Count("read", rows_in=rows, out=rows),),
                )

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the table, as though it were a file."""
        return (Fingerprint("table", self._table.nbytes, 0, f"{self._table.num_rows} rows"),)

    def with_roles(self, roles: Mapping[str, Role]) -> Source:
        """The same rows with other roles."""
        same = TableSource(self._table, self._roles, block=self._block, blocks=self._blocks)
        for name, role in roles.items():
            same.schema = same.schema.with_role(name, role)
        return same

    @property
    def block_nbytes(self) -> int:
        """Of a block [bytes]."""
        return max(1, self._block * 8 * len(self.schema))


def _role_of(kind: pa.DataType) -> Role:
    if pa.types.is_floating(kind):
        return Role.number
    if pa.types.is_boolean(kind):
        return Role.boolean
    if pa.types.is_timestamp(kind):
        return Role.time
    return Role.category
