"""What part each column plays, and what kind of task a target sets: inferred from a sample, with reasons.

A contract's helper: sources hand it samples of typed columns; it reads no files. Each decision comes with its
reason and with the line that overrides it. The rules are open lists of small functions, tried in order; they are in
the spirit of AutoGluon-Tabular (Erickson et al., arXiv 2003.06505, section 3.1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SchemaError
from penstock.model import TaskName
from penstock.schema import ROLE_TYPES, Field, Role, Schema
from penstock.source import Note

KINDS = (Role.number, Role.integer, Role.boolean, Role.category, Role.text, Role.time)
"""What the values of a column can be, whatever they are used for."""

PICTURES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".pgm")
) | {".pbm", ".pnm", ".pam", ".exr", ".hdr"}
"""What the names of pictures end with."""
CLIPS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"))
"""What the names of clips end with."""
_ENDING = r"^[^:]*(?P<ending>\.\w{3,4})$"
_KEY_WORDS = frozenset({"id", "ids", "uuid", "guid", "key", "index", "idx", "rowid", "rownum", "rownumber"})
_FEW_CLASSES = 20
_UNIQUE = 0.99
_PRECISE = 2.0**53
_VERY_LONG = 1000


@dataclass(frozen=True)
class ColumnSample:
    """A sample of one column's values, and what its source knows about it besides.

    Attributes:
        name: the column's name.
        values: the sample: float64, bool, string (dictionary-encoded or not), timestamp, list<string>, or null. Whole
            numbers too large for float64 are given as text.
        whole: whether numbers are stored or written as whole numbers.
        complete: whether the sample is all the data there is.
        stored_as_categories: whether the file itself says that the column is categorical.
        leading_zeros: whether whole numbers are written with leading zeros, or are too large for float64; then
            ``values`` holds them as text.
        was: what the values are before they are read as ``values``, for the reason ("text yes / no", "decimal").
    """

    name: str
    values: pa.Array
    whole: bool = False
    complete: bool = False
    stored_as_categories: bool = False
    leading_zeros: bool = False
    was: str = ""

    @cached_property
    def present(self) -> pa.Array:
        """The values that are not missing, not dictionary-encoded."""
        values = self.values
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        return values.drop_null()

    @cached_property
    def distinct(self) -> int:
        """How many distinct values the sample has."""
        return len(self.present.unique())

    @cached_property
    def words(self) -> float:
        """The mean number of words of a text."""
        counts = pc.count_substring_regex(self.present, r"\S+")
        return float(pc.mean(counts).as_py() or 0.0)

    @cached_property
    def ascending(self) -> bool:
        """Whether numbers are strictly ascending in the order of the rows."""
        values = self.present.to_numpy(zero_copy_only=False)
        return len(values) > 1 and bool(np.all(values[1:] > values[:-1]))

    @property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return bool(pa.types.is_string(self.present.type))

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return bool(pa.types.is_floating(self.present.type))

    @property
    def extent(self) -> str:
        """The size of the sample, for a reason."""
        return f"{'all' if self.complete else 'a sample of'} {len(self.values):,} rows"


@dataclass(frozen=True, slots=True)
class Inferred:
    """The part of one column, and why.

    Attributes:
        role: the role.
        kind: what the values are, whatever the role: what a target, weight or group of this column holds.
        reason: in words for a person.
        written: how the texts are written that the values are read from, where that is not the plain way.
        type: the type that the values keep, where it is not that of their role: tensors.
    """

    role: Role
    kind: Role
    reason: str
    written: str = ""
    type: pa.DataType | None = None


Rule = Callable[[ColumnSample], Inferred | None]


def _all_null(sample: ColumnSample) -> Inferred | None:
    if len(sample.present):
        return None
    kind = Role.number if sample.is_numeric else Role.boolean if pa.types.is_boolean(sample.values.type) else None
    kind = Role.time if pa.types.is_timestamp(sample.values.type) else kind
    kind = Role.list if pa.types.is_list(sample.values.type) else kind
    return Inferred(Role.constant, kind or Role.category, f"no value at all in {sample.extent}")


def _list(sample: ColumnSample) -> Inferred | None:
    if not pa.types.is_list(sample.values.type):
        return None
    return Inferred(Role.list, Role.list, sample.was or "stored as lists")


def _one_value(sample: ColumnSample) -> Inferred | None:
    if not sample.complete or sample.distinct > 1 or len(sample.present) < len(sample.values) or len(sample.values) < 2:
        return None
    value = sample.present[0].as_py()
    return Inferred(Role.constant, _kind(sample), f"the one value {_shown(value)} in {sample.extent}")


def _names_of_files(sample: ColumnSample) -> Inferred | None:
    """Paths of pictures or clips. Whether the files are there is for the sources to see; addresses (``https:``) are no
    paths."""
    if not sample.is_text or not len(sample.present):
        return None
    endings: list[str | None] = []
    for some in (sample.present[:10], sample.present):  # most columns are told by the first few
        found = pc.extract_regex(pc.utf8_lower(some), _ENDING)
        endings = pc.struct_field(found, "ending").unique().to_pylist()
        if None in endings:
            return None
    for role, known in ((Role.picture, PICTURES), (Role.clip, CLIPS)):
        if all(ending in known for ending in endings):
            shown = ", ".join(sorted(ending for ending in endings if ending))
            return Inferred(role, Role.category, f"names of files that end in {shown} in {sample.extent}")
    return None


def _boolean(sample: ColumnSample) -> Inferred | None:
    if not pa.types.is_boolean(sample.present.type):
        return None
    return Inferred(Role.boolean, Role.boolean, sample.was or "stored as truth values")


def _time(sample: ColumnSample) -> Inferred | None:
    if not pa.types.is_timestamp(sample.present.type):
        return None
    return Inferred(Role.time, Role.time, sample.was or "stored as dates or times")


def _named_key(sample: ColumnSample) -> Inferred | None:
    if not named_like_key(sample.name) or not (sample.is_text or sample.whole):
        return None
    if min(sample.distinct, len(sample.present)) < _UNIQUE * len(sample.values):
        return None
    kind = Role.integer if sample.is_numeric else Role.category
    almost = "" if sample.distinct == len(sample.values) else "almost "
    return Inferred(Role.key, kind, f"its name, and {almost}every value is another in {sample.extent}")


def _row_number(sample: ColumnSample) -> Inferred | None:
    unnamed = sample.name == "" or re.fullmatch(r"unnamed: \d+|column_\d+", sample.name.lower()) is not None
    if not (unnamed and sample.whole and sample.is_numeric and sample.ascending):
        return None
    return Inferred(Role.key, Role.integer, f"no name, and whole numbers that only ascend in {sample.extent}")


def _coded_number(sample: ColumnSample) -> Inferred | None:
    if not sample.leading_zeros:
        return None
    unique = sample.distinct >= _UNIQUE * len(sample.present) and len(sample.present) >= 50
    why = sample.was or "whole numbers with leading zeros are codes, and lose them as numbers"
    return Inferred(Role.key if unique else Role.category, Role.category, why)


def _number(sample: ColumnSample) -> Inferred | None:
    if not sample.is_numeric:
        return None
    kind = _kind(sample)
    was = sample.was or ("whole numbers" if kind is Role.integer else "numbers")
    alone = f"; only the value {_shown(sample.present[0].as_py())} was met" if sample.distinct == 1 else ""
    return Inferred(kind, kind, f"{was} in {sample.extent}{alone}")


def _stored_category(sample: ColumnSample) -> Inferred | None:
    if not sample.stored_as_categories:
        return None
    return Inferred(Role.category, Role.category, f"stored as categories, {sample.distinct:,} in {sample.extent}")


def _very_long_text(sample: ColumnSample) -> Inferred | None:
    """Documents, whatever is in them: as categories or keys they would be counted whole, and fill the memory."""
    if not sample.is_text or not len(sample.present):
        return None
    length = float(pc.mean(pc.utf8_length(sample.present)).as_py())
    if length < _VERY_LONG or sample.distinct == 1:
        return None
    return Inferred(Role.text, Role.text, f"{length:,.0f} characters a value")


def _unique_text(sample: ColumnSample) -> Inferred | None:
    count = len(sample.present)
    if count < 50 or sample.distinct < _UNIQUE * count or sample.words >= 2:
        return None
    return Inferred(Role.key, Role.category, f"almost every value is another: {sample.distinct:,} in {sample.extent}")


def _long_text(sample: ColumnSample) -> Inferred | None:
    if sample.words < 3 or sample.distinct <= max(2, 0.05 * len(sample.present)):
        return None
    return Inferred(Role.text, Role.text, f"{sample.words:.1f} words a value, {sample.distinct:,} distinct values")


def _category(sample: ColumnSample) -> Inferred | None:
    return Inferred(Role.category, Role.category, f"{sample.distinct:,} distinct texts in {sample.extent}")


ROLE_RULES: tuple[Rule, ...] = (
    _all_null,
    _list,
    _one_value,
    _names_of_files,
    _boolean,
    _time,
    _named_key,
    _row_number,
    _coded_number,
    _number,
    _stored_category,
    _very_long_text,
    _unique_text,
    _long_text,
    _category,
)
"""How a role is found: the first that knows."""


def infer_role(sample: ColumnSample) -> Inferred:
    """The part a column plays, from a sample of it.

    A column with one value is a constant only where the sample is all the data: in a larger file rare values may
    come later. Booleans stored as 0 and 1 stay whole numbers.

    Example:
        >>> infer_role(ColumnSample("colour", pa.array(["red", "blue", "red"]))).role.value
        'category'
        >>> infer_role(ColumnSample("user_id", pa.array([1.0, 2.0, 7.0]), whole=True)).reason
        'its name, and every value is another in a sample of 3 rows'
    """
    for rule in ROLE_RULES:
        found = rule(sample)
        if found is not None:
            return found
    raise AssertionError("the last rule knows every column")


def named_like_key(name: str) -> bool:
    """Whether a name says that its column only tells rows apart: ``id``, ``userId``, ``row_id``, ``uuid``.

    Example:
        >>> [named_like_key(name) for name in ("PassengerId", "user_id", "ID", "paid", "idea")]
        [True, True, True, False, False]
    """
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    words = [word.lower() for word in re.split(r"[\W_]+", apart) if word]
    return bool(words) and (words[-1] in _KEY_WORDS or words[0] in ("id", "uuid", "guid"))


def make_schema(
    names: Sequence[str], inferred: Mapping[str, Inferred], roles: Mapping[str, Role], *, text: frozenset[str]
) -> Schema:
    """The schema of a source: what was inferred, overridden by the user's roles.

    Args:
        names: the columns in order.
        inferred: what was inferred for each.
        roles: the user's roles by column.
        text: columns that came as text, where a target of truth values keeps its words as labels.

    Raises:
        SchemaError: a role is for a column that is not there, or is none that a source can give.
    """
    for name, role in roles.items():
        if name not in inferred:
            near = difflib.get_close_matches(name, names, n=1)
            raise SchemaError(
                f"a role for a column that is not there: {name!r}",
                expected="one of " + ", ".join(map(repr, names)),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        if role is Role.vector:
            raise SchemaError(
                f"{name!r} can't be a vector",
                expected="a role for single values",
                got="vector",
                remedy="choose another",
            )
    return Schema(tuple(_field(name, inferred[name], roles.get(name), name in text) for name in names))


def _field(name: str, found: Inferred, asked: Role | None, is_text: bool) -> Field:
    role = asked or found.role
    reason = found.reason if asked in (None, found.role) else ""
    if found.type is not None and role is found.role:
        return Field(name, found.type, role, reason)
    if role in ROLE_TYPES:
        written = found.written if ROLE_TYPES[role] == ROLE_TYPES[found.kind] else ""
        return Field(name, ROLE_TYPES[role], role, reason, written=written)
    kind = found.kind
    if role is Role.ignored:
        return Field(name, pa.string(), role, reason, values=kind)
    if role is Role.target and kind is Role.boolean and is_text:
        kind = Role.category
    if role is Role.weight and not kind.is_numeric:
        kind = Role.number
    if role is Role.group:
        kind = Role.category  # groups are only compared: as they are written
    written = found.written if ROLE_TYPES[kind] == ROLE_TYPES[found.kind] else ""
    return Field(name, ROLE_TYPES[kind], role, reason, values=kind, written=written)


_ALTERNATIVE = {
    Role.integer: Role.category,
    Role.number: Role.category,
    Role.boolean: Role.category,
    Role.category: Role.text,
    Role.text: Role.category,
    Role.key: Role.category,
    Role.time: Role.category,
    Role.constant: Role.category,
    Role.list: Role.category,
}


def notes_of(schema: Schema, inferred: Mapping[str, Inferred], roles: Mapping[str, Role]) -> list[Note]:
    """What is said about the columns of a source: the roles that the user did not give, and how values are written.

    Example:
        >>> found = {"cost": Inferred(Role.number, Role.number, "numbers like 1,234.5", "1,234.5")}
        >>> for note in notes_of(make_schema(("cost",), found, {}, text=frozenset()), found, {}):
        ...     print(note)
        role of 'cost': number (numbers like 1,234.5); to override: read: {roles: {cost: category}}
        format of 'cost': 1,234.5 (new data are read in the same way); to override: read: {written: {cost: "1.234,5"}}
    """
    said = [role_note(field.name, inferred[field.name]) for field in schema if field.name not in roles]
    for field in schema:
        if field.written:
            why = inferred[field.name].reason if field.name in roles else "new data are read in the same way"
            other = _other_way(field.written)
            override = (
                f"written: {{{_quoted(field.name)}: {other}}}"
                if other
                else f"roles: {{{_quoted(field.name)}: category}}"
            )
            said.append(Note(f"format of {field.name!r}", field.written, why, f"read: {{{override}}}"))
    return said


def _other_way(written: str) -> str:
    """What a way of writing is most easily taken for, quoted for a pipeline file; "" for nothing.

    Example:
        >>> _other_way("%d/%m/%Y"), _other_way("1.234,5 kg"), _other_way("time of day")
        ('"%m/%d/%Y"', '"1,234.5 kg"', '')
    """
    day = re.match(r"%[dm][-/.]%[dm]", written)
    if day:
        first, mark, second = written[:2], written[2], written[3:5]
        return f'"{second}{mark}{first}{written[5:]}"'
    if re.search(r"1[.,]234|234,5", written):
        return '"' + written.replace(" ...", "").translate(str.maketrans(",.", ".,")) + '"'
    return ""


def role_note(name: str, found: Inferred) -> Note:
    """What is said about an inferred role, with the line that overrides it.

    Example:
        >>> print(role_note("zip", Inferred(Role.integer, Role.integer, "whole numbers in all 9 rows")))
        role of 'zip': integer (whole numbers in all 9 rows); to override: read: {roles: {zip: category}}
    """
    other = _ALTERNATIVE.get(found.role, Role.category)
    return Note(f"role of {name!r}", found.role.value, found.reason, f"read: {{roles: {{{_quoted(name)}: {other}}}}}")


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else '"' + name.replace('"', '\\"') + '"'


def _kind(sample: ColumnSample) -> Role:
    if sample.is_numeric:
        return Role.integer if sample.whole else Role.number
    if pa.types.is_boolean(sample.present.type):
        return Role.boolean
    return Role.time if pa.types.is_timestamp(sample.present.type) else Role.category


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


@dataclass(frozen=True, slots=True)
class TargetSample:
    """What is known of a target: its field, its distinct values in ascending order, and the rows they come from."""

    field: Field
    distinct: tuple[str | float | bool, ...]
    rows: int

    @property
    def whole(self) -> bool:
        """Whether every value is a whole number."""
        return all(isinstance(value, (int, float)) and float(value).is_integer() for value in self.distinct)


TaskRule = Callable[[TargetSample], tuple[TaskName, str] | None]


def _two_values(target: TargetSample) -> tuple[TaskName, str] | None:
    if len(target.distinct) != 2:
        return None
    return "binary", f"two distinct values, {_shown(target.distinct[0])} and {_shown(target.distinct[1])}"


def _labels(target: TargetSample) -> tuple[TaskName, str] | None:
    if target.field.kind.is_numeric:
        return None
    return "multiclass", f"{len(target.distinct):,} distinct labels"


def _few_whole_numbers(target: TargetSample) -> tuple[TaskName, str] | None:
    count = len(target.distinct)
    if not target.whole or count > _FEW_CLASSES or count > 0.05 * target.rows:
        return None
    return "multiclass", f"only {count} distinct whole numbers in {target.rows:,} rows"


def _numbers(target: TargetSample) -> tuple[TaskName, str] | None:
    return "regression", f"numbers, {len(target.distinct):,} distinct in {target.rows:,} rows"


TASK_RULES: tuple[TaskRule, ...] = (_two_values, _labels, _few_whole_numbers, _numbers)
"""How a task is found: the first that knows."""


def infer_task(field: Field, distinct: Sequence[str | float | bool], rows: int) -> tuple[TaskName, str]:
    """What kind of task a target sets, and why.

    Args:
        field: the target's column.
        distinct: its distinct values, missing ones left out, in any order; of a number with many it is enough to
            give more than twenty.
        rows: the rows that they were seen in.

    Raises:
        SchemaError: nothing can be learned from it: fewer than two values, or values that are no labels or numbers.

    Example:
        >>> infer_task(Field("y", pa.string(), Role.target, values=Role.category), ["no", "yes"], 100)
        ('binary', "two distinct values, 'no' and 'yes'")
    """
    if field.kind in (Role.time, Role.vector, Role.list):
        raise SchemaError(
            f"{field.name!r} can't be a target",
            expected="labels or numbers",
            got=field.kind.value,
            remedy=f"derive a number from it, or read it as a category: roles: {{{field.name}: category}}",
        )
    if len(distinct) < 2:
        raise SchemaError(
            f"nothing can be learned from the target {field.name!r}",
            expected="at least two distinct values",
            got=f"{_shown(distinct[0])} alone in {rows:,} rows" if distinct else f"no value in {rows:,} rows",
            remedy="choose another target, or more data",
        )
    ordered = tuple(sorted(distinct, key=lambda value: (isinstance(value, str), value)))
    target = TargetSample(field, ordered, rows)
    for rule in TASK_RULES:
        found = rule(target)
        if found is not None:
            return found
    raise AssertionError("the last rule knows every target")
