"""Evaluate without labels: how well clusters are apart, what components explain, what is unlike the rest. A job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock import registry
from penstock.artifact import Saved
from penstock.batch import Batch, Count, RowKeys
from penstock.engine import Engine, Station, Task, Transform
from penstock.errors import DataError
from penstock.fusion import Chain
from penstock.jobs.predict import inner_threads, predictor
from penstock.jobs.profile_columns import number_bins
from penstock.model import PREDICTION, FittedModel
from penstock.schema import Role
from penstock.source import Source
from penstock.statistics.silhouette import silhouettes
from penstock.summary import Evaluation
from penstock.target import LABEL, Then, those_left

_PLACE, _SPREAD, _GROUP, _SHOWN = "\x01place", "\x01spread", "\x01group", "\x01shown:"
"""Columns that stand beside what is predicted; no column of a file can have such a name."""
_UNLIKE = ("distance", "reconstruction_error", "anomaly_score")
MOST_ROWS, FEWEST_ROWS, _WORK = 2_000, 200, 4e8
"""Rows that silhouettes are of, at most and at least; and how many differences of numbers they may take."""
_POINTS = 400
_FARTHEST = 1e30
"""What float32 holds, and whose square float64 does."""
_QUANTILES = {"median": 0.5, "quantile_90": 0.9, "quantile_99": 0.99}


@dataclass(frozen=True)
class Placing(Transform):
    """Rows as the model sees them: what it predicts, and where they lie."""

    chain: Chain
    model: FittedModel
    threads: int
    shown: tuple[str, ...] = ()

    def transform(self, batch: Batch) -> Batch:
        """What is predicted (a group under `_GROUP`), `_SPREAD` and `_PLACE` of a batch; how unlike a row is, as a
        prediction where 0 was the truth; and the columns to show, as they were read."""
        encoded = self.chain.transform(batch)
        predicted = self.model.predict(encoded, threads=self.threads).columns
        placed = self.model.placed(encoded, threads=self.threads)
        flat = np.clip(placed.places, -_FARTHEST, _FARTHEST).astype(np.float32).reshape(-1)
        places = pa.FixedSizeListArray.from_arrays(pa.array(flat), placed.places.shape[1])
        unlike = predicted.column(score_of(self.model))
        kept = those_left(batch, encoded) if self.shown else encoded
        columns = {_GROUP if name == PREDICTION else name: predicted.column(name) for name in predicted.schema.names}
        columns |= {_SPREAD: pa.array(placed.spread), _PLACE: places}
        columns |= {PREDICTION: unlike, LABEL: pa.array(np.zeros(len(encoded)))}
        columns |= {_SHOWN + name: kept.column(name) for name in self.shown}
        count = Count("model", rows_in=len(encoded), out=len(encoded))
        return replace(
            encoded,
            columns=pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)),
            counts=(*encoded.counts, count),
        )


def score_of(model: FittedModel) -> str:
    """The column of a prediction that tells how unlike the rest a row is."""
    names = [field.name for field in model.prediction_fields]
    return next(name for name in _UNLIKE if name in names)


def sample_rows(dimensions: int) -> int:
    """How many rows silhouettes are of, where they lie in so many dimensions.

    Example:
        >>> sample_rows(10), sample_rows(1_000)
        (2000, 632)
    """
    return max(FEWEST_ROWS, min(MOST_ROWS, int(math.sqrt(_WORK / max(1, dimensions)))))


@dataclass(frozen=True)
class Unlabelled:
    """What was found.

    Attributes:
        rows: rows that were judged.
        metrics: figures by name.
        details: ``without_target``: groups, points, a histogram, as JSON values.
        counts: the ledger, step by step.
    """

    rows: int
    metrics: dict[str, float]
    details: dict[str, Any]
    counts: tuple[Count, ...]

    def evaluation(self, seconds: float) -> Evaluation:
        """As the result of an evaluation that took so long."""
        rejected = sum(count.rejected for count in self.counts)
        return Evaluation(self.rows, rejected, self.metrics, self.counts, seconds, self.details)


def judge_unlabelled(
    source: Source,
    saved: Saved,
    *,
    engine: Engine,
    max_rejected: float | None,
    rows: Transform | None = None,
    row_columns: Sequence[str] = (),
    unlike: int = 20,
    shown_columns: int = 40,
) -> Unlabelled:
    """Judge a model that learned without a target, in one pass; and tell the rows that are most unlike the rest.

    The silhouette, and what is drawn, is of a sample: the rows whose keys have the least hashes.

    Raises:
        DataError: there are no rows.
    """
    assert saved.model is not None
    predicts = predictor(saved, source, {}, engine.resources)
    model = saved.model
    told_columns = [name for name in predicts.inputs if source.schema[name].kind not in _NOT_SHOWN]
    shown = tuple(told_columns[:shown_columns]) if unlike else ()
    placing = Placing(predicts.chains[0], model, inner_threads(source, engine.resources), shown)
    width = _dimensions(model)
    grouped = [_GROUP for field in model.prediction_fields if field.role is Role.category]
    scores = [field.name for field in model.prediction_fields if field.role is not Role.category]
    sample = registry.find("statistics", "sample")(
        scores[:2], grouped, sample_rows(width), saved.config.seed, {_PLACE: width}
    )
    statistics = [sample, registry.find("statistics", "moments")(_SPREAD)]
    told = [name for name in scores if name in _UNLIKE]
    statistics += [registry.find("statistics", kind)(name) for name in told for kind in ("moments", "histogram")]
    statistics += [registry.find("statistics", "frequencies")(name) for name in grouped]
    if unlike:
        names = {_SHOWN + name: name for name in shown}
        statistics.append(registry.find("statistics", "mistakes")(LABEL, (), names, unlike))
    ways = (*((rows,) if rows else ()), placing)
    columns = tuple(dict.fromkeys((*predicts.inputs, *row_columns)))
    station = Station(Then(ways), tuple(statistics))
    folded = engine.fold(Task("evaluate", source, columns, (station,), max_rejected=max_rejected))
    values = [statistic.value() for statistic in folded.statistics[0]]
    worst = values.pop() if unlike else []
    if engine.resources.masking is not None:
        worst = engine.resources.masking.mistakes(worst)
    found = _Found(
        model,
        values[0],
        values[1],
        {name: (values[2 + 2 * place], values[3 + 2 * place]) for place, name in enumerate(told)},
        dict(values[-1].top(len(model.prediction_fields[0].categories or ()))) if grouped else {},
    )
    if not found.sample.rows:
        raise DataError(
            "no row could be judged",
            where="evaluate",
            expected="rows that the model can take",
            got=", ".join(f"{c.rejected:,} rows rejected by {c.step!r}" for c in folded.counts if c.rejected)
            or "no rows",
        )
    told_rows = [{name: one[name] for name in ("path", "row", "loss", "values")} for one in worst]
    details = {"intervals": {}, "without_target": {**found.told(), "unlike": told_rows}}
    return Unlabelled(found.sample.rows, found.metrics(), details, folded.counts)


_NOT_SHOWN = (Role.picture, Role.clip, Role.tokens, Role.vector)


def _dimensions(model: FittedModel) -> int:
    empty = pa.RecordBatch.from_arrays(
        [pa.nulls(0, field.type) for field in model.features], names=list(model.features.names)
    )
    return int(model.placed(Batch(empty, RowKeys.span("", 0, 0))).places.shape[1])


@dataclass(frozen=True)
class _Found:
    """What was folded.

    Attributes:
        model: the fitted model.
        sample: some of the rows.
        spread: moments of the mean squared distances from the mean.
        scores: moments and histogram of each column that is told.
        sizes: rows by group.
    """

    model: FittedModel
    sample: Any
    spread: Any
    scores: Mapping[str, tuple[Any, Any]]
    sizes: Mapping[str, int]

    def metrics(self) -> dict[str, float]:
        """Figures by name."""
        task = self.model.target.task
        if task == "clustering":
            moments = self.scores["distance"][0]
            squares = moments.variance + moments.mean**2
            width = float(self.model.summary["dimensions"])
            return {
                "silhouette": float(np.mean(self._silhouettes)) if len(self._silhouettes) else math.nan,
                "explained_variance": self._explained(squares / width),
                "inertia": squares * moments.count,
                "mean_distance": moments.mean,
            }
        if task == "anomaly_detection":
            flagged = self.sizes.get("anomaly", 0) / self.sample.rows
            return {"anomalies": flagged, **self._distribution("anomaly_score")}
        explained = self._explained(self.scores["reconstruction_error"][0].mean)
        return {"explained_variance": explained, **self._distribution("reconstruction_error")}

    def _explained(self, error: float) -> float:
        """The share of the mean squared distance from the mean that is not left."""
        return 1.0 - error / self.spread.mean if self.spread.mean > 0 else math.nan

    def _distribution(self, name: str) -> dict[str, float]:
        moments, histogram = self.scores[name]
        quantiles = {f"{name}_{word}": float(histogram.quantile(share)) for word, share in _QUANTILES.items()}
        return {name: moments.mean, **quantiles}

    @cached_property
    def _places(self) -> npt.NDArray[np.float64]:
        column = self.sample.table.column(_PLACE).combine_chunks()
        width = column.type.list_size
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float64).reshape(-1, width)

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.model.prediction_fields[0].categories or ()) if self.sizes else ()

    @property
    def _groups(self) -> npt.NDArray[np.int64]:
        """The group of each row of the sample, by its place among their names."""
        if not self._names:
            return np.zeros(self.sample.table.num_rows, np.int64)
        place = {name: number for number, name in enumerate(self._names)}
        return np.array([place[name] for name in self.sample.table.column(_GROUP).to_pylist()], np.int64)

    @cached_property
    def _silhouettes(self) -> npt.NDArray[np.float64]:
        return silhouettes(self._places, self._groups)

    def told(self) -> dict[str, Any]:
        """Groups, points, a histogram, as JSON values."""
        task = self.model.target.task
        found: dict[str, Any] = {"task": task, "sample_rows": self.sample.table.num_rows}
        groups = self._groups
        if self._names:
            silhouette = self._silhouettes if task == "clustering" else None
            found["groups"] = [
                {
                    "name": name,
                    "rows": self.sizes.get(name, 0),
                    "silhouette": _mean(silhouette[groups == number]) if silhouette is not None else None,
                }
                for number, name in enumerate(self._names)
            ]
        axes = flat_places(self._places, turned=task != "decomposition")
        names = ["component 1", "component 2"] if task == "decomposition" else ["first axis", "second axis"]
        points = [
            [_short(x), _short(y), int(group)]
            for (x, y), group in zip(axes[:_POINTS], groups[:_POINTS].tolist(), strict=True)
        ]
        found["scatter"] = {"x": names[0], "y": names[1], "points": points}
        for name in ("anomaly_score", "reconstruction_error", "distance"):
            if name in self.scores and not (name == "anomaly_score" and task == "reconstruction"):
                found["histogram"] = {"column": name, **number_bins(self.scores[name][1])}
                break
        return found


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _short(value: float) -> float:
    """Five digits: what is drawn, the same whatever the last bits are."""
    return float(f"{value:.5g}")


def flat_places(places: npt.NDArray[np.float64], *, turned: bool = True) -> npt.NDArray[np.float64]:
    """Places on a plane, shape (rows, 2): the two directions in which these rows differ most (their first two principal
    components), or, where they are not to be turned, their first two dimensions.

    Example:
        >>> (flat_places(np.array([[1.0, 1.0], [-1.0, -1.0]])).round(3) + 0.0).tolist()
        [[1.414, 0.0], [-1.414, 0.0]]
    """
    found = places
    if turned and len(places) and places.shape[1] > 1:
        centered = places - np.mean(places, axis=0)
        _, _, axes = np.linalg.svd(centered, full_matrices=False)
        signs = np.sign(axes[np.arange(len(axes)), np.argmax(np.abs(axes), axis=1)])
        found = centered @ (axes * signs[:, None]).T
    out = np.zeros((len(places), 2))
    kept = min(2, found.shape[1])
    out[:, :kept] = found[:, :kept]
    return out + 0.0
