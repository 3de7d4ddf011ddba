"""The contract of what learns from batches in a fixed order. Implementations live in `models/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.engine import Listener, Resources
from penstock.schema import Field, Role, Schema
from penstock.step import Step

PREDICTION = "prediction"
"""The column of predicted values: a class's label, or a number."""
PROBABILITY = "probability_"
"""The prefix of the columns of predicted probabilities, one per class."""

TaskName: TypeAlias = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted.

    Attributes:
        column: the target column.
        task: "binary", "multiclass" or "regression".
        classes: the labels in the order of their codes, ascending; empty for regression. Of two classes the
            second is the positive one.
    """

    column: str
    task: TaskName
    classes: tuple[str, ...] = ()

    @property
    def prediction_fields(self) -> tuple[Field, ...]:
        """The columns that a prediction adds."""
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


class TrainingData(ABC):
    """Encoded rows laid down on disk, in plan order, that a model learns from in one or several passes.

    Attributes:
        schema: the feature columns, all of them numbers (float32 or float64, missing is null) or, where the model
            asked for categories, codes from 0 (int32, -1 for missing or unseen) with ``categories`` in their field.
        target: what is to be predicted.
        rows: how many rows there are.
        seed: of everything random.
        resources: what the training may use.
        listener: who is told how it goes.
    """

    schema: Schema
    target: Target
    rows: int
    seed: int
    resources: Resources
    listener: Listener

    @abstractmethod
    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The feature columns, memory-mapped: file pages, not held by the process."""

    @abstractmethod
    def labels(self) -> npt.NDArray[Any]:
        """The target in plan order: int32 class codes, or float64; shape (rows,)."""

    @abstractmethod
    def hashes(self) -> npt.NDArray[np.uint64]:
        """The hash of (seed, row key) of every row: splits follow from it; shape (rows,)."""

    @abstractmethod
    def epoch(
        self, number: int, batch_rows: int, *, start: int = 0, keep: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[Any]]]:
        """One pass in a shuffled order that is a function of (seed, number) alone.

        Yields (features, labels) of ``batch_rows`` rows each (the last may be shorter), from the ``start``-th batch;
        features are float32 of shape (rows, columns) with NaN for null. ``keep`` limits it to these rows.
        """


class Model(ABC):
    """A definition, frozen: which encoding it wants, and how it learns.

    Laws, checked by `penstock.testing.check_model`: same data, seed and cores give the same predictions to the
    bit; rows are predicted independently of their neighbours; save and load give the same predictions; the
    probabilities of a row sum to one.
    """

    name: str = ""
    """The name in a pipeline file and after ``--model``."""

    @abstractmethod
    def steps(self, schema: Schema) -> Sequence[Step]:
        """Steps that turn what is left of the features into what it can learn from; put after the user's."""

    @abstractmethod
    def memory_needed(self, rows: int, schema: Schema, target: Target) -> int:
        """About what training on so many rows of these features holds at its peak, above the bare process [bytes]."""

    @abstractmethod
    def train(self, data: TrainingData) -> FittedModel:
        """Learn.

        Raises:
            ResourceError: it can't be trained in the memory given; says what it needs.
        """


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

    @abstractmethod
    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        """The rows' predictions alone: the columns of ``target.prediction_fields``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into an empty folder, in a format that is data and never code."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
