"""What the docstrings of definitions say: of a step or model in one sentence, and of each of its settings.

A contract's helper of `config.py`: the JSON schema, a written-out pipeline file and the documentation all tell a
setting in the same words, those that stand where it is defined.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

_SECTIONS = ("Args:", "Attributes:")


def summary_of(definition: Any) -> str:
    """The first paragraph of a docstring, as one line.

    Example:
        >>> from penstock.steps.scale import MinMax
        >>> summary_of(MinMax).endswith(".")
        True
    """
    return " ".join((inspect.getdoc(definition) or "").split("\n\n")[0].split())


def settings_of(definition: Any, sections: tuple[str, ...] = _SECTIONS) -> dict[str, str]:
    """What the docstring says of each argument or attribute, or in other sections, each as one line.

    Example:
        >>> from penstock.source import ReadOptions
        >>> settings_of(ReadOptions)["delimiter"]
        'of text files, one character.'
    """
    found: dict[str, str] = {}
    inside = False
    name = ""
    for line in (inspect.getdoc(definition) or "").splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.strip() in sections
            name = ""
        elif inside and (begun := re.fullmatch(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)):
            name = begun[1]
            found[name] = begun[2].strip()
        elif inside and name and line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """A text as comment lines of a pipeline file.

    Example:
        >>> wrapped("of text files, one character", 20)
        ['# of text files, one', '# character']
    """
    return textwrap.wrap(text, width, initial_indent=indent + "# ", subsequent_indent=indent + "# ")
