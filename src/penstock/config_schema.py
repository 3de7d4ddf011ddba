"""The JSON schema of a pipeline file, for editors: every step, model and setting with its type, default and meaning.

A contract's helper of `config.py`, made from the same types and docstrings that a file is checked against.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, get_type_hints

from penstock import registry
from penstock.config import PipelineConfig, _plain
from penstock.config_types import _adapter
from penstock.config_words import settings_of, summary_of
from penstock.selector import KINDS, ColumnsLike, Selector
from penstock.source import ReadOptions

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COLUMNS = {"$ref": "#/$defs/columns"}
_SHARE = {
    "description": "a share of the rows: a number such as 0.1, or a text such as 10%",
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$"}],
}


def json_schema() -> dict[str, Any]:
    """The schema as JSON values, of draft 2020-12.

    Example:
        >>> sorted(json_schema()["properties"])[:3]
        ['costs', 'data', 'group']
    """
    words = settings_of(PipelineConfig)
    hints = get_type_hints(PipelineConfig, _names())
    properties: dict[str, Any] = {}
    for item in dataclasses.fields(PipelineConfig):
        if item.name == "places":
            continue
        properties[item.name] = {"description": words.get(item.name, ""), **_of_key(item.name, hints[item.name])}
    return {
        "$schema": DIALECT,
        "title": "Penstock pipeline file",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": {
            "columns": _columns(),
            **{f"{group}.{name}": _definition(group, name) for group in _groups() for name in registry.names(group)},
        },
    }


def _names() -> dict[str, Any]:
    """What the annotations of `PipelineConfig` name, for whoever resolves them."""
    from penstock import model, step
    from penstock import relation as relations

    found = {name: getattr(module, name) for module in (relations, model, step) for name in dir(module)}
    return {**found, "Mapping": Mapping}


def _groups() -> tuple[str, ...]:
    return ("steps", "models", "relations")


def _of_key(key: str, hint: Any) -> dict[str, Any]:
    if key in ("steps", "data"):
        group = "steps" if key == "steps" else "relations"
        return {"type": ["array", "null"], "items": _one_of(group)}
    if key == "model":
        return {"anyOf": [*_one_of("models")["anyOf"], *_short("models"), {"type": "null"}]}
    if key == "read":
        return {"anyOf": [_settings(ReadOptions), {"type": "null"}]}
    if key in ("holdout", "max_rejected"):
        return _SHARE
    return _of_hint(hint)


def _one_of(group: str) -> dict[str, Any]:
    """A name alone, or a mapping of one name to its settings."""
    named = [
        {
            "type": "object",
            "additionalProperties": False,
            "required": [name],
            "properties": {name: {"$ref": f"#/$defs/{group}.{name}"}},
        }
        for name in registry.names(group)
    ]
    alone = [name for name in registry.names(group) if _needs_nothing(registry.find(group, name))]
    return {"anyOf": [{"enum": alone}, *named] if alone else named}


def _short(group: str) -> list[dict[str, Any]]:
    """``NAME:FIRST``, for definitions whose first setting must be one of a few words."""
    words = []
    for name in registry.names(group):
        definition = registry.find(group, name)
        if not _needs_nothing(definition):
            first = dataclasses.fields(definition)[0].name
            words += [f"{name}:{word}" for word in _of_hint(get_type_hints(definition)[first]).get("enum", [])]
    return [{"enum": words}] if words else []


def _needs_nothing(definition: Any) -> bool:
    return all(
        item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        for item in dataclasses.fields(definition)
        if item.init
    )


def _definition(group: str, name: str) -> dict[str, Any]:
    definition = registry.find(group, name)
    forms: list[dict[str, Any]] = [_settings(definition)]
    fields = [item for item in dataclasses.fields(definition) if item.init]
    if fields and (group in ("steps", "relations") or (group == "models" and not _needs_nothing(definition))):
        hints = get_type_hints(definition)
        forms.append(_of_hint(hints[fields[0].name]))  # short for its first field
    if _needs_nothing(definition):
        forms.append({"type": "null"})
    return {"description": summary_of(definition), "anyOf": forms}


def _settings(definition: Any) -> dict[str, Any]:
    """The settings of a dataclass."""
    words, hints = settings_of(definition), get_type_hints(definition)
    properties: dict[str, Any] = {}
    required = []
    for item in dataclasses.fields(definition):
        if not item.init:
            continue
        entry = _of_hint(hints[item.name])
        if words.get(item.name):
            entry = {**entry, "description": words[item.name]}  # of the setting, not of the type that it has
        if item.default is not dataclasses.MISSING:
            entry = {**entry, "default": _plain(item.default)}
        elif item.default_factory is dataclasses.MISSING:
            required.append(item.name)
        properties[item.name] = entry
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _of_hint(hint: Any) -> dict[str, Any]:
    if hint == ColumnsLike or hint is Selector:
        return dict(_COLUMNS)
    found = _adapter(hint).json_schema(ref_template="#/$defs/{model}")
    plain: dict[str, Any] = _without_titles(_inlined(found, found.pop("$defs", {})))
    return plain


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    """References to small definitions (enumerations) put in their places."""
    if isinstance(value, dict):
        if set(value) >= {"$ref"} and value["$ref"].removeprefix("#/$defs/") in definitions:
            return _inlined(definitions[value["$ref"].removeprefix("#/$defs/")], definitions)
        return {key: _inlined(inner, definitions) for key, inner in value.items()}
    return [_inlined(inner, definitions) for inner in value] if isinstance(value, list) else value


def _without_titles(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_titles(inner)
            for key, inner in value.items()
            if not (key == "title" and isinstance(inner, str))
        }
    return [_without_titles(inner) for inner in value] if isinstance(value, list) else value


def _columns() -> dict[str, Any]:
    one = {"type": "string", "minLength": 1, "examples": [*KINDS, "features", "price_*", "role:key"]}
    some = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    return {
        "description": "a column's name, a glob, a kind of values, or a list of them",
        "anyOf": [
            *some["anyOf"],
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["include"],
                "properties": {"include": some, "exclude": some},
            },
        ],
    }


def json_schema_text() -> str:
    """`json_schema` as indented JSON."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
