"""Fitted steps in a row, with the states they were fitted from: what maps, and what an artifact keeps.

`fitting.py` makes them from data, `artifact.py` from a folder; `fusion.py` makes them fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.batch import Batch
from penstock.fusion import Chain
from penstock.schema import Schema
from penstock.statistic import Statistic
from penstock.step import FittedStep, Step, Use


@dataclass(frozen=True)
class FittedSteps:
    """Fitted steps in a row, and the states they were fitted from.

    Attributes:
        incoming: the schema of the batches that go in.
        labels: the name of each step in the ledger: its own, numbered where it occurs twice.
        steps: the fitted steps.
        states: for each step, the statistics it was fitted from, under its own names.
        scans: how many scans the fit took.
    """

    incoming: Schema
    labels: tuple[str, ...]
    steps: tuple[FittedStep, ...]
    states: tuple[Mapping[str, Statistic[Any]], ...]
    scans: int = 0

    @property
    def schema(self) -> Schema:
        """The schema of the batches that come out."""
        return self.steps[-1].schema if self.steps else self.incoming

    def chain(self, use: Use, outputs: Sequence[str] | None = None) -> Chain:
        """The steps made ready to run, for these columns at the end (None for all)."""
        return Chain(list(zip(self.labels, self.steps, strict=True)), self.incoming, use, outputs)

    def inverse(self, batch: Batch) -> Batch:
        """Undo the steps, the last first, for the columns that are there.

        Raises:
            UsageError: a step has no inverse.
        """
        for step in reversed(self.steps):
            batch = step.inverse(batch)
        return batch


def labels_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """A distinct name for each step: its own, with a number from the second on."""
    met: dict[str, int] = {}
    labels = []
    for step in steps:
        met[step.name] = met.get(step.name, 0) + 1
        labels.append(step.name if met[step.name] == 1 else f"{step.name} {met[step.name]}")
    return tuple(labels)


def refit(
    steps: Sequence[Step], incoming: Schema, states: Sequence[Mapping[str, Statistic[Any]]], scans: int = 0
) -> FittedSteps:
    """Fit steps from states that are there already: after a fit's scans, and when an artifact is opened."""
    schema = incoming
    fitted = []
    for step, state in zip(steps, states, strict=True):
        one = step.fit(schema, {name: statistic.value() for name, statistic in state.items()})
        fitted.append(one)
        schema = one.schema
    return FittedSteps(incoming, labels_of(steps), tuple(fitted), tuple(states), scans)
