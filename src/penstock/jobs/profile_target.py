"""Profile: how each column alone goes together with the target, on the sample of rows. Part of the room of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.errors import SchemaError
from penstock.inference import infer_task
from penstock.jobs.profile_columns import figure, shown
from penstock.schema import Field
from penstock.statistics.sample import SampleValue
from penstock.statistics.values import as_text

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_MOST_CLASSES = 10
_SCORE_BINS = 20
_POINT_BINS = 10
_MOST_POINTS = 12
_LEAST_ROWS = 20


@dataclass(frozen=True)
class TargetFacts:
    """What is known of the target before any model.

    Attributes:
        column: its name.
        task: "binary", "multiclass" or "regression"; None where nothing can be learned from it.
        reason: why that task.
        classes: the labels with their rows, most frequent first; of a regression none.
        distinct: how many classes there are.
    """

    column: str
    task: str | None
    reason: str
    classes: tuple[tuple[str, int], ...] = ()
    distinct: int = 0

    @property
    def positive(self) -> str:
        """Of two classes the second in order, whose share is told."""
        return max((label for label, _ in self.classes), key=_order)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = {"column": self.column, "task": self.task, "reason": self.reason}
        if self.task in ("binary", "multiclass"):
            found["classes"] = [[shown(label), rows] for label, rows in self.classes[:50]]
            found["class_count"] = self.distinct
            found["rarest"] = [shown(self.classes[-1][0]), self.classes[-1][1]]
        if self.task == "binary":
            found["positive"] = shown(self.positive)
        return found


def _order(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def target_facts(field: Field, states: Mapping[str, Any], rows: int) -> TargetFacts:
    """The task that a target sets, and its classes, from its statistics."""
    if "frequencies" in states:
        value = states["frequencies"]
        pairs = value.top(min(value.distinct, 1000))
        distinct: list[Any] = [label for label, _ in pairs]
    elif "histogram" in states:
        histogram = states["histogram"]
        distinct = histogram.lower.tolist()
        pairs = []
        if histogram.exact and len(distinct) <= 1000:
            labels = as_text(pa.array(distinct, pa.float64())).to_pylist()
            pairs = sorted(zip(labels, histogram.counts.tolist(), strict=True), key=lambda pair: -pair[1])
    else:
        return TargetFacts(field.name, None, f"{field.type} can't be a target")
    try:
        task, reason = infer_task(field, distinct, rows)
    except SchemaError as error:
        return TargetFacts(field.name, None, f"{error.message}: {error.got}")
    if task == "regression":
        return TargetFacts(field.name, task, reason)
    return TargetFacts(field.name, task, reason, tuple(pairs), len(distinct))


def associations(sample: SampleValue, facts: TargetFacts) -> dict[str, dict[str, Any]]:
    """Of each sampled column: how well it alone tells the target, and the target's mean by its values.

    ``score`` is the area under the ROC curve (``measure`` "auc"; of several classes the mean of one against the
    rest, weighted by rows) or the share of variance explained ("r2"). A column is judged by the target's mean in
    each of its bins or values, learned on one half of the sample and scored on the other, and by its own order where
    it is of numbers; the better one counts.

    Args:
        sample: rows, the target among their columns.
        facts: what is known of the target.
    """
    if facts.task is None or facts.column not in sample.table.column_names:
        return {}
    goals = _goals(sample, facts)
    if not goals:
        return {}
    known = goals[0][2]
    found: dict[str, dict[str, Any]] = {}
    for name in sample.table.column_names:
        if name == facts.column:
            continue
        column = sample.table[name].combine_chunks().filter(pa.array(known))
        values = _numbers(column)
        codes = _bins(values, _SCORE_BINS) if values is not None else _labels(column)
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the greatest there are
            scores = [_score(values, codes, goal, facts.task) for goal, _, _ in goals]
        weights = [weight for _, weight, _ in goals]
        told: dict[str, Any] = {
            "measure": "r2" if facts.task == "regression" else "auc",
            "score": figure(round(float(np.average(scores, weights=weights)), 6)),
            "rows": int(known.sum()),
        }
        if facts.task != "multiclass":
            told["points"] = _points(column, values, goals[0][0])
        found[name] = told
    return found


def _goals(sample: SampleValue, facts: TargetFacts) -> list[tuple[Floats, float, npt.NDArray[np.bool_]]]:
    """What is to be told, for the rows whose target is known: numbers, or membership of each class."""
    column = sample.table[facts.column].combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    if int(known.sum()) < _LEAST_ROWS:
        return []
    column = column.filter(pa.array(known))
    if facts.task == "regression":
        return [(column.to_numpy(zero_copy_only=False), 1.0, known)]
    # A truth value is sampled as a number, and counted as text.
    names = {"true": "1", "false": "0"} if pa.types.is_floating(column.type) else {}
    texts = as_text(column)
    chosen = [facts.positive] if facts.task == "binary" else [label for label, _ in facts.classes[:_MOST_CLASSES]]
    goals = []
    for label in chosen:
        wanted = pa.scalar(names.get(label, label)[:64], pa.large_string())
        member = pc.equal(texts, wanted).to_numpy(zero_copy_only=False).astype(np.float64)
        if 0.0 < member.sum() < len(member):
            goals.append((member, float(member.sum()), known))
    return goals


def _numbers(column: pa.Array) -> Floats | None:
    """Numbers with nan for null; None for text."""
    if not pa.types.is_floating(column.type):
        return None
    found: Floats = column.to_numpy(zero_copy_only=False)
    return found


def _bins(values: Floats, most: int) -> Codes:
    """Bins of about as many rows each; nan has the last one."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return np.zeros(len(values), np.int64)
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, most + 1)[1:-1], method="lower"))
    codes = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), len(edges) + 1, codes)


def _labels(column: pa.Array) -> Codes:
    encoded = column.dictionary_encode()
    found: Codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy().astype(np.int64)
    return found


def _score(values: Floats | None, codes: Codes, goal: Floats, task: str) -> float:
    judged = _cross_fitted(codes, goal)
    if task == "regression":
        spread = float(np.square(goal - goal.mean()).sum())
        if spread == 0.0:
            return 0.0
        explained = [1.0 - float(np.square(goal - judged).sum()) / spread]
        if values is not None and not np.isnan(values).any():
            explained += [_squared_correlation(values, goal), _squared_correlation(_ranks(values), _ranks(goal))]
        return max(0.0, *explained)
    areas = [_area(judged, goal)]
    if values is not None and not np.isnan(values).any():
        areas.append(_area(values, goal))
    return max(0.5, areas[0], *(max(area, 1.0 - area) for area in areas[1:]))


def _cross_fitted(codes: Codes, goal: Floats) -> Floats:
    """Of each row the mean of its bin in the other half of the rows, drawn a little towards the mean of all."""
    out = np.empty(len(goal))
    half = np.arange(len(goal)) % 2 == 0  # the rows stand in the order of their hashes: a random half
    size = int(codes.max(initial=0)) + 1
    for side in (half, ~half):
        mean = float(goal[~side].mean()) if (~side).any() else 0.0
        counts = np.bincount(codes[~side], minlength=size)
        sums = np.bincount(codes[~side], goal[~side], minlength=size)
        out[side] = ((sums + mean) / (counts + 1.0))[codes[side]]
    return out


def _squared_correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.square(a).sum()) * float(np.square(b).sum())
    return float((a * b).sum()) ** 2 / scale if 0.0 < scale < np.inf else 0.0


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, the mean of them for equal values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts + 1) / 2.0)[place]
    return ranks


def _area(scores: Floats, member: Floats) -> float:
    """The area under the ROC curve, by the sum of the members' ranks (Mann and Whitney, 1947)."""
    inside = float(member.sum())
    outside = len(member) - inside
    return (float(_ranks(scores)[member > 0.0].sum()) - inside * (inside - 1.0) / 2.0) / (inside * outside)


def _points(column: pa.Array, values: Floats | None, goal: Floats) -> list[dict[str, Any]]:
    """The target's mean by the column's values or bins: numbers ascending, texts by rows, missing at the end."""
    if values is None:
        return _text_points(column, goal)
    codes = _bins(values, _POINT_BINS)
    missing = np.isnan(values)
    points = []
    for code in np.unique(codes[~missing]):
        inside = (codes == code) & ~missing
        chosen = values[inside]
        points.append(
            {
                "from": figure(chosen.min()),
                "to": figure(chosen.max()),
                "x": figure(float(np.median(chosen))),
                **_mean(goal, inside),
            }
        )
    return points + ([{"value": None, **_mean(goal, missing)}] if missing.any() else [])


def _text_points(column: pa.Array, goal: Floats) -> list[dict[str, Any]]:
    encoded = column.dictionary_encode()
    labels = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(labels)).to_numpy().astype(np.int64)
    counts = np.bincount(codes, minlength=len(labels) + 1)
    order = sorted(range(len(labels)), key=lambda place: (-counts[place], labels[place]))[:_MOST_POINTS]
    points = [{"value": labels[place], **_mean(goal, codes == place)} for place in order]
    missing = codes == len(labels)
    return points + ([{"value": None, **_mean(goal, missing)}] if missing.any() else [])


def _mean(goal: Floats, inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        return {"rows": int(inside.sum()), "y": figure(float(goal[inside].mean()))}
