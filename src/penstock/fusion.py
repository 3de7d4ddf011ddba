"""Fitted steps in a row, made into as few evaluations per batch as they allow.

Part of the pipeline's machinery, beside `pipeline.py`: it knows the contracts of steps and batches, no step in
particular. Neighbouring `TableStep`s are composed into one Polars expression per column; a new evaluation begins
only where a computed column is used more than once, or where a step is not made of expressions. From the columns
that are wanted at the end it follows which ones have to be read at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from penstock.batch import Batch, Count, record_batch
from penstock.errors import DataError
from penstock.schema import Field, Role, Schema
from penstock.step import Check, FittedStep, TableStep, Use

_CHECK = "\x01check"
_SHARED = pl.QueryOptFlags.none().update(comm_subexpr_elim=True)
"""What several expressions have in common is computed once; nothing else is there to be optimised."""


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
                needed.update(dict.fromkeys(roots_of(self.written[name])))
            elif name in self.passed:
                needed[name] = None
        for _, check in self.checks:
            needed.update(dict.fromkeys(roots_of(check.predicate)))
            if check.column is not None and check.column in self.passed:
                needed[check.column] = None
        return tuple(needed)

    @cached_property
    def _formulas(self) -> Mapping[str, _Formula]:
        """What is computed, by name: the columns, and the checks under numbered names."""
        named = {**self.written, **{f"{_CHECK}{i}": check.predicate for i, (_, check) in enumerate(self.checks)}}
        return {name: _Formula(name, value) for name, value in named.items()}

    def run(self, batch: Batch, outputs: Sequence[str]) -> Batch:
        """The batch with these columns."""
        wanted = [self._formulas[name] for name in outputs if name in self.written]
        checks = [self._formulas[f"{_CHECK}{i}"] for i in range(len(self.checks))]
        results = compute(batch.columns, wanted, checks)
        columns = [
            self._typed(name, results[name]) if name in results else batch.columns.column(name) for name in outputs
        ]
        done = record_batch(columns, outputs, len(batch))
        if checks and checks[0].name in results:
            return self._reject(batch, done, results)
        counts = tuple(Count(label, rows_in=len(batch), out=len(batch)) for label in self.labels)
        return replace(batch, columns=done, counts=batch.counts + counts)

    def _typed(self, name: str, values: pa.Array) -> pa.Array:
        kind = self.schema[name].type
        return values if values.type == kind else values.cast(kind)

    def _reject(self, batch: Batch, done: pa.RecordBatch, results: Mapping[str, pa.Array]) -> Batch:
        alive = np.ones(len(batch), bool)
        rejections: list[pa.Table] = [batch.rejected] if batch.rejected is not None else []
        counts = []
        for label in self.labels:
            before, dropped = int(alive.sum()), 0
            for i, (owner, check) in enumerate(self.checks):
                met = results[f"{_CHECK}{i}"].fill_null(True).to_numpy(zero_copy_only=False)
                bad = alive & ~met
                if owner != label or not bad.any():
                    continue
                if check.action == "fail":
                    raise _failed(batch, bad, label, check)
                if check.action == "reject":
                    rejections.append(_rejections(batch, bad, label, check))
                else:
                    dropped += int(bad.sum())
                alive &= met
            after = int(alive.sum())
            rejected = before - after - dropped
            counts.append(Count(label, rows_in=before, out=after, rejected=rejected, dropped=dropped))
        kept = batch.with_columns(done).filter(alive)
        return replace(
            kept, rejected=pa.concat_tables(rejections) if rejections else None, counts=batch.counts + tuple(counts)
        )


def _failed(batch: Batch, bad: npt.NDArray[np.bool_], label: str, check: Check) -> DataError:
    """The error for the first row that must not be there."""
    first = bad & (np.cumsum(bad) == 1)
    row = _rejections(batch, first, label, check).to_pylist()[0]
    return DataError(
        check.reason,
        where=f"{row['path']}, row {row['row'] + 1}, step {label!r}"
        + (f", column {check.column!r}" if check.column else ""),
        expected="no such row: the step is set to fail",
        got=row["value"] if row["value"] is not None else row["record"],
        remedy="mend the data, or let the step reject such rows",
    )


def _rejections(batch: Batch, bad: npt.NDArray[np.bool_], label: str, check: Check) -> pa.Table:
    return batch.rejections(bad, step=label, column=check.column, code=check.code, reason=check.reason)


class _Formula:
    """An expression under a name, and the columns that it reads."""

    def __init__(self, name: str, value: pl.Expr) -> None:
        self.name = name
        self.value = value.alias(_MARK + name)
        self.roots = tuple(dict.fromkeys(roots_of(value)))


def compute(columns: pa.RecordBatch, wanted: Sequence[_Formula], checks: Sequence[_Formula]) -> dict[str, pa.Array]:
    """Evaluate formulas over the rows; the checks come out only if some row does not meet one of them.

    A formula of one dictionary-encoded column is computed once for each distinct value, and looked up for each row.
    """
    results: dict[str, pa.Array] = {}
    by_value: dict[str, list[_Formula]] = {}
    by_row: list[_Formula] = []
    for formula in (*wanted, *checks):
        root = formula.roots[0] if len(formula.roots) == 1 else None
        if root is not None and _pays(columns.column(root)):
            by_value.setdefault(root, []).append(formula)
        else:
            by_row.append(formula)
    for root, formulas in by_value.items():
        results.update(_looked_up(columns.column(root), root, formulas))
    met = True
    if by_row:
        numbered = {check.name for check in checks}
        tests = [formula.value for formula in by_row if formula.name in numbered]
        values = [formula.value for formula in by_row if formula.name not in numbered]
        frame = to_frame(columns, dict.fromkeys(root for formula in by_row for root in formula.roots)).lazy()
        together = [pl.all_horizontal([test.fill_null(True) for test in tests]).alias(_CHECK)] if tests else []
        found = frame.with_columns([*values, *together]).collect(optimizations=_SHARED)
        met = not tests or bool(found.get_column(_CHECK).all())
        if not met:
            found = frame.with_columns([*values, *tests]).collect(optimizations=_SHARED)
        for formula in by_row:
            if formula.name not in numbered or not met:
                results[formula.name] = _to_arrow(found.get_column(_MARK + formula.name))
    names = [check.name for check in checks]
    if met and all(
        bool(results[name].fill_null(True).true_count == len(results[name])) for name in names if name in results
    ):
        return {name: values for name, values in results.items() if name not in set(names)}
    everything = pa.repeat(True, columns.num_rows)
    return {**dict.fromkeys(names, everything), **results}


def _pays(values: pa.Array) -> bool:
    """Whether a column has so few distinct values that computing once for each is cheaper than once for each row."""
    return pa.types.is_dictionary(values.type) and 2 * len(values.dictionary) < len(values)


def _looked_up(values: pa.DictionaryArray, root: str, formulas: Sequence[_Formula]) -> dict[str, pa.Array]:
    distinct = pl.Series(_MARK + root, pa.concat_arrays([values.dictionary, pa.nulls(1, values.dictionary.type)]))
    found = pl.DataFrame([distinct]).lazy().with_columns([formula.value for formula in formulas])
    frame = found.collect(optimizations=_SHARED)
    places = values.indices.fill_null(len(values.dictionary)) if values.null_count else values.indices
    return {formula.name: _to_arrow(frame.get_column(_MARK + formula.name)).take(places) for formula in formulas}


def _to_arrow(series: pl.Series) -> pa.Array:
    return series.alias("").rechunk().to_arrow()


@dataclass(frozen=True)
class _Single:
    """A step that is not made of expressions."""

    label: str
    step: FittedStep
    incoming: Schema
    use: Use

    def is_idle(self, outputs: Iterable[str]) -> bool:
        """Whether it augments columns that nobody wants: then it need not run."""
        return self.step.step.random and not set(self.step.step.touches(self.incoming).writes) & set(outputs)

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
            if isinstance(stage, _Single) and stage.is_idle(wanted):
                continue
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
        self.values: dict[str, pl.Expr] = {name: column(name) for name in schema.names}
        self.computed: set[str] = set()
        self.labels: list[str] = []
        self.checks: list[tuple[str, Check]] = []

    def uses_twice(self, step: TableStep, use: Use) -> bool:
        """Whether a column computed here would be computed again for several columns of the next step."""
        if not self.computed:
            return False
        plain = {name: column(name) for name in self.values}
        met: dict[str, int] = {}
        for expression in step.expressions(plain, use).values():
            for root in roots_of(expression):
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


_MARK = "c:"
"""Before a column's name where Polars sees it: it would take "*" or "^x.*$" for patterns, and "" for no name."""


def column(name: str) -> pl.Expr:
    """The column of this name, whatever the name is."""
    return pl.col(_MARK + name)


def roots_of(expression: pl.Expr) -> list[str]:
    """The names of the columns that an expression reads."""
    return [name.removeprefix(_MARK) for name in expression.meta.root_names()]


def to_frame(columns: pa.RecordBatch, names: Iterable[str]) -> pl.DataFrame:
    """These columns as a Polars frame of the same height; dictionary-encoded text as plain text.

    Text is decoded first so that no category enters Polars' global cache, which only grows.
    """
    series = [pl.Series("\x01height", np.zeros(columns.num_rows, np.int8))]
    for name in names:
        values = columns.column(name)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        series.append(pl.Series(_MARK + name, values))
    return pl.DataFrame(series)


def invert(step: TableStep, batch: Batch) -> Batch:
    """Undo one table step, for the columns that are there.

    Raises:
        UsageError: the step has no inverse.
    """
    names = batch.columns.schema.names
    expressions = step.inverse_expressions({name: column(name) for name in names})
    if expressions is None:
        return FittedStep.inverse(step, batch)
    frame = to_frame(batch.columns, names).with_columns(
        [expression.alias(_MARK + name) for name, expression in expressions.items()]
    )
    kept = [name for name in names if name not in expressions]
    columns = [batch.columns.column(name) for name in kept]
    for name in expressions:
        values = _to_arrow(frame.get_column(_MARK + name))
        if pa.types.is_large_string(values.type):
            values = values.cast(pa.string())
        columns.append(values)
    return batch.with_columns(record_batch(columns, [*kept, *expressions], len(batch)))
