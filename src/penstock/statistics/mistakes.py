"""The rows that were predicted worst, with what was expected, what was said, and what the model saw. A statistic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.model import PREDICTION, PROBABILITY
from penstock.statistic import Statistic
from penstock.statistics.classification import codes
from penstock.statistics.values import array_of

_STATE = pa.schema(
    [
        ("loss", pa.float64()),
        ("path", pa.string()),
        ("row", pa.int64()),
        ("expected", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float64()),
        ("values", pa.string()),
    ]
)
_ORDER = [("loss", "descending"), ("path", "ascending"), ("row", "ascending")]
_LONGEST = 200


class Mistakes(Statistic[list[dict[str, Any]]]):
    """The rows of the greatest loss, the worst first: of classes ``1 - probability of the true one``, of numbers the
    absolute error; of equal ones the first by path and row. At most ``rows`` are kept: any grouping gives the same.

    The value is a list of ``path``, ``row`` (from 0), ``expected``, ``predicted``, ``probability`` (of the true class;
    None for numbers), ``loss`` and ``values`` (the shown columns of the row; long texts are cut).

    Args:
        target_column: the truth.
        classes: the labels; empty for numbers.
        shown: columns to show, and the names to show them under.
        rows: how many are kept.

    Raises:
        UsageError: ``rows`` is not positive.

    Example:
        >>> from penstock.batch import RowKeys
        >>> batch = Batch(pa.record_batch({"y": [1.0, 2.0], "prediction": [1.5, 9.0]}), RowKeys.span("a.csv", 0, 2))
        >>> mistakes = Mistakes("y", rows=1)
        >>> mistakes.update(batch)
        >>> [(one["row"], one["loss"]) for one in mistakes.value()]
        [(1, 7.0)]
    """

    kind = "mistakes"

    def __init__(
        self,
        target_column: str,
        classes: Sequence[str] = (),
        shown: Mapping[str, str] | None = None,
        rows: int = 20,
    ) -> None:
        if rows < 1:
            raise UsageError("nothing to keep", where="mistakes", expected="1 row or more", got=str(rows))
        self._target = target_column
        self._classes = tuple(classes)
        self._shown = dict(shown or {})
        self._rows = rows
        self._worst = _STATE.empty_table()

    @property
    def columns(self) -> tuple[str, ...]:
        """The truth, the prediction, its probabilities, and what is shown."""
        return (self._target, PREDICTION, *(PROBABILITY + label for label in self._classes), *self._shown)

    def parameters(self) -> Mapping[str, Any]:
        """As it was made."""
        return {
            "target_column": self._target,
            "classes": list(self._classes),
            "shown": self._shown,
            "rows": self._rows,
        }

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch; those without a truth are passed over."""
        loss, chance = self._losses(batch)
        order = np.flatnonzero(np.isfinite(loss))
        if len(order) > self._rows:
            least = np.partition(loss[order], len(order) - self._rows)[len(order) - self._rows]
            order = order[loss[order] >= least]
            keys = batch.keys.take(order)
            ranked = pa.table({"loss": loss[order], "path": keys.path_column(), "row": keys.rows, "place": order})
            order = ranked.sort_by(_ORDER).column("place").to_numpy()[: self._rows]
        if len(order) == 0:
            return
        index = pa.array(order)
        keys = batch.keys.take(order)
        rows = batch.columns.take(index).to_pylist()
        found = {
            "loss": loss[order],
            "path": keys.path_column(),
            "row": keys.rows,
            "expected": [_text(row[self._target]) for row in rows],
            "predicted": [_text(row[PREDICTION]) for row in rows],
            "probability": pa.array(chance[order], from_pandas=True)
            if self._classes
            else pa.nulls(len(rows), pa.float64()),
            "values": [
                json.dumps({name: _plain(row[column]) for column, name in self._shown.items()}, ensure_ascii=False)
                for row in rows
            ],
        }
        self._keep(pa.table(found, schema=_STATE))

    def _losses(self, batch: Batch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        truth = array_of(batch, self._target)
        if not self._classes:
            numbers = truth.cast(pa.float64()).to_numpy(zero_copy_only=False)
            predicted = array_of(batch, PREDICTION).cast(pa.float64()).to_numpy(zero_copy_only=False)
            return np.abs(predicted - numbers), np.empty(0)
        code = codes(truth, self._classes)
        chance = np.full(len(code), np.nan)
        for place, label in enumerate(self._classes):
            member = code == place
            chance[member] = array_of(batch, PROBABILITY + label).to_numpy(zero_copy_only=False)[member]
        return 1.0 - chance, chance

    def _keep(self, more: pa.Table) -> None:
        both = pa.concat_tables([self._worst, more])
        # Made anew, so that the same rows are the same bytes, however they came together.
        self._worst = pa.Table.from_pylist(both.sort_by(_ORDER).slice(0, self._rows).to_pylist(), schema=_STATE)

    def merge(self, other: Self) -> None:
        """Take in another's rows."""
        self._keep(other._worst)

    def value(self) -> list[dict[str, Any]]:
        """The worst rows, the worst first."""
        return [{**row, "values": json.loads(row["values"])} for row in self._worst.to_pylist()]

    def state(self) -> pa.Table:
        """The worst rows."""
        return self._worst

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        self._worst = state


def _text(value: object) -> str:
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else _text(value)
