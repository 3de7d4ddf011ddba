"""The laws of a step, checked on data of your choice: `check_step`. Part of the checks that contracts ship.

A step that passes here works in every job: it can be fused with its neighbours, run in any grouping of rows, and its
rows are accounted for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batch import Batch, RowKeys
from penstock.errors import UsageError
from penstock.fusion import Chain
from penstock.registry import find
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.statistic import Statistic
from penstock.step import FittedStep, Purpose, Step, Use

_PURPOSES: tuple[Purpose, ...] = ("fit", "train", "predict")
_PREDICT = Use()
_SINGLE_ROWS = 8
_DERIVED = ("count", "moments", "histogram", "frequencies", "distinct")


def batch_of(schema: Schema, values: Mapping[str, Sequence[Any]], *, path: str = "", start: int = 0) -> Batch:
    """A batch of this schema from lists of Python values.

    Example:
        >>> from penstock.schema import Field, Role
        >>> len(batch_of(Schema((Field("x", pa.float64(), Role.number),)), {"x": [1.0, None]}))
        2
    """
    arrays = [pa.array(values[field.name], field.type) for field in schema]
    columns = pa.RecordBatch.from_arrays(arrays, schema=schema.to_arrow())
    return Batch(columns, RowKeys.span(path, start, columns.num_rows))


def fit_step(step: Step, schema: Schema, batches: Iterable[Batch]) -> FittedStep:
    """A step fitted to a few batches in memory.

    Example:
        >>> from penstock.schema import Field, Role
        >>> from penstock.steps.scale import Standardize
        >>> schema = Schema((Field("x", pa.float64(), Role.number),))
        >>> batch = batch_of(schema, {"x": [1.0, 3.0]})
        >>> fit_step(Standardize("x"), schema, [batch]).transform(batch, Use()).column("x").to_pylist()
        [-1.0, 1.0]
    """
    statistics = dict(step.statistics(schema))
    for batch in batches:
        for statistic in statistics.values():
            statistic.update(batch)
    return step.fit(schema, {name: statistic.value() for name, statistic in statistics.items()})


def run_step(fitted: FittedStep, schema: Schema, batch: Batch, use: Use = _PREDICT) -> Batch:
    """A fitted step applied to one batch of this schema, with its rows counted as in a job."""
    return Chain([(fitted.step.name, fitted)], schema, use).transform(batch)


def check_step(
    step: Step,
    batches: Sequence[Batch],
    schema: Schema,
    *,
    others: Sequence[Batch] = (),
    exact_inverse: bool | None = True,
) -> None:
    """Check the laws of `penstock.step.Step` on a step.

    Args:
        step: the step.
        batches: what it is fitted to, and then applied to; not all empty.
        schema: their schema.
        others: what it is applied to beside them, such as categories that were not seen.
        exact_inverse: whether the inverse, where there is one, gives back every row; if not, rows are compared that
            have a value before and after; None where values can't come back at all, so that only types are looked at.

    Raises:
        AssertionError: a law is broken; the message says which.

    Example:
        >>> from penstock.schema import Field, Role
        >>> from penstock.steps.scale import MinMax
        >>> schema = Schema((Field("x", pa.float64(), Role.number),))
        >>> check_step(MinMax("x"), [batch_of(schema, {"x": [1.0, None, 3.0]})], schema)
    """
    fitted = fit_step(step, schema, batches)
    _frozen(step)
    _frozen(fitted)
    _law(fit_step(step, schema, batches) == fitted, "fitting twice gives equal fitted steps")
    law = _Laws(step, schema, fitted)
    edges = [_nulls(schema, 5), _nulls(schema, 0)]
    for batch in (*batches, *others, *edges):
        for purpose in _PURPOSES:
            law.transforms(batch, Use(purpose))
        law.rows_are_independent(batch, Use("train"))
        law.columns_are_truthful(batch, Use("train"))
    law.undoes(batches, exact_inverse)
    law.derives(batches)
    _law(fit_step(step, schema, batches) == fitted, "a transform changes nothing in the fitted step")


@dataclass(frozen=True)
class _Laws:
    """The laws of one fitted step."""

    step: Step
    schema: Schema
    fitted: FittedStep

    def transforms(self, batch: Batch, use: Use) -> None:
        """Columns, types, determinism, and every row accounted for."""
        before = batch.keys.rows.copy()
        out = run_step(self.fitted, self.schema, batch, use)
        expected = self.fitted.schema.to_arrow()
        _law(_plain(out.columns).schema.equals(expected), f"the output has the columns {expected}", out.columns.schema)
        for name in out.columns.schema.names:
            _law(_finite(out.column(name)), f"numbers are finite, missing is null: column {name!r}")
            if out.column(name).type == SPARSE:
                _law(_sparse(out.column(name), self.fitted.schema[name]), f"vectors are well-formed: column {name!r}")
        again = run_step(self.fitted, self.schema, batch, use)
        _law(_same(out, again), "transforming twice gives the same")
        _law(np.array_equal(before, batch.keys.rows), "the batch that went in is unchanged")
        alone = self.fitted.transform(batch, use)
        _law(alone.select(self.fitted.schema.names).columns.equals(out.columns), "alone it does what it does in a row")
        self._ledger(batch, out)

    def _ledger(self, batch: Batch, out: Batch) -> None:
        count = out.counts[-1]
        rejected = 0 if out.rejected is None else out.rejected.num_rows
        _law(count.balanced, "in + made = out + rejected + dropped", count)
        _law((count.rows_in, count.out, count.rejected) == (len(batch), len(out), rejected), "the count is true", count)
        _law(len(out.keys) == len(out), "there are as many row keys as rows")
        if not self.step.touches(self.schema).rows:
            _law(len(out) == len(batch), "no row goes where `rows` is false")
        if out.rejected is None:
            return
        left = sorted([*out.keys.rows.tolist(), *out.rejected.column("row").to_pylist()])
        if not count.made and not count.dropped:
            _law(left == sorted(batch.keys.rows.tolist()), "each row comes out or is rejected, once")
        for name in ("step", "code", "reason"):
            _law(out.rejected.column(name).null_count == 0, f"every reject has its {name}")

    def rows_are_independent(self, batch: Batch, use: Use) -> None:
        """Rows in another order, and alone, give what they give in their batch."""
        whole = run_step(self.fitted, self.schema, batch, use)
        order = np.random.default_rng(0).permutation(len(batch))
        shuffled = run_step(self.fitted, self.schema, _take(batch, order), use)
        back = np.argsort(shuffled.keys.rows, kind="stable")
        forth = np.argsort(whole.keys.rows, kind="stable")
        _law(_same(_take(shuffled, back), _take(whole, forth)), "the order of the rows changes nothing")
        parts = [
            run_step(self.fitted, self.schema, batch.slice(i, 1), use) for i in range(min(len(batch), _SINGLE_ROWS))
        ]
        if parts:
            head = run_step(self.fitted, self.schema, batch.slice(0, len(parts)), use)
            joined = pa.Table.from_batches([_plain(part.columns) for part in parts])
            _law(
                joined.equals(pa.Table.from_batches([_plain(head.columns)])),
                "a row alone gives what it gives in a batch",
            )

    def columns_are_truthful(self, batch: Batch, use: Use) -> None:
        """What it says to read, write and remove is what it does."""
        touched = self.step.touches(self.schema)
        _law(set(touched.reads) <= set(self.schema.names), "it reads columns that are there", touched)
        asked = {name for one in self.step.statistics(self.schema).values() for name in one.columns}
        allowed = {*touched.reads, *self.schema.of_role(Role.target)}  # a target is read to fit alone
        _law(asked <= allowed, "its statistics read what it says it reads", asked)
        out = run_step(self.fitted, self.schema, batch, use)
        names = set(self.fitted.schema.names)
        _law(not names & (set(touched.removes) - set(touched.writes)), "removed columns don't come out")
        _law(set(touched.writes) <= names, "written columns come out")
        kept = [name for name in self.schema.names if name not in {*touched.writes, *touched.removes}]
        _law(set(kept) <= names, "other columns come out")
        if not touched.removes:
            _law(names == {*kept, *touched.writes}, "no column comes out that is neither kept nor written")
        source = _take(batch, _positions(batch, out))
        for name in kept:
            _law(_text(out.column(name)).equals(_text(source.column(name))), f"column {name!r} is unchanged")
            _law(self.fitted.schema[name] == self.schema[name], f"the field of {name!r} is unchanged")
        others = [name for name in self.schema.names if name not in touched.reads]
        altered = run_step(self.fitted, self.schema, _emptied(batch, others), use)
        _law(np.array_equal(altered.keys.rows, out.keys.rows), "columns it does not read decide about no row")
        for name in names - set(kept):
            _law(altered.column(name).equals(out.column(name)), f"{name!r} depends on columns it does not read")

    def undoes(self, batches: Sequence[Batch], exact: bool | None) -> None:
        """The inverse of the transform is what went in."""
        for batch in batches:
            out = run_step(self.fitted, self.schema, batch)
            try:
                undone = self.fitted.inverse(out)
            except UsageError:
                return
            _law(set(undone.columns.schema.names) == set(self.schema.names), "the inverse has the columns that went in")
            source = _take(batch, _positions(batch, out))
            for field in self.schema:
                given, had = _text(undone.column(field.name)), _text(source.column(field.name))
                _law(given.type == field.type, f"the inverse of {field.name!r} has its type", given.type)
                if exact is None:
                    continue
                if not exact:
                    kept = pc.and_(pc.is_valid(given), pc.is_valid(had))
                    given, had = given.filter(kept), had.filter(kept)
                greatest = max(_greatest(batch.column(field.name)) for batch in batches)
                _law(_close(given, had, greatest), f"the inverse of {field.name!r} is what went in", (given, had))

    def derives(self, batches: Sequence[Batch]) -> None:
        """A derived statistic is the one of the output."""
        for name in self.step.touches(self.schema).writes:
            if name not in self.schema:
                continue
            for kind in _DERIVED:
                empty: Statistic[Any] = find("statistics", kind)(name)
                if not self.step.derives(empty) or (kind in ("moments", "histogram") and not self._is_number(name)):
                    continue
                before, after = empty.empty(), empty.empty()
                for batch in batches:
                    before.update(batch)
                    after.update(run_step(self.fitted, self.schema, batch, Use("fit")))
                derived = self.fitted.derive(before)
                _law(derived is not None, f"it derives the {kind} that it said it does")
                assert derived is not None
                _law(
                    _values_close(derived.value(), after.value()),
                    f"the derived {kind} of {name!r} is that of the output",
                    (derived.value(), after.value()),
                )

    def _is_number(self, name: str) -> bool:
        kind = self.schema[name].type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _law(holds: Any, law: str, got: Any = "") -> None:
    if not bool(holds):
        raise AssertionError(f"broken law: {law}" + (f"; got {got}" if got != "" else ""))


def _frozen(value: Any) -> None:
    _law(is_dataclass(value), "a step and a fitted step are dataclasses", type(value))
    for field in fields(value):
        try:
            setattr(value, field.name, getattr(value, field.name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"broken law: {type(value).__name__} is frozen; {field.name!r} could be set")


def _nulls(schema: Schema, rows: int) -> Batch:
    arrays = [pa.nulls(rows, field.type) for field in schema]
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=schema.to_arrow()), RowKeys.span("nulls", 0, rows))


def _emptied(batch: Batch, names: Sequence[str]) -> Batch:
    arrays = [
        pa.nulls(len(batch), array.type) if name in names else array
        for name, array in zip(batch.columns.schema.names, batch.columns.columns, strict=True)
    ]
    return batch.with_columns(pa.RecordBatch.from_arrays(arrays, names=batch.columns.schema.names))


def _take(batch: Batch, index: npt.NDArray[np.int64]) -> Batch:
    return replace(batch, columns=batch.columns.take(pa.array(index)), keys=batch.keys.take(index))


def _positions(batch: Batch, out: Batch) -> npt.NDArray[np.int64]:
    """Where the rows of ``out`` were in ``batch``."""
    place = {(path, row): i for i, (path, row) in enumerate(_keys(batch))}
    return np.array([place[key] for key in _keys(out)], np.int64)


def _keys(batch: Batch) -> list[tuple[str, int]]:
    return list(zip(batch.keys.path_column().to_pylist(), batch.keys.rows.tolist(), strict=True))


def _text(values: pa.Array) -> pa.Array:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _plain(columns: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [_text(array) for array in columns.columns]
    if not arrays:
        return columns
    return pa.RecordBatch.from_arrays(arrays, names=columns.schema.names)


def _finite(values: pa.Array) -> bool:
    if not pa.types.is_floating(values.type):
        return True
    return bool(np.isfinite(values.drop_null().to_numpy(zero_copy_only=False)).all())


def _sparse(column: pa.Array, field: Field) -> bool:
    """Whether the places of vectors ascend within their width, and their values are finite and not zero."""
    if field.role is not Role.vector or not field.width or (field.parts and len(field.parts) != field.width):
        return False
    for row in column.drop_null().to_pylist():
        places, values = row["indices"], row["values"]
        ascend = all(a < b for a, b in pairwise([-1, *places, field.width]))
        if not ascend or len(places) != len(values) or not all(np.isfinite(values)) or 0.0 in values:
            return False
    return True


def _same(a: Batch, b: Batch) -> bool:
    return bool(_plain(a.columns).equals(_plain(b.columns))) and _keys(a) == _keys(b)


def _greatest(values: pa.Array) -> float:
    """The greatest magnitude of a column of floats, 0 for another."""
    if not pa.types.is_floating(values.type):
        return 0.0
    return float(np.abs(values.drop_null().to_numpy(zero_copy_only=False)).max(initial=0.0))


def _close(a: pa.Array, b: pa.Array, greatest: float) -> bool:
    """Whether two columns agree; floats to the rounding of the greatest number that was scaled with them."""
    if not pa.types.is_floating(a.type):
        return bool(a.equals(b))
    if not pc.is_null(a).equals(pc.is_null(b)):
        return False
    left = a.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    right = b.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    precision = 1e-5 if a.type == pa.float32() else 1e-9
    return bool(np.allclose(left, right, rtol=precision, atol=precision * greatest))


def _values_close(a: Any, b: Any) -> bool:
    """Whether two values of statistics agree, floats to 1e-9."""
    if is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(
            _values_close(getattr(a, one.name), getattr(b, one.name)) for one in fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and all(_values_close(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_values_close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True))
    if isinstance(a, pa.Table):
        return bool(a.equals(b))
    return bool(a == b)
