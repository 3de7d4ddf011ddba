"""A step that repairs values by what their group agrees on: `RepairByMajority`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.grouped import group_key
from penstock.statistics.grouped_frequencies import GroupedFrequencies
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of, family
from penstock.steps.columns import require

_MOST_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class RepairByMajority(Step):
    """A value that disagrees with the great majority of its group becomes the value of the majority.

    For columns that follow from others: the city of a postal code, the name of a product number, the scheduled time of
    a flight that several sites report. Where the columns ``by`` tell the group of a row, and one value has at least the
    share ``share`` of the group's values and at least ``least`` rows, all rows of the group get it. Groups that agree
    less stay as they are, and so do rows without a group and groups that were not seen. It is never part of the default
    cleaning: that one column follows from another is for you to know.

    Args:
        columns: columns of text, categories, numbers or truth values.
        by: columns that tell the group; they stay as they are.
        share: how much of a group has to agree, above 0.5 and up to 1.
        least: how many rows have to agree.
        missing: whether nulls become the value of the majority too.

    Raises:
        UsageError: an argument is out of its range.
        SchemaError: a column is missing, or of times or lists; the target is grouped by.
        DataError: there are more than 10,000 groups.

    Example:
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("zip", pa.string(), Role.category), Field("city", pa.string(), Role.category)))
        >>> cities = ["Ulm", "Ulm", "Ulm", "Ulm", "Ulmm", "Bern"]
        >>> batch = batch_of(schema, {"zip": ["89073"] * 5 + ["3011"], "city": cities})
        >>> fitted = fit_step(RepairByMajority("city", "zip"), schema, [batch])
        >>> fitted.transform(batch, Use()).column("city").to_pylist()
        ['Ulm', 'Ulm', 'Ulm', 'Ulm', 'Ulm', 'Bern']
    """

    columns: ColumnsLike
    by: str | tuple[str, ...]
    share: float = 0.8
    least: int = 3
    missing: bool = True

    name = "repair_by_majority"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        by = (self.by,) if isinstance(self.by, str) else self.by
        good = isinstance(by, (tuple, list)) and by and all(isinstance(name, str) for name in by)
        if not good or len(set(by)) < len(by):
            raise self._wrong("by", "names of columns, each once")
        object.__setattr__(self, "by", tuple(by))
        is_number = isinstance(self.share, (int, float)) and not isinstance(self.share, bool)
        if not is_number or not 0.5 < self.share <= 1:
            raise self._wrong("share", "a number above 0.5 and up to 1")
        if not isinstance(self.least, int) or isinstance(self.least, bool) or self.least < 1:
            raise self._wrong("least", "a whole number from 1")
        if not isinstance(self.missing, bool):
            raise self._wrong("missing", "true or false")

    def _wrong(self, setting: str, expected: str) -> UsageError:
        where = f"{self.name}: {setting}"
        return UsageError("out of range", where=where, expected=expected, got=repr(getattr(self, setting)))

    def touches(self, schema: Schema) -> Columns:
        """Reads the columns and those that are grouped by, writes the columns."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns((*names, *(field.name for field in self._groups(schema))), names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        others = as_selector(self.columns).excluding(*(name for name in self.by if name in schema))
        return chosen_of(others, schema, self.name, "text", "numbers", "truth values")

    def _groups(self, schema: Schema) -> tuple[Field, ...]:
        for name in self.by:
            require(schema, name, f"step {self.name!r}: by")
        fields = tuple(schema[name] for name in self.by)
        for field in fields:
            if field.role is Role.target or family(field) == "other values":
                raise SchemaError(
                    "not a column to group by",
                    where=f"step {self.name!r}, column {field.name!r}",
                    expected="a feature, group or key of numbers, truth values, text or times",
                    got=f"{family(field)}, role {field.role.value}",
                    remedy="leave it out of `by`",
                )
        return fields

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """Of each column how often each value occurs in each group."""
        by = [field.name for field in self._groups(schema)]
        return {field.name: GroupedFrequencies(by, field.name, _MOST_GROUPS) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedRepairByMajority:
        """Find the groups that agree."""
        found = []
        for field in self._fields(schema):
            agreed = []
            for key, counts in values[field.name].iter_groups():
                value, most = max(counts, key=lambda pair: pair[1])
                if most >= self.least and most >= self.share * sum(count for _, count in counts):
                    agreed.append((key, value))
            found.append((field.name, tuple(sorted(agreed))))
        return FittedRepairByMajority(self, schema, self._groups(schema), tuple(found))


@dataclass(frozen=True, slots=True)
class FittedRepairByMajority(TableStep):
    """`RepairByMajority` with what the groups agree on.

    Attributes:
        by: the columns that are grouped by.
        agreed: (column, ((key, value as text), ...)) for each column: the groups that agree.
    """

    step: RepairByMajority
    schema: Schema
    by: tuple[Field, ...]
    agreed: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def reason(self, column: str) -> str:
        """Which majority."""
        by = ", ".join(repr(field.name) for field in self.by)
        groups = len(dict(self.agreed)[column])
        return f"what at least {self.step.share:.0%} of its group say, by {by}; groups that agree so: {groups:,}"

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The repaired columns."""
        key = group_key([(inputs[field.name], field.type) for field in self.by])
        return {name: self._repaired(key, inputs[name], name, agreed) for name, agreed in self.agreed if agreed}

    def _repaired(self, key: pl.Expr, value: pl.Expr, name: str, agreed: tuple[tuple[str, str], ...]) -> pl.Expr:
        keys, texts = zip(*agreed, strict=True)
        values = _typed(self.schema[name], texts)
        found = key.replace_strict(list(keys), values, default=None, return_dtype=values.dtype)
        repaired = pl.coalesce(found, value)
        return repaired if self.step.missing else pl.when(value.is_not_null()).then(repaired)


def _typed(field: Field, texts: tuple[str, ...]) -> pl.Series:
    """Values of a column from their canonical texts."""
    kind = family(field)
    if kind == "truth values":
        return pl.Series([text == "true" for text in texts])
    if kind == "numbers":
        return pl.Series(pa.array([float(text) for text in texts]).cast(field.type))
    return pl.Series(list(texts), dtype=pl.String)
