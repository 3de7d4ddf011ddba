"""Pixels moved: against NumPy and OpenCV by other ways, and augmentation as a function of (seed, epoch, row)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Step, Use
from penstock.steps import pictures_geometry
from penstock.steps.pictures_geometry import mirror

TRAIN = Use("train", 3, 1)
RANDOM: dict[str, Step] = {
    "crop": ps.RandomCrop("x", 5),
    "padded crop": ps.RandomCrop("x", padding=2, border="edge"),
    "flip": ps.FlipPicture("x", "both"),
    "rotate": ps.RotatePicture("x", 30, "reflect"),
    "color": ps.JitterColor("x", 0.4, 0.4, 0.4, 0.1),
    "erase": ps.ErasePicture("x", 0.7, value="noise"),
}


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def schema_of(values: np.ndarray) -> Schema:
    role = Role.clip if values.ndim == 5 else Role.picture
    return Schema((Field("x", tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:]), role),))


def batch_of(values: np.ndarray, keys: RowKeys | None = None) -> Batch:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(values.copy(order="C"))
    return Batch(pa.record_batch({"x": column}), keys or RowKeys.span("file", 0, len(values)))


def run(step: Step, values: np.ndarray, use: Use = TRAIN, keys: RowKeys | None = None) -> np.ndarray:
    out = step.fit(schema_of(values), {}).transform(batch_of(values, keys), use)
    return np.asarray(out.column("x").to_numpy_ndarray())


def test_a_crop_is_a_slice() -> None:
    x = pixels(4, 9, 12, 3)
    assert np.array_equal(run(ps.CropPicture("x", (4, 5), (2, 3)), x), x[:, 2:6, 3:8])
    assert np.array_equal(run(ps.CropPicture("x", (5, 4)), x), x[:, 2:7, 4:8])
    clip = pixels(2, 3, 9, 12, 1)
    assert np.array_equal(run(ps.CropPicture("x", 3), clip), clip[:, :, 3:6, 4:7])


def test_resizing_is_what_pillow_does() -> None:
    rough = np.stack([np.asarray(Image.fromarray(one).resize((80, 60), Image.BICUBIC)) for one in pixels(3, 5, 6, 3)])
    for size in ((30, 40), (47, 61), (90, 100), (20, 99)):
        expected = np.stack([np.asarray(Image.fromarray(one).resize(size[::-1], Image.BILINEAR)) for one in rough])
        assert np.abs(run(ps.ResizePicture("x", size), rough).astype(int) - expected).mean() < 2.5
    clip = rough[None]
    assert np.array_equal(run(ps.ResizePicture("x", 32), clip)[0], run(ps.ResizePicture("x", 32), rough))


def test_resizing_by_nearest_repeats_pixels() -> None:
    x = pixels(2, 4, 5, 3)
    found = run(ps.ResizePicture("x", (8, 15), interpolation="nearest"), x)
    assert np.array_equal(found, x.repeat(2, axis=1).repeat(3, axis=2))


def test_a_random_crop_is_a_part_of_the_padded_picture_and_every_place_occurs() -> None:
    x = np.broadcast_to(pixels(1, 6, 6, 3), (600, 6, 6, 3))
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    places = {padded[top : top + 6, left : left + 6].tobytes() for top in range(3) for left in range(3)}
    found = [one.tobytes() for one in run(ps.RandomCrop("x", padding=1), x)]
    assert set(found) == places
    counts = [found.count(place) for place in places]
    assert min(counts) > 600 / 9 / 2 and max(counts) < 600 / 9 * 2


def test_a_random_crop_moves_by_a_share_of_each_side() -> None:
    x = np.broadcast_to(pixels(1, 10, 20, 1), (600, 10, 20, 1))
    padded = np.pad(x[0], ((1, 1), (2, 2), (0, 0)))
    places = {padded[top : top + 10, left : left + 20].tobytes() for top in range(3) for left in range(5)}
    assert {one.tobytes() for one in run(ps.RandomCrop("x", padding=0.1), x)} == places


def test_flips_mirror_by_their_probability() -> None:
    x = pixels(800, 4, 5, 3)
    for direction, axis in (("horizontal", 2), ("vertical", 1)):
        found = run(ps.FlipPicture("x", direction, 0.25), x)  # type: ignore[arg-type]
        mirrored = (found == np.flip(x, axis)).all((1, 2, 3))
        assert np.array_equal(found[~mirrored], x[~mirrored])
        assert 0.18 < mirrored.mean() < 0.32
        assert np.array_equal(run(ps.FlipPicture("x", direction, 1.0), x), np.flip(x, axis))  # type: ignore[arg-type]
    both = run(ps.FlipPicture("x", "both", 1.0), x)
    assert np.array_equal(both, x[:, ::-1, ::-1])
    assert np.array_equal(run(ps.FlipPicture("x", "both", 0.0), x), x)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_opencv_mirrors_as_slices_do(kind: type, channels: int) -> None:
    frames = pixels(2, 5, 6, channels).astype(kind)
    for right, below in ((True, False), (False, True), (True, True)):
        out = np.zeros_like(frames)
        mirror(frames, out, right, below)
        assert (out == frames[:, :: -1 if below else 1, :: -1 if right else 1]).all()


@pytest.mark.parametrize(("size", "padding"), [(8, 4), (5, 1), (12, 20), (3, 9)])
def test_large_pictures_are_cut_as_if_they_had_been_padded(
    size: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pixels(40, 8, 8, 3)
    step = ps.RandomCrop("x", size, padding=padding) if size <= 8 else ps.RandomCrop("x", padding=padding)
    found = []
    for large in (0, 2**30):
        monkeypatch.setattr(pictures_geometry, "_LARGE", large)
        found.append(run(step, values))
    assert (found[0] == found[1]).all()
    assert (found[0] == 0).any(), "no part reaches beyond its picture"


def test_a_rotation_is_about_the_middle_and_within_its_degrees() -> None:
    cross = np.zeros((300, 21, 21, 1), np.uint8)
    cross[:, 10, 14:] = 200  # a hand that points to the right
    found = run(ps.RotatePicture("x", 30), cross)[..., 0].astype(float)
    assert (found[:, 10, 10] < 80).all()
    rows, columns = np.mgrid[:21, :21] - 10.0
    weight = found.sum((1, 2))
    angles = np.degrees(np.arctan2(-(found * rows).sum((1, 2)) / weight, (found * columns).sum((1, 2)) / weight))
    assert angles.min() < -24 and angles.max() > 24 and np.abs(angles).max() < 31
    assert np.array_equal(run(ps.RotatePicture("x", 0), cross), cross)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(7, 8, 3), (7, 8, 1), (2, 7, 8, 3)])
def test_augmentation_is_for_training_alone(name: str, shape: tuple[int, ...]) -> None:
    x = pixels(9, *shape)
    for purpose in ("fit", "predict"):
        found = run(RANDOM[name], x, Use(purpose, 3, 1))  # type: ignore[arg-type]
        middle = x[..., 1:6, 1:6, :] if name == "crop" else x
        assert np.array_equal(found, middle)
    assert not np.array_equal(run(RANDOM[name], x), run(RANDOM[name], x, Use("predict")))


@pytest.mark.parametrize("name", RANDOM)
@settings(max_examples=10, deadline=None)
@given(place=st.integers(0, 12), seed=st.integers(0, 2**40), epoch=st.integers(0, 9), data=st.data())
def test_what_is_drawn_is_a_function_of_seed_epoch_and_row(
    name: str, place: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    x, use = pixels(12, 7, 8, 3), Use("train", seed, epoch)
    whole = run(RANDOM[name], x, use)
    keys = RowKeys.span("file", 0, 12)
    parts = [
        run(RANDOM[name], x[rows], use, keys.take(rows))
        for rows in (np.arange(place), np.arange(place, 12))
        if len(rows)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    order = np.array(data.draw(st.permutations(range(12))))
    assert np.array_equal(run(RANDOM[name], x[order], use, keys.take(order)), whole[order])


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_epoch_or_file_draws_anew(name: str) -> None:
    x = np.broadcast_to(pixels(1, 7, 8, 3), (40, 7, 8, 3))
    found = [
        run(RANDOM[name], x, use, RowKeys.span(path, 0, 40)).tobytes()
        for use, path in ((TRAIN, "a"), (Use("train", 4, 1), "a"), (Use("train", 3, 2), "a"), (TRAIN, "b"))
    ]
    assert len(set(found)) == 4


def test_all_frames_of_a_clip_and_all_columns_of_a_row_get_the_same_draw() -> None:
    frame = pixels(20, 1, 7, 8, 3)
    clip = np.broadcast_to(frame, (20, 3, 7, 8, 3))
    for step in RANDOM.values():
        found = run(step, clip)
        if step.name != "erase_picture":  # its noise too, below
            assert np.array_equal(found[:, 0], run(step, frame[:, 0]))
        assert (found == found[:, :1]).all()
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(frame[:, 0].copy())
    both = Batch(pa.record_batch({"x": column, "mask": column}), RowKeys.span("file", 0, 20))
    schema = Schema(tuple(Field(name, column.type, Role.picture) for name in ("x", "mask")))
    out = ps.FlipPicture(["x", "mask"], "both").fit(schema, {}).transform(both, TRAIN)
    assert out.column("x").equals(out.column("mask")) and not out.column("x").equals(column)


def test_steps_that_differ_draw_independently() -> None:
    x = np.broadcast_to(pixels(1, 4, 5, 1), (400, 4, 5, 1))
    across = (run(ps.FlipPicture("x"), x) != x).any((1, 2, 3))
    down = (run(ps.FlipPicture("x", "vertical"), x) != x).any((1, 2, 3))
    assert 0.4 < (across == down).mean() < 0.6


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: ps.ResizePicture("x", 0), UsageError, "not a size"),
    (lambda: ps.ResizePicture("x", 8, "stretch"), UsageError, "no such choice"),
    (lambda: ps.CropPicture("x", 4, (1,)), UsageError, "not a corner"),
    (lambda: ps.CropPicture("x", 4, (-1, 0)), UsageError, "out of range"),
    (lambda: ps.RandomCrop("x", padding=0), UsageError, "nothing to choose from"),
    (lambda: ps.FlipPicture("x", probability=1.5), UsageError, "out of range"),
    (lambda: ps.RotatePicture("x", float("nan")), UsageError, "out of range"),
    (lambda: ps.CropPicture("x", 9).fit(PICTURE, {}), SchemaError, "at least 9 x 9"),
    (lambda: ps.RandomCrop("x", 9).fit(PICTURE, {}), SchemaError, "at least 9 x 9"),
    (lambda: ps.RandomCrop("x", padding=8, border="reflect").fit(PICTURE, {}), SchemaError, "to reflect"),
    (lambda: ps.ResizePicture("x", 9, color=(1, 2, 3)).fit(schema_of(pixels(1, 8, 8, 1)), {}), SchemaError, "channels"),
    (lambda: ps.FlipPicture("x").fit(ENCODED, {}), SchemaError, "put `decode_picture` before"),
    (lambda: ps.FlipPicture("x").fit(schema_of(pixels(1, 8, 8, 7)), {}), SchemaError, "1, 3 or 4 channels"),
]
PICTURE = schema_of(pixels(1, 8, 8, 3))
ENCODED = Schema((Field("x", pa.binary(), Role.picture),))


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_can_not_be_is_refused(place: int) -> None:
    make, error, words = REFUSED[place]
    with pytest.raises(error, match=words):
        make()


def test_nulls_stay_null_and_a_batch_may_be_empty() -> None:
    kind = tensor(pa.uint8(), (8, 8, 3))
    for step in (*RANDOM.values(), ps.ResizePicture("x", 5), ps.CropPicture("x", 3)):
        fitted = step.fit(PICTURE, {})
        for rows in (0, 3):
            out = fitted.transform(
                Batch(pa.record_batch({"x": pa.nulls(rows, kind)}), RowKeys.span("", 0, rows)), TRAIN
            )
            assert out.column("x").type == fitted.schema["x"].type
            assert out.column("x").null_count == rows == len(out)
