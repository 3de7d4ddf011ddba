"""A scan that was stopped goes on where its states were written; what can't be trusted is read again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock as ps
from penstock.batch import Batch
from penstock.engine import Resources, Station, Task
from penstock.engines import kept_scans
from penstock.engines.local import LocalEngine
from penstock.source import Chunk, ReadOptions
from penstock.sources.files import Limits, find_files
from penstock.sources.parquet import ParquetSource
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.testing.statistics import state_bytes

CHUNKS = 20


class Counted(ParquetSource):
    """Counts the chunks that are read, and fails at one of them."""

    fails_at = -1
    chunks_read = 0

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        if chunk.index == self.fails_at:
            raise KeyboardInterrupt
        type(self).chunks_read += 1
        yield from super().read(chunk, columns)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(kept_scans, "_SHARE", 1e9)  # after every chunk
    random = np.random.default_rng(0)
    table = pa.table({"x": random.normal(size=40_000), "z": random.normal(size=40_000)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1_000)
    Counted.chunks_read, Counted.fails_at = 0, -1
    found = Counted(find_files(tmp_path / "rows.parquet"), ReadOptions(), Limits(1_000, chunk_bytes=40_000))
    assert len(list(found.chunks())) == CHUNKS
    return found


def folded(source: Counted, folder: Path | None, *, columns: tuple[str, ...] = ("x", "z")) -> list[bytes]:
    engine = LocalEngine(Resources(1, 2**31))
    engine.keep_in = folder
    station = Station(None, (Moments("x"), Histogram("z")) if "z" in columns else (Moments("x"),))
    done = engine.fold(Task("scan", source, columns, (station,)))
    assert done.counts[0].rows_in == 40_000
    return [state_bytes(one) for group in done.statistics for one in group]


def test_a_stopped_scan_goes_on_and_ends_with_the_same_bits(source: Counted, tmp_path: Path) -> None:
    clean = folded(source, None)
    Counted.fails_at = 12
    with pytest.raises(KeyboardInterrupt):
        folded(source, tmp_path / "scans")
    Counted.fails_at, Counted.chunks_read = -1, 0
    assert folded(source, tmp_path / "scans") == clean
    assert Counted.chunks_read < CHUNKS
    Counted.chunks_read = 0
    assert folded(source, tmp_path / "scans") == clean, "a finished scan is not done again"
    assert Counted.chunks_read == 0


@pytest.mark.parametrize("harm", ["torn", "altered", "empty", "another scan"])
def test_states_that_cannot_be_trusted_are_not_used(source: Counted, tmp_path: Path, harm: str) -> None:
    clean = folded(source, None)
    folded(source, tmp_path / "scans", columns=("x",) if harm == "another scan" else ("x", "z"))
    (path,) = (tmp_path / "scans").iterdir()
    data = path.read_bytes()
    if harm == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "altered":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif harm == "empty":
        path.write_bytes(b"")
    Counted.chunks_read = 0
    assert folded(source, tmp_path / "scans") == clean
    assert Counted.chunks_read == CHUNKS


def test_states_of_another_plan_are_not_used(source: Counted, tmp_path: Path) -> None:
    folded(source, tmp_path / "scans")
    other = Counted(find_files(tmp_path / "rows.parquet"), ReadOptions(), Limits(1_000, chunk_bytes=60_000))
    clean = folded(other, None)
    assert folded(other, tmp_path / "scans") == clean


def test_a_preparation_stopped_while_it_is_fitted_does_not_scan_all_again(source: Counted, tmp_path: Path) -> None:
    pipeline = ps.Pipeline([ps.Impute(ps.numeric(), "mean"), ps.Standardize(ps.numeric())])
    pipeline.prepare(source, to=tmp_path / "clean", cores=1)
    Counted.fails_at = 15
    with pytest.raises(KeyboardInterrupt):
        pipeline.prepare(source, to=tmp_path / "out", cores=1)
    Counted.fails_at, Counted.chunks_read = -1, 0
    pipeline.prepare(source, to=tmp_path / "out", cores=1)
    assert Counted.chunks_read < 2 * CHUNKS
    assert not (tmp_path / "out.run" / "scans").exists()
    for path in (tmp_path / "clean").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
