"""A pipeline file written out for a person: every line with what it means, and why it is what it is.

A contract's helper of `config.py`: the words are those of the docstrings (`config_words.py`) and of what was inferred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.config import PipelineConfig, _fields_of, _plain, definition_to_json
from penstock.config_text import flow
from penstock.config_words import settings_of, summary_of, wrapped
from penstock.schema import Schema
from penstock.source import Note, ReadOptions

WIDTH = 100
_ALIGNED = 34


def explained(
    config: PipelineConfig,
    schema: Schema,
    *,
    title: str,
    command: str,
    reasons: Mapping[str, str],
    step_reasons: Sequence[str] = (),
    notes: Sequence[Note] = (),
) -> str:
    """The text of a pipeline file; `config.parse_config` reads it.

    Args:
        config: the definition.
        schema: the columns of the data, each with the reason of its role.
        title: what the data are.
        command: how the file is used.
        reasons: why a key is what it is, by key.
        step_reasons: why each step is there.
        notes: what was inferred about reading.

    Example:
        >>> config = PipelineConfig(target="y")
        >>> text = explained(config, Schema(()), title="a.csv", command="penstock train", reasons={})
        >>> text.splitlines()[0]
        '# A Penstock pipeline for a.csv.'
    """
    lines = [*wrapped(f"A Penstock pipeline for {title}.", WIDTH), *wrapped(f"Use it: {command}", WIDTH), ""]
    lines += _keys(config, reasons)
    lines += ["", *_read(config, schema, notes), "", *_data(config), "", *_steps(config, step_reasons), ""]
    return "\n".join([*lines, *_model(config, reasons)]) + "\n"


def _keys(config: PipelineConfig, reasons: Mapping[str, str]) -> Iterator[str]:
    words = settings_of(PipelineConfig)
    for key in ("target", "weight", "group", "time", "costs", "seed", "holdout", "max_rejected", "sensitive"):
        value = _plain(getattr(config, key))
        meaning = words.get(key, "").rstrip(".") + (f": {reasons[key]}" if key in reasons else "")
        if value in (None, {}, []):
            example = {"costs": "{TRUE: {PREDICTED: 5}}", "sensitive": "[COLUMN, ...]"}.get(key, "COLUMN")
            yield _beside(f"# {key}: {example}", meaning)
        else:
            yield _beside(f"{key}: {flow(value)}", meaning)


def _beside(text: str, words: str) -> str:
    """A line with what it means beside it, or above it where there is no room."""
    words = " ".join(words.split())
    if not words:
        return text
    line = f"{text:<{_ALIGNED}}  # {words}"
    if len(line) <= WIDTH + 20:
        return line
    indent = text[: len(text) - len(text.lstrip())]
    return "\n".join([*wrapped(words, WIDTH, indent), text])


def _read(config: PipelineConfig, schema: Schema, notes: Sequence[Note]) -> Iterator[str]:
    yield "# How the data are read. What is not said here is found out, and said, each time."
    for note in notes:
        yield from wrapped(str(note), WIDTH)
    yield "read:"
    words = settings_of(ReadOptions)
    for name, value in _fields_of(config.read).items():
        if name not in ("roles", "written") and value is not None:
            yield _beside(f"  {name}: {flow(value)}", words.get(name, "").rstrip("."))
    if not len(schema):
        yield "  written: {}"
        yield "  roles: {}"
        return
    ways = [field for field in schema if field.written]
    yield _beside("  written:" + ("" if ways else " {}"), "how values are written, where that is not the plain way")
    for field in ways:
        yield f"    {flow({field.name: field.written})[1:-1]}"
    yield "  roles:  # what part each column plays, and why"
    for field in schema:
        yield _beside(f"    {flow({field.name: str(field.role)})[1:-1]}", field.reason)


def _data(config: PipelineConfig) -> Iterator[str]:
    yield "# Relational work before the steps: deduplicate, derive, join, sort, filter, group, rolling."
    yield from _listed("data", config.data, ())


def _steps(config: PipelineConfig, reasons: Sequence[str]) -> Iterator[str]:
    yield "# What is done to each row, in order. The model adds the encoding that it needs."
    yield from _listed("steps", config.steps, reasons)


def _listed(key: str, definitions: Sequence[Any], reasons: Sequence[str]) -> Iterator[str]:
    if not definitions:
        yield f"{key}: []"
        return
    yield f"{key}:"
    for place, definition in enumerate(definitions):
        yield from wrapped(summary_of(type(definition)), WIDTH, "  ")
        if place < len(reasons) and reasons[place]:
            yield from wrapped(f"Here: {reasons[place]}", WIDTH, "  ")
        settings = definition_to_json(definition)[definition.name]
        words = settings_of(type(definition))
        yield f"  - {definition.name}:"
        for name, value in settings.items():
            yield _beside(f"      {flow({name: value})[1:-1]}", words.get(name, "").rstrip("."))


def _model(config: PipelineConfig, reasons: Mapping[str, str]) -> Iterator[str]:
    if config.model is None:
        yield "model: null"
        return
    yield from wrapped(summary_of(type(config.model)), WIDTH)
    if "model" in reasons:
        yield from wrapped(f"Here: {reasons['model']}", WIDTH)
    yield "model:"
    yield f"  {config.model.name}:"
    words = settings_of(type(config.model))
    for item in dataclasses.fields(config.model):  # type: ignore[arg-type]
        value = _plain(getattr(config.model, item.name))
        yield _beside(f"    {flow({item.name: value})[1:-1]}", words.get(item.name, "").rstrip("."))
