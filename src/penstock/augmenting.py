"""What of a fitted pipeline is done once, and what is done to each batch of each epoch: the augmentations.

Part of the pipeline's machinery, beside `pipeline.py`: a training lays rows down as they are before the first step that
augments; that step and those after it are run on every batch (see `penstock.materialize`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from penstock.batch import Batch, record_batch
from penstock.engine import Transform
from penstock.errors import UsageError
from penstock.fusion import Chain
from penstock.pipeline import FittedSteps
from penstock.schema import Schema
from penstock.step import FittedStep, Use
from penstock.target import those_left


@dataclass(frozen=True)
class Late:
    """The fitted steps from the first augmentation on: done to each batch of an epoch, not once.

    Attributes:
        labels: their names in the ledger.
        steps: the fitted steps.
        incoming: the schema that comes into the first of them.
        outputs: the features that they make: tensors.
        inputs: the columns that these are made of: tensors too.
    """

    labels: tuple[str, ...]
    steps: tuple[FittedStep, ...]
    incoming: Schema
    outputs: tuple[str, ...]

    def chain(self, use: Use) -> Chain:
        """The steps made ready to run."""
        return Chain(list(zip(self.labels, self.steps, strict=True)), self.incoming, use, self.outputs)

    @property
    def mirrored(self) -> tuple[str, ...]:
        """Those of the features that are mirrored, left to right, at random."""
        found = {name for one in self.steps for name in one.mirrored}
        return tuple(name for name in self.outputs if name in found)

    def after(self, batch: Batch, use: Use) -> Batch:
        """The columns after the last augmentation: what is done to them then is nothing that a person would see."""
        last = max(place for place, one in enumerate(self.steps) if one.step.random) + 1
        outputs = [name for name in self.outputs if name in self.steps[last - 1].schema]
        return Chain(list(zip(self.labels[:last], self.steps, strict=False)), self.incoming, use, outputs).transform(
            batch
        )

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns that come in."""
        return self.chain(Use()).inputs


def late_part(steps: FittedSteps, features: Schema) -> tuple[int, Late | None]:
    """Where the first augmentation stands among the steps, and what it and the steps after it make of the features.

    Raises:
        UsageError: a step after it mixes what is augmented with other columns, or drops rows.
    """
    first = next((place for place, one in enumerate(steps.steps) if one.step.random), None)
    if first is None:
        return len(steps.steps), None
    incoming = steps.steps[first - 1].schema if first else steps.incoming
    written: set[str] = set()
    schema = incoming
    for one in steps.steps[first:]:
        touched = one.step.touches(schema)
        if one.step.random or written & set(touched.reads):
            written |= set(touched.writes)
        schema = one.schema
    outputs = tuple(name for name in features.names if name in written)
    if not outputs:
        return len(steps.steps), None
    late = Late(steps.labels[first:], steps.steps[first:], incoming, outputs)
    mixed = [name for name in late.inputs if incoming[name].shape is None]
    if mixed:
        raise UsageError(
            "a step after an augmentation reads columns that are not augmented",
            where=f"steps after {steps.labels[first]!r}",
            expected="steps on pictures and clips alone",
            got=", ".join(map(repr, mixed)),
            remedy="put the steps on other columns before the augmentation",
        )
    return first, late


@dataclass(frozen=True)
class BeforeLate(Transform):
    """What is laid down for a training that augments: the augmented columns as they are before, the others at the end.

    Attributes:
        head: the steps before the first augmentation.
        rest: the steps from there on, for the columns that are not augmented; None where there are none.
        early: the columns that are augmented later.
    """

    head: Chain
    rest: Chain | None
    early: tuple[str, ...]

    @classmethod
    def of(cls, steps: FittedSteps, first: int, late: Late, features: Schema, use: Use) -> BeforeLate:
        """For steps whose ``first``-th is the first augmentation."""
        others = features.without(late.outputs).names
        tail = list(zip(late.labels, late.steps, strict=True))
        rest = Chain(tail, late.incoming, use, others) if others else None
        needed = tuple(dict.fromkeys((*late.inputs, *(rest.inputs if rest is not None else ()))))
        before = list(zip(steps.labels[:first], steps.steps[:first], strict=True))
        return cls(Chain(before, steps.incoming, use, needed), rest, late.inputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that have to be read."""
        return self.head.inputs

    def transform(self, batch: Batch) -> Batch:
        """The columns to lay down."""
        head = self.head.transform(batch)
        if self.rest is None:
            return head.select(self.early)
        after = self.rest.transform(head.select(self.rest.inputs))
        kept = those_left(head, after)
        names = tuple(name for name in self.early if name not in after.columns.schema.names)
        columns = [*after.columns.columns, *(kept.column(name) for name in names)]
        return after.with_columns(record_batch(columns, [*after.columns.schema.names, *names], len(after)))
