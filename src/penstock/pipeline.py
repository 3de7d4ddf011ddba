"""Fitted steps in a row, with the states they were fitted from: what maps, and what an artifact keeps.

`fitting.py` makes them from data, `artifact.py` from a folder; `fusion.py` makes them fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penstock.batch import Batch
from penstock.fusion import Chain, column, roots_of
from penstock.schema import Schema
from penstock.statistic import Statistic
from penstock.step import FittedStep, Step, TableStep, Use


@dataclass(frozen=True)
class Base:
    """The same statistic of all rows, where a step's own is not simply that.

    Attributes:
        through: the place of the step before whose transform it was collected: what the step's own was derived from.
            The step's own place, where its own was left as it was when a fit went on with more rows.
        statistic: of the values as they come into that step.
    """

    through: int
    statistic: Statistic[Any]


@dataclass(frozen=True)
class FittedSteps:
    """Fitted steps in a row, and the states they were fitted from.

    Attributes:
        incoming: the schema of the batches that go in.
        labels: the name of each step in the ledger: its own, numbered where it occurs twice.
        steps: the fitted steps.
        states: for each step, the statistics it was fitted from, under its own names.
        scans: how many scans the fit took.
        bases: for each step, what is beside those of its statistics that were derived, or left as they were, by name.
    """

    incoming: Schema
    labels: tuple[str, ...]
    steps: tuple[FittedStep, ...]
    states: tuple[Mapping[str, Statistic[Any]], ...]
    scans: int = 0
    bases: tuple[Mapping[str, Base], ...] = ()

    @property
    def schema(self) -> Schema:
        """The schema of the batches that come out."""
        return self.steps[-1].schema if self.steps else self.incoming

    @cached_property
    def origins(self) -> Mapping[str, tuple[str, ...]]:
        """For each column that comes out, the columns of the data that it is made of."""
        known: dict[str, tuple[str, ...]] = {name: (name,) for name in self.incoming.names}
        schema = self.incoming
        for fitted in self.steps:
            made = {
                name: tuple(dict.fromkeys(origin for root in roots for origin in known.get(root, (root,))))
                for name, roots in _roots(fitted, schema).items()
            }
            schema = fitted.schema
            known = {name: made.get(name, known.get(name, (name,))) for name in schema.names}
        return known

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
    steps: Sequence[Step],
    incoming: Schema,
    states: Sequence[Mapping[str, Statistic[Any]]],
    scans: int = 0,
    bases: Sequence[Mapping[str, Base]] = (),
) -> FittedSteps:
    """Fit steps from states that are there already: after a fit's scans, and when an artifact is opened."""
    schema = incoming
    fitted = []
    for step, state in zip(steps, states, strict=True):
        one = step.fit(schema, {name: statistic.value() for name, statistic in state.items()})
        fitted.append(one)
        schema = one.schema
    return FittedSteps(incoming, labels_of(steps), tuple(fitted), tuple(states), scans, tuple(bases))


def _roots(fitted: FittedStep, schema: Schema) -> dict[str, tuple[str, ...]]:
    """For each column that a step writes, the columns of its input that the values come from."""
    if isinstance(fitted, TableStep):
        written = fitted.expressions({name: column(name) for name in schema.names}, Use())
        return {name: tuple(roots_of(expression)) for name, expression in written.items()}
    touched = fitted.step.touches(schema)
    found = {}
    for name in touched.writes:
        # Of several columns that are read, a new one is made of the one that its name begins with.
        begun = [read for read in touched.reads if name.startswith(read)]
        found[name] = (name,) if name in touched.reads else tuple(sorted(begun, key=len)[-1:]) or touched.reads
    return found
