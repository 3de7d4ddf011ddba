"""The contract of what is learned from batches: update, merge, value.

Fitting, profiling, evaluating and drift are all folds of statistics. Implementations live in `statistics/`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa

from penstock.batch import Batch

V = TypeVar("V")


class Statistic(ABC, Generic[V]):
    """A mergeable summary of some columns, in memory that does not grow with the rows.

    A new object is empty, and an empty one is the identity of `merge`. Laws, checked by
    `penstock.testing.check_statistic` on every implementation:

    - Integer states: any grouping of the same blocks gives the same bytes. Float states: the same blocks in the
      same order do, and any grouping agrees to a relative 1e-12.
    - ``from_state(state())`` has the same value, and goes on as the original would.
    - `value` changes nothing and may be called at any time.
    - Nulls are never values: they are counted apart, or skipped.
    """

    kind: str = ""
    """The name under which the registry finds the class."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""

    @abstractmethod
    def parameters(self) -> Mapping[str, Any]:
        """The arguments that make an equal empty statistic, as JSON values: ``type(self)(**parameters())``."""

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Take in the rows of one batch."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in another's state, as though its batches came after this one's; ``other`` is left as it was."""

    @abstractmethod
    def value(self) -> V:
        """The result for what was taken in so far."""

    @abstractmethod
    def state(self) -> pa.Table:
        """The raw state as an Arrow table, of a schema that does not depend on the data."""

    @abstractmethod
    def load(self, state: pa.Table) -> None:
        """Replace the state by one that `state` gave."""

    @property
    def definition(self) -> str:
        """What is computed, as text: statistics of equal definition share one state."""
        return json.dumps([self.kind, self.parameters()], sort_keys=True, ensure_ascii=False)

    @property
    def nbytes(self) -> int:
        """About what the state holds in memory [bytes]."""
        return int(self.state().nbytes)

    def empty(self) -> Self:
        """A new one of the same definition."""
        return type(self)(**self.parameters())

    def from_state(self, state: pa.Table) -> Self:
        """A new one of the same definition with this state."""
        new = self.empty()
        new.load(state)
        return new

    def with_nulls_as(self, value: Any) -> Self | None:
        """What this statistic would be had every null been ``value``; None where that can't be told from the state.

        It lets a fit save a scan: what follows the imputation of a constant is known without reading again.
        """
        return None
