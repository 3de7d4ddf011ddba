"""What the reference is made of: docstrings taken apart, types in words, tables. Part of `reference_pages.py`."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.config_text import flow

_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(one) for one in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def type_in_words(schema: Mapping[str, Any]) -> str:
    """What a setting may be, from its JSON schema."""
    if "$ref" in schema:
        return "[columns](/reference/pipeline-file.md#columns)"
    if "enum" in schema:
        return ", ".join(f"`{flow(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{flow(schema['const'])}`"
    if "anyOf" in schema:
        return _either(schema["anyOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _either([{**schema, "type": one} for one in kind])
    if kind == "array":
        return _list_in_words(schema)
    if kind == "object":
        values = schema.get("additionalProperties")
        return "mapping to " + type_in_words(values) if isinstance(values, Mapping) and values else "mapping"
    return _TYPES.get(str(kind), "any value")


def _either(schemas: Sequence[Mapping[str, Any]]) -> str:
    found = dict.fromkeys(type_in_words(one) for one in schemas)
    return " or ".join(sorted(found, key=lambda text: text == "null"))


def _list_in_words(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return "[" + ", ".join(type_in_words(one) for one in schema["prefixItems"]) + "]"
    items = schema.get("items")
    return "list of " + type_in_words(items) if isinstance(items, Mapping) and items else "list"


def settings_table(schema: Mapping[str, Any]) -> str:
    """The settings of a definition: name, type, default and meaning."""
    needed = set(schema.get("required", ()))
    rows = []
    for name, entry in schema["properties"].items():
        if name in needed:
            default = "needed"
        elif "default" in entry:
            default = f"`{flow(json.loads(json.dumps(entry['default'])))}`"
        else:
            default = "none"
        rows.append((f"`{name}`", type_in_words(entry), default, entry.get("description", "")))
    return table(("setting", "type", "default", "meaning"), rows)


# ------------------------------------------------------------------ docstrings

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Formula|Metrics|Example):$", re.MULTILINE)
_MODULES = {"pa": "import pyarrow as pa", "Use": "from penstock.step import Use"}
_PUBLIC = ("Field", "Role", "Schema")
"""Names that examples take from the module that they stand in, and where a reader gets them."""


@dataclass(frozen=True)
class Words:
    """A docstring, taken apart.

    Attributes:
        summary: its first paragraph.
        body: the paragraphs after it.
        formula: the lines of the section ``Formula:``; empty where there is none.
        returns: what comes back.
        raises: what is raised, as a list in Markdown.
        example: the lines of the example.
    """

    summary: str
    body: str
    formula: str
    returns: str
    raises: str
    example: str


def words_of(definition: Any) -> Words:
    """The parts of a definition's docstring."""
    text = inspect.getdoc(definition) or ""
    pieces = _SECTION.split(text)
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    summary, _, body = pieces[0].strip().partition("\n\n")
    return Words(
        summary,
        body,
        inspect.cleandoc(sections.get("Formula", "")),
        inspect.cleandoc(sections.get("Returns", "")),
        _listed(inspect.cleandoc(sections.get("Raises", ""))),
        inspect.cleandoc(sections.get("Example", "")),
    )


def _listed(text: str) -> str:
    return re.sub(r"^(\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def markdown(text: str) -> str:
    """Prose in which lines go on deeper, as plain Markdown: deep lines are code there."""
    return re.sub(r"\n {4,}", "\n  ", text)


def complete_example(definition: Any, example: str) -> str:
    """The example with the imports that it takes from its module."""
    code = "".join(one.source for one in doctest.DocTestParser().get_examples(example))
    tree = ast.parse(code)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    lines = [line for name, line in _MODULES.items() if name in used - imported]
    public = sorted({definition.__name__, *_PUBLIC} & (used - imported))
    lines += [f"from penstock import {', '.join(public)}"] if public else []
    return "".join(f">>> {line}\n" for line in lines) + example


def made_by(definition: Any, example: str) -> Any:
    """The first definition that the example makes of plain values; None where it makes none."""
    code = "".join(one.source for one in doctest.DocTestParser().get_examples(example))
    calls = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == definition.__name__
    ]
    if not calls:
        return None
    first = min(calls, key=lambda node: node.lineno)
    given = [ast.literal_eval(argument) for argument in first.args]
    return definition(*given, **{one.arg or "": ast.literal_eval(one.value) for one in first.keywords})
