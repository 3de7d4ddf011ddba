"""Explain: what a fitted pipeline leans on, as a whole: permutation importance, mean contributions, partial dependence.

Everything is told by the columns of the data, before any step, so that it holds for every pipeline and every model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.artifact import Saved
from penstock.batch import Batch, RowKeys, record_batch
from penstock.decision import probabilities_of
from penstock.engine import Engine, Station, Task, Transform, spanned
from penstock.errors import DataError, UsageError
from penstock.jobs.choose import loss_of
from penstock.jobs.contributions import Contributions
from penstock.jobs.predict import Predictor, predictor
from penstock.model import Target
from penstock.schema import Role
from penstock.source import Source
from penstock.statistic import Statistic
from penstock.target import Labelled, Portion, Then, as_labels, codes_of, salted, those_left

ROWS = 1_000
REPEATS = 3
_MOST_COLUMNS = 60
_DEPENDENCES = 6
_DEPENDENCE_ROWS = 200
_POINTS = 12
_CONTRIBUTION_ROWS = 200
"""Rows whose contributions are averaged: SHAP values cost a hundred times what a prediction does."""
_LONGEST = 60
_LARGE = (Role.picture, Role.clip, Role.tokens, Role.text)
"""Kinds whose rows are not put together beyond a sample of them."""


def explain(
    source: Source,
    saved: Saved,
    *,
    engine: Engine,
    rows: int = ROWS,
    total_rows: int | None = None,
    limits: Sequence[Transform] = (),
    row_columns: Sequence[str] = (),
) -> dict[str, Any]:
    """What a pipeline leans on, by a sample of labelled rows.

    Args:
        source: rows, best ones that the model did not learn from.
        saved: the fitted pipeline.
        engine: what reads.
        rows: about how many rows are taken, drawn by the hash of the row key.
        total_rows: how many there are, where that is known.
        limits: which rows count.
        row_columns: the columns that ``limits`` read.

    Returns:
        ``metric``, ``rows``; ``permutation``: for each column how much the loss grows when its values are
        shuffled among the rows (Breiman, "Random forests", 2001), the mean, least and greatest of several
        times; ``shap``: the mean size of its contributions to the first 200 of them, where the models tell
        them; ``dependence``: of the columns that matter most, the mean prediction were all rows of one value
        (Friedman, "Greedy function approximation", 2001, section 8.2).

    Raises:
        DataError: there are no labelled rows.
    """
    target = saved.target
    if target is None or not target.has_labels:
        raise UsageError(
            "there is no prediction of a target to explain",
            where="explain",
            expected="a model that was trained with a target",
            got="steps alone" if saved.model is None else f"the model {saved.model.name!r}",
            remedy="penstock report MODEL tells what such a model found",
        )
    predicts = predictor(saved, source, {}, engine.resources)
    columns = tuple(dict.fromkeys((*predicts.inputs, target.column)))
    if total_rows is None:
        total_rows = _count(source, target, engine)
    share = min(1.0, rows / max(total_rows, 1))
    drawn = Portion("explain", salted(saved.config.seed, "sample") ^ 0x65787061, 0.0, share)
    way = Then((*limits, Labelled(target.column, target.classes or None), drawn))
    read = tuple(dict.fromkeys((*columns, *row_columns)))
    sample = engine.fold(Task("explain", source, read, (Station(way, (_Rows(columns),)),))).statistics[0][0].value()
    if len(sample) == 0:
        raise DataError("there are no labelled rows to explain by", where="explain", expected="rows with a target")
    with spanned(engine.listener, "predict again and again", "explanation", rows=len(sample)):
        found = _Explanation(saved, target, predicts, sample, engine.resources.cores).told()
    masking = engine.resources.masking
    return found if masking is None else masking.explanation(found)


def _count(source: Source, target: Target, engine: Engine) -> int:
    from penstock.statistics.count import Count

    task = Task("count", source, (target.column,), (Station(None, (Count(target.column),)),))
    return int(engine.fold(task).statistics[0][0].value().rows)


@dataclass(frozen=True)
class _Explanation:
    """One sample of rows, predicted again and again."""

    saved: Saved
    target: Target
    predicts: Predictor
    sample: Batch
    threads: int

    def told(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        metric = "rmse" if self.target.task == "regression" else "log_loss"
        columns = [name for name in self.predicts.inputs if name != self.target.column][:_MOST_COLUMNS]
        base = self._loss(metric, *self._predicted(self.sample))
        found = [self._permuted(metric, name, base) for name in columns]
        found.sort(key=lambda one: (-one["drop"], columns.index(one["column"])))
        best = [one["column"] for one in found if one["drop"] > 0][:_DEPENDENCES]
        return {
            "metric": metric,
            "loss": base,
            "rows": len(self.sample),
            "permutation": found,
            "shap": self._contributions(),
            "dependence": [each for name in best if (each := self._dependence(name)) is not None],
        }

    def _predicted(self, batch: Batch) -> tuple[npt.NDArray[np.float64], Batch]:
        """Probabilities or values, and the rows that they are of."""
        predicted = replace(self.predicts, keep={}, threads=self.threads).transform(replace(batch, rejected=None))
        return probabilities_of(predicted, self.target), those_left(batch, predicted)

    def _predicted_each(self, batches: Sequence[Batch]) -> list[tuple[npt.NDArray[np.float64], Batch]]:
        """The same for several, in one go where rows are small: what a call costs is paid once."""
        if any(self.saved.steps.incoming[name].kind in _LARGE for name in self.predicts.inputs):
            return [self._predicted(batch) for batch in batches]
        ends = np.cumsum([len(batch) for batch in batches])
        if not len(ends) or not ends[-1]:
            return [self._predicted(batch) for batch in batches]
        whole = pa.Table.from_batches([batch.columns for batch in batches]).combine_chunks().to_batches()
        values, left = self._predicted(Batch(whole[0], RowKeys.span("", 0, int(ends[-1]))))
        places = np.searchsorted(left.keys.rows, [0, *ends])
        return [(values[first:last], left.slice(int(first), int(last - first))) for first, last in pairwise(places)]

    def _loss(self, metric: str, values: npt.NDArray[np.float64], left: Batch) -> float:
        truth = left.column(self.target.column)
        if self.target.task == "regression":
            labels: npt.NDArray[Any] = truth.cast(pa.float64()).to_numpy(zero_copy_only=False)
        else:
            labels = codes_of(as_labels(truth), self.target.classes)
        return loss_of(metric, labels, values) if len(labels) else math.nan

    def _permuted(self, metric: str, name: str, base: float) -> dict[str, Any]:
        shuffled = []
        for repeat in range(REPEATS):
            random = np.random.Generator(np.random.Philox(key=[self.saved.config.seed & (2**63 - 1), repeat]))
            order = pa.array(random.permutation(len(self.sample)))
            shuffled.append(_with(self.sample, name, self.sample.column(name).take(order)))
        losses = [self._loss(metric, *found) - base for found in self._predicted_each(shuffled)]
        return {"column": name, "drop": math.fsum(losses) / REPEATS, "low": min(losses), "high": max(losses)}

    def _contributions(self) -> list[dict[str, Any]]:
        told = Contributions.of(self.saved)
        few = replace(self.sample.slice(0, _CONTRIBUTION_ROWS), rejected=None)
        encoded = [chain.transform(few) for chain in self.predicts.chains]
        if any(
            member.model.contributions(one.slice(0, 0)) is None
            for member, one in zip(told.members, encoded, strict=True)
        ):
            return []
        values, _ = self._predicted(few)
        found = told.values(encoded, np.argmax(values, axis=1), self.threads)
        means = np.mean(np.abs(found[:, :-1]), axis=0)
        order = sorted(range(len(means)), key=lambda place: (-means[place], place))
        return [{"column": told.columns[place], "mean_abs": float(means[place])} for place in order]

    def _dependence(self, name: str) -> dict[str, Any] | None:
        """The mean prediction (of two classes the second's probability) were all rows of one value of it."""
        if self.target.task == "multiclass":
            return None
        values = self.sample.column(name)
        field = self.saved.steps.incoming[name]
        if field.kind in (Role.picture, Role.clip, Role.tokens, Role.vector):
            return None  # no row stands for all rows of one picture
        few = self.sample.slice(0, _DEPENDENCE_ROWS)
        numeric = field.kind in (Role.number, Role.integer)
        plain = pa.string() if pa.types.is_dictionary(values.type) else values.type
        found = _points(values, numeric)
        alike = [_with(few, name, pa.repeat(pa.scalar(value, plain), len(few))) for value, _ in found]
        points = []
        for (value, rows), (predicted, _) in zip(found, self._predicted_each(alike), strict=True):
            if len(predicted):
                shown: Any = value if numeric or isinstance(value, bool) else _cut(str(value))
                points.append({"x": shown, "y": float(np.mean(predicted[:, -1])), "rows": rows})
        return (
            {"column": name, "kind": "number" if numeric else "category", "points": points} if len(points) > 1 else None
        )


def _points(values: pa.Array, numeric: bool) -> list[tuple[Any, int]]:
    """Values to set a column to, quantiles or the most frequent, and how many rows are at (or up to) each."""
    if numeric:
        present = np.sort(values.drop_null().cast(pa.float64()).to_numpy(zero_copy_only=False))
        if len(present) == 0:
            return []
        found = np.unique(np.quantile(present, np.linspace(0.02, 0.98, _POINTS), method="inverted_cdf"))
        upto = np.searchsorted(present, found, side="right")
        return list(zip(found.tolist(), np.diff(upto, prepend=0).tolist(), strict=True))
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    if pa.types.is_nested(plain.type):
        return []
    counts = pc.value_counts(plain.drop_null()).to_pylist()
    counts.sort(key=lambda one: (-one["counts"], str(one["values"])))
    return [(one["values"], one["counts"]) for one in counts[:_POINTS]]


def _with(batch: Batch, name: str, values: pa.Array) -> Batch:
    names = batch.columns.schema.names
    columns = [values if other == name else batch.columns.column(other) for other in names]
    return batch.with_columns(record_batch(columns, names, len(batch)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


class _Rows(Statistic[Batch]):
    """The rows themselves, of a sample that is bounded by whoever draws it."""

    kind = "rows"

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._batches: list[Batch] = []

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    def parameters(self) -> Mapping[str, Any]:
        return {"columns": list(self._columns)}

    def update(self, batch: Batch) -> None:
        if len(batch):
            self._batches.append(Batch(batch.select(self._columns).columns, batch.keys))

    def merge(self, other: Self) -> None:
        self._batches += other._batches

    def value(self) -> Batch:
        if not self._batches:
            empty = record_batch([pa.nulls(0) for _ in self._columns], self._columns, 0)
            return Batch(empty, RowKeys.span("", 0, 0))
        tables = [_plain(batch.columns) for batch in self._batches]
        whole = pa.Table.from_batches(tables).combine_chunks().to_batches()[0]
        return Batch(whole, RowKeys.concat([batch.keys for batch in self._batches]))

    def state(self) -> pa.Table:
        value = self.value()
        keys = [value.keys.path_column(), pa.array(value.keys.rows)]
        names = [*self._columns, "\x01path", "\x01row"]
        return pa.Table.from_arrays([*value.columns.columns, *keys], names=names)

    def load(self, state: pa.Table) -> None:
        self._batches = []
        for rows in state.to_batches():
            path = rows.column("\x01path").dictionary_encode()
            files = path.indices.to_numpy(zero_copy_only=False).astype(np.int32)
            keys = RowKeys(tuple(path.dictionary.to_pylist()), rows.column("\x01row").to_numpy(), files)
            self._batches.append(Batch(rows.select(list(self._columns)), keys))


def _plain(columns: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=columns.schema.names)
