"""The chosen frames of a clip -> pixels, upright and of one size. No step itself.

Frames are decoded from the last key frame before them; what lies between is skipped. FFmpeg's swscale makes colors and
the size at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.steps.clips_reading import BadClip, Clip, Limits, check_pixels, pyav
from penstock.steps.clips_sampling import Sampling
from penstock.steps.pictures_fitting import Mode, inner_size

Pixels: TypeAlias = npt.NDArray[np.uint8]
Way: TypeAlias = tuple[bool, bool, bool]
"""How pixels are turned upright: rows and columns change places, then columns, then rows are reversed."""

UPRIGHT: Way = (False, False, False)
_SKIPPING = ("h264", "hevc")
"""Decoders that can be told frame by frame whether to skip those that no other frame is made from."""


def write_frames(clip: Clip, sampling: Sampling, limits: Limits, mode: Mode, out: Pixels) -> None:
    """Decode the chosen frames of a clip into ``out``, shape (frames, height, width, channels).

    Raises:
        BadClip: they can't be decoded.
    """
    keys = np.array([bool(clip.packets[place].is_keyframe) for place in clip.places])
    wanted = sampling.of(clip.times, keys, clip.duration, clip.tick)
    different, first = np.unique(wanted, return_index=True)
    picture = Picture(clip, limits, mode)
    ends = [*first[1:].tolist(), len(wanted)]
    for start, end, frame in zip(first.tolist(), ends, decoded(clip, different), strict=False):  # nothing beyond
        picture.write(frame, out[start])
        out[start + 1 : end] = out[start]


def decoded(clip: Clip, wanted: npt.NDArray[np.int64]) -> Iterator[Any]:
    """The frames of these places (ascending, each once), as PyAV has them; where one is lost, the one before it.

    Raises:
        BadClip: the clip is damaged, takes too long, or has no frame that can be decoded.
    """
    left = deque(clip.labels[wanted].tolist())
    if clip.timed:
        for frame in _skipping(clip, wanted):
            if frame.is_corrupt or frame.pts > left[0]:
                break  # not all that are said to be key frames are so
            if frame.pts == left[0]:
                left.popleft()
                yield frame
            if not left:
                return
        clip.stream.codec_context.flush_buffers()
        clip.stream.codec_context.skip_frame = "DEFAULT"
    yield from _plainly(clip, left)


def _plainly(clip: Clip, left: deque[int]) -> Iterator[Any]:
    """The frames of these labels, all before them decoded."""
    last: Any = None
    frames = (frame for packet in (*clip.packets, None) for frame in _given(clip, packet))
    for number, frame in enumerate(frames):
        if frame.is_corrupt:
            raise BadClip("bad_clip", "the clip is damaged: a frame can't be decoded in full")
        label = frame.pts if clip.timed else number
        while left and label is not None and label >= left[0]:
            yield frame if label == left.popleft() or last is None else last
        if not left:
            return
        last = frame
    if last is None:
        raise BadClip("no_frames", "no frame of the clip can be decoded")
    for _ in left:
        yield last


def _skipping(clip: Clip, wanted: npt.NDArray[np.int64]) -> Iterator[Any]:
    """Frames in the order in which they are shown, those wanted among them: as few others as can be."""
    context = clip.stream.codec_context
    taken = set(clip.places[wanted].tolist())
    skips = context.name in _SKIPPING
    fed = 0
    for start, stop in _runs(clip, wanted):
        if start > fed:
            if fed:
                yield from (frame for frame in _given(clip, None) if frame.pts is not None)
                context.flush_buffers()
            fed = start
        for place in range(fed, stop):
            if skips:
                context.skip_frame = "DEFAULT" if place in taken else "NONREF"
            yield from (frame for frame in _given(clip, clip.packets[place]) if frame.pts is not None)
        fed = max(fed, stop)
    yield from (frame for frame in _given(clip, None) if frame.pts is not None)


def _given(clip: Clip, packet: Any) -> list[Any]:
    clip.file.check()
    found: list[Any] = clip.stream.codec_context.decode(packet)
    return found


def _runs(clip: Clip, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """For each frame the packets that it takes, (first, one after the last): from the last key frame before it on."""
    keys = [place for place, packet in enumerate(clip.packets) if packet.is_keyframe and packet.pts is not None]
    keys.sort(key=lambda place: (clip.packets[place].pts, place))
    marks = np.array([clip.packets[place].pts for place in keys], np.int64)
    before = np.searchsorted(marks, clip.labels[wanted], side="right") - 1
    for key, place in zip(before.tolist(), clip.places[wanted].tolist(), strict=True):
        start = keys[key] if key >= 0 else 0
        yield min(start, place), place + 1


@dataclass
class Picture:
    """Writes frames as pixels; keeps what swscale has computed for frames of one size."""

    clip: Clip
    limits: Limits
    mode: Mode

    def __post_init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        ratio = self.clip.stream.sample_aspect_ratio
        self._ratio = float(ratio) if ratio else 1.0

    def write(self, frame: Any, out: Pixels) -> None:
        """Write a frame into ``out``, shape (height, width, channels): upright, in its place and its size.

        Raises:
            BadClip: the frame is too large.
        """
        check_pixels(frame.height, frame.width, self.limits)
        way = way_of(frame)
        size = (out.shape[0], out.shape[1])
        inner = inner_size(*self.shown(frame), size, self.mode)
        check_pixels(*inner, self.limits)
        found = turned(self._scaled(frame, inner[::-1] if way[0] else inner, out.shape[2]), way)
        if self.mode == "fill":
            top, left = (inner[0] - size[0]) // 2, (inner[1] - size[1]) // 2
            out[:] = found[top : top + size[0], left : left + size[1]]
        elif inner == size:
            out[:] = found
        else:
            top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
            out[:] = 0
            out[top : top + inner[0], left : left + inner[1]] = found

    def shown(self, frame: Any) -> tuple[int, int]:
        """The height and the width of a frame upright, its pixels square unless it is to be stretched anyway."""
        width = max(1, round(frame.width * self._ratio)) if self.mode != "exact" else frame.width
        return (width, frame.height) if way_of(frame)[0] else (frame.height, width)

    def _scaled(self, frame: Any, size: tuple[int, int], channels: int) -> Pixels:
        height, width = size
        shrinks = height <= frame.height and width <= frame.width and size != (frame.height, frame.width)
        plane: Any = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24" if channels == 3 else "gray",
            interpolation="AREA" if shrinks else "BILINEAR",
            threads=1,
        ).planes[0]
        lines: Pixels = np.frombuffer(plane, np.uint8)[: height * plane.line_size].reshape(height, plane.line_size)
        return lines[:, : width * channels].reshape(height, width, channels)


def way_of(frame: Any) -> Way:
    """How a frame is turned upright, from its display matrix (ISO 14496-12, 8.3.2): a multiple of 90 degrees, mirrored
    or not."""
    av = pyav()
    found = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
    if found is None:
        return UPRIGHT
    held = np.frombuffer(bytes(found), np.int32)
    a, b, c, d = (int(held[place]) for place in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def turned(pixels: Pixels, way: Way) -> Pixels:
    """Pixels turned upright.

    Example:
        >>> turned(np.array([[1, 2], [3, 4]], np.uint8), (True, True, False)).tolist()
        [[3, 1], [4, 2]]
    """
    transposed, columns, rows = way
    if transposed:
        pixels = pixels.swapaxes(0, 1)
    if columns:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if rows else pixels
