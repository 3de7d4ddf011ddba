"""The text of a pipeline file as plain values that know their lines, and plain values as text.

A contract's helper, below `config.py`: YAML 1.2 and nothing of what a pipeline file means. Only what is plain data is
taken: mappings, lists, texts, numbers, true, false, null. Tags, anchors and aliases, documents after the first, keys
that stand twice, and depth without end are refused, each with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from penstock.errors import ConfigError

MOST_CHARACTERS = 2**19
"""The longest text that is read: a parser in Python takes seconds for more."""
MOST_LEVELS = 16
"""The deepest nesting that is read."""
_MOST_DIGITS = 100
_ALIAS = "write the value out; a glob that begins with * goes between quotes"

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file, and the line where it begins.

    Attributes:
        value: a scalar, a list of nodes, or nodes by key. Keys are texts, whatever they look like.
        line: from 1; 0 where the value is of no text.
        key_line: of the key that it stands under, or its own.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int = 0
    key_line: int = 0

    def plain(self) -> Any:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def inside(self, part: str | int) -> Node | None:
        """The node under a key or at a position; None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def at(self, path: Sequence[str | int]) -> Node:
        """The node at the end of a path of keys and positions; what in the path leads nowhere is skipped."""
        node = self
        for part in path:
            node = node.inside(part) or node
        return node


def node_of(value: Any) -> Node:
    """Plain values as a node without lines; the inverse of `Node.plain`.

    Example:
        >>> node_of({"seed": [1]}).plain()
        {'seed': [1]}
    """
    if isinstance(value, Mapping):
        return Node({str(key): node_of(inner) for key, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return Node([node_of(inner) for inner in value])
    return Node(value)


def parse(text: str, where: str) -> Node:
    """The one document of a text.

    Args:
        text: YAML 1.2.
        where: the file's name, for messages.

    Raises:
        ConfigError: it is not YAML, or not plain data; with the line.

    Example:
        >>> node = parse("seed: 1\\nsteps:\\n  - clip: numeric\\n", "a.yaml")
        >>> node.plain(), node.at(["steps", 0, "clip"]).line
        ({'seed': 1, 'steps': [{'clip': 'numeric'}]}, 3)
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            "too long for a pipeline file",
            where=where,
            expected=f"{MOST_CHARACTERS:,} characters at most",
            got=f"{len(text):,}",
        )
    try:
        return _Builder(YAML(typ="safe", pure=True).parse(text), where).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _not_yaml(text, where, str(error.problem or error.context), mark.line if mark else 0) from error
    except YAMLError as error:  # a character that no text has
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise ConfigError(
            "a character that a text file does not have",
            where=f"{where}:{line}",
            got=f"U+{ord(found[0]):04X}" if found else str(error),
            remedy="take it out, or write it as an escape between double quotes",
        ) from error


def _not_yaml(text: str, where: str, problem: str, line: int) -> ConfigError:
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    if "'\\t'" in problem or "\t" in here[: len(here) - len(here.lstrip())]:
        return ConfigError(
            "a tab where YAML takes spaces only",
            where=f"{where}:{line + 1}",
            expected="spaces",
            got=repr(here),
            remedy="replace the tabs by spaces",
        )
    remedies = {
        "mapping values are not allowed here": "put a text that has ': ' in it between quotes, or indent as above",
        "could not find expected ':'": "write KEY: VALUE, and close the quotes and brackets of the lines above",
        "found unexpected end of stream": "close the quotes",
        "found character": "put a text that begins with this character between quotes",
        "expected ',' or": "close the bracket, or check the comma before it",
        "expected alphabetic or numeric character": "put a text that begins with * or & between quotes, globs too",
        "expected <block end>": "begin the lines of one list or mapping in the same column",
    }
    remedy = next((remedy for start, remedy in remedies.items() if problem.startswith(start)), "")
    got = repr(here.strip()[:70])
    return ConfigError(f"this is not YAML: {problem}", where=f"{where}:{line + 1}", got=got, remedy=remedy)


class _Builder:
    """Nodes from the parser's events; stops at the first that is more than plain data."""

    def __init__(self, events: Iterator[Any], where: str) -> None:
        self._events = events
        self._where = where

    def document(self) -> Node:
        """The only document, to the end of the stream."""
        self._take("StreamStartEvent")
        start = next(self._events)
        if type(start).__name__ == "StreamEndEvent":
            raise ConfigError(
                "the file is empty",
                where=self._where,
                expected="at least steps, or a model",
                remedy="write, for example, model: boosted",
            )
        if getattr(start, "version", None) not in (None, (1, 2)):
            raise self._refused("another version of YAML", start, got="%YAML " + ".".join(map(str, start.version)))
        root = self._node(next(self._events), 0)
        self._take("DocumentEndEvent")
        end = next(self._events)
        if type(end).__name__ != "StreamEndEvent":
            raise self._refused("a second document", end, remedy="keep one; take the line '---' out")
        return root

    def _take(self, kind: str) -> None:
        event = next(self._events)
        assert type(event).__name__ == kind, event

    def _refused(self, what: str, event: Any, *, got: str = "", remedy: str = "") -> ConfigError:
        return ConfigError(
            f"{what} is not for pipeline files",
            where=f"{self._where}:{event.start_mark.line + 1}",
            expected="plain data: mappings, lists, texts, numbers, true, false, null",
            got=got,
            remedy=remedy,
        )

    def _node(self, event: Any, level: int) -> Node:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "AliasEvent":
            raise self._refused("an alias", event, got=f"*{event.anchor}", remedy=_ALIAS)
        if event.anchor is not None:
            raise self._refused("an anchor", event, got=f"&{event.anchor}", remedy="write the value where it is wanted")
        if event.tag is not None:
            raise self._refused("a tag", event, got=str(event.tag), remedy="leave it out; between quotes it is a text")
        if level > MOST_LEVELS:
            raise self._refused("so deep a nesting", event, got=f"more than {MOST_LEVELS} levels")
        if kind == "ScalarEvent":
            return Node(self._scalar(event), line, line)
        if kind == "SequenceStartEvent":
            return Node([self._node(inner, level + 1) for inner in self._until("SequenceEndEvent")], line, line)
        entries: dict[str, Node] = {}
        for key in self._until("MappingEndEvent"):
            self._put(entries, key, level)
        return Node(entries, line, line)

    def _until(self, end: str) -> Iterator[Any]:
        while type(event := next(self._events)).__name__ != end:
            yield event

    def _put(self, entries: dict[str, Node], event: Any, level: int) -> None:
        if type(event).__name__ not in ("ScalarEvent", "AliasEvent"):
            raise self._refused("a list or mapping as a key", event, remedy="write a text as the key")
        self._node(event, level)  # refuses what is more than plain
        key, line = self._text(event), event.start_mark.line + 1
        if key in entries:
            raise ConfigError(
                f"the key {key!r} stands here twice",
                where=f"{self._where}:{line}",
                expected="each key once",
                got=f"first in line {entries[key].key_line}, again in line {line}",
                remedy="take one of them out",
            )
        node = self._node(next(self._events), level + 1)
        entries[key] = Node(node.value, node.line, line)

    def _text(self, event: Any) -> str:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._refused("half a character", event, got=ascii(text), remedy="write whole code points")
        return text

    def _scalar(self, event: Any) -> Scalar:
        text = self._text(event)
        value = text if event.style in ("'", '"', "|", ">") else plain_scalar(text)
        if isinstance(value, int) and (len(text) > _MOST_DIGITS or abs(value) >= 10**_MOST_DIGITS):
            raise self._refused("so long a number", event, got=f"{text[:20]}...")
        if isinstance(value, float) and abs(value) == float("inf") and text not in _WORDS:
            raise self._refused("so large a number", event, got=text[:20], remedy="write .inf if infinity is meant")
        return value


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain_scalar(text: str) -> Scalar:
    """What a scalar without quotes is, by the core schema of YAML 1.2 (section 10.3.2).

    Example:
        >>> [plain_scalar(text) for text in ("1", "0x1F", "1.50", "1e3", "yes", "007", "2024-01-01", "~")]
        [1, 31, 1.5, 1000.0, 'yes', 7, '2024-01-01', None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text[:400])  # a text this long is refused by its length
    if re.fullmatch(r"0o[0-7]{1,400}", text):
        return int(text[2:], 8)
    if re.fullmatch(r"0x[0-9a-fA-F]{1,400}", text):
        return int(text[2:], 16)
    return float(text) if _FLOAT.fullmatch(text) else text


# ---------------------------------------------------------------------- writing


def flow(value: Any) -> str:
    """A plain value on one line.

    Example:
        >>> print(flow({"columns": ["age", "a b"], "value": "1", "share": 0.5, "drop": None}))
        {columns: [age, "a b"], value: "1", share: 0.5, drop: null}
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    return str(value)


def block(value: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """The lines of a mapping, one for each key; mappings in it are blocks too."""
    for key, inner in value.items():
        start = " " * indent + _quoted(key) + ":"
        if isinstance(inner, Mapping) and inner:
            yield from chain((start,), block(inner, indent + 2))
        else:
            yield f"{start} {flow(inner)}"


_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.*:/-]*[A-Za-z0-9_*]|[A-Za-z_]")
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff\ufffe\uffff]")


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text) and plain_scalar(text) is text:
        return text
    escaped = json.dumps(text, ensure_ascii=False)  # its escapes are among those of YAML
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped)
