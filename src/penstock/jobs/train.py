"""Train: fit the steps, lay the encoded rows down, learn, and judge the result on rows that nothing has seen."""

from __future__ import annotations

import difflib
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock import artifact
from penstock.artifact import Saved
from penstock.config import PipelineConfig, dump_config
from penstock.durable import replace_folder
from penstock.engine import Engine, Listener, Station, Task, Transform
from penstock.errors import DataError, SchemaError, UsageError
from penstock.inference import infer_task
from penstock.jobs.choose import Chosen, choose
from penstock.jobs.evaluate import evaluate
from penstock.jobs.explain import ROWS, explain
from penstock.jobs.learn import MOST_CLASSES, Learned, Learning
from penstock.jobs.predict import require
from penstock.keeping import KeptSource
from penstock.model import Auto, Model
from penstock.resources import held
from penstock.run import Run, digest_of, inputs_of
from penstock.schema import Role
from penstock.sink import Receipt, ledger
from penstock.source import Note, Source
from penstock.statistic import Statistic
from penstock.statistics.count import Count as RowCount
from penstock.statistics.histogram import Histogram
from penstock.summary import Evaluation, total
from penstock.target import HASH, LABEL, WEIGHT, Splitting

_LEAST_EXPLAINED, _MOST_EXPLAINED = 100, 8_000


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
    definition, column = _definition(config)
    clock = _Clock()
    base = held()
    _refuse_missing_columns(source, config)
    if test is not None:
        require(test.schema, (column,), "the target, to judge the model on the test rows")
    source = KeptSource(source.with_roles(roles_of(config)), engine.resources.memory)
    task, reason = _task_of(source, column)
    listener.said(Note("task", task, reason, "roles: {" + column + ": category} or {" + column + ": number}"))
    rows, splitting = _look(source, config, engine, listener, max_rejected)
    clock.lap("look")
    free = engine.resources.memory - base
    job = Learning(source, config, task, splitting, engine, listener, free, max_rejected)
    chosen = Chosen(((definition, 1.0),), ()) if isinstance(definition, Model) else None
    if isinstance(definition, Auto):
        chosen = choose(job, definition, rows, folder / "candidate")
        clock.lap("choose")
    assert chosen is not None
    learned: list[Learned] = []
    for number, (model, _) in enumerate(chosen.models):
        # Every model rejects the same rows: those that the first one's encoding met are kept.
        place = folder / f"member-{number}"
        learned.append(job.learn(model, place, place / "rejected" if number else rejected))
        shutil.rmtree(place, ignore_errors=True)
    source.forget()
    clock.lap("learn")
    members = [replace(one.member, weight=weight) for one, (_, weight) in zip(learned, chosen.models, strict=True)]
    receipts = learned[0].receipts
    facts: dict[str, Any] = {
        "rows": learned[0].rows,
        "scans": members[0].steps.scans,
        "ledger": {
            "total": total(ledger(receipts)).to_json(),
            "steps": [count.to_json() for count in ledger(receipts)],
        },
        "inputs": inputs_of(source.fingerprints()),
        "model": dict(members[0].model.summary),
    }
    if chosen.leaderboard:
        facts["leaderboard"] = list(chosen.leaderboard)
        facts["members"] = [
            {"model": member.model.name, "weight": member.weight, "summary": dict(member.model.summary)}
            for member in members
        ]
    first, *others = members
    saved = Saved(config, first.steps, learned[0].target, first.model, facts, first.weight, tuple(others))
    if saved.decision is not None:
        _say_threshold(saved, listener)
    evaluation = _judge(saved, source, test, job=job)
    clock.lap("evaluate")
    if evaluation is not None:
        facts["evaluation"] = {
            "on": "test data" if test is not None else _held_out(config),
            **{name: value for name, value in evaluation.to_json().items() if name not in ("seconds", "mistakes")},
        }
        facts["mistakes"] = evaluation.to_json()["mistakes"]
        facts["explanation"] = _explained(saved, source, test, job, evaluation.rows)
        clock.lap("explain")
    timings = {
        "passes": [figures.to_json() for figures in engine.passes],
        "seconds": {name: round(value, 3) for name, value in clock.laps.items()},
        "candidates": dict(chosen.seconds),
    }
    return Trained(replace(saved, facts=facts), receipts, evaluation, timings)


def roles_of(config: PipelineConfig) -> dict[str, Role]:
    """The roles that a definition gives to columns by naming them."""
    named = {config.target: Role.target, config.weight: Role.weight, config.group: Role.group}
    return {name: role for name, role in named.items() if name is not None}


def _look(
    source: Source, config: PipelineConfig, engine: Engine, listener: Listener, max_rejected: float | None
) -> tuple[int, Splitting]:
    """A first look at all rows: how many there are, and in which order of time."""
    assert config.target is not None
    statistics: list[Statistic[Any]] = [RowCount(config.target)]
    if config.time is not None:
        statistics.append(Histogram(config.time))
    columns = tuple(dict.fromkeys(name for statistic in statistics for name in statistic.columns))
    task = Task("look", source, columns, (Station(None, tuple(statistics)),), max_rejected=max_rejected)
    found = engine.fold(task).statistics[0]
    order = found[1].value() if config.time is not None else None
    splitting = Splitting(config.group, config.time, order)
    if config.time is not None:
        listener.said(
            Note("splits", f"by {config.time!r}: the latest rows are judged on, and never any", "time is set", "--time")
        )
    if config.group is not None:
        listener.said(
            Note("splits", f"by {config.group!r}: rows of one value stay on one side", "group is set", "--group")
        )
    return int(found[0].value().rows), splitting


def _held_out(config: PipelineConfig) -> str:
    share = f"{config.holdout:.0%} of the rows, held out"
    if config.time is not None:
        return f"the latest {share} by {config.time}"
    return share + (f" by {config.group}" if config.group is not None else "")


def _say_threshold(saved: Saved, listener: Listener) -> None:
    decision, target = saved.decision, saved.target
    assert decision is not None and target is not None
    text = "the class of the least expected cost is predicted"
    if decision.threshold is not None:
        text = f"{target.classes[1]!r} is predicted from a probability of {decision.threshold:.4g} on"
    listener.said(Note("decision", text, "costs are given", "costs"))
    if any(getattr(member.model, "class_weight", None) for member in saved.members):
        listener.said(Note("decision", "class weights move the probabilities that costs are weighed by", "", "costs"))


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


def _definition(config: PipelineConfig) -> tuple[Model | Auto, str]:
    if config.model is None:
        raise UsageError("no model to train", expected="a model", remedy="name one: model: boosted, or --model boosted")
    if config.target is None:
        raise UsageError("no target to learn", expected="a target column", remedy="--target COLUMN, or target: COLUMN")
    return config.model, config.target


def _refuse_missing_columns(source: Source, config: PipelineConfig) -> None:
    taken = {LABEL, HASH, WEIGHT} & set(source.schema.names)
    if taken:
        raise SchemaError("a column has a name that is taken", got=repr(taken.pop()), remedy="rename it in the data")
    used: dict[str, str] = {}
    for part in ("target", "weight", "group", "time"):
        column = getattr(config, part)
        if column is None:
            continue
        if column not in source.schema:
            near = difflib.get_close_matches(column, source.schema.names, n=1)
            raise SchemaError(
                f"the {part} is none of the columns",
                where=f"--{part}",
                expected="one of " + ", ".join(map(repr, source.schema.names)),
                got=repr(column),
                remedy=f"did you mean {near[0]!r}?" if near else "name a column of the data",
            )
        if column in used:
            raise UsageError(
                "a column plays two parts",
                where=f"--{part}",
                expected="another column",
                got=f"{column!r}, the {used[column]}",
            )
        used[column] = part
    if config.time is not None and source.schema[config.time].kind is not Role.time:
        raise SchemaError(
            "rows can't be put in an order of time by this column",
            where="--time",
            expected="a column of dates or times",
            got=f"{config.time!r} ({source.schema[config.time].kind.value})",
            remedy=f"roles: {{{config.time}: time}}, if its values are dates or times",
        )
    if config.weight is not None and not source.schema[config.weight].kind.is_numeric:
        raise SchemaError(
            "a weight has to be a number",
            where="--weight",
            got=f"{config.weight!r} ({source.schema[config.weight].kind.value})",
        )


def _task_of(source: Source, column: str) -> tuple[Any, str]:
    values: list[Any] = []
    rows = 0
    for chunk in source.chunks():
        for batch in source.read(chunk, (column,)):
            array = batch.column(column)
            rows += len(array)
            values += array.unique().drop_null().to_pylist()
        if rows >= 100_000 or len(set(values)) > MOST_CLASSES:
            break
    if not rows:
        raise DataError("there are no rows to learn from", expected="at least two rows", got="none that could be read")
    return infer_task(source.schema[column], sorted(set(values)), rows)


def _explained(saved: Saved, source: Source, test: Source | None, job: Learning, rows: int) -> dict[str, Any]:
    """What the model leans on, by a sample of the rows that it was judged on: fewer rows where there are more columns."""
    columns = {name for member in saved.members for name in member.steps.incoming.names}
    sample = max(_LEAST_EXPLAINED, min(ROWS, _MOST_EXPLAINED // max(len(columns), 1)))
    limits = () if test is not None else (job.portion("holdout", 0.0, job.config.holdout),)
    beside = () if test is not None else job.splitting.columns
    return explain(
        test or source, saved, engine=job.engine, rows=sample, total_rows=rows, limits=limits, row_columns=beside
    )


def _judge(saved: Saved, source: Source, test: Source | None, *, job: Learning) -> Evaluation | None:
    """Judge on the test rows, or on those held out. A model is not thrown away because none of them can be judged."""
    rows: Transform | None = None
    beside: tuple[str, ...] = ()
    if test is None:
        if not job.config.holdout:
            return None
        rows = job.portion("holdout", 0.0, job.config.holdout)
        beside = job.splitting.columns
    try:
        return evaluate(test or source, saved, engine=job.engine, max_rejected=None, rows=rows, row_columns=beside)
    except DataError as error:
        job.listener.said(Note("evaluation", "none: the model could not be judged", str(error)))
        return None
