"""The laws of an engine and of a sink, run on any implementation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from penstock.batch import Batch
from penstock.durable import sha256
from penstock.engine import Engine, Station, Task
from penstock.resources import held
from penstock.sink import Receipt, Sink, ledger
from penstock.source import Chunk, Source
from penstock.testing.statistics import state_bytes


def check_engine(
    make: Callable[[int, int], Engine],
    source: Source,
    stations: Sequence[Station],
    make_sink: Callable[[Path], Sink],
    folder: Path,
    *,
    cores: Sequence[int] = (1, 2, 5),
    memories: Sequence[int] | None = None,
) -> None:
    """Same task, same bytes: for every number of cores and every memory, and whatever part of the plan is run.

    Args:
        make: an engine of so many cores and so much memory [bytes].
        source: rows to work on; the more chunks, the sharper the check.
        stations: what they go through.
        make_sink: a sink that writes its parts into this folder.
        folder: an empty folder.
        cores: numbers of threads to try.
        memories: limits to try [bytes].

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    wanted: tuple[list[str], list[bytes]] | None = None
    # Beyond what the process holds already: else the little memory would be none.
    memories = memories or (held() + 2**28, held() + 2**32)
    for number, (threads, memory) in enumerate((c, m) for c in cores for m in memories):
        engine = make(threads, memory)
        found = (
            _mapped(engine, source, stations, make_sink, folder / str(number)),
            _folded(engine, source, stations),
        )
        if wanted is None:
            wanted = found
        assert found[0] == wanted[0], f"{threads} cores and {memory} bytes: other parts are written"
        assert found[1] == wanted[1], f"{threads} cores and {memory} bytes: other states are folded"


def _mapped(
    engine: Engine, source: Source, stations: Sequence[Station], make_sink: Callable[[Path], Sink], folder: Path
) -> list[str]:
    task = Task("map", source, None, tuple(stations), make_sink(folder))
    chunks = list(source.chunks())
    receipts = list(engine.map(task))
    assert [receipt.chunk for receipt in receipts] == [chunk.index for chunk in chunks], "receipts are out of order"
    for count in ledger(receipts):
        assert count.balanced, f"the ledger does not balance: {count}"
    half = chunks[len(chunks) // 2 :]
    again = list(engine.map(task, half))
    assert again == receipts[len(chunks) // 2 :], "a part of the plan gives other receipts than the whole"
    return [part.sha256 for receipt in receipts for part in receipt.parts]


def _folded(engine: Engine, source: Source, stations: Sequence[Station]) -> list[bytes]:
    folded = engine.fold(Task("fold", source, None, tuple(stations)))
    return [state_bytes(statistic) for group in folded.statistics for statistic in group]


def check_sink(
    make: Callable[[Path], tuple[Sink, Path, Path]],
    batches: Sequence[Batch],
    read_back: Callable[[Path], pa.Table],
    folder: Path,
) -> None:
    """A sink shows nothing before its commit and everything after it, and a chunk written twice counts once.

    Args:
        make: a sink in this folder, the folder of its parts, and what the commit makes.
        batches: one for each chunk.
        read_back: reads what was published, with any library.
        folder: an empty folder.

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    sink, parts, destination = make(folder)
    receipts: list[Receipt] = []
    order = list(enumerate(batches))
    random.Random(0).shuffle(order)
    for index, batch in order:
        chunk = Chunk(index, (), batch.nbytes)
        abandoned = sink.open(chunk)
        abandoned.write(batch.slice(0, len(batch) // 2))
        abandoned.abandon()
        half_done = sink.open(chunk)
        half_done.write(batch)
        first = half_done.finish()
        receipt = _written(sink, chunk, batch)
        assert receipt == first, "a chunk written again gives another receipt"
        for part in receipt.parts:
            assert sha256(parts / part.name) == part.sha256, "a part's hash is not that of its bytes"
        receipts.append(receipt)
    assert not destination.exists(), "something can be seen before the commit"
    receipts.sort(key=lambda receipt: receipt.chunk)
    sink.commit(receipts)
    table = read_back(destination)
    expected = pa.concat_tables([pa.Table.from_batches([batch.columns]) for batch in batches])
    assert table.num_rows == expected.num_rows, "rows were lost or doubled"
    assert table.select(expected.schema.names).to_pylist() == expected.to_pylist(), "values or their order changed"


def _written(sink: Sink, chunk: Chunk, batch: Batch) -> Receipt:
    writer = sink.open(chunk)
    writer.write(batch)
    return writer.finish()
