"""How good predicted classes and probabilities are: scikit-learn's metrics, as a fold over batches. A statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch
from penstock.errors import DataError, UsageError
from penstock.model import PREDICTION, PROBABILITY
from penstock.statistic import Statistic
from penstock.statistics.curves import calibration_error, curves_of, drawn
from penstock.statistics.resampling import GroupSums, interval_of_counts
from penstock.statistics.scores import ScoreCounts
from penstock.statistics.values import Floats, Integers, array_of, as_text, numbers_of

_STATE = pa.schema(
    [
        ("unlabelled", pa.int64()),
        ("log_loss", pa.float64()),
        ("brier", pa.float64()),
        ("groups", pa.list_(pa.float64())),
        ("confusion", pa.list_(pa.int64())),
        ("shifts", pa.list_(pa.int64())),
        ("keys", pa.list_(pa.list_(pa.int64()))),
        ("others", pa.list_(pa.list_(pa.int64()))),
        ("members", pa.list_(pa.list_(pa.int64()))),
    ]
)
_SCORES = 2**20
"""Distinct scores that are kept apart, all classes together."""
_MOST_CURVES = 20
_OF_CONFUSION = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
_EPSILON = float(np.finfo(np.float64).eps)


class Classification(Statistic[dict[str, Any]]):
    """Metrics of predicted classes, from batches that hold the truth, the prediction and its probabilities.

    The value is a dictionary of plain numbers and lists, named as in scikit-learn and equal to it:

    - ``rows``; ``unlabelled``: rows that are left out, their truth being null or none of ``classes``; ``classes``;
      ``confusion_matrix``: counts, a row per class of the truth, a column per predicted class.
    - ``accuracy``, ``balanced_accuracy``; ``precision``, ``recall``, ``f1``: of two classes those of the second, the
      positive one; of more the unweighted mean over the classes that occur. What divides by zero is 0.
    - ``log_loss``, of probabilities cut to [eps, 1 - eps] of float64; ``brier``: of two classes the mean square of
      the error of the second's probability, of more the mean of the sum over the classes.
    - ``expected_calibration_error``, of ten bins of equal size, as in `penstock.statistics.curves`; of more than two
      classes the mean over them.
    - ``roc_auc`` and ``average_precision`` of the second class; of more the unweighted mean of each against the rest.
      They are exact, ties included, up to 2^20 distinct scores of all classes together. Beyond it scores are told
      apart by as many leading bits as fit, and ``roc_auc_error`` is the most that it can have changed the area by:
      half the share of pairs (member, other) that are in one bucket. It is 0 otherwise.

    What is not defined is nan: everything without rows, ``roc_auc`` and ``average_precision`` where a class has no
    member or no other. All but the two losses are integers: they do not depend on order or grouping.

    Metrics:
        accuracy: ``(TP + TN) / n``; of more classes the share of rows whose class was predicted.
        balanced_accuracy: the mean of the recall of each class: of two, ``(TP / (TP + FN) + TN / (TN + FP)) / 2``
            (Brodersen and others, "The balanced accuracy and its posterior distribution", ICPR 2010).
        precision: ``TP / (TP + FP)`` of the second class; of more than two the mean over the classes.
        recall: ``TP / (TP + FN)`` of the second class; of more than two the mean over the classes.
        f1: ``2 TP / (2 TP + FP + FN)`` of the second class; of more than two the mean over the classes.
        f_beta: ``(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP)``, named ``f2`` for b = 2; asked for by ``--beta``
            (van Rijsbergen, "Information Retrieval", 1979, chapter 7).
        roc_auc: the share of pairs of a member of the class and another row in which the member has the higher
            probability, ties counted half (Hanley and McNeil, "The meaning and use of the area under a receiver
            operating characteristic curve", Radiology 143, 1982).
        roc_auc_error: the most that roc_auc can be off by; 0 for up to 2^20 distinct probabilities.
        average_precision: ``sum((R[i] - R[i - 1]) P[i])`` over the thresholds i, with recall R and precision P.
        log_loss: ``-sum(ln p(y)) / n``, p(y) being the probability of the true class, cut to [eps, 1 - eps].
        brier: ``sum((p - y)^2) / n``, p being the probability of the second class and y 0 or 1 (Brier, "Verification of
            forecasts expressed in terms of probability", Monthly Weather Review 78, 1950); of more classes the sum
            over them, y being 1 for the true one.
        expected_calibration_error: ``sum(n[k] |p[k] - y[k]|) / n`` over ten bins k of as many rows each, p[k] being the
            mean probability and y[k] the share of members (Naeini, Cooper and Hauskrecht, "Obtaining well
            calibrated probabilities using Bayesian binning", AAAI 2015).

    Args:
        target_column: the truth, of text or anything that has a canonical text (3.0 is "3").
        classes: the labels, as text, in the order of their codes; at least two, all different.
        scores: distinct scores that are kept apart, all classes together.

    Raises:
        UsageError: there are fewer than two classes, or one comes twice.

    Example:
        >>> from penstock.batch import RowKeys
        >>> rows = pa.record_batch(
        ...     {
        ...         "spam": ["no", "yes", "yes"],
        ...         "prediction": ["no", "yes", "no"],
        ...         "probability_no": [0.9, 0.2, 0.6],
        ...         "probability_yes": [0.1, 0.8, 0.4],
        ...     }
        ... )
        >>> metrics = Classification("spam", ["no", "yes"])
        >>> metrics.update(Batch(rows, RowKeys.span("", 0, 3)))
        >>> metrics.value()["recall"], metrics.value()["roc_auc"], metrics.value()["confusion_matrix"]
        (0.5, 1.0, [[1, 0], [1, 1]])
    """

    kind = "classification"

    def __init__(self, target_column: str, classes: Sequence[str], scores: int = _SCORES) -> None:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise UsageError(
                "not the classes of a classification",
                where=f"target {target_column!r}",
                expected="two or more different labels",
                got=", ".join(map(repr, classes)) or "none",
                remedy="take a target with at least two different values",
            )
        self._target = target_column
        self._classes = tuple(classes)
        size = len(self._classes)
        self._ranked = (1,) if size == 2 else tuple(range(size))
        self._most = scores
        limit = max(scores // len(self._ranked), 4096)
        self._scores = [ScoreCounts(limit) for _ in self._ranked]
        self._confusion: Integers = np.zeros((size, size), np.int64)
        self._unlabelled = 0
        self._log_loss = 0.0
        self._brier = 0.0
        self._groups = GroupSums(3)  # rows, log loss, Brier score

    @property
    def columns(self) -> tuple[str, ...]:
        """The truth, the prediction and the probability of each class."""
        return (self._target, PREDICTION, *(PROBABILITY + label for label in self._classes))

    def parameters(self) -> Mapping[str, Any]:
        """The target's column, the classes, and how many scores are kept apart."""
        return {"target_column": self._target, "classes": list(self._classes), "scores": self._most}

    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch.

        Raises:
            SchemaError: a column is missing or of another kind.
            DataError: of a row with a truth, the prediction is none of the classes, or a probability is null or not
                within 0 to 1.
        """
        truth = codes(array_of(batch, self._target), self._classes)
        known = truth >= 0
        predicted = codes(array_of(batch, PREDICTION), self._classes)[known]
        truth = truth[known]
        self._unlabelled += len(known) - len(truth)
        if len(truth) == 0:
            return
        if predicted.min() < 0:
            raise DataError(
                "a prediction is none of the classes",
                where=f"column {PREDICTION!r}",
                expected="one of " + ", ".join(map(repr, self._classes)),
                got=repr(array_of(batch, PREDICTION)[int(np.flatnonzero(known)[predicted.argmin()])].as_py()),
                remedy="evaluate with the classes that the model was trained on",
            )
        size = len(self._classes)
        self._confusion += np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
        chances = [self._probability(batch, label, known) for label in self._classes]
        loss = np.empty(len(truth))
        squares = np.zeros(len(truth))
        for code, chance in enumerate(chances):
            member = truth == code
            loss[member] = chance[member]
            if code in self._ranked:
                self._scores[self._ranked.index(code)].add(chance, member)
                square = np.square(chance - member)
                squares += square
                self._brier += float(np.add.reduce(square))
        losses = -np.log(np.clip(loss, _EPSILON, 1.0 - _EPSILON))
        self._log_loss += float(np.add.reduce(losses))
        self._groups.add(batch.keys.take(known), np.ones(len(truth)), losses, squares)

    def _probability(self, batch: Batch, label: str, known: npt.NDArray[np.bool_]) -> Floats:
        values = array_of(batch, PROBABILITY + label)
        if not known.all():
            values = values.filter(pa.array(known))
        chance = numbers_of(values, PROBABILITY + label)
        # min and max are nan where one value is, and every comparison with nan is false.
        if len(chance) == len(values) and chance.min() >= 0.0 and chance.max() <= 1.0:
            return chance
        raise DataError(
            "a probability is missing or out of range",
            where=f"column {PROBABILITY + label!r}",
            expected="numbers from 0 to 1",
            got="null" if len(chance) < len(values) else f"{chance.min()} to {chance.max()}",
            remedy="leave out rows that have no prediction, and check the model's probabilities",
        )

    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after."""
        self._confusion = self._confusion + other._confusion
        self._unlabelled += other._unlabelled
        self._log_loss += other._log_loss
        self._brier += other._brier
        self._groups.sums = self._groups.sums + other._groups.sums
        for mine, theirs in zip(self._scores, other._scores, strict=True):
            mine.merge(theirs)

    def value(self) -> dict[str, Any]:
        """The metrics so far; see the class."""
        rows = int(self._confusion.sum())
        areas = [scores.roc_auc() for scores in self._scores]
        errors = [scores.roc_auc_error() for scores in self._scores]
        precisions = [scores.average_precision() for scores in self._scores]
        uncalibrated = [calibration_error(scores) for scores in self._scores]
        return {
            "rows": rows,
            "unlabelled": self._unlabelled,
            **_of_confusion(self._confusion),
            "roc_auc": math.fsum(areas) / len(areas),
            "roc_auc_error": math.fsum(errors) / len(errors),
            "average_precision": math.fsum(precisions) / len(precisions),
            "log_loss": self._log_loss / rows if rows else math.nan,
            "brier": self._brier / rows if rows else math.nan,
            "expected_calibration_error": math.fsum(uncalibrated) / len(uncalibrated),
            "confusion_matrix": self._confusion.tolist(),
            "classes": list(self._classes),
        }

    def f_beta(self, beta: float) -> float:
        """Precision and recall as one, recall counting ``beta`` times as much (van Rijsbergen, 1979); as ``f1``."""
        return _f_beta(self._confusion, beta)

    def curves(self) -> dict[str, Any]:
        """ROC, precision and recall, calibration and lift as JSON values: of two classes those of the second, of up to
        twenty those of each class by its label; see `penstock.statistics.curves`."""
        if len(self._ranked) == 1:
            return curves_of(self._scores[0])
        if len(self._ranked) > _MOST_CURVES:
            return {}
        return {label: curves_of(scores) for label, scores in zip(self._classes, self._scores, strict=True)}

    def intervals(self) -> dict[str, list[float]]:
        """Of each metric the interval that covers its true value with probability 0.95, by the bootstrap.

        A metric that is not defined for most of what could have been drawn is left out; see
        `penstock.statistics.resampling`. The seed is fixed: same data, same intervals.
        """
        found: dict[str, tuple[float, float] | None] = {}
        for name in _OF_CONFUSION:
            found[name] = interval_of_counts(self._confusion, partial(_figure, name))
        for scores in self._scores:
            scores.settle()
        if len(self._scores) == 1:
            only = self._scores[0]
            found["roc_auc"] = interval_of_counts(only.counts, lambda counts: drawn(only, counts).roc_auc())
            found["average_precision"] = interval_of_counts(
                only.counts, lambda counts: drawn(only, counts).average_precision()
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            found["log_loss"] = self._groups.interval(lambda sums: sums[:, 1] / sums[:, 0])
            found["brier"] = self._groups.interval(lambda sums: sums[:, 2] / sums[:, 0])
        return {name: list(ends) for name, ends in found.items() if ends is not None}

    def state(self) -> pa.Table:
        """One row: what was left out, the sums of the losses, the confusion matrix, counts by score for each class."""
        for scores in self._scores:
            scores.settle()
        columns: list[Any] = [
            [self._unlabelled],
            [self._log_loss],
            [self._brier],
            [self._groups.sums.reshape(-1)],
            [self._confusion.reshape(-1)],
            [[scores.shift for scores in self._scores]],
            [[scores.keys for scores in self._scores]],
            [[scores.counts[:, 0] for scores in self._scores]],
            [[scores.counts[:, 1] for scores in self._scores]],
        ]
        return pa.table(columns, schema=_STATE)

    def load(self, state: pa.Table) -> None:
        """Replace the state."""
        new = self.empty()
        row = {name: state[name][0] for name in _STATE.names}
        self._unlabelled = row["unlabelled"].as_py()
        self._log_loss, self._brier = row["log_loss"].as_py(), row["brier"].as_py()
        self._groups.sums = np.array(row["groups"].values, np.float64).reshape(self._groups.sums.shape)
        self._confusion = np.array(row["confusion"].values, np.int64).reshape(self._confusion.shape)
        self._scores = new._scores
        for index, scores in enumerate(self._scores):
            scores.shift = row["shifts"][index].as_py()
            scores.keys = np.array(row["keys"][index].values, np.int64)
            others, members = row["others"][index].values, row["members"][index].values
            scores.counts = np.column_stack((np.array(others, np.int64), np.array(members, np.int64)))

    @property
    def nbytes(self) -> int:
        """What the state holds in memory [bytes]."""
        return self._confusion.nbytes + sum(scores.nbytes for scores in self._scores)


def codes(values: pa.Array, classes: Sequence[str]) -> Integers:
    """The place of each value's text among the classes (int64), -1 for null and for anything else.

    Example:
        >>> codes(pa.array([1.0, 0.0, None, 7.0]), ["0", "1"])
        array([ 1,  0, -1, -1])
    """
    if len(values) == 0:
        return np.empty(0, np.int64)
    if not pa.types.is_dictionary(values.type):
        as_text(values.slice(0, 0))  # refuses a type without text
        values = values.dictionary_encode()  # so that each different value is turned into text once
    labels = pa.array(classes, pa.large_string())
    # One more entry, at place -1, for null.
    places = pc.index_in(as_text(values.dictionary), value_set=labels, skip_nulls=True).fill_null(-1).to_pylist()
    table = np.array([*places, -1], np.int64)
    found: Integers = table[values.indices.cast(pa.int64()).fill_null(-1).to_numpy()]
    return found


def _of_confusion(matrix: Integers) -> dict[str, float]:
    """The metrics that follow from the confusion matrix alone."""
    names = _OF_CONFUSION
    total = int(matrix.sum())
    if total == 0:
        return dict.fromkeys(names, math.nan)
    hits, truths, guesses = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    precision = hits / np.maximum(guesses, 1)
    recall = hits / np.maximum(truths, 1)
    met = truths + guesses > 0  # scikit-learn averages over the labels of either side
    chosen = slice(1, 2) if len(matrix) == 2 else met
    figures = (
        hits.sum() / total,
        recall[truths > 0].mean(),
        *(each[chosen].mean() for each in (precision, recall)),
        _f_beta(matrix, 1.0),
    )
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


def _figure(name: str, matrix: Integers) -> float:
    return _of_confusion(matrix)[name]


def _f_beta(matrix: Integers, beta: float) -> float:
    hits, truths, guesses = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    both = beta**2 * truths + guesses
    chosen = slice(1, 2) if len(matrix) == 2 else truths + guesses > 0
    if int(matrix.sum()) == 0:
        return math.nan
    found = (1 + beta**2) * hits / np.where(both > 0, both, 1.0)
    return float(found[chosen].mean())
