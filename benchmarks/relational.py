"""Measures deduplicating and joining within a bound of memory, beside plain DuckDB at the same bound.

    python -m benchmarks.relational --rows 20000000 --memory 1GiB --repeats 3

Orders, a tenth of them twice or more, get the columns of their customers, of whom there are a quarter as many, by a
left join. All read the same Parquet files, write Parquet, and run in turn. Penstock keeps the order of the rows,
hashes what it writes, and syncs it to the disk; DuckDB does neither. Then the outputs are compared: the same rows, and
for Penstock in the order of the file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Command, measure, table, write_json

HERE = Path(__file__).parent
PIPELINE = """\
data:
  - deduplicate: number
  - join: {other: customers.parquet, on: customer}
"""
_AT_ONCE = 1_000_000


def generate(folder: Path, rows: int) -> None:
    """Write both tables and the pipeline file, where they are not there."""
    if (folder / "pipeline.yaml").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    people = rows // 4
    words = np.array([f"item-{i:04d}" for i in range(1_000)])

    def orders(count: int) -> pa.Table:
        numbers = {f"x{i}": random.normal(size=count) for i in range(4)}
        return pa.table(
            {
                "number": random.integers(0, rows * 9 // 10, count),
                "customer": random.integers(0, people * 11 // 10, count),
                **numbers,
                "item": words[random.integers(0, len(words), count)],
                "color": words[random.integers(0, 9, count)],
            }
        )

    ids = random.permutation(people)

    def customers(some: np.ndarray) -> pa.Table:
        return pa.table(
            {
                "customer": some,
                "age": random.integers(18, 90, len(some)),
                "income": random.exponential(size=len(some)),
                "city": words[random.integers(0, 300, len(some))],
            }
        )

    with pq.ParquetWriter(folder / "orders.parquet", orders(1).schema) as writer:
        for start in range(0, rows, _AT_ONCE):
            writer.write_table(orders(min(_AT_ONCE, rows - start)), row_group_size=125_000)
    with pq.ParquetWriter(folder / "customers.parquet", customers(ids[:1]).schema) as writer:
        for start in range(0, people, _AT_ONCE):
            writer.write_table(customers(ids[start : start + _AT_ONCE]), row_group_size=125_000)
    (folder / "pipeline.yaml").write_text(PIPELINE)


def _emptier(out: Path) -> Callable[[], None]:
    def empty() -> None:
        for path in (out, out.with_name(out.name + ".run"), out.with_name(out.name + ".spill")):
            shutil.rmtree(path, ignore_errors=True)
            if path.is_file():
                path.unlink()

    return empty


def commands(data: Path, work: Path, memory: str) -> list[Command]:
    """DuckDB, twice, and Penstock."""
    peer = [sys.executable, str(HERE / "peers" / "relational_duckdb.py"), str(data)]
    target = work / "penstock"
    penstock = [sys.executable, "-m", "penstock", "prepare", str(data / "orders.parquet"), "--memory", memory]
    penstock += ["--config", str(data / "pipeline.yaml"), "--to", str(target), "--quiet"]
    first, anyone = work / "duckdb.parquet", work / "duckdb-any.parquet"
    return [
        Command("duckdb", [*peer, str(first), memory], before=_emptier(first)),
        Command("duckdb-any", [*peer, str(anyone), memory, "--any"], before=_emptier(anyone)),
        Command("penstock", penstock, before=_emptier(target)),
    ]


def check(data: Path, work: Path) -> list[str]:
    """What is wrong with Penstock's output, beside that of DuckDB."""
    problems = []
    connection = duckdb.connect(config={"temp_directory": str(work / "spill"), "memory_limit": "4GiB"})
    ours, theirs = f"'{work}/penstock/*.parquet'", f"'{work}/duckdb.parquet'"
    columns = "number, customer, x0, x1, x2, x3, item, color, age, income, city"
    differing = connection.execute(
        f"SELECT count(*) FROM (SELECT {columns} FROM {ours} EXCEPT ALL SELECT {columns} FROM {theirs})"
    ).fetchone()
    rows = [connection.execute(f"SELECT count(*) FROM {one}").fetchone() for one in (ours, theirs)]
    if differing != (0,) or rows[0] != rows[1]:
        problems.append(f"{differing} rows differ; {rows[0]} rows, DuckDB {rows[1]}")
    # x0 of the rows that stay, in the order of the file, is x0 of the output in its own order.
    kept = connection.execute(
        f"""SELECT x0 FROM (SELECT x0, file_row_number AS place, row_number() OVER (
        PARTITION BY number ORDER BY file_row_number) AS n FROM read_parquet('{data}/orders.parquet',
        file_row_number = true)) WHERE n = 1 ORDER BY place"""
    ).fetchnumpy()["x0"]
    written = pa.concat_tables([pq.read_table(path, columns=["x0"]) for path in sorted((work / "penstock").iterdir())])
    if not np.array_equal(kept, written["x0"].to_numpy()):
        problems.append("the rows are not in the order of the file")
    shutil.rmtree(work / "spill", ignore_errors=True)
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Generate, measure, check and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relational")
    parser.add_argument("--rows", type=int, default=20_000_000, help="of orders; customers are a quarter as many")
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("out/benchmarks"), help="for data and outputs")
    parser.add_argument("--json", type=Path, help="where to write every run and the machine")
    parser.add_argument("--remove", action="store_true", help="remove data and outputs at the end")
    options = parser.parse_args(arguments)
    data = (options.work / f"relational-{options.rows}").resolve()
    work = (options.work / f"relational-{options.rows}-out").resolve()
    work.mkdir(parents=True, exist_ok=True)
    generate(data, options.rows)
    runs = measure(commands(data, work, options.memory), options.repeats)
    print(table(runs, "duckdb"))
    failed = [name for name, found in runs.items() if any(run.status for run in found)]
    problems = check(data, work) if not {"penstock", "duckdb"} & set(failed) else []
    print("; ".join(problems) or "the outputs agree, and Penstock's is in the order of the file")
    if options.json:
        write_json(options.json, runs, "duckdb", rows=options.rows, memory=options.memory, problems=problems)
    if options.remove:
        shutil.rmtree(data)
        shutil.rmtree(work)
    return int(bool(problems) or "penstock" in failed)


if __name__ == "__main__":
    sys.exit(main())
