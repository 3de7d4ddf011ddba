"""The bytes of a clip's file -> what is in it: the compressed frames and when each is shown. No step itself.

Nothing but the given bytes is ever opened. FFmpeg reads them through `Reading`, has no protocol to open anything else
with, and is left no format that names other files (playlists, scripts).
"""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.errors import MissingExtra

Floats: TypeAlias = npt.NDArray[np.float64]

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "flv",
    "asf", "ogg", "gif", "ivf", "obu", "mjpeg", "mxf", "dv",
)  # fmt: skip
"""The formats that are read, by FFmpeg's names: each is one file with frames in it."""
_READ_AT_ONCE = 2**17
_SIZE = 0x10000  # FFmpeg asks for the size by a seek with this
_MOST_BOXES = 2**16
_MARGIN = 32
_USUAL_RATE = 25.0


class BadClip(Exception):
    """A clip that is rejected: ``code`` for machines, ``reason`` for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What a clip may ask for.

    Attributes:
        pixels: of a frame, height times width.
        bytes: of the file.
        frames: that are in the file and looked at.
        duration: [s].
        processor: what decoding may take [s of one core].
    """

    pixels: int
    bytes: int
    frames: int
    duration: float
    processor: float


@dataclass(frozen=True, slots=True)
class Need:
    """What of a clip is needed, where that is known before it is read.

    Attributes:
        until: frames that are shown later are not [s].
        start: of those from here on [s].
        frames: so many are.
    """

    until: float = math.inf
    start: float = 0.0
    frames: float = math.inf


@cache
def pyav() -> Any:
    """The module ``av``. It keeps FFmpeg's log to itself: what is wrong with a clip stands in its reject.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra(
            "clips need PyAV, and it is not installed", got=str(error), remedy="pip install 'penstock[video]'"
        ) from error
    return av


class Reading:
    """What FFmpeg reads a clip through: a run of bytes with a place in it, and a clock that ends it.

    The clock counts what the thread computes, not what it waits: a busy machine rejects nothing.
    """

    def __init__(self, size: int, part: Callable[[int, int], bytes], limits: Limits) -> None:
        self.size = size
        self._part = part
        self._place = 0
        self._limits = limits
        self._end = time.thread_time() + limits.processor

    def check(self) -> None:
        """Raise where the time is over.

        Raises:
            BadClip: it is.
        """
        if time.thread_time() > self._end:
            raise BadClip("too_slow", f"decoding takes more than {self._limits.processor:g} s")

    def at(self, place: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``place`` on."""
        return self._part(place, count)

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes from here on."""
        self.check()
        found = self._part(self._place, count)
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; beyond the end there is nothing."""
        if whence == _SIZE:
            return self.size
        self._place = max(0, (0, self._place, self.size)[whence] + offset)
        return self._place

    def tell(self) -> int:
        """The place where it reads next."""
        return self._place


@contextmanager
def reading(value: memoryview | str, limits: Limits) -> Iterator[Reading]:
    """The bytes of a clip, from memory or from a file.

    Args:
        value: the encoded clip, or the absolute path of its file.
        limits: what it may ask for.

    Raises:
        BadClip: it can't be read, or is too large.
    """
    if not isinstance(value, str):
        held = value
        _check_size(len(held), limits)
        yield Reading(len(held), lambda place, count: bytes(held[place : place + count]), limits)
        return
    if not Path(value).is_absolute() or "\0" in value:
        raise BadClip("unreadable", "not the absolute path of a file")
    try:  # not to wait for the other end, where it is a pipe
        file = os.open(value, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadClip("unreadable", f"the file can't be opened: {error.strerror}") from error
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise BadClip("unreadable", "not a file")
        _check_size(facts.st_size, limits)
        yield Reading(facts.st_size, lambda place, count: os.pread(file, count, place), limits)
    except OSError as error:
        raise BadClip("unreadable", f"the file can't be read: {error.strerror or error}") from error
    finally:
        os.close(file)


def _check_size(size: int, limits: Limits) -> None:
    if size == 0:
        raise BadClip("bad_clip", "no bytes at all")
    if size > limits.bytes:
        raise BadClip("too_many_bytes", f"a file of {size:,} bytes; at most {limits.bytes:,} are decoded")


def check_whole(file: Reading) -> None:
    """Refuse a file that is shorter than it says: a part of a clip is not taken for the whole.

    MP4 and QuickTime (ISO 14496-12, 4.2), Matroska and WebM (RFC 8794, 4 to 6) and AVI say how long they are.

    Raises:
        BadClip: it is cut off.
    """
    head = file.at(0, 64)
    if head[:4] == b"RIFF":
        end = 8 + int.from_bytes(head[4:8], "little")
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        end = _end_of_segment(file, head)
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        end = _end_of_boxes(file)
    else:
        return
    if end > file.size:
        raise BadClip("bad_clip", f"cut off: {file.size:,} bytes are there of {end:,}")


def _end_of_segment(file: Reading, head: bytes) -> int:
    start, size = _ebml_size(head, 4)
    if size is None:
        return 0
    segment = file.at(start + size, 16)
    if segment[:4] != b"\x18\x53\x80\x67":
        return 0
    inner, length = _ebml_size(segment, 4)
    return 0 if length is None else start + size + inner + length


def _ebml_size(held: bytes, place: int) -> tuple[int, int | None]:
    """Where the content of an element begins, and how long it is; None where that is left open."""
    first = held[place] if place < len(held) else 0
    width = 9 - first.bit_length()
    if width > 8 or place + width > len(held):
        return place, None
    value = int.from_bytes(held[place : place + width], "big") & ((1 << 7 * width) - 1)
    return place + width, None if value == (1 << 7 * width) - 1 else value


def _end_of_boxes(file: Reading) -> int:
    place = 0
    for _ in range(_MOST_BOXES):
        header = file.at(place, 16)
        if len(header) < 8:
            break
        size = int.from_bytes(header[:4], "big")
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if size < 8 or not header[4:8].isascii():  # 0: up to the end of the file; else no box
            break
        place += size
    return place


@dataclass(frozen=True)
class Clip:
    """What is in a clip's file.

    Attributes:
        file: what it is read through.
        stream: PyAV's stream of frames.
        packets: the compressed frames, in the order in which they are decoded.
        labels: of each frame, in the order in which they are shown, what tells it from the others: its time in ticks,
            or where the file has no times its number.
        places: of each frame, in the order in which they are shown, its place in ``packets``.
        times: when each is shown, from the first [s].
        duration: when the last one ends [s].
        tick: how exact times are [s].
        timed: whether the file has times.
    """

    file: Reading
    stream: Any
    packets: list[Any]
    labels: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    times: Floats
    duration: float
    tick: float
    timed: bool


@contextmanager
def opened(file: Reading, limits: Limits, need: Need) -> Iterator[Clip]:
    """Open a clip once and read its compressed frames; nothing is decoded yet.

    Args:
        file: its bytes.
        limits: what it may ask for.
        need: what of it is needed; the rest is not read.

    Raises:
        BadClip: it is beyond the limits, damaged, or has no frames.
    """
    av = pyav()
    check_whole(file)
    asked = {"max_pixels": str(limits.pixels), "threads": "1"}
    only = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    try:
        container = av.open(file, options={**asked, **only}, buffer_size=_READ_AT_ONCE, metadata_errors="replace")
    except av.FFmpegError as error:
        raise BadClip("bad_clip", f"not a clip, or of a format that is not read: {_told(error)}") from error
    with container:
        videos = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
        if not videos:
            raise BadClip("no_video", "there is no video in the file")
        stream = videos[0]
        context = stream.codec_context
        if context is None:
            raise BadClip("bad_clip", "the frames are of a kind that can't be decoded")
        check_pixels(context.height, context.width, limits)
        context.options = asked
        context.thread_type, context.thread_count = "NONE", 1
        try:
            yield _scanned(file, container, stream, limits, need)
        except av.FFmpegError as error:
            raise BadClip("bad_clip", f"the clip is damaged: {_told(error)}") from error


def _told(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def check_pixels(height: int, width: int, limits: Limits) -> None:
    """Refuse frames that are too large.

    Raises:
        BadClip: they are.
    """
    if height * width > limits.pixels:
        raise BadClip(
            "too_many_pixels", f"frames of {height:,} x {width:,} pixels; at most {limits.pixels:,} are decoded"
        )


def _scanned(file: Reading, container: Any, stream: Any, limits: Limits, need: Need) -> Clip:
    packets: list[Any] = []
    tick = float(stream.time_base or 0)
    last = need.until / tick + 1 if tick else np.inf
    first = None
    look = need.frames + _MARGIN
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.is_corrupt:
            raise BadClip("bad_clip", "the clip is damaged or cut off")
        packets.append(packet)
        if len(packets) > limits.frames:
            raise BadClip("too_many_frames", f"more than {limits.frames:,} frames")
        if packet.is_discard or packet.pts is None or packet.dts is None:
            continue
        first = packet.pts if first is None else min(first, packet.pts)
        if packet.dts - first > last:  # a frame is never shown before it is decoded: what comes is later still
            break
        if len(packets) >= look:
            start = first + (need.start / tick if tick else np.inf) + 1
            shown = sum(start <= one.pts < packet.dts for one in packets if one.pts is not None and not one.is_discard)
            if shown >= need.frames:
                break
            look *= 2
    return _timed(file, stream, packets, limits)


def _timed(file: Reading, stream: Any, packets: list[Any], limits: Limits) -> Clip:
    shown = [place for place, packet in enumerate(packets) if not packet.is_discard]
    if not shown:
        raise BadClip("no_frames", "there are no frames in the clip")
    rate = float(stream.average_rate or stream.guessed_rate or stream.base_rate or _USUAL_RATE)
    # AVI holds no times: of frames that are shown in another order than decoded, FFmpeg guesses them wrongly.
    guessed = stream.container.format.name == "avi" and stream.codec_context.has_b_frames
    timed = bool(stream.time_base) and not guessed and all(packets[place].pts is not None for place in shown)
    if timed:
        tick = float(stream.time_base)
        marks = np.array([packets[place].pts for place in shown], np.int64)
        order = np.argsort(marks, kind="stable")
        labels, places = marks[order], np.array(shown, np.int64)[order]
        times = (labels - labels[0]) * tick
        span = packets[places[-1]].duration
        end = float(times[-1]) + (span * tick if span else 1 / rate)
    else:
        labels = np.arange(len(shown), dtype=np.int64)
        tick, places, times, end = 0.0, np.array(shown, np.int64), labels / rate, len(shown) / rate
    if end > limits.duration:
        raise BadClip("clip_too_long", f"it lasts {end:,.1f} s; at most {limits.duration:,.1f} s are allowed")
    return Clip(file, stream, packets, labels, places, times, end, tick, timed)
