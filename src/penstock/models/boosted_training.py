"""Boosted trees by LightGBM: binned once from the mapped table, then one training per shape and fold.

A helper of `boosted.py`, and the only file that trains with LightGBM. Its messages go to the logger
``penstock.lightgbm`` of the standard library, never to the terminal; its errors are translated here.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.engine import spanned, tracer_of
from penstock.errors import DataError, ResourceError
from penstock.model import TrainingData
from penstock.models.boosted_recipe import Plan, categorical, models_at_once, of_shape, width_of
from penstock.models.limits import Progress
from penstock.models.prediction import matrix_type, model_matrix
from penstock.models.splits import held_back, parted
from penstock.resources import held
from penstock.schema import Schema
from penstock.source import BLOCK_ROWS

if TYPE_CHECKING:
    from penstock.models.boosted import BoostedTrees

LOGGER = logging.getLogger("penstock.lightgbm")
LOGGER.addHandler(logging.NullHandler())
lightgbm.register_logger(LOGGER)

_BETWEEN_FIGURES = 0.2  # [s]


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Attributes:
        texts: each model in LightGBM's text format, cut at its best round.
        rounds: of each model.
        gains: total gain by feature, summed over the models.
        held_out: which rows were held back from some model, shape (rows,).
        scores: their mean raw scores from the models that did not learn from them, shape (rows held out, trees).
    """

    texts: tuple[str, ...]
    rounds: tuple[int, ...]
    gains: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]


def feature_names(count: int) -> list[str]:
    """Names for LightGBM, whose own must not hold spaces or JSON's signs: the places of the features."""
    return [f"f{place}" for place in range(count)]


@contextmanager
def translated() -> Iterator[None]:
    """LightGBM's errors as ours.

    Raises:
        DataError: LightGBM refuses the data or the parameters.
        ResourceError: there was no memory after all.
    """
    try:
        yield
    except (lightgbm.basic.LightGBMError, MemoryError) as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            raise ResourceError(
                "LightGBM found no memory", got=str(error) or "MemoryError", remedy="--max-rows N trains on a sample"
            ) from error
        raise DataError("LightGBM can't train on this", where="boosted trees", got=str(error)) from error


@dataclass(frozen=True, slots=True)
class _One:
    """One model: its text, its best round, the gain by feature, and the raw scores of the rows held back."""

    text: str
    rounds: int
    gains: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.bool_] | None
    scores: npt.NDArray[np.float64]


class _Stopped(Exception):
    """Another model failed, or the job was stopped: this one ends at its next round."""


class Training:
    """One training: the rows binned once, and the models made of them.

    Small ones are trained side by side, each on one thread, since more threads would wait for each other at every
    node; the models are the same bytes however many run at once. Large ones are trained one by one on all cores.
    """

    def __init__(
        self,
        model: BoostedTrees,
        data: TrainingData,
        plan: Plan,
        labels: npt.NDArray[Any],
        class_weights: npt.NDArray[np.float64] | None,
        *,
        previous: Sequence[str] = (),
        rounds: int | None = None,
    ) -> None:
        self._previous = tuple(previous)
        self._rounds = model.rounds if rounds is None else rounds
        self._data = data
        self._plan = plan
        self._labels = labels
        self._class_weights = class_weights
        self._model = model
        self._trees = len(data.target.classes) if data.target.task == "multiclass" else 1
        self._threads = 1 if plan.side_by_side else data.resources.cores
        self._parameters = {**plan.parameters, "num_threads": self._threads}
        self._stop = threading.Event()
        self._learned = 0  # rows, over all rounds
        self._lock = threading.Lock()

    def run(self) -> Trained:
        """Train every shape on every fold."""
        scored = self._scored()
        scores = np.zeros((int(np.count_nonzero(scored)), self._trees))
        place = np.cumsum(scored) - 1 if self._plan.share > 0 else np.arange(len(scored))
        models = []
        for model in self._models():
            if model.held_out is not None:
                scores[place[model.held_out]] += model.scores
            models.append(model)
        scores /= len(self._plan.shapes)
        return Trained(
            tuple(model.text for model in models),
            tuple(model.rounds for model in models),
            np.add.reduce([model.gains for model in models]),
            scored,
            scores,
        )

    def _scored(self) -> npt.NDArray[np.bool_]:
        """The rows held back from a model of every shape."""
        if self._plan.folds > 1:
            return np.ones(self._data.rows, bool)
        return held_back(self._data.hashes(), self._plan.share, ordered=self._data.ordered)

    def _models(self) -> Iterator[_One]:
        """The models in their order, whichever is done first; figures are told from this thread."""
        parts = [(shape, fold) for shape in range(len(self._plan.shapes)) for fold in range(self._plan.folds)]
        workers = models_at_once(self._model, self._data, self._data.resources.memory - held())
        progress = Progress(self._data.listener)
        pool = ThreadPoolExecutor(workers, "boosted")
        try:
            binned = pool.submit(self._bin).result()
            futures = [pool.submit(self._one, binned, shape, fold) for shape, fold in parts]
            for future in futures:
                while not wait([future], _BETWEEN_FIGURES).done:
                    progress.to(self._learned)
                yield future.result()
            progress.finish()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _weights(self) -> npt.NDArray[np.float32] | None:
        """How much each row counts, by its class and its own weight; None where all count the same."""
        weights = None if self._class_weights is None else self._class_weights[self._labels].astype(np.float32)
        rows = self._data.weights()
        if rows is None:
            return weights
        # A mean of one, so that what leaves must weigh at least means what it says.
        own = (rows / np.mean(rows)).astype(np.float32)
        return own if weights is None else weights * own

    def _bin(self) -> lightgbm.Dataset:
        binned = lightgbm.Dataset(
            _for_lightgbm(self._data.table(), self._data.schema),
            self._labels,
            weight=self._weights(),
            feature_name=feature_names(width_of(self._data.schema)),
            categorical_feature=list(categorical(self._data.schema)),
            params=self._parameters,
            # What the trees so far say of the rows is where further ones begin; the table itself is a mapped file.
            free_raw_data=not self._previous,
        )
        with translated():
            return binned.construct()

    def _one(self, binned: lightgbm.Dataset, place: int, fold: int) -> _One:
        held_out = self._part(place, fold)
        seed = (self._data.seed + 1000 * place + fold) % 2**31
        parameters = {
            **of_shape(self._parameters, self._plan.shapes[place], width_of(self._data.schema)),
            "seed": seed,
        }
        callbacks: list[Callable[[Any], None]] = [self._after_round, *self._counted(f"shape {place}, fold {fold}")]
        validation = []
        training = binned
        with translated():
            if held_out is not None:
                self._refuse_lopsided(held_out)
                training = _subset(binned, ~held_out)
                if self._model.early_stopping_rounds is not None:
                    validation = [_subset(binned, held_out)]
                    callbacks.append(lightgbm.early_stopping(self._model.early_stopping_rounds, verbose=False))
            with spanned(self._data.listener, f"boosted, shape {place}, fold {fold}", "booster"):
                before = self._before(place, fold)
                booster = lightgbm.train(
                    parameters, training, self._rounds, validation, init_model=before, callbacks=callbacks
                )
            best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
            if before is not None and validation and not self._better(booster, before, held_out):
                best, booster = before.current_iteration(), before
            text = _without_threads(booster.model_to_string(num_iteration=best, importance_type="gain"))
            gains = booster.feature_importance("gain", iteration=best)
            del booster, training, validation
            scores = np.zeros((0, self._trees)) if held_out is None else self._raw_scores(text, held_out)
        return _One(text, best, gains, held_out, scores)

    def _before(self, place: int, fold: int) -> lightgbm.Booster | None:
        """The trees that one model goes on from; None where it begins."""
        if not self._previous:
            return None
        return lightgbm.Booster(
            {"num_threads": self._threads}, model_str=self._previous[place * self._plan.folds + fold]
        )

    def _better(
        self, after: lightgbm.Booster, before: lightgbm.Booster, held_out: npt.NDArray[np.bool_] | None
    ) -> bool:
        """Whether further trees predict the rows held back better than those that were there."""
        assert held_out is not None
        losses = []
        for booster in (after, before):
            best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
            scores = self._raw_scores(booster.model_to_string(num_iteration=best), held_out)
            losses.append(self._loss(scores, held_out))
        return losses[0] < losses[1]

    def _loss(self, scores: npt.NDArray[np.float64], rows: npt.NDArray[np.bool_]) -> float:
        """The mean loss of raw scores, weighted as in learning: log loss, or squared error."""
        labels = self._labels[rows]
        if self._data.target.task == "regression":
            losses = np.square(scores[:, 0] - labels)
        elif self._trees == 1:
            losses = np.logaddexp(0.0, np.where(labels == 1, -scores[:, 0], scores[:, 0]))
        else:
            most = np.max(scores, axis=1)
            total = np.log(np.add.reduce(np.exp(scores - most[:, None]), axis=1)) + most
            losses = total - scores[np.arange(len(labels)), labels]
        weights = self._weights()
        if weights is None:
            return float(np.mean(losses))
        return float(np.sum(losses * weights[rows]) / np.sum(weights[rows]))

    def _part(self, place: int, fold: int) -> npt.NDArray[np.bool_] | None:
        """The rows held back from one model; each shape has a partition of its own."""
        if self._plan.folds > 1:
            return np.equal(parted(self._data.hashes(), self._plan.folds, place), fold)
        return (
            held_back(self._data.hashes(), self._plan.share, ordered=self._data.ordered)
            if self._plan.share > 0
            else None
        )

    def _counted(self, which: str) -> Iterator[Callable[[Any], None]]:
        """What tells the trace, where there is one, the loss and the rate of every round."""
        tracer = tracer_of(self._data.listener)
        if tracer is None:
            return

        def counted(environment: Any) -> None:
            told = {str(metric): float(value) for _, metric, value, *_ in environment.evaluation_result_list or ()}
            rate = environment.params.get("learning_rate")
            told |= {} if rate is None else {"learning_rate": float(rate)}
            tracer.count(f"boosted, {which}", time.monotonic(), round=environment.iteration + 1, **told)

        yield counted

    def _after_round(self, environment: Any) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._lock:
            self._learned += self._data.rows

    def _refuse_lopsided(self, held_out: npt.NDArray[np.bool_]) -> None:
        """Both parts need rows, and a model of classes needs two of them."""
        held = int(np.count_nonzero(held_out))
        regression = self._data.target.task == "regression"
        if 0 < held < len(held_out) and (regression or len(np.unique(self._labels[~held_out])) > 1):
            return
        raise DataError(
            "too few rows to hold some back and learn from the rest",
            where=f"target {self._data.target.column!r}",
            expected="rows in every part" + ("" if regression else ", and two classes outside each"),
            got=f"{len(held_out):,} rows, {held:,} of them held back",
            remedy="more rows (or groups, where rows are kept together); or folds=1 with early_stopping_rounds=None, "
            "which holds nothing back",
        )

    def _raw_scores(self, text: str, held_out: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The raw scores of the rows held back, from the model as it is saved, a block at a time."""
        booster = lightgbm.Booster(model_str=text)
        dtype = matrix_type(self._data.schema)
        parts = []
        start = 0
        for batch in self._data.table().to_batches(max_chunksize=BLOCK_ROWS):
            mask = held_out[start : start + batch.num_rows]
            start += batch.num_rows
            if mask.any():
                matrix = model_matrix(batch.filter(pa.array(mask)), self._data.schema, dtype)
                raw = booster.predict(matrix, raw_score=True, num_threads=self._threads)
                parts.append(np.asarray(raw, np.float64).reshape(-1, self._trees))
        return np.concatenate(parts)


def _without_threads(text: str) -> str:
    """The text without the one line that tells how many threads trained it: they change nothing else."""
    return re.sub(r"(?m)^\[num_threads: \d+\]$", "[num_threads: 0]", text)


def _subset(binned: lightgbm.Dataset, mask: npt.NDArray[np.bool_]) -> lightgbm.Dataset:
    """The rows where the mask is true, with the bins of all rows."""
    part = binned.subset([])
    # `subset` itself would sort a Python list of all places: 40 bytes for each row.
    part.used_indices = np.flatnonzero(mask).astype(np.int32)  # type: ignore[assignment]
    return part.construct()


def _for_lightgbm(table: pa.Table, schema: Schema) -> Any:
    """The features as LightGBM wants them: null, not -1, for a category that is missing or unseen; with vectors among
    them, compressed rows."""
    if any(field.width is not None for field in schema):
        from scipy.sparse import vstack

        dtype = matrix_type(schema)
        parts = [model_matrix(batch, schema, dtype) for batch in table.to_batches(max_chunksize=BLOCK_ROWS)]
        whole = vstack(parts, format="csr")
        # A missing category is no number: it is stored, where a zero would not be.
        codes = np.isin(whole.indices, list(categorical(schema))) & (whole.data < 0)
        whole.data[codes] = np.nan
        return whole
    columns = [_known(column) if pa.types.is_integer(column.type) else column for column in table.columns]
    return pa.table(columns, names=feature_names(len(columns)))


def _known(codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Codes with null in place of -1: the values stay where they are (a mapped file), only a bit per row is made."""
    chunks = []
    for chunk in codes.chunks:
        valid = pc.fill_null(pc.greater_equal(chunk, 0), False).to_numpy(zero_copy_only=False)
        bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
        values = chunk.buffers()[1].slice(chunk.offset * (chunk.type.bit_width // 8))
        chunks.append(pa.Array.from_buffers(chunk.type, len(chunk), [bits, values]))
    return pa.chunked_array(chunks, codes.type)
