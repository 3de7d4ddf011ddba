"""Feature preparation with Ray Data on one machine.

    python prepare_ray.py IN OUT

The same job as `prepare_polars.py`: impute by the mean, clip at the 1 % and 99 % quantiles,
standardize, encode categories by lexicographic rank, write float32 and int32. Rows stay together,
but the order of blocks is not kept.

Ray's own preprocessors are not used. `SimpleImputer`, `StandardScaler` and `OrdinalEncoder` go over
the data once or twice each, through general aggregations, and none of them clips; of the aggregates
for quantiles, `Quantile` gathers whole columns as lists and `ApproximateQuantile` takes values one
at a time in Python. Three passes of `map_batches` over whole Arrow blocks do everything instead,
and exactly:

1. for each block the sums, counts, categories and tails (as many of the smallest and largest values
   as the quantiles of the whole can reach), merged here;
2. the moments after clipping;
3. the prepared columns, written.

Each pass reads the Parquet files again, which costs less than holding the decoded table in the
object store.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import DataContext, Dataset

from report import Report, arguments

LOW, HIGH = 0.01, 0.99

Floats = npt.NDArray[np.float64]


class Fit(NamedTuple):
    """What there is to know of a numeric column to prepare it."""

    fill: float
    low: float
    high: float
    mean: float = 0.0
    deviation: float = 1.0

    def clip(self, column: pa.ChunkedArray) -> Floats:
        """Impute and clip a raw column."""
        values: Floats = column.fill_null(self.fill).to_numpy()
        return np.clip(values, self.low, self.high)


def _numeric(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_floating(field.type)]


def _others(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if not pa.types.is_floating(field.type)]


def _tails(values: Floats, reach: int) -> tuple[Floats, Floats]:
    """Give the `reach` smallest and largest values (all of them where there are fewer)."""
    if len(values) <= reach:
        return values, values
    parted = np.partition(values, [reach - 1, len(values) - reach])
    return parted[:reach], parted[len(values) - reach :]


def summarize(block: pa.Table, reach: int) -> pa.Table:
    """Give one row that sums up a block: first pass."""
    row: dict[str, object] = {}
    for name in _numeric(block.schema):
        values = block[name].drop_null().to_numpy()
        low, high = _tails(values, reach)
        row[f"{name}.sum"] = values.sum()
        row[f"{name}.nulls"] = block[name].null_count
        row[f"{name}.low"] = low
        row[f"{name}.high"] = high
    for name in _others(block.schema):
        row[name] = block[name].unique()
    return pa.table({key: _cell(value) for key, value in row.items()})


def _cell(value: object) -> pa.Array:
    """Make an array of one element; a list where `value` is itself an array."""
    if isinstance(value, np.ndarray):
        value = pa.array(value)
    if isinstance(value, pa.Array):
        return pa.LargeListArray.from_arrays(pa.array([0, len(value)], pa.int64()), value)
    return pa.array([value])


def moments(block: pa.Table, fits: dict[str, Fit]) -> pa.Table:
    """Give a block's sums of the clipped columns' distances to their fills: second pass."""
    row = {}
    for name, fit in fits.items():
        values = fit.clip(block[name]) - fit.fill
        row[f"{name}.sum"] = [float(values.sum())]
        row[f"{name}.squares"] = [float(values @ values)]
    return pa.table(row)


def prepare(block: pa.Table, fits: dict[str, Fit], categories: dict[str, pa.Array]) -> pa.Table:
    """Give a block of prepared columns: third pass."""
    columns = {}
    for name in block.column_names:
        if name in fits:
            fit = fits[name]
            values = fit.clip(block[name])
            values -= fit.mean
            values /= fit.deviation
            columns[name] = pa.array(values.astype(np.float32))
        else:
            columns[name] = pc.index_in(block[name], categories[name])
    return pa.table(columns)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pc.list_flatten(column).combine_chunks()


def fit_bounds(summary: pa.Table, name: str, rows: int) -> Fit:
    """Merge the blocks' summaries of a numeric column into its mean and clipping bounds."""
    nulls = pc.sum(summary[f"{name}.nulls"]).as_py()
    fill = pc.sum(summary[f"{name}.sum"]).as_py() / max(rows - nulls, 1)
    imputed = np.full(min(nulls, int(LOW * rows) + 2), fill)
    low = np.sort(np.concatenate([_flat(summary[f"{name}.low"]).to_numpy(), imputed]))
    high = np.sort(np.concatenate([_flat(summary[f"{name}.high"]).to_numpy(), imputed]))

    def at(tail: Floats, first: int, position: float) -> float:
        place = int(position)
        here, there = tail[place - first], tail[min(place + 1 - first, len(tail) - 1)]
        return float(here + (there - here) * (position - place))

    last = rows - 1
    return Fit(fill, at(low, 0, LOW * last), at(high, rows - len(high), HIGH * last))


def fit_moments(sums: pa.Table, name: str, fit: Fit, rows: int) -> Fit:
    """Add the moments after clipping."""
    shift = pc.sum(sums[f"{name}.sum"]).as_py() / rows
    variance = pc.sum(sums[f"{name}.squares"]).as_py() / rows - shift * shift
    return fit._replace(mean=fit.fill + shift, deviation=max(variance, 0.0) ** 0.5 or 1.0)


def gather(data: Dataset) -> pa.Table:
    """Bring the rows of a small data set here."""
    return pa.concat_tables(ray.get(data.to_arrow_refs()))


def main() -> None:
    """Prepare the folder named on the command line."""
    source, target = arguments(__doc__)
    ray.init(
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
    report = Report()
    over = partial(Dataset.map_batches, batch_size=None, batch_format="pyarrow")

    data = ray.data.read_parquet(str(source))
    rows = data.count()
    reach = int(LOW * (rows - 1)) + 2
    summary = gather(over(data, summarize, fn_kwargs={"reach": reach}))
    report.step("summarize")
    schema = data.schema().base_schema
    fits = {name: fit_bounds(summary, name, rows) for name in _numeric(schema)}
    categories = {name: pc.unique(_flat(summary[name])).sort() for name in _others(schema)}
    report.step("bounds")
    numbers = data.select_columns(list(fits))
    sums = gather(over(numbers, moments, fn_kwargs={"fits": fits}))
    fits = {name: fit_moments(sums, name, fit, rows) for name, fit in fits.items()}
    report.step("moments")
    prepared = over(data, prepare, fn_kwargs={"fits": fits, "categories": categories})
    # Dictionaries are tried for the categories alone; for floats they would be in vain.
    prepared.write_parquet(str(target), compression="snappy", use_dictionary=list(categories))
    report.step("write")
    report.finish(rows)
    ray.shutdown()


if __name__ == "__main__":
    main()
