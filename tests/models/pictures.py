"""Small pictures that are made, for tests: a stroke down, across or aslant on noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CROSSES = ("across", "aslant", "down")


def crosses(rows: int, side: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Pictures, shape (rows, side, side, 1), and int32 codes of `CROSSES`."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 3, rows).astype(np.int32)
    pictures = random.integers(0, 60, (rows, side, side, 1)).astype(np.uint8)
    for row, code in enumerate(codes):
        begin, long = random.integers(0, side // 3), side // 2
        at = slice(begin, begin + long)
        if code == 0:
            pictures[row, begin, at] = 220
        elif code == 1:
            pictures[row, at, at][np.eye(long, dtype=bool)] = 220
        else:
            pictures[row, at, begin] = 220
    return pictures, codes
