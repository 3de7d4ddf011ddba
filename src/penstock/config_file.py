"""What the values of a pipeline file stand for: the steps, the model, the options, each complaint with its line.

A contract's helper of `config.py`, which is the way in and knows the way back.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from penstock import registry
from penstock.config import Group, PipelineConfig, share
from penstock.config_text import Node
from penstock.config_types import Mismatch, described, nearest, shown, typed
from penstock.errors import ConfigError, PenstockError, UsageError
from penstock.source import ReadOptions

if TYPE_CHECKING:
    from penstock.model import Auto, Model
    from penstock.relation import Relation
    from penstock.step import Step

T = TypeVar("T")

_KEYS = tuple(item.name for item in dataclasses.fields(PipelineConfig) if item.name != "places")


@functools.cache
def _hints(definition: type[Any]) -> dict[str, Any]:
    return get_type_hints(definition)


@dataclass(frozen=True)
class PipelineFile:
    """Makes objects of a file's nodes; it knows the file's name for its complaints."""

    where: str

    def error(
        self, message: str, line: int, *, expected: str = "", got: str = "", remedy: str = "", inside: str = ""
    ) -> ConfigError:
        """A complaint about a line; ``inside`` is the step, the model or the section that it is in."""
        place = f"{self.where}:{line}" if line else self.where
        message = f"{inside}: {message}" if inside else message
        return ConfigError(message, where=place, expected=expected, got=got, remedy=remedy)

    def config(self, root: Node) -> PipelineConfig:
        """The whole file."""
        if not isinstance(root.value, dict):
            raise self.error(
                "a pipeline file is a mapping",
                root.line,
                expected="lines of KEY: VALUE, with the keys " + ", ".join(_KEYS),
                got=shown(root),
            )
        entries = root.value
        self._known(entries, _KEYS, "a pipeline file", "")
        values: dict[str, Any] = {}
        hints: dict[str, Any] = dict.fromkeys(("target", "weight", "group", "time"), str | None)
        hints |= {"seed": int, "costs": Mapping[str, Mapping[str, float]], "sensitive": tuple[str, ...]}
        for key, node in entries.items():
            if key == "steps":
                values[key] = self._steps(node)
                items = node.value if isinstance(node.value, list) else []
                values["places"] = tuple(f"{self.where}:{item.line}" for item in items)
            elif key == "data":
                values[key] = self._relations(node)
            elif key == "model":
                values[key] = None if node.value is None else self.definition("models", node)
            elif key == "read":
                values[key] = self._read(node)
            elif key in hints:
                values[key] = self._typed(hints[key], node, key, "")
            else:
                values[key] = self._share(node, key)
        return self._made(PipelineConfig, values, root, "")

    def definition(self, group: Group, node: Node) -> Step | Model | Auto | Relation:
        """A step, a model or a relation: its name alone, or its name and its settings."""
        kind = group.removesuffix("s")
        name, settings = self._named(kind, node)
        try:
            found = registry.find(group, name)
        except UsageError as error:
            raise self.error(
                error.message, node.key_line or node.line, expected=error.expected, got=error.got, remedy=error.remedy
            ) from error
        inside = f"{kind} {name!r}"
        if settings.value is None:
            settings = Node({}, settings.line, settings.key_line)
        if (group != "models" or isinstance(settings.value, str)) and not _is_settings(settings, found):
            first = dataclasses.fields(found)[0].name
            settings = Node({first: settings}, settings.line, settings.key_line)
        return cast("Step | Model | Auto | Relation", self._built(found, settings, inside))

    def _named(self, kind: str, node: Node) -> tuple[str, Node]:
        if isinstance(node.value, str):
            name, colon, first = node.value.partition(":") if kind == "model" else (node.value, "", "")
            return name, Node(first if colon else None, node.line, node.key_line)
        if isinstance(node.value, dict) and len(node.value) == 1:
            return next(iter(node.value.items()))
        examples = {"step": "impute: {columns: numeric}", "relation": "deduplicate: id"}
        example = examples.get(kind, "boosted, or boosted: {learning_rate: 0.05}")
        message, remedy = f"not a {kind}", ""
        if isinstance(node.value, dict) and node.value:
            first = next(iter(node.value))
            message = f"a {kind} is one name with its settings under it"
            remedy = f"indent the settings below {first + ':'!r}, or put them in braces: {first}: {{...}}"
        raise self.error(
            message, node.line, expected=f"a name and its settings, such as {example}", got=shown(node), remedy=remedy
        )

    def _steps(self, node: Node) -> tuple[Step, ...]:
        if node.value is None:
            return ()
        if not isinstance(node.value, list):
            raise self.error(
                "steps are a list",
                node.key_line,
                expected="lines such as '- impute: numeric' below 'steps:'",
                got=shown(node),
                remedy="begin the line of each step with '- '",
            )
        return tuple(cast("Step", self.definition("steps", item)) for item in node.value)

    def _relations(self, node: Node) -> tuple[Relation, ...]:
        """Relational work; paths in it are relative to the file."""
        if node.value is None:
            return ()
        if not isinstance(node.value, list):
            raise self.error(
                "data is a list",
                node.key_line,
                expected="lines such as '- deduplicate: id' below 'data:'",
                got=shown(node),
                remedy="begin the line of each with '- '",
            )
        folder = Path(self.where).absolute().parent
        return tuple(cast("Relation", self.definition("relations", item)).located(folder) for item in node.value)

    def _read(self, node: Node) -> ReadOptions:
        if node.value is None:
            return ReadOptions()
        options = self._built(ReadOptions, node, "read")
        if options.delimiter is not None and len(options.delimiter) != 1:
            raise self.error(
                "delimiter: not one character",
                node.at(["delimiter"]).line,
                expected='one character, such as ";" or, for a tab, "\\t" between double quotes',
                got=repr(options.delimiter),
                inside="read",
            )
        if options.sample_rows < 1:
            raise self.error(
                "sample_rows: out of range",
                node.at(["sample_rows"]).line,
                expected="1 or more",
                got=str(options.sample_rows),
                inside="read",
            )
        return options

    def _share(self, node: Node, key: str) -> float:
        try:
            if isinstance(node.value, (int, float, str)):
                return share(node.value)
        except UsageError:
            pass  # said below, with the line
        raise self.error(
            f"{key}: not a share", node.line, expected="a number such as 0.1, or a text such as 10%", got=shown(node)
        )

    def _known(self, entries: Mapping[str, Node], known: tuple[str, ...], of: str, inside: str) -> None:
        for key, node in entries.items():
            if key not in known:
                raise self.error(
                    f"no such key in {of}" if not inside else "no such setting",
                    node.key_line,
                    expected="one of " + ", ".join(known),
                    got=repr(key),
                    remedy=nearest(key, known),
                    inside=inside,
                )

    def _built(self, definition: type[T], node: Node, inside: str) -> T:
        """An object of a dataclass, each field checked against its type."""
        fields = {item.name: item for item in dataclasses.fields(cast(Any, definition)) if item.init}
        if not isinstance(node.value, dict):
            raise self.error(
                "not a mapping",
                node.line,
                expected="settings such as {" + ", ".join(f"{name}: ..." for name in list(fields)[:2]) + "}",
                got=shown(node),
                inside=inside,
            )
        self._known(node.value, tuple(fields), inside, inside)
        hints = _hints(cast(Any, definition))
        for name, item in fields.items():
            needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if needed and name not in node.value:
                raise self.error(
                    f"{name!r} is missing",
                    node.key_line or node.line,
                    expected=f"{name}: {described(hints[name])}",
                    inside=inside,
                )
        values = {name: self._typed(hints[name], inner, name, inside) for name, inner in node.value.items()}
        return self._made(definition, values, node, inside)

    def _made(self, definition: type[T], values: Mapping[str, Any], node: Node, inside: str) -> T:
        """Call the dataclass; what it refuses is told with the line of the field that it names."""
        try:
            return definition(**values)
        except PenstockError as error:
            name = error.where.rpartition(":")[2].strip()
            message = f"{name}: {error.message}" if name in values else error.message
            line = node.at([name]).line if name in values else node.key_line or node.line
            raise self.error(
                message, line, expected=error.expected, got=error.got, remedy=error.remedy, inside=inside
            ) from error
        except (TypeError, ValueError) as error:  # of a definition that somebody else's package brought
            raise self.error(f"not accepted: {error}", node.key_line or node.line, inside=inside) from error

    def _typed(self, hint: Any, node: Node, name: str, inside: str) -> Any:
        try:
            return typed(hint, node)
        except Mismatch as error:
            path = ".".join(map(str, (name, *error.path)))
            raise self.error(
                f"{path}: {error.message}",
                error.line,
                expected=error.expected,
                got=error.got,
                remedy=error.remedy,
                inside=inside,
            ) from error


def _is_settings(node: Node, definition: type[Any]) -> bool:
    """Whether a step's value is its settings; else it is short for its first field, the columns."""
    if not isinstance(node.value, dict):
        return False
    fields = {item.name for item in dataclasses.fields(definition)}
    return fields & set(node.value) != set() or "include" not in node.value
