"""Augmentation in a training: anew in every epoch, a function of seed, epoch and row, and never in a prediction."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

import penstock as ps
from penstock.augmenting import BeforeLate, late_part
from penstock.fitting import fit_steps
from penstock.step import Use

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from pictures import CROSSES, crosses

pytest.importorskip("torch")
pytest.importorskip("cv2")


def rows(count: int = 160, seed: int = 0) -> pa.Table:
    pictures, codes = crosses(count, 12, seed)
    held = pa.FixedShapeTensorArray.from_numpy_ndarray(pictures)
    labels = [CROSSES[code] for code in codes]
    return pa.table({"picture": held, "size": pa.array(range(count), pa.float64()), "label": pa.array(labels)})


def trained(tmp_path: Path, name: str, *steps: ps.Step, **settings: object) -> bytes:
    model = ps.Network("lenet", epochs=2, patience=None, **settings)  # type: ignore[arg-type]
    pipeline = ps.Pipeline(steps, model=model, target="label")
    pipeline.fit(ps.read(rows()), to=tmp_path / name)
    return (tmp_path / name / "model" / "weights.safetensors").read_bytes()


def test_an_augmented_training_is_the_same_however_many_threads_load(tmp_path: Path) -> None:
    step = ps.RandomCrop("picture", padding=2)
    one = trained(tmp_path, "one", step, loading_threads=1)
    assert trained(tmp_path, "four", step, loading_threads=4) == one
    assert trained(tmp_path, "none", loading_threads=1, augment="none") != one
    assert trained(tmp_path, "own", loading_threads=1) != one  # the default one pads by other than 2


def test_numbers_after_an_augmentation_are_laid_down_once(tmp_path: Path) -> None:
    steps = (ps.RandomCrop("picture", padding=2), ps.Standardize("size"))
    trained(tmp_path, "model", *steps)
    again = ps.load(tmp_path / "model")
    first, second = (again.predict(rows(20, 1)) for _ in range(2))
    assert first.equals(second), "a prediction was augmented"


def test_what_is_laid_down_is_not_augmented_and_the_rest_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.engine import Resources, Silent
    from penstock.engines.local import LocalEngine

    source = ps.read(rows())
    steps = (ps.RandomCrop("picture", size=8), ps.Standardize("size"))
    fit = fit_steps(steps, source, LocalEngine(Resources(1, 2**31), Silent()), Silent())
    features = fit.steps.schema.select(["picture", "size"])
    first, late = late_part(fit.steps, features)
    assert late is not None and first == 0 and late.outputs == late.inputs == ("picture",)
    (chunk,) = source.chunks()
    (batch,) = source.read(chunk)
    laid = BeforeLate.of(fit.steps, first, late, features, Use("train", 0)).transform(batch)
    assert laid.column("picture").equals(batch.column("picture"))
    assert abs(sum(laid.column("size").to_pylist())) < 1e-6
    epochs = [late.chain(Use("train", 0, epoch)).transform(laid.select(["picture"])) for epoch in (0, 1, 0)]
    pictures = [one.column("picture").to_numpy_ndarray() for one in epochs]
    assert pictures[0].shape == (160, 8, 8, 1)
    assert (pictures[0] == pictures[2]).all() and (pictures[0] != pictures[1]).any()
