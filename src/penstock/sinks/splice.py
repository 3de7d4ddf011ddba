"""Rows put into a part at their places: the same part, with rows between its own.

Part of the sinks: what a replay makes of the parts that rejected rows belong to. Memory holds a row group and the rows
that come into it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from penstock.durable import writing
from penstock.sink import Part
from penstock.sinks.csv_cells import csv_cells, csv_schema
from penstock.sinks.parts import Format, PartFile, tables_of

Places = npt.NDArray[np.int64]


def splice(path: Path, to: Path, places: Places, rows: pa.Table, kind: Format) -> Part:
    """Write a part again, durable, with rows between its own.

    Args:
        path: the part.
        to: where the new one is written.
        places: ascending, shape (rows,): before which row of the part each row comes; the part's length is its end.
        rows: the rows, in the part's schema.
        kind: the format of both.

    Raises:
        ResourceError: the new one can't be written.

    Example:
        >>> import tempfile, pyarrow.parquet as pq
        >>> folder = Path(tempfile.mkdtemp())
        >>> pq.write_table(pa.table({"x": [1, 2, 4]}), folder / "old.parquet")
        >>> part = splice(
        ...     folder / "old.parquet", folder / "new.parquet", np.array([0, 2]), pa.table({"x": [0, 3]}), "parquet"
        ... )
        >>> part.rows, pq.read_table(folder / "new.parquet").column("x").to_pylist()
        (5, [0, 1, 2, 3, 4])
    """
    with writing(to):
        file = PartFile(to, rows.schema, kind)
        try:
            pieces = _csv_pieces(path, places, rows) if kind == "csv" else _pieces(path, places, rows, kind)
            for piece in pieces:
                if isinstance(piece, bytes):
                    file.append(piece)
                else:
                    file.write(piece)
            part = file.seal()
        except BaseException:
            file.abandon()
            raise
    if kind != "csv":
        return part
    return Part(part.name, _records(to), part.nbytes, part.sha256)


def _pieces(path: Path, places: Places, rows: pa.Table, kind: Format) -> Iterator[pa.RecordBatch]:
    start = 0
    for table in tables_of(path, kind):
        stop = start + table.num_rows
        low, high = np.searchsorted(places, (start, stop))
        yield from _merged(table, places[low:high] - start, rows.slice(low, high - low))
        start = stop
    yield from rows.slice(int(np.searchsorted(places, start))).combine_chunks().to_batches()


def _merged(table: pa.Table, places: Places, rows: pa.Table) -> Iterator[pa.RecordBatch]:
    if not len(places):
        yield from table.to_batches()
        return
    both = pa.concat_tables([table, rows.cast(table.schema)])
    order = np.argsort(np.concatenate([np.arange(table.num_rows) + 0.5, places.astype(np.float64)]), kind="stable")
    yield from both.take(pa.array(order)).combine_chunks().to_batches()


def _csv_pieces(path: Path, places: Places, rows: pa.Table) -> Iterator[bytes]:
    """The records of a file, behind its head, with those of the rows between them."""
    added = [_record(rows.slice(number, 1)) for number in range(rows.num_rows)]
    next_one = 0
    for number, record in enumerate(_csv_records(path)):
        if number == 0:
            continue  # the head is written by whoever writes the file
        while next_one < len(added) and places[next_one] <= number - 1:
            yield added[next_one]
            next_one += 1
        yield record
    yield from added[next_one:]


def _record(row: pa.Table) -> bytes:
    out = io.BytesIO()
    with pacsv.CSVWriter(out, csv_schema(row.schema), write_options=pacsv.WriteOptions(include_header=False)) as writer:
        for batch in row.combine_chunks().to_batches():
            writer.write_batch(csv_cells(batch))
    return out.getvalue()


def _csv_records(path: Path) -> Iterator[bytes]:
    """The records of a CSV file that we wrote: a line end between quotes is no end."""
    held = b""
    with path.open("rb") as file:
        for line in file:
            held += line
            if held.count(b'"') % 2 == 0:
                yield held
                held = b""
    if held:
        yield held


def _records(path: Path) -> int:
    return sum(1 for _ in _csv_records(path)) - 1
