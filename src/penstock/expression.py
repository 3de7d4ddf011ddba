"""Expressions of columns, such as ``weight / height ** 2``: a small grammar of our own, never code. A value.

`parse` makes one from its text, with every complaint pointing at its place; `Expression.typed` checks it against a
schema; `Typed.to_polars` gives what computes it. The grammar is in `expression_parser.py`, what can be computed in
`expression_functions.py`. What is computed depends on the columns of one row alone: no files, no other rows, no clock.

- **Operands**: numbers; ``'text'`` between single quotes; columns, bare or between double quotes (``"total price"``);
  ``true``, ``false``, ``null``; ``date('2026-11-20')``. A quote inside is written twice.
- **Signs**: ``+ - * / // % **`` (``//`` and ``%`` as in Python: rounded down); ``= == != <> < <= > >=``;
  ``and or not``; ``x in (1, 2)``, ``x between 1 and 2``, ``x is null``, each with ``not``.
- **Choices**: ``if(condition, yes, no)``, ``case when a then 1 when b then 2 else 3 end``, ``coalesce(a, b)``.
- **Null** is missing, and what is computed from it is null, as in SQL; but ``min`` and ``max`` skip it, and a condition
  that is null chooses the other branch. Numbers are finite: a division by zero, a logarithm of -1, an overflow is null.
- **Functions of numbers**: ``abs sqrt exp log`` (natural) ``log10 log1p sin cos tan`` (radians) ``floor ceil sign``,
  ``round(x, digits)`` (half to even, as Python), ``min max`` of any number of arguments of the row (of times too),
  ``clip(x, low, high)`` (null for no bound).
- **Functions of text**: ``length`` (characters) ``lower upper trim``, ``contains starts_with ends_with`` and
  ``replace`` (of a plain part, no pattern), ``concat(a, b)``, ``substring(text, start, length)`` (from 1, as SQL);
  ``number(text)``, such as 428.5 of ``'428.5'`` (null where it is none, as ``'V27'``).
- **Functions of times**: ``year month day weekday`` (1, Monday, to 7) ``hour minute second``,
  ``date('2026-11-20 08:30')``, ``days_between(from, to)`` (with fractions), ``date_trunc('week', time)`` (where the
  minute, hour, day, week, which begins on Monday, month, quarter or year begins, as SQL). **Of anything**:
  ``is_missing(x)``, the same as ``x is null``.
- **Kinds** (number, text, truth value, time) don't mix: ``'3' + 1`` is refused, not guessed at.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from penstock.errors import SchemaError, UsageError
from penstock.expression_functions import FUNCTIONS, Kind
from penstock.expression_kinds import Computation
from penstock.expression_parser import tree_of
from penstock.expression_tree import Call, Column, Node, complaint, nodes_of
from penstock.schema import ROLE_TYPES, Field, Role, Schema

_PREFIX = "c:"


def parse(text: str, where: str = "expression") -> Expression:
    """The expression of a text.

    Args:
        text: see the module's words.
        where: what it belongs to, for messages.

    Raises:
        UsageError: it is not of the grammar, or calls a function that is not there; the message gives the place.

    Example:
        >>> parse("weight / height ** 2").columns
        ('weight', 'height')
        >>> parse("weight / (height ** 2")
        Traceback (most recent call last):
        penstock.errors.UsageError: expression: at position 22: ')' is missing to close the bracket
          got:      weight / (height ** 2
                                         ^
    """
    expression = Expression(text, tree_of(text, where), where)
    for node in nodes_of(expression.tree):
        if isinstance(node, Call):
            _check_call(node, expression)
    return expression


def _check_call(node: Call, expression: Expression) -> None:
    function = FUNCTIONS.get(node.name)
    if function is None:
        near = difflib.get_close_matches(node.name, FUNCTIONS, n=1)
        raise complaint(
            UsageError,
            expression.text,
            node.at,
            f"there is no function {node.name!r}",
            where=expression.where,
            expected="one of " + ", ".join(FUNCTIONS),
            remedy=f"did you mean {near[0]!r}?" if near else "",
        )
    most = len(function.takes)
    given = len(node.arguments)
    if given < most - function.optional or (given > most and not function.repeats):
        raise complaint(
            UsageError,
            expression.text,
            node.at,
            f"{node.name!r} does not take {given} argument{'' if given == 1 else 's'}",
            where=expression.where,
            expected=node.name + function.shown,
        )


@dataclass(frozen=True)
class Expression:
    """An expression as it was written, checked against the grammar and not yet against any columns.

    Attributes:
        text: as it was written.
        tree: what it says.
        where: what it belongs to, for messages.
    """

    text: str
    tree: Node
    where: str = "expression"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns it reads, in the order in which they are first named."""
        return tuple(dict.fromkeys(node.name for node in nodes_of(self.tree) if isinstance(node, Column)))

    def typed(self, schema: Schema) -> Typed:
        """The expression over the columns of a schema.

        Raises:
            SchemaError: a column is not there, or kinds don't go together; the message gives the place.

        Example:
            >>> schema = Schema((Field("height", pa.float64(), Role.number),))
            >>> parse("height > 2").typed(schema).kind
            'truth value'
            >>> parse("heigth > 2").typed(schema)
            Traceback (most recent call last):
            penstock.errors.SchemaError: expression: at position 1: no column 'heigth'
              expected: one of 'height'
              got:      heigth > 2
                        ^
              remedy:   did you mean 'height'?
        """
        inputs = {name: pl.col(_PREFIX + name) for name in self.columns}
        value = Computation(self.text, self.where, schema, inputs).value(self.tree)
        role = {"number": Role.number, "text": Role.category, "truth value": Role.boolean, "time": Role.time}
        if value.kind == "null":
            raise complaint(
                SchemaError, self.text, value.at, "the expression is always null", where=self.where, expected="values"
            )
        chosen = role[value.kind]
        if value.whole:
            chosen = Role.integer
        elif value.free:
            chosen = Role.text
        return Typed(self, schema.select(self.columns), value.kind, chosen)


@dataclass(frozen=True)
class Typed:
    """An expression over the columns of a schema.

    Attributes:
        expression: what was written.
        schema: the columns it reads.
        kind: what its values are.
        role: the role of a column of them. Numbers are whole where every part of them is; text is a category
            where no column of free text is in it.
    """

    expression: Expression
    schema: Schema
    kind: Kind
    role: Role

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of its values."""
        return ROLE_TYPES[self.role]

    def field(self, name: str) -> Field:
        """The field of a column of its values."""
        text = " ".join(self.expression.text.split())
        return Field(name, self.type, self.role, f"= {text if len(text) <= 60 else text[:57] + '...'}")

    def to_polars(self, inputs: Mapping[str, pl.Expr]) -> pl.Expr:
        """What computes it, from an expression of the values of each column it reads."""
        written = self.expression
        return Computation(written.text, written.where, self.schema, inputs).value(written.tree).expr
