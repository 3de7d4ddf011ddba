"""What a job has to say at its end: values that print as text, as a table, or as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.batch import Count


def total(counts: tuple[Count, ...]) -> Count:
    """The ledger of a job as a whole, from those of its steps."""
    return Count(
        "total",
        rows_in=counts[0].rows_in if counts else 0,
        made=sum(count.made for count in counts),
        out=counts[-1].out if counts else 0,
        rejected=sum(count.rejected for count in counts),
        dropped=sum(count.dropped for count in counts),
    )


@dataclass(frozen=True)
class Summary:
    """Of a job that writes rows.

    Attributes:
        command: the job's verb.
        output: the folder or file that was made.
        run: the run's folder beside it: manifest and rejected rows.
        rows: rows written.
        counts: the ledger, step by step.
        seconds: what the job took [s].
        nbytes: the size of what was written [bytes].
        already_done: whether an earlier run of the same job had finished it.
        resumed: chunks that an earlier try had done.
    """

    command: str
    output: Path
    run: Path
    rows: int
    counts: tuple[Count, ...]
    seconds: float
    nbytes: int
    already_done: bool = False
    resumed: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "command": self.command,
            "output": str(self.output),
            "run": str(self.run),
            "rows": self.rows,
            "ledger": {
                "total": total(self.counts).to_json(),
                "steps": [count.to_json() for count in self.counts],
            },
            "seconds": round(self.seconds, 3),
            "bytes": self.nbytes,
            "already_done": self.already_done,
            "resumed_chunks": self.resumed,
        }


@dataclass(frozen=True)
class Evaluation:
    """Of a model on labelled rows.

    Attributes:
        rows: rows that the metrics are of.
        rejected: rows that could not be judged.
        metrics: by scikit-learn's names.
        counts: the ledger, step by step.
        seconds: what it took [s].
        details: intervals of the metrics; the confusion matrix, classes and curves, where there are any; slices and
            the worst rows, where they were asked for.
    """

    rows: int
    rejected: int
    metrics: Mapping[str, float]
    counts: tuple[Count, ...] = ()
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; a metric that is undefined is null."""
        return {
            "rows": self.rows,
            "rejected": self.rejected,
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            **{name: _plain(value) for name, value in self.details.items()},
            "ledger": {
                "total": total(self.counts).to_json(),
                "steps": [count.to_json() for count in self.counts],
            },
            "seconds": round(self.seconds, 3),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
