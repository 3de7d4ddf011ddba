"""Filter: rows that meet a condition.

A relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.batch import Count
from penstock.errors import SchemaError
from penstock.expression import parse
from penstock.relation import Outcome, Relation, Shape, Workbench
from penstock.schema import Schema
from penstock.source import Note


@dataclass(frozen=True)
class Filter(Relation):
    """The rows for which a condition is true; where it is false or missing they are dropped.

    Args:
        where: an expression of the row's columns, see `penstock.expression`.

    Raises:
        UsageError: it is not of the grammar.

    Example:
        >>> Filter("age >= 18 and country in ('CN', 'DE')")
        Filter(where="age >= 18 and country in ('CN', 'DE')")
    """

    where: str

    name = "filter"
    by_row = True

    def __post_init__(self) -> None:
        parse(self.where, "where")

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The same columns."""
        typed = parse(self.where, "filter").typed(incoming)
        if typed.kind != "truth value":
            raise SchemaError(
                "not a condition",
                where="filter",
                expected="an expression that is true or false, such as age >= 18",
                got=f"{self.where}, a {typed.kind}",
            )
        return Shape(incoming, typed.expression.columns, {name: name for name in incoming.names})

    def run(self, bench: Workbench) -> Outcome:
        """Mark the rows that stay."""
        typed = parse(self.where, "filter").typed(bench.rows.schema)
        names = typed.expression.columns
        condition = typed.to_polars({name: pl.col(f"c{i}") for i, name in enumerate(names)})
        stays = bench.array("repeats.npy", "uint8", bench.rows.rows)
        at = 0
        for batch in bench.rows.batches(names):
            stays[at : at + batch.num_rows] = _met(batch, condition)
            at += batch.num_rows
        out = int(np.count_nonzero(stays))
        gone = at - out
        note = Note("filter", f"{gone:,} of {at:,} rows are dropped", f"not {self.where}")
        return Outcome(out, Count(self.name, rows_in=at, out=out, dropped=gone), "repeats.npy", notes=(note,))


def _met(batch: pa.RecordBatch, condition: pl.Expr) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if not batch.num_columns:  # a condition of no column: the same for every row
        return np.full(batch.num_rows, bool(pl.select(condition.fill_null(False)).item()))
    frame = pl.DataFrame({f"c{i}": pl.from_arrow(column) for i, column in enumerate(batch.columns)})
    met = frame.select(met=condition.fill_null(False))["met"].to_numpy()
    return np.broadcast_to(met, (batch.num_rows,))
