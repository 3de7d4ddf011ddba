"""The laws of a source, run on any implementation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.source import BLOCK_ROWS, Chunk, Source


def read_all(source: Source, columns: Sequence[str] | None = None) -> list[Batch]:
    """Every block of a source, in plan order."""
    return [batch for chunk in source.chunks() for batch in source.read(chunk, columns)]


def check_source(make: Callable[[], Source], *, records: int | None = None) -> None:
    """Check the laws that `Source` promises.

    Args:
        make: opens the source anew each time.
        records: how many records the data holds, where that is known.

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    source = make()
    plan = [chunk.canonical() for chunk in source.chunks()]
    assert plan == [chunk.canonical() for chunk in source.chunks()], "the plan differs when it is made again"
    assert plan == [chunk.canonical() for chunk in make().chunks()], "the plan differs for another object"
    chunks = list(source.chunks())
    assert [chunk.index for chunk in chunks] == list(range(len(chunks))), "chunks are not numbered from 0"
    assert chunks == [Chunk.from_json(chunk.to_json()) for chunk in chunks], "a chunk does not survive JSON"

    batches = read_all(source)
    _check_batches(source, batches)
    _check_accounts(batches, records)
    backwards = [list(source.read(chunk)) for chunk in reversed(chunks)]
    again = [batch for blocks in reversed(backwards) for batch in blocks]
    _same(batches, again, source.schema.names, "blocks differ when chunks are read in another order")
    for name in source.schema.names:
        _same(batches, read_all(source, (name,)), (name,), f"blocks differ when only {name!r} is read")
    if len(source.schema) > 1:
        turned = tuple(reversed(source.schema.names))
        _same(batches, read_all(source, turned), turned, "blocks differ when columns are asked for in another order")
    assert source.fingerprints() == make().fingerprints(), "fingerprints differ although nothing changed"
    source.close()


def _check_batches(source: Source, batches: Sequence[Batch]) -> None:
    for batch in batches:
        assert tuple(batch.columns.schema.names) == source.schema.names, "a batch has other columns than the schema"
        assert len(batch) <= BLOCK_ROWS, "a block has too many rows"
        assert len(batch.keys) == len(batch), "there are not as many keys as rows"
        for field in source.schema:
            values = batch.column(field.name)
            kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
            assert kind == field.type, f"{field.name!r} is {kind}, the schema says {field.type}"
            if pa.types.is_floating(kind):
                numbers = values.drop_null().to_numpy(zero_copy_only=False)
                assert np.isfinite(numbers).all(), f"{field.name!r} holds a number that is not finite"


def _check_accounts(batches: Sequence[Batch], records: int | None) -> None:
    last: dict[str, int] = {}
    seen = 0
    for batch in batches:
        assert batch.counts and batch.counts[0].step == "read", "the records read are not counted"
        count = batch.counts[0]
        assert count.balanced, f"the ledger of reading does not balance: {count}"
        rejected = 0 if batch.rejected is None else batch.rejected.num_rows
        assert (count.out, count.rejected) == (len(batch), rejected), "the ledger is not what was read"
        seen += count.rows_in
        for key, path in zip(batch.keys.rows.tolist(), batch.keys.path_column().to_pylist(), strict=True):
            assert key > last.get(path, -1), f"row keys of {path!r} do not ascend at {key}"
            last[path] = key
    assert records is None or seen == records, f"{records} records became {seen}"


def _same(one: Sequence[Batch], other: Sequence[Batch], names: Sequence[str], message: str) -> None:
    assert len(one) == len(other), f"{message}: {len(one)} blocks, then {len(other)}"
    for left, right in zip(one, other, strict=True):
        assert np.array_equal(left.keys.rows, right.keys.rows), f"{message}: other rows"
        for name in names:
            a, b = left.column(name), right.column(name)
            assert plain(a).equals(plain(b)), f"{message}: other values in {name!r}"


def plain(values: pa.Array) -> pa.Array:
    """An array without dictionary encoding."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
