"""Which frames of a clip are taken. No step itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from penstock.steps.clips_reading import BadClip, Floats, Need

How: TypeAlias = Literal["even", "rate", "every", "key_frames"]
Places: TypeAlias = npt.NDArray[np.int64]

HOWS = ("even", "rate", "every", "key_frames")
_EXACT = 1e-9
_NEARLY = 1e-3


@dataclass(frozen=True, slots=True)
class Sampling:
    """How frames are chosen: see `penstock.steps.clips.DecodeClip`.

    Example:
        >>> second = np.arange(25) / 25
        >>> Sampling("even", 5).of(second, second == 0, 1.0, 0.0).tolist()
        [2, 7, 12, 17, 22]
        >>> Sampling("rate", 4, rate=5.0, start=0.5).of(second, second == 0, 1.0, 0.0).tolist()
        [12, 17, 22, 22]
        >>> Sampling("every", 4, every=2, end=0.2).of(second, second == 0, 1.0, 0.0).tolist()
        [0, 2, 4, 4]
    """

    how: How
    frames: int
    rate: float = 1.0
    every: int = 1
    start: float = 0.0
    end: float | None = None

    @property
    def need(self) -> Need:
        """What of a clip has to be read."""
        end = math.inf if self.end is None else self.end
        if self.how == "every":
            return Need(end, self.start, (self.frames - 1) * self.every + 1)
        return Need(min(end, self.start + (self.frames - 1) / self.rate) if self.how == "rate" else end)

    def of(self, times: Floats, keys: npt.NDArray[np.bool_], duration: float, tick: float) -> Places:
        """The places of the frames that are taken, ascending, shape (frames,).

        Args:
            times: when each frame is shown, from the first on, ascending [s].
            keys: which are key frames.
            duration: when the last ends [s].
            tick: times are rounded to this [s].

        Raises:
            BadClip: there is none.
        """
        end = duration if self.end is None else min(self.end, duration)
        near = min(tick / 2, _NEARLY) + _EXACT  # a frame of 33 1/3 ms may stand in the file at 34 ms
        if self.start >= end:
            raise BadClip("no_frames", f"the clip ends at {duration:.3f} s, and is asked for from {self.start:g} s")
        if self.how in ("even", "rate"):
            count = np.arange(self.frames)
            if self.how == "even":
                asked = self.start + (count + 0.5) * ((end - self.start) / self.frames)
            else:
                asked = self.start + count / self.rate
                asked = asked[asked < end - near]
            found = np.maximum(np.searchsorted(times, asked + near, side="right") - 1, 0)
        else:
            found = np.flatnonzero((times >= self.start - near) & (times < end - near))
            found = found[:: self.every] if self.how == "every" else found[keys[found]]
        if not len(found):
            what = "key frame" if self.how == "key_frames" else "frame"
            raise BadClip("no_frames", f"no {what} between {self.start:g} s and {end:.3f} s")
        return np.pad(found[: self.frames], (0, max(0, self.frames - len(found))), mode="edge").astype(np.int64)
