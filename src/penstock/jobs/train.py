"""Train: fit the steps, lay the encoded rows down, learn, and judge the result on rows that nothing has seen."""

from __future__ import annotations

import difflib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock import artifact, registry
from penstock.artifact import Saved
from penstock.config import PipelineConfig, dump_config
from penstock.durable import writing
from penstock.engine import Engine, Listener, Transform, spanned, tracer_of
from penstock.errors import DataError, MissingExtra, ResourceError, SchemaError, UsageError
from penstock.jobs.audit import audit, reserve
from penstock.jobs.choose import Chosen, choose
from penstock.jobs.evaluate import evaluate
from penstock.jobs.explain import ROWS, explain
from penstock.jobs.learn import Learned, Learning, task_of
from penstock.jobs.predict import labels_remedy, require
from penstock.jobs.profile import Profile, profile
from penstock.jobs.publish import asked_of
from penstock.jobs.shown import shown
from penstock.keeping import KeptSource
from penstock.model import Auto, Model, TaskName
from penstock.relational import related
from penstock.report.document import of_folder, write_page
from penstock.resources import held
from penstock.run import Run
from penstock.run_identity import inputs_of, reading_of
from penstock.schema import Role
from penstock.sink import Receipt, ledger
from penstock.source import Note, Source
from penstock.summary import Evaluation, total
from penstock.target import HASH, LABEL, WEIGHT, Splitting

REPORT = "report.html"
MOST_WARNINGS = 8
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
    relations: Path | None = None,
    audit_to: Path | None = None,
    restart: bool = False,
    history: Path | None = None,
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
        relations: where relational work is laid down for sources that have theirs after them already; None where the
            definition's is still to be put after them.
        audit_to: where every cell that the cleaning changed is written.
        restart: whether what is at ``audit_to`` may be replaced.
        history: a folder for what networks tell of each epoch, ``history.jsonl``; None for nowhere.

    Raises:
        UsageError: the definition lacks a model or a target.
        DataError: there is nothing to learn from.
        ResourceError: the model can't be trained in the memory given.
    """
    definition = _definition(config)
    clock = Clock(listener)
    base = held()
    if relations is None:
        source = related(source, config.data)
        test = test and related(test, config.data, source.schema)
    refuse_missing_columns(source, config)
    if test is not None and config.target is not None:
        require(test.schema, (config.target,), "the target, to judge the model on the test rows")
    place = relations or folder / "relations"
    source = source.with_roles(roles_of(config)).laid_down(place / "data", engine.resources, listener)
    test = test and test.laid_down(place / "test", engine.resources, listener)
    source = KeptSource(source, engine.resources.memory)
    if audit_to is not None:
        reserve(source, config, engine=engine, to=audit_to, restart=restart)
    task = _task(source, config, definition, listener)
    seen, splitting = look(source, test, config, engine=engine, listener=listener, max_rejected=max_rejected)
    clock.lap("look")
    free = engine.resources.memory - base
    job = Learning(source, config, task, splitting, engine, listener, free, max_rejected)
    chosen = Chosen(((definition, 1.0),), ()) if isinstance(definition, Model) else None
    if isinstance(definition, Auto):
        chosen = choose(job, definition, seen.rows, folder / "candidate")
        clock.lap("choose")
    assert chosen is not None
    learned = _learn_all(job, chosen, folder, rejected, history)
    clock.lap("learn")
    facts = facts_of(source, seen, learned, chosen)
    first, *others = [
        replace(one.member, weight=weight) for one, (_, weight) in zip(learned, chosen.models, strict=True)
    ]
    saved = Saved(config, first.steps, learned[0].target, first.model, facts, first.weight, tuple(others))
    if saved.decision is not None:
        weighted = any(getattr(model, "class_weight", None) is not None for model, _ in chosen.models)
        say_threshold(saved, weighted, listener)
    cleaned = audit(
        source,
        first.steps,
        config,
        engine=engine,
        rows=job.training_rows(),
        row_columns=job.beside,
        to=audit_to,
        restart=restart,
    )
    source.forget()
    clock.lap("audit")
    evaluation = judge(saved, source, test, job=job)
    clock.lap("evaluate")
    if evaluation is not None:
        facts |= judged(evaluation, "test data" if test is not None else held_out(config))
        if config.target is not None:
            facts["explanation"] = explained(saved, source, test, job, evaluation.rows)
            clock.lap("explain")
    augmented = next((one.augmented for one in learned if one.augmented), ())
    if pictures := shown(saved, source, job, test=test, mistakes=facts.get("mistakes"), augmentations=augmented):
        facts["pictures"] = pictures
        clock.lap("pictures")
    timings = {
        "passes": [figures.to_json() for figures in engine.passes],
        "seconds": {name: round(value, 3) for name, value in clock.laps.items()},
        "candidates": dict(chosen.seconds),
    }
    return Trained(
        replace(saved, facts={**facts, **({"cleaning": cleaned} if cleaned else {})}),
        learned[0].receipts,
        evaluation,
        timings,
    )


def _learn_all(job: Learning, chosen: Chosen, folder: Path, rejected: Path, history: Path | None) -> list[Learned]:
    """Every model of the choice. All reject the same rows: those that the first one's encoding met are kept."""
    learned: list[Learned] = []
    for number, (model, _) in enumerate(chosen.models):
        place = folder / f"member-{number}"
        told = None if history is None else history / f"history{f'-{number}' if number else ''}.jsonl"
        with spanned(job.listener, f"learn {model.name}", "candidate"):
            to = place / "rejected" if number else rejected
            learned.append(job.learn(model, place, to, keep=True, history=told))
        if not model.resumes:
            shutil.rmtree(place, ignore_errors=True)
    return learned


def facts_of(source: Source, seen: Profile, learned: Sequence[Learned], chosen: Chosen) -> dict[str, Any]:
    """What a pipeline was fitted on, as JSON values."""
    counts = ledger(learned[0].receipts)
    facts: dict[str, Any] = {
        "rows": learned[0].rows,
        "scans": learned[0].member.steps.scans,
        "ledger": {"total": total(counts).to_json(), "steps": [count.to_json() for count in counts]},
        "inputs": inputs_of(source.fingerprints()).told(),
        "profile": seen.to_json(),
        "model": dict(learned[0].member.model.summary),
    }
    if chosen.leaderboard:
        facts["leaderboard"] = list(chosen.leaderboard)
        facts["members"] = [
            {"model": one.member.model.name, "weight": weight, "summary": dict(one.member.model.summary)}
            for one, (_, weight) in zip(learned, chosen.models, strict=True)
        ]
    return facts


def judged(evaluation: Evaluation, on: str) -> dict[str, Any]:
    """How well a pipeline did, as JSON values."""
    told = {name: value for name, value in evaluation.to_json().items() if name != "seconds"}
    mistakes = told.pop("mistakes", None)
    return {"evaluation": {"on": on, **told}, **({} if mistakes is None else {"mistakes": mistakes})}


def roles_of(config: PipelineConfig) -> dict[str, Role]:
    """The roles that a definition gives to columns by naming them."""
    named = {config.target: Role.target, config.weight: Role.weight, config.group: Role.group}
    return {name: role for name, role in named.items() if name is not None}


def look(
    source: Source,
    test: Source | None,
    config: PipelineConfig,
    *,
    engine: Engine,
    listener: Listener,
    max_rejected: float | None,
) -> tuple[Profile, Splitting]:
    """A first look at all rows: what they are like, how many there are, and in which order of time."""
    found = profile(
        source,
        engine=engine,
        listener=listener,
        target=config.target,
        against=test,
        on="the test rows",
        seed=config.seed,
        max_rejected=max_rejected,
    )
    for warning in found.warnings[:MOST_WARNINGS]:
        if warning["severity"] != "low":
            about = ", ".join(warning["columns"])
            listener.said(Note(f"look at {about}".rstrip(), warning["reason"], "", warning["remedy"]))
    order = found.value(config.time, "histogram") if config.time is not None else None
    splitting = Splitting(config.group, config.time, order)
    if config.time is not None:
        listener.said(
            Note("splits", f"by {config.time!r}: the latest rows are judged on, and never any", "time is set", "--time")
        )
    if config.group is not None:
        listener.said(
            Note("splits", f"by {config.group!r}: rows of one value stay on one side", "group is set", "--group")
        )
    return found, splitting


def held_out(config: PipelineConfig) -> str:
    """Which rows were held out, in words."""
    share = f"{config.holdout:.0%} of the rows, held out"
    if config.time is not None:
        return f"the latest {share} by {config.time}"
    return share + (f" by {config.group}" if config.group is not None else "")


def report_beside(run: Run, listener: Listener) -> None:
    """The page of a training, beside its record; the model is there already, and stays whatever becomes of the page."""
    to = run.folder / REPORT
    try:
        write_page(of_folder(run.destination), to)
    except (MissingExtra, ResourceError, UsageError) as error:
        listener.said(Note("report", "none", error.message, error.remedy))
    else:
        listener.said(Note("report", str(to), "what a person should see of this training", "penstock report MODEL"))


def say_threshold(saved: Saved, weighted: bool, listener: Listener) -> None:
    """Say from which probability on a class is predicted."""
    decision, target = saved.decision, saved.target
    assert decision is not None and target is not None
    text = "the class of the least expected cost is predicted"
    if decision.threshold is not None:
        text = f"{target.classes[1]!r} is predicted from a probability of {decision.threshold:.4g} on"
    listener.said(Note("decision", text, "costs are given", "costs"))
    if weighted:
        listener.said(Note("decision", "class weights move the probabilities that costs are weighed by", "", "costs"))


def _opened(run: Run, config: PipelineConfig) -> Saved:
    """What a training published, with the module of the user's, whose code no artifact holds."""
    saved = artifact.load(run.destination)
    module = getattr(config.model, "own_module", None)
    return saved if module is None else artifact.with_module(saved, module)


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
    audit_to: Path | None = None,
) -> tuple[Saved, Run]:
    """`train`, as a run: the artifact at ``to``, the ledger and the rejected rows in the run's folder beside it.

    The same command on a finished run opens what is there. Of one that was stopped it goes on: with the scan it was in,
    and where the model is a network, with the step after its last checkpoint.

    Raises:
        RunError: what is at ``to`` belongs to another job.
    """
    source = related(source, config.data)
    test = test and related(test, config.data, source.schema)
    identity = {
        "command": "train",
        "config": dump_config(config),
        "reading": reading_of(source),
        "inputs": inputs_of(source.fingerprints()),
        "test": inputs_of(test.fingerprints()) if test else [],
    }
    asked = asked_of(
        "train",
        source,
        engine.resources,
        test=test.origin.to_json() if test is not None and test.origin is not None else None,
        config=dump_config(config),
        max_rejected=max_rejected,
    )
    replaceable = artifact.is_artifact(to)
    with Run(to, identity, engine.resources, restart=restart, replaceable=replaceable, asked=asked) as run:
        if run.committed:
            listener.said(Note("done", "by an earlier run of the same training", "nothing was read", "--restart"))
            if not (run.folder / REPORT).exists():  # it was stopped right after its commit
                report_beside(run, listener)
            return _opened(run, config), run
        work = run.folder / "work"
        with writing(run.parts):
            if run.parts.exists():
                shutil.rmtree(run.parts)
        engine.keep_in = run.folder / "scans"
        trained = train(
            source,
            config,
            engine=engine,
            listener=listener,
            folder=work,
            rejected=run.rejected,
            test=test,
            max_rejected=max_rejected,
            relations=run.folder / "relations",
            audit_to=audit_to,
            restart=restart,
            history=run.folder,
        )
        artifact.save(trained.saved, run.parts)
        run.adopt(trained.receipts)
        with writing(work):
            for path in (work, run.folder / "scans", run.folder / "relations"):
                if path.exists():
                    shutil.rmtree(path)
        timings = trained.timings
        run.commit(lambda: run.parts, {"command": "train", **timings})
        report_beside(run, listener)
        return _opened(run, config), run


class Clock:
    """What each part of a training took."""

    def __init__(self, listener: Listener) -> None:
        self.laps: dict[str, float] = {}
        self._tracer = tracer_of(listener)
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """A part has ended."""
        now = time.monotonic()
        self.laps[name] = now - self._last
        if self._tracer is not None:
            self._tracer.span(name, "part", self._last, now)
        self._last = now


def _definition(config: PipelineConfig) -> Model | Auto:
    """The model to train, where it and the target go together."""
    model = config.model
    if model is None:
        if config.target is None:
            raise no_target()
        raise UsageError("no model to train", expected="a model", remedy="name one: model: boosted, or --model boosted")
    if config.target is None and model.task is None:
        raise no_target(model.name)
    if config.target is not None and model.task is not None:
        raise UsageError(
            f"the model {model.name!r} learns without a target",
            where="--target",
            expected="no target",
            got=repr(config.target),
            remedy=f"leave the target out; --roles {config.target}=ignored keeps that column out of the features",
        )
    if config.costs and model.task is not None:
        raise UsageError(
            "costs are of classes, and nothing is predicted here", where="costs", got=f"the model {model.name!r}"
        )
    return model


def no_target(model: str | None = None) -> UsageError:
    """The error for a training that was given nothing to learn; ``model``: the one named, where one was."""
    without = [name for name in registry.names("models") if registry.find("models", name).task is not None]
    return UsageError(
        "no target to learn" + ("" if model is None else f" for the model {model!r}"),
        expected="a column to predict, or a model that learns without one: " + ", ".join(without),
        got="neither" if model is None else f"the model {model!r} alone",
        remedy="--target COLUMN, or --model " + "|".join(without),
    )


def _task(source: Source, config: PipelineConfig, definition: Model | Auto, listener: Listener) -> TaskName:
    """What is to be done, which is said."""
    if definition.task is not None:
        reason = f"the model {definition.name!r} learns without a target"
        listener.said(Note("task", definition.task, reason, "--target COLUMN, and another --model"))
        return definition.task
    assert config.target is not None
    column = config.target
    task, reason = task_of(source, column)
    listener.said(Note("task", task, reason, "roles: {" + column + ": category} or {" + column + ": number}"))
    return task


def refuse_missing_columns(source: Source, config: PipelineConfig) -> None:
    """Refuse a definition that names columns which are not there, or which can't play the part.

    Raises:
        SchemaError: a column is not there, or its values are of another kind.
        UsageError: a column plays two parts.
    """
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
            remedy = f"did you mean {near[0]!r}?" if near else "name a column of the data"
            if part == "target" and not near and source.schema.of_role(Role.picture, Role.clip):
                remedy = labels_remedy(source.schema)
            if any(step.name == "derive" and column in getattr(step, "columns", ()) for step in config.steps):
                remedy = "a step that derives it comes too late: derive it before, by `penstock prepare`"
            raise SchemaError(
                f"the {part} is none of the columns",
                where=f"--{part}",
                expected="one of " + ", ".join(map(repr, source.schema.names)),
                got=repr(column),
                remedy=remedy,
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


def explained(saved: Saved, source: Source, test: Source | None, job: Learning, rows: int) -> dict[str, Any]:
    """What the model leans on, by a sample of the rows that it was judged on: fewer for more columns, or pictures."""
    columns = {name for member in saved.members for name in member.steps.incoming.names}
    sample = max(_LEAST_EXPLAINED, min(ROWS, _MOST_EXPLAINED // max(len(columns), 1)))
    if saved.steps.incoming.of_role(Role.picture, Role.clip):
        sample = _LEAST_EXPLAINED  # they are held all at once, and decoded for each prediction
    limits = () if test is not None else (job.portion("holdout", 0.0, job.config.holdout),)
    beside = () if test is not None else job.splitting.columns
    return explain(
        test or source, saved, engine=job.engine, rows=sample, total_rows=rows, limits=limits, row_columns=beside
    )


def judge(saved: Saved, source: Source, test: Source | None, *, job: Learning) -> Evaluation | None:
    """Judge on the test rows, or on those held out. A model is not thrown away because none of them can be judged."""
    rows: Transform | None = None
    beside: tuple[str, ...] = ()
    if test is None:
        if not job.config.holdout:
            return None
        rows = job.portion("holdout", 0.0, job.config.holdout)
        beside = job.splitting.columns
    try:
        return evaluate(
            test or source,
            saved,
            engine=job.engine,
            max_rejected=None,
            rows=rows,
            row_columns=beside,
            relate=False,
        )
    except DataError as error:
        reason = f"{error.message}: {error.got}" if error.got else error.message
        job.listener.said(Note("evaluation", "none: the model could not be judged", reason, error.remedy))
        return None
