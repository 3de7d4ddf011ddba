"""The contract of what learns from batches in a fixed order. Implementations live in `models/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.engine import Listener, Resources
from penstock.errors import UsageError
from penstock.schema import Field, Role, Schema
from penstock.step import Step

PREDICTION = "prediction"
"""The column of predicted values: a class's label, or a number."""
PROBABILITY = "probability_"
"""The prefix of the columns of predicted probabilities, one per class."""
FEATURE = "feature_"
"""The prefix of the columns of what a network's last hidden layer gives, one for each unit."""

Effort: TypeAlias = Literal["quick", "default", "best"]
"""How much time a training may take: for a first look, as a rule, and where every tenth of a percent counts."""
TaskName: TypeAlias = Literal[
    "binary", "multiclass", "regression", "clustering", "decomposition", "anomaly_detection", "reconstruction"
]
_LABELLED = ("binary", "multiclass", "regression")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted, or, where nothing is, what a model makes of the rows by itself.

    Attributes:
        column: the target column; empty where a model learns without one.
        task: "binary", "multiclass" or "regression"; without a target "clustering", "decomposition",
            "anomaly_detection" or "reconstruction".
        classes: the labels in the order of their codes, ascending; empty for regression. Of two classes the
            second is the positive one.
    """

    column: str
    task: TaskName
    classes: tuple[str, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether there is a column to predict."""
        return self.task in _LABELLED

    def __str__(self) -> str:
        return f"{self.column} ({self.task})" if self.has_labels else f"none ({self.task})"

    @property
    def prediction_fields(self) -> tuple[Field, ...]:
        """The columns that a prediction adds; without a target only the fitted model knows them."""
        if not self.has_labels:
            return ()
        if self.task == "regression":
            return (Field(PREDICTION, pa.float64(), Role.number),)
        return (
            Field(PREDICTION, pa.string(), Role.category, categories=self.classes),
            *(Field(PROBABILITY + label, pa.float64(), Role.number) for label in self.classes),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"column": self.column, "task": self.task, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Target:
        """From what `to_json` gave."""
        return cls(str(value["column"]), value["task"], tuple(str(label) for label in value["classes"]))


def in_matrix(field: Field) -> bool:
    """Whether a feature stands in the matrix of a batch: numbers, codes and sparse vectors; not tensors, not tokens."""
    return field.shape is None and field.role is not Role.tokens


def spans_of(schema: Schema) -> dict[str, slice]:
    """Where each feature stands in a row of a matrix: one place each, and for a column of sparse vectors its width.
    Columns of tensors and of tokens stand beside it.

    Example:
        >>> from penstock.schema import SPARSE
        >>> vector = Field("words", SPARSE, Role.vector, width=3)
        >>> spans_of(Schema((Field("age", pa.float64(), Role.number), vector)))
        {'age': slice(0, 1, None), 'words': slice(1, 4, None)}
    """
    spans: dict[str, slice] = {}
    start = 0
    for each in filter(in_matrix, schema):
        stop = start + (1 if each.width is None else each.width)
        spans[each.name] = slice(start, stop)
        start = stop
    return spans


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Rows of an epoch.

    Attributes:
        features: float32, shape (rows, width of `spans_of` the schema); NaN for null; categories by their code.
        labels: int32 class codes or float64, shape (rows,); zeros where there is no target.
        weights: float64, shape (rows,); None where every row counts the same.
        rows: int64, shape (rows,): each row's place in plan order.
        tensors: columns of pictures and clips, augmented, shape (rows, *shape of the field), of the field's type.
        tokens: columns of tokens: int32 places in the vocabulary, one row after the other, and int64 offsets, shape
            (rows + 1,), of where each begins.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]
    weights: npt.NDArray[np.float64] | None
    rows: npt.NDArray[np.int64]
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    tokens: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


class TrainingData(ABC):
    """Encoded rows laid down on disk, in plan order, that a model learns from in one or several passes.

    Attributes:
        schema: the feature columns: numbers (float32 or float64, missing is null); where the model asked for
            categories, codes from 0 (int32, -1 for missing or unseen) with ``categories`` in their field; columns of
            sparse vectors (`penstock.schema.SPARSE`) with their ``width``; of tensors (`penstock.schema.tensor`);
            and of tokens, with their vocabulary.
        target: what is to be predicted.
        rows: how many rows there are.
        seed: of everything random.
        resources: what the training may use.
        listener: who is told how it goes.
        ordered: whether rows are split by time: then `hashes` are smallest for the latest rows, and one validation
            split, of the smallest, is honest, where folds are not.
        checkpoints: a folder where a training may leave what it needs to go on after it was killed; it is there again
            when the same command comes back to this training, and goes when the job is done. None where none is kept.
        history: a file for what is told of each epoch, one JSON object in a line; None where none is kept.
        mirrored: the columns of pictures and clips that an epoch gives mirrored, left to right, at random.
    """

    schema: Schema
    target: Target
    rows: int
    seed: int
    resources: Resources
    listener: Listener
    ordered: bool = False
    checkpoints: Path | None = None
    history: Path | None = None
    mirrored: tuple[str, ...] = ()

    @abstractmethod
    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The feature columns, memory-mapped: file pages, not held by the process."""

    @abstractmethod
    def labels(self) -> npt.NDArray[Any]:
        """The target in plan order: int32 class codes, or float64; shape (rows,). Zeros where there is none."""

    @abstractmethod
    def weights(self) -> npt.NDArray[np.float64] | None:
        """How much each row counts, in plan order, shape (rows,), above zero; None where all count the same."""

    @abstractmethod
    def hashes(self) -> npt.NDArray[np.uint64]:
        """What splits follow from, shape (rows,): a hash of (seed, row key); of the group, where rows have groups,
        so that a group is never on both sides; or, where rows are split by time, smaller for later rows."""

    @abstractmethod
    def epoch(
        self,
        number: int,
        batch_rows: int,
        *,
        start: int = 0,
        keep: npt.NDArray[np.bool_] | None = None,
        threads: int = 0,
    ) -> Iterator[TrainingBatch]:
        """One pass in a shuffled order that is a function of (seed, number) alone, augmented.

        Yields ``batch_rows`` rows each time (at the end perhaps fewer), from the ``start``-th batch on. ``keep``
        limits it to these rows. ``threads`` make batches ahead; which batches come, and in what order, does not
        depend on them.
        """

    @abstractmethod
    def in_order(
        self, batch_rows: int, *, keep: npt.NDArray[np.bool_] | None = None, threads: int = 0
    ) -> Iterator[TrainingBatch]:
        """One pass in plan order, not augmented: to judge, or to look."""


class Model(ABC):
    """A definition, frozen: which encoding it wants, and how it learns.

    Laws, checked by `penstock.testing.check_model`: same data, seed and cores give the same predictions to the
    bit; rows are predicted independently of their neighbours; save and load give the same predictions; the
    probabilities of a row sum to one.
    """

    name: str = ""
    """The name in a pipeline file and after ``--model``."""
    task: ClassVar[TaskName | None] = None
    """What it makes of rows without a target; None for a model that learns to predict one."""

    @abstractmethod
    def steps(self, schema: Schema) -> Sequence[Step]:
        """Steps that turn what is left of the features into what it can learn from; put after the user's."""

    def without_augmentation(self) -> Model:
        """The same model, for a pipeline that has augmentations of its own."""
        return self

    def at_effort(self, effort: Effort) -> Model:
        """The same model set to take less or more time; "default" changes nothing."""
        return self

    @abstractmethod
    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """About what training on so many rows of these features holds at its peak, above the bare process [bytes]."""

    @abstractmethod
    def train(self, data: TrainingData) -> FittedModel:
        """Learn.

        Raises:
            ResourceError: it can't be trained in the memory given; says what it needs.
        """

    def update(self, fitted: FittedModel, data: TrainingData) -> FittedModel:
        """Learn further from new rows, from where a fitted model of this definition is: it stays as it was.

        Args:
            fitted: what this definition gave for other rows.
            data: the new rows, with the features of ``fitted``.

        Raises:
            UsageError: it learns from all rows at once, and can't go on.
            DataError: there is nothing to learn from.
            ResourceError: it can't be trained in the memory given; says what it needs.
        """
        raise self.cannot_go_on()

    @property
    def resumes(self) -> bool:
        """Whether a training that was killed goes on from `TrainingData.checkpoints`."""
        return False

    @property
    def goes_on(self) -> bool:
        """Whether `update` can take a fitted model of this definition further."""
        return False

    def cannot_go_on(self) -> UsageError:
        """The error for a model that can't be updated."""
        estimator = getattr(self, "estimator", "")
        return UsageError(
            f"the model {self.name + (':' + estimator if estimator else '')!r} can't be taken further",
            expected="a model that goes on from where it was: boosted, linear, network, or one of scikit-learn's that "
            "learns batch by batch (sgd, perceptron, passive_aggressive, mlp, naive Bayes)",
            got="one that learns from all rows at once" if self.task is None else "one that learns without a target",
            remedy="train anew on all rows, old and new: penstock train OLD NEW",
        )


@dataclass(frozen=True)
class Auto:
    """Several models, tried on the same rows; the best of them, or their average where that is better, is kept.

    The candidates learn from a part of the training rows (a sample where there are many) and are compared on rows that
    none of them saw. What wins then learns from all training rows. The average is found by greedy selection with
    replacement (Caruana et al., "Ensemble selection from libraries of models", ICML 2004), and is kept only where it
    is better than the best model by more than ``least_gain``.

    Args:
        candidates: names of models, tried in this order; one whose libraries are missing is left out, and said.
        effort: "quick" compares on up to 10,000 rows, "default" on 50,000, "best" on 200,000; models are set so too.
        validation_share: of the compared rows, the share (0 to 1) that is predicted.
        metric: what is compared: "log_loss" or "roc_auc" (two classes), "rmse" or "mae" for numbers; "auto" is
            log_loss, and rmse.
        average: whether an average may be kept.
        least_gain: by what share of the best model's score the average has to be better.
        class_weight: None, "balanced", or weights by label, for every candidate.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> Auto(effort="quick").candidates
        ('boosted', 'linear', 'network')
    """

    candidates: tuple[str, ...] = ("boosted", "linear", "network")
    effort: Effort = "default"
    validation_share: float = 0.2
    metric: Literal["auto", "log_loss", "roc_auc", "rmse", "mae"] = "auto"
    average: bool = True
    least_gain: float = 0.002
    class_weight: Literal["balanced"] | Mapping[str, float] | None = None

    name: ClassVar[str] = "auto"
    task: ClassVar[TaskName | None] = None

    def __post_init__(self) -> None:
        if not self.candidates or len(set(self.candidates)) != len(self.candidates):
            got = ", ".join(self.candidates) or "none"
            raise UsageError("not candidates", where="auto: candidates", expected="different names", got=got)
        if not 0 < self.validation_share <= 0.5:
            raise UsageError(
                "out of range",
                where="auto: validation_share",
                expected="above 0, at most 0.5",
                got=str(self.validation_share),
            )
        if not 0 <= self.least_gain < 1:
            raise UsageError(
                "out of range", where="auto: least_gain", expected="from 0 to below 1", got=str(self.least_gain)
            )

    def at_effort(self, effort: Effort) -> Auto:
        """The same with another effort."""
        return replace(self, effort=effort)


@dataclass(frozen=True, slots=True)
class Placed:
    """How rows lie, as a model without a target sees them.

    Attributes:
        places: float64, shape (rows, dimensions): what distances between rows are measured by.
        spread: float64, shape (rows,): the mean squared distance of the features from their means in training.
    """

    places: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]


class FittedModel(ABC):
    """A model that has learned. Frozen: predicting changes nothing.

    Attributes:
        name: the registry's name of the model it came from.
        target: what it predicts.
        features: the columns it wants, in order.
        summary: what a person wants to know of the training, as JSON values.
    """

    name: str
    target: Target
    features: Schema
    summary: Mapping[str, Any]

    def open(self) -> None:
        """Make what it computes with: a model that takes long for that is loaded without, and opened when it predicts.

        Raises:
            ArtifactError: what was saved is damaged.
            MissingExtra: a library is not installed.
        """
        return

    @abstractmethod
    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions alone: the columns of `prediction_fields`."""

    @property
    def prediction_fields(self) -> tuple[Field, ...]:
        """The columns that a prediction adds."""
        return self.target.prediction_fields

    def placed(self, batch: Batch, *, threads: int = 1) -> Placed:
        """How the rows lie, for a model without a target: what it is judged by.

        Raises:
            UsageError: it predicts a target.
        """
        raise UsageError("the model predicts a target", got=self.name)

    def hidden(self, batch: Batch, *, threads: int = 1) -> Batch:
        """What the last hidden layer gives for each row: the columns of `hidden_fields`.

        Raises:
            UsageError: it has none.
        """
        raise self._no_hidden_layer()

    @property
    def hidden_fields(self) -> tuple[Field, ...]:
        """The columns of `hidden`: float32 numbers.

        Raises:
            UsageError: it has no hidden layer.
        """
        raise self._no_hidden_layer()

    @property
    def takes_module(self) -> bool:
        """Whether it is a module of the user's, which no artifact holds the code of."""
        return False

    def with_module(self, module: Any) -> FittedModel:
        """The same, computed by this module.

        Raises:
            UsageError: it is not the one.
        """
        raise UsageError("the model takes no module", got=self.name)

    def _no_hidden_layer(self) -> UsageError:
        return UsageError(
            f"the model {self.name!r} has no hidden layer to take features from",
            where="--output features",
            expected="one network",
            got=self.name,
            remedy="train with --model network",
        )

    def contributions(self, batch: Batch, *, threads: int = 1) -> npt.NDArray[np.float64] | None:
        """How much each feature moved each row's raw score from where it would be without them; None if it can't tell.

        Returns:
            float64, shape (rows, features + 1, outputs): a place for each feature of ``features`` (a column of vectors
            has one, for all its parts), and last the score without features. Outputs are one for a number or two
            classes (log odds of the second), else one for each class. Over the features they add up to the raw score.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into an empty folder, in a format that is data and never code."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
