"""The checker of models finds the laws that are broken."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from training_table import TableData, mixed

from penstock.batch import Batch
from penstock.model import Target, TrainingData
from penstock.models.linear import FittedLinear, Linear
from penstock.models.prediction import value_batch
from penstock.testing.models import check_model

_TICKS = itertools.count()


@dataclass(frozen=True, eq=False)
class Neighbourly(FittedLinear):
    """A row's prediction depends on the other rows of its batch."""

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        values = super().predict(batch).column("prediction").to_numpy()
        return value_batch(batch, values - values.mean() if len(values) else values)


@dataclass(frozen=True, eq=False)
class Forgetful(FittedLinear):
    """What is saved is rounded."""

    def save(self, folder: Path) -> None:
        replace(self, weights=np.round(self.weights, 3)).save_exactly(folder)

    def save_exactly(self, folder: Path) -> None:
        FittedLinear.save(self, folder)


@dataclass(frozen=True, eq=False)
class Unsteady(FittedLinear):
    """Every training is another."""


@dataclass(frozen=True, eq=False)
class Careless(FittedLinear):
    """A missing feature is taken for zeros."""

    def predict(self, batch: Batch, *, threads: int = 1) -> Batch:
        columns = batch.columns
        for field in self.features:
            if field.name not in columns.schema.names:
                columns = columns.append_column(field.name, pa.array(np.zeros(len(batch))))
        return super().predict(batch.with_columns(columns))


@dataclass(frozen=True)
class Broken(Linear):
    """A linear model that becomes one of the above."""

    becomes: Any = FittedLinear

    def train(self, data: TrainingData) -> FittedLinear:
        fitted = super().train(data)
        weights = fitted.weights + next(_TICKS) if self.becomes is Unsteady else fitted.weights
        return self.becomes(fitted.name, fitted.target, fitted.features, fitted.summary, weights, fitted.intercept)


def data() -> TableData:
    table, schema, signal = mixed(400)
    return TableData(table, schema, Target("y", "regression"), signal, cores=1)


@pytest.mark.parametrize(
    ("becomes", "law"),
    [
        (Neighbourly, "predicted alone"),
        (Forgetful, "what is loaded predicts what was saved"),
        (Unsteady, "same data and seed"),
        (Careless, "without the feature"),
    ],
)
def test_a_broken_law_is_found(becomes: Any, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_model(Broken(epochs=2, becomes=becomes), data())


def test_a_model_that_breaks_none_passes() -> None:
    assert check_model(Broken(epochs=2), data()).name == "linear"
