"""Sequences of different lengths side by side: padded, each to a length that follows from it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SHORTEST = 8


def padded_length(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The length that sequences are padded to: 8, 12, 16, 24, 32, 48, ..., int64 of the same shape.

    Example:
        >>> padded_length(np.array([0, 8, 9, 13, 100])).tolist()
        [8, 8, 12, 16, 128]
    """
    longest = int(lengths.max(initial=0))
    sizes = [_SHORTEST]
    while sizes[-1] < longest:
        sizes += [sizes[-1] * 3 // 2, sizes[-1] * 2]
    return np.asarray(sizes, np.int64)[np.searchsorted(sizes, lengths)]


def pad(values: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Tokens one row after the other, and where each row begins (rows + 1 places), as int64 of shape (rows, length).

    0 is padding, at the end; a token is its place in the vocabulary + 1. The length is the longest `padded_length`.

    Example:
        >>> pad(np.array([5, 6, 7], np.int32), np.array([0, 2, 2, 3]))[:, :3].tolist()
        [[6, 7, 0], [0, 0, 0], [8, 0, 0]]
    """
    lengths = np.diff(offsets)
    out = np.zeros((len(lengths), int(padded_length(lengths).max(initial=_SHORTEST))), np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], lengths)
    out[rows, places] = values[offsets[0] : offsets[-1]].astype(np.int64) + 1
    return out
