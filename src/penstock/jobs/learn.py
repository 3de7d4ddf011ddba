"""Learn: fit the steps for one model, lay the encoded rows down, train it. What `train` and `choose` share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.artifact import Member
from penstock.augmenting import BeforeLate, late_part
from penstock.config import PipelineConfig
from penstock.engine import Engine, Listener, Transform, spanned
from penstock.errors import DataError, ResourceError
from penstock.fitting import Fit, fit_steps
from penstock.inference import infer_task
from penstock.jobs.shown import augmented
from penstock.keeping import KeptSource
from penstock.materialize import laid_schema, lay_down
from penstock.model import Model, Target, TaskName
from penstock.pipeline import FittedSteps
from penstock.resources import held, show_bytes, size_to_ask
from penstock.schema import Role, Schema
from penstock.sink import Receipt
from penstock.source import Note, Source
from penstock.statistic import Statistic
from penstock.statistics.count import Count as RowCount
from penstock.statistics.frequencies import Frequencies
from penstock.step import Use
from penstock.target import Labelled, Learnable, Portion, Splitting, Then, Weighed, salted
from penstock.updating import Earlier, Merged

MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Learned:
    """What came of learning.

    Attributes:
        member: the fitted steps and the fitted model.
        target: what is predicted.
        receipts: the ledger of every row that was offered.
        rows: rows that were learned from.
        merged: what became of each statistic, where an earlier fit was taken further.
        augmented: some rows before and after the augmentations, for a page.
    """

    member: Member
    target: Target
    receipts: tuple[Receipt, ...]
    rows: int
    merged: tuple[Merged, ...] = ()
    augmented: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Previous:
    """What was learned from other rows, to go on from.

    Attributes:
        member: the fitted steps and the fitted model.
        target: what it predicts.
    """

    member: Member
    target: Target


@dataclass(frozen=True)
class Learning:
    """Everything about a training but the model.

    Attributes:
        source: the rows, the target among its roles.
        config: steps, target, seed, share of rows held out, columns of weights, groups, times.
        task: what kind of task the target sets.
        splitting: what splits follow from.
        free: what may be held beyond the bare process [bytes].
        max_rejected: the share of rows above which a pass is stopped.
    """

    source: KeptSource
    config: PipelineConfig
    task: TaskName
    splitting: Splitting
    engine: Engine
    listener: Listener
    free: int
    max_rejected: float | None

    @property
    def column(self) -> str:
        """The target's column, where there is a target."""
        assert self.config.target is not None
        return self.config.target

    @property
    def labels(self) -> tuple[str, ...]:
        """The target's column, where there is a target; nothing else."""
        return () if self.config.target is None else (self.config.target,)

    @property
    def beside(self) -> tuple[str, ...]:
        """What is read of each row beside the features: target, group or time, weight."""
        weight = self.config.weight
        return tuple(dict.fromkeys((*self.labels, *self.splitting.columns, *((weight,) if weight else ()))))

    def portion(self, name: str, start: float, stop: float) -> Portion:
        """A split of this job's, by its own salt."""
        return Portion(name, salted(self.config.seed, name), start, stop, self.splitting)

    def training_rows(self) -> tuple[Transform, ...]:
        """Which rows may be learned from: those with a target and a weight that are not held out."""
        rows: list[Transform] = [Labelled(column) for column in self.labels]
        if self.config.weight is not None:
            rows.append(Weighed(self.config.weight))
        if self.config.holdout:
            rows.append(self.portion("holdout", self.config.holdout, 1.0))
        return tuple(rows)

    def sample(self, rows: int, most: int | None) -> Portion | None:
        """At most so many rows, drawn by the hash of the row key; None where there are no more anyway."""
        if not most or rows <= most:
            return None
        # The hash draws each row by itself: four deviations below the bound, it is as good as never passed.
        share = max(1.0, most - 4 * most**0.5) / rows
        return Portion("sample", salted(self.config.seed, "sample"), 0.0, share)

    def learn(
        self,
        model: Model,
        folder: Path,
        rejected: Path,
        *,
        more_rows: Sequence[Transform] = (),
        start: float | None = None,
        previous: Previous | None = None,
        keep: bool = False,
        history: Path | None = None,
    ) -> Learned:
        """Fit the steps for a model, and train it; or take both further from where they were.

        Args:
            model: the definition.
            folder: where encoded rows are laid down.
            rejected: where the rejected rows are written.
            more_rows: what further limits the rows, beyond `training_rows`.
            start: of rows split by time, the share of the latest that these and the holdout keep out.
            previous: what was learned from other rows, to go on from.
            history: a file for what a training tells of each epoch.
            keep: whether what is in ``folder`` outlives the process, for the same command to go on from.

        Raises:
            DataError: there is nothing to learn from, or a class that was not there before.
            ResourceError: the model can't be trained in the memory given.
        """
        encodes = model.without_augmentation() if any(step.random for step in self.config.steps) else model
        rows = (*self.training_rows(), *more_rows)
        classes = self.labels if self.task in ("binary", "multiclass") else ()
        counted: list[Statistic[Any]] = [RowCount((*self.labels, *self.source.schema.names)[0])]
        extra = (*counted, *map(Frequencies, classes))
        weight = self.config.weight
        latest = self.config.holdout if start is None else start
        earlier = None if previous is None else Earlier(previous.member.steps, bound=True, fixed=len(self.config.steps))
        fit = fit_steps(
            self.config.steps if previous is None else [one.step for one in previous.member.steps.steps],
            self.source,
            self.engine,
            self.listener,
            extend=encodes.steps if previous is None else lambda schema: (),
            rows=Then(rows),
            row_columns=self.beside,
            extra=extra,
            max_rejected=self.max_rejected,
            places=self.config.places,
            protected=self.labels,
            earlier=earlier,
        )
        if previous is None:
            column = next(iter(self.labels), "")
            target = Target(column, self.task, _classes(fit, column))
            features = _features(fit, self.labels)
            self._say_unused(fit, features)
        else:
            target, features = previous.target, previous.member.model.features
            _refuse_new_classes(fit, target)
        self._say_scans(fit)
        count = fit.extra[0].value().rows
        self._refuse_what_cannot_fit(model, count, features, target)
        use = Use("train", self.config.seed)
        first, late = late_part(fit.steps, features)
        chain = (
            fit.steps.chain(use, features.names)
            if late is None
            else BeforeLate.of(fit.steps, first, late, features, use)
        )
        sample = self.sample(count, getattr(model, "max_rows", None))
        if sample is not None:
            text = f"about {sample.stop:.2%} of the {count:,} rows, drawn by the hash of the row key"
            self.listener.said(Note("sample", text, "max_rows is set", "--max-rows"))
        data, receipts = lay_down(
            self.source,
            tuple(dict.fromkeys((*chain.inputs, *self.beside))),
            Then((*rows, *((sample,) if sample else ()))),
            Learnable(
                chain, target, laid_schema(features, late).names, self.config.seed, weight, self.splitting, latest
            ),
            features,
            engine=self.engine,
            listener=self.listener,
            folder=folder,
            rejected=rejected,
            max_rejected=self.max_rejected,
            late=late,
            keep=keep and model.resumes,
            history=history,
        )
        if held() + model.memory_needed(data.rows, features, target) > self.engine.resources.memory:
            self.source.forget()  # blocks kept for another scan make room
        with spanned(self.listener, f"train {model.name}", "training", rows=data.rows):
            fitted = model.train(data) if previous is None else model.update(previous.member.model, data)
        merged = () if earlier is None else earlier.account(fit.steps)
        weight_of_member = 1.0 if previous is None else previous.member.weight
        seen = tuple(augmented(data, fit.steps, self.engine)) if keep else ()
        return Learned(Member(fit.steps, fitted, weight_of_member), target, receipts, data.rows, merged, seen)

    def _say_scans(self, fit: Fit) -> None:
        count = fit.steps.scans
        self.listener.said(
            Note(
                "scans",
                f"the steps were fitted in {count} scan{'' if count == 1 else 's'} of the data",
                "as many as their statistics depend on one another" if count > 1 else "no statistic depends on another",
            )
        )

    def _say_unused(self, fit: Fit, features: Schema) -> None:
        """Which columns the model can make nothing of, though nobody left them out."""
        given = len(self.config.steps)
        steps = fit.steps
        before = steps.steps[given - 1].schema if given else steps.incoming
        own = FittedSteps(before, steps.labels[given:], steps.steps[given:], steps.states[given:])
        used = {origin for name in features.names for origin in own.origins[name]}
        for name in before.features:
            if name not in used and name not in self.beside:
                kind = f"its values are of the role {before[name].role.value}"
                text = "the model does not learn from it"
                self.listener.said(Note(f"column {name!r}", text, kind, "a step that makes numbers of it, or a role"))
        for field in features:
            if field.width == 1 and field.parts is None:
                why = "no word or item of it stands in enough rows"
                self.listener.said(
                    Note(f"column {field.name!r}", "it says nothing", why, "a step tfidf with min_df: 1")
                )

    def _refuse_what_cannot_fit(self, model: Model, rows: int, features: Schema, target: Target) -> None:
        most = getattr(model, "max_rows", None)
        rows = min(rows, most) if most else rows
        need = model.memory_needed(rows, features, target)
        if need <= self.free:
            return
        fits = max(0, int(rows * self.free / need * 0.95))
        raise ResourceError(
            f"the model {model.name!r} can't be trained on {rows:,} rows in the memory given",
            where="--memory",
            expected=f"{show_bytes(need)} for {rows:,} rows of {len(features)} features, beyond what the process holds",
            got=show_bytes(self.free),
            remedy=f"--memory {size_to_ask(self.engine.resources.memory + need - self.free)},"
            f" or --max-rows {fits} to learn from a sample",
        )


def _classes(fit: Fit, column: str) -> tuple[str, ...]:
    if len(fit.extra) < 2:
        return ()
    value = fit.extra[1].value()
    if value.distinct > MOST_CLASSES:
        raise DataError(
            f"the target {column!r} has {value.distinct:,} classes",
            expected=f"at most {MOST_CLASSES:,}",
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


def _refuse_new_classes(fit: Fit, target: Target) -> None:
    """A model has a place for each class that it was trained with, and no other."""
    if not target.classes:
        return
    table = fit.extra[1].value().table()
    labels, counts = (table.column(name).to_pylist() for name in ("value", "count"))
    new = [(label, count) for label, count in zip(labels, counts, strict=True) if label not in target.classes]
    if new:
        raise DataError(
            "the new rows have classes that the model does not know",
            where=f"target {target.column!r}",
            expected="labels among " + ", ".join(map(repr, target.classes[:10])),
            got=", ".join(f"{label!r} in {count:,} rows" for label, count in new[:5])
            + (f" and {len(new) - 5:,} more" if len(new) > 5 else ""),
            remedy="train anew on all rows, old and new; or leave those rows out",
        )


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)


def _features(fit: Fit, labels: Sequence[str]) -> Schema:
    schema = fit.steps.schema
    names = [name for name in schema.features if name not in labels]
    usable = [
        name
        for name in names
        if pa.types.is_floating(schema[name].type)
        or pa.types.is_integer(schema[name].type)
        or schema[name].width is not None
        or schema[name].shape is not None
        or schema[name].role is Role.tokens
    ]
    if not usable:
        raise DataError(
            "no column is left to learn from",
            expected="at least one feature",
            got=", ".join(f"{field.name!r} ({field.role.value})" for field in schema) or "no columns",
            remedy="give a column a role that can be learned from: roles: {NAME: category}",
        )
    return schema.select(usable)


def task_of(source: Source, column: str) -> tuple[TaskName, str]:
    """What kind of task a target sets, by its first 100,000 rows, and why.

    Raises:
        DataError: there are no rows.
    """
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
