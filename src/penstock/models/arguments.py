"""What models ask of their arguments: whole numbers and numbers within a range, or a word in their place."""

from __future__ import annotations

import math
from typing import Any

from penstock.errors import UsageError


def whole_number(where: str, value: Any, low: int, high: int | None = None, *, words: tuple[Any, ...] = ()) -> None:
    """Refuse what is neither a whole number from ``low`` to ``high`` nor one of the words.

    Raises:
        UsageError: it is not.

    Example:
        >>> whole_number("boosted: rounds", 0, 1)
        Traceback (most recent call last):
        penstock.errors.UsageError: boosted: rounds: not a number that fits
          expected: a whole number from 1
          got:      0
    """
    if value in words and not isinstance(value, bool):
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        _refuse(where, f"a whole number from {low}" + ("" if high is None else f" to {high}"), words, value)


def real_number(
    where: str, value: Any, low: float, high: float = math.inf, *, above: bool = False, words: tuple[Any, ...] = ()
) -> None:
    """Refuse what is neither a finite number from ``low`` (``above`` it, if so asked) to ``high`` nor one of the words.

    Raises:
        UsageError: it is not.
    """
    if isinstance(value, str) and value in words:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < low or value > high or (above and value == low):
        begin = f"a number {'above' if above else 'from'} {low:g}"
        _refuse(where, begin + ("" if math.isinf(high) else f" to {high:g}"), words, value)


def truth_value(where: str, value: Any, *, words: tuple[str, ...] = ()) -> None:
    """Refuse what is neither true nor false nor one of the words.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, bool) and not (isinstance(value, str) and value in words):
        _refuse(where, "true or false", words, value)


def one_of(where: str, value: Any, words: tuple[Any, ...]) -> None:
    """Refuse what is none of the words.

    Raises:
        UsageError: it is not.
    """
    if value not in words or isinstance(value, bool):
        raise UsageError("not a choice", where=where, expected=", ".join(map(repr, words)), got=repr(value))


def _refuse(where: str, expected: str, words: tuple[Any, ...], value: Any) -> None:
    either = "".join(f", or {word!r}" for word in words)
    raise UsageError("not a number that fits", where=where, expected=expected + either, got=repr(value))
