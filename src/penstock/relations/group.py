"""Group: a row for each group of rows.

A relation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Count, record_batch
from penstock.errors import SchemaError, UsageError
from penstock.relation import Outcome, Relation, Shape, Workbench, names_of, one_of, require
from penstock.relations.runs import Run, runs_of
from penstock.schema import Field, Role, Schema
from penstock.source import Note

FUNCTIONS = ("count", "sum", "mean", "min", "max", "first", "last", "std", "n_unique", "median")
_SUMS = ("sum", "mean", "std")
_SQL = {
    "count": "count({0})::DOUBLE",
    "min": "min({0})",
    "max": "max({0})",
    "first": "arg_min({0}, position)",
    "last": "arg_max({0}, position)",
    "n_unique": "count(DISTINCT {0})::DOUBLE",
    "median": "median({0})",
}
"""Functions whose result does not depend on the order in which values are met, so that threads change nothing."""


@dataclass(frozen=True)
class Group(Relation):
    """A row for each group of rows that are equal in ``by``; missing values are a group of their own.

    Groups come in the order of their first rows, and have the row keys of these. Missing values are no values: "count"
    counts the others, "sum" of none is 0, and of no value all else is missing. Sums, means and standard deviations
    (of the sample, divided by n - 1) are summed in the order of the rows, so they are the same to the bit each time.

    Formula:
        mean   sum(x) / n
        std    sqrt(sum((x - mean)^2) / (n - 1))

    Args:
        by: the columns that say the group; none for one group of all rows.
        columns: new columns: ``{new: [function, column]}``. Functions are count, sum, mean, min, max, first, last, std,
            n_unique, median; "first" and "last" are of the values that are not missing. ``count`` of "*" counts rows.

    Raises:
        UsageError: there is no such function.

    Example:
        >>> Group("customer", {"orders": ("count", "*"), "spent": ("sum", "price")}).columns["spent"]
        ('sum', 'price')
    """

    by: str | tuple[str, ...]
    columns: Mapping[str, tuple[str, str]]

    name = "group"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", names_of(self.by, "by", empty=True))
        if not isinstance(self.columns, Mapping) or not self.columns:
            raise UsageError("no new columns", where="columns", expected="{new: [function, column]}")
        for new, pair in self.columns.items():
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise UsageError("not a function of a column", where="columns", expected="[sum, price]", got=repr(pair))
            one_of(pair[0], FUNCTIONS, "columns")
            if new in self.by:
                raise UsageError("a column has two meanings", where="columns", got=f"{new!r}, which is in by")
        object.__setattr__(self, "columns", {new: (str(f), str(c)) for new, (f, c) in self.columns.items()})

    def _reads(self) -> tuple[str, ...]:
        wanted = (column for function, column in self.columns.values() if (function, column) != ("count", "*"))
        return tuple(dict.fromkeys((*names_of(self.by, "by", empty=True), *wanted)))

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The columns of ``by``, and the new ones."""
        by = names_of(self.by, "by", empty=True)
        require(incoming, by, "group: by")
        require(incoming, self._reads(), "group: columns")
        fields = [incoming[name] for name in by]
        for new, (function, column) in self.columns.items():
            fields.append(self._field(new, function, column, incoming))
        return Shape(Schema(tuple(fields)), self._reads() or incoming.names[:1], {name: name for name in by})

    def _field(self, new: str, function: str, column: str, incoming: Schema) -> Field:
        reason = f"{function} of {column!r}"
        if function in ("count", "n_unique"):
            return Field(new, pa.float64(), Role.integer, reason)
        of = incoming[column]
        if function in (*_SUMS, "median") and not pa.types.is_float64(of.type):
            raise SchemaError(
                f"no {function} of these values",
                where=f"group: {new!r}",
                expected="a column of numbers",
                got=f"{column!r} ({of.kind.value})",
                remedy=f"roles: {{{column}: number}}, or one of count, n_unique, first, last",
            )
        if function in ("min", "max") and pa.types.is_nested(of.type):
            raise SchemaError(f"no {function} of lists", where=f"group: {new!r}", got=f"{column!r} ({of.kind.value})")
        if function in (*_SUMS, "median"):
            return Field(new, pa.float64(), Role.number, reason)
        return replace(of, name=new, reason=reason)

    def run(self, bench: Workbench) -> Outcome:
        """Mark the first row of each group, and lay the new columns down in their order."""
        reads, by = self._reads(), names_of(self.by, "by", empty=True)
        place = {name: f"c{i}" for i, name in enumerate(reads)}
        exact = {new: pair for new, pair in self.columns.items() if pair[0] not in _SUMS}
        what = [
            "count(*)::DOUBLE" if pair == ("count", "*") else _SQL[pair[0]].format(place[pair[1]])
            for pair in exact.values()
        ]
        chosen = ", ".join(f"{text} AS a{i}" for i, text in enumerate(what))
        keys = f"GROUP BY {', '.join(place[name] for name in by)}" if by else "HAVING count(*) > 0"
        query = f"SELECT min(position) AS position{', ' if chosen else ''}{chosen} FROM rows {keys} ORDER BY 1"
        first = bench.array("repeats.npy", "uint8", bench.rows.rows)
        schema = pa.schema([(new, bench.shape.schema[new].type) for new in exact])

        def groups() -> Iterator[pa.RecordBatch]:
            for batch in bench.query(query, reads):
                first[batch.column(0).to_numpy()] = 1
                arrays = [column.cast(kind) for column, kind in zip(batch.columns[1:], schema.types, strict=True)]
                yield record_batch(arrays, schema.names, batch.num_rows)

        bench.write("exact.arrow", groups(), schema)
        beside: dict[str, tuple[tuple[str, ...], str]] = {new: (("exact.arrow",), new) for new in exact}
        beside |= self._sums(bench, first, by)
        rows, out = bench.rows.rows, int(np.count_nonzero(first))
        count = Count(self.name, rows_in=rows, out=out, dropped=rows - out)
        note = Note(
            "group", f"{out:,} groups of {rows:,} rows", f"by {', '.join(map(repr, by)) or 'nothing: one group'}"
        )
        return Outcome(out, count, "repeats.npy", beside, notes=(note,))

    def _sums(
        self, bench: Workbench, first: npt.NDArray[np.uint8], by: Sequence[str]
    ) -> dict[str, tuple[tuple[str, ...], str]]:
        """Sums, means and deviations: the rows in the order of groups, each summed in the order of its rows."""
        wanted = {new: pair for new, pair in self.columns.items() if pair[0] in _SUMS}
        values = tuple(dict.fromkeys(column for _, column in wanted.values()))
        if not values:
            return {}
        found = {new: bench.array(f"sum-{i}.npy", "float64", bench.rows.rows) for i, new in enumerate(wanted)}
        for part in runs_of(bench, by, values):
            state = part.carried or {}
            for column in values:
                state[column] = _added(state.get(column), part, column)
            for new, (function, column) in wanted.items():
                found[new][part.first] = _finished(function, state[column], len(part.first))
            part.carry(state)
        return {new: self._laid(bench, i, new, first, found[new]) for i, new in enumerate(wanted)}

    def _laid(
        self, bench: Workbench, number: int, new: str, first: npt.NDArray[np.uint8], values: npt.NDArray[np.float64]
    ) -> tuple[tuple[str, ...], str]:
        """What stands at the first rows of the groups, one after the other."""

        def batches() -> Iterator[pa.RecordBatch]:
            for start in range(0, len(first), 2**18):
                stays = first[start : start + 2**18].astype(np.bool_)
                array = pa.array(values[start : start + 2**18][stays], from_pandas=True)
                yield record_batch([array], [new], len(array))

        bench.write(f"sum-{number}.arrow", batches(), pa.schema([(new, pa.float64())]))
        return (f"sum-{number}.arrow",), new


@dataclass(frozen=True)
class _Sums:
    """Of each run of rows: how many values, their sum, mean, and the sum of their squared deviations from it."""

    count: npt.NDArray[np.float64]
    total: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]


def _added(before: _Sums | None, part: Run, column: str) -> _Sums:
    """The sums of a part's runs; its first goes on where the last of the part before ended, if it is of its group.

    Two parts of one run are put together as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances", 1979.
    """
    array = part.columns[column]
    present = pc.is_valid(array).to_numpy(zero_copy_only=False)
    values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        count = np.add.reduceat(present.astype(np.float64), part.starts)
        total = np.add.reduceat(values, part.starts)
        mean = np.where(count > 0, total / count, 0.0)
        spread = np.where(present, values - np.repeat(mean, part.lengths), 0.0)
        squares = np.add.reduceat(spread * spread, part.starts)
        if before is not None and part.goes_on:
            old = (before.count[-1], before.mean[-1], before.squares[-1])
            both = old[0] + count[0]
            if both:
                gap = mean[0] - old[1]
                squares[0] += old[2] + gap * gap * old[0] * count[0] / both
                total[0] += before.total[-1]
                mean[0] = total[0] / both
            count[0] = both
    return _Sums(count, total, mean, squares)


def _finished(function: str, sums: _Sums, groups: int) -> npt.NDArray[Any]:
    """Sums, means or deviations; NaN where there is none, or where it is beyond what a float holds."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if function == "sum":
            values = sums.total
        elif function == "mean":
            values = np.where(sums.count > 0, sums.mean, np.nan)
        else:
            values = np.where(sums.count > 1, np.sqrt(sums.squares / (sums.count - 1)), np.nan)
    return np.where(np.isfinite(values), values, np.nan)[:groups]
