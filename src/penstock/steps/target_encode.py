"""A step that turns a category into what the target is on average where it occurs: `TargetEncode`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.spread import Spread, combined
from penstock.statistics.target_folds import TargetCounts, TargetFoldsValue, TargetMoments, folds_of
from penstock.statistics.values import as_text
from penstock.step import Columns, FittedStep, Step, Use
from penstock.steps.arguments import chosen_of, retyped, truth_value
from penstock.steps.vectors import with_column
from penstock.vectors import sparse_column


@dataclass(frozen=True)
class TargetEncode(Step):
    """Categories as the mean of the target among their rows, drawn towards the mean of all rows the fewer they are.

    Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes", SIGKDD Explorations 3 (2001).
    With "auto" smoothing, a category of n rows with variance v among them gets ``w * mean + (1 - w) * overall``,
    ``w = n * V / (n * V + v)``, where V is the variance of the target (empirical Bayes, as scikit-learn's
    TargetEncoder); with a number m, ``w = n / (n + m)``.

    It does not leak: where a model learns (and where later steps are fitted), a row gets the mean of the rows of the
    other folds, so that its own target is no part of it. The folds follow from the row keys. Where rows are predicted,
    all folds count. A category that was not seen gets the overall mean; a missing value is a category of its own.

    A target of numbers gives the mean; of two labels the share of the second in order; of more labels a vector of the
    share of each.

    Formula:
        y = w * mean + (1 - w) * overall
        smooth "auto"     w = n V / (n V + v)
        smooth a number   w = n / (n + smooth)
        n, mean and v: rows, mean and variance of the target in the category
        overall and V: its mean and variance over all rows

        Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes", SIGKDD Explorations 3,
        2001. "auto" is empirical Bayes, as scikit-learn's TargetEncoder.

    Args:
        columns: columns of categories or truth values.
        smooth: "auto", or how many rows the overall mean counts as.
        folds: how many folds.
        target: "auto" (labels for a target of categories or truth values, else numbers), "labels" or "numbers".
        centered: whether an encoding is its distance from the overall mean, in standard deviations of the target, so
            that a linear model or a network can take it as it is.
        keep: whether the columns stay, with the encodings beside them as ``NAME_target``.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: no column has the role of the target, or there is a column ``NAME_target`` already.

    Example:
        >>> TargetEncode("city", smooth=10.0).folds
        5
    """

    columns: ColumnsLike
    smooth: float | Literal["auto"] = "auto"
    folds: int = 5
    target: Literal["auto", "labels", "numbers"] = "auto"
    centered: bool = False
    keep: bool = False

    name = "target_encode"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        number = isinstance(self.smooth, (int, float)) and not isinstance(self.smooth, bool)
        if self.smooth != "auto" and not (number and 0 <= self.smooth < float("inf")):
            raise UsageError(
                "out of range",
                where="target_encode: smooth",
                expected="'auto', or a number from 0",
                got=repr(self.smooth),
            )
        if not isinstance(self.folds, int) or not 2 <= self.folds <= 100:
            raise UsageError(
                "out of range", where="target_encode: folds", expected="from 2 to 100", got=repr(self.folds)
            )
        if self.target not in ("auto", "labels", "numbers"):
            raise UsageError(
                "not a choice", where="target_encode: target", expected="auto, labels or numbers", got=repr(self.target)
            )
        truth_value("target_encode: centered", self.centered)
        truth_value("target_encode: keep", self.keep)

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written; the target is read by the statistics alone."""
        names = tuple(field.name for field in self._fields(schema))
        made = tuple(map(self.made, names))
        taken = [name for name in made if name in schema] if self.keep else []
        if taken:
            raise SchemaError(
                "two columns would have one name",
                where="step 'target_encode'",
                got=repr(taken[0]),
                remedy="rename that column before",
            )
        return Columns(names, made)

    def made(self, name: str) -> str:
        """The name of a column's encodings."""
        return f"{name}_target" if self.keep else name

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text", "truth values")

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """What the target is like by category and fold."""
        targets = schema.of_role(Role.target)
        if not targets:
            raise SchemaError(
                "there is no target to encode by",
                where="step 'target_encode'",
                expected="a column of the role target",
                got="none",
                remedy="target: COLUMN in the pipeline file, or --target",
            )
        kind = schema[targets[0]].kind
        labels = kind in (Role.category, Role.boolean, Role.text) if self.target == "auto" else self.target == "labels"
        kinds = TargetCounts if labels else TargetMoments
        return {field.name: kinds(field.name, targets[0], self.folds) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedTargetEncode:
        """The step with a table of encodings for each column."""
        fields = self._fields(schema)
        tables = tuple(_table(values[field.name], self.smooth, centered=self.centered) for field in fields)
        made = []
        for given, table in zip(fields, tables, strict=True):
            field = replace(given, name=self.made(given.name))
            width = table.schema.field("encoding").type.list_size
            if width == self.folds + 1:
                made.append(retyped(field, pa.float64(), Role.number))
                continue
            parts = tuple(str(label) for label in values[given.name].labels)
            made.append(
                replace(
                    field, type=SPARSE, role=Role.vector, categories=None, values=None, width=len(parts), parts=parts
                )
            )
        return FittedTargetEncode(self, schema.put(*made), tuple(field.name for field in fields), tables)


def _table(value: TargetFoldsValue, smooth: float | Literal["auto"], *, centered: bool) -> pa.Table:
    """For each value, and last for what was not seen: its encodings without each fold, then with all of them."""
    folds = value.counts.shape[1]
    outputs = [1] if len(value.labels) == 2 else list(range(value.means.shape[2]))
    parts = []
    for left_out in (*range(folds), None):
        for output in outputs:
            sums = Spread.of(len(value.counts), 1)
            for fold in range(folds):
                if fold != left_out:
                    here = slice(fold, fold + 1)
                    part = Spread(value.counts[:, here], value.means[:, here, output], value.squares[:, here, output])
                    sums = Spread(*combined(sums, part))
            found, spread = _smoothed(Spread(sums.counts[:, 0], sums.means[:, 0], sums.squares[:, 0]), smooth)
            if centered:
                found = (found - found[-1]) / spread if spread > 0 else np.zeros(len(found))
            parts.append(found)
    if not parts or not value.counts.any():
        parts = [np.zeros(len(value.counts) + 1)] * (folds + 1) * max(len(outputs), 1)
    encodings = np.column_stack(parts)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(encodings.reshape(-1)), encodings.shape[1])
    names = pa.array([*value.categories, None, None], pa.large_string())
    seen = pa.array([*(True for _ in value.categories), True, False])
    return pa.table({"value": names, "seen": seen, "encoding": flat}).combine_chunks()


def _smoothed(sums: Spread, smooth: float | Literal["auto"]) -> tuple[npt.NDArray[np.float64], float]:
    """The encoding of each value, last the overall mean, which is also that of a value without rows; and the target's
    standard deviation."""
    rows = sums.counts.astype(np.float64)
    total = float(np.add.reduce(rows))
    overall = float(np.add.reduce(sums.means * (rows / max(total, 1.0))))
    within = sums.squares / np.maximum(rows, 1.0)
    apart = np.add.reduce(sums.squares + rows * np.square(sums.means - overall))
    variance = float(apart) / max(total, 1.0)
    if smooth == "auto":
        strength = rows * variance
        weight = np.divide(strength, strength + within, out=np.zeros(len(rows)), where=strength + within > 0)
    else:
        weight = np.divide(rows, rows + smooth, out=np.zeros(len(rows)), where=rows + smooth > 0)
    weight = np.where(rows > 0, weight, 0.0)
    return np.append(weight * sums.means + (1.0 - weight) * overall, overall), float(np.sqrt(variance))


@dataclass(frozen=True)
class FittedTargetEncode(FittedStep):
    """`TargetEncode` with the encodings of each column."""

    step: TargetEncode
    schema: Schema
    names: tuple[str, ...]
    tables: tuple[pa.Table, ...]

    @cached_property
    def _lookups(self) -> list[tuple[pa.Array, int | None, npt.NDArray[np.float64]]]:
        """The values seen, the place of a missing one, and the encodings."""
        found = []
        for table in self.tables:
            seen = table.filter(table.column("seen"))
            values = seen.column("value").combine_chunks()
            values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
            missing = (
                int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) if values.null_count else None
            )
            encodings = table.column("encoding").combine_chunks()
            encodings = encodings.chunk(0) if isinstance(encodings, pa.ChunkedArray) else encodings
            width = encodings.type.list_size
            found.append((values, missing, encodings.flatten().to_numpy().reshape(-1, width)))
        return found

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with its categories encoded: without a row's own fold, where a model or a step learns."""
        learns = use.purpose in ("fit", "train")
        folds = self.step.folds
        fold = folds_of(batch.keys, folds) if learns else np.full(len(batch), folds)
        names, columns = [], []
        for name, (values, missing, encodings) in zip(self.names, self._lookups, strict=True):
            if name not in batch.columns.schema.names:
                continue
            place = _places(batch.column(name), values, missing)
            outputs = encodings.shape[1] // (folds + 1)
            names.append(self.step.made(name))
            if outputs == 1:
                columns.append(pa.array(encodings[place, fold]))
                continue
            shares = encodings.reshape(len(encodings), folds + 1, outputs)[place, fold]
            bounds = np.arange(len(batch) + 1) * outputs
            columns.append(
                sparse_column(bounds, np.tile(np.arange(outputs), len(batch)), shares.reshape(-1).astype(np.float32))
            )
        return with_column(batch, names, columns)


def _places(column: pa.Array, values: pa.Array, missing: int | None) -> npt.NDArray[np.int64]:
    """The place of each row's value among those seen; one beyond them for what was not."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts = as_text(column.dictionary).cast(pa.large_string())
    known = pc.index_in(texts, value_set=values, skip_nulls=True).fill_null(len(values))
    table = np.append(known.to_numpy().astype(np.int64), len(values) if missing is None else missing)
    return np.asarray(table[column.indices.cast(pa.int64()).fill_null(len(texts)).to_numpy()])
