"""Evaluate: predictions of labelled rows, folded into metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from penstock import registry
from penstock.artifact import Saved
from penstock.batch import Batch, Count
from penstock.decision import Decision
from penstock.engine import Engine, Station, Task, Transform
from penstock.errors import DataError, UsageError
from penstock.jobs.evaluate_unlabelled import judge_unlabelled
from penstock.jobs.predict import labels_remedy, predictor, require
from penstock.model import Target
from penstock.relational import done_for
from penstock.schema import Field, Role
from penstock.source import Source
from penstock.statistic import Statistic
from penstock.summary import Evaluation
from penstock.target import LABEL, Labelled, Then, as_labels

SHOWN = "\x01shown:"
"""Before the names of columns that pass beside a prediction, as they were read."""
_RANGES = 4
_MOST_SLICES = 30
_SLICE_SCORES = 65_536
_DETAILS = ("confusion_matrix", "classes", "roc_auc_error")
_NO_METRICS = (*_DETAILS, "rows", "unlabelled")


@dataclass(frozen=True)
class Judging:
    """What an evaluation is to tell beside the metrics.

    Attributes:
        by: columns by whose values (or ranges of values) the metrics are told as well.
        betas: of F-beta, beside f1.
        quantiles: of the quantile loss of predicted numbers.
        mistakes: how many of the worst rows are told.
        shown_columns: of the worst rows, how many columns.
    """

    by: tuple[str, ...] = ()
    betas: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    mistakes: int = 20
    shown_columns: int = 40

    def check(self, target: Target) -> None:
        """Refuse what does not fit the task.

        Raises:
            UsageError: a figure is not of this task, or out of its range.
        """
        regression = target.task == "regression"
        if not target.has_labels and (self.by or self.betas or self.quantiles):
            raise UsageError(
                "without a target there is nothing to slice or to weigh",
                where="--by" if self.by else "--beta" if self.betas else "--quantile",
                expected="none of --by, --beta, --quantile",
                got=f"a model of {target.task}",
                remedy="penstock predict MODEL DATA --keep COLUMN writes what was found beside any column",
            )
        if self.quantiles and not regression:
            raise UsageError(
                "a quantile loss is of numbers", where="--quantile", got=f"a target of {target.task} classes"
            )
        if self.betas and regression:
            raise UsageError("F-beta is of classes", where="--beta", got="a target of numbers")
        if target.column in self.by:
            raise UsageError(
                "the target is what is predicted",
                where="--by",
                expected="other columns",
                got=repr(target.column),
                remedy="the confusion matrix tells how each class was predicted",
            )
        if any(not 0 < beta < math.inf for beta in self.betas):
            raise UsageError("out of range", where="--beta", expected="above 0", got=str(self.betas))
        if any(not 0 < quantile < 1 for quantile in self.quantiles):
            raise UsageError("out of range", where="--quantile", expected="between 0 and 1", got=str(self.quantiles))


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


def evaluate(
    source: Source,
    saved: Saved,
    *,
    engine: Engine,
    max_rejected: float | None,
    rows: Transform | None = None,
    row_columns: Sequence[str] = (),
    asked: Judging = Judging(),
    relate: bool = True,
) -> Evaluation:
    """Judge a model on rows read with the roles of the training: labelled ones, where it predicts a target.

    Args:
        source: the rows.
        saved: the fitted pipeline.
        engine: what folds.
        max_rejected: the share of rows above which it is stopped.
        rows: which rows count; None for all.
        row_columns: the columns that ``rows`` reads.
        asked: what is to be told beside the metrics.
        relate: whether the pipeline's relational work is to be done first; false where it was.

    Raises:
        SchemaError: the target, a feature or a column to slice by is not there.
        TooManyRejected: too many rows can't be judged.
        UsageError: what is asked does not fit the task.
    """
    began = time.monotonic()
    if relate:
        with done_for(source, saved.config.data, saved.steps.incoming, engine) as laid:
            return evaluate(
                laid,
                saved,
                engine=engine,
                max_rejected=max_rejected,
                rows=rows,
                row_columns=row_columns,
                asked=asked,
                relate=False,
            )
    if saved.target is None:
        raise UsageError("the saved pipeline has no model", expected="one that was trained", remedy="penstock train")
    target = saved.target
    asked.check(target)
    if not target.has_labels:
        unlabelled = judge_unlabelled(
            source,
            saved,
            engine=engine,
            max_rejected=max_rejected,
            rows=rows,
            row_columns=row_columns,
            unlike=asked.mistakes,
            shown_columns=asked.shown_columns,
        )
        return unlabelled.evaluation(time.monotonic() - began)
    require(source.schema, (target.column,), "the target, to compare with", labels_remedy(source.schema))
    require(source.schema, asked.by, "to slice by")
    masking = engine.resources.masking
    if masking is not None and masking.columns & {target.column, *asked.by}:
        raise UsageError(
            "values of a sensitive column would be told",
            where="--by" if masking.columns & set(asked.by) else "target",
            expected="other columns to judge by",
            got=", ".join(sorted(masking.columns & {target.column, *asked.by})),
        )
    features = [name for name in predictor(saved, source, {}, engine.resources).inputs if name != target.column]
    told = [name for name in features if _can_be_told(source.schema[name])]
    shown = told[: asked.shown_columns] if asked.mistakes else []
    keep = {target.column: LABEL, **{name: SHOWN + name for name in dict.fromkeys((*shown, *asked.by))}}
    predicts = predictor(saved, source, keep, engine.resources)
    labelled = Labelled(target.column, target.classes or None)
    ways = (*((rows,) if rows else ()), labelled, predicts, Judged(target))
    statistics = [metrics_for(target), *_slices(source, target, asked, engine, max_rejected)]
    if asked.mistakes:
        names = {SHOWN + name: name for name in shown}
        statistics.append(registry.find("statistics", "mistakes")(LABEL, target.classes, names, asked.mistakes))
    columns = tuple(dict.fromkeys((*predicts.inputs, *row_columns)))
    station = Station(Then(ways), tuple(statistics))
    folded = engine.fold(Task("evaluate", source, columns, (station,), max_rejected=max_rejected))
    judged = folded.statistics[0][0]
    found = _Found(target, judged, folded.statistics[0][1 : 1 + len(asked.by)])
    counts: tuple[Count, ...] = folded.counts
    if not found.rows:
        raise _nothing_judged(target, counts)
    metrics, details = found.told(asked, predicts.decision)
    if asked.mistakes:
        details["mistakes"] = folded.statistics[0][-1].value()
        if masking is not None:
            details["mistakes"] = masking.mistakes(details["mistakes"])
    return Evaluation(
        rows=found.rows,
        rejected=sum(count.rejected for count in counts),
        metrics=metrics,
        counts=counts,
        seconds=time.monotonic() - began,
        details=details,
    )


def _can_be_told(field: Field) -> bool:
    """Whether a value can stand in a list: pictures and clips themselves can't, the name of one can."""
    return field.shape is None and not (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def metrics_for(target: Target, scores: int | None = None) -> Statistic[dict[str, Any]]:
    """The statistic that judges predictions of this target, which stands in the column `LABEL`."""
    kind, arguments = _metrics_of(target, scores)
    found: Statistic[dict[str, Any]] = registry.find("statistics", kind)(**arguments)
    return found


def _metrics_of(target: Target, scores: int | None) -> tuple[str, dict[str, Any]]:
    if target.task == "regression":
        return "regression", {"target_column": LABEL}
    more = {} if scores is None else {"scores": scores}
    return "classification", {"target_column": LABEL, "classes": list(target.classes), **more}


def _slices(
    source: Source, target: Target, asked: Judging, engine: Engine, max_rejected: float | None
) -> list[Statistic[Any]]:
    """A statistic for each column to slice by, its slices chosen by a look at all rows: the most frequent values, or
    ranges of numbers and times with about as many rows each."""
    if not asked.by:
        return []
    ranged = {name: source.schema[name].kind in (Role.number, Role.integer, Role.time) for name in asked.by}
    kinds = {True: "histogram", False: "frequencies"}
    looks = tuple(registry.find("statistics", kinds[ranged[name]])(name) for name in asked.by)
    task = Task("slices", source, tuple(asked.by), (Station(None, looks),), max_rejected=max_rejected)
    found = engine.fold(task).statistics[0]
    kind, arguments = _metrics_of(target, _SLICE_SCORES)
    slices = []
    for name, look in zip(asked.by, found, strict=True):
        value = look.value()
        if not ranged[name]:
            values = [text for text, _ in value.top(_MOST_SLICES)] or [""]
            slices.append(registry.find("statistics", "sliced")(SHOWN + name, kind, arguments, values=values))
            continue
        shares = [place / _RANGES for place in range(1, _RANGES)]
        quantiles = [float(edge) for edge in value.quantile(shares) if math.isfinite(edge)]
        edges = sorted(set(_readable(quantiles, source.schema[name].kind))) or [0.0]
        times = source.schema[name].kind is Role.time
        slices.append(registry.find("statistics", "sliced")(SHOWN + name, kind, arguments, edges=edges, times=times))
    return slices


def _readable(edges: Sequence[float], kind: Role) -> list[float]:
    """Borders as one would say them: between whole numbers there is nothing to cut, and times are cut at a second where
    that tells as many ranges apart."""
    if kind is Role.integer:
        return [float(math.floor(edge)) for edge in edges]
    if kind is Role.time:
        seconds = [math.floor(edge / 1e6) * 1e6 for edge in edges]
        return seconds if len(set(seconds)) == len(set(edges)) else list(edges)
    return list(edges)


@dataclass(frozen=True)
class _Found:
    """What was folded, as figures to tell."""

    target: Target
    judged: Any
    slices: Sequence[Any]

    @cached_property
    def _value(self) -> dict[str, Any]:
        return dict(self.judged.value())

    @property
    def rows(self) -> int:
        """Rows that were judged."""
        return int(self._value["rows"])

    def told(self, asked: Judging, decision: Decision | None) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics by name, and the details."""
        metrics = {name: value for name, value in self._value.items() if name not in _NO_METRICS}
        details = {name: self._value[name] for name in _DETAILS if name in self._value}
        details["intervals"] = self.judged.intervals()
        if self.target.task == "regression":
            for quantile in asked.quantiles:
                metrics[f"quantile_loss_{quantile:g}"] = self.judged.quantile_loss(quantile)
        else:
            details["curves"] = self.judged.curves()
            for beta in asked.betas:
                metrics[f"f{beta:g}"] = self.judged.f_beta(beta)
        if decision is not None:
            metrics["mean_cost"] = decision.mean_cost(details["confusion_matrix"])
            details["threshold"] = decision.threshold
        if asked.by:
            details["slices"] = list(self._slices(asked))
        return metrics, details

    def _slices(self, asked: Judging) -> Iterator[dict[str, Any]]:
        for column, sliced in zip(asked.by, self.slices, strict=True):
            for place, judged in sliced.slices.items():
                value = judged.value()
                yield {
                    "column": column,
                    "value": sliced.names[place],
                    "rows": value["rows"],
                    "metrics": {name: figure for name, figure in value.items() if name not in _NO_METRICS},
                    "intervals": judged.intervals(),
                }


def _nothing_judged(target: Target, counts: Sequence[Count]) -> DataError:
    rejected = ", ".join(f"{c.rejected:,} rows rejected by {c.step!r}" for c in counts if c.rejected)
    return DataError(
        "no row could be judged",
        where="evaluate",
        expected=f"rows with a value of {target.column!r}"
        + (f" among {', '.join(map(repr, target.classes[:8]))}" if target.classes else ""),
        got=rejected or "none of the rows is among those to judge on",
        remedy="check the column, and that it is written as in training" if rejected else "more rows, or --test DATA",
    )
