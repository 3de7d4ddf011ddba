"""What models ask of the machine before they learn, and what they tell while they do."""

from __future__ import annotations

import time

from penstock.engine import Figures, Listener
from penstock.errors import ResourceError
from penstock.model import Model, TrainingData
from penstock.resources import held, show_bytes, size_to_ask


def refuse_beyond_memory(model: Model, data: TrainingData) -> None:
    """Refuse a training that needs more than is left of the memory given, before it starts.

    Raises:
        ResourceError: says the need, what is there, and how many rows would fit.
    """
    needed = model.memory_needed(data.rows, data.schema, data.target)
    process = held()
    left = data.resources.memory - process
    if needed <= left:
        return
    fits = _rows_that_fit(model, data, left)
    raise ResourceError(
        f"training {model.name!r} on {data.rows:,} rows of {len(data.schema):,} features does not fit in memory",
        expected=f"{show_bytes(max(left, 0))} or less"
        f" (--memory {show_bytes(data.resources.memory)}, of which the process holds {show_bytes(process)} already)",
        got=f"a need of about {show_bytes(needed)}",
        remedy=f"--max-rows {fits} trains on a sample that fits; --memory {size_to_ask(needed + process)} on all rows"
        if fits
        else f"give it --memory {size_to_ask(needed + process)}, or fewer features",
    )


def _rows_that_fit(model: Model, data: TrainingData, memory: int) -> int:
    """The most rows whose training fits, in two leading digits; 0 where none do."""
    low, high = 0, data.rows
    while high - low > 1:
        middle = (low + high) // 2
        if model.memory_needed(middle, data.schema, data.target) <= memory:
            low = middle
        else:
            high = middle
    if low < 100:
        return 0
    unit: int = 10 ** (len(str(low)) - 2)
    return low // unit * unit


class Progress:
    """Tells a listener how many rows have been learned from so far, over all passes."""

    def __init__(self, listener: Listener, total_rows: int | None = None) -> None:
        self._listener = listener
        self._total = total_rows
        self._started = time.monotonic()
        self._rows = 0
        self.values: dict[str, float] = {}

    def to(self, rows: int, **values: float) -> None:
        """It stands at so many rows, and at these values of what is told of it."""
        self._rows = rows
        self.values |= values
        self._tell(finished=False)

    def finish(self) -> None:
        """There are no more."""
        self._tell(finished=True)

    def _tell(self, *, finished: bool) -> None:
        self._listener.progressed(
            Figures(
                "train, all passes",
                rows=self._rows,
                total_rows=self._total,
                held=held(),
                seconds=time.monotonic() - self._started,
                finished=finished,
                values=dict(self.values),
            )
        )
