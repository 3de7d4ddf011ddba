"""Bulk prediction with boosted trees, beside the bare booster over arrays that are ready in memory.

    python -m benchmarks.bulk_prediction [--rows 1000000] [--trees 500] [--repeats 3] [--work DIR]

Penstock reads Parquet, runs its steps and writes Parquet, all of which counts. The bare booster gets one float64 matrix
that is there before the clock starts, and gives an array. Both are the same trees on the same cores; rows per second of
Penstock are at best those of the booster. Runs are interleaved; medians are printed, and their ratio.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl

import penstock as ps
from benchmarks.generate import training
from penstock.resources import cores


def fitted(data: Path, folder: Path, trees: int) -> ps.FittedPipeline:
    """One booster of so many trees of 31 leaves, learned from a sample."""
    if folder.exists():
        return ps.load(folder)
    model = ps.BoostedTrees(
        rounds=trees, early_stopping_rounds=trees, num_leaves=31, folds=1, bags=1, max_rows=100_000, learning_rate=0.02
    )
    pipeline = ps.Pipeline((), model, target="target")
    result = pipeline.fit(data)
    result.save(folder)
    return ps.load(folder)


def main() -> None:
    """Print rows per second of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"))
    asked = parser.parse_args()
    data = asked.work / f"training{asked.rows}"
    training(data, asked.rows)
    pipeline = fitted(data, asked.work / f"model{asked.rows}x{asked.trees}", asked.trees)
    booster = lightgbm.Booster(
        model_file=str(next((asked.work / f"model{asked.rows}x{asked.trees}").rglob("booster*.txt")))
    )
    matrix = ready_matrix(pipeline, data)
    out = asked.work / "predictions"
    ours, bare = [], []
    for _ in range(asked.repeats):
        for path in (out, out.with_name("predictions.run")):
            shutil.rmtree(path, ignore_errors=True)
        began = time.perf_counter()
        pipeline.predict(data, to=out)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        expected = booster.predict(matrix, num_threads=cores())
        bare.append(time.perf_counter() - began)
    check(out, expected)
    print(f"{asked.rows:,} rows x {matrix.shape[1]} features, {booster.num_trees()} trees, {cores()} cores")
    for name, seconds in (("penstock predict", ours), ("bare booster", bare)):
        print(
            f"{name:20} {asked.rows / statistics.median(seconds):12,.0f} rows/s   {statistics.median(seconds):6.2f} s"
        )
    ratio = statistics.median([b / o for o, b in zip(ours, bare, strict=True)])
    print(f"penstock / bare booster: {ratio:.1%} (median of {asked.repeats} pairs)")


def ready_matrix(pipeline: ps.FittedPipeline, data: Path) -> np.ndarray:
    """The model's features as one float64 matrix: categories as the codes that the pipeline gives them."""
    from penstock.step import Use

    saved = pipeline._saved
    chain = saved.steps.chain(Use("predict"), saved.model.features.names)
    source = ps.read(data)
    blocks = [chain.transform(batch) for chunk in source.chunks() for batch in source.read(chunk, chain.inputs)]
    columns = []
    for name in saved.model.features.names:
        values = pl.concat([pl.Series(block.column(name)) for block in blocks]).cast(pl.Float64)
        column = values.to_numpy()
        is_code = saved.model.features[name].categories is not None
        columns.append(np.where(column < 0, np.nan, column) if is_code else column)
    return np.ascontiguousarray(np.stack(columns, axis=1))


def check(out: Path, expected: np.ndarray) -> None:
    """Both gave the same probabilities."""
    frame = pl.read_parquet(out / "*.parquet")
    found = frame[frame.columns[-1]].to_numpy()
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12), "the predictions differ"


if __name__ == "__main__":
    main()
