"""Fitted steps in a row, made into as few evaluations per batch as they allow.

Part of the pipeline's machinery, beside `pipeline.py`: it knows the contracts of steps and batches, no step in
particular. Neighbouring `TableStep`s are composed into one Polars expression per column; a new evaluation begins
only where a computed column is used more than once, or where a step is not made of expressions. From the columns
that are wanted at the end it follows which ones have to be read at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from penstock.batch import Batch, Count, record_batch
from penstock.schema import Field, Role, Schema
from penstock.step import Check, FittedStep, TableStep, Use

_CHECK = "\x01check"


@dataclass(frozen=True)
class _Evaluation:
    """One evaluation: expressions by output name, and the checks of the steps in it."""

    labels: tuple[str, ...]
    written: Mapping[str, pl.Expr]
    passed: frozenset[str]  # columns that come out as they went in
    checks: tuple[tuple[str, Check], ...]
    schema: Schema  # what comes out

    def reads(self, outputs: Iterable[str]) -> tuple[str, ...]:
        """What has to come in, for these columns to come out and every check to be made."""
        needed: dict[str, None] = {}
        for name in outputs:
            if name in self.written:
                needed.update(dict.fromkeys(self.written[name].meta.root_names()))
            elif name in self.passed:
                needed[name] = None
        for _, check in self.checks:
            needed.update(dict.fromkeys(check.predicate.meta.root_names()))
            if check.column is not None and check.column in self.passed:
                needed[check.column] = None
        return tuple(needed)

    def run(self, batch: Batch, outputs: Sequence[str]) -> Batch:
        """The batch with these columns."""
        wanted = {name: self.written[name] for name in outputs if name in self.written}
        results = self._evaluate(batch.columns, wanted) if wanted or self.checks else {}
        columns = [results[name] if name in results else batch.columns.column(name) for name in outputs]
        done = record_batch(columns, outputs, len(batch))
        if not self.checks:
            counts = tuple(Count(label, rows_in=len(batch), out=len(batch)) for label in self.labels)
            return replace(batch, columns=done, counts=batch.counts + counts)
        return self._reject(batch, done, results)

    def _evaluate(self, columns: pa.RecordBatch, wanted: Mapping[str, pl.Expr]) -> dict[str, pa.Array]:
        expressions = [expression.alias(name) for name, expression in wanted.items()]
        expressions += [check.predicate.alias(f"{_CHECK}{i}") for i, (_, check) in enumerate(self.checks)]
        roots = dict.fromkeys(name for expression in expressions for name in expression.meta.root_names())
        frame = to_frame(columns, roots).with_columns(expressions)
        results = {}
        for expression_name in (*wanted, *(f"{_CHECK}{i}" for i in range(len(self.checks)))):
            values = frame.get_column(expression_name).alias("").rechunk().to_arrow()
            if expression_name in self.schema:
                kind = self.schema[expression_name].type
                if values.type != kind:
                    values = values.cast(kind)
            results[expression_name] = values
        return results

    def _reject(self, batch: Batch, done: pa.RecordBatch, results: Mapping[str, pa.Array]) -> Batch:
        rows = len(batch)
        alive = np.ones(rows, bool)
        counts = []
        remaining = batch
        for label in self.labels:
            before = int(alive.sum())
            for i, (owner, check) in enumerate(self.checks):
                if owner != label:
                    continue
                met = results[f"{_CHECK}{i}"].fill_null(True).to_numpy(zero_copy_only=False)
                bad = alive & ~met
                if bad.any():
                    remaining = remaining.reject(
                        bad[alive], step=label, column=check.column, code=check.code, reason=check.reason
                    )
                    alive &= met
            after = int(alive.sum())
            counts.append(Count(label, rows_in=before, out=after, rejected=before - after))
        if remaining is not batch:
            done = done.filter(pa.array(alive))
        return replace(remaining, columns=done, counts=batch.counts + tuple(counts))


@dataclass(frozen=True)
class _Single:
    """A step that is not made of expressions."""

    label: str
    step: FittedStep
    incoming: Schema
    use: Use

    def reads(self, outputs: Iterable[str]) -> tuple[str, ...]:
        """What has to come in: what the step reads, and what passes by it."""
        touched = self.step.step.touches(self.incoming)
        passing = [n for n in outputs if n not in touched.writes and n in self.incoming]
        return tuple(dict.fromkeys((*touched.reads, *passing)))

    def run(self, batch: Batch, outputs: Sequence[str]) -> Batch:
        """The batch with the step applied, and its rows counted."""
        rejected = 0 if batch.rejected is None else batch.rejected.num_rows
        after = self.step.transform(batch, self.use)
        bad = (0 if after.rejected is None else after.rejected.num_rows) - rejected
        gone = len(batch) - len(after) - bad
        count = Count(
            self.label,
            rows_in=len(batch),
            made=max(0, -gone),
            out=len(after),
            rejected=bad,
            dropped=max(0, gone),
        )
        present = [name for name in outputs if name in after.columns.schema.names]
        return replace(after.select(present), counts=(*batch.counts, count))


class Chain:
    """Fitted steps in a row, ready to run on batches.

    Args:
        steps: the fitted steps, in order, each with the label that the ledger counts it under.
        schema: what comes in.
        use: what the steps are applied for.
        outputs: the columns wanted at the end; None for all.

    Attributes:
        inputs: the columns that have to come in; others may be missing.
        schema: what comes out.
    """

    def __init__(
        self,
        steps: Sequence[tuple[str, FittedStep]],
        schema: Schema,
        use: Use,
        outputs: Sequence[str] | None = None,
    ) -> None:
        final = steps[-1][1].schema if steps else schema
        self.outputs = tuple(final.names if outputs is None else outputs)
        self.schema = final.select(self.outputs)
        stages = _compile(steps, schema, use)
        wanted = self.outputs
        plan: list[tuple[_Evaluation | _Single, tuple[str, ...]]] = []
        for stage in reversed(stages):
            plan.append((stage, wanted))
            wanted = stage.reads(wanted)
        self._plan = tuple(reversed(plan))
        self.inputs = tuple(name for name in schema.names if name in set(wanted))

    def transform(self, batch: Batch) -> Batch:
        """The batch with every step applied."""
        for stage, outputs in self._plan:
            batch = stage.run(batch, outputs)
        return batch if self._plan else batch.select(self.outputs)

    @property
    def evaluations(self) -> int:
        """How many evaluations a batch goes through."""
        return len(self._plan)


def _compile(steps: Sequence[tuple[str, FittedStep]], schema: Schema, use: Use) -> list[_Evaluation | _Single]:
    stages: list[_Evaluation | _Single] = []
    incoming = schema
    group = _Group(incoming)
    for label, step in steps:
        if isinstance(step, TableStep):
            if group.uses_twice(step, use):
                stages.append(group.close(incoming))
                group = _Group(incoming)
            group.add(label, step, use)
        else:
            if group.labels:
                stages.append(group.close(incoming))
            stages.append(_Single(label, step, incoming, use))
            group = _Group(step.schema)
        incoming = step.schema
    if group.labels:
        stages.append(group.close(incoming))
    return stages


class _Group:
    """Table steps that are composed into one evaluation."""

    def __init__(self, schema: Schema) -> None:
        self.values: dict[str, pl.Expr] = {name: pl.col(name) for name in schema.names}
        self.computed: set[str] = set()
        self.labels: list[str] = []
        self.checks: list[tuple[str, Check]] = []

    def uses_twice(self, step: TableStep, use: Use) -> bool:
        """Whether a column computed here would be computed again for several columns of the next step."""
        if not self.computed:
            return False
        plain = {name: pl.col(name) for name in self.values}
        met: dict[str, int] = {}
        for expression in step.expressions(plain, use).values():
            for root in expression.meta.root_names():
                met[root] = met.get(root, 0) + 1
        return any(met.get(name, 0) > 1 for name in self.computed)

    def add(self, label: str, step: TableStep, use: Use) -> None:
        """Compose one more step onto the columns' expressions."""
        self.labels.append(label)
        self.checks += [(label, check) for check in step.checks(self.values, use)]
        written = step.expressions(self.values, use)
        self.values = {**self.values, **written}
        self.values = {name: self.values[name] for name in step.schema.names}
        self.computed = (self.computed | set(written)) & set(self.values)

    def close(self, schema: Schema) -> _Evaluation:
        """The evaluation of the steps so far."""
        return _Evaluation(
            tuple(self.labels),
            {name: expression for name, expression in self.values.items() if name in self.computed},
            frozenset(name for name in self.values if name not in self.computed),
            tuple(self.checks),
            schema,
        )


def transform_alone(step: TableStep, batch: Batch, use: Use) -> Batch:
    """One step on one batch, without a chain: every column of the batch goes in."""
    incoming = Schema(tuple(Field(field.name, field.type, Role.ignored) for field in batch.columns.schema))
    return Chain([(step.step.name, step)], incoming, use).transform(batch)


def to_frame(columns: pa.RecordBatch, names: Iterable[str]) -> pl.DataFrame:
    """These columns as a Polars frame of the same height; dictionary-encoded text as plain text.

    Text is decoded first so that no category enters Polars' global cache, which only grows.
    """
    series = [pl.Series("\x01height", np.zeros(columns.num_rows, np.int8))]
    for name in names:
        values = columns.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        series.append(pl.Series(name, values))
    return pl.DataFrame(series)


def invert(step: TableStep, batch: Batch) -> Batch:
    """Undo one table step, for the columns that are there.

    Raises:
        UsageError: the step has no inverse.
    """
    names = batch.columns.schema.names
    expressions = step.inverse_expressions({name: pl.col(name) for name in names})
    if expressions is None:
        return FittedStep.inverse(step, batch)
    frame = to_frame(batch.columns, names).with_columns(
        [expression.alias(name) for name, expression in expressions.items()]
    )
    kept = [name for name in names if name not in expressions]
    columns = [batch.columns.column(name) for name in kept]
    for name in expressions:
        values = frame.get_column(name).alias("").rechunk().to_arrow()
        if pa.types.is_large_string(values.type):
            values = values.cast(pa.string())
        columns.append(values)
    return batch.with_columns(record_batch(columns, [*kept, *expressions], len(batch)))
