"""Steps that turn categories into numbers: `OneHot` and `Ordinal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies
from penstock.step import Check, Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of, retyped, whole_number
from penstock.steps.categories import Categories, check_most

MISSING = "missing"
"""What a null is called where it has a column of its own."""
MOST_COLUMNS = 1024
"""The most columns that one column becomes, unless told otherwise; what is wider is a column of vectors."""


def _fields(step: OneHot | Ordinal, schema: Schema) -> tuple[Field, ...]:
    return chosen_of(step.columns, schema, step.name, "text", "truth values")


def _frequencies(step: OneHot | Ordinal, schema: Schema) -> dict[str, Statistic[Any]]:
    return {field.name: Frequencies(field.name) for field in _fields(step, schema)}


@dataclass(frozen=True, slots=True)
class OneHot(Step):
    """A column of categories becomes one column ``NAME_CATEGORY`` for each, 1 where the row is of it and else 0.

    The columns are float32, stand where the column stood, and are in the order of the categories' code points.
    A null has a column of its own, ``NAME_missing``, where there were nulls when fitting; else it is all zeros.

    What would be more than ``max_columns`` is one column of sparse vectors, ``NAME_one_hot``, with a place for each.

    Formula:
        NAME_c = 1 where x = c, else 0, for each category c

        As scikit-learn's OneHotEncoder.

    Args:
        columns: columns of categories, text or truth values ("true" and "false").
        max_categories: the most columns for one column; where there are more categories, the rarest share a last
            one, ``NAME_infrequent``. Nulls are not counted.
        drop: "first" leaves out the first of the columns, for models that can't bear collinear ones.
        unseen: a category that was not seen when fitting gives all zeros ("ignore"), counts as infrequent where
            there is such a column ("infrequent"), or has its row rejected, code "unseen" ("reject").
        max_columns: the most columns that one column becomes before it is a column of vectors; 0 for vectors always.

    Raises:
        UsageError: an argument is not one of these.
        SchemaError: a column is of another type, or two columns would have one name.
        DataError: when fitting, a column has more than a million categories.

    Example:
        >>> OneHot("categorical", max_categories=50).unseen
        'ignore'
    """

    columns: ColumnsLike
    max_categories: int | None = None
    drop: Literal["first"] | None = None
    unseen: Literal["ignore", "infrequent", "reject"] = "ignore"
    max_columns: int = MOST_COLUMNS

    name = "one_hot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        check_most(self.max_categories, 1, self.name)
        if self.drop not in (None, "first"):
            raise UsageError("nothing to drop", where="one_hot: drop", expected="'first' or null", got=repr(self.drop))
        if self.unseen not in ("ignore", "infrequent", "reject"):
            raise UsageError(
                "not a way with unseen categories",
                where="one_hot: unseen",
                expected="ignore, infrequent or reject",
                got=repr(self.unseen),
            )
        whole_number("one_hot: max_columns", self.max_columns, 0)

    def touches(self, schema: Schema) -> Columns:
        """Reads and removes the columns; the names of the new ones are known once it is fitted."""
        names = tuple(field.name for field in _fields(self, schema))
        return Columns(reads=names, writes=(), removes=names, rows=self.unseen == "reject")

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The frequencies of each column, under its name."""
        return _frequencies(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedOneHot:
        """The step with its categories."""
        encoded = {}
        for field in _fields(self, schema):
            found = Categories.of(field, values[field.name], self.max_categories)
            encoded[field.name] = found
        return FittedOneHot(self, self._schema(schema, encoded), tuple(encoded.values()))

    def vector_name(self, categories: Categories) -> str | None:
        """The name of the column of vectors that a column becomes; None where it becomes a column for each."""
        many = len(indicators(categories, self.drop))
        return f"{categories.field.name}_{self.name}" if many > self.max_columns else None

    def _schema(self, schema: Schema, encoded: Mapping[str, Categories]) -> Schema:
        fields: list[Field] = []
        for field in schema:
            if field.name not in encoded:
                fields.append(field)
                continue
            reason = f"one-hot of {field.name!r}"
            made = [name for name, _ in indicators(encoded[field.name], self.drop)]
            vector = self.vector_name(encoded[field.name])
            if vector is not None:
                parts = tuple(name.removeprefix(f"{field.name}_") for name in made)
                fields.append(Field(vector, SPARSE, Role.vector, reason, width=len(parts), parts=parts))
            else:
                fields += [Field(name, pa.float32(), Role.number, reason) for name in made]
        seen: set[str] = set()
        for field in fields:
            if field.name in seen:
                raise SchemaError(
                    "two columns would have one name",
                    where="step 'one_hot'",
                    got=repr(field.name),
                    remedy="rename a column or a category (nulls and rare ones are called 'missing' and 'infrequent')",
                )
            seen.add(field.name)
        return Schema(tuple(fields))


def indicators(categories: Categories, drop: str | None) -> list[tuple[str, int | None]]:
    """The columns that a column becomes: the name of each, and the code that it is 1 for, None for nulls."""
    column = categories.field.name
    columns: list[tuple[str, int | None]] = [
        (f"{column}_{label}", code) for code, label in enumerate(categories.labels) if code > 0 or drop is None
    ]
    return [*columns, (f"{column}_{MISSING}", None)] if categories.nulls else columns


@dataclass(frozen=True, slots=True)
class FittedOneHot(TableStep):
    """`OneHot` with its categories."""

    step: OneHot
    schema: Schema
    encoded: tuple[Categories, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The columns of zeros and ones."""
        written = {}
        for categories in self.encoded:
            value = inputs[categories.field.name]
            vector = self.step.vector_name(categories)
            if vector is not None:
                written[vector] = _vector(self._place(categories, value))
                continue
            code = categories.code(value)
            for name, place in indicators(categories, self.step.drop):
                if place is None:
                    is_it = value.is_null()
                elif place < len(categories.kept):
                    is_it = code == place
                else:
                    is_it = code >= place
                    if self.step.unseen == "infrequent":
                        is_it = is_it | ((code < 0) & value.is_not_null())
                written[name] = is_it.cast(pl.Float32)
        return written

    def _place(self, categories: Categories, value: pl.Expr) -> pl.Expr:
        """The place of a value in its vector; -1 where all are zero."""
        code = categories.code(value)
        shared = len(categories.kept)
        if categories.grouped:
            code = code.clip(upper_bound=shared)
        unseen = shared if categories.grouped and self.step.unseen == "infrequent" else -1
        missing = len(categories.labels) if categories.nulls else -1
        found = pl.when(value.is_null()).then(missing).when(code < 0).then(unseen).otherwise(code)
        if self.step.drop is not None and categories.labels:
            found = pl.when(found > 0).then(found - 1).otherwise(-1)
        return found.cast(pl.Int32)

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """That every category was seen, where the step asks for it."""
        if self.step.unseen != "reject":
            return ()
        return tuple(
            Check(
                (categories.code(inputs[categories.field.name]) >= 0) | inputs[categories.field.name].is_null(),
                "unseen",
                categories.field.name,
                "a category that was not seen when fitting",
            )
            for categories in self.encoded
        )

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The categories. Null for an infrequent one (which it was is lost), and where no column is 1.

        Where the first column was dropped, no column being 1 means its category; so does a null or unseen value
        that has no column of its own.
        """
        given = {}
        for categories in self.encoded:
            columns = indicators(categories, self.step.drop)
            vector = self.step.vector_name(categories)
            if not all(name in outputs for name in ((vector,) if vector else (name for name, _ in columns))):
                continue
            first = self.step.drop is not None and categories.kept
            text: pl.Expr = pl.lit(categories.kept[0] if first else None, pl.String)
            labels = [
                categories.kept[code] if code is not None and code < len(categories.kept) else None
                for _, code in columns
            ]
            if vector is not None:
                place = outputs[vector].struct.field("indices").list.first()
                label = place.replace_strict(list(range(len(labels))), labels, default=None, return_dtype=pl.String)
                text = pl.when(place.is_null()).then(text).otherwise(label)
            else:
                for (name, _), known in zip(columns, labels, strict=True):
                    text = pl.when(outputs[name] > 0.5).then(pl.lit(known, pl.String)).otherwise(text)
            given[categories.field.name] = categories.original(text)
        return given

    def inverse(self, batch: Batch) -> Batch:
        """The batch with the categories in place of the zeros and ones.

        Columns of zeros and ones of which some are missing stay as they are.
        """
        undone = TableStep.inverse(self, batch)
        gone = {
            name
            for categories in self.encoded
            if categories.field.name in undone.columns.schema.names
            for name in (
                [self.step.vector_name(categories)] + [name for name, _ in indicators(categories, self.step.drop)]
            )
        }
        return undone.select([name for name in undone.columns.schema.names if name not in gone])


def _vector(place: pl.Expr) -> pl.Expr:
    """Vectors of one 1 at this place, or of zeros where it is -1; as `penstock.schema.SPARSE`."""
    known = place >= 0
    indices = pl.when(known).then(pl.concat_list(place)).otherwise(pl.lit([], pl.List(pl.Int32)))
    ones = pl.concat_list(known.cast(pl.Float32))
    values = pl.when(known).then(ones).otherwise(pl.lit([], pl.List(pl.Float32)))
    return pl.struct(indices.alias("indices"), values.alias("values"))


@dataclass(frozen=True, slots=True)
class Ordinal(Step):
    """Categories become whole numbers (int32) from 0, in the order of their code points; null and unseen become -1.

    The column stays one of categories: its field lists what the codes stand for.

    Args:
        columns: columns of categories, text or truth values ("false" and "true").
        max_categories: the most codes for one column; where there are more categories, the rarest share the last.

    Raises:
        UsageError: ``max_categories`` is not a whole number above 0.
        SchemaError: a column is of another type.
        DataError: when fitting, a column has more than a million categories.

    Example:
        >>> Ordinal(["city", "color"]).max_categories is None
        True
    """

    columns: ColumnsLike
    max_categories: int | None = None

    name = "ordinal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        check_most(self.max_categories, 1, self.name)

    def touches(self, schema: Schema) -> Columns:
        """Reads and writes the columns."""
        names = tuple(field.name for field in _fields(self, schema))
        return Columns(reads=names, writes=names)

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """The frequencies of each column, under its name."""
        return _frequencies(self, schema)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedOrdinal:
        """The step with its categories."""
        encoded = tuple(
            Categories.of(field, values[field.name], self.max_categories) for field in _fields(self, schema)
        )
        return FittedOrdinal(self, schema.put(*map(_coded, encoded)), encoded)


def _coded(categories: Categories) -> Field:
    field = retyped(categories.field, pa.int32(), Role.category)
    return Field(field.name, field.type, field.role, field.reason, categories.labels, field.values)


@dataclass(frozen=True, slots=True)
class FittedOrdinal(TableStep):
    """`Ordinal` with its categories."""

    step: Ordinal
    schema: Schema
    encoded: tuple[Categories, ...]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """The codes."""
        written = {}
        for categories in self.encoded:
            code = categories.code(inputs[categories.field.name])
            if categories.grouped:
                code = code.clip(upper_bound=len(categories.kept))
            written[categories.field.name] = code
        return written

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        """The categories. Null for -1, and for an infrequent one: which it was is lost."""
        given = {}
        for categories in self.encoded:
            name = categories.field.name
            if name not in outputs:
                continue
            if not categories.kept:
                text: pl.Expr = pl.when(outputs[name] < 0).then(pl.lit(None, pl.String))
            else:
                codes = list(range(len(categories.kept)))
                text = outputs[name].replace_strict(codes, list(categories.kept), default=None, return_dtype=pl.String)
            given[name] = categories.original(text)
        return given
