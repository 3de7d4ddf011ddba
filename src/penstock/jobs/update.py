"""Update: take a fitted pipeline further with new rows, without reading those that it was fitted to.

The states of its steps are merged with those of the new rows, and each of its models learns on from where it is; both
the updated and the earlier pipeline are judged on the same new rows, which neither has learned from.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock import artifact
from penstock.artifact import Member, Saved
from penstock.config import PipelineConfig, dump_config
from penstock.durable import sha256, writing
from penstock.engine import Engine, Listener
from penstock.errors import UsageError
from penstock.fitting import fit_steps
from penstock.jobs.as_before import AsBefore
from penstock.jobs.audit import audit, reserve
from penstock.jobs.choose import Chosen, candidate
from penstock.jobs.learn import Learned, Learning, Previous
from penstock.jobs.predict import digest_of_model, require
from penstock.jobs.publish import asked_of
from penstock.jobs.shown import shown
from penstock.jobs.train import (
    REPORT,
    Clock,
    Trained,
    explained,
    facts_of,
    held_out,
    judge,
    judged,
    look,
    refuse_missing_columns,
    report_beside,
)
from penstock.keeping import KeptSource
from penstock.model import Auto, Model, Target
from penstock.relational import related
from penstock.resources import held
from penstock.run import Run
from penstock.run_identity import inputs_of, reading_of
from penstock.source import Note, Source
from penstock.summary import Evaluation
from penstock.updating import Earlier, Merged, notes_of

_FIGURES = {"regression": "rmse", "binary": "log_loss", "multiclass": "log_loss"}


@dataclass(frozen=True)
class Parent:
    """What is updated.

    Attributes:
        saved: the fitted pipeline.
        digest: the hash of its manifest; of what it was fitted on, where it was never saved.
        folder: where it is saved; None where it is not.
    """

    saved: Saved
    digest: str
    folder: Path | None = None

    @classmethod
    def of(cls, saved: Saved, folder: Path | None) -> Parent:
        """A fitted pipeline, and where it is saved."""
        if folder is not None and (folder / "manifest.json").is_file():
            return cls(saved, sha256(folder / "manifest.json"), folder)
        return cls(saved, digest_of_model(saved))


def update(
    source: Source,
    parent: Parent,
    *,
    engine: Engine,
    listener: Listener,
    folder: Path,
    rejected: Path,
    holdout: float | None = None,
    test: Source | None = None,
    max_rejected: float | None = None,
    relations: Path | None = None,
    audit_to: Path | None = None,
    restart: bool = False,
) -> Trained:
    """Take a fitted pipeline further.

    Args:
        source: the new rows, read as those that it was fitted to.
        parent: the fitted pipeline; it stays as it is.
        engine: what scans the data.
        listener: who is told what was decided.
        folder: where encoded rows are laid down for the models.
        rejected: where the rejected rows are written.
        holdout: the share of the new rows (0 to below 1) to judge on; None for that of its definition.
        test: rows to judge on instead.
        max_rejected: the share of rows above which a pass is stopped.
        relations: where relational work is laid down for sources that have theirs after them already; None where the
            definition's is still to be put after them.
        audit_to: where every cell of the new rows that the cleaning changed is written.
        restart: whether what is at ``audit_to`` may be replaced.

    Raises:
        UsageError: a model of it learns from all rows at once.
        SchemaError: the new rows lack a column, or have another type of values in it.
        DataError: there is nothing to learn from, or a class that the model does not know.
        ResourceError: a model can't be trained in the memory given.
    """
    saved = parent.saved
    config = saved.config if holdout is None else replace(saved.config, holdout=holdout)
    definitions = definitions_of(saved)
    clock = Clock(listener)
    base = held()
    if relations is None:
        source = related(source, config.data)
        test = test and related(test, config.data, source.schema)
    place = relations or folder / "relations"
    refuse_missing_columns(source, config)
    source = source.laid_down(place / "data", engine.resources, listener)
    test = test and test.laid_down(place / "test", engine.resources, listener)
    if test is not None and saved.target is not None:
        require(test.schema, (saved.target.column,), "the target, to judge the model on the test rows")
    _say(parent, config, source, listener)
    kept = KeptSource(AsBefore.of(source, saved, listener), engine.resources.memory)
    if audit_to is not None:
        reserve(kept, config, engine=engine, to=audit_to, restart=restart)
    if saved.target is None:
        return _steps_alone(kept, parent, config, engine=engine, listener=listener, max_rejected=max_rejected)
    seen, splitting = look(kept, test, config, engine=engine, listener=listener, max_rejected=max_rejected)
    clock.lap("look")
    free = engine.resources.memory - base
    job = Learning(kept, config, saved.target.task, splitting, engine, listener, free, max_rejected)
    learned = _learn(job, definitions, saved, folder, rejected)
    clock.lap("learn")
    made = _child(parent, config, learned)
    cleaned = audit(
        kept,
        made.steps,
        config,
        engine=engine,
        rows=job.training_rows(),
        row_columns=job.beside,
        to=audit_to,
        restart=restart,
    )
    kept.forget()
    clock.lap("audit")
    chosen = Chosen(tuple((one, member.weight) for one, member in zip(definitions, saved.members, strict=True)), ())
    facts = facts_of(kept, seen, learned, chosen)
    facts |= {"update": _history(parent, [one for each in learned for one in each.merged], learned[0].rows)}
    if len(learned) > 1:
        facts["members"] = [
            {"model": each.model.name, "weight": each.weight, "summary": dict(each.model.summary)}
            for each in made.members
        ]
    after, before = (judge(one, kept, test, job=job) for one in (made, saved))
    clock.lap("evaluate")
    if after is not None:
        facts |= judged(after, "test data" if test is not None else held_out(config) + ", of the new ones")
        facts["explanation"] = explained(made, kept, test, job, after.rows)
        clock.lap("explain")
    if pictures := shown(made, kept, job, test=test, mistakes=facts.get("mistakes")):
        facts["pictures"] = pictures
        clock.lap("pictures")
    if after is not None and before is not None:
        facts["update"] |= {"before": before.to_json()["metrics"], "after": after.to_json()["metrics"]}
        facts["leaderboard"] = _side_by_side(parent, saved.target, before, after, listener)
    timings = {
        "passes": [figures.to_json() for figures in engine.passes],
        "seconds": {name: round(value, 3) for name, value in clock.laps.items()},
    }
    facts |= {"cleaning": cleaned} if cleaned else {}
    return Trained(replace(made, facts=facts), learned[0].receipts, after, timings)


def _learn(job: Learning, definitions: Sequence[Model], saved: Saved, folder: Path, rejected: Path) -> list[Learned]:
    """Every member taken further; what became of the statistics is said once for members of the same steps."""
    assert saved.target is not None
    learned: list[Learned] = []
    said: set[str] = set()
    for number, (definition, member) in enumerate(zip(definitions, saved.members, strict=True)):
        place = folder / f"member-{number}"
        # Every model rejects the same rows: those that the first one's encoding met are kept.
        goes_to = place / "rejected" if number else rejected
        learned.append(job.learn(definition, place, goes_to, previous=Previous(member, saved.target)))
        shutil.rmtree(place, ignore_errors=True)
        for note in notes_of(learned[number].merged):
            if str(note) not in said:
                said.add(str(note))
                job.listener.said(note)
    return learned


def definitions_of(saved: Saved) -> list[Model]:
    """The definition of each model of a fitted pipeline, which can go on.

    Raises:
        UsageError: one learns from all rows at once.
    """
    config = saved.config.model
    found = []
    for member in saved.members:
        if isinstance(config, Auto):
            definition = next(one for name in config.candidates if _made(one := candidate(config, name), member))
        else:
            assert config is not None
            definition = config
        if not definition.goes_on:
            raise definition.cannot_go_on()
        found.append(definition)
    return found


def _made(definition: Model, member: Member) -> bool:
    """Whether a fitted model is one of this definition."""
    own, its = (getattr(one, "estimator", None) for one in (definition, member.model))
    return definition.name == member.model.name and own == its


def _child(parent: Parent, config: PipelineConfig, learned: Sequence[Learned]) -> Saved:
    first, *others = [one.member for one in learned]
    saved = parent.saved
    return Saved(
        config,
        first.steps,
        saved.target,
        first.model,
        {},
        first.weight,
        tuple(others),
        parent=parent.digest,
        generation=saved.generation + 1,
    )


def _say(parent: Parent, config: PipelineConfig, source: Source, listener: Listener) -> None:
    told = f"generation {parent.saved.generation + 1}, from generation {parent.saved.generation}"
    listener.said(Note("update", told, f"{parent.folder or 'a model in memory'} stays as it is"))
    if config.data:
        names = ", ".join(relation.name for relation in config.data)
        listener.said(Note("relational work", "it sees the new rows alone", names, "train anew on all rows"))
    extra = [name for name in source.schema.names if name not in parent.saved.steps.incoming]
    if extra:
        shown = ", ".join(map(repr, extra[:8])) + (", ..." if len(extra) > 8 else "")
        listener.said(Note("columns", f"{len(extra)} are not looked at", f"the model has none of them: {shown}"))


def _history(parent: Parent, merged: Sequence[Merged], rows: int) -> dict[str, Any]:
    """Where an updated pipeline comes from, as JSON values: of each statistic what was done, once."""
    before = parent.saved.facts.get("update") or {"rows": parent.saved.facts.get("rows", 0)}
    told = [one.to_json() for one in dict.fromkeys(merged)]
    return {
        "generation": parent.saved.generation + 1,
        "parent": parent.digest,
        "parent_path": None if parent.folder is None else str(parent.folder),
        "rows": rows + int(before["rows"]),
        "new_rows": rows,
        "statistics": [one for one in told if one["how"] != "exact"],
        "exact": sum(one["how"] == "exact" for one in told),
    }


def _side_by_side(
    parent: Parent, target: Target, before: Evaluation, after: Evaluation, listener: Listener
) -> list[dict[str, Any]]:
    """The updated pipeline and the earlier one on the same new rows, as the rows of a leaderboard, the better first."""
    metric = _FIGURES[target.task]
    was, now = float(before.metrics[metric]), float(after.metrics[metric])
    text = f"{metric} {now:.5g}, before the update {was:.5g}"
    worse, place = now > was, parent.folder or "the earlier one"
    on = f"on {after.rows:,} new rows that neither has learned from"
    rows = [
        {"model": name, "metric": metric, "score": score if math.isfinite(score) else None, "kept": kept, "reason": why}
        for name, score, kept, why in (
            ("updated", now, True, f"worse than before {on}; {place} is still there" if worse else on),
            ("before the update", was, False, "the same rows"),
        )
    ]
    listener.said(
        Note(
            "judged side by side",
            text + (": it is worse than it was" if worse else ""),
            on,
            f"keep {place}, or train anew on all rows" if worse else "",
        )
    )
    return sorted(rows, key=lambda row: math.inf if row["score"] is None else float(str(row["score"])))


def _steps_alone(
    source: KeptSource,
    parent: Parent,
    config: PipelineConfig,
    *,
    engine: Engine,
    listener: Listener,
    max_rejected: float | None,
) -> Trained:
    """Update steps without a model: no model knows what comes out of them, so new categories may become new columns."""
    saved = parent.saved
    earlier = Earlier(saved.steps, bound=False)
    steps = [one.step for one in saved.steps.steps]
    fit = fit_steps(steps, source, engine, listener, max_rejected=max_rejected, places=config.places, earlier=earlier)
    merged = earlier.account(fit.steps)
    for note in notes_of(merged):
        listener.said(note)
    rows = max((count.rows_in for counts in fit.counts for count in counts), default=0)
    facts = {**saved.facts, "inputs": inputs_of(source.fingerprints()).told(), "update": _history(parent, merged, rows)}
    made = replace(saved, config=config, steps=fit.steps, facts=facts)
    made = replace(made, parent=parent.digest, generation=saved.generation + 1)
    return Trained(made, (), None, {"passes": [figures.to_json() for figures in engine.passes], "seconds": {}})


def update_to(
    source: Source,
    parent: Parent,
    *,
    to: Path,
    engine: Engine,
    listener: Listener,
    holdout: float | None = None,
    test: Source | None = None,
    max_rejected: float | None = None,
    restart: bool = False,
    audit_to: Path | None = None,
) -> tuple[Saved, Run]:
    """`update`, as a run: the artifact at ``to``, the ledger and the rejected rows in the run's folder beside it.

    The same command on a finished run opens what is there; one that was stopped goes on with the scans that it has.

    Raises:
        UsageError: ``to`` is where the pipeline that is updated lies.
        RunError: what is at ``to`` belongs to another job.
    """
    saved = parent.saved
    if parent.folder is not None and to.resolve() == parent.folder.resolve():
        raise UsageError(
            "an update does not replace what it goes on from",
            where="--to",
            expected="another place than the model's own",
            got=str(to),
            remedy="--to NEW_MODEL, and use that from then on",
        )
    config = saved.config if holdout is None else replace(saved.config, holdout=holdout)
    definitions_of(saved)
    source = related(source, config.data)
    test = test and related(test, config.data, source.schema)
    identity = {
        "command": "update",
        "model": digest_of_model(saved),
        "parent": parent.digest,
        "config": dump_config(config),
        "reading": reading_of(source),
        "inputs": inputs_of(source.fingerprints()),
        "test": inputs_of(test.fingerprints()) if test else [],
    }
    asked = asked_of(
        "update",
        source,
        engine.resources,
        model=None if parent.folder is None else str(parent.folder),
        test=test.origin.to_json() if test is not None and test.origin is not None else None,
        holdout=holdout,
        max_rejected=max_rejected,
    )
    replaceable = artifact.is_artifact(to)
    with Run(to, identity, engine.resources, restart=restart, replaceable=replaceable, asked=asked) as run:
        if run.committed:
            if saved.target is not None and not (run.folder / REPORT).exists():  # stopped right after its commit
                report_beside(run, listener)
            return artifact.load(run.destination), run
        _clear(run.folder / "work", run.parts)
        engine.keep_in = run.folder / "scans"
        updated = update(
            source,
            parent,
            engine=engine,
            listener=listener,
            folder=run.folder / "work",
            rejected=run.rejected,
            holdout=holdout,
            test=test,
            max_rejected=max_rejected,
            relations=run.folder / "relations",
            audit_to=audit_to,
            restart=restart,
        )
        artifact.save(updated.saved, run.parts)
        run.adopt(updated.receipts)
        _clear(run.folder / "work", run.folder / "scans", run.folder / "relations")
        run.commit(lambda: run.parts, {"command": "update", **updated.timings})
        if saved.target is not None:
            report_beside(run, listener)
        return artifact.load(run.destination), run


def _clear(*paths: Path) -> None:
    for path in paths:
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
