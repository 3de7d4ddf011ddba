"""Audit: which cells the cleaning steps changed, how many, and, where it is asked for, all of them in a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.audit import CELLS, ChangedCells, Changes
from penstock.batch import Batch
from penstock.config import PipelineConfig, dump_config
from penstock.config_words import summary_of
from penstock.engine import Engine, Station, Task, Transform
from penstock.jobs.publish import absolute, publish
from penstock.masking import Masking
from penstock.pipeline import FittedSteps
from penstock.run import Run
from penstock.run_identity import inputs_of, reading_of
from penstock.sinks.parts import format_of
from penstock.source import Source
from penstock.step import FittedStep
from penstock.target import Then


def audit(
    source: Source,
    steps: FittedSteps,
    config: PipelineConfig,
    *,
    engine: Engine,
    rows: Sequence[Transform] = (),
    row_columns: Sequence[str] = (),
    to: str | Path | None = None,
    restart: bool = False,
) -> list[dict[str, Any]]:
    """What the user's cleaning steps changed.

    Args:
        source: the rows.
        steps: the fitted steps; only those of ``config`` are looked at, not the model's own encoding.
        config: the definition.
        engine: what maps and folds.
        rows: which rows count.
        row_columns: the columns that ``rows`` reads.
        to: a folder, or a file (.parquet, .csv, .arrow), for a row per changed cell: path, row, column, before,
            after, step. Long texts are cut at 2,000 characters.
        restart: replace what is at ``to``.

    Returns:
        By step and column: how many cells changed, which share of the rows that is, why, and the first examples.

    Raises:
        RunError: what is at ``to`` belongs to another job.
    """
    cells = ChangedCells(steps, min(len(config.steps), len(steps.steps)), config.seed)
    if not cells.inputs and to is None:
        return []
    masking = engine.resources.masking
    way = Then((*rows, cells) if masking is None else (*rows, cells, _Masked(masking)))
    columns = tuple(dict.fromkeys((*cells.inputs, *row_columns)))
    folded = engine.fold(Task("audit", source, columns, (Station(way, (Changes(),)),)))
    if to is not None:
        _written(source, way, columns, config, engine=engine, to=absolute(to), restart=restart)
    count = next((one for one in folded.counts if one.step == "audit"), None)
    seen = count.rows_in if count is not None else 0
    fitted = dict(zip(steps.labels, steps.steps, strict=True))
    return [
        {**one, "share": one["changed"] / seen if seen else 0.0, "reason": _reason(fitted[one["step"]], one["column"])}
        for one in folded.statistics[0][0].value()
    ]


def _reason(fitted: FittedStep, column: str) -> str:
    return fitted.reason(column) or summary_of(type(fitted.step)).rstrip(".")


@dataclass(frozen=True)
class _Masked:
    """Changed cells without the values of sensitive columns."""

    masking: Masking

    def transform(self, batch: Batch) -> Batch:
        """The same cells."""
        return batch.with_columns(self.masking.cells(batch.columns))


def reserve(source: Source, config: PipelineConfig, *, engine: Engine, to: Path, restart: bool) -> None:
    """Refuse a place that the changed cells can't be written to, before the work that the audit is of.

    Raises:
        UsageError: the name says no kind of file.
        RunError: what is there belongs to another job.
    """
    with _run(source, config, engine=engine, to=to, restart=restart):
        pass


def _run(source: Source, config: PipelineConfig, *, engine: Engine, to: Path, restart: bool) -> Run:
    format_of(to)
    identity = {
        "command": "audit",
        "config": dump_config(config),
        "reading": reading_of(source),
        "inputs": inputs_of(source.fingerprints()),
    }
    return Run(to, identity, engine.resources, restart=restart)


def _written(
    source: Source,
    way: Transform,
    columns: Sequence[str],
    config: PipelineConfig,
    *,
    engine: Engine,
    to: Path,
    restart: bool,
) -> None:
    with _run(source, config, engine=engine, to=to, restart=restart) as run:
        if run.committed:
            return
        publish(
            run,
            source,
            way,
            command="audit",
            columns=columns,
            schema=CELLS,
            engine=engine,
            max_rejected=None,
            began=time.monotonic(),
        )
