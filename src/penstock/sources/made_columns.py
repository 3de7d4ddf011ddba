"""The columns that a format gives by itself: a picture, the path of its file, the label that its folder or another file
gives it. What role each has, and batches of them in the types of the schema.

Part of the sources.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import REJECTED, Batch, Count, RowKeys, record_batch
from penstock.errors import SchemaError
from penstock.inference import ColumnSample, Inferred, infer_role, make_schema, notes_of
from penstock.schema import Field, Role, Schema
from penstock.sources.conform import STEP, Verdict, Verdicts, Wanted, conform
from penstock.sources.written import as_written


class MadeColumns:
    """Columns of a few known names: texts that take any role, and values of a fixed type, which take their own.

    Args:
        inferred: the role of each, in order.
        fixed: the types of those that have one of their own: bytes, tensors.
        roles: the user's roles.
        written: how columns of text are written, where the user says so.

    Raises:
        SchemaError: a role is for a column that is not there, or for values that it does not take.

    Attributes:
        schema: the columns by their roles.
        notes: what was decided.
    """

    def __init__(
        self,
        inferred: Mapping[str, Inferred],
        fixed: Mapping[str, pa.DataType],
        roles: Mapping[str, Role],
        written: Mapping[str, str],
    ) -> None:
        self._inferred = dict(inferred)
        self._fixed = dict(fixed)
        self._set(roles, written)

    def _set(self, roles: Mapping[str, Role], written: Mapping[str, str]) -> None:
        self._roles, self._written = dict(roles), dict(written)
        names = tuple(self._inferred)
        texts = {name: found for name, found in self._inferred.items() if name not in self._fixed}
        _refuse_unknown(self._written, texts)
        own = as_written(texts, self._written)
        of_texts = {name: role for name, role in roles.items() if name not in self._fixed}
        known = {**own, **{name: self._inferred[name] for name in self._fixed}}
        made = make_schema(names, known, of_texts, text=frozenset(texts))
        for field in made:
            if pa.types.is_list(field.type) and field.name in texts and not field.written:
                raise SchemaError(f"column {field.name!r} can't be a list", expected="a role for single values")
            if field.type == pa.binary() and field.name in texts:
                raise SchemaError(f"column {field.name!r} can't be a {field.role}", got="texts")
        self.schema = made.put(*(self._field(name, roles.get(name)) for name in self._fixed))
        # Of a column with a type of its own there is nothing to decide.
        self.notes = tuple(notes_of(self.schema.without(self._fixed), known, roles))

    def _field(self, name: str, asked: Role | None) -> Field:
        found = self._inferred[name]
        role = asked or found.role
        if role not in (found.role, found.kind, Role.ignored):
            raise SchemaError(
                f"column {name!r} can't be a {role}",
                expected=f"{found.role}, or ignored",
                got=str(self._fixed[name]),
                remedy="leave the role out",
            )
        values = found.kind if role is not found.kind else None
        return Field(name, self._fixed[name], role, found.reason if role is found.role else "", values=values)

    def with_roles(self, roles: Mapping[str, Role]) -> MadeColumns:
        """The same with other roles for some columns."""
        other = copy.copy(self)
        other._set({**self._roles, **roles}, self._written)
        return other

    def with_written(self, written: Mapping[str, str]) -> MadeColumns:
        """The same with other ways of writing for columns of text."""
        other = copy.copy(self)
        ways = {name: way for name, way in written.items() if name not in self._fixed}
        other._set(self._roles, {**self._written, **ways})
        return other

    def batch(
        self, raw: Mapping[str, pa.Array], keys: RowKeys, asked: Schema, bad: Mapping[int, Verdict] | None = None
    ) -> Batch:
        """A block.

        Args:
            raw: the columns of text, all of them, and those of other types that are asked for.
            keys: of its rows.
            asked: the columns of the batch.
            bad: rows that are rejected already, and why.
        """
        verdicts = Verdicts(dict(bad or {}))
        columns: dict[str, pa.Array] = {}
        for field in self.schema:
            if field.name in self._fixed:
                if field.name in asked:
                    columns[field.name] = raw[field.name]
                continue
            done = conform(raw[field.name], Wanted(field.type, field.kind, written=field.written, dictionary=True))
            verdicts.add(field.name, done.faults)
            columns[field.name] = done.values
        count = len(keys)
        block = record_batch([columns[name] for name in asked.names], asked.names, count)
        if not verdicts.rows:
            return Batch(block, keys, None, (Count(STEP, rows_in=count, out=count),))
        kept = verdicts.kept(count)
        texts = [field.name for field in self.schema if field.name not in self._fixed]
        rejected = rejected_rows({name: raw[name] for name in texts}, keys, verdicts)
        counted = Count(STEP, rows_in=count, out=int(kept.sum()), rejected=len(verdicts.rows))
        return Batch(block.filter(pa.array(kept)), keys.take(kept), rejected, (counted,))


def _refuse_unknown(written: Mapping[str, str], texts: Mapping[str, Inferred]) -> None:
    for name in written:
        if name not in texts:
            near = difflib.get_close_matches(name, texts, n=1)
            raise SchemaError(
                f"a way of writing for {name!r}, which is no column of texts",
                expected="one of " + ", ".join(map(repr, texts)) if texts else "none: there are no texts",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )


def rejected_rows(shown: Mapping[str, pa.Array], keys: RowKeys, verdicts: Verdicts) -> pa.Table:
    """The rejected rows of a block, of schema `penstock.batch.REJECTED`, each with these columns as JSON."""
    places = np.array(sorted(verdicts.rows), np.int64)
    gone = keys.take(places)
    found = [verdicts.rows[place] for place in places.tolist()]
    cells = {name: _texts(values.take(pa.array(places))) for name, values in shown.items()}
    records = [{name: cells[name][i] for name in cells} for i in range(len(places))]
    return pa.table(
        {
            "path": gone.path_column(),
            "row": pa.array(gone.rows),
            "line": pa.nulls(len(places), pa.int64()),
            "step": [STEP] * len(places),
            "column": [verdict.column for verdict in found],
            "code": [verdict.code for verdict in found],
            "reason": [verdict.reason for verdict in found],
            "value": [cells[v.column][i] if v.column in cells else None for i, v in enumerate(found)],
            "record": [json.dumps(record, ensure_ascii=False) for record in records],
        },
        schema=REJECTED,
    )


def _texts(values: pa.Array) -> list[str | None]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return [None if value is None else str(value) for value in values.to_pylist()]


def inferred_labels(texts: pa.Array, reason: str, *, complete: bool = True) -> Inferred:
    """The role of labels, which are categories whatever they look like: one of a kind is none.

    Example:
        >>> inferred_labels(pa.array(["3", "1", "3"]), "from a file").role.value
        'category'
    """
    found = infer_role(ColumnSample("label", texts, complete=complete))
    role = Role.constant if found.role is Role.constant else Role.category
    return Inferred(role, Role.category, found.reason if role is Role.constant else reason)


def coded(places: npt.NDArray[np.integer], words: Sequence[str | None]) -> pa.Array:
    """Texts as places in a list of words, dictionary-encoded; a word that is None is null.

    Example:
        >>> coded(np.array([1, 0, 1]), ["no", "yes"]).to_pylist()
        ['yes', 'no', 'yes']
    """
    nothing = np.array([word is None for word in words], np.bool_)
    index = (
        pa.array(places.astype(np.int32), mask=nothing[places]) if nothing.any() else pa.array(places.astype(np.int32))
    )
    return pa.DictionaryArray.from_arrays(index, pa.array([word or "" for word in words], pa.string()))
