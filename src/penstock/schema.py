"""What columns a batch has, of which type, and which part each plays.

A contract's value: no data is read here. `inference.py` makes a `Schema` from a sample, with its reasons.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from penstock.errors import SchemaError


class Role(enum.StrEnum):
    """The part that a column plays. ``number`` to ``time`` describe the values; the rest is what they are used for."""

    number = "number"
    integer = "integer"
    boolean = "boolean"
    category = "category"
    text = "text"
    time = "time"
    list = "list"
    vector = "vector"
    tokens = "tokens"
    picture = "picture"
    clip = "clip"
    key = "key"
    constant = "constant"
    ignored = "ignored"
    group = "group"
    weight = "weight"
    target = "target"

    @property
    def is_numeric(self) -> bool:
        """Whether statistics of numbers make sense: numbers and whole numbers."""
        return self in (Role.number, Role.integer)

    @property
    def is_feature(self) -> bool:
        """Whether a model may learn from it."""
        return self in (
            Role.number,
            Role.integer,
            Role.boolean,
            Role.category,
            Role.text,
            Role.time,
            Role.list,
            Role.vector,
            Role.tokens,
            Role.picture,
            Role.clip,
        )


SPARSE = pa.struct(
    [
        pa.field("indices", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("values", pa.list_(pa.field("item", pa.float32(), nullable=False)), nullable=False),
    ]
)
"""The type of a column of vectors (role ``vector``): of each row the places that are not zero, ascending from 0, and
their values. How long the vectors are stands in `Field.width`; a null is a vector of zeros."""

ROLE_TYPES: dict[Role, pa.DataType] = {
    Role.number: pa.float64(),
    Role.integer: pa.float64(),
    Role.boolean: pa.bool_(),
    Role.category: pa.string(),
    Role.text: pa.string(),
    Role.time: pa.timestamp("us"),
    Role.list: pa.list_(pa.string()),
    Role.tokens: pa.list_(pa.int32()),
    Role.picture: pa.binary(),
    Role.clip: pa.binary(),
    Role.key: pa.string(),
}
"""The type a column of a role is stored as. Whole numbers are float64 (exact to 2^53), so that a late ``3.5``
survives; keys stay text, so that ``007`` does too. Pictures and clips are read as the bytes of their files, encoded (a
clip also as text, the absolute path of a local file, which is opened once); a step decodes them into tensors, all of
one shape: see `tensor`. Tokens are places in ``Field.categories``, the vocabulary."""


def tensor(values: pa.DataType, shape: Sequence[int]) -> pa.FixedShapeTensorType:
    """The type of a column of tensors of one shape: Arrow's canonical extension type ``arrow.fixed_shape_tensor``.

    A picture is (height, width, channels), uint8 from 0 to 255 or floating; a clip (frames, height, width, channels).
    Channels are red, green, blue.

    Example:
        >>> tensor(pa.uint8(), (28, 28, 1)).shape
        [28, 28, 1]
    """
    return pa.fixed_shape_tensor(values, tuple(shape))


def shape_of(kind: pa.DataType) -> tuple[int, ...] | None:
    """The shape of each value of a column of tensors; None for other types."""
    return tuple(kind.shape) if isinstance(kind, pa.FixedShapeTensorType) else None


@dataclass(frozen=True, slots=True)
class Field:
    """One column.

    Attributes:
        name: the column's name.
        type: the Arrow type of its values. Text and categories are ``string``; a batch may hold them
            dictionary-encoded, and everything that reads a batch takes both.
        role: the part it plays.
        reason: why it has that role, in words for a person (empty where the user said so).
        categories: the closed list of values, where one is known.
        values: what the values are, where ``role`` only says what they are used for (a target of categories).
        width: how long the vectors of a column of sparse vectors are; None elsewhere.
        parts: what each place of such a vector stands for, where that is known ("word=free"); for people.
        written: how its values were written in the text they were read from, where that is not the plain way: numbers
            as ``1,234.5 kg``, times as ``%d/%m/%Y``, lists as ``a;b``. New data are read in the same way.
    """

    name: str
    type: pa.DataType
    role: Role
    reason: str = ""
    categories: tuple[str, ...] | None = None
    values: Role | None = None
    width: int | None = None
    parts: tuple[str, ...] | None = None
    written: str = ""

    @property
    def kind(self) -> Role:
        """What the values are: the role itself, or for a target, weight or group what was inferred for it."""
        return self.values or self.role

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of each value of a column of tensors; None for other columns."""
        return shape_of(self.type)

    @property
    def values_in_words(self) -> str:
        """What the values are, for people.

        Example:
            >>> Field("x", tensor(pa.uint8(), (28, 28, 1)), Role.picture).values_in_words
            'picture: 28 x 28 x 1 values of uint8'
            >>> Field("x", pa.binary(), Role.picture).values_in_words
            'picture: binary'
        """
        if isinstance(self.type, pa.FixedShapeTensorType):
            return f"{self.kind.value}: {' x '.join(map(str, self.type.shape))} values of {self.type.value_type}"
        return f"{self.kind.value}: {self.type}"

    def to_json(self) -> dict[str, Any]:
        """The field as JSON values; `from_json` is its inverse."""
        out: dict[str, Any] = {"name": self.name, "type": name_of_type(self.type), "role": self.role.value}
        if self.reason:
            out["reason"] = self.reason
        if self.categories is not None:
            out["categories"] = list(self.categories)
        if self.values is not None:
            out["values"] = self.values.value
        if self.width is not None:
            out["width"] = self.width
        if self.parts is not None:
            out["parts"] = list(self.parts)
        if self.written:
            out["written"] = self.written
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Field:
        """A field from what `to_json` gave."""
        categories = value.get("categories")
        kind, width, parts = value.get("values"), value.get("width"), value.get("parts")
        return cls(
            name=str(value["name"]),
            type=type_from_name(str(value["type"])),
            role=Role(value["role"]),
            reason=str(value.get("reason", "")),
            categories=None if categories is None else tuple(str(c) for c in categories),
            values=None if kind is None else Role(kind),
            width=None if width is None else int(width),
            parts=None if parts is None else tuple(str(part) for part in parts),
            written=str(value.get("written", "")),
        )


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a batch, in order, by unique names.

    Raises:
        SchemaError: two fields have one name.

    Example:
        >>> schema = Schema((Field("age", pa.float64(), Role.integer),))
        >>> schema.names
        ('age',)
        >>> schema["age"].role.value
        'integer'
    """

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for field in self.fields:
            if field.name in seen:
                raise SchemaError("two columns have one name", got=repr(field.name), remedy="rename one of them")
            seen.add(field.name)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(field.name for field in self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise SchemaError("no such column", expected=f"one of {', '.join(map(repr, self.names))}", got=repr(name))

    def select(self, names: Iterable[str]) -> Schema:
        """Only these columns, in the order given."""
        return Schema(tuple(self[name] for name in names))

    def without(self, names: Iterable[str]) -> Schema:
        """All columns but these."""
        gone = set(names)
        return Schema(tuple(field for field in self.fields if field.name not in gone))

    def put(self, *fields: Field) -> Schema:
        """These fields in place of those of the same name; new names at the end."""
        new = {field.name: field for field in fields}
        kept = [new.pop(field.name, field) for field in self.fields]
        return Schema((*kept, *new.values()))

    def with_role(self, name: str, role: Role) -> Schema:
        """The same with another role for one column; what its values are is remembered in ``values``."""
        field = self[name]
        return self.put(replace(field, role=role, values=field.kind if field.kind.is_feature else field.values))

    def of_role(self, *roles: Role) -> tuple[str, ...]:
        """Names of the columns that have one of these roles."""
        return tuple(field.name for field in self.fields if field.role in roles)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that a model may learn from."""
        return tuple(field.name for field in self.fields if field.role.is_feature)

    def to_arrow(self) -> pa.Schema:
        """The Arrow schema of a batch of this schema (text not dictionary-encoded)."""
        return pa.schema([pa.field(field.name, field.type) for field in self.fields])

    def to_json(self) -> list[dict[str, Any]]:
        """The fields as JSON values; `from_json` is its inverse."""
        return [field.to_json() for field in self.fields]

    @classmethod
    def from_json(cls, value: Iterable[Mapping[str, Any]]) -> Schema:
        """A schema from what `to_json` gave."""
        return cls(tuple(Field.from_json(item) for item in value))


_TYPES: dict[str, pa.DataType] = {
    str(t): t
    for t in (
        pa.bool_(),
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.date32(),
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        pa.list_(pa.string()),
        pa.list_(pa.int32()),
        SPARSE,
    )
}
_TENSOR = re.compile(r"tensor<(\w+)>\[(\d+(?:, \d+)*)\]")
_NUMBERS = {name: _TYPES[name] for name in ("uint8", "uint16", "halffloat", "float", "double")}
_MOST_VALUES = 2**31 - 1


def name_of_type(kind: pa.DataType) -> str:
    """The name of a type; `type_from_name` is its inverse.

    Example:
        >>> name_of_type(tensor(pa.uint8(), (28, 28, 1)))
        'tensor<uint8>[28, 28, 1]'
    """
    shape = shape_of(kind)
    return str(kind) if shape is None else f"tensor<{kind.value_type}>[{', '.join(map(str, shape))}]"


def type_from_name(name: str) -> pa.DataType:
    """The Arrow type of this name: one of a closed list, or a tensor of numbers.

    Raises:
        SchemaError: ``name`` is not in the list.
    """
    if name in _TYPES:
        return _TYPES[name]
    match = _TENSOR.fullmatch(name)
    if match is not None and match[1] in _NUMBERS:
        shape = [int(size) for size in match[2].split(", ")]
        if 0 < math.prod(shape) <= _MOST_VALUES:
            return tensor(_NUMBERS[match[1]], shape)
    raise SchemaError("not a type of a column", expected=", ".join(_TYPES), got=repr(name))
