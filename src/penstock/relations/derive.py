"""DeriveColumns: new columns of each row, before what needs other rows: a week to group by, a price times a quantity.

A relation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from penstock.batch import Count, record_batch
from penstock.errors import UsageError
from penstock.expression import Typed, parse
from penstock.relation import Outcome, Relation, Shape, Workbench
from penstock.schema import Schema


@dataclass(frozen=True)
class DeriveColumns(Relation):
    """New columns, each computed from the row by an expression such as ``price * quantity``.

    The same as the step `Derive`, for columns that other relations work with, and for a target. All expressions see
    the columns that come in; what needs a column derived here is a further relation. A column of a name that is there
    is replaced, at its place.

    Args:
        columns: the expression of each column, by its name; see `penstock.expression`.

    Raises:
        UsageError: an expression is not of the grammar; the message gives the place.

    Example:
        >>> DeriveColumns({"week": "date_trunc('week', sold_at)", "paid": "price * quantity"}).columns["paid"]
        'price * quantity'
    """

    columns: Mapping[str, str]

    name = "derive"
    by_row = True

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping) or not self.columns:
            raise UsageError(
                "no columns to derive",
                where="derive: columns",
                expected="a mapping of names to expressions, such as {paid: price * quantity}",
                got=repr(self.columns),
            )
        object.__setattr__(self, "columns", dict(self.columns))
        for name, text in self.columns.items():
            if not isinstance(name, str) or not isinstance(text, str):
                got = f"{name!r}: {text!r}"
                raise UsageError("not an expression", where="derive: columns", expected="a text by its name", got=got)
            parse(text, f"derive: column {name!r}")

    def _typed(self, schema: Schema) -> dict[str, Typed]:
        return {name: parse(text, f"derive: column {name!r}").typed(schema) for name, text in self.columns.items()}

    def possible(self, incoming: Schema, needed: Collection[str]) -> Relation | None:
        """Without the columns that are made of columns that are not there, and that nobody needs."""
        kept = {
            name: text
            for name, text in self.columns.items()
            if name in needed or all(read in incoming for read in parse(text, f"derive: column {name!r}").columns)
        }
        if len(kept) == len(self.columns):
            return self
        return DeriveColumns(kept) if kept else None

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The incoming columns and the new ones."""
        typed = self._typed(incoming)
        reads = tuple(dict.fromkeys(name for one in typed.values() for name in one.expression.columns))
        fields = [one.field(name) for name, one in typed.items()]
        return Shape(incoming.put(*fields), reads, {name: name for name in incoming.names if name not in typed})

    def run(self, bench: Workbench) -> Outcome:
        """Compute the columns and lay them down."""
        typed = self._typed(bench.rows.schema)
        reads = bench.shape.reads
        inputs = {name: pl.col(f"c{i}") for i, name in enumerate(reads)}
        chosen = [one.to_polars(inputs).alias(f"d{i}") for i, one in enumerate(typed.values())]
        schema = pa.schema([(f"d{i}", one.type) for i, one in enumerate(typed.values())])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in bench.rows.batches(reads):
                # A constant is one value for all rows, and without a column to read there would be one row.
                frame = pl.DataFrame(
                    {"rows": pl.repeat(True, batch.num_rows, eager=True)}
                    | {f"c{i}": pl.from_arrow(column) for i, column in enumerate(batch.columns)}
                )
                made = frame.with_columns(chosen)
                arrays = [
                    made[name].to_arrow().cast(kind) for name, kind in zip(schema.names, schema.types, strict=True)
                ]
                yield record_batch(arrays, schema.names, batch.num_rows)

        rows = bench.rows.rows
        bench.write("derived.arrow", batches(), schema)
        beside = {name: (("derived.arrow",), f"d{i}") for i, name in enumerate(typed)}
        return Outcome(rows, Count(self.name, rows_in=rows, out=rows), beside=beside)
