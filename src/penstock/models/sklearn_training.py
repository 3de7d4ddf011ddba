"""How an estimator of scikit-learn learns: in memory, or batch by batch; then its scores calibrated where need be.

A helper of `sklearn_model.py`, and the only file that trains the estimators of `sklearn_estimators.py`. Their warnings
are told, their errors are translated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import has_fit_parameter

from penstock.errors import DataError, ResourceError, UsageError
from penstock.model import TrainingData, spans_of
from penstock.models.limits import Progress
from penstock.models.sklearn_matrix import Matrices
from penstock.models.splits import held_back
from penstock.source import Note

if TYPE_CHECKING:
    from penstock.models.sklearn_model import FittedSklearn, Sklearn

_MOST_CALIBRATION_ROWS = 50_000
_MOST_NOTES = 3
_FEWER = 0.25
"""Of the epochs, where what was learned is taken further."""


class Training:
    """One training.

    Attributes:
        estimator: scikit-learn's, fitted by `run`.
        center: mean of the target where it is brought to a common scale (numbers, batch by batch), else 0.
        scale: its standard deviation, else 1.
        held: rows held back for the calibration.
    """

    def __init__(
        self,
        model: Sklearn,
        data: TrainingData,
        labels: npt.NDArray[Any],
        class_weights: npt.NDArray[np.float64] | None,
        *,
        start: FittedSklearn | None = None,
    ) -> None:
        self._model = model
        self._data = data
        self._start = start
        self._kind = model.kind
        self._regression = data.target.task == "regression"
        self._matrices = Matrices(self._kind, data.schema)
        self._name = f"sklearn:{model.estimator}"
        with self.translated():
            self.estimator = self._made()
        self._calibrated = not self._regression and not hasattr(self.estimator, "predict_proba")
        if not self._calibrated and model.calibration_share is not None:
            raise UsageError(
                f"{model.estimator} has probabilities of its own" if not self._regression else "numbers have no scores",
                where="sklearn: calibration_share",
                got=repr(model.calibration_share),
                remedy="leave it out",
            )
        self._held_out = self._part()
        self.held = int(np.count_nonzero(self._held_out))
        self._labels = labels
        self.center, self.scale = 0.0, 1.0
        if self._regression and self._kind.epochs:
            self.center, self.scale = float(np.mean(labels)), float(np.std(labels)) or 1.0
        if start is not None:
            self.center, self.scale = start.center, start.scale
            self.estimator = start.to_go_on()
        self._weights = self._row_weights(class_weights)

    def _made(self) -> Any:
        """The estimator with its parameters, the seed and the cores."""
        made = self._kind.made(self._data.target.task, self._model.parameters)
        names = made.get_params(deep=False)
        settings: dict[str, Any] = {}
        if "random_state" in names:
            settings["random_state"] = self._data.seed % 2**32
        if "n_jobs" in names and not self._kind.epochs:
            settings["n_jobs"] = self._data.resources.cores
        return made.set_params(**settings)

    def _part(self) -> npt.NDArray[np.bool_]:
        if not self._calibrated:
            return np.zeros(self._data.rows, bool)
        share = self._model.calibration_share or 0.1
        share = min(share, _MOST_CALIBRATION_ROWS / max(self._data.rows, 1))
        return held_back(self._data.hashes(), share, ordered=self._data.ordered)

    def _row_weights(self, class_weights: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
        """What each row counts, by its class and its own weight (1 on average), shape (rows,).

        Raises:
            UsageError: the estimator takes no weights.
        """
        weights = self._data.weights()
        found = None if class_weights is None else class_weights[self._labels]
        if weights is not None:
            weights = weights / np.mean(weights)
            found = weights if found is None else found * weights
        if found is not None and not has_fit_parameter(self.estimator, "sample_weight"):
            raise UsageError(
                f"{self._model.estimator} learns from every row alike: it takes no weights",
                where="sklearn: " + ("class_weight" if class_weights is not None else "estimator"),
                expected="an estimator that takes weights, such as logistic_regression or random_forest",
                got="class weights" if class_weights is not None else "a column of weights",
                remedy="leave the weights out, or choose another estimator",
            )
        return found

    @contextmanager
    def translated(self) -> Iterator[None]:
        """scikit-learn's warnings as notes, and its errors as ours.

        Raises:
            UsageError: a parameter is out of its range.
            DataError: the estimator refuses the data.
            ResourceError: there was no memory after all.
        """
        from sklearn.utils._param_validation import InvalidParameterError

        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        except InvalidParameterError as error:
            raise UsageError("a parameter is out of its range", where="sklearn: parameters", got=str(error)) from error
        except MemoryError as error:
            raise ResourceError(
                "scikit-learn found no memory",
                where=self._name,
                got=str(error),
                remedy="--max-rows N learns from a sample",
            ) from error
        except (ValueError, TypeError, ArithmeticError, NotImplementedError, np.linalg.LinAlgError) as error:
            raise DataError(
                "the estimator can't learn from this",
                where=self._name,
                got=_first_sentences(str(error)),
                remedy="other parameters, or another estimator",
            ) from error
        self._tell(caught)

    def _tell(self, caught: Sequence[warnings.WarningMessage]) -> None:
        texts = [_first_sentences(str(each.message)) for each in caught if not _about_code(each.category)]
        for text in list(dict.fromkeys(texts))[:_MOST_NOTES]:
            self._data.listener.said(Note(self._name, text, "a warning of scikit-learn", "parameters of the model"))

    def run(self) -> tuple[Any, dict[str, Any]]:
        """The fitted estimator, and what is to be said of the training."""
        self._refuse_lopsided()
        progress = Progress(self._data.listener)
        with self.translated():
            if self._kind.epochs:
                epochs = self._learn_by_batch(progress)
            else:
                self._learn_in_memory()
                epochs = 1
                progress.to(self._data.rows - self.held)
            self._refuse_diverged()
            if "n_jobs" in self.estimator.get_params(deep=False):
                self.estimator.set_params(n_jobs=None)  # cores change no result, and are not part of what is saved
            finished = self._calibrate() if self._calibrated else self.estimator
        progress.finish()
        return finished, self._summary(epochs)

    def _learn_in_memory(self) -> None:
        kept = None if not self.held else ~self._held_out
        features = self._matrices.of_table(self._data.table(), kept)
        labels = self._labels if kept is None else self._labels[kept]
        weights = self._weights if kept is None or self._weights is None else self._weights[kept]
        if weights is None:
            self.estimator.fit(features, labels)
        else:
            self.estimator.fit(features, labels, sample_weight=weights)

    def _learn_by_batch(self, progress: Progress) -> int:
        """Epochs of shuffled batches; scikit-learn's own stopping is not asked."""
        epochs = self._model.epochs_on(self._data.rows)
        if self._start is not None:
            epochs = max(1, round(epochs * _FEWER))
        batch_rows = self._model.rows_of_batch
        classes = {} if self._regression else {"classes": np.arange(len(self._data.target.classes))}
        learned = 0
        for epoch in range(epochs):
            for batch in self._data.epoch(epoch, batch_rows, keep=~self._held_out):
                features = self._matrices.filled(batch.features.astype(np.float64))
                if self._matrices.sparse:
                    from scipy.sparse import csr_matrix

                    features = csr_matrix(features)
                labels = (batch.labels - self.center) / self.scale if self._regression else batch.labels
                weights = {} if self._weights is None else {"sample_weight": self._weights[batch.rows]}
                self.estimator.partial_fit(features, labels, **classes, **weights)
                learned += len(batch)
                progress.to(learned)
        return epochs

    def _calibrate(self) -> Any:
        """Scores to probabilities by a sigmoid for each class, on the rows held back (Platt, "Probabilistic outputs for
        support vector machines", 1999)."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.frozen import FrozenEstimator

        known = np.isin(self._labels, self.estimator.classes_) & self._held_out
        features = self._matrices.of_table(self._data.table(), known)
        calibrated = CalibratedClassifierCV(FrozenEstimator(self.estimator), method="sigmoid")
        weights = None if self._weights is None else self._weights[known]
        return calibrated.fit(features, self._labels[known], sample_weight=weights)

    def _refuse_diverged(self) -> None:
        """What has coefficients has finite ones."""
        for name in ("coef_", "intercept_", "coefs_", "intercepts_"):
            values = getattr(self.estimator, name, None)
            if values is None:
                continue
            for array in values if isinstance(values, list) else [values]:
                numbers = array.data if hasattr(array, "tocsr") else np.asarray(array)
                if not np.isfinite(numbers).all():
                    raise DataError(
                        "the training diverged: a coefficient is not a finite number",
                        where=self._name,
                        got=name,
                        remedy="a smaller learning rate (eta0, learning_rate_init), or clip outliers before",
                    )

    def _refuse_lopsided(self) -> None:
        if not self._calibrated:
            return
        inner, outer = (np.unique(self._labels[part]) for part in (~self._held_out, self._held_out))
        if len(inner) > 1 and len(np.intersect1d(inner, outer)) > 1:
            return
        raise DataError(
            "too few rows to hold some back, on which scores become probabilities",
            where=f"target {self._data.target.column!r}",
            expected="two classes to learn from, and two of them among the rows held back",
            got=f"{self._data.rows:,} rows, {self.held:,} of them held back",
            remedy="more rows, another calibration_share, or an estimator with probabilities, as logistic_regression",
        )

    def _summary(self, epochs: int) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "rows": self._data.rows,
            "estimator": self._model.estimator,
            "class": type(self.estimator).__name__,
            "epochs": epochs,
        }
        if self._calibrated:
            summary |= {"held_out_rows": self.held, "calibration": "sigmoid"}
        if importance := self._importance():
            summary["importance"] = importance
        return summary

    def _importance(self) -> dict[str, float]:
        """Shares of the importance by feature, the largest first: of trees the impurity that it takes away."""
        values = getattr(self.estimator, "feature_importances_", None)
        if values is None:
            return {}
        shares = {name: float(np.sum(values[span])) for name, span in spans_of(self._data.schema).items()}
        return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _about_code(category: type[Warning]) -> bool:
    return issubclass(category, (FutureWarning, DeprecationWarning, PendingDeprecationWarning))


def _first_sentences(text: str) -> str:
    """A message of scikit-learn on one line, without its links."""
    return " ".join(text.partition("\n\n")[0].split())[:300]
