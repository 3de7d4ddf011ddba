"""Batches for the tests of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from penstock.batch import Batch, RowKeys
from penstock.statistic import Statistic

HUGE = 1.7976931348623157e308
TINY = 5e-324

floats = st.floats(allow_nan=False, allow_infinity=False, width=64)
"""All finite numbers: subnormal, huge, negative, -0.0."""
moderate = st.one_of(
    st.floats(-1e60, 1e60, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-60),
    st.integers(-50, 50).map(float),
    st.sampled_from([0.0, -0.0, 0.1, 1e9, 1e9 + 1]),
)
"""Numbers whose third powers neither overflow nor vanish."""
columns = st.one_of(
    st.lists(st.one_of(st.none(), floats), max_size=60),
    st.lists(st.one_of(st.none(), st.sampled_from([-1.5, -0.0, 0.0, TINY, -TINY, HUGE, 3.0])), max_size=60),
    st.lists(st.one_of(st.none(), st.integers(-20, 20).map(float)), max_size=60),
    st.tuples(floats, st.integers(0, 40)).map(lambda item: [item[0]] * item[1]),
    st.integers(0, 30).map(lambda rows: [None] * rows),
)
"""Columns of floats with nulls: wild, few distinct, whole, constant, all null, empty."""


def batch(columns: Mapping[str, Any], start: int = 0) -> Batch:
    """A batch of these columns."""
    arrays = {name: v if isinstance(v, pa.Array) else pa.array(v) for name, v in columns.items()}
    record = pa.record_batch(arrays)
    return Batch(record, RowKeys.span("", start, record.num_rows))


def number_batches(values: Sequence[float | None], sizes: Sequence[int] = (7, 1, 20)) -> list[Batch]:
    """A column "x" of floats, cut in batches of these sizes, over and over; one empty batch where there is nothing."""
    out, at = [], 0
    while at < len(values) or not out:
        size = sizes[len(out) % len(sizes)]
        out.append(batch({"x": pa.array(values[at : at + size], pa.float64())}, at))
        at += size
    return out


def folded(statistic: Statistic[Any], batches: Sequence[Batch]) -> Any:
    """The statistic with these batches taken in."""
    for item in batches:
        statistic.update(item)
    return statistic


def present(values: Sequence[float | None]) -> np.ndarray:
    """The values that are not null."""
    return np.array([value for value in values if value is not None], np.float64)
