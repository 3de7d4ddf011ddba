"""Join: columns of other data beside the rows, found by keys.

A relation.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Count, record_batch
from penstock.errors import UsageError
from penstock.relation import PATH, ROW, Other, Outcome, Relation, Shape, Workbench, as_other, located, names_of, one_of
from penstock.relations.keys import comparable, duplicates, expressions, fields_beside, names_beside, refuse
from penstock.schema import Schema
from penstock.source import Note, ReadOptions

Expect = Literal["one_to_one", "many_to_one", "one_to_many", "many_to_many"]
_WINDOW = 2**18
"""Rows that are gathered at once."""


@dataclass(frozen=True)
class Join(Relation):
    """Columns of other data beside the rows whose keys they have. Missing keys match nothing.

    The rows keep their order and their row keys; where several rows of the other side match, the row comes out once
    for each, in the order of the other side, and its copies have ``#1``, ``#2``, ... after the path of their row key.
    When rows are evaluated or predicted, they are joined in the same way, with the other data as they then are.

    Args:
        other: the other data: a path (in a pipeline file relative to it), several, or in Python an open source.
        on: the keys, where they have the same names on both sides.
        left_on: the keys of the rows; of the other side, ``right_on``.
        right_on: they do not come out: the left ones have the same values.
        how: "left" keeps all rows, "inner" those with a match, "full" also the other side's rows without one, at the
            end; "semi" keeps rows with a match and "anti" those without, and neither adds columns.
        expect: what is refused where it does not hold: "one_to_one", "many_to_one" (keys of the other side are
            unique), "one_to_many" (those of the rows are). None or "many_to_many" refuses nothing; what is found is
            said.
        read: how to read the other data.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Join("prices.parquet", on="product", expect="many_to_one").on
        ('product',)
    """

    other: Any
    on: str | tuple[str, ...] | None = None
    left_on: str | tuple[str, ...] | None = None
    right_on: str | tuple[str, ...] | None = None
    how: Literal["left", "inner", "full", "semi", "anti"] = "left"
    expect: Expect | None = None
    read: ReadOptions = ReadOptions()  # noqa: RUF009  frozen

    name = "join"

    @property
    def by_row(self) -> bool:
        """Whether it is: not where rows of the other side come after all others."""
        return self.how != "full"

    def __post_init__(self) -> None:
        object.__setattr__(self, "other", as_other(self.other, "other"))
        one_of(self.how, ("left", "inner", "full", "semi", "anti"), "how")
        if self.expect is not None:
            one_of(self.expect, ("one_to_one", "many_to_one", "one_to_many", "many_to_many"), "expect")
        for name in ("on", "left_on", "right_on"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, names_of(getattr(self, name), name))
        sides = (self.left_on is None) + (self.right_on is None)
        if (self.on is None) is (sides == 2) or sides == 1:
            raise UsageError(
                "which columns are the keys is not said",
                where="on",
                expected="on, or both left_on and right_on",
                got=", ".join(n for n in ("on", "left_on", "right_on") if getattr(self, n) is not None) or "none",
            )
        if self.on is None and len(self.left_on or ()) != len(self.right_on or ()):
            raise UsageError(
                "not as many keys on both sides", where="right_on", expected=repr(self.left_on), got=repr(self.right_on)
            )

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The names of the keys on both sides."""
        left = names_of(self.on if self.on is not None else self.left_on, "on")
        right = names_of(self.on if self.on is not None else self.right_on, "on")
        return tuple(zip(left, right, strict=True))

    @property
    def beside(self) -> Other | None:
        """The other data."""
        found: Other = self.other
        return found

    @property
    def reading(self) -> ReadOptions:
        """How they are read."""
        return self.read

    def located(self, folder: Path) -> Relation:
        """The same with the path of the other data made absolute."""
        return replace(self, other=located(self.other, folder))

    def shape(self, incoming: Schema, other: Schema | None) -> Shape:
        """The incoming columns, and those of the other side but its keys."""
        assert other is not None
        notes = comparable(incoming, other, self.pairs, exact=self.how == "full")
        reads = tuple(dict.fromkeys(left for left, _ in self.pairs))
        same = {name: name for name in incoming.names}
        if self.how in ("semi", "anti"):
            return Shape(incoming, reads, same, notes=tuple(notes))
        found, said = names_beside(incoming, other, [right for _, right in self.pairs])
        schema = Schema((*incoming.fields, *fields_beside(found, other)))
        return Shape(schema, reads, same, found, rewrites=self.how == "full", notes=(*notes, *said))

    def run(self, bench: Workbench) -> Outcome:
        """Find the matches, and lay the other side's columns down in the order of the rows."""
        return _Joining(self, bench).run()


class _Joining:
    """One join under way."""

    def __init__(self, join: Join, bench: Workbench) -> None:
        assert bench.other is not None
        self._join = join
        self._bench = bench
        self._rows = bench.rows.rows
        self._other = bench.other
        self._left = [left for left, _ in join.pairs]
        self._right = [right for _, right in join.pairs]
        equal = expressions(bench.rows.schema, bench.other.schema, join.pairs)
        self._condition = " AND ".join(f"{one} = {two}" for one, two in equal)
        self._hits = bench.array("hits.npy", "uint32", self._other.rows)

    def run(self) -> Outcome:
        no_key, doubled, _ = duplicates(self._bench, "other", self._right)
        expected = self._join.expect or "many_to_many"
        if doubled and expected in ("one_to_one", "many_to_one"):
            raise refuse(self._bench, "other", self._right, expected, doubled)
        if expected in ("one_to_one", "one_to_many"):
            _, more, _ = duplicates(self._bench, "rows", self._left)
            if more:
                raise refuse(self._bench, "rows", self._left, expected, more)
        if self._join.how in ("semi", "anti"):
            return self._filtered()
        matched = self._single() if not doubled else self._several()
        repeats = self._bench.array("repeats.npy", matched.dtype, self._rows)
        np.maximum(matched, 0 if self._join.how == "inner" else 1, out=repeats)
        out = int(np.sum(repeats, dtype=np.int64))
        places = self._places(matched, repeats, out, doubled)
        beside = self._columns(places)
        stored = None if len(repeats) == out and bool(np.all(repeats == 1)) else "repeats.npy"
        kept = int(np.count_nonzero(repeats))
        count = Count(self._join.name, rows_in=self._rows, made=out - kept, out=out, dropped=self._rows - kept)
        tail = self._tail() if self._join.how == "full" else None
        some = int(np.count_nonzero(matched))
        notes = (self._said(some, no_key, doubled), *self._looked_at(some))
        return Outcome(out, count, stored, beside, tail=tail, notes=notes)

    def _single(self) -> npt.NDArray[Any]:
        """Where each row matches at most one: whether it does; which, plus one, is left in an array."""
        which = self._bench.array("which.npy", "uint32" if self._other.rows < 2**32 - 1 else "uint64", self._rows)
        query = f"SELECT rows.position AS l, other.position AS r FROM rows JOIN other ON {self._condition}"
        for batch in self._bench.query(query, self._left, self._right):
            right = batch.column(1).to_numpy()
            which[batch.column(0).to_numpy()] = right + 1
            np.add.at(self._hits, right, 1)
        self._which = which
        matched = self._bench.array("matched.npy", "uint8", self._rows)
        np.not_equal(which, 0, out=matched, casting="unsafe")
        return matched

    def _several(self) -> npt.NDArray[Any]:
        """Where a row may match several: how many it does; which, row by row, is left in a file."""
        matched = self._bench.array("matched.npy", "uint32", self._rows)
        query = (
            f"SELECT rows.position AS l, other.position AS r FROM rows JOIN other ON {self._condition} ORDER BY l, r"
        )

        def found() -> Iterator[pa.RecordBatch]:
            for batch in self._bench.query(query, self._left, self._right):
                right = batch.column(1).to_numpy()
                np.add.at(matched, batch.column(0).to_numpy(), 1)
                np.add.at(self._hits, right, 1)
                yield batch.select(["r"])

        self._bench.write("which.arrow", found(), pa.schema([("r", pa.int64())]))
        return matched

    def _places(
        self, matched: npt.NDArray[Any], repeats: npt.NDArray[Any], out: int, doubled: int
    ) -> npt.NDArray[np.int64]:
        """Of each outgoing row, the row of the other side, or -1."""
        places: npt.NDArray[np.int64] = self._bench.array("places.npy", "int64", out)
        if not doubled:
            at = 0
            for start in range(0, self._rows, _WINDOW):
                which = self._which[start : start + _WINDOW].astype(np.int64) - 1
                which = which if self._join.how != "inner" else which[which >= 0]
                places[at : at + len(which)] = which
                at += len(which)
            return places
        reader = pa.ipc.open_file(pa.memory_map(str(self._bench.folder / "which.arrow")))
        given = _Stream(reader.get_batch(i).column(0).to_numpy() for i in range(reader.num_record_batches))
        at = 0
        for start in range(0, self._rows, 2**14):
            part, own = matched[start : start + 2**14], repeats[start : start + 2**14]
            ends = int(own.sum(dtype=np.int64))
            for first, mask in _cut(part, own, ends):
                piece = np.full(len(mask), -1, np.int64)
                piece[mask] = given.take(int(mask.sum()))
                places[at + first : at + first + len(mask)] = piece
            at += ends
        return places

    def _columns(self, places: npt.NDArray[np.int64]) -> dict[str, tuple[tuple[str, ...], str]]:
        """The other side's columns in the order of the outgoing rows, a file for each."""
        found = list(self._bench.shape.others.items())

        def lay(number: int) -> None:
            name = found[number][1]
            schema = pa.schema([(name, self._other.schema[name].type)])
            self._bench.write(f"column-{number}.arrow", self._other.gathered(places, name, _WINDOW), schema)

        with ThreadPoolExecutor(self._bench.cores) as pool:
            list(pool.map(lay, range(len(found))))
        return {new: ((f"column-{number}.arrow",), name) for number, (new, name) in enumerate(found)}

    def _filtered(self) -> Outcome:
        """The rows with a match, or those without."""
        stays = self._bench.array("repeats.npy", "uint8", self._rows)
        query = f"SELECT rows.position AS l FROM rows SEMI JOIN other ON {self._condition}"
        matched = 0
        for batch in self._bench.query(query, self._left, self._right):
            stays[batch.column(0).to_numpy()] = 1
            matched += batch.num_rows
        if self._join.how == "anti":
            np.equal(stays, 0, out=stays)
        out = matched if self._join.how == "semi" else self._rows - matched
        note = Note("join", f"{matched:,} of {self._rows:,} rows have a match", f"{self._join.how} join")
        count = Count(self._join.name, rows_in=self._rows, out=out, dropped=self._rows - out)
        # Where rows that are known elsewhere are left out, none of them is what one hopes for.
        looked = self._looked_at(matched) if self._join.how == "semi" else ()
        return Outcome(out, count, "repeats.npy", notes=(note, *looked))

    def _tail(self) -> str:
        """The other side's rows without a match, with nulls in the columns that it has not."""
        shape = self._bench.shape
        keys = dict(self._join.pairs)
        sources = {**shape.others, **keys}
        schema = pa.schema([*shape.schema.to_arrow(), (PATH, pa.string()), (ROW, pa.int64())])
        lacking = np.flatnonzero(self._hits == 0)

        def batches() -> Iterator[pa.RecordBatch]:
            names = [*dict.fromkeys(sources.values()), PATH, ROW]
            for start in range(0, len(lacking), _WINDOW // 4):
                rows = self._other.gather(lacking[start : start + _WINDOW // 4], names)
                arrays = [
                    rows.column(sources[field.name]) if field.name in sources else pa.nulls(rows.num_rows, field.type)
                    for field in shape.schema
                ]
                paths = pa.array([f"{path}#unmatched" for path in rows.column(PATH).to_pylist()], pa.string())
                yield record_batch([*arrays, paths, rows.column(ROW)], schema.names, rows.num_rows)

        self._bench.write("tail.arrow", batches(), schema)
        return "tail.arrow"

    def _looked_at(self, matched: int) -> tuple[Note, ...]:
        """A warning where the sides have not one key in common."""
        if matched or not self._rows:
            return ()
        keys = ", ".join(left if left == right else f"{left} = {right}" for left, right in self._join.pairs)
        remedy = (
            "see whether the keys look alike on both sides: zeros before numbers, spaces, letters' case, other codes"
        )
        return (Note(f"look at {keys}", f"not one of {self._rows:,} rows has a match", "join", remedy),)

    def _said(self, matched: int, no_key: int, doubled: int) -> Note:
        left = "many" if bool(np.any(self._hits > 1)) else "one"
        right = "many" if doubled else "one"
        unused = int(np.count_nonzero(self._hits == 0))
        parts = [f"{matched:,} of {self._rows:,} rows have a match"]
        parts.append(f"{unused:,} of {self._other.rows:,} rows of the other side have none")
        if no_key:
            parts.append(f"{no_key:,} of them for want of a key")
        if doubled:
            parts.append(f"{doubled:,} keys stand there several times")
        return Note("join", "; ".join(parts), f"{left}_to_{right} as found", f"expect: {left}_to_{right}")


class _Stream:
    """Numbers of many arrays, taken one after the other."""

    def __init__(self, arrays: Iterator[npt.NDArray[np.int64]]) -> None:
        self._arrays = arrays
        self._left: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def take(self, count: int) -> npt.NDArray[np.int64]:
        """The next so many."""
        pieces = []
        while count:
            if not len(self._left):
                self._left = next(self._arrays)
            pieces.append(self._left[:count])
            count -= len(pieces[-1])
            self._left = self._left[len(pieces[-1]) :]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


def _cut(
    matched: npt.NDArray[Any], repeats: npt.NDArray[Any], total: int
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Of outgoing rows, some at a time: where they begin, and whether each has a match."""
    ends = np.cumsum(repeats, dtype=np.int64)
    for first in range(0, total, _WINDOW):
        index = np.searchsorted(ends, np.arange(first, min(total, first + _WINDOW)), "right")
        yield first, matched[index] > 0
