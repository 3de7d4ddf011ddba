"""Blocks kept between scans are the blocks themselves, whatever was asked for before, and never more than the bound."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import keeping
from penstock.batch import Batch
from penstock.keeping import KeptSource
from penstock.source import Chunk
from penstock.testing import check_source
from penstock.testing.sources import read_all
from penstock.testing.tables import TableSource

TABLE = pa.table({name: np.arange(1_000.0) + number for number, name in enumerate("abcd")})


class Counted(TableSource):
    reads = 0

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        Counted.reads += len(self.schema if columns is None else columns)
        yield from super().read(chunk, columns)


def test_a_kept_source_obeys_the_laws_of_sources() -> None:
    check_source(lambda: KeptSource(TableSource(TABLE), 2**34), records=1_000)


@settings(deadline=None, max_examples=30)
@given(asked=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True), min_size=1, max_size=5))
def test_a_column_is_read_once_and_comes_out_the_same_each_time(asked: list[list[str]]) -> None:
    Counted.reads = 0
    source = KeptSource(Counted(TABLE), 2**34)
    for names in asked:
        found = pa.Table.from_batches([batch.columns for batch in read_all(source, names)])
        assert found.equals(TABLE.select(names))
    chunks = len(list(source.chunks()))
    assert Counted.reads == chunks * len({name for names in asked for name in names})


def test_no_more_is_kept_than_the_bound(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(keeping, "MOST_BYTES", 5_000)  # of 4 columns x 8 bytes x 1,000 rows, and 8 bytes of keys
    Counted.reads = 0
    source = KeptSource(Counted(TABLE), 2**34)
    for _ in range(2):
        found = pa.Table.from_batches([batch.columns for batch in read_all(source, ["a"])])
        assert found.equals(TABLE.select(["a"]))
    chunks = len(list(source.chunks()))
    assert chunks < Counted.reads < 2 * chunks  # one chunk of 300 rows is kept, the others are read again
