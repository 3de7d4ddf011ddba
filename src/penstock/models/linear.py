"""Logistic and linear regression by stochastic gradient descent: the definition `Linear`, and `FittedLinear`.

A model. How it learns is in `linear_training.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.durable import write_atomically
from penstock.errors import SchemaError
from penstock.model import FittedModel, Model, Target, TrainingData, spans_of
from penstock.models.arguments import one_of, real_number, whole_number
from penstock.models.encoding import NUMBERS, WORDS, time_steps, word_steps
from penstock.models.folder import Described, damaged, read_description, write_description
from penstock.models.labels import ClassWeight, checked_class_weight, class_counts, weights_of_classes
from penstock.models.limits import refuse_beyond_memory
from penstock.models.prediction import (
    class_batch,
    feature_columns,
    normalized,
    sigmoid,
    two_classes,
    value_batch,
    vector_column,
)
from penstock.schema import Role, Schema
from penstock.source import Note
from penstock.step import Step
from penstock.vectors import as_matrix

_WEIGHTS = "weights.arrow"
_MOST_COLUMNS = 50
"""Columns of 0 and 1 that a category becomes before it is a column of vectors."""


@dataclass(frozen=True)
class Linear(Model):
    """Logistic regression of classes, linear regression of numbers; by stochastic gradient descent, epoch by epoch.

    It holds one batch at a time, so it learns from data of any size. Of more than two classes each is told from the
    others, and the probabilities are scaled to sum to one. The step is constant within an epoch and is cut to a
    quarter when the rows held back are not predicted better any more; the weights are averaged over an epoch's batches
    (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30, 1992), and
    those of the best epoch are kept. A row so long that its step would overshoot counts less. A missing feature counts
    as 0, which is the mean of a standardized column.

    Formula:
        f = w x + b, least sum(weight * loss) / n + alpha * R(w)
        classes      loss = log(1 + exp(-y f)), y = 1 for the class, else -1
                     probability = 1 / (1 + exp(-f))
        numbers      loss = (y - f)^2 / 2
        l2           R(w) = sum(w^2) / 2
        l1           R(w) = sum(|w|)
        elasticnet   R(w) = (1 - l1_ratio) sum(w^2) / 2 + l1_ratio sum(|w|)

        As scikit-learn's SGDClassifier and SGDRegressor. A target of numbers is brought to mean 0 and deviation 1
        for it.

    Args:
        penalty: "l2", "l1" or "elasticnet".
        alpha: what the penalty counts, per row.
        l1_ratio: the share (0 to 1) of L1 in an elastic net.
        epochs: the most passes over the rows.
        batch_rows: rows of a batch [rows].
        eta0: the first step; "auto" is half the inverse of the median squared length of a row, at most 0.05 (0.5 where
            there are columns of vectors).
        tolerance: a loss is better if it falls by this share of itself.
        patience: epochs without a better loss before the step is cut.
        cuts: how often the step is cut before training ends.
        validation_share: the share of the rows (0 to 1) held back, at most 200,000 rows.
        max_categories: the most places that a category becomes; beyond 50 they are those of a vector.
        max_tokens: the most tokens of a column of text that count (TF-IDF).
        class_weight: None, "balanced" (rows / (classes * rows of the class)), or weights by label.
        max_rows: the most rows to train on, a sample by row key; None for all.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Linear(penalty="l1", alpha=1e-4).epochs
        40
    """

    penalty: Literal["l2", "l1", "elasticnet"] = "l2"
    alpha: float = 1e-5
    l1_ratio: float = 0.15
    epochs: int = 40
    batch_rows: int = 1024
    eta0: float | Literal["auto"] = "auto"
    tolerance: float = 1e-4
    patience: int = 2
    cuts: int = 4
    validation_share: float = 0.1
    max_categories: int = 1000
    max_tokens: int = 5_000
    class_weight: ClassWeight = None
    max_rows: int | None = None

    name = "linear"

    def __post_init__(self) -> None:
        one_of("linear: penalty", self.penalty, ("l2", "l1", "elasticnet"))
        real_number("linear: alpha", self.alpha, 0)
        real_number("linear: l1_ratio", self.l1_ratio, 0, 1)
        whole_number("linear: epochs", self.epochs, 1)
        whole_number("linear: batch_rows", self.batch_rows, 1)
        real_number("linear: eta0", self.eta0, 0, above=True, words=("auto",))
        real_number("linear: tolerance", self.tolerance, 0, 1)
        whole_number("linear: patience", self.patience, 1)
        whole_number("linear: cuts", self.cuts, 0)
        real_number("linear: validation_share", self.validation_share, 0, 0.9, above=True)
        whole_number("linear: max_categories", self.max_categories, 1)
        whole_number("linear: max_tokens", self.max_tokens, 1)
        whole_number("linear: max_rows", self.max_rows, 1, words=(None,))
        checked_class_weight(self.class_weight, "linear: class_weight")

    def steps(self, schema: Schema) -> Sequence[Step]:
        """Numbers imputed by the median and standardized (truth values and parts of times too), categories one-hot,
        texts and lists as vectors."""
        from penstock.steps.columns import Cast, Select
        from penstock.steps.encode import OneHot
        from penstock.steps.impute import Impute
        from penstock.steps.scale import Standardize

        usable = schema.of_role(*NUMBERS, *WORDS, Role.category, Role.time)
        _refuse_unusable(schema, usable)
        truths = schema.of_role(Role.boolean)
        dates, parts = time_steps(schema, cyclic=True)
        categories = schema.of_role(Role.category)
        plain = (name for name in usable if schema[name].role not in (Role.category, Role.time, *WORDS))
        numbers = (*plain, *parts)
        steps: list[Step] = [Select(usable), *dates]
        if truths:
            steps.append(Cast(truths, "float32"))
        if numbers:
            steps += [Impute(numbers, "median"), Standardize(numbers)]
        if categories:
            steps.append(OneHot(categories, max_categories=self.max_categories, max_columns=_MOST_COLUMNS))
        return [*steps, *word_steps(schema, self.max_tokens)]

    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """Label, hash, part and order of each row, a few batches, and the weights [bytes]."""
        outputs = len(target.classes) if target.task == "multiclass" else 1
        width = max((span.stop for span in spans_of(schema).values()), default=1)
        batches = self.batch_rows * width * 40
        return 40 * rows + batches + 64 * outputs * width + 8 * 2**20

    def train(self, data: TrainingData) -> FittedLinear:
        """Learn.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, or too few rows to hold some back.
            UsageError: class weights are for no class of the target.
        """
        from penstock.models.linear_training import Training

        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        training = Training(self, data, labels, class_weights)
        data.listener.said(
            Note(
                "linear model",
                f"{training.held:,} of {data.rows:,} rows held back by hash to keep the best epoch",
                f"batches of {self.batch_rows:,} rows, first step {training.step:.3g}",
                "validation_share, batch_rows and eta0 of the model",
            )
        )
        best, summary = training.run()
        return FittedLinear(self.name, data.target, data.schema, summary, best.weights, best.intercept)

    @property
    def goes_on(self) -> bool:
        """It does."""
        return True

    def update(self, fitted: FittedModel, data: TrainingData) -> FittedLinear:
        """Go on from the weights, on new rows: at most a quarter of the epochs, from a tenth of the first step on.

        A tenth of the rate lets a trained model move without losing what it knows (Girshick et al., "Rich feature
        hierarchies for accurate object detection and semantic segmentation", CVPR 2014, section 2.3). The best epoch is
        kept, and the weights as they were where none predicts the new rows held back better.

        Raises:
            ResourceError: it does not fit in the memory given; says the need and the rows that would fit.
            DataError: fewer than two classes, or too few rows to hold some back.
            UsageError: class weights are for no class of the target.
        """
        from penstock.models.linear_training import Training, Weights

        before = cast(FittedLinear, fitted)
        labels = data.labels()
        counts = class_counts(labels, data.target)
        class_weights = weights_of_classes(self.class_weight, data.target, counts)
        refuse_beyond_memory(self, data)
        start = Weights(before.weights, before.intercept)
        best, summary = Training(self, data, labels, class_weights, start=start).run()
        summary |= {"rows": data.rows + int(before.summary["rows"]), "new_rows": data.rows}
        data.listener.said(
            Note(
                "linear model",
                f"went on for {summary['epochs']} epochs, and keeps "
                + (
                    f"the weights after {summary['best_epoch']}"
                    if summary["best_epoch"]
                    else "its weights as they were"
                ),
                f"{summary['held_out_rows']:,} of {data.rows:,} new rows held back to judge by",
                "epochs and eta0 of the model",
            )
        )
        return FittedLinear(self.name, data.target, before.features, summary, best.weights, best.intercept)


def _refuse_unusable(schema: Schema, usable: Sequence[str]) -> None:
    if not usable:
        raise SchemaError(
            "there is no feature that a linear model can learn from",
            where="linear",
            expected="numbers, truth values, categories, times, texts or lists",
            got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
            remedy="give a column another role, or derive numbers from it by steps",
        )
    coded = [name for name in schema.of_role(Role.category) if pa.types.is_integer(schema[name].type)]
    if coded:
        raise SchemaError(
            "a linear model can't learn from codes of categories",
            where=f"linear, column {coded[0]!r}",
            expected="categories as text (the model encodes them itself), or one-hot columns",
            got=f"codes ({schema[coded[0]].type})",
            remedy="leave the step `ordinal` out",
        )


@dataclass(frozen=True, eq=False)
class FittedLinear(FittedModel):
    """A linear model that has learned.

    Attributes:
        weights: float64, shape (outputs, width of the features); one output for two classes or a regression, else one
            per class.
        intercept: float64, shape (outputs,).
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]
    weights: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions; on one thread, since the arithmetic is little.

        Raises:
            SchemaError: the batch lacks a feature, or one is not a number.
        """
        # Feature by feature, not as one matrix product: BLAS rounds a row differently among other rows.
        scores = np.tile(self.intercept[:, None], (1, len(batch)))
        spans = spans_of(self.features)
        scalars = self.features.select([field.name for field in self.features if field.width is None])
        for field, column in zip(scalars, feature_columns(batch.columns, scalars), strict=True):
            values = np.nan_to_num(column.astype(np.float64), nan=0.0)
            for output in range(len(scores)):
                scores[output] += values * self.weights[output, spans[field.name].start]
        for field in self.features:
            if field.width is not None:
                matrix = as_matrix(vector_column(batch.columns, field), field.width)
                for output in range(len(scores)):
                    scores[output] += matrix @ self.weights[output, spans[field.name]]
        predicted = self.from_scores(scores)
        if self.target.task == "regression":
            return value_batch(batch, predicted)
        return class_batch(batch, self.target, predicted)

    def contributions(self, batch: Batch, *, threads: int = 1) -> npt.NDArray[np.float64]:
        """Weight times value of each feature; last the intercept. Features are standardized: 0 is a feature's mean."""
        spans = spans_of(self.features)
        total = np.zeros((len(batch), len(spans) + 1, len(self.intercept)))
        total[:, -1, :] = self.intercept
        scalars = self.features.select([field.name for field in self.features if field.width is None])
        values = dict(zip(scalars.names, feature_columns(batch.columns, scalars), strict=True))
        for place, field in enumerate(self.features):
            weights = self.weights[:, spans[field.name]]
            for output in range(len(self.intercept)):
                if field.width is None:
                    column = np.nan_to_num(values[field.name].astype(np.float64), nan=0.0)
                    total[:, place, output] = column * weights[output, 0]
                else:
                    total[:, place, output] = as_matrix(batch.column(field.name), field.width) @ weights[output]
        return total

    def from_scores(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (rows, classes), or values, shape (rows,), from scores of shape (outputs, rows)."""
        if self.target.task == "regression":
            return np.asarray(scores[0])
        if self.target.task == "binary":
            return two_classes(sigmoid(scores[0]))
        return normalized(np.ascontiguousarray(sigmoid(scores).T))

    def save(self, folder: Path) -> None:
        """Write ``model.json``, and ``weights.arrow``: a row for each feature, and a last one for the intercept.

        Raises:
            ResourceError: it can't be written.
        """
        names = pa.array([*_weight_names(self.features), None], pa.string())
        outputs = np.concatenate([self.weights, self.intercept[:, None]], axis=1)
        table = pa.table([names, *map(pa.array, outputs)], names=["feature", *_output_names(len(outputs))])
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
        write_atomically(folder / _WEIGHTS, buffer.getvalue().to_pybytes())
        described = Described(self.target, self.features, self.summary, {"outputs": len(outputs)})
        write_description(folder, self.name, described, ("scikit-learn", "numpy"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: a file is missing, damaged, or does not fit the other.
        """
        described = read_description(folder, Linear.name)
        path = folder / _WEIGHTS
        outputs = len(described.target.classes) if described.target.task == "multiclass" else 1
        try:
            table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise damaged(path, str(error)) from error
        names = ["feature", *_output_names(outputs)]
        expected = pa.schema([("feature", pa.string()), *((name, pa.float64()) for name in names[1:])])
        if not table.schema.equals(expected):
            raise damaged(path, str(table.schema), str(expected))
        if table.column("feature").to_pylist() != [*_weight_names(described.features), None]:
            raise damaged(path, "other features", "a row for each feature of model.json, and the intercept")
        numbers = np.array([table.column(name).to_numpy() for name in names[1:]])
        if not np.isfinite(numbers).all():
            raise damaged(path, "weights that are not finite", "finite numbers")
        return cls(
            Linear.name,
            described.target,
            described.features,
            described.summary,
            np.ascontiguousarray(numbers[:, :-1]),
            np.ascontiguousarray(numbers[:, -1]),
        )


def _weight_names(features: Schema) -> list[str]:
    """The feature of each weight: a column of vectors has as many as it is wide."""
    return [field.name for field in features for _ in range(1 if field.width is None else field.width)]


def _output_names(count: int) -> list[str]:
    return [f"output_{number}" for number in range(count)]
