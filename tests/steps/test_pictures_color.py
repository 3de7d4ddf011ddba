"""Colors, noise and scale of pixels, against NumPy, SciPy and the formulas of the papers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy import ndimage

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Step, Use
from penstock.testing.steps import fit_step

TRAIN = Use("train", 3, 1)
WEIGHTS = np.array([0.299, 0.587, 0.114])


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def given(values: np.ndarray) -> tuple[Schema, Batch]:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
    schema = Schema((Field("x", tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:]), Role.picture),))
    return schema, Batch(pa.record_batch({"x": column}), RowKeys.span("file", 0, len(values)))


def run(step: Step, values: np.ndarray, use: Use = TRAIN) -> np.ndarray:
    schema, batch = given(values)
    return np.asarray(fit_step(step, schema, [batch]).transform(batch, use).column("x").to_numpy_ndarray())


def test_gray_is_pillows_l() -> None:
    x = pixels(5, 7, 9, 3)
    expected = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in x])
    assert np.abs(run(ps.GrayPicture("x"), x)[..., 0].astype(int) - expected).max() <= 1
    for kind in (np.float32, np.float64):
        assert np.allclose(run(ps.GrayPicture("x"), x.astype(kind))[..., 0], x @ WEIGHTS, rtol=1e-5)
    clip = pixels(2, 3, 4, 5, 3)
    assert run(ps.GrayPicture("x"), clip).shape == (2, 3, 4, 5, 1)
    assert np.array_equal(run(ps.GrayPicture("x"), x[..., :1]), x[..., :1])


def test_brightness_and_contrast_are_one_line_for_each_picture() -> None:
    x = (pixels(200, 8, 8, 1) // 3 + 60).astype(np.uint8)
    bright = run(ps.JitterColor("x", 0.3, 0, 0), x).astype(float)
    factors = (bright.sum((1, 2, 3))) / x.sum((1, 2, 3))
    assert 0.69 < factors.min() < 0.75 and 1.25 < factors.max() < 1.31
    assert np.abs(bright - x * factors[:, None, None, None]).max() < 1.5
    contrast = run(ps.JitterColor("x", 0, 0.5, 0), x).astype(float)
    means = x.mean((1, 2, 3))
    assert np.abs(contrast.mean((1, 2, 3)) - means).max() < 1.0, "the mean stays"
    spread = contrast.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.48 < spread.min() < 0.6 and 1.4 < spread.max() < 1.52


def test_saturation_and_hue_leave_the_brightness_and_gray_pictures_as_they_are() -> None:
    x = (pixels(60, 8, 8, 3) // 4 + 96).astype(np.uint8)
    for step in (ps.JitterColor("x", 0, 0, 0.8), ps.JitterColor("x", 0, 0, 0, 0.5)):
        found = run(step, x)
        assert not np.array_equal(found, x)
        assert np.abs(found @ WEIGHTS - x @ WEIGHTS).max() < 1.5
        gray = np.repeat(x[..., :1], 3, axis=-1)
        assert np.abs(run(step, gray).astype(int) - gray).max() <= 1
    none = run(ps.JitterColor("x", 0, 0, 0, 0), x)
    assert np.array_equal(none, x)


def test_half_a_turn_of_hue_is_the_opposite_color() -> None:
    red = np.zeros((300, 4, 4, 3), np.uint8)
    red[..., 0] = 120
    found = run(ps.JitterColor("x", 0, 0, 0, 0.5), red)[:, 0, 0].astype(int)
    assert (found[:, 0] == 0).any() and (found[:, 1] > 60).any() and (found[:, 2] > 60).any()


def test_blurs_are_those_of_scipy() -> None:
    x = pixels(3, 20, 24, 3)
    for size in (3, 5):
        median = ndimage.median_filter(x, (1, size, size, 1), mode="nearest")
        assert np.array_equal(run(ps.BlurPicture("x", "median", size), x), median)
        mean = ndimage.uniform_filter(x.astype(float), (0, size, size, 0), mode="mirror")
        assert np.abs(run(ps.BlurPicture("x", "mean", size), x) - mean).max() <= 0.51
    smooth = ndimage.gaussian_filter(x.astype(float), (0, 1.2, 1.2, 0), mode="mirror", radius=(0, 4, 4, 0))
    gaussian = ps.BlurPicture("x", "gaussian", 9, 1.2)
    assert np.abs(run(gaussian, x.astype(np.float32)) - smooth).max() < 0.01
    assert np.abs(run(gaussian, x) - smooth).max() <= 1.5  # of bytes OpenCV rounds the weights too


def test_a_median_takes_out_single_wrong_pixels() -> None:
    x = np.full((2, 9, 9, 1), 80, np.uint8)
    x[:, 4, 4] = 255
    x[:, 1, 7] = 0
    assert (run(ps.BlurPicture("x", "median"), x) == 80).all()


def test_what_is_erased_is_a_rectangle_of_the_area_and_ratio_asked_for() -> None:
    x = np.full((500, 30, 40, 3), 9, np.uint8)
    found = run(ps.ErasePicture("x", 0.6, (0.05, 0.2), (0.5, 2.0), 200), x)
    erased = (found == 200).all(-1)
    assert np.array_equal(found[~erased], x[~erased])
    some = erased.any((1, 2))
    assert 0.52 < some.mean() < 0.68
    heights, widths = erased.any(2).sum(1)[some], erased.any(1).sum(1)[some]
    assert np.array_equal(erased.sum((1, 2))[some], heights * widths), "a rectangle without holes"
    shares, ratios = heights * widths / 1200, heights / widths
    assert 0.04 < shares.min() < 0.07 and 0.17 < shares.max() < 0.22
    assert 0.4 < ratios.min() < 0.6 and 1.7 < ratios.max() < 2.4
    tops = erased.any(2).argmax(1)[some]
    assert tops.min() == 0 and (tops + heights).max() == 30


def test_noise_is_spread_over_all_values() -> None:
    x = np.zeros((60, 30, 40, 3), np.uint8)
    found = run(ps.ErasePicture("x", 1.0, (0.2, 0.3), value="noise"), x)
    noise = found[(found != 0).any(-1)]
    assert abs(noise.mean() - 127.5) < 2 and abs(noise.std() - 73.9) < 2


def test_normalized_channels_have_mean_0_and_deviation_1_and_come_back_exactly() -> None:
    x = pixels(70, 8, 6, 3) // np.array([1, 2, 5], np.uint8)
    schema, batch = given(x)
    fitted = fit_step(ps.NormalizePicture("x"), schema, [batch.slice(0, 30), batch.slice(30, 40)])
    out = fitted.transform(batch, Use())
    found = out.column("x").to_numpy_ndarray()
    values = x.reshape(-1, 3).astype(float)
    expected = (x - values.mean(0)) / values.std(0)
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-5
    assert fitted.inverse(out).columns.equals(batch.columns)


@pytest.mark.parametrize(
    ("mean", "deviation"), [((10.0,), (4.0,)), ((1, 2, 3), (4, 5, 6)), (None, (2.0,)), ((7,), None)]
)
def test_a_mean_and_a_deviation_may_be_given(mean: Sequence[float] | None, deviation: Sequence[float] | None) -> None:
    x = pixels(9, 4, 5, 3)
    values = x.reshape(-1, 3).astype(float)
    center = values.mean(0) if mean is None else np.array(mean)
    width = values.std(0) if deviation is None else np.array(deviation)
    step = ps.NormalizePicture("x", mean, deviation)  # type: ignore[arg-type]
    assert np.abs(run(step, x) - (x - center) / width).max() < 1e-4
    assert (step.statistics(given(x)[0]) == {}) == (mean is not None and deviation is not None)


def test_a_channel_of_one_value_becomes_0() -> None:
    x = np.full((5, 3, 3, 1), 77, np.uint8)
    assert (run(ps.NormalizePicture("x"), x) == 0).all()


def test_frame_differences_are_those_of_numpy() -> None:
    clip = pixels(4, 5, 6, 7, 3)
    signed = np.diff(clip.astype(int), axis=1)
    absolute = run(ps.FrameDifference("x"), clip)
    assert absolute.dtype == np.uint8 and np.array_equal(absolute, np.abs(signed))
    found = run(ps.FrameDifference("x", absolute=False), clip)
    assert found.dtype == np.float32 and np.array_equal(found, signed)


def test_what_can_not_be_is_refused() -> None:
    picture, floats = given(pixels(1, 8, 8, 3))[0], given(np.zeros((1, 8, 8, 3), np.float32))[0]
    refused: list[tuple[Step, Schema]] = [
        (ps.JitterColor("x"), floats),
        (ps.BlurPicture("x", "median"), floats),
        (ps.ErasePicture("x", value="noise"), floats),
        (ps.ErasePicture("x", value=256), picture),
        (ps.ErasePicture("x", value=0.5), picture),
        (ps.FrameDifference("x"), picture),
        (ps.GrayPicture("x"), given(pixels(1, 8, 8, 4))[0]),
    ]
    for step, schema in refused:
        with pytest.raises(SchemaError, match="not pictures that the step can work on"):
            step.fit(schema, {})
    with pytest.raises(UsageError, match="not a number for each channel"):
        ps.NormalizePicture("x", (1, 2)).touches(picture)
    for step_type, arguments in (
        (ps.BlurPicture, {"size": 4}),
        (ps.BlurPicture, {"method": "mean", "sigma": 1.0}),
        (ps.ErasePicture, {"area": (0.5, 0.2)}),
        (ps.ErasePicture, {"value": float("inf")}),
        (ps.JitterColor, {"hue": 0.7}),
        (ps.JitterColor, {"contrast": -0.1}),
        (ps.NormalizePicture, {"deviation": (0.0,)}),
        (ps.NormalizePicture, {"mean": ()}),
        (ps.FrameDifference, {"absolute": 1}),
    ):
        with pytest.raises(UsageError):
            step_type("x", **arguments)
