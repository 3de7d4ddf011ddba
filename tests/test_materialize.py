"""Rows laid down, and what an epoch gives of them: batches gathered together are those gathered one by one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import penstock as ps
from penstock import materialize
from penstock.augmenting import Late
from penstock.batch import RowKeys
from penstock.engine import Resources, Silent
from penstock.materialize import LaidDown
from penstock.model import Target, TrainingBatch
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Use
from penstock.target import HASH, LABEL

ROWS, SIDE = 90, 12
SCHEMA = Schema((Field("picture", tensor(pa.uint8(), (SIDE, SIDE, 3)), Role.picture),))
PICTURES = np.random.default_rng(2).integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8)


def laid_down(folder: Path, *steps: ps.PictureStep) -> LaidDown:
    """The pictures in three parts of different lengths."""
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(PICTURES)
    hashes = RowKeys.span("table", 0, ROWS).hash(0)
    labels = pa.array(np.arange(ROWS, dtype=np.int32))
    table = pa.table({"picture": column, LABEL: labels, HASH: pa.array(hashes)})
    cuts = [0, 7, 50, ROWS]
    for number, (start, stop) in enumerate(pairwise(cuts)):
        with pa.OSFile(str(folder / f"{number}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table.slice(start, stop - start))
    fitted = tuple(step.fitted(SCHEMA) for step in steps)
    return LaidDown(
        folder,
        [f"{number}.arrow" for number in range(3)],
        schema=SCHEMA,
        target=Target("label", "multiclass", tuple(map(str, range(ROWS)))),
        seed=4,
        resources=Resources(1, 2**33),
        listener=Silent(),
        late=Late(tuple(step.name for step in steps), fitted, SCHEMA, ("picture",)) if steps else None,
    )


def pixels(batches: list[TrainingBatch]) -> list[npt.NDArray[np.uint8]]:
    return [batch.tensors["picture"] for batch in batches]


def test_a_batch_has_the_pictures_of_its_rows_from_whatever_part(tmp_path: Path) -> None:
    batches = list(laid_down(tmp_path).epoch(1, 16))
    assert [len(batch) for batch in batches] == [16, 16, 16, 16, 16, 10]
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(ROWS))
    for batch in batches:
        assert np.array_equal(batch.tensors["picture"], PICTURES[batch.rows])
        assert np.array_equal(batch.labels, batch.rows)


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_made_together_are_those_made_one_by_one(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = laid_down(tmp_path, ps.RandomCrop("picture"), ps.FlipPicture("picture"))
    together = list(data.epoch(3, 16, threads=threads))
    rest = list(data.epoch(3, 16, start=2, threads=threads))
    monkeypatch.setattr(materialize, "_TOGETHER_BYTES", 1)
    single = list(data.epoch(3, 16))
    for found, expected in ((together, single), (rest, single[2:])):
        assert all(map(np.array_equal, pixels(found), pixels(expected)))
        assert [batch.rows.tolist() for batch in found] == [batch.rows.tolist() for batch in expected]
    assert data.late is not None
    use, rows = Use("train", 4, 3), single[1].rows
    alone = [data.late.chain(use).transform(data.before(rows[place : place + 1])) for place in range(16)]
    found_alone = [one.column("picture").to_numpy_ndarray()[0] for one in alone]
    assert np.array_equal(found_alone, single[1].tensors["picture"]), "a row is augmented by itself"
