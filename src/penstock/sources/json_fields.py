"""One record of JSON lines, and the fields that a sample of them has: where each stands, and what it holds.

Part of the JSON lines source. The objects in a record are flattened: ``{"a": {"b": 1}}`` has the field ``a.b``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyarrow as pa

from penstock.errors import SchemaError
from penstock.inference import ColumnSample, Inferred, infer_role
from penstock.schema import Role
from penstock.source import Note
from penstock.sources.conform import Verdict
from penstock.sources.csv_types import FIT, infer_column

Path: TypeAlias = tuple[str, ...]

_DEEPEST = 16
"""Objects within so many others are not looked into."""
_MOST = 10_000
_NESTED = 400
"""So many lists and objects in one another are not read: Python's own bound depends on who calls."""
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"')


class Number(str):
    """A number as it is written."""

    __slots__ = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is written without a point or an exponent."""
        return self.removeprefix("-").isdecimal()

    @property
    def is_rounded(self) -> bool:
        """Whether it is a whole number beyond 2^53, which float64 would round."""
        return self.is_whole and (len(self) > 20 or abs(int(self)) > 2**53)


class Doubled(dict[str, Any]):
    """An object that has keys twice."""

    __slots__ = ("keys_twice",)
    keys_twice: frozenset[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = Doubled(found)
    names = [name for name, _ in pairs]
    doubled.keys_twice = frozenset(name for name in found if names.count(name) > 1)
    return doubled


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=Number)


def parse_record(data: bytes) -> dict[str, Any] | Verdict:
    """One line as an object whose numbers are as they are written; or why it is none.

    Example:
        >>> parse_record(b'{"a": 1.50}')
        {'a': '1.50'}
        >>> parse_record(b'{"a": }').reason
        'not JSON: Expecting value at character 7'
    """
    try:
        text = data.decode("utf-8")
        if text.count("[") + text.count("{") > _NESTED and _depth(text) > _NESTED:
            return Verdict(None, "not_json", "not JSON that can be read: nested too deeply")
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return Verdict(None, "not_json", "not JSON: half of a surrogate pair is no letter")
    except UnicodeDecodeError:
        return Verdict(None, "bad_encoding", "not UTF-8; if all of the file has another encoding, name it")
    except json.JSONDecodeError as error:
        return Verdict(None, "not_json", f"not JSON: {error.msg} at character {error.pos + 1}")
    if isinstance(value, dict):
        return value
    return Verdict(None, "not_an_object", f"{_KINDS.get(type(value), 'a value')} and no object")


def _depth(text: str) -> int:
    """How many lists and objects stand in one another."""
    depth = deepest = 0
    for sign in re.findall(r"[\[{}\]]", _TEXT.sub("", text)):
        depth += 1 if sign in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


_KINDS: dict[type, str] = {list: "a list", Number: "a number", str: "a text", bool: "a truth value"}


def fields_of(record: dict[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The fields of a record, objects flattened.

    Example:
        >>> list(fields_of({"a": {"b": True}, "c": None}))
        [(('a', 'b'), True), (('c',), None)]
    """
    for key, value in record.items():
        path = (*above, key)
        if isinstance(value, dict) and len(path) < _DEEPEST:
            yield from fields_of(value, path)
        else:
            yield path, value


def paths_of(records: Iterable[dict[str, Any]]) -> list[Path]:
    """The fields of some records, in the order in which they first appear; a null that elsewhere is an object is none.

    Example:
        >>> paths_of([{"a": None, "c": None}, {"a": {"b": 1}}])
        [('c',), ('a', 'b')]
    """
    found: dict[Path, bool] = {}
    for record in records:
        for path, value in fields_of(record):
            found[path] = found.get(path, False) or value is not None
    return _without_parents(found)


def _without_parents(found: Mapping[Path, bool]) -> list[Path]:
    """The paths, but for those that have no value and are only the beginnings of others."""
    parents = {path[:depth] for path in found for depth in range(1, len(path))}
    return [path for path, has_value in found.items() if has_value or path not in parents]


def name_of(path: Path) -> str:
    """The column of a field."""
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class JsonField:
    """A field as it is read.

    Attributes:
        path: the keys that lead to it.
        stored: what most of its values are: float64, bool, string, or lists of those or of int64.
        whole: whether its numbers are whole: then those beyond 2^53 can't be numbers, and as text keep all digits.
        inferred: its role.
        width: what a row of it holds as text, on average [bytes].
    """

    path: Path
    stored: pa.DataType
    whole: bool
    inferred: Inferred
    width: float = 0.0

    def parsed(self, wanted: pa.DataType) -> pa.DataType:
        """What Arrow is to parse its values as, where another type is wanted in the end."""
        return pa.int64() if self.whole and pa.types.is_string(wanted) else self.stored

    @property
    def typed_width(self) -> float:
        """What a row of it holds in the type of its inferred role [bytes]."""
        if self.inferred.role is Role.key or self.inferred.kind in (Role.text, Role.list):
            return self.width
        return 4.0 if self.inferred.kind is Role.category else 8.0

    @property
    def name(self) -> str:
        """The column's name."""
        return name_of(self.path)


@dataclass(slots=True)
class _Seen:
    """The values of one field in a sample, and in which records."""

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class FieldSample:
    """Records of a sample, field by field."""

    count: int = 0
    seen: dict[Path, _Seen] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """Take in one record.

        Raises:
            SchemaError: there are too many fields: keys that are values.
        """
        for path, value in fields_of(record):
            own = self.seen.get(path)
            if own is None:
                own = self.seen[path] = _Seen()
                if len(self.seen) > _MOST:
                    raise SchemaError(
                        "there are too many fields",
                        expected=f"at most {_MOST:,} in the sample",
                        got=f"such as {name_of(path)!r}",
                        remedy="where keys are values, write them as a list of objects, and one object per line",
                    )
            if value is not None:
                own.rows.append(self.count)
                own.values.append(value)
        self.count += 1

    def _settled(self, paths: Sequence[Path]) -> list[Path]:
        """The paths, but for those that are there only since a few records have an object where the others have a
        single value, or the other way round."""
        counts = {path: len(self.seen[path].rows) if path in self.seen else 0 for path in paths}
        within: dict[Path, int] = {}
        for path, count in counts.items():
            for depth in range(1, len(path)):
                within[path[:depth]] = max(within.get(path[:depth], 0), count)
        rare: set[Path] = set()
        for path in paths:
            objects = within.get(path, 0)
            few = (1 - FIT) * (counts[path] + objects)
            if path in within and counts[path] <= few:
                rare.add(path)
            elif path in within and objects <= few:
                rare.update(other for other in paths if len(other) > len(path) and other[: len(path)] == path)
        return [path for path in paths if path not in rare]

    def fields(self, order: Sequence[Path], *, complete: bool) -> tuple[list[JsonField], list[Note]]:
        """What each field is, those of ``order`` first; those that can't be used are said.

        Raises:
            SchemaError: two fields have one name.
        """
        everything = dict.fromkeys((*order, *self.seen))
        paths = _without_parents({path: path in self.seen and bool(self.seen[path].values) for path in everything})
        paths = self._settled(paths)
        _refuse_doubles(paths)
        found: list[JsonField] = []
        notes: list[Note] = []
        for path in paths:
            own, kinds = _usual(self.seen.get(path, _Seen()))
            if "object" in kinds:
                what = (
                    "lists of objects or of lists" if any(isinstance(v, list) for v in own.values) else "nested deeply"
                )
                notes.append(Note(f"column {name_of(path)!r}", f"{what}: not read", "no role takes nested values"))
                continue
            width = 4.0 + sum(_length(value) for value in own.values) / max(self.count, 1)
            found.append(replace(_infer(path, own, kinds, self.count, complete), width=width))
            if len(kinds) > 1 and kinds != {"whole", "number"}:
                said = " and ".join(sorted(_SAID[kind] for kind in kinds))
                notes.append(
                    Note(f"type of {name_of(path)!r}", f"read as {found[-1].inferred.kind}", f"{said} in the sample")
                )
        return found, notes


def _length(value: Any) -> int:
    """The letters of a value, and of each item of a list four more [bytes]."""
    if isinstance(value, list):
        return sum(4 + len(shown(item)) for item in value)
    return len(shown(value))


def _usual(own: _Seen) -> tuple[_Seen, set[str]]:
    """The values without those of shapes that are too rare to count, and their kinds: single values, lists of them, or
    what is nested."""
    kinds = [_kind(value) for value in own.values]
    counts = Counter(_SHAPES.get(kind, "single") for kind in kinds)
    if len(counts) > 1:
        usual = max(sorted(counts), key=lambda shape: counts[shape])
        if counts["object"] > (1 - FIT) * len(kinds):
            usual = "object"
        chosen = [place for place, kind in enumerate(kinds) if _SHAPES.get(kind, "single") == usual]
        own = _Seen([own.rows[place] for place in chosen], [own.values[place] for place in chosen])
        kinds = [kinds[place] for place in chosen]
    return own, set(kinds)


_SHAPES = {"list": "list", "object": "object"}
_SAID = {"boolean": "truth values", "whole": "whole numbers", "number": "numbers", "text": "texts", "list": "lists"}


def _kind(value: Any) -> str:
    """What a value is; "object" where it is one, or a list that holds one or another list."""
    if isinstance(value, Number):
        return "whole" if value.is_whole else "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "boolean"
    nested = isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value)
    return "object" if nested else "list"


def _refuse_doubles(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(name_of(path), path)
        if other != path:
            raise SchemaError(
                "two columns have one name",
                expected="a name for each column",
                got=f"{name_of(path)!r} is a key, and also keys within one another",
                remedy="rename one of them in the file",
            )


def _infer(path: Path, own: _Seen, kinds: set[str], count: int, complete: bool) -> JsonField:
    name = name_of(path)
    if not own.values:
        found = infer_role(ColumnSample(name, pa.nulls(count, pa.string()), complete=complete))
        return JsonField(path, pa.string(), False, found)
    if "list" in kinds:
        return _infer_list(path, own, count, complete)
    if kinds == {"boolean"}:
        values = _placed(own, count, pa.bool_())
        return JsonField(path, pa.bool_(), False, infer_role(ColumnSample(name, values, complete=complete)))
    if kinds <= {"whole", "number"}:
        return _infer_number(path, own, kinds, count, complete)
    texts = _placed(_Seen(own.rows, [shown(value) for value in own.values]), count, pa.string())
    blank = _Seen(
        [row for row, value in zip(own.rows, own.values, strict=True) if shown(value).strip()],
        [shown(value).strip() for value in own.values if shown(value).strip()],
    )
    column = infer_column(name, _placed(blank, count, pa.string()), complete=complete)
    if column.kind is Role.category or column.kind is Role.text:
        column = infer_column(name, texts, complete=complete)
    counts = Counter(map(_kind, own.values))
    most = max(sorted(kinds), key=lambda kind: counts[kind])
    stored = {"boolean": pa.bool_(), "text": pa.string()}.get(most, pa.float64())
    whole = pa.types.is_floating(stored) and "number" not in kinds
    return JsonField(path, stored, whole, column)


def _infer_number(path: Path, own: _Seen, kinds: set[str], count: int, complete: bool) -> JsonField:
    name = name_of(path)
    whole = kinds == {"whole"}
    if whole and any(value.is_rounded for value in own.values):
        texts = _placed(own, count, pa.string())
        was = "whole numbers beyond 2^53, which float64 would round"
        sample = ColumnSample(name, texts, whole=True, complete=complete, leading_zeros=True, was=was)
        return JsonField(path, pa.float64(), True, infer_role(sample))
    numbers = _placed(_Seen(own.rows, [float(value) for value in own.values]), count, pa.float64())
    return JsonField(path, pa.float64(), whole, infer_role(ColumnSample(name, numbers, whole=whole, complete=complete)))


def _infer_list(path: Path, own: _Seen, count: int, complete: bool) -> JsonField:
    items = {_kind(item) for value in own.values for item in value if item is not None}
    texts = [[None if item is None else shown(item) for item in value] for value in own.values]
    values = _placed(_Seen(own.rows, texts), count, pa.list_(pa.string()))
    stored = pa.string()
    if items and items <= {"whole", "number"}:
        stored = pa.int64() if items == {"whole"} else pa.float64()
    elif items == {"boolean"}:
        stored = pa.bool_()
    sample = ColumnSample(path[-1], values, complete=complete, was="lists")
    return JsonField(path, pa.list_(stored), False, infer_role(sample))


def _placed(own: _Seen, count: int, of: pa.DataType) -> pa.Array:
    """The values in their records, null elsewhere."""
    cells: list[Any] = [None] * count
    for row, value in zip(own.rows, own.values, strict=True):
        cells[row] = value
    return pa.array(cells, of)


def shown(value: Any) -> str:
    """A value as text: a number as it is written, a truth value as JSON writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
