"""Linear models by scikit-learn's stochastic gradient descent, over shuffled batches.

A helper of `linear.py`, and the only file that trains with scikit-learn's linear models.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import SGDClassifier, SGDRegressor

from penstock.engine import spanned, tracer_of
from penstock.errors import DataError
from penstock.model import TrainingData, spans_of
from penstock.models.limits import Progress
from penstock.models.prediction import sigmoid
from penstock.models.splits import held_back
from penstock.source import Note

if TYPE_CHECKING:
    from penstock.models.linear import Linear

_MOST_VALIDATION_ROWS = 200_000
GENTLE, FEWER = 0.1, 0.25
"""Of the first step and of the epochs, where what was learned is taken further; see `Linear.update`."""
_LARGEST_STEP = 0.05
_LARGEST_STEP_OF_VECTORS = 0.5
"""Rows of vectors of length 1 are as short as rows get, and most of their places are rare: what is learned of those is
learned in few steps. Measured on short texts."""
_CUT = 4.0
_FARTHEST = float(np.finfo(np.float32).max)
_LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of shape (outputs, features) and intercepts of shape (outputs,), both float64."""

    weights: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    def scores(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Shape (rows, outputs)."""
        return np.asarray(np.einsum("rf,of->ro", features, self.weights) + self.intercept)


class Training:
    """One training: epochs over the rows kept, each judged on the rows held back."""

    def __init__(
        self,
        model: Linear,
        data: TrainingData,
        labels: npt.NDArray[Any],
        class_weights: npt.NDArray[np.float64] | None,
        *,
        start: Weights | None = None,
    ) -> None:
        self._model = model
        self._data = data
        self._class_weights = class_weights
        self._regression = data.target.task == "regression"
        self._outputs = len(data.target.classes) if data.target.task == "multiclass" else 1
        share = min(model.validation_share, _MOST_VALIDATION_ROWS / max(data.rows, 1))
        self._held_out = held_back(data.hashes(), share, ordered=data.ordered)
        self._kept = ~self._held_out
        self.held = int(np.count_nonzero(self._held_out))
        self._refuse_lopsided(labels)
        rows = data.weights()
        self._mean_weight = 1.0 if rows is None else float(np.mean(rows))
        kept = self._labels = labels[self._kept]
        self._center, self._scale = (
            (float(np.mean(kept)), float(np.std(kept)) or 1.0) if self._regression else (0.0, 1.0)
        )
        self.step = model.eta0 if model.eta0 != "auto" else self._first_step()
        self._start: Weights | None = None
        self._epochs = model.epochs
        if start is not None:
            self._start = Weights(start.weights / self._scale, (start.intercept - self._center) / self._scale)
            self.step *= GENTLE
            self._epochs = max(1, round(model.epochs * FEWER))

    def run(self) -> tuple[Weights, dict[str, Any]]:
        """The weights of the best epoch, in the target's own unit, and what is to be said of the training."""
        begin = self._start or self._shares()
        learner = self._learner(begin)
        tracer = tracer_of(self._data.listener)
        progress = Progress(self._data.listener)
        best, best_epoch = begin, 0
        best_loss = self._loss(best)
        waited = cuts = learned = epochs = 0
        for epoch in range(self._epochs):
            with spanned(self._data.listener, f"linear, epoch {epoch + 1}", "epoch"):
                averaged, rows = self._epoch(learner, epoch)
            learned, epochs = learned + rows, epoch + 1
            progress.to(learned)
            loss = self._loss(averaged)
            if tracer is not None:
                tracer.count("linear", time.monotonic(), validation_loss=loss, learning_rate=float(learner.eta0))
            if loss < best_loss * (1 - self._model.tolerance):
                best, best_loss, best_epoch, waited = averaged, loss, epoch + 1, 0
                continue
            waited += 1
            if waited < self._model.patience:
                continue
            if cuts == self._model.cuts:
                break
            cuts, waited = cuts + 1, 0
            learner.set_params(eta0=learner.eta0 / _CUT)
            learner.coef_[...] = best.weights.reshape(learner.coef_.shape)
            learner.intercept_[...] = best.intercept
        progress.finish()
        if best_epoch == 0 and self._start is None:
            self._say_nothing_learned()
        return self._finished(best), self._summary(best_loss, best_epoch, epochs)

    def _say_nothing_learned(self) -> None:
        self._data.listener.said(
            Note(
                "linear model",
                "it learned nothing: it predicts the same for every row",
                "no epoch predicted the rows held back better than that",
                "eta0 of the model, or other features",
            )
        )

    def _summary(self, loss: float, epoch: int, epochs: int) -> dict[str, Any]:
        figure = "rmse" if self._regression else "log_loss"
        return {
            "rows": self._data.rows,
            "batch_rows": self._model.batch_rows,
            "epochs": epochs,
            "best_epoch": epoch,
            "first_step": self.step,
            "held_out_rows": self.held,
            "held_out": {figure: float(np.sqrt(loss)) * self._scale if self._regression else loss},
        }

    def _finished(self, weights: Weights) -> Weights:
        return Weights(weights.weights * self._scale, weights.intercept * self._scale + self._center)

    def _zero(self) -> Weights:
        width = max(span.stop for span in spans_of(self._data.schema).values())
        return Weights(np.zeros((self._outputs, width)), np.zeros(self._outputs))

    def _shares(self) -> Weights:
        """Where learning begins: whatever a row holds, its class is as likely as the class's weighted share, and a
        number is the mean."""
        begin = self._zero()
        if not self._regression:
            classes = len(self._data.target.classes)
            rows = self._data.weights()
            labels = self._labels
            counts = np.bincount(labels, None if rows is None else rows[self._kept], minlength=classes)
            weight = counts * (1.0 if self._class_weights is None else self._class_weights)
            least = 0.5 / len(labels)  # a class that only the rows held back have is rare, not impossible
            share = np.clip(weight / np.sum(weight), least, 1.0 - least)
            # Of more than two classes each output tells one from all others, so these are log odds as well.
            begin.intercept[:] = np.log(share / (1.0 - share))[-self._outputs :]
        return begin

    def _learner(self, begin: Weights) -> SGDClassifier | SGDRegressor:
        """A learner that begins there; scikit-learn's own shuffling is off, since the epochs are shuffled."""
        kind, loss = (SGDRegressor, "squared_error") if self._regression else (SGDClassifier, "log_loss")
        learner = kind(
            loss=loss,
            penalty=self._model.penalty,
            alpha=self._model.alpha,
            l1_ratio=self._model.l1_ratio,
            learning_rate="constant",
            eta0=self.step,
            shuffle=False,
            random_state=0,
        )
        weights = begin.weights.copy()
        learner.coef_ = weights[0] if self._regression else weights
        learner.intercept_ = begin.intercept.copy()
        return learner

    def _batches(
        self, epoch: int, keep: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[npt.NDArray[np.float64], Any, npt.NDArray[np.float64]]]:
        """Features, labels, and how much each row counts: by its class, and by its own weight (1 on average)."""
        for batch in self._data.epoch(epoch, self._model.batch_rows, keep=keep):
            learned = (batch.labels - self._center) / self._scale if self._regression else batch.labels
            counts = np.ones(len(batch)) if self._class_weights is None else self._class_weights[batch.labels]
            if batch.weights is not None:
                counts = counts * (batch.weights / self._mean_weight)
            features = batch.features.astype(np.float64)
            np.copyto(features, 0.0, where=np.isnan(features))
            np.clip(features, -_FARTHEST, _FARTHEST, out=features)  # what is beyond float32 came as infinite
            yield features, learned, counts

    def _epoch(self, learner: SGDClassifier | SGDRegressor, epoch: int) -> tuple[Weights, int]:
        """One pass; the mean of the weights after each batch, and the rows met."""
        total, batches, rows = self._zero(), 0, 0
        for features, labels, counts in self._batches(epoch, self._kept):
            weight = self._row_weights(features, counts, learner.eta0)
            if self._regression:
                learner.partial_fit(features, labels, sample_weight=weight)
            else:
                classes = np.arange(len(self._data.target.classes))
                learner.partial_fit(features, labels, classes=classes, sample_weight=weight)
            total = Weights(
                total.weights + np.atleast_2d(learner.coef_), total.intercept + np.atleast_1d(learner.intercept_)
            )
            batches += 1
            rows += len(labels)
        return Weights(total.weights / batches, total.intercept / batches), rows

    def _row_weights(
        self, features: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], step: float
    ) -> npt.NDArray[np.float64]:
        """How much a row counts; less for a row so long that its step would overshoot its own label.

        The bound is that of normalized least mean squares (Haykin, "Adaptive filter theory", ch. 7): step times weight
        times squared length is at most one. As the step is cut, all rows come to weigh the same.
        """
        most = 1.0 / (step * _squared_length(features))
        return np.asarray(np.minimum(most, counts), np.float64)

    def _loss(self, weights: Weights) -> float:
        """The mean loss of the rows held back: squared error, or log loss, each row weighted as in learning."""
        total = weight = 0.0
        for features, labels, counts in self._batches(0, self._held_out):
            scores = weights.scores(features)
            losses = (scores[:, 0] - labels) ** 2 if self._regression else -np.log(self._picked(scores, labels))
            total += float(np.sum(counts * losses))
            weight += float(np.sum(counts))
        return total / weight

    def _picked(self, scores: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The probability of each row's own class."""
        probability = sigmoid(scores)
        if self._outputs == 1:
            picked = np.where(labels == 1, probability[:, 0], 1.0 - probability[:, 0])
        else:
            picked = probability[np.arange(len(labels)), labels] / np.maximum(np.sum(probability, axis=1), 1e-300)
        return np.asarray(np.maximum(picked, _LEAST_PROBABILITY))

    def _first_step(self) -> float:
        """Half the inverse of the median squared length of a row, in the first batch."""
        vectors = any(field.width is not None for field in self._data.schema)
        largest = _LARGEST_STEP_OF_VECTORS if vectors else _LARGEST_STEP
        for features, _, _ in self._batches(0, self._kept):
            return min(largest, 0.5 / float(np.median(_squared_length(features))))
        return largest

    def _refuse_lopsided(self, labels: npt.NDArray[Any]) -> None:
        if 0 < self.held < self._data.rows and (self._regression or len(np.unique(labels[self._kept])) > 1):
            return
        raise DataError(
            "too few rows to hold some back and learn from the rest",
            where=f"target {self._data.target.column!r}",
            expected="rows in both parts" + ("" if self._regression else ", and two classes to learn from"),
            got=f"{self._data.rows:,} rows, {self.held:,} of them held back",
            remedy="more rows (or groups, where rows are kept together), or another validation_share",
        )


def _squared_length(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row, the intercept's 1 included; shape (rows,)."""
    return np.asarray(np.einsum("rf,rf->r", features, features) + 1.0)
