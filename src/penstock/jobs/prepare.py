"""Prepare: fit the steps, and write the rows as they come out of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from penstock import artifact
from penstock.config import PipelineConfig, dump_config
from penstock.engine import Engine, Listener
from penstock.errors import UsageError
from penstock.fitting import fit_steps
from penstock.jobs.as_before import AsBefore
from penstock.jobs.audit import audit, reserve
from penstock.jobs.publish import absolute, asked_of, limited, publish, summary_of
from penstock.keeping import KeptSource
from penstock.pipeline import FittedSteps
from penstock.relational import related
from penstock.run import Run
from penstock.run_identity import inputs_of, reading_of
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
    new_only: bool = False,
) -> Summary:
    """Fit the steps of ``config`` to a source, and write its rows through them; every changed cell to ``audit_to``.

    The fitted steps are kept in the run's folder (``fitted``): a job that goes on does not fit again, and files that
    came in since (``new_only``) go through the steps as they were fitted at first.

    Raises:
        UsageError: an audit of a further generation is asked for.
        SchemaError: a step meets no column.
        TooManyRejected: more rows were rejected than allowed; nothing was published.
        RunError: the output belongs to another job.
    """
    began = time.monotonic()
    format_of(absolute(to))
    source = related(source, config.data)
    fitted_before = absolute(to).with_name(absolute(to).name + ".run") / "fitted"
    if new_only and artifact.is_artifact(fitted_before):
        before = artifact.load(fitted_before).steps.incoming
        source = AsBefore.with_columns(source.like(before), before)
    if new_only and audit_to is not None:
        raise UsageError(
            "an audit is of a whole run", where="--audit", got="--new-only", remedy="leave one of them out"
        )
    target = config.target
    if target is not None and target in source.schema and source.schema[target].role is not Role.target:
        source = source.with_roles({target: Role.target})
    identity = {
        "command": "prepare",
        "config": dump_config(config),
        "reading": reading_of(source),
        "inputs": inputs_of(source.fingerprints()),
    }
    if new_only:
        source.only(())  # what can't be taken file by file is refused before anything is begun
    asked = asked_of("prepare", source, engine.resources, config=dump_config(config), max_rejected=max_rejected)
    with Run(absolute(to), identity, engine.resources, restart=restart, new_only=new_only, asked=asked) as run:
        source = limited(run, source, listener)
        if run.committed:
            return summary_of(run, "prepare", 0.0, already=True)
        relations = run.folder / "relations"
        source = KeptSource(source.laid_down(relations, engine.resources, listener), engine.resources.memory)
        if audit_to is not None:
            reserve(source, config, engine=engine, to=audit_to, restart=restart)
        engine.keep_in = run.folder / "scans"
        fitted = _fitted(run, source, config, engine=engine, listener=listener, max_rejected=max_rejected)
        engine.keep_in = None
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
    shutil.rmtree(run.folder / "scans", ignore_errors=True)
    return fit.steps
