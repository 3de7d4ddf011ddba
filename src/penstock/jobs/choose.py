"""Choose: several models tried on the same rows, and the best of them, or their average, kept. Used by `train`."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock import registry
from penstock.artifact import Saved
from penstock.batch import Batch
from penstock.decision import mean_of, probabilities_of
from penstock.engine import Station, Task, Transform, spanned
from penstock.errors import DataError, MissingExtra, PenstockError, ResourceError, SchemaError, UsageError
from penstock.jobs.evaluate import Judged
from penstock.jobs.learn import Learning
from penstock.jobs.predict import predictor
from penstock.model import Auto, Model, Target
from penstock.source import Note
from penstock.statistic import Statistic
from penstock.target import LABEL, Labelled, Then, codes_of

ROWS = {"quick": 10_000, "default": 50_000, "best": 200_000}
"""Rows that candidates are compared on, by effort."""
_DRAWN = 20
"""Models drawn into an average: of a handful of candidates more would only tell finer weights."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Attributes:
        models: the definitions to train on all rows, and how much each counts.
        leaderboard: every candidate with its score, best first, as JSON values.
        seconds: what each candidate took [s].
    """

    models: tuple[tuple[Model, float], ...]
    leaderboard: tuple[dict[str, Any], ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tried:
    name: str
    model: Model
    target: Target
    predicted: npt.NDArray[np.float64]
    labels: npt.NDArray[Any]
    seconds: float


def choose(job: Learning, auto: Auto, rows: int, folder: Path) -> Chosen:
    """Try the candidates, and say which to keep.

    Args:
        job: everything about the training but the model.
        auto: which candidates, how thoroughly.
        rows: about how many rows the data has.
        folder: where encoded rows are laid down; emptied after each candidate.

    Raises:
        UsageError: the metric is not for this task.
        DataError: no candidate could be trained.
    """
    metric = _metric(auto, job)
    tried: list[_Tried] = []
    failed: list[dict[str, Any]] = []
    errors: list[PenstockError] = []
    for name in auto.candidates:
        began = time.monotonic()
        if name == auto.candidates[-1] and len(errors) > 0 and not tried and _can_learn_nothing(errors):
            return _only(job, auto, name, metric, failed)
        try:
            with spanned(job.listener, f"try {name}", "candidate"):
                tried.append(_try(job, auto, name, rows, folder))
        except (MissingExtra, DataError, ResourceError) as error:
            errors.append(error)
            reason = f"left out: {error.message}" + (f" ({error.remedy})" if error.remedy else "")
            failed.append({"model": name, "metric": metric, "score": None, "kept": False, "reason": reason})
            job.listener.said(Note(f"candidate {name!r}", reason))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if tried and tried[-1].name == name:
            score = score_of(metric, tried[-1].labels, tried[-1].predicted)
            took = time.monotonic() - began
            job.listener.said(
                Note(f"candidate {name!r}", f"{metric} {score:.5f} on {len(tried[-1].labels):,} rows, {took:.1f} s")
            )
    if not tried:
        raise errors[0]
    return _decide(job, auto, metric, tried, failed)


def _can_learn_nothing(errors: Sequence[PenstockError]) -> bool:
    """Whether the candidates failed for there being no column that they can learn from: pictures, say."""
    return all(isinstance(error, SchemaError) for error in errors)


def _only(job: Learning, auto: Auto, name: str, metric: str, failed: Sequence[dict[str, Any]]) -> Chosen:
    """The one candidate that is left need not be compared with anything."""
    reason = "the only candidate that can learn from these columns"
    job.listener.said(Note("model", name, reason, f"--model {name}"))
    row = {"model": name, "metric": metric, "score": None, "kept": True, "reason": reason}
    return Chosen(((candidate(auto, name), 1.0),), (row, *failed))


def _metric(auto: Auto, job: Learning) -> str:
    fits = {"regression": ("rmse", "mae"), "binary": ("log_loss", "roc_auc"), "multiclass": ("log_loss",)}[job.task]
    if auto.metric == "auto":
        return fits[0]
    if auto.metric not in fits:
        raise UsageError("not a metric of this task", where="auto: metric", expected=" or ".join(fits), got=auto.metric)
    return auto.metric


def _try(job: Learning, auto: Auto, name: str, rows: int, folder: Path) -> _Tried:
    """One candidate: trained on its part of the rows, and the others predicted."""
    began = time.monotonic()
    model = candidate(auto, name)
    holdout = job.config.holdout
    sample = job.sample(round(rows * (1 - holdout)), ROWS[auto.effort])
    first, limits = (holdout, 1.0) if job.splitting.time else (0.0, 1.0)
    middle = first + (limits - first) * auto.validation_share
    more: tuple[Transform, ...] = () if sample is None else (sample,)
    learned = job.learn(
        model,
        folder,
        folder / "rejected",
        more_rows=(*more, job.portion("choice", middle, 1.0)),
        start=middle if job.splitting.time else 0.0,
    )
    member = learned.member
    saved = Saved(job.config, member.steps, learned.target, member.model)
    predicts = predictor(saved, job.source, {job.column: LABEL}, job.engine.resources)
    way = (
        *job.training_rows(),
        *more,
        job.portion("choice", first, middle),
        Labelled(job.column, learned.target.classes or None),
        predicts,
        Judged(learned.target),
    )
    columns = tuple(dict.fromkeys((*predicts.inputs, *job.beside)))
    gathered = _Gathered(learned.target)
    task = Task(f"compare {name}", job.source, columns, (Station(Then(way), (gathered,)),))
    labels, predicted = job.engine.fold(task).statistics[0][0].value()
    if len(labels) < 2:
        raise DataError(
            "too few rows to compare models on",
            where="auto",
            expected="two or more",
            got=f"{len(labels)}",
            remedy="more rows, or name one model: --model boosted",
        )
    return _Tried(name, model, learned.target, predicted, labels, time.monotonic() - began)


def candidate(auto: Auto, name: str) -> Model:
    """A candidate's definition, set to the effort.

    Raises:
        UsageError: there is no such model, or it takes no class weights.
    """
    model = registry.model_named(name)
    if isinstance(model, Auto):
        raise UsageError("a candidate is auto itself", where="auto: candidates", expected="models", got=name)
    if model.task is not None:
        raise UsageError(
            "a candidate learns without a target",
            where="auto: candidates",
            expected="models that predict one",
            got=name,
            remedy=f"--model {name}, without --target",
        )
    if auto.class_weight is not None:
        if not any(item.name == "class_weight" for item in dataclasses.fields(model)):
            raise UsageError(
                f"the candidate {name!r} takes no class weights",
                where="auto: class_weight",
                remedy="leave one of them out",
            )
        model = dataclasses.replace(model, class_weight=auto.class_weight)
    settled: Model = model.at_effort(auto.effort)
    return settled


class _Gathered(Statistic[tuple[npt.NDArray[Any], npt.NDArray[np.float64]]]):
    """The labels and predictions of a bounded number of rows, in plan order."""

    kind = "gathered"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._labels: list[npt.NDArray[Any]] = []
        self._predicted: list[npt.NDArray[np.float64]] = []

    @property
    def columns(self) -> tuple[str, ...]:
        return (LABEL,)

    def parameters(self) -> Mapping[str, Any]:
        return {"target": self._target.to_json()}

    def empty(self) -> Self:
        return type(self)(self._target)

    def update(self, batch: Batch) -> None:
        labels = batch.column(LABEL)
        if self._target.task == "regression":
            self._labels.append(np.asarray(labels.to_numpy(zero_copy_only=False), np.float64))
        else:
            self._labels.append(codes_of(labels, self._target.classes))
        self._predicted.append(probabilities_of(batch, self._target))

    def merge(self, other: Self) -> None:
        self._labels += other._labels
        self._predicted += other._predicted

    def value(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        if not self._labels:
            return np.empty(0), np.empty((0, 1))
        return np.concatenate(self._labels), np.concatenate(self._predicted)

    def state(self) -> pa.Table:
        labels, predicted = self.value()
        flat = pa.FixedSizeListArray.from_arrays(pa.array(predicted.reshape(-1)), predicted.shape[1])
        return pa.table({"label": pa.array(labels.astype(np.float64)), "predicted": flat})

    def load(self, state: pa.Table) -> None:
        predicted = state.column("predicted").combine_chunks()
        labels = state.column("label").to_numpy()
        self._labels = [labels if self._target.task == "regression" else labels.astype(np.int32)]
        self._predicted = [predicted.flatten().to_numpy().reshape(len(labels), -1)]


# ---------------------------------------------------------------------- scores


def loss_of(metric: str, labels: npt.NDArray[Any], predicted: npt.NDArray[np.float64]) -> float:
    """What is to be made small: the metric itself, and for ``roc_auc`` what it lacks to 1."""
    score = score_of(metric, labels, predicted)
    return 1.0 - score if metric == "roc_auc" else score


def score_of(metric: str, labels: npt.NDArray[Any], predicted: npt.NDArray[np.float64]) -> float:
    """A metric, as scikit-learn defines it, of predictions of shape (rows, classes), or (rows, 1) for values.

    Example:
        >>> score_of("roc_auc", np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
        1.0
    """
    if metric == "rmse":
        return float(np.sqrt(np.mean((predicted[:, 0] - labels) ** 2)))
    if metric == "mae":
        return float(np.mean(np.abs(predicted[:, 0] - labels)))
    if metric == "log_loss":
        picked = predicted[np.arange(len(labels)), labels]
        return float(-np.mean(np.log(np.clip(picked, np.finfo(np.float64).eps, 1.0))))
    from scipy.stats import rankdata

    positive = labels == 1
    count = int(np.count_nonzero(positive))
    if count in (0, len(labels)):
        return 0.5
    ranks = float(np.sum(rankdata(predicted[:, 1])[positive]))
    return (ranks - count * (count + 1) / 2) / (count * (len(labels) - count))


def _decide(
    job: Learning, auto: Auto, metric: str, tried: Sequence[_Tried], failed: Sequence[dict[str, Any]]
) -> Chosen:
    losses = [loss_of(metric, one.labels, one.predicted) for one in tried]
    best = int(np.argmin(losses))
    counts, mixed = _average(metric, tried, best)
    gain = (losses[best] - mixed) / abs(losses[best]) if losses[best] else 0.0
    averaged = auto.average and np.count_nonzero(counts) > 1 and gain > auto.least_gain
    used = [int(place) for place in np.flatnonzero(counts)]
    kept = {place: float(counts[place]) for place in used} if averaged else {best: 1.0}
    named = " + ".join(f"{counts[place] / counts.sum():.0%} {tried[place].name}" for place in used)
    if averaged:
        reason = f"the average {named} is better than {tried[best].name} alone by {gain:.1%}"
    elif len(tried) > 1:
        reason = "the best score" + (f"; an average is better by {gain:.1%} only" if auto.average and gain > 0 else "")
    else:
        reason = "the only candidate"
    rows: list[dict[str, Any]] = [
        {
            "model": one.name,
            "metric": metric,
            "score": score_of(metric, one.labels, one.predicted),
            "kept": place in kept,
            "reason": reason if place == best else "",
        }
        for place, one in enumerate(tried)
    ]
    if averaged:
        score = 1.0 - mixed if metric == "roc_auc" else mixed
        rows.append({"model": f"average: {named}", "metric": metric, "score": score, "kept": True, "reason": reason})
        rows[best]["reason"] = ""
    rows.sort(key=lambda row: -row["score"] if metric == "roc_auc" else row["score"])
    shown = named if averaged else tried[best].name
    job.listener.said(Note("model", shown, reason, "--model " + "|".join(one.name for one in tried)))
    return Chosen(
        tuple((tried[place].model, weight) for place, weight in kept.items()),
        (*rows, *failed),
        {one.name: round(one.seconds, 3) for one in tried},
    )


def _average(metric: str, tried: Sequence[_Tried], best: int) -> tuple[npt.NDArray[np.int64], float]:
    """How often each model is drawn by greedy selection with replacement, and the loss of that average."""
    counts = np.zeros(len(tried), np.int64)
    counts[best] = 1
    labels = tried[best].labels
    loss = loss_of(metric, labels, tried[best].predicted)
    drawn, kept = counts, counts
    for _ in range(_DRAWN):
        ways = [drawn + (np.arange(len(tried)) == place) for place in range(len(tried))]
        losses = [loss_of(metric, labels, _mean(tried, way)) for way in ways]
        drawn = ways[int(np.argmin(losses))]  # the same model again, where no other helps yet: it then counts more
        if min(losses) < loss * (1 - 1e-6):
            loss, kept = min(losses), drawn
    return kept // np.gcd.reduce(kept), loss


def _mean(tried: Sequence[_Tried], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    used = [int(place) for place in np.flatnonzero(counts)]
    return mean_of([tried[place].predicted for place in used], [float(counts[place]) for place in used])
