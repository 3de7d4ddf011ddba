"""The columns of several files together: what their folders are named after, and what some of them lack.

Part of the sources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SchemaError
from penstock.inference import Inferred
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.sources.cells import number_cells, time_cells
from penstock.sources.conform import Wanted, conform
from penstock.sources.files import DataFile

_LISTED = 3


class FolderColumns:
    """The columns that the folders of files are named after, such as ``dt=2026-11-20``, as Hive, Spark and DuckDB do.

    Their values are text until a type fits them all: whole numbers, numbers, or ISO 8601 dates. Where a file has a
    column of the same name the folder's value is read instead.

    Attributes:
        inferred: the role of each column.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = files
        found = [dict(file.folders) for file in files]
        names = dict.fromkeys(name for own in found for name in own)
        self._texts = {name: pa.array([own.get(name) for own in found], pa.string()) for name in names}
        self.inferred = {name: _infer(name, texts) for name, texts in self._texts.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def added(self, names: Sequence[str]) -> tuple[str, ...]:
        """These names, and after them those of folders that are not among them."""
        return (*names, *(name for name in self._texts if name not in names))

    def notes(self, names: Collection[str]) -> list[Note]:
        """What is said where files have columns of the same names."""
        return [
            Note(f"column {name!r}", "read from the names of the folders", "the files have one of this name too")
            for name in self._texts
            if name in names
        ]

    def values(self, schema: Schema) -> dict[str, pa.Array]:
        """Of each column the value of every file, in the type of the schema.

        Raises:
            SchemaError: a value is not of that type.
        """
        return {name: self._typed(name, schema) for name in self._texts}

    def _typed(self, name: str, schema: Schema) -> pa.Array:
        field = schema[name]
        texts = self._texts[name]
        refused = SchemaError(
            f"column {name!r}, which folders are named after, can't be a {field.role}",
            where=str(self._files[0].path),
            expected=f"values that can become {field.type}",
            remedy="give it another role",
        )
        if pa.types.is_list(field.type) and not field.written:
            raise refused
        done = conform(texts, Wanted(field.type, field.kind, written=field.written))
        for fault in done.faults:
            refused.got = f"{texts[int(np.flatnonzero(fault.bad)[0])].as_py()!r}: {fault.reason}"
            raise refused
        return done.values


def _infer(name: str, texts: pa.Array) -> Inferred:
    present = texts.drop_null()
    if not len(present):
        return Inferred(Role.constant, Role.category, "no value in the names of folders")
    kind, what = _kind(present)
    reason = f"{what} in the names of folders, such as {name}={present[0]}"
    alone = len(present.unique()) == 1 and len(present) == len(texts)
    # One value so far is no constant: the next day's folder has another.
    return Inferred(kind, kind, f"one value, {reason}" if alone else reason)


def _kind(present: pa.Array) -> tuple[Role, str]:
    """By what all values are."""
    numbers = number_cells(present)
    if numbers.bad is None and bool(pc.all(pc.is_finite(numbers.values)).as_py()):
        whole = pc.all(pc.match_substring_regex(present, r"^[+-]?\d+$")).as_py()
        if not whole:
            return Role.number, "numbers"
        if pc.any(pc.match_substring_regex(present, r"^[+-]?0\d")).as_py():
            return Role.category, "whole numbers with leading zeros, which they would lose,"
        if pc.max(pc.abs(numbers.values)).as_py() < 2.0**53:
            return Role.integer, "whole numbers"
        return Role.category, "whole numbers beyond 2^53"
    if (
        pc.all(pc.match_substring_regex(present, r"^\d{4}-\d{2}-\d{2}")).as_py()
        and time_cells(present, "iso").bad is None
    ):
        return Role.time, "ISO 8601 dates or times"
    return Role.category, "texts"


def repeated(values: pa.Array, place: int, count: int) -> pa.Array:
    """One value so many times; text dictionary-encoded.

    Example:
        >>> repeated(pa.array([1.5, None]), 0, 2).to_pylist()
        [1.5, 1.5]
    """
    value = values[place]
    if not value.is_valid:
        return pa.nulls(count, values.type)
    if pa.types.is_string(values.type):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), values.slice(place, 1))
    return pa.repeat(value, count)


def united(
    files: Sequence[DataFile],
    columns: Sequence[Sequence[str]],
    folders: FolderColumns,
    *,
    by_head: bool = False,
    complete: bool = False,
) -> tuple[tuple[str, ...], list[Note]]:
    """The columns of all files, in the order in which they first appear, and what is said of those that some lack.

    Args:
        files: the files.
        columns: the names of each one's columns.
        folders: the columns of folders, which no file lacks.
        by_head: whether only the first records of each file were looked at.
        complete: whether a file that lacks a column of the first one is refused.

    Raises:
        SchemaError: a file has columns, and none of the first one; or not all of them, where it has to.
    """
    names = tuple(dict.fromkeys(name for own in columns for name in own))
    first = frozenset(columns[0])
    lacking: dict[str, list[int]] = {}
    for index, own in enumerate(columns):
        have = frozenset(own)
        if first and have and not have & first:
            raise SchemaError(
                "no column of the first file is in this one",
                where=str(files[index].path),
                expected=f"some of {_listed(columns[0])}, as in {files[0].path}",
                got=_listed(own),
                remedy="read the files that belong together by a glob, or name the columns alike",
            )
        for name in names if len(have) < len(names) else ():
            if name not in have and name not in folders:
                if complete and name in first:
                    raise SchemaError(
                        f"column {name!r} is not in this file",
                        where=str(files[index].path),
                        expected=f"all columns of the first file, {files[0].path}",
                        got=_listed(own),
                        remedy="mend the file, or take nulls there: read: {missing_columns: insert}",
                    )
                lacking.setdefault(name, []).append(index)
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        if name in lacking:
            groups.setdefault(tuple(lacking[name]), []).append(name)
    return names, [_said(files, group, those, by_head) for group, those in groups.items()]


def _said(files: Sequence[DataFile], group: Sequence[int], names: Sequence[str], by_head: bool) -> Note:
    where = ", ".join(files[index].key for index in group[:_LISTED]) + (", ..." if len(group) > _LISTED else "")
    topic = f"column {names[0]!r}" if len(names) == 1 else f"columns {_listed(names)}"
    share = f"{len(group):,} of {len(files):,} files"
    if by_head:
        return Note(
            topic, f"null where it is missing, as at the head of {share}", f"not in the first records of {where}"
        )
    return Note(topic, f"null in {share}", f"not there in {where}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def needed(columns: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """Of files with these columns the fewest first ones that have each column in one of them.

    Example:
        >>> needed([("a",), ("a",), ("a", "b")])
        (0, 2)
    """
    seen: set[str] = set()
    found: list[int] = []
    for index, own in enumerate(columns):
        if not seen.issuperset(own):
            found.append(index)
            seen.update(own)
    return tuple(found)


def complete_where(columns: Sequence[Sequence[str]], names: Sequence[str]) -> Mapping[str, bool]:
    """Of each column whether every file has it."""
    counts = dict.fromkeys(names, 0)
    for own in columns:
        for name in own:
            counts[name] += 1
    return {name: count == len(columns) for name, count in counts.items()}
