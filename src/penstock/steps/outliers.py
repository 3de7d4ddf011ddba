"""Steps about values that lie far out: `Clip` draws them in, `FlagOutliers` marks them, `RejectOutliers` sorts
the rows out. What is far is said by one rule, `Bounds`, that all three share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Check, Columns, Step, TableStep, Use
from penstock.steps.arguments import as_float64, as_type, ascending, chosen_of, float_field

Method: TypeAlias = Literal["quantile", "iqr", "zscore", "mad"]

_FACTORS: dict[str, float | None] = {"quantile": None, "iqr": 1.5, "zscore": 3.0, "mad": 3.5}
_QUANTILES = (0.01, 0.99)
_MAD_TO_DEVIATION = 1.4826
"""The median absolute deviation times this estimates the standard deviation of a normal distribution: 1 / Phi^-1(3/4).
Rousseeuw and Croux, "Alternatives to the median absolute deviation", JASA 88 (1993), section 1."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which bounds a column's values are ordinary.

    The formulas and their sources are those of `Clip`.

    Args:
        method: "quantile", "iqr", "zscore" or "mad".
        quantiles: of the method "quantile"; None: (0.01, 0.99).
        factor: of the others; None: 1.5 for "iqr", 3 for "zscore", 3.5 for "mad".

    Raises:
        UsageError: an argument is wrong, or is not of this method.

    Example:
        >>> Bounds("iqr")
        Bounds(method='iqr', quantiles=None, factor=1.5)
    """

    method: Method
    quantiles: tuple[float, float] | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.method not in _FACTORS:
            raise UsageError("not a method", where="method", expected=", ".join(_FACTORS), got=repr(self.method))
        if self.method == "quantile":
            if self.factor is not None:
                raise _not_taken("factor", self.factor, self.method, "quantiles")
            pair = _QUANTILES if self.quantiles is None else self.quantiles
            object.__setattr__(self, "quantiles", ascending(pair, where="quantiles", low=0, high=1))
            return
        if self.quantiles is not None:
            raise _not_taken("quantiles", self.quantiles, self.method, "factor")
        factor = _FACTORS[self.method] if self.factor is None else self.factor
        if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 0 < factor < math.inf:
            raise UsageError("not a factor", where="factor", expected="a number above 0", got=repr(factor))
        object.__setattr__(self, "factor", float(factor))

    def statistic(self, column: str) -> Statistic[Any]:
        """What has to be known of a column."""
        return Moments(column) if self.method == "zscore" else Histogram(column)

    def of(self, value: Any) -> tuple[float, float] | None:
        """The bounds of a column from its statistic's value.

        None where there are none: the column has no value, or its spread (deviation, IQR, MAD) is zero, which
        says nothing of how far is far.
        """
        if value.count == 0:
            return None
        if self.quantiles is not None:
            low, high = (float(value.quantile(q)) for q in self.quantiles)
            return low, high
        assert self.factor is not None
        if self.method == "zscore":
            low = high = float(value.mean)
            spread = float(value.deviation)
        elif self.method == "mad":
            low = high = float(value.median)
            spread = _MAD_TO_DEVIATION * float(value.mad())
        else:
            low, high = float(value.quantile(0.25)), float(value.quantile(0.75))
            spread = high - low
        return (low - self.factor * spread, high + self.factor * spread) if spread > 0 else None

    def __str__(self) -> str:
        """The rule in words, for the reason of a reject."""
        if self.quantiles is not None:
            return f"quantiles {self.quantiles[0]:g} to {self.quantiles[1]:g}"
        return f"{self.method}, factor {self.factor:g}"


def _not_taken(argument: str, got: Any, method: str, instead: str) -> UsageError:
    return UsageError(
        f"the method {method!r} takes no {argument}", where=argument, got=repr(got), remedy=f"give {instead} instead"
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """One column's bounds."""

    field: Field
    low: float
    high: float

    def inside(self, inputs: Mapping[str, pl.Expr]) -> pl.Expr:
        """Whether a value is within the bounds; null for null."""
        value = as_float64(inputs[self.field.name], self.field)
        return (value >= self.low) & (value <= self.high)


def _complete(step: Clip | FlagOutliers | RejectOutliers) -> None:
    """Put the selector and the rule's defaults into the fields, so that a stored step says all."""
    rule = Bounds(step.method, step.quantiles, step.factor)
    object.__setattr__(step, "columns", as_selector(step.columns))
    object.__setattr__(step, "quantiles", rule.quantiles)
    object.__setattr__(step, "factor", rule.factor)


def _rule(step: Clip | FlagOutliers | RejectOutliers) -> Bounds:
    return Bounds(step.method, step.quantiles, step.factor)


def _numbers(step: Clip | FlagOutliers | RejectOutliers, schema: Schema) -> tuple[Field, ...]:
    return chosen_of(step.columns, schema, step.name, "numbers")


def _statistics(step: Clip | FlagOutliers | RejectOutliers, schema: Schema) -> dict[str, Statistic[Any]]:
    return {field.name: _rule(step).statistic(field.name) for field in _numbers(step, schema)}


def _limits(step: Clip | FlagOutliers | RejectOutliers, schema: Schema, values: Mapping[str, Any]) -> tuple[Limit, ...]:
    bounds = [(field, _rule(step).of(values[field.name])) for field in _numbers(step, schema)]
    return tuple(Limit(field, *pair) for field, pair in bounds if pair is not None)


@dataclass(frozen=True, slots=True)
class Clip(Step):
    """Numbers drawn in to bounds: what is below becomes the lower bound, what is above the upper one.

    Nulls stay null; a column without values or without any spread passes unchanged. Whole numbers stay whole numbers
    where both bounds are.

    Formula:
        y = min(max(x, low), high), low and high being by the method
        quantile   Q(quantiles[0]), Q(quantiles[1])
        iqr        Q(1/4) - factor d, Q(3/4) + factor d;  d = Q(3/4) - Q(1/4)
        zscore     mean -+ factor s;  s = sqrt(sum((x - mean)^2) / n)
        mad        median -+ factor 1.4826 m;  m = median(|x - median|)

        "iqr": Tukey, "Exploratory Data Analysis", 1977, section 2D. "mad": Iglewicz and Hoaglin, "How to detect and
        handle outliers", 1993, section 3.4; 1.4826 makes it the standard deviation of normal data (Rousseeuw and
        Croux, JASA 88, 1993). Quantiles are exact for up to 4,096
        distinct values, and else within a bucket.

    Args:
        columns: columns of numbers.
        quantiles: of the method "quantile": the lower and the upper, between 0 and 1; null for 0.01 and 0.99.
        method: how the bounds are found: "quantile", "iqr", "zscore" or "mad", see the formula.
        factor: of the other methods, above 0; null for 1.5 of "iqr", 3 of "zscore", 3.5 of "mad".

    Raises:
        UsageError: the arguments don't belong together.
        SchemaError: a column is not of numbers.

    Example:
        >>> Clip("numeric", (0.01, 0.99)).method
        'quantile'
        >>> Clip("numeric", method="iqr").factor
        1.5
    """

    columns: ColumnsLike
    quantiles: tuple[float, float] | None = None
    method: Method = "quantile"
    factor: float | None = None

    name = "clip"
    cleans = True

    def __post_init__(self) -> None:
        _complete(self)

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        names = tuple(field.name for field in _numbers(self, schema))
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """What the bounds of each column follow from, under its name."""
        return _statistics(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedClip:
        """The step with its bounds."""
        limits = _limits(self, schema, values)
        fields = (_clipped(limit) for limit in limits)
        return FittedClip(self, schema.put(*fields), limits)


def _clipped(limit: Limit) -> Field:
    return limit.field if limit.low.is_integer() and limit.high.is_integer() else float_field(limit.field)


@dataclass(frozen=True, slots=True)
class FittedClip(TableStep):
    """`Clip` with its bounds."""

    step: Clip
    schema: Schema
    limits: tuple[Limit, ...]

    def reason(self, column: str) -> str:
        """The bounds."""
        (limit,) = (limit for limit in self.limits if limit.field.name == column)
        return f"drawn in to {limit.low:.6g} to {limit.high:.6g} ({_rule(self.step)})"

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The clipped columns."""
        written = {}
        for limit in self.limits:
            value = as_float64(inputs[limit.field.name], limit.field).clip(limit.low, limit.high)
            written[limit.field.name] = as_type(value, self.schema[limit.field.name])
        return written


@dataclass(frozen=True, slots=True)
class FlagOutliers(Step):
    """A column of truth values ``NAME_outlier`` beside each column: whether the value is outside the bounds.

    A null is no outlier; nor is anything in a column without values or spread.

    Formula:
        an outlier is x < low or x > high; low and high as those of `clip`

    Args:
        columns: columns of numbers.
        quantiles: of the method "quantile": the lower and the upper, between 0 and 1; null for 0.01 and 0.99.
        method: how the bounds are found: "quantile", "iqr", "zscore" or "mad", see the formula.
        factor: of the other methods, above 0; null for 1.5 of "iqr", 3 of "zscore", 3.5 of "mad".

    Raises:
        UsageError: the arguments don't belong together.
        SchemaError: a column is not of numbers, or a column ``NAME_outlier`` is there already.

    Example:
        >>> FlagOutliers("income", method="mad").factor
        3.5
    """

    columns: ColumnsLike
    quantiles: tuple[float, float] | None = None
    method: Method = "iqr"
    factor: float | None = None

    name = "flag_outliers"

    def __post_init__(self) -> None:
        _complete(self)

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns, writes the flags."""
        names = tuple(field.name for field in _numbers(self, schema))
        for flag in map(flag_name, names):
            if flag in schema:
                raise SchemaError(
                    "the flag's column is there already",
                    where="step 'flag_outliers'",
                    got=repr(flag),
                    remedy="rename or drop it before this step",
                )
        return Columns(reads=names, writes=tuple(map(flag_name, names)))

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """What the bounds of each column follow from, under its name."""
        return _statistics(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedFlags:
        """The step with its bounds."""
        touched = self.touches(schema)
        flags = [Field(name, pa.bool_(), Role.boolean) for name in touched.writes]
        return FittedFlags(self, schema.put(*flags), touched.reads, _limits(self, schema, values))


def flag_name(column: str) -> str:
    """The name of a column's flags."""
    return f"{column}_outlier"


@dataclass(frozen=True, slots=True)
class FittedFlags(TableStep):
    """`FlagOutliers` with its bounds."""

    step: FlagOutliers
    schema: Schema
    flagged: tuple[str, ...]
    limits: tuple[Limit, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The flags."""
        outside = {limit.field.name: ~limit.inside(inputs).fill_null(True) for limit in self.limits}
        return {flag_name(name): outside.get(name, pl.lit(False)) for name in self.flagged}

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The columns beside the flags are as they were."""
        return {}

    def inverse(self, batch: Batch) -> Batch:
        """The batch without the flags."""
        flags = set(map(flag_name, self.flagged))
        return batch.select([name for name in batch.columns.schema.names if name not in flags])


@dataclass(frozen=True, slots=True)
class RejectOutliers(Step):
    """Rows with a value outside the bounds are rejected, with the code "outlier".

    A null is no outlier; nor is anything in a column without values or spread. When predicting, every row gets
    its prediction, outlier or not, unless ``when_predicting`` says otherwise.

    Formula:
        an outlier is x < low or x > high; low and high as those of `clip`

    Args:
        columns: columns of numbers.
        quantiles: of the method "quantile": the lower and the upper, between 0 and 1; null for 0.01 and 0.99.
        method: how the bounds are found: "quantile", "iqr", "zscore" or "mad", see the formula.
        factor: of the other methods, above 0; null for 1.5 of "iqr", 3 of "zscore", 3.5 of "mad".
        when_predicting: whether rows are rejected when predicting too.

    Raises:
        UsageError: the arguments don't belong together.
        SchemaError: a column is not of numbers.

    Example:
        >>> RejectOutliers("numeric", method="iqr", factor=3).factor
        3.0
    """

    columns: ColumnsLike
    quantiles: tuple[float, float] | None = None
    method: Method = "iqr"
    factor: float | None = None
    when_predicting: bool = False

    name = "reject_outliers"

    def __post_init__(self) -> None:
        _complete(self)

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns; rows may go."""
        return Columns(reads=tuple(field.name for field in _numbers(self, schema)), writes=(), rows=True)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """What the bounds of each column follow from, under its name."""
        return _statistics(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedRejects:
        """The step with its bounds."""
        return FittedRejects(self, schema, _limits(self, schema, values))


@dataclass(frozen=True, slots=True)
class FittedRejects(TableStep):
    """`RejectOutliers` with its bounds."""

    step: RejectOutliers
    schema: Schema
    limits: tuple[Limit, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Nothing is written."""
        return {}

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """That each value is within its bounds."""
        if use.purpose == "predict" and not self.step.when_predicting:
            return ()
        return tuple(
            Check(
                limit.inside(inputs),
                "outlier",
                limit.field.name,
                f"not from {limit.low:g} to {limit.high:g} ({_rule(self.step)})",
            )
            for limit in self.limits
        )

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The rows that are left are as they were."""
        return {}
