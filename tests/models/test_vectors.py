"""Boosted trees and linear models on columns of sparse vectors: the laws, and that they are what columns would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import random as random_sparse
from training_table import LETTERS, TableData, batch_of_table, codes, number

import penstock as ps
from penstock.engine import Figures
from penstock.model import FittedModel, Model, Target
from penstock.models.boosted import BoostedTrees
from penstock.models.linear import Linear
from penstock.schema import SPARSE, Field, Role, Schema
from penstock.source import Note
from penstock.testing.models import check_model
from penstock.vectors import as_matrix, as_sparse

WIDTH = 12
MODELS: tuple[Model, ...] = (
    BoostedTrees(rounds=20, folds=2, bags=1, early_stopping_rounds=5),
    BoostedTrees(rounds=20, folds=1, early_stopping_rounds=None),
    Linear(epochs=4),
)


def tables(rows: int = 900, seed: int = 0) -> tuple[pa.Table, Schema, pa.Table, Schema, np.ndarray]:
    """Numbers, codes and a column of vectors; the same with a column for each place; and what is to be told."""
    random = np.random.default_rng(seed)
    words = random_sparse(rows, WIDTH, 0.2, "csr", np.float32, random)
    dense = words.toarray()
    x = random.normal(size=rows)
    letter = random.integers(-1, len(LETTERS), rows).astype(np.int32)
    first = {"x": pa.array(x, mask=random.random(rows) < 0.1)}
    last = {"letter": pa.array(letter)}
    table = pa.table({**first, "words": as_sparse(words), **last})
    vector = Field("words", SPARSE, Role.vector, width=WIDTH, parts=tuple(f"w{place}" for place in range(WIDTH)))
    schema = Schema((number("x"), vector, codes("letter", LETTERS)))
    places = {f"w{place}": pa.array(dense[:, place]) for place in range(WIDTH)}
    apart = pa.table({**first, **places, **last})
    apart_schema = Schema((number("x"), *(number(name, pa.float32()) for name in places), codes("letter", LETTERS)))
    signal = 3 * dense[:, 0] - 3 * dense[:, 1] + 0.5 * x + (letter == 2) - 0.3
    return table, schema, apart, apart_schema, signal + random.logistic(size=rows) * 0.1


def target_of(task: str, signal: np.ndarray) -> tuple[Target, np.ndarray]:
    if task == "regression":
        return Target("y", "regression"), signal
    if task == "binary":
        return Target("y", "binary", ("no", "yes")), signal > 0
    return Target("y", "multiclass", ("a", "b", "c")), np.digitize(signal, [-0.5, 0.5])


def learned(model: Model, table: pa.Table, schema: Schema, task: str, signal: np.ndarray) -> FittedModel:
    target, labels = target_of(task, signal)
    return model.train(TableData(table, schema, target, labels, cores=1))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{getattr(model, 'folds', '')}")
def test_the_laws_hold_for_vectors(model: Model, task: str) -> None:
    table, schema, _, _, signal = tables()
    target, labels = target_of(task, signal)
    check_model(model, TableData(table, schema, target, labels, cores=1), rows=300)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("model", MODELS[1:], ids=lambda model: model.name)
def test_a_vector_is_learned_from_as_columns_would_be(model: Model, task: str) -> None:
    table, schema, apart, apart_schema, signal = tables()
    if isinstance(model, Linear):
        model = Linear(epochs=4, eta0=0.05)  # "auto" takes larger steps where there are vectors
    else:
        model = BoostedTrees(rounds=20, folds=1, early_stopping_rounds=None, feature_fraction=1.0)
    one = learned(model, table, schema, task, signal).predict(batch_of_table(table)).columns
    other = learned(model, apart, apart_schema, task, signal).predict(batch_of_table(apart)).columns
    for name in one.schema.names[1 if task != "regression" else 0 :]:
        np.testing.assert_allclose(one.column(name).to_numpy(), other.column(name).to_numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{getattr(model, 'folds', '')}")
def test_what_features_contribute_adds_up_and_a_vector_has_one_place(model: Model, task: str) -> None:
    table, schema, _, _, signal = tables()
    fitted = learned(model, table, schema, task, signal)
    batch = batch_of_table(table, 0, 50)
    parts = fitted.contributions(batch)
    assert parts is not None
    outputs = 3 if task == "multiclass" else 1
    assert parts.shape == (50, 4, outputs)
    total = parts.sum(axis=1)
    predicted = fitted.predict(batch).columns
    if task == "regression":
        np.testing.assert_allclose(total[:, 0], predicted.column(0).to_numpy(), rtol=1e-6)
    elif task == "binary":
        chance = predicted.column("probability_yes").to_numpy()
        np.testing.assert_allclose(total[:, 0], np.log(chance / (1 - chance)), rtol=1e-5, atol=1e-6)
    else:
        chances = np.column_stack([predicted.column(1 + place).to_numpy() for place in range(3)])
        np.testing.assert_array_equal(np.argmax(total, axis=1), np.argmax(chances, axis=1))
    assert np.abs(parts[:, 1]).max() > 0.1


def test_importance_is_told_by_column() -> None:
    table, schema, _, _, signal = tables()
    fitted = learned(MODELS[0], table, schema, "binary", signal)
    importance = fitted.summary["importance"]
    assert set(importance) == {"x", "words", "letter"}
    assert next(iter(importance)) == "words"
    assert sum(importance.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[2]], ids=lambda model: model.name)
def test_a_wider_vector_needs_more_memory(model: Model) -> None:
    target = Target("y", "binary", ("no", "yes"))
    needs = []
    for width in (10, 1000, 100_000):
        schema = Schema((Field("words", SPARSE, Role.vector, width=width),))
        needs.append(model.memory_needed(50_000, schema, target))
    assert needs[0] < needs[1] < needs[2]


@pytest.mark.parametrize("model", [BoostedTrees(rounds=30, folds=1), Linear(epochs=8)], ids=lambda model: model.name)
def test_texts_and_lists_are_learned_from_without_a_step_of_ones_own(model: Model) -> None:
    random = np.random.default_rng(4)
    spam = random.random(400) < 0.4
    texts = [
        " ".join(random.choice(["win", "prize", "now"] if bad else ["see", "you", "home"], 4)) + f" w{row}"
        for row, bad in enumerate(spam)
    ]
    tags = [["red", f"t{row}"] if bad else ["green"] for row, bad in enumerate(spam)]
    columns: dict[str, Any] = {"text": pa.array(texts), "y": pa.array(np.where(spam, "spam", "ham"))}
    for name, values in (("text", None), ("tags", pa.array(tags))):
        table = pa.table({**columns, **({name: values} if values is not None else {})})
        source = ps.read(table, roles={"text": ps.Role.text if name == "text" else ps.Role.ignored})
        fitted = ps.Pipeline(model=model, target="y", holdout=0.25).fit(source)
        assert fitted.summary["evaluation"]["metrics"]["roc_auc"] > 0.99


def test_matrices_of_vectors_are_the_columns_they_came_from() -> None:
    table, _, apart, _, _ = tables()
    matrix = as_matrix(table["words"], WIDTH).toarray()
    for place in range(WIDTH):
        np.testing.assert_array_equal(matrix[:, place], apart[f"w{place}"].to_numpy())


class Heard:
    """A listener that keeps what is said of columns."""

    def __init__(self) -> None:
        self.said_of: dict[str, str] = {}

    def said(self, note: Note) -> None:
        if note.topic.startswith("column "):
            self.said_of[note.topic] = note.text

    def progressed(self, figures: Figures) -> None:
        """Nothing is kept."""


def test_a_text_without_a_word_is_said_to_say_nothing_and_a_column_left_out_by_hand_is_not() -> None:
    random = np.random.default_rng(0)
    table = pa.table(
        {
            "x": random.normal(size=200),
            "dropped": random.normal(size=200),
            "null": pa.nulls(200, pa.string()),
            "once": [f"wordy{chr(97 + row % 26) * (1 + row // 26)}" for row in range(200)],
            "y": np.where(random.random(200) < 0.5, "a", "b"),
        }
    )
    source = ps.read(table, roles={"null": ps.Role.text, "once": ps.Role.text})
    heard = Heard()
    ps.Pipeline([ps.Drop("dropped")], Linear(epochs=2), target="y").fit(source, listener=heard)
    assert heard.said_of == {"column 'null'": "it says nothing", "column 'once'": "it says nothing"}
