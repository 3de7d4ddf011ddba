"""However many threads, whatever finishes first, however little memory: the same bytes out, rejected rows included."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from killed import LIMITS, READING, STEPS, write_data

import penstock as ps
from penstock import executor
from penstock.batch import Batch
from penstock.durable import sha256
from penstock.resources import held
from penstock.source import Chunk
from penstock.sources.csv import CsvSource
from penstock.sources.files import find_files

MIB = 2**20


class Uneven(CsvSource):
    """Some of its blocks take their time."""

    chance = random.Random(0)
    order: list[int]

    def read(self, chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        for batch in super().read(chunk, columns):
            if self.chance.random() < 0.2:
                time.sleep(self.chance.uniform(0, 0.008))
            yield batch
        self.order.append(chunk.index)


def source(data: Path) -> Uneven:
    made = Uneven(find_files(data), READING, LIMITS)
    made.order = []
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(data: Path) -> ps.FittedPipeline:
    return ps.Pipeline(STEPS, ps.Linear(), target="y", max_rejected=0.1).fit(source(data))


def all_of(place: Path) -> dict[str, str]:
    """Of all outputs and all rejected rows."""
    paths = [*place.glob("out/*"), *place.glob("out.*.run/rejected/*"), *place.glob("out.run/rejected/*")]
    paths += [path for path in place.glob("out.*") if path.is_file()]
    return {str(path.relative_to(place)): sha256(path) for path in paths}


@pytest.fixture(scope="module")
def wanted(
    data: Path, fitted: ps.FittedPipeline, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """What one thread makes."""
    made = {}
    for name in ("prepare", "predict", "predict to a file"):
        place = tmp_path_factory.mktemp("clean")
        done(name, source(data), fitted, place, cores=1)
        made[name] = all_of(place)
        assert any("rejected" in path for path in made[name])
    assert len(made["predict"]) > 30
    return made


def done(name: str, found: Uneven, fitted: ps.FittedPipeline, place: Path, **options: Any) -> None:
    if name == "prepare":
        ps.Pipeline(STEPS, max_rejected=0.1).prepare(found, to=place / "out", **options)
    else:
        to = place / ("out.csv" if name == "predict to a file" else "out")
        fitted.predict(found, to=to, keep=["id", "c"], **options)


def unevenly(chance: random.Random) -> Callable[..., Any]:
    """What maps a block, late now and then."""
    real, lock = executor.without_failing, threading.Lock()

    def late(*arguments: Any) -> Any:
        with lock:
            wait = chance.uniform(0, 0.008) if chance.random() < 0.2 else 0.0
        time.sleep(wait)
        return real(*arguments)

    return late


@pytest.mark.parametrize("name", ["prepare", "predict", "predict to a file"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cores=st.sampled_from([1, 2, 5]),
    spare=st.sampled_from([32 * MIB, 64 * MIB, 512 * MIB, 4096 * MIB]),
    seed=st.integers(0, 2**32),
)
@example(cores=5, spare=32 * MIB, seed=1)
@example(cores=1, spare=4096 * MIB, seed=2)
@example(cores=5, spare=4096 * MIB, seed=3)
def test_the_bytes_are_the_same(
    data: Path,
    fitted: ps.FittedPipeline,
    wanted: dict[str, dict[str, str]],
    tmp_path: Path,
    name: str,
    cores: int,
    spare: int,
    seed: int,
) -> None:
    place = tmp_path / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    found = source(data)
    found.chance = random.Random(seed)
    with mock.patch.object(executor, "without_failing", unevenly(random.Random(seed + 1))):
        done(name, found, fitted, place, cores=cores, memory=held() + spare)
    assert all_of(place) == wanted[name]


def test_the_delays_of_these_tests_change_what_finishes_first(
    data: Path, fitted: ps.FittedPipeline, tmp_path: Path
) -> None:
    found = source(data)
    done("predict", found, fitted, tmp_path, cores=5)
    assert found.order != sorted(found.order)
