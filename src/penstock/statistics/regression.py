"""How good predicted numbers are: scikit-learn's metrics, as a fold over batches. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import DataError, UsageError
from penstock.model import PREDICTION
from penstock.statistic import Statistic
from penstock.statistics.moments import Sums, merged_sums, sums_of
from penstock.statistics.resampling import GroupSums
from penstock.statistics.values import Floats, array_of, extremes, numbers_of

_STATE = pa.schema(
    [
        ("unlabelled", pa.int64()),
        ("squared", pa.float64()),
        ("absolute", pa.float64()),
        ("below", pa.float64()),
        ("groups", pa.list_(pa.float64())),
        ("count", pa.int64()),
        ("mean", pa.float64()),
        ("remainder", pa.float64()),
        ("second", pa.float64()),
        ("third", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
    ]
)


class Regression(Statistic[dict[str, Any]]):
    """Metrics of predicted numbers, from batches that hold the truth and the prediction.

    The value is a dictionary, named as in scikit-learn and equal to it: ``rows``; ``unlabelled``, rows that are left
    out, their truth being null; ``rmse``, the root of the mean squared error; ``mae``, the mean absolute error;
    ``r2``, one minus the squared error against that of the mean of the truth (Pearson's coefficient of
    determination). What is not defined is nan: everything without rows, ``r2`` of a single row. Of a constant truth
    ``r2`` is 1 where all is predicted exactly and 0 otherwise.

    A float state: the same blocks in the same order give the same bytes.

    Metrics:
        rmse: ``sqrt(sum((y - p)^2) / n)``, the root of the mean squared error.
        mae: ``sum(|y - p|) / n``, the mean absolute error.
        r2: ``1 - sum((y - p)^2) / sum((y - mean(y))^2)``, the coefficient of determination.
        quantile_loss: ``sum(max(q (y - p), (q - 1) (y - p))) / n``, under the name ``quantile_loss_0.9`` for q = 0.9;
            asked for by ``--quantile`` (Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978).

    Args:
        target_column: the truth, of numbers.

    Example:
        >>> from penstock.batch import RowKeys
        >>> metrics = Regression("price")
        >>> rows = pa.record_batch({"price": [1.0, 2.0, 3.0], "prediction": [1.0, 2.0, 5.0]})
        >>> metrics.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> metrics.value()["r2"], metrics.value()["mae"]
        (-1.0, 0.6666666666666666)
    """

    kind = "regression"

    def __init__(self, target_column: str) -> None:
        self._target = target_column
        self._unlabelled = 0
        self._squared = 0.0
        self._absolute = 0.0
        self._below = 0.0  # the part of the absolute error of rows that were predicted too low
        self._groups = GroupSums(5)  # rows, squared error, absolute error, truth, its square
        self._truth = Sums()

    @property
    def columns(self) -> tuple[str, ...]:
        """The truth and the prediction."""
        return (self._target, PREDICTION)

    def parameters(self) -> Mapping[str, Any]:
        """The target's column."""
        return {"target_column": self._target}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing, or not of numbers.
            DataError: a truth is not finite, or a row with a truth has no finite prediction.
        """
        target, prediction = array_of(batch, self._target), array_of(batch, PREDICTION)
        if target.null_count:
            self._unlabelled += target.null_count
            prediction = prediction.filter(target.is_valid())
        truth, predicted = numbers_of(target, self._target), numbers_of(prediction, PREDICTION)
        if len(truth) == 0:
            return
        if len(predicted) < len(truth):
            raise DataError(
                "a row has no prediction",
                where=f"column {PREDICTION!r}",
                expected="a number for every row with a truth",
                got=f"{len(truth) - len(predicted)} nulls",
                remedy="leave out rows that have no prediction",
            )
        extremes(predicted, PREDICTION)
        block = sums_of(truth, *extremes(truth, self._target))
        self._truth = merged_sums(self._truth, block)
        with np.errstate(over="ignore"):
            error = predicted - truth
            self._absolute += float(np.add.reduce(np.abs(error)))
            self._squared += float(np.add.reduce(np.square(error)))
            self._below += float(np.add.reduce(np.maximum(-error, 0.0)))
            keys = (
                batch.keys.take(target.is_valid().to_numpy(zero_copy_only=False)) if target.null_count else batch.keys
            )
            squares = (np.square(error), np.abs(error), truth, np.square(truth))
            self._groups.add(keys, np.ones(len(truth)), *squares)

    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after."""
        self._unlabelled += other._unlabelled
        self._squared += other._squared
        self._absolute += other._absolute
        self._below += other._below
        self._groups.sums = self._groups.sums + other._groups.sums
        self._truth = merged_sums(self._truth, other._truth)

    def value(self) -> dict[str, Any]:
        """The metrics so far; see the class."""
        rows, nan = self._truth.count, math.nan
        return {
            "rows": rows,
            "unlabelled": self._unlabelled,
            "rmse": math.sqrt(self._squared / rows) if rows else nan,
            "mae": self._absolute / rows if rows else nan,
            "r2": self._r2() if rows > 1 else nan,
        }

    def quantile_loss(self, quantile: float) -> float:
        """The mean pinball loss of predictions of this quantile (Koenker and Bassett, 1978), as scikit-learn has it.

        Raises:
            UsageError: it is not between 0 and 1.
        """
        if not 0 < quantile < 1:
            raise UsageError("not a quantile", where="quantile", expected="between 0 and 1", got=repr(quantile))
        rows = self._truth.count
        if not rows:
            return math.nan
        return (quantile * self._below + (1 - quantile) * (self._absolute - self._below)) / rows

    def intervals(self) -> dict[str, list[float]]:
        """Of each metric the interval that covers its true value with probability 0.95, by the bootstrap.

        A metric that is not defined for most of what could have been drawn is left out; see
        `penstock.statistics.resampling`.
        """
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found = {
                "rmse": self._groups.interval(lambda sums: np.sqrt(sums[:, 1] / sums[:, 0])),
                "mae": self._groups.interval(lambda sums: sums[:, 2] / sums[:, 0]),
                "r2": self._groups.interval(_r2_of),
            }
        return {name: list(ends) for name, ends in found.items() if ends is not None}

    def _r2(self) -> float:
        if self._truth.second == 0.0:
            return 1.0 if self._squared == 0.0 else 0.0
        return 1.0 - self._squared / self._truth.second

    def state(self) -> pa.Table:
        """One row: what was left out, the sums of errors, the sums of the truth around its mean."""
        s = self._truth
        row: list[Any] = [self._unlabelled, self._squared, self._absolute, self._below, self._groups.sums.reshape(-1)]
        row += [s.count, s.mean, s.remainder, s.second, s.third, s.minimum, s.maximum]
        return pa.table([[item] for item in row], schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        row = state.to_pylist()[0]
        self._unlabelled, self._squared = row.pop("unlabelled"), row.pop("squared")
        self._absolute, self._below = row.pop("absolute"), row.pop("below")
        self._groups.sums = np.array(row.pop("groups"), np.float64).reshape(self._groups.sums.shape)
        self._truth = Sums(**row)


def _r2_of(sums: Floats) -> Floats:
    """From sums of rows, squared error, absolute error, truth and its square; nan where too many digits cancel."""
    total = sums[:, 4] - np.square(sums[:, 3]) / sums[:, 0]
    return np.where(total > 1e-9 * sums[:, 4], 1.0 - sums[:, 1] / total, math.nan)
