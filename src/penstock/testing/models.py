"""The laws of a model, checked on data of your choice: `check_model`. Part of the checks that contracts ship.

A model that passes here gives the same model for the same data, predicts a row by itself, and is after loading what it
was before saving.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.batch import Batch, RowKeys
from penstock.errors import SchemaError, UsageError
from penstock.model import PREDICTION, PROBABILITY, FittedModel, Model, TrainingData
from penstock.registry import find
from penstock.source import BLOCK_ROWS

_SLICES = ((0, 1), (1, 1), (3, 7), (0, 64), (5, 129))


def check_model(model: Model, data: TrainingData, *, rows: int = 1000) -> FittedModel:
    """Check the laws of `penstock.model.Model` on a model.

    Args:
        model: the definition.
        data: what it is trained on, twice; small.
        rows: how many rows are predicted.

    Returns:
        What was trained, for checks of one's own.

    Raises:
        AssertionError: a law is broken; the message says which.
    """
    _frozen(model)
    need = model.memory_needed(data.rows, data.schema, data.target)
    _law(0 < need <= model.memory_needed(2 * data.rows, data.schema, data.target), "more rows need more memory", need)
    fitted = model.train(data)
    _law(fitted.name == model.name, "the fitted model has the model's name", fitted.name)
    _law(fitted.target == data.target and fitted.features == data.schema, "it knows its target and features")
    batch = first_rows(data, rows)
    predicted = fitted.predict(batch)
    _columns(fitted, batch, predicted)
    _frozen(fitted)
    _law(_same(fitted.predict(batch), predicted), "predicting twice gives the same")
    _rows_are_independent(fitted, batch, predicted)
    _law(_same(fitted.predict(batch, threads=2), predicted), "threads change nothing in a prediction")
    with tempfile.TemporaryDirectory() as folder:
        files = _saved(fitted, Path(folder, "first"))
        _law(files == _saved(model.train(data), Path(folder, "second")), "same data and seed give the same bytes")
        loaded = find("fitted_models", fitted.name).load(Path(folder, "first"))
        _law(_same(loaded.predict(batch), predicted), "what is loaded predicts what was saved, to the bit")
        _law(loaded.summary == fitted.summary, "the summary is loaded as it was", loaded.summary)
        _law(_saved(loaded, Path(folder, "third")) == files, "what is loaded is saved as the same bytes")
    _refuses_missing_features(fitted, batch)
    return fitted


def first_rows(data: TrainingData, rows: int) -> Batch:
    """The first rows of the training data, as one batch."""
    table = data.table().slice(0, min(rows, BLOCK_ROWS)).combine_chunks()
    columns = pa.RecordBatch.from_arrays(
        [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns],
        names=table.column_names,
    )
    return Batch(columns, RowKeys.span("training", 0, columns.num_rows))


def _columns(fitted: FittedModel, batch: Batch, predicted: Batch) -> None:
    """The columns and types promised, the same rows, and probabilities that are ones."""
    names = [field.name for field in fitted.prediction_fields]
    _law(
        predicted.columns.schema.names == names, f"a prediction has the columns {names}", predicted.columns.schema.names
    )
    for field in fitted.prediction_fields:
        kind = predicted.column(field.name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        _law(plain == field.type, f"column {field.name!r} is of type {field.type}", kind)
        _law(predicted.column(field.name).null_count == 0, f"column {field.name!r} has no nulls")
    _law(np.array_equal(predicted.keys.rows, batch.keys.rows), "the rows keep their keys, in their order")
    _law(len(predicted) == len(batch), "as many rows come out as went in")
    if not fitted.target.has_labels:
        _placed(fitted, batch, predicted)
        return
    if fitted.target.task == "regression":
        _law(bool(np.isfinite(_array(predicted, PREDICTION)).all()), "predicted values are finite")
        return
    shares = np.column_stack([_array(predicted, PROBABILITY + label) for label in fitted.target.classes])
    _law(bool(((shares >= 0) & (shares <= 1)).all()), "probabilities are from 0 to 1")
    _law(bool((np.abs(shares.sum(axis=1) - 1) < 1e-12).all()), "the probabilities of a row sum to one")
    likeliest = [fitted.target.classes[code] for code in shares.argmax(axis=1)]
    _law(predicted.column(PREDICTION).to_pylist() == likeliest, "the label is that of the largest probability")


def _placed(fitted: FittedModel, batch: Batch, predicted: Batch) -> None:
    """Without a target: numbers that are finite, names that are known, and a place for each row."""
    for field in fitted.prediction_fields:
        if field.categories is None:
            _law(bool(np.isfinite(_array(predicted, field.name)).all()), f"column {field.name!r} is finite")
        else:
            _law(
                set(predicted.column(field.name).to_pylist()) <= set(field.categories),
                f"column {field.name!r} is one of its categories",
            )
    placed = fitted.placed(batch)
    _law(placed.places.shape[0] == len(placed.spread) == len(batch), "every row has a place", placed.places.shape)
    _law(bool(np.isfinite(placed.places).all() and (placed.spread >= 0).all()), "places and spreads are numbers")
    _law(fitted.placed(batch.slice(0, 0)).places.shape == (0, placed.places.shape[1]), "no rows have no places")


def _rows_are_independent(fitted: FittedModel, batch: Batch, predicted: Batch) -> None:
    """A row's prediction has the same bits alone, among others, and in another place."""
    for start, length in _SLICES:
        alone = fitted.predict(batch.slice(start, length))
        _law(
            _same(alone, predicted.slice(start, length)),
            f"rows {start} to {start + length} predicted alone are the same",
        )
    _law(len(fitted.predict(batch.slice(0, 0))) == 0, "a batch without rows gives none")
    order = np.arange(len(batch))[::-1].copy()
    turned = Batch(batch.columns.take(pa.array(order)), batch.keys.take(order))
    expected = predicted.columns.take(pa.array(order))
    _law(_equal(fitted.predict(turned).columns, expected), "rows in another order are predicted the same")
    names = batch.columns.schema.names[::-1]
    _law(_same(fitted.predict(batch.select(names)), predicted), "the order of the batch's columns does not matter")


def _refuses_missing_features(fitted: FittedModel, batch: Batch) -> None:
    """Without a feature nothing is predicted, and the message names it."""
    for name in fitted.features.names:
        try:
            fitted.predict(batch.select([other for other in fitted.features.names if other != name]))
        except SchemaError as error:
            _law(repr(name) in str(error), f"the message names the missing feature {name!r}", error)
        else:
            _law(False, f"without the feature {name!r} nothing is predicted")


def _saved(fitted: FittedModel, folder: Path) -> Mapping[str, bytes]:
    folder.mkdir()
    fitted.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _array(batch: Batch, name: str) -> Any:
    return batch.column(name).to_numpy(zero_copy_only=False)


def _same(one: Batch, other: Batch) -> bool:
    return _equal(one.columns, other.columns)


def _equal(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Equal to the bit; text compared by value, however it is encoded."""
    if one.schema.names != other.schema.names or one.num_rows != other.num_rows:
        return False
    for left, right in zip(one.columns, other.columns, strict=True):
        if pa.types.is_floating(left.type):
            if left.to_numpy(zero_copy_only=False).tobytes() != right.to_numpy(zero_copy_only=False).tobytes():
                return False
        elif left.to_pylist() != right.to_pylist():
            return False
    return True


def _frozen(value: object) -> None:
    _law(is_dataclass(value), f"{type(value).__name__} is a dataclass")
    for field in fields(value):  # type: ignore[arg-type]
        try:
            setattr(value, field.name, getattr(value, field.name))
        except FrozenInstanceError:
            continue
        _law(False, f"{type(value).__name__} is frozen", field.name)


def _law(holds: bool, law: str, got: object = "") -> None:
    if not holds:
        raise AssertionError(f"broken law: {law}" + (f"; got {got}" if got != "" else ""))


def check_refusals(model: type[Model], wrong: Mapping[str, Any]) -> None:
    """Check that each of these arguments is refused, by name.

    Raises:
        AssertionError: one is taken, or the message does not name it.
    """
    for argument, value in wrong.items():
        try:
            model(**{argument: value})
        except UsageError as error:
            _law(argument in str(error), f"the message names the argument {argument!r}", error)
        else:
            _law(False, f"{argument}={value!r} is refused")
