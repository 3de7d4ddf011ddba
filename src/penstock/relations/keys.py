"""What joins have in common: how the keys of both sides are compared, and the names of the other side's columns.

Beside the relations, and none itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from penstock.errors import DataError, SchemaError
from penstock.relation import Workbench, require
from penstock.schema import Field, Role, Schema
from penstock.source import Note

_AS_TEXT = (
    "CASE WHEN {0} = trunc({0}) AND abs({0}) <= 9007199254740992 "
    "THEN CAST(CAST({0} AS BIGINT) AS VARCHAR) ELSE CAST({0} AS VARCHAR) END"
)
SHOWN = 5
"""Keys that a message shows."""


SUFFIX = "_right"
"""What is put after the name of a column of the other side that the left side has too."""


def names_beside(incoming: Schema, other: Schema, without: Sequence[str]) -> tuple[dict[str, str], list[Note]]:
    """Outgoing names of the other side's columns, and what is said of those that had to change."""
    taken = set(incoming.names)
    found: dict[str, str] = {}
    notes: list[Note] = []
    for name in other.names:
        if name in without:
            continue
        new = name
        while new in taken:
            new += SUFFIX
        taken.add(new)
        found[new] = name
        if new != name:
            text = f"{name!r} of the other side becomes {new!r}"
            notes.append(Note("join", text, "both sides have a column of this name", "map_columns before the join"))
    return found, notes


def fields_beside(found: Mapping[str, str], other: Schema) -> tuple[Field, ...]:
    """The other side's columns under their outgoing names."""
    return tuple(replace(other[name], name=new) for new, name in found.items())


def comparable(left: Schema, right: Schema, pairs: Sequence[tuple[str, str]], *, exact: bool) -> list[Note]:
    """See that the keys of both sides can be compared; what is compared as text is said.

    Args:
        left: the incoming columns.
        right: those of the other side.
        pairs: the names of the keys on both sides.
        exact: whether both have to be of one type.

    Raises:
        SchemaError: a key is missing, of a type that is no key, or of another one on the other side.
    """
    require(left, [name for name, _ in pairs], "join: keys of the left side")
    require(right, [name for _, name in pairs], "join: keys of the other side")
    notes: list[Note] = []
    for name, other in pairs:
        one, two = left[name], right[other]
        for field in (one, two):
            if pa.types.is_nested(field.type):
                raise SchemaError("a column of lists is no key", where="join", got=f"{field.name!r} ({field.type})")
        if one.type == two.type:
            continue
        if exact or not _as_text(one, two):
            raise SchemaError(
                "the keys are of two types",
                where="join",
                expected=f"{two.type} ({two.kind.value}), as {other!r} on the other side",
                got=f"{one.type} ({one.kind.value}) in {name!r}",
                remedy=f"read both in one way: read: {{roles: {{{name}: key}}}}, and the same in the join",
            )
        text = f"{name!r} and {other!r} are compared as text: 7 is '7', and not '007'"
        notes.append(Note("join", text, "whole numbers on one side, text on the other", f"roles: {{{name}: key}}"))
    return notes


def _as_text(one: Field, two: Field) -> bool:
    return {one.type, two.type} == {pa.string(), pa.float64()} and Role.integer in (one.kind, two.kind)


def expressions(left: Schema, right: Schema, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The keys of both sides, in SQL over c0, c1, ... of either side."""
    found = []
    for i, (name, other) in enumerate(pairs):
        sides = [(f"rows.c{i}", left[name].type), (f"other.c{i}", right[other].type)]
        same = sides[0][1] == sides[1][1]
        one, two = (column if same or pa.types.is_string(kind) else _AS_TEXT.format(column) for column, kind in sides)
        found.append((one, two))
    return found


def duplicates(bench: Workbench, side: str, names: Sequence[str]) -> tuple[int, int, int]:
    """Of one side: rows without a key, keys that several rows have, and the rows of the most frequent key."""
    columns = ", ".join(f"c{i}" for i in range(len(names)))
    present = " AND ".join(f"c{i} IS NOT NULL" for i in range(len(names)))
    query = (
        "SELECT coalesce(sum(n), 0)::BIGINT AS present, count(*) FILTER (WHERE n > 1) AS doubled, "
        f"coalesce(max(n), 0) AS most FROM (SELECT count(*) AS n FROM {side} WHERE {present} GROUP BY {columns})"
    )
    given: dict[str, Any] = {side: names}
    for batch in bench.query(query, **given):
        present_rows, doubled, most = (int(batch.column(i)[0].as_py()) for i in range(3))
    table = bench.rows if side == "rows" else bench.other
    assert table is not None
    return table.rows - present_rows, doubled, most


def refuse(bench: Workbench, side: str, names: Sequence[str], expected: str, doubled: int) -> DataError:
    """The error of keys that should be unique and are not, with some of them and their counts."""
    columns = ", ".join(f"c{i}" for i in range(len(names)))
    present = " AND ".join(f"c{i} IS NOT NULL" for i in range(len(names)))
    query = (
        f"SELECT {columns}, count(*) AS n FROM {side} WHERE {present} GROUP BY {columns} HAVING count(*) > 1 "
        f"ORDER BY n DESC, {columns} LIMIT {SHOWN}"
    )
    given: dict[str, Any] = {side: names}
    shown = []
    for batch in bench.query(query, **given):
        for row in batch.to_pylist():
            *key, rows = row.values()
            shown.append(f"{', '.join(map(_shown, key))} in {rows:,} rows")
    where = "left side" if side == "rows" else "other side"
    return DataError(
        f"keys of the {where} are not unique",
        where=f"join on {', '.join(map(repr, names))}",
        expected=f"{expected}: each key once on the {where}",
        got=f"{doubled:,} keys several times: " + "; ".join(shown) + ("; ..." if doubled > SHOWN else ""),
        remedy="deduplicate that side first, or expect: " + ("one_to_many" if side == "other" else "many_to_one"),
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
