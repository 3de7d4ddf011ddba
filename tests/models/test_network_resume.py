"""A training of a network that is stopped goes on with the very same steps: the losses and the weights are the same.

Stopped within an epoch, at its end, while the checkpoint is written and before it takes its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pictures import CROSSES, crosses

import penstock as ps
from penstock.batch import RowKeys
from penstock.engine import Figures, Resources
from penstock.materialize import LaidDown
from penstock.model import Target, TrainingBatch
from penstock.models import network_checkpoint
from penstock.models.network_fitted import FittedNetwork
from penstock.schema import Field, Role, Schema, tensor
from penstock.source import Note
from penstock.target import HASH, LABEL

torch = pytest.importorskip("torch")

ROWS = 96
SCHEMA = Schema((Field("picture", tensor(pa.uint8(), (12, 12, 1)), Role.picture),))
TARGET = Target("label", "multiclass", CROSSES)


class Small(torch.nn.Module):
    """A convolution with a norm, whose running means have to come back too, and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        layers = torch.nn
        self.layers = layers.Sequential(
            layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.ReLU(), layers.AdaptiveMaxPool2d(4), layers.Flatten()
        )
        self.head = layers.Sequential(layers.Dropout(0.2), layers.Linear(64, 3))

    def forward(self, pictures: Any) -> Any:
        return self.head(self.layers(pictures))


class Stop(Exception):
    """The power goes."""


class Stopper:
    """Hears how a training goes, and stops it after so many batches."""

    def __init__(self, after: int = -1) -> None:
        self.after = after
        self.heard = 0

    def said(self, note: Note) -> None:
        pass

    def progressed(self, figures: Figures) -> None:
        self.heard += 1
        if self.heard == self.after:
            raise Stop


def laid_down(folder: Path, listener: Stopper, cores: int = 1) -> LaidDown:
    encoded = folder / "encoded"
    if not encoded.exists():
        encoded.mkdir(parents=True)
        pictures, codes = crosses(ROWS, 12)
        hashes = RowKeys.span("table", 0, ROWS).hash(0)
        columns = {"picture": pa.FixedShapeTensorArray.from_numpy_ndarray(pictures), LABEL: pa.array(codes)}
        table = pa.table({**columns, HASH: pa.array(hashes)})
        for place in range(2):  # two parts: rows are gathered from both
            with pa.OSFile(str(encoded / f"{place}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table.slice(place * 50, 50))
    return LaidDown(
        encoded,
        ["0.arrow", "1.arrow"],
        schema=SCHEMA,
        target=TARGET,
        seed=3,
        resources=Resources(cores, 2**33),
        listener=listener,
        checkpoints=folder / "checkpoints",
    )


def network(**settings: Any) -> ps.Network:
    plain = {"epochs": 3, "batch_rows": 16, "averaging": 0.9, "checkpoint_seconds": 0.0, "patience": None}
    torch.manual_seed(5)
    return ps.Network(Small(), **{**plain, **settings})


def trained(folder: Path, after: int = -1, **settings: Any) -> FittedNetwork:
    return network(**settings).train(laid_down(folder, Stopper(after)))


SETTINGS = {
    "sgd with momentum, plateau": {"optimizer": "sgd", "momentum": 0.9, "schedule": "plateau", "plateau_patience": 0},
    "restarts when the loss is flat": {"schedule": "restart_on_plateau", "plateau_patience": 0, "learning_rate": 0.1},
    "adamw, one cycle, dropout": {"dropout": 0.3},
    "accumulated": {"accumulate": 2, "checkpoint_seconds": 0.0},
    "mixed, seldom kept": {"mixup": 0.4, "checkpoint_seconds": 3600.0},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("stops", [(1,), (4, 3), (6,), (7, 1, 1), (13,)], ids=str)
def test_a_stopped_training_ends_with_the_same_weights(
    tmp_path: Path, stops: tuple[int, ...], settings: dict[str, Any]
) -> None:
    whole = trained(tmp_path / "whole", **settings)
    for number, after in enumerate(stops):
        with pytest.raises(Stop):
            trained(tmp_path / "stopped", after, loading_threads=(0, 1, 4)[number % 3], **settings)
    again = trained(tmp_path / "stopped", **settings)
    assert again.weights == whole.weights
    assert again.summary["history"] == whole.summary["history"]


def test_batches_are_the_same_however_many_threads_load_them(tmp_path: Path) -> None:
    data = laid_down(tmp_path, Stopper())
    keep = np.arange(ROWS) % 5 > 0

    def batches(threads: int, start: int = 0) -> list[TrainingBatch]:
        return list(data.epoch(1, 7, keep=keep, threads=threads, start=start))

    one = batches(0)
    assert sorted(row for batch in one for row in batch.rows) == np.flatnonzero(keep).tolist()
    assert [len(batch) for batch in one[:-1]] == [7] * (len(one) - 1)
    for threads, start in ((1, 0), (4, 0), (4, 5), (0, 3)):
        for expected, got in zip(one[start:], batches(threads, start), strict=True):
            assert got.rows.tolist() == expected.rows.tolist()
            assert (got.tensors["picture"] == expected.tensors["picture"]).all()


def test_a_row_keeps_its_picture_in_every_batch(tmp_path: Path) -> None:
    data, (pictures, codes) = laid_down(tmp_path, Stopper()), crosses(ROWS, 12)
    for batch in (*data.epoch(0, 10), *data.in_order(10)):
        assert (batch.tensors["picture"] == pictures[batch.rows]).all()
        assert (batch.labels == codes[batch.rows]).all()
    assert [row for batch in data.in_order(10) for row in batch.rows] == list(range(ROWS))


@pytest.mark.parametrize("moment", ["written", "renamed"])
def test_a_checkpoint_that_can_not_be_finished_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = trained(tmp_path / "whole")
    calls = 0
    replaced, synced = Path.replace, network_checkpoint.write_atomically

    def stop_before_rename(self: Path, target: Any) -> Path:
        nonlocal calls
        calls += network_checkpoint.FILE in self.name
        if calls == 4:
            raise Stop
        return replaced(self, target)

    def stop_while_writing(path: Path, data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            path.with_name(f".{path.name}.new").write_bytes(data[: len(data) // 2])
            raise Stop
        synced(path, data)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        if moment == "renamed":
            patched.setattr(Path, "replace", stop_before_rename)
        else:
            patched.setattr(network_checkpoint, "write_atomically", stop_while_writing)
        trained(tmp_path / "stopped")
    again = trained(tmp_path / "stopped")
    assert again.weights == whole.weights


def test_a_checkpoint_of_another_training_is_none(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trained(tmp_path / "stopped", 5)
    other = trained(tmp_path / "stopped", learning_rate=0.01)
    assert other.weights == trained(tmp_path / "whole", learning_rate=0.01).weights


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trained(tmp_path, 5)
    path = tmp_path / "checkpoints" / network_checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ps.errors.RunError, match="checkpoint"):
        trained(tmp_path)


def test_a_training_that_diverges_says_the_step_and_the_rows(tmp_path: Path) -> None:
    with pytest.raises(ps.errors.DataError, match=r"(?s)step 2: .*diverged.*rows.*learning_rate"):
        trained(tmp_path, optimizer="sgd", learning_rate=1e6, clip_norm=None, schedule="constant")


def test_of_a_few_rows_held_back_the_last_epochs_weights_are_kept_unless_a_patience_is_given(tmp_path: Path) -> None:
    rising = {"learning_rate": 0.3, "schedule": "constant", "averaging": 0.0, "epochs": 6}
    last = trained(tmp_path, **rising)
    best = trained(tmp_path, **{**rising, "patience": 6})
    losses = [one["validation"] for one in best.summary["history"]]
    assert best.summary["best_epoch"] == 1 + int(np.argmin(losses)) < 6
    assert last.summary["best_epoch"] == 6 and last.weights != best.weights
