"""Sizes of layers that follow from the data. No torch is needed to know them."""

from __future__ import annotations

import math


def embedding_size(categories: int) -> int:
    """How long the embedding of so many categories is: fastai's rule, ``min(600, round(1.6 * n^0.56))``.

    Howard and Gugger, "fastai: A layered API for deep learning", Information 11, 2020.

    Example:
        >>> [embedding_size(n) for n in (2, 10, 1000)]
        [2, 6, 77]
    """
    return min(600, round(1.6 * math.pow(categories, 0.56)))
