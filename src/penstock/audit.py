"""The audit of cleaning: every cell that a cleaning step changed, before and after. Part of the pipeline's machinery.

The same fitted steps are applied, one after the other instead of fused, and what comes out of each that cleans (see
`penstock.step.Step.cleans`) is compared with what went in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.batch import Batch, Count, RowKeys
from penstock.engine import Transform
from penstock.fusion import Chain
from penstock.pipeline import FittedSteps
from penstock.schema import Field, Role, Schema
from penstock.statistic import Statistic
from penstock.step import Use
from penstock.target import those_left

CELLS = Schema(
    (
        Field("path", pa.string(), Role.key),  # of the file, relative to the source's root
        Field("row", pa.int64(), Role.key),  # from 0, in the file
        Field("column", pa.string(), Role.category),
        Field("before", pa.string(), Role.text),  # null where there was no value
        Field("after", pa.string(), Role.text),  # null where there is none any more
        Field("step", pa.string(), Role.category),  # as in the ledger
    )
)
"""The columns of a table of changed cells: one row for each."""
_LONGEST = 2_000


class ChangedCells(Transform):
    """Maps a batch to the cells of it that steps changed, as rows of `CELLS`.

    Args:
        steps: the fitted steps.
        count: how many of them are looked at, from the first.
        seed: of steps that are random.
    """

    def __init__(self, steps: FittedSteps, count: int, seed: int) -> None:
        cleaning = [place for place in range(count) if steps.steps[place].step.cleans]
        self._stages: list[tuple[str, Chain, tuple[str, ...]]] = []
        needed: tuple[str, ...] = ()
        schemas = [steps.incoming, *(step.schema for step in steps.steps)]
        for place in reversed(range(cleaning[-1] + 1 if cleaning else 0)):
            fitted, incoming, outgoing = steps.steps[place], schemas[place], schemas[place + 1]
            written: tuple[str, ...] = ()
            if fitted.step.cleans:
                touched = fitted.step.touches(incoming)
                written = tuple(name for name in touched.writes if name in incoming and name in outgoing)
            outputs = tuple(dict.fromkeys((*written, *(name for name in needed if name in outgoing))))
            chain = Chain([(steps.labels[place], fitted)], incoming, Use("train", seed), outputs)
            self._stages.insert(0, (steps.labels[place], chain, written))
            needed = tuple(dict.fromkeys((*chain.inputs, *written)))
        self.inputs = needed
        """The columns that have to be read."""

    def transform(self, batch: Batch) -> Batch:
        """The cells that changed, in the order of steps and columns, then of rows."""
        rows = len(batch)
        parts: list[pa.Table] = []
        here = replace(batch, rejected=None)
        for label, chain, written in self._stages:
            after = replace(chain.transform(here), rejected=None)
            before = those_left(here, after)
            parts += [_changed(before, after, name, label) for name in written]
            here = after
        table = pa.concat_tables(parts) if parts else CELLS.to_arrow().empty_table()
        cells = table.combine_chunks()
        columns = cells.to_batches()[0] if cells.num_rows else _empty()
        count = Count("audit", rows_in=rows, made=len(columns), out=len(columns), dropped=rows)
        keys = RowKeys((batch.keys.paths[0],), np.arange(len(columns)))
        return Batch(columns, keys, None, (*batch.counts, count))


def _empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in CELLS], schema=CELLS.to_arrow())


def _changed(before: Batch, after: Batch, name: str, label: str) -> pa.Table:
    old, new = _series(before.column(name)), _series(after.column(name))
    if old.dtype != new.dtype:
        # Whole numbers may come out as numbers with fractions: 3 as 3.0 is no change.
        common = pl.Float64() if old.dtype.is_numeric() and new.dtype.is_numeric() else pl.String()
        old, new = old.cast(common), new.cast(common)
    place = np.flatnonzero(old.ne_missing(new).to_numpy())
    keys = before.keys.take(place)
    return pa.table(
        {
            "path": keys.path_column(),
            "row": pa.array(keys.rows),
            "column": pa.repeat(pa.scalar(name), len(place)),
            "before": _text(old.gather(place)),
            "after": _text(new.gather(place)),
            "step": pa.repeat(pa.scalar(label), len(place)),
        },
        schema=CELLS.to_arrow(),
    )


def _series(values: pa.Array) -> pl.Series:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return pl.Series("", values)


def _text(values: pl.Series) -> pa.Array:
    if isinstance(values.dtype, pl.List):
        return pa.array([None if value is None else str(value.to_list())[:_LONGEST] for value in values], pa.string())
    return values.cast(pl.String).str.slice(0, _LONGEST).to_arrow().cast(pa.string())


_STATE = pa.schema(
    [
        ("step", pa.string()),
        ("column", pa.string()),
        ("changed", pa.int64()),
        ("filled", pa.int64()),
        ("emptied", pa.int64()),
        ("paths", pa.list_(pa.string())),
        ("rows", pa.list_(pa.int64())),
        ("before", pa.list_(pa.string())),
        ("after", pa.list_(pa.string())),
    ]
)
_Example = tuple[str, int, str | None, str | None]


class Changes(Statistic[list[dict[str, Any]]]):
    """How many cells each step changed in each column, with the first examples by path and row. A statistic of `CELLS`.

    The value is a list, by step and column, of ``step``, ``column``, ``changed`` (cells), ``filled`` (of them, those
    that had no value), ``emptied`` (those that have none any more) and ``examples``: path, row, before, after. An
    integer state: any grouping gives the same bytes.

    Args:
        examples: how many are kept of each step and column.

    Example:
        >>> changes = Changes()
        >>> cell = {"path": "a.csv", "row": 3, "column": "city", "before": "n/a", "after": None, "step": "text"}
        >>> cells = pa.RecordBatch.from_pylist([cell], schema=CELLS.to_arrow())
        >>> changes.update(Batch(cells, RowKeys.span("", 0, 1)))
        >>> changes.value()[0]["emptied"]
        1
    """

    kind = "changes"

    def __init__(self, examples: int = 5) -> None:
        self._most = examples
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._examples: dict[tuple[str, str], list[_Example]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of `CELLS`."""
        return CELLS.names

    def parameters(self) -> Mapping[str, Any]:
        """How many examples are kept."""
        return {"examples": self._most}

    def update(self, batch: Batch) -> None:
        """Take in changed cells."""
        frame = pl.DataFrame(pa.Table.from_batches([batch.select(list(CELLS.names)).columns]))
        for (step, column), group in frame.group_by("step", "column", maintain_order=True):
            counts = [len(group), group["before"].null_count(), group["after"].null_count()]
            first = group.sort("path", "row").head(self._most)
            examples = list(first.select("path", "row", "before", "after").iter_rows())
            self._take((str(step), str(column)), counts, examples)

    def _take(self, key: tuple[str, str], counts: Sequence[int], examples: Sequence[_Example]) -> None:
        before = self._counts.get(key, [0, 0, 0])
        self._counts[key] = [one + other for one, other in zip(before, counts, strict=True)]
        both = [*self._examples.get(key, []), *examples]
        self._examples[key] = sorted(both, key=lambda one: (one[0], one[1]))[: self._most]

    def merge(self, other: Self) -> None:
        """Take in another's counts."""
        for key, counts in other._counts.items():
            self._take(key, counts, other._examples[key])

    def value(self) -> list[dict[str, Any]]:
        """By step and column."""
        return [
            {
                "step": step,
                "column": column,
                "changed": changed,
                "filled": filled,
                "emptied": emptied,
                "examples": [
                    dict(zip(("path", "row", "before", "after"), one, strict=True))
                    for one in self._examples[step, column]
                ],
            }
            for (step, column), (changed, filled, emptied) in sorted(self._counts.items())
        ]

    def state(self) -> pa.Table:
        """A row for each step and column."""
        rows = [
            {
                "step": step,
                "column": column,
                "changed": counts[0],
                "filled": counts[1],
                "emptied": counts[2],
                "paths": [one[0] for one in self._examples[step, column]],
                "rows": [one[1] for one in self._examples[step, column]],
                "before": [one[2] for one in self._examples[step, column]],
                "after": [one[3] for one in self._examples[step, column]],
            }
            for (step, column), counts in sorted(self._counts.items())
        ]
        return pa.Table.from_pylist(rows, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the counts."""
        self._counts, self._examples = {}, {}
        for row in state.to_pylist():
            key = (row["step"], row["column"])
            self._counts[key] = [row["changed"], row["filled"], row["emptied"]]
            self._examples[key] = list(zip(row["paths"], row["rows"], row["before"], row["after"], strict=True))
