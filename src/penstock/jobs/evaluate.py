"""Evaluate: predictions of labelled rows, folded into metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from penstock import registry
from penstock.artifact import Saved
from penstock.batch import Batch, Count
from penstock.engine import Engine, Station, Task, Transform
from penstock.errors import DataError, UsageError
from penstock.jobs.predict import predictor, require
from penstock.model import Target
from penstock.source import Source
from penstock.statistic import Statistic
from penstock.summary import Evaluation
from penstock.target import LABEL, Labelled, Then, as_labels


@dataclass(frozen=True)
class Judged(Transform):
    """Makes the target of predicted rows comparable with the predictions: labels as text, or numbers."""

    target: Target

    def transform(self, batch: Batch) -> Batch:
        """The batch with its target as labels or as float64."""
        place = batch.columns.schema.get_field_index(LABEL)
        values = batch.columns.column(place)
        values = values.cast(pa.float64()) if self.target.task == "regression" else as_labels(values)
        columns = list(batch.columns.columns)
        columns[place] = values
        return replace(batch, columns=pa.RecordBatch.from_arrays(columns, names=batch.columns.schema.names))


def metrics_for(target: Target) -> Statistic[dict[str, Any]]:
    """The statistic that judges predictions of this target, which stands in the column `LABEL`."""
    if target.task == "regression":
        found: Statistic[dict[str, Any]] = registry.find("statistics", "regression")(LABEL)
        return found
    found = registry.find("statistics", "classification")(LABEL, target.classes)
    return found


def evaluate(
    source: Source,
    saved: Saved,
    *,
    engine: Engine,
    max_rejected: float | None,
    rows: Transform | None = None,
    row_columns: Sequence[str] = (),
) -> Evaluation:
    """Judge a model on labelled rows, read with the roles of the training.

    Args:
        source: the rows.
        saved: the fitted pipeline.
        engine: what folds.
        max_rejected: the share of rows above which it is stopped.
        rows: which rows count; None for all.
        row_columns: the columns that ``rows`` reads.

    Raises:
        SchemaError: the target or a feature is not there.
        TooManyRejected: too many rows can't be judged.
    """
    began = time.monotonic()
    if saved.target is None:
        raise UsageError("the saved pipeline has no model", expected="one that was trained", remedy="penstock train")
    target = saved.target
    require(source.schema, (target.column,), "the target, to compare with")
    predicts = predictor(saved, source, {target.column: LABEL}, engine.resources)
    labelled = Labelled(target.column, target.classes or None)
    ways = (*((rows,) if rows else ()), labelled, predicts, Judged(target))
    task = Task(
        "evaluate",
        source,
        tuple(dict.fromkeys((*predicts.inputs, *row_columns))),
        (Station(Then(ways), (metrics_for(target),)),),
        max_rejected=max_rejected,
    )
    folded = engine.fold(task)
    value = dict(folded.statistics[0][0].value())
    counts: tuple[Count, ...] = folded.counts
    details = {name: value.pop(name) for name in ("confusion_matrix", "classes", "roc_auc_error") if name in value}
    judged = int(value.pop("rows"))
    value.pop("unlabelled", None)
    if predicts.decision is not None and judged:
        value["mean_cost"] = predicts.decision.mean_cost(details["confusion_matrix"])
        details["threshold"] = predicts.decision.threshold
    if not judged:
        raise DataError(
            "no row could be judged",
            where="evaluate",
            expected=f"rows with a value of {target.column!r}"
            + (f" among {', '.join(map(repr, target.classes[:8]))}" if target.classes else ""),
            got=", ".join(f"{c.rejected:,} rows rejected by {c.step!r}" for c in counts if c.rejected) or "no rows",
            remedy="check the column, and that it is written as in training",
        )
    return Evaluation(
        rows=judged,
        rejected=sum(count.rejected for count in counts),
        metrics=value,
        counts=counts,
        seconds=time.monotonic() - began,
        details=details,
    )
