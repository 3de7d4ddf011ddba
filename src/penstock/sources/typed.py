"""The columns of data that has types of its own: Parquet, Arrow, tables in memory. What they are together, by which
role each is read, and batches of them in the types of the schema.

Part of the sources.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, Count, RowKeys, record_batch
from penstock.errors import SchemaError, SourceError
from penstock.inference import ColumnSample, Inferred, infer_role, make_schema, notes_of
from penstock.schema import ROLE_TYPES, Field, Role, Schema, name_of_type
from penstock.source import Note, ReadOptions
from penstock.sources.columns import FolderColumns, complete_where, needed, repeated, united
from penstock.sources.conform import (
    STEP,
    Verdicts,
    Wanted,
    can_conform,
    conform,
    is_text,
    rejected_rows,
    rejected_table,
)
from penstock.sources.csv_types import infer_column
from penstock.sources.files import DataFile, unreadable
from penstock.sources.formats import role_of_bytes
from penstock.sources.parquet_types import NATURAL, described, is_usable, is_whole, kind_of, tensor_role, why_not
from penstock.sources.written import as_written

_BEGINNING = 16
_SAMPLED = 48 * 2**20
"""About what a sample holds as it is stored, at the most [bytes]."""
_FEWEST = 60
"""Rows that are looked at, however wide they are."""


class TypedColumns:
    """The columns of several files together, matched by name.

    A column that a file lacks is null there. Where files give one different types, numbers of any width are numbers,
    truth values among numbers are 1 and 0, and what else is mixed is read as text would be: as numbers or times, where
    nearly all of it is, else as text. Columns of no use (nested, binary) are left out, which is said.

    Args:
        files: the files.
        schemas: the columns of each.
        options: how to read.

    Raises:
        SchemaError: a column is doubled, or can't be used in one file and can in another; a file has no column of the
            first one; or there is no column at all that can be used.

    Attributes:
        names: the columns that can be used, those of folders left out.
        schema: the columns by their roles; of `infer`, then of `with_roles`.
        notes: what was decided.
    """

    schema: Schema

    def __init__(self, files: Sequence[DataFile], schemas: Sequence[pa.Schema], options: ReadOptions) -> None:
        self._files = files
        self._missing = frozenset(options.missing or ())
        self._said = options.written
        self._folders = FolderColumns(files)
        self._own = [tuple(schema.names) for schema in schemas]
        for file, own in zip(files, self._own, strict=True):
            _refuse_doubles(file, own)
        everything, said = united(files, self._own, self._folders, complete=options.missing_columns == "raise")
        self._everywhere = complete_where(self._own, everything)
        self._types: dict[str, list[pa.DataType]] = {name: [] for name in everything}
        self._seen: dict[str, list[DataFile]] = {name: [] for name in everything}
        for file, schema in zip(files, schemas, strict=True):
            self._take_in(file, schema)
        self._notes = [*said, *self._folders.notes(everything)]
        self.names = tuple(
            name for name in everything if all(map(is_usable, self._types[name])) and name not in self._folders
        )
        self._everything = everything
        self._use(self.names)

    def _use(self, names: Sequence[str]) -> None:
        """Keep to these columns, and say which are left out."""
        self.names = tuple(names)
        used = {*self.names, *self._folders.inferred}
        self._order = tuple(name for name in self._folders.added(self._everything) if name in used)
        self._left = [
            Note(f"column {name!r}", f"{self._types[name][0]} is not read", why_not(self._types[name][0]))
            for name in self._everything
            if name not in used
        ]
        if not self.names:
            files = self._files
            raise SchemaError(
                "no column can be used",
                where=str(files[0].path),
                expected="columns of numbers, texts, truth values, times or lists of them",
                got=", ".join(f"{name!r}: {types[0]}" for name, types in self._types.items()) or "no column",
            )

    def _take_in(self, file: DataFile, schema: pa.Schema) -> None:
        for field in schema:
            types = self._types[field.name]
            if field.type in types:
                continue
            kinds = {kind_of(of) for of in (*types, field.type)} - {"null"}
            if len(kinds) > 1 and kinds & {"", "list", "tensor", "bytes"}:
                raise SchemaError(
                    f"column {field.name!r} has another type than in the first file",
                    where=str(file.path),
                    expected=f"{types[0]}, as in {self._seen[field.name][0].path}",
                    got=str(field.type),
                    remedy="write the files with one type for each column",
                )
            types.append(field.type)
            self._seen[field.name].append(file)

    @property
    def needed(self) -> tuple[int, ...]:
        """Files that a sample must look at, since no other has all of their columns."""
        return needed(self._own)

    def of_file(self, index: int, names: Iterable[str]) -> list[str]:
        """Of these columns those that are read from this file."""
        own = set(self._own[index])
        return [name for name in names if name in own and name in self._types and name not in self._folders]

    def has_words(self, field: Field) -> bool:
        """Whether a column holds categories that every file has as texts."""
        return field.kind is Role.category and all(kind_of(of) == "text" for of in self._types.get(field.name, ()))

    # --- roles

    def infer(self, pieces: Iterable[tuple[int, pa.RecordBatch]], rows: int, roles: Mapping[str, Role]) -> float:
        """Infer the roles from pieces of files, each with its file's number.

        Args:
            pieces: the sample.
            rows: how many rows there are in all.
            roles: the user's roles.

        Returns:
            What a row holds in memory [bytes].
        """
        arrays: dict[str, list[pa.Array]] = {name: [] for name in self.names}
        taken = 0
        for index, piece in pieces:
            taken += piece.num_rows
            for name in self.of_file(index, self.names):
                arrays[name].append(piece.column(name))
        self._inferred: dict[str, Inferred] = {}
        weight = 0.0
        kept = [name for name in self.names if self._is_of_use(name, arrays[name], roles.get(name))]
        if len(kept) < len(self.names):
            self._use(kept)
        for name in self.names:
            inferred, values = self._infer_one(name, arrays[name], taken == rows and self._everywhere[name])
            self._inferred[name] = inferred
            weight += values.nbytes / max(len(values), 1)
        self._inferred.update(self._folders.inferred)
        self._check_said()
        self._set_roles(roles, self._said)
        return weight

    def _infer_one(self, name: str, pieces: Sequence[pa.Array], complete: bool) -> tuple[Inferred, pa.Array]:
        types = [of for of in self._types[name] if not pa.types.is_null(of)] or self._types[name]
        kinds = {kind_of(of) for of in types}
        if kinds == {"tensor"}:
            return self._infer_tensor(name, pieces, types)
        if len(kinds) > 1 and kinds != {"number", "boolean"}:
            return self._infer_mixed(name, pieces, complete)
        if len(kinds) > 1:
            self._say_mixed(name, "numbers, with 1 for true and 0 for false")
        if kinds == {"bytes"}:
            role = _role_of_bytes(pieces) or Role.picture
            values = [conform(piece, Wanted(pa.binary(), role)).values for piece in pieces]
            return Inferred(role, role, f"bytes that begin as {role}s do"), pa.concat_arrays(values)
        kind = "number" if "number" in kinds else kind_of(types[0])
        storage = ROLE_TYPES[NATURAL[kind]]
        done = [conform(piece, Wanted(storage, Role.number, self._missing)) for piece in pieces]
        large = kind == "number" and any(fault.code == "too_large" for one in done for fault in one.faults)
        if large:
            done = [conform(piece, Wanted(pa.string(), Role.category)) for piece in pieces]
        values = pa.concat_arrays([one.values for one in done]) if done else pa.array([], storage)
        sample = ColumnSample(
            name,
            values,
            whole=all(is_whole(of) for of in types),
            complete=complete,
            stored_as_categories=all(pa.types.is_dictionary(of) for of in types),
            leading_zeros=large,
            was="whole numbers beyond 2^53, which float64 would round" if large else described(types[0]),
        )
        return infer_role(sample), values

    def _is_of_use(self, name: str, pieces: Sequence[pa.Array], asked: Role | None) -> bool:
        """Whether there is a role for a column: for bytes, where they are pictures or clips, or the user says so."""
        if {kind_of(of) for of in self._types[name]} - {"null"} != {"bytes"}:
            return True
        return asked in (Role.picture, Role.clip) or _role_of_bytes(pieces) is not None

    def _infer_tensor(
        self, name: str, pieces: Sequence[pa.Array], types: Sequence[pa.DataType]
    ) -> tuple[Inferred, pa.Array]:
        if len(types) > 1:
            raise SchemaError(
                f"column {name!r} has tensors of several shapes",
                where=str(self._seen[name][1].path),
                expected=name_of_type(types[0]),
                got=name_of_type(types[1]),
                remedy="read the files one by one, and bring them to one shape",
            )
        role = tensor_role(types[0])
        assert role is not None
        values = pa.concat_arrays(pieces) if pieces else pa.array([], types[0])
        return Inferred(role, role, f"tensors of shape {list(types[0].shape)}", type=types[0]), values

    def _infer_mixed(self, name: str, pieces: Sequence[pa.Array], complete: bool) -> tuple[Inferred, pa.Array]:
        """By the rules of text, where files do not agree; as text, where some type can't become what these find."""
        texts = pa.concat_arrays([conform(piece, Wanted(pa.string(), Role.category)).values for piece in pieces])
        found = infer_column(name, pc.utf8_trim_whitespace(texts), complete=complete)
        wanted = ROLE_TYPES.get(found.kind, pa.string())
        inferred = found
        if not all(can_conform(of, wanted) for of in self._types[name]):
            inferred = infer_role(ColumnSample(name, texts, complete=complete, was="texts and other values"))
        self._say_mixed(name, f"read as {inferred.kind}")
        return inferred, texts

    def _say_mixed(self, name: str, how: str) -> None:
        pairs = zip(self._types[name], self._seen[name], strict=True)
        reason = ", ".join(f"{of} in {file.key}" for of, file in pairs)
        self._notes.append(Note(f"type of {name!r}", how, reason, "write the files with one type for each column"))

    def _set_roles(self, roles: Mapping[str, Role], written: Mapping[str, str]) -> None:
        self._roles, self._written = dict(roles), dict(written)
        inferred = as_written(self._inferred, written)
        texts = self._text_columns()
        self.schema = make_schema(self._order, inferred, roles, text=frozenset(texts))
        for field in self.schema:
            for of in self._types.get(field.name, ()):
                if field.name not in self._folders:
                    refuse_role(field, of, self._files[0])
        self._constants = self._folders.values(self.schema)
        self.notes = (*self._notes, *self._left, *notes_of(self.schema, inferred, roles))

    def with_roles(self, roles: Mapping[str, Role]) -> TypedColumns:
        """The same with other roles for some columns."""
        other = copy.copy(self)
        other._set_roles({**self._roles, **roles}, self._written)
        return other

    def with_written(self, written: Mapping[str, str]) -> TypedColumns:
        """The same with other ways of writing for columns of text; others have types of their own."""
        texts = self._text_columns()
        other = copy.copy(self)
        other._set_roles(self._roles, {**self._written, **{n: way for n, way in written.items() if n in texts}})
        return other

    def _text_columns(self) -> set[str]:
        """Columns of text in some file, and those of folders."""
        texts = {name for name in self.names if any(kind_of(of) == "text" for of in self._types[name])}
        return texts | set(self._folders.inferred)

    def _check_said(self) -> None:
        """See that ways of writing, where the user says some, are for columns of text.

        Raises:
            SchemaError: a column is not there, or holds no texts.
        """
        as_written(self._inferred, self._said)
        for name in sorted(self._said.keys() - self._text_columns()):
            raise SchemaError(
                f"a way of writing for {name!r}, which holds no texts",
                where=str(self._files[0].path),
                expected="a column of texts",
                got=str(self._types[name][0]),
                remedy="leave it out: its values have a type already",
            )

    # --- batches

    def batch(self, index: int, raw: pa.RecordBatch, row: int, checked: Schema, asked: Schema) -> Batch:
        """A block of a file, as it is stored, in the types of the schema.

        Args:
            index: the file's number.
            raw: the columns ``of_file`` of those that are checked.
            row: the number of its first row in the file.
            checked: columns whose bad cells reject a row.
            asked: the columns of the batch, some of those checked.
        """
        file, count = self._files[index], raw.num_rows
        verdicts = Verdicts()
        columns: dict[str, pa.Array] = {}
        own = self.of_file(index, checked.names)
        for field in checked.select(own):
            wanted = Wanted(field.type, field.kind, self._missing, field.written, field.kind is Role.category)
            done = conform(raw.column(field.name), wanted)
            verdicts.add(field.name, done.faults)
            columns[field.name] = done.values
        for field in asked:
            if field.name in self._constants:
                columns[field.name] = repeated(self._constants[field.name], index, count)
            elif field.name not in columns:
                columns[field.name] = pa.nulls(count, field.type)
        block = record_batch([columns[name] for name in asked.names], asked.names, count)
        keys = RowKeys.span(file.key, row, count)
        if not verdicts.rows:
            return Batch(block, keys, None, (Count(STEP, rows_in=count, out=count),))
        kept, gone = verdicts.kept(count), len(verdicts.rows)
        return Batch(
            block.filter(pa.array(kept)),
            keys.take(kept),
            rejected_table(file.key, rejected_rows(raw, row, verdicts, own)),
            (Count(STEP, rows_in=count, out=count - gone, rejected=gone),),
        )


def _role_of_bytes(pieces: Sequence[pa.Array]) -> Role | None:
    """What files the bytes of a column are of, by how the first of them begin."""
    for piece in pieces:
        for value in conform(piece, Wanted(pa.binary(), Role.picture)).values.drop_null():
            head = bytes(value.as_buffer()[:_BEGINNING]) if value.as_buffer().size else b""
            if head:
                return role_of_bytes(head)
    return None


def sampled(groups: Sequence[Any], rows: int, files: Iterable[int]) -> tuple[list[Any], int]:
    """Which groups of rows a sample is taken from, and how many rows of each: the first, the middle and the last, and
    of each of these files the first; all where there are few rows. Wide rows are fewer, so that the sample does not
    fill the memory.

    Args:
        groups: have ``file``, ``rows`` and ``nbytes``, about what they hold in memory.
        rows: how many rows are wanted.
        files: files that must be looked at.
    """
    filled = [group for group in groups if group.rows]
    there = sum(group.rows for group in filled)
    rows = min(rows, max(_FEWEST, _SAMPLED * there // max(1, sum(group.nbytes for group in filled))))
    if there <= rows:
        return filled, max(rows, 1)
    chosen = {0, len(filled) // 2, len(filled) - 1}
    first: dict[int, int] = {}
    for place, group in enumerate(filled):
        first.setdefault(group.file, place)
    chosen.update(first[file] for file in files if file in first)
    return [filled[place] for place in sorted(chosen)], max(1, rows // len(chosen))


def refuse_role(field: Field, of: pa.DataType, file: DataFile) -> None:
    """See that stored values can become what a column's role wants; texts are lists where it is known how.

    Raises:
        SchemaError: they can't.
    """
    if not can_conform(of, field.type) and not (is_text(of) and field.written):
        raise SchemaError(
            f"column {field.name!r} can't be a {field.role}",
            where=str(file.path),
            expected=f"values that can become {field.type}",
            got=str(of),
            remedy="give it another role",
        )


def _refuse_doubles(file: DataFile, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise SchemaError(
            "two columns have one name",
            where=str(file.path),
            got=", ".join(map(repr, doubled)),
            remedy="rename one of them",
        )


def checked_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch, once it is known that nothing in it points outside of it; texts may still be no UTF-8.

    Views, which few functions of Arrow take, become ordinary arrays.

    Raises:
        ArrowInvalid: it is damaged.
    """
    columns: list[pa.Array] = []
    for column in batch.columns:
        plain = isinstance(column, pa.ExtensionArray) and tensor_role(column.type) is None
        values = column.storage if plain else column
        whole = values
        if pa.types.is_dictionary(values.type):
            _as_bytes(values.dictionary).validate(full=True)
            values = pa.DictionaryArray.from_arrays(values.indices, pa.nulls(len(values.dictionary)), safe=False)
        _as_bytes(values).validate(full=True)
        plain = _without_views(whole.type)
        columns.append(whole if plain == whole.type else _cast(whole, plain))
    return record_batch(columns, batch.schema.names, batch.num_rows)


def _cast(values: pa.Array, to: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(values.indices, values.dictionary.cast(to.value_type))
    return values.cast(to)


def _without_views(of: pa.DataType) -> pa.DataType:
    """The ordinary type of the same values."""
    types = pa.types
    if types.is_string_view(of):
        return pa.string()
    if types.is_binary_view(of):
        return pa.binary()
    if types.is_dictionary(of):
        return pa.dictionary(of.index_type, _without_views(of.value_type), of.ordered)
    if types.is_list_view(of) or types.is_list(of):
        return pa.list_(of.value_field.with_type(_without_views(of.value_type)))
    if types.is_large_list_view(of) or types.is_large_list(of):
        return pa.large_list(of.value_field.with_type(_without_views(of.value_type)))
    return of


def _as_bytes(values: pa.Array) -> pa.Array:
    of = _bytes_type(values.type)
    return values if of == values.type else values.view(of)


def _bytes_type(of: pa.DataType) -> pa.DataType:
    """A type of the same layout whose values are bytes where those of this one are text."""
    types = pa.types
    if types.is_string(of):
        return pa.binary()
    if types.is_large_string(of):
        return pa.large_binary()
    if types.is_string_view(of):
        return pa.binary_view()
    if types.is_list(of):
        return pa.list_(of.value_field.with_type(_bytes_type(of.value_type)))
    if types.is_large_list(of):
        return pa.large_list(of.value_field.with_type(_bytes_type(of.value_type)))
    return of


@contextmanager
def translated(file: DataFile, name: str) -> Iterator[None]:
    """Errors of Arrow about one file of a format, in our words.

    Raises:
        SourceError: the file is damaged, or of another format.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, EOFError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file.path, error) from error
        text = str(error).strip().splitlines()
        raise SourceError(
            f"can't be read as {name}",
            where=str(file.path),
            expected=f"an undamaged {name} file",
            got=text[0] if text else type(error).__name__,
            remedy="write it anew, or leave it out",
        ) from error
