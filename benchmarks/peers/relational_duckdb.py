"""Deduplicates and joins as plain DuckDB does, in one query from Parquet to Parquet.

    python benchmarks/peers/relational_duckdb.py DATA OUT MEMORY [--any]

Of the orders with one number the first stays; with --any whichever DuckDB comes to first. Rows come out in no order:
that takes a sort more.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import duckdb


def main() -> None:
    data, out, memory = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    spill = out.with_name(out.name + ".spill")
    config = {"memory_limit": memory, "temp_directory": str(spill), "preserve_insertion_order": "false"}
    began = time.perf_counter()
    orders = f"read_parquet('{data}/orders.parquet', file_row_number = true)"
    first = f"""SELECT * EXCLUDE (n, file_row_number) FROM (
        SELECT *, row_number() OVER (PARTITION BY number ORDER BY file_row_number) AS n FROM {orders}) WHERE n = 1"""
    if "--any" in sys.argv:
        first = f"SELECT DISTINCT ON (number) * FROM read_parquet('{data}/orders.parquet')"
    duckdb.connect(config=config).execute(
        f"""COPY (SELECT l.*, r.* EXCLUDE (customer) FROM ({first}) l
        LEFT JOIN read_parquet('{data}/customers.parquet') r USING (customer)) TO '{out}' (FORMAT parquet)"""
    )
    shutil.rmtree(spill, ignore_errors=True)
    print(json.dumps({"seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    main()
