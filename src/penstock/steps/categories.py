"""The categories of a column, as encoders know them: which there are, in which order, and which are grouped.

Beside the steps, and no step itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from penstock.errors import DataError, UsageError
from penstock.schema import Field
from penstock.steps.arguments import family

INFREQUENT = "infrequent"
"""What the categories beyond ``max_categories`` are called together."""
MOST_CATEGORIES = 1_000_000
"""The most categories that a column may have at all."""


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of one column, as they were seen when fitting.

    Attributes:
        field: the column.
        kept: the categories with a code of their own, in the order of their code points.
        grouped: those that share the code after them.
        nulls: whether there were nulls.
    """

    field: Field
    kept: tuple[str, ...]
    grouped: tuple[str, ...] = ()
    nulls: bool = False

    @classmethod
    def of(cls, field: Field, frequencies: Any, most: int | None) -> Categories:
        """The categories of a table of frequencies; at most so many codes, the rarest grouped into one.

        Of categories that are equally rare the first in order are grouped, as scikit-learn's encoders do. Unlike
        there, exactly as many categories as allowed are all kept: a group of one would save nothing.

        Raises:
            DataError: there are more than a million categories.
        """
        if frequencies.distinct > MOST_CATEGORIES:
            raise DataError(
                "too many categories",
                where=f"column {field.name!r}",
                expected=f"at most {MOST_CATEGORIES}",
                got=str(frequencies.distinct),
                remedy="drop the column: what is nearly different in every row is a key, not a category",
            )
        table = frequencies.table()  # ascending by code points
        names = table.column("value").to_pylist()
        nulls = frequencies.nulls > 0
        if most is None or len(names) <= most:
            return cls(field, tuple(names), (), nulls)
        rarest = np.argsort(table.column("count").to_numpy(), kind="stable")[: len(names) - most + 1]
        rare = np.zeros(len(names), bool)
        rare[rarest] = True
        kept = tuple(name for name, group in zip(names, rare, strict=True) if not group)
        grouped = tuple(name for name, group in zip(names, rare, strict=True) if group)
        return cls(field, kept, grouped, nulls)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the codes stand for, from 0."""
        return (*self.kept, INFREQUENT) if self.grouped else self.kept

    def text(self, value: pl.Expr) -> pl.Expr:
        """The column's values as text."""
        return value if family(self.field) == "text" else value.cast(pl.String)

    def code(self, value: pl.Expr) -> pl.Expr:
        """The place of a value among the categories (int32), -1 for null and for what was not seen."""
        if not self.kept and not self.grouped:
            return value.is_null().cast(pl.Int32) * 0 - 1
        every = pl.Enum([*self.kept, *self.grouped])
        return self.text(value).cast(every, strict=False).to_physical().cast(pl.Int32).fill_null(-1)

    def original(self, text: pl.Expr) -> pl.Expr:
        """Text in the column's own type."""
        return text if family(self.field) == "text" else text == "true"


def check_most(most: int | None, least: int, step: str) -> None:
    """Refuse a bound on the categories that is none.

    Raises:
        UsageError: it is neither None nor a whole number from ``least``.
    """
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < least):
        raise UsageError(
            "not a number of categories",
            where=f"{step}: max_categories",
            expected=f"a whole number from {least}, or null for no bound",
            got=repr(most),
        )
