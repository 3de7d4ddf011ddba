"""Train: fit the steps, lay the encoded rows down, learn, and judge the result on rows that nothing has seen."""

from __future__ import annotations

import difflib
import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock import artifact
from penstock.artifact import Saved
from penstock.config import PipelineConfig, dump_config
from penstock.durable import replace_folder
from penstock.engine import Engine, Listener, Transform
from penstock.errors import DataError, ResourceError, SchemaError, UsageError
from penstock.fitting import Fit, fit_steps
from penstock.inference import infer_task
from penstock.jobs.evaluate import evaluate
from penstock.jobs.predict import require
from penstock.keeping import KeptSource
from penstock.materialize import lay_down
from penstock.model import Model, Target
from penstock.resources import held, show_bytes
from penstock.run import Run, digest_of, inputs_of
from penstock.schema import Role, Schema
from penstock.sink import Receipt, ledger
from penstock.source import Note, Source
from penstock.statistics.count import Count as RowCount
from penstock.statistics.frequencies import Frequencies
from penstock.step import Use
from penstock.summary import Evaluation, total
from penstock.target import HASH, LABEL, Labelled, Portion, Then, salted

_MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        saved: the fitted pipeline, ready to be saved.
        receipts: the ledger of every row of the training data.
        evaluation: on held-out or test rows; None where there are none.
        timings: what each part took, and the figures of each pass: of this training, never part of what it gave.
    """

    saved: Saved
    receipts: tuple[Receipt, ...]
    evaluation: Evaluation | None
    timings: dict[str, Any]


def train(
    source: Source,
    config: PipelineConfig,
    *,
    engine: Engine,
    listener: Listener,
    folder: Path,
    rejected: Path,
    test: Source | None = None,
    max_rejected: float | None = None,
) -> Trained:
    """Fit ``config`` to a source.

    Args:
        source: the training rows.
        config: steps, model, target, seed, share of rows held out.
        engine: what scans the data.
        listener: who is told what was decided.
        folder: where encoded rows are laid down for the model.
        rejected: where the rejected rows are written.
        test: rows to judge the model on; where there are none, the held-out rows are.
        max_rejected: the share of rows above which a pass is stopped.

    Raises:
        UsageError: the definition lacks a model or a target.
        DataError: there is nothing to learn from.
        ResourceError: the model can't be trained in the memory given.
    """
    model, column = _definition(config)
    clock = _Clock()
    base = held()
    _refuse_missing_target(source, column)
    if test is not None:
        require(test.schema, (column,), "the target, to judge the model on the test rows")
    source = KeptSource(source.with_roles({column: Role.target}), engine.resources.memory)
    task, reason = _task_of(source, column)
    listener.said(Note("task", task, reason, "roles: {" + column + ": category} or {" + column + ": number}"))
    rows = _training_rows(config, column, model)
    extra = (RowCount(column), *(() if task == "regression" else (Frequencies(column),)))
    fit = fit_steps(
        config.steps,
        source,
        engine,
        listener,
        extend=model.steps,
        rows=Then(rows),
        row_columns=(column,),
        extra=extra,
        max_rejected=max_rejected,
        places=config.places,
        protected=(column,),
    )
    clock.lap("fit")
    target = Target(column, task, _classes(fit, column))
    features = _features(fit, column)
    _say_scans(listener, fit)
    expected = fit.extra[0].value().rows
    _refuse_what_cannot_fit(model, expected, features, target, engine.resources.memory - base)
    chain = fit.steps.chain(Use("train", config.seed), (*features.names, column))
    data, receipts = lay_down(
        source,
        tuple(dict.fromkeys((*chain.inputs, column))),
        Then((*rows, *_sample(config, model, expected, listener), chain)),
        features,
        target,
        seed=config.seed,
        engine=engine,
        listener=listener,
        folder=folder,
        rejected=rejected,
        max_rejected=max_rejected,
    )
    source.forget()
    clock.lap("encode")
    fitted = model.train(data)
    clock.lap("train")
    facts: dict[str, Any] = {
        "rows": data.rows,
        "scans": fit.steps.scans,
        "ledger": {
            "total": total(ledger(receipts)).to_json(),
            "steps": [count.to_json() for count in ledger(receipts)],
        },
        "inputs": inputs_of(source.fingerprints()),
        "model": dict(fitted.summary),
    }
    saved = Saved(config, fit.steps, target, fitted, facts)
    evaluation = _judge(saved, source, test, engine=engine, config=config, listener=listener)
    clock.lap("evaluate")
    if evaluation is not None:
        facts["evaluation"] = {
            "on": "test data" if test is not None else f"{config.holdout:.0%} of the rows, held out",
            **{name: value for name, value in evaluation.to_json().items() if name != "seconds"},
        }
    timings = {
        "passes": [figures.to_json() for figures in engine.passes],
        "seconds": {name: round(value, 3) for name, value in clock.laps.items()},
    }
    return Trained(replace(saved, facts=facts), receipts, evaluation, timings)


def train_to(
    source: Source,
    config: PipelineConfig,
    *,
    to: Path,
    engine: Engine,
    listener: Listener,
    test: Source | None = None,
    max_rejected: float | None = None,
    restart: bool = False,
) -> tuple[Saved, Run]:
    """`train`, as a run: the artifact at ``to``, the ledger and the rejected rows in the run's folder beside it.

    The same command on a finished run opens what is there. A training that was stopped begins anew.

    Raises:
        RunError: what is at ``to`` belongs to another job.
    """
    identity = {
        "command": "train",
        "config": dump_config(config),
        "reading": digest_of([source.reading, source.schema.to_json()]),
        "inputs": inputs_of(source.fingerprints()),
        "test": inputs_of(test.fingerprints()) if test else [],
    }
    with Run(to, identity, engine.resources, restart=restart, replaceable=artifact.is_artifact(to)) as run:
        if run.committed:
            return artifact.load(run.destination), run
        timings: dict[str, Any] = {}
        if not run.committing:
            work = run.folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(run.parts, ignore_errors=True)
            trained = train(
                source,
                config,
                engine=engine,
                listener=listener,
                folder=work,
                rejected=run.rejected,
                test=test,
                max_rejected=max_rejected,
            )
            artifact.save(trained.saved, run.parts)
            run.adopt(trained.receipts)
            shutil.rmtree(work)
            timings = trained.timings
        run.commit(lambda: replace_folder(run.parts, run.destination), {"command": "train", **timings})
        return artifact.load(run.destination), run


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now


def _definition(config: PipelineConfig) -> tuple[Model, str]:
    if config.model is None:
        raise UsageError("no model to train", expected="a model", remedy="name one: model: boosted, or --model boosted")
    if config.target is None:
        raise UsageError("no target to learn", expected="a target column", remedy="--target COLUMN, or target: COLUMN")
    return config.model, config.target


def _refuse_missing_target(source: Source, column: str) -> None:
    taken = {LABEL, HASH} & set(source.schema.names)
    if taken:
        raise SchemaError("a column has a name that is taken", got=repr(taken.pop()), remedy="rename it in the data")
    if column in source.schema:
        return
    near = difflib.get_close_matches(column, source.schema.names, n=1)
    raise SchemaError(
        "the target is none of the columns",
        where="--target",
        expected="one of " + ", ".join(map(repr, source.schema.names)),
        got=repr(column),
        remedy=f"did you mean {near[0]!r}?" if near else "name a column of the data",
    )


def _task_of(source: Source, column: str) -> tuple[Any, str]:
    values: list[Any] = []
    rows = 0
    for chunk in source.chunks():
        for batch in source.read(chunk, (column,)):
            array = batch.column(column)
            rows += len(array)
            values += array.unique().drop_null().to_pylist()
        if rows >= 100_000 or len(set(values)) > _MOST_CLASSES:
            break
    if not rows:
        raise DataError("there are no rows to learn from", expected="at least two rows", got="none that could be read")
    return infer_task(source.schema[column], sorted(set(values)), rows)


def _training_rows(config: PipelineConfig, column: str, model: Model) -> tuple[Transform, ...]:
    rows: list[Transform] = [Labelled(column)]
    if config.holdout:
        rows.append(Portion("holdout", salted(config.seed, "holdout"), config.holdout, 1.0))
    return tuple(rows)


def _classes(fit: Fit, column: str) -> tuple[str, ...]:
    if len(fit.extra) < 2:
        return ()
    value = fit.extra[1].value()
    if value.distinct > _MOST_CLASSES:
        raise DataError(
            f"the target {column!r} has {value.distinct:,} classes",
            expected=f"at most {_MOST_CLASSES:,}",
            got=", ".join(repr(label) for label, _ in value.top(5)) + ", ...",
            remedy=f"roles: {{{column}: number}} if it is a number, or group its classes",
        )
    if value.distinct < 2:
        raise DataError(
            f"the target {column!r} has one class",
            expected="two or more",
            got=", ".join(f"{label!r} in {count:,} rows" for label, count in value.top(1)) or "no row with a value",
            remedy="choose another target, or more data",
        )
    labels = [str(label) for label in value.table().column("value").to_pylist()]
    return tuple(sorted(labels, key=_label_order))


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)


def _features(fit: Fit, column: str) -> Schema:
    schema = fit.steps.schema
    names = [name for name in schema.features if name != column]
    usable = [
        name for name in names if pa.types.is_floating(schema[name].type) or pa.types.is_integer(schema[name].type)
    ]
    if not usable:
        raise DataError(
            "no column is left to learn from",
            expected="at least one feature",
            got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
            remedy="give a column a role that can be learned from: roles: {NAME: category}",
        )
    return schema.select(usable)


def _sample(config: PipelineConfig, model: Model, rows: int, listener: Listener) -> tuple[Transform, ...]:
    most = getattr(model, "max_rows", None)
    if not most or rows <= most:
        return ()
    # The hash draws each row by itself: four deviations below the bound, it is as good as never passed.
    share = max(1.0, most - 4 * most**0.5) / rows
    text = f"about {share:.2%} of the {rows:,} rows, at most {most:,}, drawn by the hash of the row key"
    listener.said(Note("sample", text, "max_rows is set", "--max-rows"))
    return (Portion("sample", salted(config.seed, "sample"), 0.0, share),)


def _say_scans(listener: Listener, fit: Fit) -> None:
    count = fit.steps.scans
    listener.said(
        Note(
            "scans",
            f"the steps were fitted in {count} scan{'' if count == 1 else 's'} of the data",
            "as many as their statistics depend on one another" if count > 1 else "no statistic depends on another",
        )
    )


def _refuse_what_cannot_fit(model: Model, rows: int, features: Schema, target: Target, free: int) -> None:
    most = getattr(model, "max_rows", None)
    rows = min(rows, most) if most else rows
    need = model.memory_needed(rows, features, target)
    if need <= free:
        return
    fits = max(0, int(rows * free / need * 0.95))
    raise ResourceError(
        f"the model {model.name!r} can't be trained on {rows:,} rows in the memory given",
        where="--memory",
        expected=f"{show_bytes(need)} for {rows:,} rows of {len(features)} features, beyond what the process holds",
        got=show_bytes(free),
        remedy=f"{show_bytes(need - free)} more of --memory, or --max-rows {fits} to learn from a sample",
    )


def _judge(
    saved: Saved,
    source: Source,
    test: Source | None,
    *,
    engine: Engine,
    config: PipelineConfig,
    listener: Listener,
) -> Evaluation | None:
    """Judge on the test rows, or on those held out. A model is not thrown away because none of them can be judged."""
    rows: Transform | None = None
    if test is None:
        if not config.holdout:
            return None
        rows = Portion("holdout", salted(config.seed, "holdout"), 0.0, config.holdout)
    try:
        return evaluate(test or source, saved, engine=engine, max_rejected=None, rows=rows)
    except DataError as error:
        listener.said(Note("evaluation", "none: the model could not be judged", str(error)))
        return None
