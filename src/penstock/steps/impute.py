"""The step that fills missing values: `Impute`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies, FrequenciesValue
from penstock.statistics.grouped import GroupedHistograms, GroupedMeans, group_key
from penstock.statistics.grouped_frequencies import GroupedFrequencies, modes
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import Family, chosen_of, family, retyped
from penstock.steps.columns import require

Strategy: TypeAlias = Literal["mean", "median", "most_frequent", "constant"]
Fill: TypeAlias = bool | int | float | str

_FAMILIES: dict[str, tuple[Family, ...]] = {
    "mean": ("numbers",),
    "median": ("numbers",),
    "most_frequent": ("numbers", "truth values", "text"),
    "constant": ("numbers", "truth values", "text"),
}
_BY: tuple[Family, ...] = ("numbers", "truth values", "text", "times", "codes")
_MOST_GROUPS = {"mean": 10_000, "median": 1_000, "most_frequent": 10_000}
"""How many groups there may be. Of each the median needs a histogram, of up to 64 KiB."""
_DERIVED = frozenset({"count", "moments", "histogram", "frequencies", "distinct"})


@dataclass(frozen=True, slots=True)
class Impute(Step):
    """Nulls become a value: the column's mean, median or most frequent value, or a constant.

    Of values that are equally frequent the least is taken. Whole numbers stay whole numbers where the value is one.

    With ``by`` each group of rows that are equal in these columns has a value of its own. Rows of a group that had no
    value when fitting, or was not there, and rows with a null in ``by``, get the value of all rows.

    Formula:
        mean            sum(x) / n
        median          Q(1/2)
        most_frequent   the value c of the greatest n(c)
        with `by`, each over the rows of the group

        Over the values that are not null. The median is exact for up to 4,096 distinct values, and else within a
        bucket of the histogram. As scikit-learn's SimpleImputer.

    Args:
        columns: columns of numbers, or for "most_frequent" and "constant" also of truth values, categories, text.
            Those of ``by`` are left as they are, also where they are met.
        strategy: where the value comes from.
        value: the value of the strategy "constant"; of the columns' type.
        by: columns to group by; not for "constant". There may be 10,000 groups, for the median 1,000.
        indicator: whether a column of truth values ``NAME_missing`` is added beside each column: whether its value was
            missing.

    Raises:
        UsageError: the strategy is unknown, or ``value`` or ``by`` is missing or not wanted.
        SchemaError: a column is of a type that the strategy can't work on, ``by`` names none, or a target; a column
            ``NAME_missing`` is there already.
        DataError: when fitting, a column has no value at all to take the mean, median or most frequent of; there are
            too many groups.

    Example:
        >>> Impute("numeric").strategy
        'median'
        >>> Impute(["city"], strategy="constant", value="unknown").value
        'unknown'
        >>> Impute("age", by=["class", "sex"], indicator=True).by
        ('class', 'sex')
    """

    columns: ColumnsLike
    strategy: Strategy = "median"
    value: bool | int | float | str | None = None
    by: str | tuple[str, ...] = ()
    indicator: bool = False

    name = "impute"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        if self.strategy not in _FAMILIES:
            raise UsageError(
                "not a strategy", where="impute: strategy", expected=", ".join(_FAMILIES), got=repr(self.strategy)
            )
        if self.strategy == "constant":
            plain = isinstance(self.value, (bool, int, float, str))
            if not plain or (isinstance(self.value, float) and not math.isfinite(self.value)):
                raise UsageError(
                    "the strategy 'constant' needs its value",
                    where="impute: value",
                    expected="a finite number, a text, or true or false",
                    got=repr(self.value),
                )
        elif self.value is not None:
            raise UsageError(
                f"the strategy {self.strategy!r} takes no value",
                where="impute: value",
                got=repr(self.value),
                remedy="leave it out, or say strategy='constant'",
            )
        self._check_by()
        if not isinstance(self.indicator, bool):
            raise UsageError(
                "not a truth value", where="impute: indicator", expected="true or false", got=repr(self.indicator)
            )

    def _check_by(self) -> None:
        by = (self.by,) if isinstance(self.by, str) else tuple(self.by)
        if not all(isinstance(name, str) for name in by) or len(set(by)) < len(by):
            raise UsageError(
                "not columns to group by", where="impute: by", expected="names, each once", got=repr(self.by)
            )
        if by and self.strategy == "constant":
            raise UsageError(
                "a constant is the same in every group",
                where="impute: by",
                got=repr(by),
                remedy="leave it out, or take another strategy",
            )
        object.__setattr__(self, "by", by)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        met = as_selector(self.columns).excluding(*_exact(self.by, schema)) if self.by else self.columns
        fields = chosen_of(met, schema, self.name, *_FAMILIES[self.strategy])
        if self.strategy == "constant":
            for field in fields:
                _refuse_other_type(field, self.value)
        return fields

    def _groups(self, schema: Schema) -> tuple[Field, ...]:
        """The columns that are grouped by."""
        for name in self.by:
            require(schema, name, "step 'impute': by")
        fields = tuple(schema[name] for name in self.by)
        for field in fields:
            if family(field) not in _BY or field.role is Role.target:
                raise SchemaError(
                    "not a column to group by",
                    where=f"step 'impute', column {field.name!r}",
                    expected="a feature, group or key of numbers, truth values, text or times",
                    got=f"{family(field)}, role {field.role.value}",
                    remedy="leave it out of `by`",
                )
        return fields

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns, reads those that are grouped by, writes the indicators."""
        by = tuple(field.name for field in self._groups(schema))
        names = tuple(field.name for field in self._fields(schema))
        flags = tuple(map(flag_name, names)) if self.indicator else ()
        for i, flag in enumerate(flags):
            if flag in schema or flag in flags[:i]:
                raise SchemaError(
                    "the indicator's column is there already",
                    where="step 'impute'",
                    got=repr(flag),
                    remedy="rename or drop it before this step",
                )
        return Columns(reads=(*names, *by), writes=(*names, *flags))

    def _of_all(self, name: str) -> str:
        """The name of the statistic of all rows: the column's own, unless there is one by group beside it."""
        return f"{_ALL}{name}" if self.by else name

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """Of each column its moments, histogram or frequencies, of all rows and by group; none for a constant."""
        found: dict[str, Statistic[Any]] = {}
        by = [field.name for field in self._groups(schema)]
        for field in self._fields(schema):
            name = field.name
            if self.strategy == "mean":
                found[self._of_all(name)] = Moments(name)
            elif self.strategy == "median":
                found[self._of_all(name)] = Histogram(name)
            elif self.strategy == "most_frequent":
                found[self._of_all(name)] = Frequencies(name)
            if by and self.strategy == "most_frequent":
                found[_BY_GROUP + name] = GroupedFrequencies(by, name, _MOST_GROUPS[self.strategy])
            elif by and self.strategy == "mean":
                found[_BY_GROUP + name] = GroupedMeans(by, name, _MOST_GROUPS[self.strategy])
            elif by:
                found[_BY_GROUP + name] = GroupedHistograms(by, name, _MOST_GROUPS[self.strategy])
        return found

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedImpute:
        """The step with a value for each column, and each group."""
        touched = self.touches(schema)
        fills, fields, groups = [], [], []
        for field in self._fields(schema):
            fill = _stored(field, self._fill(field, values.get(self._of_all(field.name))))
            by_group = self._by_group(field, values.get(_BY_GROUP + field.name))
            fills.append((field.name, fill))
            groups.append((field.name, by_group))
            fields.append(_filled(field, [fill, *(one for _, one in by_group)]))
        flags = [
            Field(name, pa.bool_(), Role.boolean, "whether a value was imputed")
            for name in touched.writes[len(fields) :]
        ]
        return FittedImpute(
            self,
            schema.put(*fields, *flags),
            tuple(fills),
            self._groups(schema),
            tuple(groups) if self.by else (),
        )

    def _by_group(self, field: Field, value: Any) -> tuple[tuple[str, Fill], ...]:
        """(key, value) of each group that has values."""
        if value is None:
            return ()
        if self.strategy == "most_frequent":
            kind = family(field)
            found = modes(value, numbers=kind == "numbers")
            convert: dict[Family, Callable[[str], Fill]] = {
                "numbers": float,
                "truth values": lambda text: text == "true",
            }
            fills = {key: convert.get(kind, str)(text) for key, text in found.items()}
        elif self.strategy == "mean":
            fills = dict(value)
        else:
            fills = {key: float(one.median) for key, one in value.items() if one.count}
        return tuple((key, _stored(field, fills[key])) for key in sorted(fills))

    def _fill(self, field: Field, statistic: Any) -> Fill:
        if self.strategy == "constant":
            assert self.value is not None
            return float(self.value) if family(field) == "numbers" else self.value
        if self.strategy == "most_frequent":
            if statistic.total:
                return most_frequent(statistic, field)
        elif statistic.count:
            return float(statistic.mean if self.strategy == "mean" else statistic.median)
        raise DataError(
            "the column has no value to fill it with",
            where=f"step 'impute', column {field.name!r}",
            expected="at least one value",
            got="nulls only",
            remedy="drop the column, or impute it with strategy='constant' and a value",
        )

    def derives(self, statistic: Statistic[Any]) -> bool:
        """What is known of one column with nulls is known with the nulls filled."""
        return not self.by and statistic.kind in _DERIVED and len(statistic.columns) == 1


@dataclass(frozen=True, slots=True)
class FittedImpute(TableStep):
    """`Impute` with its values.

    Attributes:
        fills: (column, value) for each column.
        by: the columns that are grouped by.
        groups: (column, ((key, value), ...)) for each column: the values of the groups.
    """

    step: Impute
    schema: Schema
    fills: tuple[tuple[str, Fill], ...]
    by: tuple[Field, ...] = ()
    groups: tuple[tuple[str, tuple[tuple[str, Fill], ...]], ...] = ()

    def reason(self, column: str) -> str:
        """What stands in place of missing values."""
        fill = dict(self.fills)[column]
        shown = f"{fill:.6g}" if isinstance(fill, float) else repr(fill)
        what = "a constant" if self.step.strategy == "constant" else f"the {self.step.strategy.replace('_', ' ')} value"
        of = f" of the row's group, by {', '.join(field.name for field in self.by)}; of all rows" if self.by else ""
        return f"missing: {what}{of}, {shown}"

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The filled columns, and the indicators."""
        written = {}
        groups = dict(self.groups)
        for name, fill in self.fills:
            value = inputs[name]
            if groups.get(name):
                value = self._filled_by_group(value, name, groups[name], inputs)
            written[name] = self._filled(value, name, fill)
            if self.step.indicator:
                written[flag_name(name)] = inputs[name].is_null()
        return written

    def _filled_by_group(
        self, value: pl.Expr, name: str, fills: tuple[tuple[str, Fill], ...], inputs: Mapping[str, pl.Expr]
    ) -> pl.Expr:
        key = group_key([(inputs[field.name], field.type) for field in self.by])
        kind = _POLARS.get(self.schema[name].type, pl.String())
        found = key.replace_strict(
            [one for one, _ in fills],
            pl.Series([fill for _, fill in fills]).cast(kind),
            default=None,
            return_dtype=kind,
        )
        return value.cast(kind).fill_null(found)

    def _filled(self, value: pl.Expr, name: str, fill: Fill) -> pl.Expr:
        kind = self.schema[name].type
        if pa.types.is_integer(kind):
            return value.fill_null(int(fill))
        if kind == pa.float32():
            return value.fill_null(pl.lit(fill, pl.Float32))
        if kind == pa.float64():
            # A column of integers comes out as float64 where the value is a fraction; else the cast does nothing.
            return value.cast(pl.Float64).fill_null(pl.lit(fill, pl.Float64))
        return value.fill_null(pl.lit(fill))

    def derive(self, statistic: Statistic[Any]) -> Statistic[Any] | None:
        """The same statistic had the nulls been the value."""
        fills = dict(self.fills)
        (column,) = statistic.columns
        return statistic.with_nulls_as(fills[column]) if column in fills else statistic


def most_frequent(frequencies: FrequenciesValue, field: Field) -> Fill:
    """The value that is most frequent; of several the least, as scikit-learn's SimpleImputer takes it."""
    if family(field) != "numbers":
        (text, _), *_ = frequencies.top(1)
        return text == "true" if family(field) == "truth values" else text
    # The least number is not the least text, so all of the most frequent are looked at.
    most, least = 0, math.inf
    for batch in frequencies.iter_batches():
        counts = batch.column(1).to_numpy()
        greatest = int(counts.max(initial=0))
        if greatest < most or greatest == 0:
            continue
        number = min(map(float, batch.column(0).filter(pa.array(counts == greatest)).to_pylist()))
        most, least = greatest, number if greatest > most else min(least, number)
    return least


_ALL, _BY_GROUP = "all:", "by group:"
"""What the names of the statistics begin with where there are both."""
_POLARS: dict[pa.DataType, pl.DataType] = {
    pa.bool_(): pl.Boolean(),
    pa.float32(): pl.Float32(),
    pa.float64(): pl.Float64(),
    pa.int8(): pl.Int8(),
    pa.int16(): pl.Int16(),
    pa.int32(): pl.Int32(),
    pa.int64(): pl.Int64(),
    pa.uint8(): pl.UInt8(),
    pa.uint16(): pl.UInt16(),
    pa.uint32(): pl.UInt32(),
    pa.uint64(): pl.UInt64(),
}


def flag_name(column: str) -> str:
    """The name of a column's indicator."""
    return f"{column}_missing"


def _exact(names: Sequence[str], schema: Schema) -> tuple[str, ...]:
    return tuple(name for name in names if name in schema)  # what is not there would be taken for a pattern


def _stored(field: Field, fill: Fill) -> Fill:
    """A value as it is stored, or what is derived would differ from what comes out."""
    return float(np.float32(fill)) if field.type == pa.float32() else fill


def _filled(field: Field, fills: Sequence[Fill]) -> Field:
    """The field of a column whose nulls become these values."""
    if family(field) == "numbers":
        whole = all(float(fill).is_integer() for fill in fills)
        if field.kind is Role.integer and not whole:
            return retyped(field, pa.float32() if field.type == pa.float32() else pa.float64(), Role.number)
        if pa.types.is_integer(field.type) and not whole:
            return retyped(field, pa.float64(), Role.number)
    if field.categories is not None and not set(map(str, fills)) <= set(field.categories):
        return replace(field, categories=tuple(sorted({*field.categories, *map(str, fills)})))
    return field


def _refuse_other_type(field: Field, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = {"numbers": number, "truth values": isinstance(value, bool), "text": isinstance(value, str)}
    if not right[family(field)]:
        raise SchemaError(
            "the value is not of the column's type",
            where=f"step 'impute', column {field.name!r}",
            expected={"numbers": "a number", "truth values": "true or false", "text": "a text"}[family(field)],
            got=repr(value),
            remedy="choose the columns by kind, and impute each kind by a step of its own",
        )
