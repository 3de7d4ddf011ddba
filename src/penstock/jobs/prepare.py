"""Prepare: fit the steps, and write the rows as they come out of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from penstock import artifact
from penstock.config import PipelineConfig, dump_config
from penstock.engine import Engine, Listener
from penstock.fitting import fit_steps
from penstock.jobs.audit import audit, reserve
from penstock.jobs.publish import absolute, publish, summary_of
from penstock.keeping import KeptSource
from penstock.pipeline import FittedSteps
from penstock.relational import related
from penstock.run import Run, digest_of, inputs_of
from penstock.schema import Role
from penstock.sinks.parts import format_of
from penstock.source import Source
from penstock.step import Use
from penstock.summary import Summary


def prepare(
    source: Source,
    config: PipelineConfig,
    *,
    to: str | Path,
    engine: Engine,
    listener: Listener,
    max_rejected: float | None,
    restart: bool = False,
    audit_to: Path | None = None,
) -> Summary:
    """Fit the steps of ``config`` to a source, and write its rows through them; every changed cell to ``audit_to``.

    The fitted steps are kept in the run's folder (``fitted``): a job that goes on does not fit again.

    Raises:
        SchemaError: a step meets no column.
        TooManyRejected: more rows were rejected than allowed; nothing was published.
        RunError: the output belongs to another job.
    """
    began = time.monotonic()
    format_of(absolute(to))
    source = related(source, config.data)
    if config.target is not None and config.target in source.schema:
        source = source.with_roles({config.target: Role.target})
    identity = {
        "command": "prepare",
        "config": dump_config(config),
        "reading": digest_of([source.reading, source.schema.to_json()]),
        "inputs": inputs_of(source.fingerprints()),
    }
    with Run(absolute(to), identity, engine.resources, restart=restart) as run:
        if run.committed:
            return summary_of(run, "prepare", 0.0, already=True)
        relations = run.folder / "relations"
        source = KeptSource(source.laid_down(relations, engine.resources, listener), engine.resources.memory)
        if audit_to is not None:
            reserve(source, config, engine=engine, to=audit_to, restart=restart)
        fitted = _fitted(run, source, config, engine=engine, listener=listener, max_rejected=max_rejected)
        chain = fitted.chain(Use("train", config.seed))
        if audit_to is not None:
            audit(source, fitted, config, engine=engine, to=audit_to, restart=restart)
        done = publish(
            run,
            source,
            chain,
            command="prepare",
            columns=chain.inputs,
            schema=fitted.schema,
            engine=engine,
            max_rejected=max_rejected,
            began=began,
        )
        shutil.rmtree(relations, ignore_errors=True)
        return done


def _fitted(
    run: Run,
    source: Source,
    config: PipelineConfig,
    *,
    engine: Engine,
    listener: Listener,
    max_rejected: float | None,
) -> FittedSteps:
    folder = run.folder / "fitted"
    if artifact.is_artifact(folder):
        return artifact.load(folder).steps
    fit = fit_steps(config.steps, source, engine, listener, max_rejected=max_rejected, places=config.places)
    artifact.save(artifact.Saved(config, fit.steps), folder)
    return fit.steps
