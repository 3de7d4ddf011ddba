"""Clips as tensors: which frames are taken, how they lie, and what is rejected."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.batch import Batch
from penstock.errors import SchemaError, UsageError
from penstock.schema import Field, Role, Schema, tensor
from penstock.step import Use
from penstock.steps.clips import DecodeClip
from penstock.steps.clips_frames import turned
from penstock.testing.steps import batch_of, check_step, fit_step

BYTES = Schema((Field("clip", pa.binary(), Role.clip), Field("x", pa.float64(), Role.number)))
PATHS = Schema((Field("clip", pa.string(), Role.clip), Field("x", pa.float64(), Role.number)))
HEIGHT, WIDTH, FRAMES = 48, 64, 50
DATA = Path(os.environ.get("PENSTOCK_DATA", "")) / "video"
Clip = npt.NDArray[np.uint8]


def picture(number: int) -> Clip:
    """The frame of this number: told by its brightness, with a square that moves."""
    found = np.full((HEIGHT, WIDTH, 3), 20 + 4 * number, np.uint8)
    found[8:24, number : number + 8] = 250
    return found


@cache
def clip(
    kind: str = "mp4",
    codec: str = "libx264",
    options: tuple[tuple[str, str], ...] = (("g", "10"), ("bf", "3"), ("sc_threshold", "0")),
    ticks: tuple[int, ...] | None = None,
    pixels: str = "yuv420p",
    degrees: int = 0,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> bytes:
    """A clip of 25 frames a second; ``ticks`` says instead in which 1/25 s each frame is shown."""
    held = io.BytesIO()
    with av.open(held, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=25, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        if degrees:
            stream.set_display_rotation(degrees)
        for number, tick in enumerate(ticks or range(FRAMES)):
            frame = av.VideoFrame.from_ndarray(np.resize(picture(number), (*size, 3)), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return held.getvalue()


@cache
def plain(held: bytes) -> list[Clip]:
    """What PyAV decodes, upright; no more than 200 frames."""
    with av.open(io.BytesIO(held)) as container:
        found = islice(container.decode(video=0), 200)
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in found]


def decode(values: Sequence[bytes | str | None], schema: Schema = BYTES, **arguments: Any) -> Batch:
    fitted = fit_step(DecodeClip("clip", **{"frames": 4, "size": (HEIGHT, WIDTH), **arguments}), schema, [])
    return fitted.transform(batch_of(schema, {"clip": values, "x": [0.0] * len(values)}), Use())


def frames(value: bytes | str, **arguments: Any) -> Clip:
    out = decode([value], BYTES if isinstance(value, bytes) else PATHS, **arguments)
    assert out.rejected is None, out.rejected.column("reason")
    return np.asarray(out.column("clip").to_numpy_ndarray()[0])


def rejected(value: bytes | str | None, **arguments: Any) -> tuple[str, str]:
    out = decode([value], PATHS if isinstance(value, str) else BYTES, **arguments)
    assert len(out) == 0 and out.rejected is not None
    return out.rejected.column("code")[0].as_py(), out.rejected.column("reason")[0].as_py()


def assert_frames(found: Clip, held: bytes, numbers: Sequence[int]) -> None:
    expected = [plain(held)[number] for number in numbers]
    assert len(found) == len(expected)
    told = [round((float(one[-8:].mean()) - 20) / 4) for one in found]
    assert np.array_equal(found, expected), f"frames {told} instead of {list(numbers)}"


KINDS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "open groups": {"options": (("x264-params", "open-gop=1:keyint=10:log=-1"), ("bf", "3"))},
    "no key frames, but said so": {"options": (("intra-refresh", "1"), ("g", "10"))},
    "matroska": {"kind": "matroska"},
    "avi, shown in another order": {"kind": "avi"},
    "avi": {"kind": "avi", "codec": "mpeg4", "options": ()},
    "transport stream": {"kind": "mpegts", "codec": "mpeg2video", "options": (("g", "10"), ("bf", "2"))},
    "raw, without times": {"kind": "h264"},
    "webm": {"kind": "webm", "codec": "libvpx", "options": (("g", "10"), ("cpu-used", "8"), ("deadline", "realtime"))},
    "gif": {"kind": "gif", "codec": "gif", "options": (), "pixels": "rgb8"},
    "ten bits": {"kind": "mov", "codec": "prores_ks", "options": (), "pixels": "yuv422p10le"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_sampling_takes_the_frames_it_says_and_they_are_those_of_pyav(kind: str) -> None:
    held = clip(**KINDS[kind])
    assert_frames(frames(held, frames=5), held, [5, 15, 25, 35, 45])
    assert_frames(frames(held, frames=4, sampling="rate", rate=2.5, start=0.4), held, [10, 20, 30, 40])
    assert_frames(frames(held, frames=3, sampling="every", every=19), held, [0, 19, 38])
    assert_frames(frames(held, frames=FRAMES, sampling="every"), held, range(FRAMES))


def test_key_frames_are_taken_alone() -> None:
    assert_frames(frames(clip(), sampling="key_frames", start=0.5), clip(), [20, 30, 40, 40])
    assert rejected(clip(), sampling="key_frames", start=0.01, end=0.3)[0] == "no_frames"


def test_a_shorter_clip_repeats_its_last_frame_and_even_parts_repeat_theirs() -> None:
    short = clip(ticks=tuple(range(3)))
    assert_frames(frames(short, frames=5, sampling="every"), short, [0, 1, 2, 2, 2])
    assert_frames(frames(short, frames=5, sampling="rate", rate=25), short, [0, 1, 2, 2, 2])
    assert_frames(frames(short, frames=6), short, [0, 0, 1, 1, 2, 2])
    one = clip(ticks=(0,))
    assert_frames(frames(one, frames=3), one, [0, 0, 0])


def test_start_and_end_are_seconds_from_the_first_frame() -> None:
    assert_frames(frames(clip(), start=1.0, end=1.4), clip(), [26, 28, 31, 33])
    assert_frames(frames(clip(), sampling="every", start=1.0, end=1.08), clip(), [25, 26, 26, 26])
    code, reason = rejected(clip(), start=2.0)
    assert (code, reason) == ("no_frames", "the clip ends at 2.000 s, and is asked for from 2 s")


def test_frames_that_are_not_equally_long_are_taken_by_their_time() -> None:
    late = clip("matroska", ticks=(100, 101, 102, 125, 150))  # the first at 4 s: time is counted from there
    assert_frames(frames(late, frames=4, sampling="rate", rate=1.99), late, [0, 2, 3, 3])
    assert_frames(frames(late, frames=3, sampling="rate", rate=1.0), late, [0, 3, 4])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_upright_as_the_file_says(degrees: int) -> None:
    held = clip(degrees=degrees)
    expected = plain(held)[5]
    found = frames(held, frames=5, size=expected.shape[:2])
    assert np.array_equal(found[0], expected)
    assert (expected.shape[0] > expected.shape[1]) == (degrees != 180)
    wide = frames(held, frames=5, size=32, mode="fit")[0]
    inside = wide[:, 8:-8] if degrees != 180 else wide[8:-8]
    assert inside.any() and not wide[:1, :1].any()


def test_mirrored_frames_are_turned_too() -> None:
    found = turned(np.arange(6, dtype=np.uint8).reshape(2, 3), (False, True, False))
    assert found.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_modes_stretch_fit_and_fill() -> None:
    whole = frames(clip(), frames=1, size=(24, 32))[0]
    fit = frames(clip(), frames=1, size=32, mode="fit")[0]
    assert np.array_equal(fit[4:28], whole) and not fit[:4].any() and not fit[28:].any()
    fill = frames(clip(), frames=1, size=(24, 16), mode="fill")[0]
    assert np.array_equal(fill, whole[:, 8:24])
    blocks = plain(clip())[25].reshape(24, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(whole - blocks).max() <= 4  # the mean of areas, up to the rounding of colors


def test_gray_is_the_luma() -> None:
    found = frames(clip(), frames=1, channels=1)[0]
    weights = plain(clip())[25] @ np.array([0.299, 0.587, 0.114])
    assert found.shape == (HEIGHT, WIDTH, 1) and np.abs(found[..., 0] - weights).max() <= 3


def test_odd_sizes_are_decoded() -> None:
    held = clip("matroska", "ffv1", (), pixels="yuv444p", size=(47, 61))
    assert_frames(frames(held, frames=2, size=(47, 61)), held, [12, 37])


def test_the_schema_says_the_shape_and_paths_give_what_bytes_give(tmp_path: Path) -> None:
    path = tmp_path / "clip é.mp4"
    path.write_bytes(clip())
    assert np.array_equal(frames(str(path)), frames(clip()))
    field = fit_step(DecodeClip("clip", 4, (5, 6)), PATHS, []).schema["clip"]
    assert (field.type, field.role) == (tensor(pa.uint8(), (4, 5, 6, 3)), Role.clip)


def test_a_path_that_is_none_is_rejected(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for value in ("clip.mp4", "file:/etc/passwd", "http://localhost/x.mp4", "", "/no\0body"):
        assert rejected(value) == ("unreadable", "not the absolute path of a file")
    assert rejected(str(pipe)) == rejected(str(tmp_path)) == rejected("/dev/zero") == ("unreadable", "not a file")
    assert rejected(str(tmp_path / "none.mp4"))[1] == "the file can't be opened: No such file or directory"
    assert rejected("/etc/passwd")[0] == "bad_clip"


def test_nothing_outside_the_file_is_opened(tmp_path: Path) -> None:
    inner = tmp_path / "inner.ts"
    inner.write_bytes(clip("mpegts", "mpeg2video", (("g", "10"), ("bf", "2"))))
    for target in (inner, Path("/etc/passwd")):
        scripts = {
            "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
            "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{target}\n#EXT-X-ENDLIST\n",
            "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            "list.mpd": f"<?xml version='1.0'?><MPD><Period><BaseURL>file://{target}</BaseURL></Period></MPD>",
        }
        for name, text in scripts.items():
            (tmp_path / name).write_text(text)
            assert rejected(text.encode())[0] == rejected(str(tmp_path / name))[0] == "bad_clip", name


def test_sound_alone_broken_and_empty_clips_are_rejected() -> None:
    held = io.BytesIO()
    with av.open(held, "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    assert rejected(held.getvalue()) == ("no_video", "there is no video in the file")
    assert rejected(b"") == ("bad_clip", "no bytes at all")
    assert rejected(None) == ("missing", "no clip")
    assert rejected(b"no clip at all, but text" * 99)[0] == "bad_clip"


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_clip_that_is_cut_off_is_rejected(kind: str, share: float) -> None:
    held = clip(kind, options=(("movflags", "faststart"),) if kind == "mp4" else ())
    code, reason = rejected(held[: int(share * len(held))])
    assert code == "bad_clip" and "cut off" in reason


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["mp4", "matroska", "avi, shown in another order"]))
def test_whatever_byte_is_another_the_clip_is_decoded_or_rejected(place: int, value: int, kind: str) -> None:
    held = bytearray(clip(**KINDS[kind]))
    held[place % len(held)] = value
    out = decode([bytes(held), clip()], frames=FRAMES, sampling="every")
    assert len(out) + (0 if out.rejected is None else out.rejected.num_rows) == 2
    assert np.array_equal(out.column("clip").to_numpy_ndarray()[-1], plain(clip()))


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"max_pixels": HEIGHT * WIDTH - 1}, "too_many_pixels"),
        ({"max_bytes": 100}, "too_many_bytes"),
        ({"max_frames": FRAMES - 1}, "too_many_frames"),
        ({"max_duration": 1.99}, "clip_too_long"),
        ({"time_limit": 1e-5}, "too_slow"),
        ({"size": (2**14, 1), "mode": "fill", "max_pixels": 2**20}, "too_many_pixels"),
    ],
)
def test_a_clip_beyond_a_limit_is_rejected(limit: dict[str, Any], code: str) -> None:
    assert rejected(clip(), **limit)[0] == code


def test_a_bad_clip_costs_its_row_alone_and_batches_may_be_cut_anywhere() -> None:
    values = [clip(), b"x", clip("matroska"), None, clip("h264"), clip(degrees=90)]
    batch = batch_of(BYTES, {"clip": values, "x": list(range(6))})
    fitted = fit_step(DecodeClip("clip", 3, 16, "fit"), BYTES, [])
    whole = fitted.transform(batch, Use())
    assert whole.keys.rows.tolist() == [0, 2, 4, 5]
    assert whole.rejected is not None and whole.rejected.column("row").to_pylist() == [1, 3]
    for cut in (1, 3):
        parts = [fitted.transform(batch.slice(0, cut), Use()), fitted.transform(batch.slice(cut, 6), Use())]
        found = [part.column("clip").to_numpy_ndarray() for part in parts]
        assert np.array_equal(np.concatenate(found), whole.column("clip").to_numpy_ndarray())


def test_the_laws_of_a_step_hold() -> None:
    small = clip(ticks=(0, 1))
    batch = batch_of(BYTES, {"clip": [small, None, b"?", clip("gif", "gif", (), (0, 1, 2), "rgb8")], "x": [1.0] * 4})
    check_step(DecodeClip("clip", 2, (4, 5)), [batch], BYTES)


def test_nothing_is_written_to_the_standard_streams(tmp_path: Path) -> None:
    for number, held in enumerate((clip()[:3000], b"\0" * 500, clip()[:2000] + b"?" * 99 + clip()[2099:])):
        (tmp_path / f"{number}.mp4").write_bytes(held)
    code = f"""
import pyarrow as pa
from penstock.schema import Field, Role, Schema
from penstock.steps.clips import DecodeClip
from penstock.testing.steps import batch_of, fit_step
from penstock.step import Use
schema = Schema((Field("clip", pa.string(), Role.clip),))
paths = [f"{tmp_path}/{{n}}.mp4" for n in range(3)]
out = fit_step(DecodeClip("clip"), schema, []).transform(batch_of(schema, {{"clip": paths}}), Use())
assert out.rejected.num_rows == 3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"frames": 0}, {"frames": True}, {"size": 0}, {"size": (3,)}, {"mode": "cover"}, {"channels": 2},
        {"sampling": "random"}, {"rate": 2.0}, {"every": 2}, {"sampling": "rate", "rate": 0}, {"start": -1},
        {"start": float("nan")}, {"end": 0}, {"start": 2, "end": 2}, {"max_pixels": 0}, {"time_limit": 0},
        {"frames": 4096, "size": 4096},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_out_of_their_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="decode_clip: "):
        DecodeClip("clip", **arguments)


def test_a_column_of_another_kind_is_refused() -> None:
    with pytest.raises(SchemaError, match="binary, the bytes of the clips' files"):
        DecodeClip("x").touches(BYTES)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the public data sets: PENSTOCK_DATA")
def test_real_clips_and_oddities_are_as_pyav_decodes_them_or_rejected() -> None:
    paths = sorted(path for path in DATA.rglob("*.m*") if path.is_file())
    good = {"h264_10bits.mp4", "av1_video.mkv", "h265_video.mp4", "unordered.mov", "video_90.mov", "video_270.mov"}
    seen = set()
    for path in paths:
        held = path.read_bytes()
        try:
            expected = plain.__wrapped__(held)  # too large to be kept
        except av.FFmpegError:
            assert rejected(str(path), frames=64, sampling="every")[0] == "bad_clip"
            continue
        count = len(expected)
        step = max(1, count // 8)
        found = frames(str(path), frames=8, sampling="every", every=step, size=expected[0].shape[:2])
        for place, frame in enumerate(found):
            assert np.array_equal(frame, expected[min(place * step, (count - 1) // step * step)]), (path, place)
        seen.add(path.name)
    assert good <= seen
