"""Compares the encoding of texts and of categories with scikit-learn's, in one run.

    python -m benchmarks.encoding [--rows 200000] [--texts FILE.tsv] [--repeats 5] [--json result.json]

Every job learns from all rows and then encodes them, both sides in turn, on the same rows in memory:

- TF-IDF of words (scikit-learn: `TfidfVectorizer.fit_transform`): of generated texts, and of FILE where it is given
  (label, tab, text: such as the SMS spam collection of the UCI repository).
- Target encoding of a category of 100 and of one of 50,000 values, by two classes and by numbers, each row from the
  folds that it is not in (scikit-learn: `TargetEncoder.fit_transform`, with as many folds).

Penstock takes blocks of 65,536 rows, as in a job; scikit-learn has all rows at once. Printed are the least times of the
repeats, and how far apart the results are: of target encoding those for new rows, since the folds are not the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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


@dataclass(frozen=True)
class Result:
    """One job: rows, the least time of each side [s], and the greatest difference between their results."""

    job: str
    rows: int
    penstock: float
    scikit_learn: float
    difference: float


def blocks(columns: dict[str, pa.Array]) -> list[Batch]:
    """The rows as a source would give them."""
    rows = pa.record_batch(columns)
    starts = range(0, rows.num_rows, BLOCK)
    return [
        Batch(part := rows.slice(start, BLOCK), RowKeys.span("benchmark", start, part.num_rows)) for start in starts
    ]


def texts(rows: int, seed: int = 0) -> list[str]:
    """Texts of 5 to 40 words, which are drawn by Zipf's law."""
    random = np.random.default_rng(seed)
    words = np.array(["w" + np.base_repr(7 * number + 1000, 36).lower() for number in range(WORDS)])
    lengths = random.integers(5, 41, rows)
    drawn = words[(random.zipf(1.2, int(lengths.sum())) - 1) % WORDS].tolist()
    ends = np.cumsum(lengths).tolist()
    return [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]


def fit_transform(step: Step, schema: Schema, rows: list[Batch]) -> tuple[FittedStep, list[Batch]]:
    """What a training does with a step."""
    fitted = fit_step(step, schema, rows)
    return fitted, [fitted.transform(batch, Use("train")) for batch in rows]


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> tuple[tuple[Any, float], tuple[Any, float]]:
    """The last result and the least time of both [s], measured in turn."""
    times: list[tuple[float, float]] = []
    found: tuple[Any, Any] = (None, None)
    for _ in range(repeats):
        start = time.perf_counter()
        one = ours()
        middle = time.perf_counter()
        other = theirs()
        times.append((middle - start, time.perf_counter() - middle))
        found = (one, other)
    least = [min(part) for part in zip(*times, strict=True)]
    return (found[0], least[0]), (found[1], least[1])


def tfidf(job: str, values: list[str], repeats: int) -> Result:
    """TF-IDF of words, every word kept."""
    schema = Schema((Field("text", pa.string(), Role.text),))
    rows = blocks({"text": pa.array(values)})
    step = TfIdf("text", "word", min_df=1, max_features=2**20)
    ours, theirs = in_turn(
        lambda: fit_transform(step, schema, rows), lambda: TfidfVectorizer().fit_transform(values), repeats
    )
    (fitted, out), matrix = ours[0], theirs[0]
    column = pa.concat_arrays([batch.column("text") for batch in out])
    apart = abs(as_matrix(column, fitted.schema["text"].width) - matrix).max()
    return Result(job, len(values), ours[1], theirs[1], float(apart))


def target(job: str, values: list[str], labels: npt.NDArray[Any], repeats: int) -> Result:
    """Target encoding with the folds left out."""
    role = Role.boolean if labels.dtype == np.bool_ else Role.number
    column = pa.array(labels)
    schema = Schema((Field("c", pa.string(), Role.category), Field("y", column.type, Role.target, values=role)))
    rows = blocks({"c": pa.array(values), "y": column})
    table = np.array(values, object)[:, None]
    encoder = TargetEncoder()
    ours, theirs = in_turn(
        lambda: fit_transform(TargetEncode("c"), schema, rows), lambda: encoder.fit_transform(table, labels), repeats
    )
    fitted, _ = ours[0]
    found = np.concatenate([fitted.transform(batch, Use()).column("c").to_numpy() for batch in rows])
    apart = np.abs(found - encoder.transform(table)[:, 0]).max()
    return Result(job, len(values), ours[1], theirs[1], float(apart))


def main() -> None:
    """Run every job and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    results = [tfidf("TF-IDF, generated texts", texts(options.rows // 2), options.repeats)]
    if options.texts is not None:
        lines = options.texts.read_text("utf-8").splitlines()
        given = [line.split("\t", 1)[1] for line in lines if "\t" in line]
        results.append(tfidf(f"TF-IDF, {options.texts.name}", given, options.repeats))
    for size in (100, WORDS):
        values = [f"k{number}" for number in random.integers(0, size, options.rows)]
        classes, numbers = random.random(options.rows) < 0.3, random.normal(size=options.rows)
        results.append(target(f"target encoding, {size:,} categories, classes", values, classes, options.repeats))
        results.append(target(f"target encoding, {size:,} categories, numbers", values, numbers, options.repeats))
    for one in results:
        ratio = one.penstock / one.scikit_learn
        sys.stdout.write(
            f"{one.job:<48} {one.rows:>9,} rows  Penstock {one.penstock:7.3f} s  scikit-learn {one.scikit_learn:7.3f} s"
            f"  ratio {ratio:5.2f}  apart {one.difference:.1e}\n"
        )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in results], indent=1), "utf-8")


if __name__ == "__main__":
    main()
