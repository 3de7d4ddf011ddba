"""Which columns a step is meant for: by name, glob, type or role, resolved against a schema."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.errors import SchemaError
from penstock.schema import Role, Schema

KINDS: dict[str, tuple[Role, ...]] = {
    "numeric": (Role.number, Role.integer),
    "categorical": (Role.category,),
    "boolean": (Role.boolean,),
    "text": (Role.text,),
    "time": (Role.time,),
}
"""Selectors by the kind of values; each takes feature columns only."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Columns by patterns. A pattern is a column's exact name, a glob (``price_*``), a kind ("numeric",
    "categorical", "boolean", "text", "time"), "features" for all features, or "role:NAME".

    Example:
        >>> numeric()
        Selector(patterns=('numeric',), excluded=())
        >>> columns("age", "price_*").excluding("price_old")
        Selector(patterns=('age', 'price_*'), excluded=('price_old',))
    """

    patterns: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    def excluding(self, *patterns: str) -> Selector:
        """The same without what these patterns match."""
        return Selector(self.patterns, (*self.excluded, *patterns))

    def resolve(self, schema: Schema, *, required: bool = True) -> tuple[str, ...]:
        """The names of the columns meant, in the schema's order.

        Raises:
            SchemaError: a name is not there, or (where ``required``) nothing is met at all.
        """
        chosen: set[str] = set()
        for pattern in self.patterns:
            found = _match(pattern, schema)
            if not found and required:
                raise _nothing_met(pattern, schema)
            chosen.update(found)
        for pattern in self.excluded:
            chosen.difference_update(_match(pattern, schema))
        if not chosen and required:
            raise _nothing_met(", ".join(self.patterns), schema)
        return tuple(name for name in schema.names if name in chosen)

    def to_config(self) -> Any:
        """As it stands in a pipeline file; `as_selector` is its inverse."""
        plain: Any = self.patterns[0] if len(self.patterns) == 1 else list(self.patterns)
        return {"include": plain, "exclude": list(self.excluded)} if self.excluded else plain


def _match(pattern: str, schema: Schema) -> tuple[str, ...]:
    if pattern in schema:
        return (pattern,)
    if pattern in KINDS:
        return schema.of_role(*KINDS[pattern])
    if pattern == "features":
        return schema.features
    if pattern.startswith("role:") and pattern[5:] in Role.__members__:
        return schema.of_role(Role(pattern[5:]))
    if any(sign in pattern for sign in "*?["):
        return tuple(name for name in schema.features if fnmatch.fnmatchcase(name, pattern))
    return ()


def _nothing_met(pattern: str, schema: Schema) -> SchemaError:
    if pattern in KINDS or pattern == "features":
        return SchemaError(
            f"no column is {pattern}" if pattern in KINDS else "there is no feature",
            expected="a feature with the role " + " or ".join(role.value for role in KINDS.get(pattern, ())),
            got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema.fields[:12]) or "no columns",
            remedy="leave the step out, or give a column that role",
        )
    near = difflib.get_close_matches(pattern, [*schema.names, *KINDS], n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "name a column, a glob, or one of " + ", ".join(KINDS)
    shown = ", ".join(repr(name) for name in schema.names[:12]) + (", ..." if len(schema) > 12 else "")
    return SchemaError("no column is met", expected=f"a match among {shown}", got=repr(pattern), remedy=remedy)


ColumnsLike: TypeAlias = Selector | str | tuple[str, ...] | list[str]


def as_selector(value: Any) -> Selector:
    """A selector from what users write: a selector, a pattern, or several.

    Raises:
        SchemaError: it is none of these.
    """
    if isinstance(value, Selector):
        return value
    if isinstance(value, str):
        return Selector((value,))
    if isinstance(value, dict) and set(value) <= {"include", "exclude"} and "include" in value:
        chosen = as_selector(value["include"])
        return chosen.excluding(*as_selector(value["exclude"]).patterns) if value.get("exclude") else chosen
    if isinstance(value, (tuple, list)) and value and all(isinstance(item, str) for item in value):
        return Selector(tuple(value))
    raise SchemaError(
        "not a selection of columns", expected="a name, a glob, a kind, or a list of them", got=repr(value)
    )


def columns(*patterns: str) -> Selector:
    """Columns by name or glob."""
    return Selector(patterns)


def numeric() -> Selector:
    """Feature columns of numbers, whole numbers included."""
    return Selector(("numeric",))


def categorical() -> Selector:
    """Feature columns of categories."""
    return Selector(("categorical",))


def boolean() -> Selector:
    """Feature columns of truth values."""
    return Selector(("boolean",))


def text() -> Selector:
    """Feature columns of text."""
    return Selector(("text",))


def time() -> Selector:
    """Feature columns of dates and times."""
    return Selector(("time",))


def role(name: str) -> Selector:
    """Columns of a role."""
    return Selector((f"role:{name}",))
