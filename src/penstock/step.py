"""The contract of what is done to a batch, row by row: a step, and the same step fitted.

A step is frozen data that the user wrote. It names the statistics it needs; `fit` turns their values into a
`FittedStep`, frozen too, that maps a batch to a batch. Most steps on tables are a `TableStep`: they give
expressions, and neighbours are fused into one evaluation per batch. Implementations live in `steps/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from penstock.batch import Batch
from penstock.errors import UsageError
from penstock.schema import Schema
from penstock.statistic import Statistic

if TYPE_CHECKING:
    import polars as pl

Purpose: TypeAlias = Literal["fit", "train", "predict"]


@dataclass(frozen=True, slots=True)
class Use:
    """What a batch is transformed for. With the row keys, the only source of randomness and of differences
    between fitting and predicting."""

    purpose: Purpose = "predict"
    seed: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns a step touches: the levels of a fit, and what has to be read, follow from it.

    Attributes:
        reads: columns whose values it needs to transform. What only its statistics read (a target encoding's
            target) is named by them alone, and need not be there when rows are predicted.
        writes: columns that come out changed or new.
        removes: columns that do not come out.
        rows: whether rows may be rejected or dropped; then every column after it depends on it.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    removes: tuple[str, ...] = ()
    rows: bool = False


class Step(ABC):
    """What the user wrote: a frozen dataclass of plain values.

    Laws, checked by `penstock.testing.check_step`: fitting is deterministic and changes nothing; a fitted step's
    output has exactly the columns and types of its `schema`; rows are independent of their neighbours; every row
    is accounted for; a transform changes no state.
    """

    name: str = ""
    """The name in a pipeline file."""
    cleans: ClassVar[bool] = False
    """Whether it repairs values and leaves them what they mean: then an audit tells which cells it changed."""
    random: ClassVar[bool] = False
    """Whether it augments: in training it changes each row anew in every epoch, a function of (seed, epoch, row key);
    in a fit and in a prediction it does what is not random (a random crop takes the middle), or nothing. A training
    lays rows down as they are before the first such step; this one and those after it are applied to each batch."""

    @abstractmethod
    def touches(self, schema: Schema) -> Columns:
        """Which columns it touches, given the schema that comes in.

        Raises:
            SchemaError: it meets no column, or one of a kind that it can't work on.
        """

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """What it has to know to be fitted: empty statistics under names of its own choice."""
        return {}

    @abstractmethod
    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedStep:
        """The fitted step, from the values of its statistics (under the same names)."""

    def derives(self, statistic: Statistic[Any]) -> bool:
        """Whether `FittedStep.derive` can tell this statistic of its output from the same one of its input."""
        return False


class FittedStep(ABC):
    """A step with its values. Frozen: a transform never learns."""

    step: Step
    schema: Schema
    """The schema that comes out."""

    @property
    def mirrored(self) -> tuple[str, ...]:
        """The columns of pictures and clips that it mirrors, left to right, at random."""
        return ()

    @abstractmethod
    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with this step applied; bad rows leave through ``batch.rejected``."""

    def inverse(self, batch: Batch) -> Batch:
        """Undo the transform, for the columns that are there.

        Raises:
            UsageError: the step loses what would be needed.
        """
        raise UsageError(
            f"the step {self.step.name!r} has no inverse",
            expected="a step that keeps all information",
            remedy="leave it out of the steps to invert",
        )

    def reason(self, column: str) -> str:
        """Why it changes values of this column, for an audit; empty where the step's own description says it all."""
        return ""

    def derive(self, statistic: Statistic[Any]) -> Statistic[Any] | None:
        """A statistic of the output from the same one of the input, where `Step.derives` said so."""
        return None


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that every row has to meet (null counts as met), and what becomes of a row that does not.

    Attributes:
        predicate: a Polars expression of booleans over the step's input.
        code: short and stable, for machines.
        column: the column at fault, by its name in the step's input.
        reason: for people.
        action: "reject": the row leaves, with its reason, and is kept beside the output. "drop": it was asked for that
            such rows go, and they are only counted. "fail": the job ends with a `DataError` that names the row.
    """

    predicate: pl.Expr
    code: str
    column: str | None
    reason: str
    action: Literal["reject", "drop", "fail"] = "reject"


class TableStep(FittedStep):
    """A fitted step that is expressions over the columns of a row.

    ``inputs`` gives for each column of the incoming schema an expression of its value, so that neighbouring steps
    compose into one expression per column, evaluated once for each batch (see `penstock.fusion`).
    """

    @abstractmethod
    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Expressions of the columns it writes, by name; a column not named passes unchanged."""

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        """Conditions on the incoming rows."""
        return ()

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr] | None:
        """Expressions that give back the step's input from its output; None where it can't be undone.

        A column that is not in ``outputs`` is left out.
        """
        return None

    def transform(self, batch: Batch, use: Use) -> Batch:
        """The batch with the expressions evaluated."""
        from penstock.fusion import transform_alone

        return transform_alone(self, batch, use)

    def inverse(self, batch: Batch) -> Batch:
        """The batch with the inverse expressions evaluated."""
        from penstock.fusion import invert

        return invert(self, batch)
