"""The step that cuts numbers into bins: `Bin`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.distribution import HistogramValue
from penstock.statistics.histogram import Histogram
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import as_float64, as_type, chosen_of, retyped

_MOST = 4096
_NARROW = 1e-8
"""Bins of quantiles that are no wider than this are joined, as scikit-learn's KBinsDiscretizer does."""


@dataclass(frozen=True, slots=True)
class Bin(Step):
    """Numbers become the bin that they fall into: from its lower edge, below its upper one.

    The first bin takes all that is below it, the last all that is above. A column of one value, or of none, has one
    bin. Nulls stay null (zeros where there is a column for each bin).

    Formula:
        bin i holds e[i] <= x < e[i + 1]
        quantile   e[i] = Q(i / bins)
        uniform    e[i] = min + i (max - min) / bins

        As scikit-learn's KBinsDiscretizer. Q is the quantile, interpolated linearly: exact for up to 4,096 distinct
        values, and else within a bucket of the histogram.

    Args:
        columns: columns of numbers.
        bins: how many bins, 2 to 4096; fewer where quantiles fall together. Not where ``edges`` are given.
        strategy: "quantile" for about as many values in each, "uniform" for bins of one width.
        edges: what lies between the bins, ascending: n edges make n + 1 bins. Nothing is learned then.
        output: "number" for the bin's number from 0 (a column of whole numbers); "label" for its name, such as
            "[18, 30)" (a column of categories); "one_hot" for a column ``NAME_[18, 30)`` of 0 and 1 for each bin.

    Raises:
        UsageError: an argument is not one of these.
        SchemaError: a column is not of numbers, or two columns would have one name.

    Example:
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("age", pa.float64(), Role.number),))
        >>> batch = batch_of(schema, {"age": [17.0, 18.0, 70.0, None]})
        >>> step = Bin("age", edges=[18, 65], output="label")
        >>> fit_step(step, schema, [batch]).transform(batch, Use()).column("age").to_pylist()
        ['below 18', '[18, 65)', '65 and above', None]
    """

    columns: ColumnsLike
    bins: int = 10
    strategy: Literal["quantile", "uniform"] = "quantile"
    edges: tuple[float, ...] | None = None
    output: Literal["number", "label", "one_hot"] = "number"

    name = "bin"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        for setting, values in (("strategy", ("quantile", "uniform")), ("output", ("number", "label", "one_hot"))):
            if getattr(self, setting) not in values:
                raise UsageError(
                    "not a choice",
                    where=f"bin: {setting}",
                    expected=", ".join(values),
                    got=repr(getattr(self, setting)),
                )
        if not isinstance(self.bins, int) or isinstance(self.bins, bool) or not 2 <= self.bins <= _MOST:
            raise UsageError(
                "not a number of bins",
                where="bin: bins",
                expected=f"a whole number from 2 to {_MOST}",
                got=repr(self.bins),
            )
        if self.edges is not None:
            object.__setattr__(self, "edges", _edges(self.edges))

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "numbers")

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns, and writes them; with "one_hot" removes them for columns that are known once fitted."""
        names = tuple(field.name for field in self._fields(schema))
        if self.output == "one_hot":
            return Columns(reads=names, writes=(), removes=names)
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The histogram of each column, under its name; none where the edges are given."""
        fields = self._fields(schema)
        return {} if self.edges is not None else {field.name: Histogram(field.name) for field in fields}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedBin:
        """The step with its edges."""
        cuts = []
        for field in self._fields(schema):
            if self.edges is not None:
                cuts.append(Cuts(field, self.edges))
            else:
                cuts.append(self._learned(field, values[field.name]))
        return FittedBin(self, self._schema(schema, {cut.field.name: cut for cut in cuts}), tuple(cuts))

    def _learned(self, field: Field, histogram: HistogramValue) -> Cuts:
        """The edges of a distribution."""
        low, high = histogram.minimum, histogram.maximum
        if not histogram.count or low == high:
            return Cuts(field, (), low if histogram.count else 0.0, high if histogram.count else 0.0)
        shares = np.linspace(0.0, 1.0, self.bins + 1)
        if self.strategy == "uniform":
            near = math.isfinite(high - low)  # else they are further apart than a float can tell
            edges = np.linspace(low, high, self.bins + 1) if near else low * (1.0 - shares) + high * shares
        else:
            edges = histogram.quantile(shares)
            edges = edges[np.ediff1d(edges, to_begin=np.inf) > _NARROW]
        inner = tuple(np.unique(edges[1:-1]).tolist())
        return Cuts(field, inner, float(edges[0]), float(edges[-1]))

    def _schema(self, schema: Schema, cuts: Mapping[str, Cuts]) -> Schema:
        fields: list[Field] = []
        for field in schema:
            cut = cuts.get(field.name)
            if cut is None:
                fields.append(field)
            elif self.output == "number":
                fields.append(retyped(field, pa.float64(), Role.integer))
            elif self.output == "label":
                coded = retyped(field, pa.string(), Role.category)
                fields.append(Field(coded.name, coded.type, coded.role, coded.reason, cut.labels, coded.values))
            else:
                fields += [Field(name, pa.float32(), Role.number, f"bin of {field.name!r}") for name in cut.names]
        met: set[str] = set()
        for field in fields:
            if field.name in met:
                raise SchemaError(
                    "two columns would have one name",
                    where="step 'bin'",
                    got=repr(field.name),
                    remedy="rename a column before",
                )
            met.add(field.name)
        return Schema(tuple(fields))


def _edges(given: Any) -> tuple[float, ...]:
    """Edges as floats.

    Raises:
        UsageError: they are not finite numbers that ascend.
    """
    edges = tuple(given) if isinstance(given, (tuple, list)) else ()
    good = all(isinstance(edge, (int, float)) and not isinstance(edge, bool) and math.isfinite(edge) for edge in edges)
    rising = good and all(a < b for a, b in pairwise(edges))
    if not edges or not rising or len(edges) >= _MOST:
        raise UsageError(
            "not edges", where="bin: edges", expected="finite numbers, each above the one before", got=repr(given)
        )
    return tuple(float(edge) for edge in edges)


@dataclass(frozen=True, slots=True)
class Cuts:
    """One column's bins.

    Attributes:
        field: the column.
        edges: what lies between the bins, ascending.
        low: the lower end of the first bin, where it is known.
        high: the upper end of the last bin, where it is known.
    """

    field: Field
    edges: tuple[float, ...]
    low: float | None = None
    high: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The bins' names, in order; digits enough to tell the edges apart."""
        if not self.edges:
            return ("any",)
        texts = _texts(self.edges)
        between = [f"[{a}, {b})" for a, b in pairwise(texts)]
        return (f"below {texts[0]}", *between, f"{texts[-1]} and above")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of a column for each bin."""
        return tuple(f"{self.field.name}_{label}" for label in self.labels)

    @property
    def centers(self) -> tuple[float, ...]:
        """The middle of each bin; of an open one the edge that it has."""
        edges = [self.low, *self.edges, self.high]
        found = []
        for a, b in pairwise(edges):
            ends = [end for end in (a, b) if end is not None]
            found.append(sum(end * (1.0 / len(ends)) for end in ends) if ends else 0.0)
        return tuple(found)

    def number(self, value: pl.Expr) -> pl.Expr:
        """The number of the bin (int32); null for null."""
        edges = np.array(self.edges)

        def found(series: pl.Series) -> pl.Series:
            return pl.Series(np.searchsorted(edges, series.to_numpy(), side="right").astype(np.int32))

        x = as_float64(value, self.field)
        return pl.when(x.is_not_null()).then(x.map_batches(found, return_dtype=pl.Int32))


def _texts(edges: Sequence[float]) -> list[str]:
    """The edges with six digits, or with as many as it takes to tell them apart."""
    for digits in (6, 9, 12, 17):
        texts = [f"{edge + 0.0:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(texts):
            return texts
    return [repr(edge) for edge in edges]


@dataclass(frozen=True, slots=True)
class FittedBin(TableStep):
    """`Bin` with its edges."""

    step: Bin
    schema: Schema
    cuts: tuple[Cuts, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The bins."""
        written: dict[str, pl.Expr] = {}
        for cut in self.cuts:
            number = cut.number(inputs[cut.field.name])
            if self.step.output == "number":
                written[cut.field.name] = number.cast(pl.Float64)
            elif self.step.output == "label":
                labels = list(cut.labels)
                found = number.replace_strict(list(range(len(labels))), labels, default=None, return_dtype=pl.String)
                written[cut.field.name] = found
            else:
                for place, name in enumerate(cut.names):
                    written[name] = (number == place).fill_null(False).cast(pl.Float32)
        return written

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The middle of each bin (of an open one the edge that it has); null for null."""
        given = {}
        for cut in self.cuts:
            names = cut.names if self.step.output == "one_hot" else (cut.field.name,)
            if not all(name in outputs for name in names):
                continue
            centers = list(cut.centers)
            if self.step.output == "one_hot":
                x: pl.Expr = pl.lit(None, pl.Float64)
                for name, center in zip(names, centers, strict=True):
                    x = pl.when(outputs[name] > 0.5).then(pl.lit(center)).otherwise(x)
            else:
                keys = list(cut.labels) if self.step.output == "label" else [float(i) for i in range(len(centers))]
                x = outputs[cut.field.name].replace_strict(keys, centers, default=None, return_dtype=pl.Float64)
            given[cut.field.name] = as_type(x, cut.field)
        return given

    def inverse(self, batch: Batch) -> Batch:
        """The batch with the middles of the bins; columns of 0 and 1 of which some are missing stay as they are."""
        undone = TableStep.inverse(self, batch)
        if self.step.output != "one_hot":
            return undone
        there = undone.columns.schema.names
        gone = {name for cut in self.cuts if cut.field.name in there for name in cut.names}
        return undone.select([name for name in there if name not in gone])
