"""What an expression is made of: the nodes of its tree, and how a complaint points into its text.

Part of the expressions (`expression.py`), which are a value. Here is no grammar and no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

from penstock.errors import PenstockError

_SHOWN = 60
_INDENT = " " * 12
"""What an error's lines are indented by below the first of them; see `PenstockError.__str__`."""

E = TypeVar("E", bound=PenstockError)


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Attributes:
        at: where it begins in the text, from 0.
    """

    at: int


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A number, a text, true, false or null."""

    value: float | str | bool | None


@dataclass(frozen=True, slots=True)
class Column(Node):
    """A column, by its name.

    Attributes:
        quoted: whether the name stood between double quotes.
    """

    name: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``-x`` or ``not x``."""

    sign: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands and a sign between them; ``at`` is the sign's place."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    """``x is null``, or ``x is not null``."""

    operand: Node
    negated: bool


@dataclass(frozen=True, slots=True)
class Between(Node):
    """``x between low and high``, both ends included."""

    operand: Node
    low: Node
    high: Node
    negated: bool


@dataclass(frozen=True, slots=True)
class In(Node):
    """``x in (1, 2)``."""

    operand: Node
    options: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Case(Node):
    """``case when condition then value ... else value end``."""

    conditions: tuple[Node, ...]
    values: tuple[Node, ...]
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of some arguments."""

    name: str
    arguments: tuple[Node, ...]


def nodes_of(node: Node) -> Iterator[Node]:
    """The node and all nodes below it, in the order of the text."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        inner: list[Node] = []
        for field in fields(node):
            value = getattr(node, field.name)
            inner += [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Node)]
        waiting += reversed(inner)


def complaint(
    kind: type[E], text: str, at: int, message: str, *, where: str, expected: str = "", remedy: str = ""
) -> E:
    """An error about a place in an expression: its position, and the line with a caret below.

    Example:
        >>> from penstock.errors import UsageError
        >>> print(complaint(UsageError, "a + * b", 4, "an operand is missing", where="derive"))
        derive: at position 5: an operand is missing
          got:      a + * b
                        ^
    """
    before = text.rfind("\n", 0, at) + 1
    after = text.find("\n", at)
    line, offset = text[before : after if after >= 0 else len(text)], at - before
    place = (
        f"position {at + 1}" if "\n" not in text else f"line {text.count(chr(10), 0, at) + 1}, position {offset + 1}"
    )
    start = max(0, offset - _SHOWN // 2) if len(line) > _SHOWN else 0
    shown = line[start : start + _SHOWN].replace("\t", " ").replace("\r", " ")
    head, tail = "..." if start else "", "..." if start + _SHOWN < len(line) else ""
    caret = _INDENT + " " * (len(head) + offset - start) + "^"
    got = f"{head}{shown}{tail}\n{caret}"
    return kind(f"at {place}: {message}", where=where, expected=expected, got=got, remedy=remedy)
