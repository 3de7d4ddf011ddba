"""The laws of `penstock.statistic.Statistic`, checked on an implementation and some batches."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import PenstockError
from penstock.statistic import Statistic

Maker: TypeAlias = Callable[[], Statistic[Any]]


def check_statistic(
    make: Maker,
    batches: Sequence[Batch],
    *,
    exact: bool,
    fills: Sequence[Any] = (),
    tolerance: float = 1e-12,
) -> None:
    """Check every law of a statistic on these batches.

    Args:
        make: gives a new, empty statistic, an equal one each time.
        batches: blocks that it can read, in order; three or more show most, and some with nulls and some without.
        exact: whether its state is of integers, so that any grouping has to give the same bytes. Otherwise the
            values of other groupings have to agree to ``tolerance``.
        fills: values that `Statistic.with_nulls_as` has to know; each is compared with nulls really replaced in
            every column that the statistic reads.
        tolerance: how far numbers may be apart, relative to the greatest magnitude in the statistic's value.

    Raises:
        AssertionError: a law is broken; the message names the statistic, the law and what was found.

    Example:
        >>> from penstock.batch import RowKeys
        >>> from penstock.statistics.moments import Moments
        >>> rows = pa.record_batch({"x": pa.array([1.0, None, 4.0])})
        >>> batches = [Batch(rows, RowKeys.span("file", start, 3)) for start in (0, 3, 6)]
        >>> check_statistic(lambda: Moments("x"), batches, exact=False, fills=[0.5])
    """
    check = _Check(make, tuple(batches), exact, tolerance)
    check.definition()
    check.columns()
    check.determinism()
    check.empty_batches()
    check.identity()
    check.grouping()
    check.round_trip()
    check.value_is_pure()
    check.nulls_hide_nothing()
    check.encodings()
    for fill in fills:
        check.with_nulls_as(fill)


class _Check:
    """One statistic, the batches, and how exact it promises to be."""

    def __init__(self, make: Maker, batches: tuple[Batch, ...], exact: bool, tolerance: float) -> None:
        self.make, self.batches, self.exact, self.tolerance = make, batches, exact, tolerance
        self.name = type(make()).__name__
        self.all = self.folded(batches)

    def require(self, condition: bool, law: str, found: str = "") -> None:
        if not condition:
            raise AssertionError(f"{self.name}: {law}" + (f"\n  found: {found}" if found else ""))

    def same(self, a: Statistic[Any], b: Statistic[Any], law: str) -> None:
        """Both states are the same bytes."""
        if state_bytes(a) != state_bytes(b):
            self.require(False, law, f"{_short(a)}\n     and: {_short(b)}")

    def agree(self, a: Statistic[Any], b: Statistic[Any], law: str) -> None:
        """As much the same as the statistic promises: bytes, or values to the tolerance."""
        if self.exact:
            self.same(a, b, law)
            return
        try:
            assert_close(a.value(), b.value(), self.tolerance)
        except AssertionError as error:
            self.require(False, law, str(error))

    def folded(self, batches: Sequence[Batch]) -> Statistic[Any]:
        new = self.make()
        for batch in batches:
            new.update(batch)
        return new

    def definition(self) -> None:
        one, other = self.make(), self.make()
        parameters = one.parameters()
        self.require(bool(one.kind), "it has a kind, its name in the registry")
        try:
            again = json.loads(json.dumps(parameters, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{self.name}: parameters are JSON values\n  found: {parameters!r}") from error
        self.require(again == dict(parameters), "parameters are JSON values", repr(parameters))
        self.require(one.definition == other.definition, "equal statistics have one definition", other.definition)
        self.require(self.all.definition == one.definition, "a definition does not depend on the data")
        try:
            rebuilt = type(one)(**again)
        except TypeError as error:
            raise AssertionError(f"{self.name}: parameters rebuild it\n  found: {error}") from error
        self.require(rebuilt.definition == one.definition, "parameters rebuild it", rebuilt.definition)
        self.same(rebuilt, one, "what parameters rebuild is empty")
        self.same(self.all.empty(), one, "empty() is empty")

    def columns(self) -> None:
        narrow = self.folded([batch.select(self.make().columns) for batch in self.batches])
        self.same(self.all, narrow, "it reads no columns but those it names")

    def determinism(self) -> None:
        before = [_ipc(pa.Table.from_batches([batch.columns])) for batch in self.batches]
        self.same(self.all, self.folded(self.batches), "the same blocks in the same order give the same bytes")
        after = [_ipc(pa.Table.from_batches([batch.columns])) for batch in self.batches]
        self.require(before == after, "an update leaves the batch as it was")

    def empty_batches(self) -> None:
        for batch in self.batches[:1]:
            new = self.make()
            new.update(batch.slice(0, 0))
            self.same(new, self.make(), "a batch without rows changes nothing, before any other")
            new = self.copy(self.all)
            new.update(batch.slice(0, 0))
            self.same(new, self.all, "a batch without rows changes nothing, after others")

    def identity(self) -> None:
        left, right = self.make(), self.copy(self.all)
        before = state_bytes(self.all)
        left.merge(self.all)
        self.require(before == state_bytes(self.all), "a merge leaves the other as it was")
        right.merge(self.make())
        self.same(left, self.all, "an empty one merged with another is the other")
        self.same(right, self.all, "one merged with an empty one is itself")

    def grouping(self) -> None:
        singles = [self.folded([batch]) for batch in self.batches]
        before = [state_bytes(single) for single in singles]
        for title, grouped in self.groupings(singles):
            self.agree(grouped, self.all, f"any grouping of the blocks gives the same: {title}")
        self.require(before == [state_bytes(single) for single in singles], "a merge leaves the other as it was")

    def groupings(self, singles: Sequence[Statistic[Any]]) -> Iterator[tuple[str, Statistic[Any]]]:
        yield "each block apart, merged from the left", self.merged(singles)
        nested = self.make()
        for single in reversed(singles):
            outer = self.copy(single)
            outer.merge(nested)
            nested = outer
        yield "each block apart, merged from the right", nested
        middle = len(self.batches) // 2
        halves = [self.folded(self.batches[:middle]), self.folded(self.batches[middle:])]
        yield "two halves", self.merged(halves)
        mixed = self.folded(self.batches[:middle])
        for single in singles[middle:]:
            mixed.merge(single)
        yield "some taken in, some merged", mixed

    def merged(self, parts: Sequence[Statistic[Any]]) -> Statistic[Any]:
        new = self.make()
        for part in parts:
            new.merge(part)
        return new

    def round_trip(self) -> None:
        middle = len(self.batches) // 2
        self.require(
            self.make().state().schema.equals(self.all.state().schema, check_metadata=True),
            "the schema of a state does not depend on the data",
            str(self.all.state().schema),
        )
        original = self.folded(self.batches[:middle])
        restored = self.copy(original)
        self.same(restored, original, "a state that is written and read is the same")
        for batch in self.batches[middle:]:
            original.update(batch)
            restored.update(batch)
        self.same(restored, original, "a restored state goes on as the original would")
        assert_close(self.copy(self.all).value(), self.all.value(), 0.0, f"{self.name}: a restored state's value")
        self.require(int(self.all.nbytes) >= 0, "nbytes is a number of bytes")

    def value_is_pure(self) -> None:
        before = state_bytes(self.all)
        assert_close(self.all.value(), self.all.value(), 0.0, f"{self.name}: a value asked for twice")
        self.require(before == state_bytes(self.all), "value() changes nothing")
        middle = len(self.batches) // 2
        asked = self.folded(self.batches[:middle])
        early = asked.value()
        for batch in self.batches[middle:]:
            asked.update(batch)
            asked.value()
        if self.exact:
            self.same(asked, self.all, "a value asked for between updates changes nothing")
        again = self.folded(self.batches[:middle]).value()
        assert_close(early, again, 0.0, f"{self.name}: a value does not change with later updates")
        self.make().value()

    def nulls_hide_nothing(self) -> None:
        for hidden in (77, -3):

            def hide(values: pa.Array, under: int = hidden) -> pa.Array:
                return _hide(values, under)

            changed = self.folded([_mapped(batch, hide) for batch in self.batches])
            self.same(changed, self.all, f"what lies in memory under a null is no value: {hidden}")

    def encodings(self) -> None:
        encoded = self.folded([_mapped(batch, _dictionary) for batch in self.batches])
        self.same(encoded, self.all, "dictionary-encoded text gives the same bytes as plain text")
        plain = self.folded([_mapped(batch, _plain) for batch in self.batches])
        self.same(plain, self.all, "plain text gives the same bytes as dictionary-encoded text")
        sliced = self.folded([_within(batch) for batch in self.batches])
        self.same(sliced, self.all, "a slice of a longer batch gives the same bytes")

    def with_nulls_as(self, fill: Any) -> None:
        before = state_bytes(self.all)
        derived = self.all.with_nulls_as(fill)
        self.require(derived is not None, f"with_nulls_as({fill!r}) is known", "None")
        assert derived is not None
        self.require(before == state_bytes(self.all), "with_nulls_as changes nothing")
        wanted = self.make().columns
        filled = self.folded([_mapped(batch, lambda values: _filled(values, fill), wanted) for batch in self.batches])
        self.agree(derived, filled, f"with_nulls_as({fill!r}) is the same as nulls really replaced")

    def copy(self, statistic: Statistic[Any]) -> Statistic[Any]:
        """The same by way of bytes."""
        with pa.ipc.open_stream(_ipc(statistic.state())) as reader:
            return self.make().from_state(reader.read_all())


def state_bytes(statistic: Statistic[Any]) -> bytes:
    """The state as the bytes of an Arrow IPC stream."""
    return _ipc(statistic.state())


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _short(statistic: Statistic[Any]) -> str:
    text = repr(statistic.state().to_pydict())
    return text if len(text) < 600 else text[:600] + " ..."


def assert_close(a: Any, b: Any, tolerance: float, what: str = "value") -> None:
    """Raise if two values of statistics differ: numbers by more than ``tolerance``, anything else at all.

    Numbers are compared relative to the greatest finite magnitude in either value; nan equals nan. Private fields
    of dataclasses are not looked at.
    """
    left, right = list(_leaves(a, what)), list(_leaves(b, what))
    assert [place for place, _ in left] == [place for place, _ in right], f"{what}: of another shape\n{a}\n{b}"
    finite = [abs(v) for _, v in (*left, *right) if isinstance(v, float) and math.isfinite(v)]
    scale = max(finite, default=0.0)
    for (place, one), (_, other) in zip(left, right, strict=True):
        if isinstance(one, float) and isinstance(other, float):
            near = one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= tolerance * scale
        else:
            near = one == other
        assert near, f"{place}: {one!r} and {other!r} differ"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The numbers and texts in a value, each with where it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if not field.name.startswith("_"):
                yield from _leaves(getattr(value, field.name), f"{place}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    elif isinstance(value, np.ndarray):
        yield from _leaves(value.tolist(), place)
    elif isinstance(value, (pa.Table, pa.RecordBatch)):
        yield from _leaves(value.to_pydict(), place)
    else:
        yield place, value


def _mapped(batch: Batch, change: Callable[[pa.Array], pa.Array], names: Sequence[str] | None = None) -> Batch:
    """The batch with some columns (None for all) changed."""
    columns = {
        name: change(column) if names is None or name in names else column
        for name, column in zip(batch.columns.schema.names, batch.columns.columns, strict=True)
    }
    return batch.with_columns(pa.record_batch(columns))


def _hide(values: pa.Array, hidden: int) -> pa.Array:
    """The same values with another number in memory where they are null."""
    numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not numeric or not values.null_count or pa.types.is_float16(values.type):
        return values
    under = pa.scalar(abs(hidden) if pa.types.is_unsigned_integer(values.type) else hidden).cast(values.type)
    null = values.is_null().to_numpy(zero_copy_only=False)
    return pa.array(values.fill_null(under).to_numpy(), values.type, mask=null)


def _dictionary(values: pa.Array) -> pa.Array:
    """Text as a dictionary that also holds an entry that no row uses, in an order of its own."""
    if not _is_text(values.type):
        return values
    encoded = values.dictionary_encode()
    entries = pa.concat_arrays([pa.array(["never used"], values.type), encoded.dictionary])
    codes = pa.array([None if code is None else code + 1 for code in encoded.indices.to_pylist()], pa.int32())
    return pa.DictionaryArray.from_arrays(codes, entries)


def _plain(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type) and _is_text(values.type.value_type):
        return values.dictionary_decode()
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _within(batch: Batch) -> Batch:
    """The same rows as a slice, from an odd place, of a longer record batch."""
    rows = batch.columns
    long = pa.Table.from_batches([rows.slice(0, 3), rows, rows.slice(0, 2)]).combine_chunks()
    start = min(3, rows.num_rows)
    parts = long.slice(start, rows.num_rows).to_batches()
    return batch.with_columns(parts[0]) if parts else batch


def _filled(values: pa.Array, fill: Any) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.fill_null(pa.scalar(fill).cast(values.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PenstockError(
            "not a fill of this column", expected=str(values.type), got=repr(fill), remedy="leave it out of fills"
        ) from error
