"""Values of a pipeline file against the types of the fields that they are for, and the wording of both.

A contract's helper of `config.py`. The checking is pydantic's, strict: a text is no number, a number no text, 1 is not
true. Its complaints are told in our words.
"""

from __future__ import annotations

import difflib
import enum
import functools
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from penstock.config_text import Node, flow
from penstock.errors import PenstockError
from penstock.selector import ColumnsLike, Selector, as_selector

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Mismatch(Exception):
    """A value is not of the type; caught by `config.py`, which knows the file.

    Attributes:
        path: keys and positions inside the value, to what is wrong.
        line: of what is wrong.
    """

    def __init__(
        self, message: str, *, path: Sequence[str | int], line: int, expected: str, got: str, remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = tuple(path)
        self.line = line
        self.expected = expected
        self.got = got
        self.remedy = remedy


def typed(hint: Any, node: Node) -> Any:
    """The value of a node as an object of a type: lists as tuples, texts as the members of an enumeration.

    Raises:
        Mismatch: it is not of the type.

    Example:
        >>> from penstock.config_text import node_of
        >>> typed(tuple[float, float], node_of([0, 0.5]))
        (0.0, 0.5)
    """
    from pydantic import ValidationError

    if hint in (ColumnsLike, Selector):
        return _selection(node)
    try:
        return _adapter(hint).validate_json(json.dumps(node.plain()), strict=True)
    except ValidationError as error:
        raise _mismatch(hint, node, error.errors(include_url=False, include_context=False)) from error


def _selection(node: Node) -> Selector:
    try:
        return as_selector(node.plain())
    except PenstockError as error:
        raise Mismatch(
            error.message,
            path=(),
            line=node.line,
            expected=described(ColumnsLike),
            got=shown(node),
            remedy=_between_quotes(node),
        ) from error


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _mismatch(hint: Any, node: Node, errors: Sequence[Mapping[str, Any]]) -> Mismatch:
    paths = [_path(node, error["loc"]) for error in errors]
    path = max(paths, key=len)  # of the members of a union, the one that fits furthest
    found = node.at(path)
    wanted = _hint_at(hint, path)
    remedy, message = "", "not of its type"
    names = _names(wanted)
    if isinstance(found.value, str):
        message = "not one of its values" if names else message
        remedy = nearest(found.value, names)
        if bool in _members(wanted) and found.value.lower() in ("yes", "no", "on", "off"):
            remedy = f"write {'true' if found.value.lower() in ('yes', 'on') else 'false'}"
    elif str in _members(wanted):
        remedy = _between_quotes(found)
    return Mismatch(
        message,
        path=path,
        line=found.line,
        expected=described(wanted),
        got=shown(found),
        remedy=remedy,
    )


def _path(node: Node, location: Iterable[str | int]) -> tuple[str | int, ...]:
    """The part of pydantic's location that leads into the value; names of union members lead nowhere."""
    path: list[str | int] = []
    for part in location:
        inner = node.inside(part)
        if inner is not None:
            node = inner
            path.append(part)
    return tuple(path)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _hint_at(hint: Any, path: Sequence[str | int]) -> Any:
    """The type of what a path inside a value of this type leads to."""
    for part in path:
        for member in _members(hint):
            arguments = get_args(member)
            if isinstance(part, str) and _is_mapping(member):
                hint = arguments[1]
                break
            if isinstance(part, int) and get_origin(member) in (tuple, list):
                hint = arguments[0] if Ellipsis in arguments or len(arguments) == 1 else arguments[part]
                break
    return hint


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _names(hint: Any) -> tuple[str, ...]:
    """The texts that a type allows, where they are a closed list."""
    found: list[str] = []
    for member in _members(hint):
        if get_origin(member) is Literal:
            found += (value for value in get_args(member) if isinstance(value, str))
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            found += (str(value.value) for value in member)
    return tuple(found)


def described(hint: Any) -> str:
    """A type in words.

    Example:
        >>> described(tuple[float, float] | None)
        'a list of 2: a number, a number; or null'
        >>> described(float | Literal["auto"])
        "a number or 'auto'"
    """
    if hint == ColumnsLike or hint is Selector:
        return "a column's name, a glob, a kind (numeric, categorical, boolean, text, time), or a list of them"
    members = _members(hint)
    words = [_words(member) for member in members]
    if len(words) == 1:
        return words[0]
    comma = ";" if any(", " in word for word in words) else ""
    return ", ".join(words[:-1]) + f"{comma} or {words[-1]}"


def _words(hint: Any) -> str:
    plain: dict[Any, str] = {
        None: "null",
        type(None): "null",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
    }
    plain |= {str: "a text", Any: "a value"}
    if hint in plain:
        return plain[hint]
    arguments = get_args(hint)
    if get_origin(hint) is Literal or _names(hint):
        names = [repr(value) for value in (arguments if get_origin(hint) is Literal else _names(hint))]
        return names[0] if len(names) == 1 else "one of " + ", ".join(names)
    if _is_mapping(hint):
        return f"a mapping of {_plural(described(arguments[0]))} to {described(arguments[1])}"
    if get_origin(hint) in (tuple, list):
        if Ellipsis in arguments or len(arguments) == 1:
            return f"a list of {_plural(described(arguments[0]))}"
        return f"a list of {len(arguments)}: " + ", ".join(map(described, arguments))
    return str(getattr(hint, "__name__", hint))


def _plural(words: str) -> str:
    return words[2:] + "s" if words.startswith("a ") and " or " not in words else f"({words})"


def shown(node: Node) -> str:
    """What stands in the file, on one line and not too long."""
    text = flow(node.plain())
    if isinstance(node.value, str):
        text = repr(node.value)
    return text if len(text) <= 70 else text[:67] + "..."


def _between_quotes(node: Node) -> str:
    """The remedy for what is no text and was meant as one, or for the first of the values inside."""
    if isinstance(node.value, str):
        return ""
    if isinstance(node.value, (list, dict)):
        inner = node.value.values() if isinstance(node.value, dict) else node.value
        return next(filter(None, map(_between_quotes, inner)), "")
    return f"if the text is meant, put it between quotes: '{flow(node.value)}'"


def nearest(name: str, known: Sequence[str]) -> str:
    """The remedy for a misspelt name: the known one that is most like it, or nothing."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {found[0]!r}?" if found else ""
