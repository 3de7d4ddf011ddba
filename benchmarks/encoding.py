"""Compares the encoding of texts and of categories with scikit-learn's, in one run.

    python -m benchmarks.encoding [--rows 200000] [--texts FILE.tsv] [--repeats 5] [--json result.json]

Two jobs, each with interleaved repeats of both sides on the same rows in memory, on one process and its threads:

- TF-IDF: fit on all rows and transform them (scikit-learn: `TfidfVectorizer.fit_transform`), words of a generated
  text, and of FILE where it is given (label, tab, text: the UCI SMS spam collection).
- Target encoding: fit, and encode each row from the folds that it is not in (scikit-learn: `TargetEncoder.
  fit_transform`, with the same number of folds), for a category of 100 and one of 50,000 values and a target of two
  classes and of numbers.

Penstock's blocks are of 65,536 rows, as in a job; scikit-learn has all rows at once. What is printed is the least time
of the repeats [s] and Penstock's share of scikit-learn's, and how far the results are apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import TargetEncoder

from penstock.batch import Batch, RowKeys
from penstock.schema import Field, Role, Schema
from penstock.step import FittedStep, Step, Use
from penstock.steps.target_encode import TargetEncode
from penstock.steps.tokens import TfIdf
from penstock.testing.steps import fit_step
from penstock.vectors import as_matrix

BLOCK = 65_536
WORDS = 50_000


def texts(rows: int, seed: int = 0) -> list[str]:
    """Texts of 5 to 40 words, drawn by Zipf's law."""
    random = np.random.default_rng(seed)
    words = np.array(["".join(chr(97 + int(d)) for d in np.base_repr(i + 700, 26).translate(_DIGITS)) for i in range(0)])
    words = np.array([_word(i) for i in range(WORDS)])
    lengths = random.integers(5, 41, rows)
    drawn = words[(random.zipf(1.2, int(lengths.sum())) - 1) % WORDS].tolist()
    ends = np.cumsum(lengths).tolist()
    return [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]
