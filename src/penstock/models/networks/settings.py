"""What the settings of a trunk may be, from the types in its constructor: said before anything is made of them."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from penstock.errors import UsageError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}


def refuse_other_types(name: str, made: Any, settings: Mapping[str, Any]) -> None:
    """See that each setting is of its type. What a constructor says nothing of, or nothing plain, is let through.

    Raises:
        UsageError: one is not.

    Example:
        >>> class Trunk:
        ...     def __init__(self, vocabulary: int, size: int = 8) -> None: ...
        >>> refuse_other_types("mine", Trunk, {"size": "large"})
        Traceback (most recent call last):
        penstock.errors.UsageError: network 'mine': size: not a setting that fits
          expected: a whole number
          got:      'large'
    """
    try:
        hints = get_type_hints(made.__init__)
    except (NameError, TypeError, AttributeError):  # types of another package that are there for its checker alone
        return
    for key, value in settings.items():
        if key in hints and not _fits(value, hints[key]):
            raise UsageError(
                "not a setting that fits",
                where=f"network {name!r}: {key}",
                expected=_described(hints[key]),
                got=repr(value),
            )


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if origin in (Sequence, list, tuple):
        within = [each for each in get_args(hint) if each is not ...]
        return isinstance(value, (list, tuple)) and all(_fits(each, within[0]) for each in value if len(within) == 1)
    if origin is Mapping or origin is dict or hint in (Mapping, dict):
        return isinstance(value, Mapping)
    if hint is float:
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not (hint in _WORDS and not isinstance(value, hint))


def _described(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return ", ".join(map(repr, get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_described, get_args(hint)))
    if origin in (Sequence, list, tuple):
        within = [each for each in get_args(hint) if each is not ...]
        return "a list" + (f", each {_described(within[0])}" if within else "")
    if origin is Mapping or origin is dict or hint in (Mapping, dict):
        return "a mapping"
    return _WORDS.get(hint, str(hint))
