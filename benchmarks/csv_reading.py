"""How fast CSV is read, typed and checked, next to pyarrow and Polars on the same file in the same run.

The file has quoted fields, line ends in quotes and one bad line in a thousand. Penstock gives the bad rows with their
place and reason; pyarrow is asked to skip ragged lines and reads columns with a bad number as text; Polars is asked to
ignore errors, which makes bad numbers null. Reading alone: the batches are dropped.

    python -m benchmarks.csv_reading --megabytes 300 --threads 2
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


def penstock(path: Path, threads: int) -> tuple[int, int]:
    """(rows, rejected rows), chunks read by several threads while the plan grows."""
    from penstock.source import Chunk
    from penstock.sources.files import open_source

    source = open_source(path)

    def read(chunk: Chunk) -> tuple[int, int]:
        rows = rejected = 0
        for batch in source.read(chunk):
            rows += len(batch)
            rejected += batch.counts[0].rejected
        return rows, rejected

    with ThreadPoolExecutor(threads) as pool:
        counts = list(pool.map(read, source.chunks()))
    source.close()
    return sum(rows for rows, _ in counts), sum(rejected for _, rejected in counts)


def arrow(path: Path, threads: int) -> tuple[int, int]:
    """(rows, skipped lines)."""
    import pyarrow as pa
    import pyarrow.csv as pacsv

    pa.set_cpu_count(threads)
    skipped = 0

    def skip(_: object) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    table = pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(use_threads=threads > 1),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
    )
    return table.num_rows, skipped


def polars(path: Path, threads: int) -> tuple[int, int]:
    """(rows, 0): its bad values are null and its ragged lines cut, which it does not count."""
    import polars as pl

    frame = pl.read_csv(
        path, try_parse_dates=True, ignore_errors=True, truncate_ragged_lines=True, infer_schema_length=20_000
    )
    return frame.height, 0


READERS: dict[str, Callable[[Path, int], tuple[int, int]]] = {"penstock": penstock, "pyarrow": arrow, "polars": polars}


@dataclass(frozen=True, slots=True)
class Timing:
    """One try: seconds on the clock and of processors, rows, and rejected rows."""

    seconds: float
    processor_seconds: float
    rows: int
    rejected: int


def one(read: Callable[[Path, int], tuple[int, int]], path: Path, threads: int) -> Timing:
    """Read the whole file once."""
    start, used = time.perf_counter(), time.process_time()
    rows, rejected = read(path, threads)
    return Timing(time.perf_counter() - start, time.process_time() - used, rows, rejected)


def median(timings: list[Timing]) -> Timing:
    """The try in the middle."""
    return sorted(timings, key=lambda timing: timing.seconds)[len(timings) // 2]


def main() -> None:
    """Generate the file where it is not there, and print a line for each reader."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.csv_reading", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "penstock-benchmark-csv")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ["POLARS_MAX_THREADS"] = str(options.threads)  # read once, when Polars is first imported

    from benchmarks import generate

    folder = options.folder.with_name(f"{options.folder.name}-{options.megabytes}")
    facts = generate.csv(folder, options.megabytes)["facts"]
    path = folder / "data.csv"
    megabytes = path.stat().st_size / 1e6
    print(f"{megabytes:.0f} MB, {facts['rows']:,} records, {facts['bad']}, {options.threads} threads")
    reference = 0.0
    tries: dict[str, list[Timing]] = {name: [] for name in READERS}
    for _ in range(options.repeats):  # interleaved, so that a machine that slows down slows all of them
        for name, read in READERS.items():
            tries[name].append(one(read, path, options.threads))
    for name, timings in tries.items():
        timing = median(timings)
        reference = reference or timing.seconds
        print(
            f"{name:<9} {megabytes / timing.seconds:6.0f} MB/s  {timing.seconds:6.2f} s  "
            f"{reference / timing.seconds:5.2f} times the speed of penstock  "
            f"{timing.processor_seconds / timing.seconds:4.1f} cores busy  "
            f"{timing.rows:,} rows, {timing.rejected:,} rejected"
        )


if __name__ == "__main__":
    main()
