"""The statistics of a profile as SELECTs in DuckDB: what `benchmarks.profile` measures beside Penstock.

One scan for everything about single columns (rows, nulls, mean, deviation, skewness, least, greatest, quantiles,
distinct values) and the correlations of all pairs of numbers, one more for the count of distinct rows, and one for the
frequent values of each category. Left out, as they have no short SELECT: a histogram to draw, the even sample of rows.

    python benchmarks/peers/profile_duckdb.py IN
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

QUANTILES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]


def main(folder: str) -> None:
    began = time.monotonic()
    data = f"read_parquet('{Path(folder) / '*.parquet'}')"
    connection = duckdb.connect()
    columns = connection.sql(f"DESCRIBE SELECT * FROM {data}").fetchall()
    numbers = [row[0] for row in columns if row[1] == "DOUBLE"]
    texts = [row[0] for row in columns if row[1] == "VARCHAR"]
    parts = ["count(*)"]
    for name in numbers:
        parts += [f"{function}({name})" for function in ("count", "avg", "stddev_samp", "skewness", "min", "max")]
        parts += [f"approx_quantile({name}, {QUANTILES})", f"approx_count_distinct({name})"]
    for name in texts:
        parts += [f"count({name})", f"approx_count_distinct({name})"]
    parts += [f"corr({a}, {b})" for place, a in enumerate(numbers) for b in numbers[:place]]
    found = connection.sql(f"SELECT {', '.join(parts)} FROM {data}").fetchall()[0]
    every = ", ".join([*numbers, *texts])
    distinct = connection.sql(f"SELECT approx_count_distinct(hash({every})) FROM {data}").fetchall()[0]
    tops = {
        name: connection.sql(
            f"SELECT {name}, count(*) AS n FROM {data} GROUP BY {name} ORDER BY n DESC, {name} LIMIT 12"
        ).fetchall()
        for name in texts
    }
    means = {name: found[1 + 8 * place + 1] for place, name in enumerate(numbers)}
    deviations = {name: found[1 + 8 * place + 2] for place, name in enumerate(numbers)}
    first = len(parts) - len(numbers) * (len(numbers) - 1) // 2
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - began,
                "rows": found[0],
                "means": means,
                "deviations": deviations,
                "correlations": list(found[first:]),
                "tops": {name: [list(row) for row in rows if row[0] is not None] for name, rows in tops.items()},
                "distinct_rows": distinct[0],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
