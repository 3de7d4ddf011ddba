"""Pictures and clips drawn for the tests of networks: what is on them is known."""

from __future__ import annotations

import numpy as np
import torch


def shapes(count: int, side: int, channels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares (0), crosses (1) and rings (2) near the middle, of random brightness on noise.

    Pictures float32 (count, channels, side, side), about standardized, and their classes (count,).
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    pictures = random.normal(0, 0.2, (count, channels, side, side))
    classes = random.integers(0, 3, count)
    for picture, kind in zip(pictures, classes, strict=True):
        radius = side // 4
        down, across = abs(np.stack([rows, columns]) - side // 2 - random.integers(-2, 3, (2, 1, 1)))
        inside = (down <= radius) & (across <= radius)
        cross = inside & (np.minimum(down, across) <= radius // 4)
        ring = abs(np.hypot(down, across) - radius) <= 1
        picture[:, (inside, cross, ring)[kind]] += random.uniform(1, 2)
    return torch.from_numpy(pictures).float(), torch.from_numpy(classes)


def moving(count: int, frames: int, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bar that goes to the right (0) or to the left (1): the frames are the same, only their order is not.

    Clips float32 (count, frames, 1, side, side), and their classes (count,).
    """
    random = np.random.default_rng(seed)
    clips = random.normal(0, 0.1, (count, frames, 1, side, side))
    classes = random.integers(0, 2, count)
    for clip, kind in zip(clips, classes, strict=True):
        start = random.integers(0, side - frames + 1)
        for place, frame in enumerate(clip[::-1] if kind else clip):
            frame[0, :, start + place] += 2
    return torch.from_numpy(clips).float(), torch.from_numpy(classes)
