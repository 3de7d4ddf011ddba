"""From predictions to decisions: the mean of several models, and the class that costs least.

Part of the pipeline's machinery, used where rows are predicted; which models there are, it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.model import PREDICTION, PROBABILITY, Target

Costs = Mapping[str, Mapping[str, float]]
"""What an error costs: the true label, the predicted one, a number. What is not named costs 1, and 0 if it is right."""


def probabilities_of(batch: Batch, target: Target) -> npt.NDArray[np.float64]:
    """The predicted probabilities, shape (rows, classes); of a regression the values, shape (rows, 1)."""
    names = [PREDICTION] if target.task == "regression" else [PROBABILITY + label for label in target.classes]
    out = np.empty((len(batch), len(names)))
    for place, name in enumerate(names):
        out[:, place] = batch.column(name).to_numpy(zero_copy_only=False)
    return out


def mean_of(parts: Sequence[npt.NDArray[np.float64]], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """The weighted mean of predictions, each of shape (rows, columns), summed in their order.

    Example:
        >>> mean_of([np.array([[1.0]]), np.array([[4.0]])], [2.0, 1.0]).tolist()
        [[2.0]]
    """
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += part * weight
    return np.asarray(total / sum(weights))


@dataclass(frozen=True, slots=True)
class Decision:
    """Which class is chosen for given probabilities: that of the least expected cost.

    Elkan, "The foundations of cost-sensitive learning" (IJCAI 2001): with equal costs it is the likeliest class; of
    two classes the second is chosen from the probability `threshold` on.

    Metrics:
        mean_cost: ``sum(cost[true, predicted]) / n``, of the costs that were said (``--costs``), and 1 for every other
            error.

    Attributes:
        target: what is predicted.
        costs: shape (classes, classes): what it costs to predict a column's class for a row's class.

    Example:
        >>> target = Target("y", "binary", ("no", "yes"))
        >>> Decision.of(target, {"yes": {"no": 9.0}}).threshold
        0.1
    """

    target: Target
    costs: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, target: Target, costs: Costs) -> Decision:
        """From costs by label.

        Raises:
            UsageError: a label is no class of the target, or an error costs no more than being right.
        """
        if target.task == "regression":
            raise UsageError(
                "costs are for classes", where="costs", expected="none for a regression", got=str(dict(costs))
            )
        strangers = set(costs) | {label for row in costs.values() for label in row}
        strangers -= set(target.classes)
        if strangers:
            raise UsageError(
                "a cost is for no class of the target",
                where="costs",
                expected="labels among " + ", ".join(map(repr, target.classes[:20])),
                got=", ".join(map(repr, sorted(strangers))),
            )
        matrix = tuple(
            tuple(float(costs.get(true, {}).get(said, float(true != said))) for said in target.classes)
            for true in target.classes
        )
        for place, row in enumerate(matrix):
            if not np.isfinite(row).all() or min(row) < row[place] or max(row) <= row[place]:
                raise UsageError(
                    "an error costs no more than being right",
                    where=f"costs of {target.classes[place]!r}",
                    expected="finite numbers, and the right label the cheapest",
                    got=str(dict(zip(target.classes, row, strict=True))),
                )
        return cls(target, matrix)

    @property
    def threshold(self) -> float | None:
        """Of two classes, the probability of the second from which on it is chosen; None for more classes."""
        if len(self.target.classes) != 2:
            return None
        (right_no, false_yes), (false_no, right_yes) = self.costs
        return (false_yes - right_no) / ((false_yes - right_no) + (false_no - right_yes))

    def codes(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """The class chosen for each row; of equal costs the first, for two classes the second."""
        threshold = self.threshold
        if threshold is not None:
            return np.asarray(probabilities[:, 1] >= threshold, np.int32)
        expected = np.zeros_like(probabilities)
        for true, row in enumerate(self.costs):
            for said, cost in enumerate(row):
                expected[:, said] += probabilities[:, true] * cost
        return np.asarray(np.argmin(expected, axis=1), np.int32)

    def mean_cost(self, confusion: Sequence[Sequence[float]]) -> float:
        """The mean cost of a row, from the confusion matrix (true classes by predicted ones)."""
        counts = np.asarray(confusion, np.float64)
        return float(np.sum(counts * np.asarray(self.costs)) / np.sum(counts))


def predictions(batch: Batch, target: Target, values: npt.NDArray[np.float64], decision: Decision | None) -> Batch:
    """The rows with the columns of a prediction, from probabilities or values; see `probabilities_of`."""
    fields = target.prediction_fields
    if target.task == "regression":
        columns: list[pa.Array] = [pa.array(values[:, 0])]
    else:
        codes = np.argmax(values, axis=1).astype(np.int32) if decision is None else decision.codes(values)
        labels = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(target.classes, pa.string()))
        columns = [labels, *(pa.array(np.ascontiguousarray(column)) for column in values.T)]
    return batch.with_columns(pa.RecordBatch.from_arrays(columns, names=[field.name for field in fields]))
