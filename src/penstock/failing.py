"""Rows that make a transform fail: found by halving the block, and rejected one by one, so that the others go on.

Part of the executor. A law of transforms makes it right: what becomes of a row does not depend on its neighbours, so a
block without its failing rows gives what it would have given beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from penstock.batch import Batch, Count
from penstock.errors import DataError, PenstockError
from penstock.masking import FAILED

R = TypeVar("R")

STEP = "transform"
"""The name under which rows are counted that no check had rejected, and that a step or a model fails on."""
CODE = FAILED
MOST = 1_000
"""Rows of one block that are looked for one by one; more are no accident of some rows."""


def without_failing(do: Callable[[Batch], R], batch: Batch) -> R:
    """What ``do`` makes of a block; where it fails, of the block without the rows that it fails on, which are rejected.

    Raises:
        PenstockError: one that ``do`` raised on purpose.
        DataError: it fails on every row, or on more than `MOST`.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.batch import RowKeys
        >>> def invert(batch):
        ...     return [1 / x for x in batch.column("x").to_pylist()], batch.rejected.num_rows if batch.rejected else 0
        >>> batch = Batch(pa.record_batch({"x": [1, 2, 0, 4]}), RowKeys.span("a.csv", 0, 4))
        >>> without_failing(invert, batch)
        ([1.0, 0.5, 0.25], 1)
    """
    try:
        return do(batch)
    except (PenstockError, MemoryError):
        raise
    except Exception as error:
        found = _Failing(do, batch)
        found.look(0, len(batch))
        reasons = found.reasons
        if not reasons:  # halves went through, the whole does not: no row is to blame
            raise _unknown(error, batch, "no row by itself") from error
        if len(reasons) == len(batch) > 1 or len(reasons) > MOST:
            raise _unknown(error, batch, f"{min(len(reasons), MOST):,} rows or more of {len(batch):,}") from error
        return do(_rejecting(batch, reasons))


class _Failing:
    """The rows of a block that a transform fails on, each with its reason."""

    def __init__(self, do: Callable[[Batch], object], batch: Batch) -> None:
        self._do = do
        self._batch = batch
        self.reasons: dict[int, str] = {}

    def look(self, start: int, stop: int) -> None:
        """Among these rows, which failed together."""
        if stop - start <= 1:
            error = self._tried(start, stop)
            if error is not None:
                self.reasons[start] = error
            return
        middle = (start + stop) // 2
        for low, high in ((start, middle), (middle, stop)):
            if len(self.reasons) <= MOST and (high - low == 1 or self._tried(low, high) is not None):
                self.look(low, high)

    def _tried(self, start: int, stop: int) -> str | None:
        try:
            self._do(self._batch.slice(start, stop - start))
        except (PenstockError, MemoryError):
            raise
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        return None


def _rejecting(batch: Batch, reasons: dict[int, str]) -> Batch:
    """The block without these rows, which are rejected, each for its own reason."""
    left, told = batch, set(reasons.values())
    gone: npt.NDArray[np.bool_] = np.zeros(len(batch), bool)
    for reason in sorted(told):
        bad = np.array([reasons.get(row) == reason for row in range(len(batch))], bool)
        left = left.reject(bad[~gone], step=STEP, column=None, code=CODE, reason=reason)
        gone |= bad
    count = Count(STEP, rows_in=len(batch), out=len(left), rejected=len(batch) - len(left))
    return replace(left, counts=(*batch.counts, count))


def _unknown(error: Exception, batch: Batch, who: str) -> DataError:
    return DataError(
        "a step or the model fails, and not on some rows alone",
        where=f"{batch.keys.paths[0]} from row {batch.keys.rows[0]}" if len(batch) else batch.keys.paths[0],
        expected="rows that go through the steps and the model",
        got=f"{type(error).__name__}: {error} (on {who})",
        remedy="look at these rows and at the steps' settings",
    )
