"""The reference of the documentation, made from the code: its docstrings, types, registry and command line.

Called by `conf.py` before the site is built; what it writes lies in ``docs/reference`` and is not kept. Here are the
pages of steps, relations and models; those that list are in `reference_lists.py`. It needs Penstock alone, not Sphinx:
``python docs/reference_pages.py FOLDER`` writes the pages elsewhere.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import reference_lists
from reference_words import Words, complete_example, made_by, markdown, settings_table, table, words_of

from penstock import registry
from penstock.config import definition_to_json, parse_config
from penstock.config_schema import json_schema
from penstock.config_text import flow
from penstock.config_words import summary_of
from penstock.errors import PenstockError
from penstock.models.sklearn_estimators import ESTIMATORS
from penstock.schema import Field, Role, Schema, tensor

SURPRISES = Path(__file__).parent / "what-steps-do-with-surprises.md"
KINDS = {
    "steps": ("Steps", "What is done to each row, in the order of a pipeline file's `steps:`. A step sees one row and "
              "what was learned when it was fitted, never another row."),
    "relations": ("Relations", "Work that needs other rows: the `data:` of a pipeline file, before the steps. It is "
                  "done on disk where memory does not suffice."),
    "models": ("Models", "What learns: `model:` in a pipeline file, `--model` on the command line. A model adds the "
               "encoding that it needs to the steps."),
}  # fmt: skip
GROUPS = {
    "Clean": ("impute", "normalize_text", "merge_spellings", "repair_by_majority", "clip", "flag_outliers",
              "reject_outliers", "drop_missing", "reject_missing", "validate"),
    "Scale": ("standardize", "min_max", "robust", "power", "quantile_transform"),
    "Encode": ("one_hot", "ordinal", "bin", "frequency_encode", "target_encode", "tfidf", "hash", "multi_hot",
               "tokenize"),
    "Derive": ("derive", "date_parts"),
    "Pictures": ("decode_picture", "decode_clip", "resize_picture", "crop_picture", "normalize_picture", "gray_picture",
                 "blur_picture", "frame_difference"),
    "Augment": ("random_crop", "flip_picture", "rotate_picture", "jitter_color", "erase_picture"),
    "Arrange": ("select", "drop", "rename", "cast"),
}  # fmt: skip

SCHEMA = Schema(
    (
        Field("number", pa.float64(), Role.number),
        Field("whole", pa.float64(), Role.integer),
        Field("truth", pa.bool_(), Role.boolean),
        Field("color", pa.string(), Role.category),
        Field("note", pa.string(), Role.text),
        Field("remark", pa.string(), Role.text),
        Field("words", pa.list_(pa.string()), Role.list),
        Field("time", pa.timestamp("us"), Role.time),
        Field("label", pa.string(), Role.target, values=Role.category),
        Field("amount", pa.float64(), Role.number),
        Field("file", pa.binary(), Role.picture),
        Field("picture", tensor(pa.uint8(), (4, 6, 3)), Role.picture),
        Field("clip", tensor(pa.uint8(), (3, 4, 6, 3)), Role.clip),
    )
)
"""The columns that the table of surprises speaks of: steps are asked of these what they would learn."""


def write_all(folder: Path) -> int:
    """Write every page of the reference, and remove those that are no longer made.

    Args:
        folder: where they lie; it is made.

    Returns:
        How many pages there are.
    """
    written = set()
    for name, text in pages():
        path = folder / name
        written.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text("utf-8") != text:  # an unchanged page is not built again
            path.write_text(text, "utf-8")
    for path in set(folder.rglob("*.md")) - written:
        path.unlink()
    return len(written)


def pages() -> Iterator[tuple[str, str]]:
    """Each page's path below the folder, and its text."""
    yield from reference_lists.pages()
    for group in KINDS:
        yield f"{group}/index.md", overview(group)
        for name in registry.names(group):
            yield f"{group}/{name}.md", page(group, name)


def overview(group: str) -> str:
    """All definitions of a kind, a line each."""
    title, words = KINDS[group]
    names = registry.names(group)
    parts = [f"# {title}\n\n{words}\n"]
    if group == "steps":
        told = {name for names_of in GROUPS.values() for name in names_of}
        for heading, members in {**GROUPS, "Others": tuple(set(names) - told)}.items():
            parts += [f"## {heading}\n\n" + _lines(group, members)] if members else []
    else:
        parts.append(_lines(group, names))
    listed = "\n".join(names)
    return "\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"])


def _lines(group: str, names: tuple[str, ...]) -> str:
    rows = ((f"[`{name}`]({name}.md)", summary_of(registry.find(group, name))) for name in names)
    return table(("name", "what it does"), rows)


def page(group: str, name: str) -> str:
    """The page of one definition."""
    definition = registry.find(group, name)
    words = words_of(definition)
    parts = [f"# {name}\n\n{words.summary}\n"]
    if words.body:
        parts.append(markdown(words.body) + "\n")
    if words.formula:
        parts.append("## Formula\n\n" + _formula(words.formula))
    if group == "steps":
        parts.append("## What it learns\n\n" + learns(name))
    parts.append("## Settings\n\n" + settings_table(json_schema()["$defs"][f"{group}.{name}"]["anyOf"][0]))
    if name == "sklearn":
        parts.append("## Estimators\n\n" + _estimators())
    parts.append(_example(group, definition, words))
    if group == "steps":
        parts.append("## What it does with surprises\n\n" + surprises(name))
    if words.raises:
        parts.append("## What is refused\n\n" + markdown(words.raises) + "\n")
    return "\n".join(parts)


def _formula(text: str) -> str:
    """A formula as it stands; its source, the paragraphs after it, as prose."""
    formula, _, source = text.partition("\n\n")
    return f"```text\n{formula}\n```\n\n{markdown(source)}\n"


def _example(group: str, definition: Any, words: Words) -> str:
    made = made_by(definition, words.example)
    shown = "" if made is None else f"In a pipeline file:\n\n```yaml\n{as_yaml(group, made)}```\n\n"
    return f"## Example\n\n{shown}In Python:\n\n```pycon\n{complete_example(definition, words.example)}\n```\n"


def as_yaml(group: str, made: Any) -> str:
    """A definition as it is written in a pipeline file: what differs from the defaults."""
    ((name, settings),) = definition_to_json(made).items()
    fields = dataclasses.fields(made)
    needed = fields[0].name if fields[0].default is dataclasses.MISSING else ""
    given = {
        item.name: settings[item.name]
        for item in fields
        if item.name == needed or getattr(made, item.name) != _default(item)
    }
    if group == "models":
        return f"model:\n  {name}: {flow(given)}\n"
    value = given[needed] if set(given) == {needed} and not isinstance(given[needed], dict) else given
    return f"{'steps' if group == 'steps' else 'data'}:\n  - {name}: {flow(value)}\n"


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


# ------------------------------------------------------------------ steps


def learns(name: str) -> str:
    """Which statistics a step collects, and in how many scans of the data."""
    kinds = {kind: registry.find("statistics", kind) for kind in statistics_of(name)}
    if not kinds:
        return "Nothing: it needs no scan of the data.\n"
    told = "\n".join(f"- `{kind}`: {summary_of(found)}" for kind, found in sorted(kinds.items()))
    return (
        f"{told}\n\nOne scan of the data. Steps that need not wait for each other share it; after a step that changes "
        "the same columns, what can't be derived needs one more. See [How it works](/how-it-works.md).\n"
    )


def statistics_of(name: str) -> set[str]:
    """The kinds of statistics that the step collects: as the surprises have it, and by each word of a choice."""
    found: set[str] = set()
    for step in (*_steps_of(name), *_choices_of(name)):
        found |= {statistic.kind for statistic in step.statistics(SCHEMA).values()}
    return found


def _steps_of(name: str) -> Iterator[Any]:
    for written, _ in _rows(name):
        yield parse_config(f"steps:\n  - {written}\n", SURPRISES.name).steps[0]


def _choices_of(name: str) -> Iterator[Any]:
    """The step with each word that a setting may be, where that is all it needs."""
    written = next((step for step in _steps_of(name) if hasattr(step, "columns")), None)
    properties = json_schema()["$defs"][f"steps.{name}"]["anyOf"][0]["properties"]
    for setting, entry in properties.items():
        for word in entry.get("enum", ()) if written is not None else ():
            with suppress(PenstockError):  # what needs a second setting is shown by the table, or not at all
                yield replace(written, **{setting: word})


@cache
def _table() -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The surprises, and for each step as it is written what it does with them."""
    lines = [line for line in SURPRISES.read_text("utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [tuple(one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]
    return head[1:], tuple((row[0].strip("`"), row[1:]) for row in rows)


def _rows(name: str) -> list[tuple[str, tuple[str, ...]]]:
    return [row for row in _table()[1] if row[0].split(":")[0] == name]


def surprises(name: str) -> str:
    """What a step does with what it did not meet when it was fitted."""
    rows = ((f"`{written}`", *cells) for written, cells in _rows(name))
    return (
        table(("written", *_table()[0]), rows)
        + "\nThe words are those of [What steps do with surprises](/what-steps-do-with-surprises.md).\n"
    )


# ------------------------------------------------------------------ models


def _estimators() -> str:
    rows = (
        (
            f"`{name}`",
            f"`{one.classifier.partition(':')[2]}`" if one.classifier else "-",
            f"`{one.regressor.partition(':')[2]}`" if one.regressor else "-",
            "batch by batch" if one.epochs else "all rows in memory",
        )
        for name, one in ESTIMATORS.items()
    )
    return table(("name", "of classes", "of numbers", "learns from"), rows)


if __name__ == "__main__":
    print(f"{write_all(Path(sys.argv[1]))} pages in {sys.argv[1]}")
