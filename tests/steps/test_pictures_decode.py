"""Bytes of files -> pixels: what Pillow sees, upright, at the size asked for; or the reason why not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import penstock as ps
from penstock.batch import Batch
from penstock.errors import DataError, SchemaError, UsageError
from penstock.schema import Field, Role, Schema, tensor
from penstock.statistics.picture_headers import BadPicture, read_header
from penstock.step import Use
from penstock.testing.steps import batch_of, fit_step, run_step

SCHEMA = Schema((Field("file", pa.binary(), Role.picture),))
DATA = os.environ.get("PENSTOCK_DATA")


def scene(height: int = 48, width: int = 64, seed: int = 0, grain: int = 8) -> np.ndarray:
    """A picture with no symmetry and no detail finer than ``grain`` pixels."""
    random = np.random.default_rng(seed)
    rough = random.integers(0, 256, (max(2, height // grain), max(2, width // grain), 3), np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def written(picture: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def turned(kind: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return written(scene(), kind, exif=exif, **options)


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))


def run(files: list[bytes | None], size: Any = "auto", *settings: Any, **more: Any) -> Batch:
    batch = batch_of(SCHEMA, {"file": files})
    return run_step(fit_step(ps.DecodePicture("file", size, *settings, **more), SCHEMA, [batch]), SCHEMA, batch)


def decoded(data: bytes, channels: int = 3, **more: Any) -> np.ndarray:
    """At its own size."""
    out = run([data], read_header(data).shown, channels=channels, **more)
    assert out.rejected is None, out.rejected.column("reason").to_pylist()
    return out.column("file").to_numpy_ndarray()[0]


def refused(data: bytes | None, **more: Any) -> tuple[str, str]:
    """The code and the reason of a file's reject."""
    out = run([data], 8, channels=3, **more)
    assert len(out) == 0 and out.rejected is not None
    row = out.rejected.to_pylist()[0]
    assert (row["step"], row["column"]) == ("decode_picture", "file")
    return row["code"], row["reason"]


PALETTE = Image.fromarray(scene()).quantize(32)
ALPHA = np.dstack((scene(), np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)))
SAME: dict[str, bytes] = {
    "jpeg": written(scene(), "JPEG", quality=90),
    "jpeg 4:2:0 progressive": written(scene(), "JPEG", quality=90, subsampling=2, progressive=True),
    "jpeg gray": written(scene()[..., 0], "JPEG"),
    "jpeg of inks": written(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=95),
    "png": written(scene(), "PNG"),
    "png gray": written(scene()[..., 0], "PNG"),
    "png of bits": written(Image.fromarray(scene()).convert("1"), "PNG"),
    "png palette": written(PALETTE, "PNG"),
    "png palette transparent": written(PALETTE, "PNG", transparency=3),
    "png alpha": written(ALPHA, "PNG"),
    "png gray alpha": written(ALPHA[..., 2:], "PNG"),
    "gif": written(PALETTE, "GIF"),
    "gif animated": written(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)], duration=10),
    "bmp": written(scene(), "BMP"),
    "bmp palette": written(PALETTE, "BMP"),
    "webp": written(scene(), "WEBP", quality=90),
    "webp lossless": written(scene(), "WEBP", lossless=True),
    "webp alpha": written(ALPHA, "WEBP", lossless=True, exact=True),
    "tiff": written(scene(), "TIFF"),
    "tiff lzw": written(scene(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": written(scene(), "TIFF", compression="tiff_deflate"),
}
LOSSY = {"jpeg of inks": 1.0, "webp": 2.0}
"""Mean differences of up to this [of 255]: roundings of the same formula, another upsampling of colors."""


@pytest.mark.parametrize("name", SAME)
def test_a_picture_is_what_pillow_makes_of_it(name: str) -> None:
    found, expected = decoded(SAME[name]).astype(int), by_pillow(SAME[name])
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() <= LOSSY.get(name, 0.6 if name.startswith("jpeg") else 0.0)


@pytest.mark.parametrize("name", ["jpeg", "jpeg of inks", "png", "png palette", "webp lossless", "png gray"])
def test_gray_is_what_pillow_makes_of_it(name: str) -> None:
    found = decoded(SAME[name], 1)[..., 0].astype(int)
    assert np.abs(found - by_pillow(SAME[name]).astype(float) @ [0.299, 0.587, 0.114]).mean() < 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_upright(kind: str, orientation: int) -> None:
    data = turned(kind, orientation)
    expected = by_pillow(data)
    assert read_header(data).shown == expected.shape[:2]
    assert np.abs(decoded(data).astype(int) - expected).mean() < 2.0
    small = run([data], (24, 24), "fit").column("file").to_numpy_ndarray()[0]
    plain = run([written(expected, "PNG")], (24, 24), "fit").column("file").to_numpy_ndarray()[0]
    assert np.abs(small.astype(int) - plain).mean() < 4.0


def test_samples_of_16_bits_are_scaled_to_8() -> None:
    deep = (scene()[..., 0].astype(np.uint16) * 257) + 3
    for kind in ("PNG", "TIFF"):
        found = decoded(written(Image.fromarray(deep), kind), 1)[..., 0]
        assert np.abs(found.astype(int) - (deep >> 8)).max() <= 1


def test_inks_without_light_are_black_and_without_ink_are_white() -> None:
    for inks, color in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)):
        data = written(Image.new("CMYK", (16, 16), inks), "JPEG", quality=100)
        assert np.abs(decoded(data).astype(int) - color).max() <= 2


@pytest.mark.parametrize("mode", ["exact", "fit", "fill"])
@pytest.mark.parametrize("size", [(24, 24), (20, 40), (90, 70), (7, 120)])
def test_a_size_is_met_as_pillow_would(mode: str, size: tuple[int, int]) -> None:
    picture = Image.fromarray(scene(90, 120, grain=20))
    found = run([written(picture, "PNG")], size, mode, color=(9, 200, 90)).column("file").to_numpy_ndarray()[0]
    across = size[::-1]
    expected = {
        "exact": lambda: picture.resize(across, Image.BILINEAR),
        "fit": lambda: ImageOps.pad(picture, across, Image.BILINEAR, color=(9, 200, 90)),
        "fill": lambda: ImageOps.fit(picture, across, Image.BILINEAR),
    }[mode]()
    assert found.shape == (*size, 3)
    assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 4.5


def test_area_is_the_mean_of_the_area_and_auto_is_near_it() -> None:
    picture = scene(90, 120)
    exact = picture.reshape(30, 3, 40, 3, 3).mean((1, 3))
    for way, most in (("area", 0.51), ("auto", 0.51)):
        found = run([written(picture, "PNG")], (30, 40), interpolation=way).column("file").to_numpy_ndarray()[0]
        assert np.abs(found - exact).max() <= most
    uneven = [
        run([written(picture, "PNG")], (52, 71), interpolation=way).column("file").to_numpy_ndarray()[0].astype(int)
        for way in ("area", "auto")
    ]
    assert np.abs(uneven[0] - uneven[1]).mean() < 1.0


@pytest.mark.parametrize("size", [(12, 16), (25, 33), (50, 60), (97, 130)])
@pytest.mark.parametrize("whole", [(304, 400), (301, 403)])
def test_a_jpeg_decoded_at_a_reduced_size_is_near_the_whole(size: tuple[int, int], whole: tuple[int, int]) -> None:
    data = written(scene(*whole, grain=40), "JPEG", quality=90)
    reduced, exact = (
        run([data], size, interpolation=way).column("file").to_numpy_ndarray()[0].astype(int)
        for way in ("auto", "area")
    )
    assert np.abs(reduced - exact).mean() < 2.5  # of steep slopes; of photos less


def test_the_size_of_all_is_kept_and_that_of_many_is_a_square() -> None:
    shape = lambda *sizes: run([written(scene(*size), "PNG") for size in sizes]).column("file").type.shape  # noqa: E731
    assert shape((28, 28), (28, 28)) == [28, 28, 3]
    assert shape((30, 50), (30, 50)) == [30, 50, 3]
    assert shape((40, 50), (70, 75), (90, 300)) == [64, 64, 3]
    assert shape((400, 500), (300, 300)) == [128, 128, 3]
    assert shape((9, 12), (12, 12)) == [9, 9, 3]
    gray = run([written(scene()[..., 0], "PNG"), None, b"?"], 8)
    assert gray.column("file").type.shape == [8, 8, 1]


# ---------------------------------------------------------------- what is refused


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(height: int, width: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there many times."""
    data = written(scene(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


JPEG_12_BITS = SAME["jpeg"].replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c")
REFUSED: dict[str, tuple[bytes | None, str, str]] = {
    "null": (None, "missing", "no picture"),
    "empty": (b"", "empty", "empty"),
    "text": (b"no picture at all", "not_a_picture", "no JPEG"),
    "icon": (b"\x00\x00\x01\x00" + bytes(20), "not_a_picture", "an icon"),
    "signature alone": (b"\xff\xd8\xff", "bad_picture", "header"),
    "png of no pixels": (png_of(0, 5), "bad_picture", "0 x 5"),
    "png bomb": (png_of(60_000, 60_000), "too_many_pixels", "60,000 x 60,000"),
    "gif bomb": (b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(9), "too_many_pixels", "65,535"),
    "png without rows": (png_of(50, 50, bytes(10)), "bad_picture", "PNG"),
    "jpeg of 12 bits": (JPEG_12_BITS, "bad_picture", "12 bits"),
    "tiff of floats": (written(Image.new("F", (4, 4)), "TIFF"), "bad_picture", "floating"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(20), "not_a_picture", "HEIC"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_with_its_reason(name: str) -> None:
    data, code, words = REFUSED[name]
    found, reason = refused(data)
    assert found == code and words in reason


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_picture_that_is_cut_off_is_refused_never_half_gray(name: str, share: float) -> None:
    data = SAME[name]
    if name == "gif animated":
        share /= 2.2  # within its first frame
    assert refused(data[: int(len(data) * share)])[0] in ("bad_picture", "too_many_pixels")


def test_a_png_with_a_changed_byte_is_refused() -> None:
    data = bytearray(SAME["png"])
    data[len(data) // 2] ^= 0x55
    assert refused(bytes(data)) == ("bad_picture", "the PNG is damaged: the checksum of its b'IDAT' is not right")


def test_a_deflated_tiff_with_a_changed_byte_is_refused() -> None:
    data = bytearray(SAME["tiff deflate"])
    data[len(data) // 2] ^= 0x55
    assert refused(bytes(data)) == ("bad_picture", "the TIFF is damaged: a part of it can't be decompressed")


def test_a_jpeg_with_bytes_too_many_is_taken_as_pillow_takes_it() -> None:
    data = SAME["jpeg"][:-2] + b"\x12\x34\x56" + SAME["jpeg"][-2:]
    assert np.abs(decoded(data).astype(int) - by_pillow(data)).mean() < 0.6


def test_each_limit_refuses_what_is_beyond_it() -> None:
    data = SAME["png"]
    assert refused(data, max_pixels=48 * 64 - 1)[0] == "too_many_pixels"
    assert len(run([data], 8, channels=3, max_pixels=48 * 64)) == 1
    assert refused(data, max_bytes=len(data) - 1)[0] == "too_many_bytes"
    assert len(run([data], 8, channels=3, max_bytes=len(data))) == 1
    flat = png_of(2500, 2500, bytes((1 + 3 * 2500) * 2500))
    assert refused(flat, max_ratio=100)[0] == "too_compressed"
    assert len(run([flat], 8, channels=3)) == 1
    assert "scans" in refused(many_scans(200), max_pixels=48 * 64)[1]


def test_a_bomb_costs_no_memory_and_nothing_is_printed() -> None:
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_pictures_decode import REFUSED, SAME, refused, run
run([SAME["png"]], 8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data, _, _ in REFUSED.values():
    refused(data)
for data in SAME.values():
    refused(data[: len(data) // 3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64  # MiB
    assert done.stderr == "libpng error: Not enough image data\n"  # it prints this itself, and lets nobody stop it


def test_bad_rows_leave_with_their_reasons_and_their_neighbors_stay() -> None:
    good, other = written(scene(seed=1), "PNG"), written(scene(seed=2), "PNG")
    out = run([good, None, b"?", other, b"", b"?"], (48, 64), channels=3)
    assert out.keys.rows.tolist() == [0, 3]
    assert out.column("file").to_numpy_ndarray().tolist() == [scene(seed=1).tolist(), scene(seed=2).tolist()]
    assert out.rejected is not None
    rows = {row["row"]: row["code"] for row in out.rejected.to_pylist()}
    assert rows == {1: "missing", 2: "not_a_picture", 4: "empty", 5: "not_a_picture"}
    assert out.counts[-1].rejected == 4 and out.counts[-1].balanced
    assert out.rejected.column("value").to_pylist()[1].startswith("1 bytes, BLAKE2b")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SAME)), st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4))))
def test_damage_is_refused_or_gives_a_picture_and_never_ends_the_process(
    name: str, damages: list[tuple[float, bytes]]
) -> None:
    data = bytearray(SAME[name])
    for place, values in damages:
        at = int(place * len(data))
        data[at : at + len(values)] = values
    out = run([SAME["png"], bytes(data)], 16, channels=3, max_pixels=2**20)
    assert len(out) + (0 if out.rejected is None else out.rejected.num_rows) == 2
    assert 0 in out.keys.rows


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([*sorted(SAME), ""]), min_size=1, max_size=8), st.integers(0, 8))
def test_a_split_of_the_batch_changes_nothing(files: list[str], place: int) -> None:
    batch = batch_of(SCHEMA, {"file": [SAME.get(name) for name in files]})
    fitted = ps.DecodePicture("file", 16, channels=3).fit(SCHEMA, {})
    whole = fitted.transform(batch, Use())
    parts = [fitted.transform(batch.slice(start, rows), Use()) for start, rows in ((0, place), (place, len(batch)))]
    joined = np.concatenate([part.column("file").to_numpy_ndarray() for part in parts])
    assert np.array_equal(joined, whole.column("file").to_numpy_ndarray())


def test_what_can_not_be_is_said() -> None:
    with pytest.raises(DataError, match="no picture can be read") as caught:
        run([None, b"?"])
    assert caught.value.got == "1 rows without a picture, 1 with other bytes"
    for arguments in ({"size": 0}, {"size": (1, 2, 3)}, {"size": True}, {"mode": "crop"}, {"channels": 2}):
        with pytest.raises(UsageError):
            ps.DecodePicture("file", **arguments)  # type: ignore[arg-type]
    for arguments in ({"color": 256}, {"color": (1, 2)}, {"max_pixels": 0}, {"interpolation": "best"}):
        with pytest.raises(UsageError):
            ps.DecodePicture("file", 8, **arguments)  # type: ignore[arg-type]
    wrong = Schema((Field("file", tensor(pa.uint8(), (4, 4, 3)), Role.picture),))
    with pytest.raises(SchemaError, match=r"(?s)the bytes of the pictures' files.*use `resize_picture`"):
        ps.DecodePicture("file").touches(wrong)


def test_headers_that_never_end_are_refused_in_time() -> None:
    segments = b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_000_000
    started = time.monotonic()
    with pytest.raises(BadPicture, match="header"):
        read_header(segments)
    assert time.monotonic() - started < 10


# ---------------------------------------------------------------- real files


@pytest.mark.skipif(DATA is None, reason="PENSTOCK_DATA is not set")
def test_every_odd_file_is_right_or_refused_with_its_reason() -> None:
    root = Path(str(DATA)) / "images-odd"
    differ = {
        "basi0g16.png": "Pillow clips 16 bits",
        "fcTL-dispose-in-region-previous.png": "Pillow takes the still picture, not the first frame",
        "hpredict.tiff": "Pillow undoes the premultiplied alpha",
        "hpredict_packbits.tiff": "Pillow undoes the premultiplied alpha",
        "issue_1455_undersized.gif": "what no frame covers has the color of the background",
        "alpha_gif_a.gif": "what is transparent has the color of the background",
    }
    outcomes: Counter[str] = Counter()
    for path in sorted(root.rglob("*.*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        started = time.monotonic()
        out = run([data], 64, "fit", channels=3)
        assert time.monotonic() - started < 10, path.name
        if len(out) == 0:
            assert out.rejected is not None and out.rejected.column("reason")[0].as_py()
            outcomes[out.rejected.column("code")[0].as_py()] += 1
            continue
        outcomes["decoded"] += 1
        try:
            expected = by_pillow(data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        found = decoded(data).astype(int)
        near = found.shape == expected.shape and np.abs(found - expected).mean() < 4.0
        assert near or path.name in differ, path
    assert outcomes["decoded"] >= 280 and outcomes["not_a_picture"] >= 60 and outcomes["bad_picture"] >= 30, outcomes
