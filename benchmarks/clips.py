"""How fast clips are decoded, next to PyAV alone on the same frames in the same run, on one core.

PyAV: `decode` and `to_ndarray(format="rgb24")` of each frame, on one thread; with `--size` it resizes in the same call.
The arrays are kept, as whoever uses the clip has to; `--drop` has PyAV forget each at once, which spares it the memory.
Penstock: the step `decode_clip`, which opens, checks, decodes, resizes and writes into the batch. Every frame of the
clip is taken, up to `--frames`. The two take turns; what is shown are medians.

    python -m benchmarks.clips CLIP [CLIP ...] [--size 112]

Without a clip, one of 300 frames of 640 x 360 is made.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make(path: Path, frames: int = 300, height: int = 360, width: int = 640) -> None:
    """Write a clip of noise that moves."""
    import av
    import numpy as np

    ground = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            shown = np.ascontiguousarray(np.roll(ground, 2 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def bare(path: Path, frames: int, size: tuple[int, int] | None, drop: bool = False) -> int:
    """PyAV alone; how many frames it decoded."""
    import av

    height, width = size or (None, None)
    kept: list[Any] = []
    done = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for frame in container.decode(stream):
            kept.append(frame.to_ndarray(format="rgb24", height=height, width=width))
            if drop:
                kept.clear()
            done += 1
            if done == frames:
                break
    return done


def step(path: Path, frames: int, size: tuple[int, int]) -> Callable[[], None]:
    """The step, fitted: what one call decodes."""
    import pyarrow as pa

    from penstock.schema import Field, Role, Schema
    from penstock.step import Use
    from penstock.steps.clips import DecodeClip
    from penstock.testing.steps import batch_of, fit_step

    schema = Schema((Field("clip", pa.string(), Role.clip),))
    batch = batch_of(schema, {"clip": [str(path.resolve())]})
    fitted = fit_step(DecodeClip("clip", frames, size, sampling="every"), schema, [])

    def decode() -> None:
        assert len(fitted.transform(batch, Use())) == 1, "the clip is rejected"

    return decode


def measure(path: Path, most: int, side: int | None, repeats: int, drop: bool) -> None:
    """Decode one clip by turns, and print a line."""
    import av

    with av.open(str(path)) as container:
        shape = container.streams.video[0].height, container.streams.video[0].width
    count = bare(path, most, None, drop=True)
    asked = None if side is None else (side, side)
    ours = step(path, count, asked or shape)
    seconds: dict[str, list[float]] = {"bare": [], "step": []}
    for _ in range(repeats + 1):
        start = time.perf_counter()
        bare(path, most, asked, drop)
        middle = time.perf_counter()
        ours()
        seconds["bare"].append(middle - start)
        seconds["step"].append(time.perf_counter() - middle)
    first, second = (count / statistics.median(seconds[name][1:]) for name in ("bare", "step"))  # the first warms up
    print(
        f"{path.name:<34} {count:5} frames of {shape[0]} x {shape[1]}"
        f"   PyAV {first:7,.0f}/s   decode_clip {second:7,.0f}/s   {second / first:5.0%}"
    )


def main() -> None:
    """Measure each clip."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--size", type=int, help="resize to a square of this side; else the clip's own size")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--drop", action="store_true", help="PyAV keeps no frames")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.mp4"
        if not options.clips:
            make(made)
        for path in options.clips or [made]:
            measure(path, options.frames, options.size, options.repeats, options.drop)


if __name__ == "__main__":
    main()
