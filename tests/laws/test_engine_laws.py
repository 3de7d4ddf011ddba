"""Same task, same bytes: for any number of cores, any memory, any order in which chunks finish. For every engine."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.engine import Engine, Resources, Silent, Station
from penstock.engines.local import LocalEngine
from penstock.fitting import fit_steps
from penstock.sinks.parts import PartsSink
from penstock.statistics.frequencies import Frequencies
from penstock.statistics.histogram import Histogram
from penstock.statistics.moments import Moments
from penstock.step import Use
from penstock.testing import check_engine, check_sink, check_source
from penstock.testing.sources import read_all
from penstock.testing.tables import TableSource

ENGINES = {"local": lambda cores, memory: LocalEngine(Resources(cores, memory))}


def table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(random.standard_cauchy(rows), mask=random.random(rows) < 0.1),
            "c": pa.array(random.choice(list("abcdefg"), rows), mask=random.random(rows) < 0.1),
        }
    )


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 300),
    block=st.integers(1, 60),
    blocks=st.integers(1, 5),
    engine=st.sampled_from(sorted(ENGINES)),
    data=st.data(),
)
def test_every_engine_gives_the_same_bytes_for_any_cores_and_memory(
    tmp_path_factory,
    rows: int,
    block: int,
    blocks: int,
    engine: str,
    data,  # type: ignore[no-untyped-def]
) -> None:
    folder = tmp_path_factory.mktemp("engine")
    source = TableSource(table(rows, data.draw(st.integers(0, 9))), block=block, blocks=blocks)
    steps = [ps.Impute("c", "constant", "none"), ps.RejectOutliers("x", method="mad", factor=6.0), ps.OneHot("c")]
    fitted = fit_steps(steps, source, LocalEngine(Resources(1, 2**33)), Silent()).steps
    stations = [
        Station(None, (Moments("x"), Histogram("x"), Frequencies("c"))),
        Station(fitted.chain(Use("train"))),
    ]

    def sink(where: Path) -> PartsSink:
        return PartsSink(where / "parts", where / "rejected", where / "out", fitted.schema)

    make = ENGINES[engine]
    assert isinstance(make(1, 2**33), Engine)
    check_engine(make, source, stations, sink, folder)


def test_the_table_source_of_the_tests_obeys_the_laws_of_sources() -> None:
    check_source(lambda: TableSource(table(500, 0), block=7, blocks=3), records=500)


@settings(deadline=None, max_examples=10)
@given(kind=st.sampled_from(["parquet", "csv", "arrow"]), single=st.booleans(), rows=st.integers(1, 300))
def test_every_sink_shows_all_or_nothing(tmp_path_factory, kind: str, single: bool, rows: int) -> None:  # type: ignore[no-untyped-def]
    source = TableSource(table(rows, 1), block=50, blocks=1)

    def make(where: Path) -> tuple[PartsSink, Path, Path]:
        destination = where / (f"out.{kind}" if single else "out")
        sink = PartsSink(where / "parts", where / "rejected", destination, source.schema, kind, single=single)
        return sink, where / "parts", destination

    def read_back(path: Path) -> pa.Table:
        read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "arrow": pl.read_ipc}[kind]
        paths = [path] if path.is_file() else sorted(path.iterdir())
        frames = [read(one).cast({"x": pl.Float64, "c": pl.String}) for one in paths]
        return pl.concat(frames).to_arrow()

    check_sink(make, read_all(source), read_back, tmp_path_factory.mktemp("sink"))
