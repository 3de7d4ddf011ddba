"""Suggest: the pipeline that is used where the user wrote none, with the reason for each part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from penstock.cleaning import default_steps
from penstock.config import PipelineConfig
from penstock.jobs.learn import task_of
from penstock.jobs.train import refuse_missing_columns, roles_of
from penstock.model import Auto
from penstock.source import Source


@dataclass(frozen=True)
class Suggestion:
    """A definition, and why it is so.

    Attributes:
        config: the definition.
        reasons: by key of a pipeline file.
        step_reasons: one for each step.
    """

    config: PipelineConfig
    reasons: Mapping[str, str]
    step_reasons: tuple[str, ...]


def suggest(source: Source, config: PipelineConfig) -> Suggestion:
    """Fill in what a definition leaves open: the cleaning of these columns, and the choice among models.

    Args:
        source: the data; only a part of it is read.
        config: what is decided already; its steps and its model are kept, where there are any.

    Raises:
        SchemaError: the target is none of the columns.
        DataError: there is nothing to learn from.
    """
    reasons: dict[str, str] = {}
    if config.target is not None:
        refuse_missing_columns(source, config)
        source = source.with_roles(roles_of(config))
        task, reason = task_of(source, config.target)
        reasons["target"] = f"{task}, {reason}"
    if config.model is None and config.target is not None:
        config = replace(config, model=Auto())
        reasons["model"] = "none was named"
    if config.steps:
        return Suggestion(config, reasons, ("",) * len(config.steps))
    found = default_steps(source.schema)
    steps = tuple(step for step, _ in found)
    return Suggestion(replace(config, steps=steps), reasons, tuple(reason for _, reason in found))
