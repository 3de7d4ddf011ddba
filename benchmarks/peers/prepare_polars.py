"""Feature preparation with Polars: the bar to meet.

    python prepare_polars.py IN OUT              in memory: the fastest
    python prepare_polars.py IN OUT --streaming  less memory, somewhat slower

Every numeric column is imputed by its mean, clipped at its 1 % and 99 % quantiles (exact, with
linear interpolation, of the imputed column) and standardized (ddof 0); every string column is
encoded by the rank of its category in lexicographic order. Out come float32 and int32 columns in
the order of the rows.

Both variants go column by column, which Parquet is made for: one column, read alone, fits in
memory even where the table does not, so that its mean, then its quantiles, then its moments after
clipping come from a single decoding, where lazy queries over the whole table need one scan for
each. As many columns are in the works as there are cores, since much that is done to a single
column (tails, sums, filling) runs on one.

* In memory, the prepared column is kept as float32 and the whole is written at the end: everything
  is decoded once and the float64 table never stands in memory.
* Streaming, only the numbers are kept and a second scan by the streaming engine applies them and
  writes as it goes, so that memory is a few columns' worth for each core, and what the sink holds.

The quantiles come from the smallest and largest hundredth of the column (`bottom_k` and `top_k`),
which give the same exact values as `quantile` does, about ten times as fast.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from report import Report, arguments

LOW, HIGH = 0.01, 0.99
COMPRESSION: Final = "snappy"

WORKERS = min(pl.thread_pool_size(), 8)
"""Columns in the works at a time."""


class Fit(NamedTuple):
    """What there is to know of a numeric column to prepare it."""

    fill: float
    low: float
    high: float
    mean: float
    deviation: float

    def apply(self, column: pl.Expr) -> pl.Expr:
        """Prepare a raw column."""
        clipped = column.fill_null(self.fill).clip(self.low, self.high)
        return ((clipped - self.mean) / self.deviation).cast(pl.Float32)


def quantiles(column: pl.Series) -> tuple[float, float]:
    """Give the `LOW` and `HIGH` quantiles of a column without nulls, as `quantile` does."""
    last = len(column) - 1
    below, above = int(LOW * last), int(HIGH * last)
    lowest = column.bottom_k(below + 2).sort()
    highest = column.top_k(last - above + 1).sort()

    def between(tail: pl.Series, place: int, position: float) -> float:
        upper = min(place + 1, len(tail) - 1)
        return float(tail[place] + (tail[upper] - tail[place]) * (position - int(position)))

    return between(lowest, below, LOW * last), between(highest, 0, HIGH * last)


def fit(column: pl.Series) -> tuple[Fit, pl.Series]:
    """Fit a raw column; the clipped column comes along, as it is made on the way."""
    fill = column.mean()
    assert isinstance(fill, float)
    filled = column.fill_null(fill).rechunk()
    low, high = quantiles(filled)
    clipped = filled.clip(low, high)
    mean, deviation = clipped.mean(), clipped.std(ddof=0)
    assert isinstance(mean, float)
    assert isinstance(deviation, float)
    return Fit(fill, low, high, mean, deviation or 1.0), clipped


def encode(column: pl.Expr, categories: pl.Series) -> pl.Expr:
    """Encode a string column by the places of its values among `categories`."""
    return column.cast(pl.Enum(categories)).to_physical().cast(pl.Int32)


def in_memory(scan: pl.LazyFrame, schema: pl.Schema, target: Path, report: Report) -> int:
    """Prepare each column, hold the prepared ones, write them at once."""

    def prepare(name: str) -> pl.Series:
        column = scan.select(name).collect()[name]
        if schema[name].is_numeric():
            fitted, clipped = fit(column)
            return ((clipped - fitted.mean) / fitted.deviation).cast(pl.Float32)
        categories = column.unique().sort()
        return pl.select(encode(pl.lit(column), categories)).to_series().alias(name)

    with ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(prepare, schema))
    report.step("prepare")
    frame = pl.DataFrame(done)
    frame.write_parquet(target / "part-0.parquet", compression=COMPRESSION)
    report.step("write")
    return frame.height


def streaming(scan: pl.LazyFrame, schema: pl.Schema, target: Path, report: Report) -> int:
    """Fit each column, then apply all in one streaming scan."""

    def prepare(name: str) -> pl.Expr:
        if schema[name].is_numeric():
            return fit(scan.select(name).collect()[name])[0].apply(pl.col(name))
        distinct = scan.select(pl.col(name).unique()).collect(engine="streaming")
        return encode(pl.col(name), distinct[name].sort())

    with ThreadPoolExecutor(WORKERS) as pool:
        columns = list(pool.map(prepare, schema))
    report.step("fit")
    path = target / "part-0.parquet"
    scan.select(columns).sink_parquet(path, compression=COMPRESSION, engine="streaming")
    report.step("write")
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def main() -> None:
    """Prepare the folder named on the command line."""
    stream = "--streaming" in sys.argv
    if stream:
        sys.argv.remove("--streaming")
    source, target = arguments(__doc__)
    report = Report()
    scan = pl.scan_parquet(source / "*.parquet")
    rows = (streaming if stream else in_memory)(scan, scan.collect_schema(), target, report)
    report.finish(rows)


if __name__ == "__main__":
    main()
