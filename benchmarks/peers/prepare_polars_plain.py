"""Feature preparation with Polars, as it is written down by hand from the task: lazy queries over the whole table.

    python prepare_polars_plain.py IN OUT

One query for the means, one for the quantiles of what is filled, one for the moments of what is clipped, one that
writes. `prepare_polars.py` does the same job as an expert would, column by column.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from report import Report, arguments

LOW, HIGH = 0.01, 0.99


def prepare(source: Path, target: Path) -> int:
    """Write the prepared table, and say how many rows it has."""
    table = pl.scan_parquet(source / "*.parquet")
    schema = table.collect_schema()
    numeric = [name for name, kind in schema.items() if kind.is_numeric()]
    texts = [name for name, kind in schema.items() if kind == pl.String]
    means = table.select(pl.col(numeric).mean()).collect().row(0, named=True)
    table = table.with_columns(pl.col(name).fill_null(means[name]) for name in numeric)
    bounds = table.select(
        *(pl.col(name).quantile(LOW, "linear").alias(f"{name} low") for name in numeric),
        *(pl.col(name).quantile(HIGH, "linear").alias(f"{name} high") for name in numeric),
    ).collect().row(0, named=True)  # fmt: skip
    table = table.with_columns(pl.col(name).clip(bounds[f"{name} low"], bounds[f"{name} high"]) for name in numeric)
    moments = table.select(
        *(pl.col(name).mean().alias(f"{name} mean") for name in numeric),
        *(pl.col(name).std(ddof=0).alias(f"{name} std") for name in numeric),
    ).collect().row(0, named=True)  # fmt: skip
    words = {name: table.select(pl.col(name).unique()).collect().to_series().drop_nulls().sort() for name in texts}
    prepared = table.select(
        *(((pl.col(n) - moments[f"{n} mean"]) / moments[f"{n} std"]).cast(pl.Float32) for n in numeric),
        *(pl.col(name).cast(pl.Enum(words[name])).to_physical().cast(pl.Int32) for name in texts),
    ).collect()
    target.mkdir(parents=True, exist_ok=True)
    prepared.write_parquet(target / "prepared.parquet", compression="snappy")
    return prepared.height


def main() -> None:
    """Run as a script."""
    source, target = arguments(__doc__)
    report = Report()
    report.finish(prepare(source, target))


if __name__ == "__main__":
    main()
