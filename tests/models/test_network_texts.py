"""Batches of texts: rows of like length together, each once, in an order that the seed and the epoch say; and what is
padded changes nothing in what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.batch import Batch, RowKeys
from penstock.engine import Figures, Resources
from penstock.materialize import LaidDown
from penstock.model import Target
from penstock.models.network_inputs import Inputs, mean_tokens
from penstock.models.networks.padding import padded_length
from penstock.order import by_length
from penstock.schema import Field, Role, Schema
from penstock.source import Note
from penstock.target import HASH, LABEL

pytest.importorskip("torch")

ROWS = 420
WORDS = tuple(f"w{place}" for place in range(30))
TEXT = Field("text", pa.list_(pa.int32()), Role.tokens, categories=WORDS)
TITLE = Field("title", pa.list_(pa.int32()), Role.tokens, categories=WORDS)
SCHEMA = Schema((TEXT, TITLE, Field("age", pa.float32(), Role.number)))
TARGET = Target("label", "binary", ("ham", "spam"))


class Stop(Exception):
    """The power goes."""


class Stopper:
    """Stops a training after so many batches."""

    def __init__(self, after: int = -1) -> None:
        self.left = after

    def said(self, note: Note) -> None:
        pass

    def progressed(self, figures: Figures) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


def table(rows: int = ROWS) -> pa.Table:
    """Texts of very different lengths; the word 3 makes one spam."""
    random = np.random.default_rng(1)
    lengths = np.minimum(random.geometric(0.05, rows) - 1, 100)
    labels = random.random(rows) < 0.4
    texts = [random.choice(np.delete(np.arange(30), 3), length).tolist() for length in lengths]
    for text, label in zip(texts, labels, strict=True):
        text.extend([3] * int(label))
    titles = [random.integers(4, 30, random.integers(0, 9)).tolist() for _ in range(rows)]
    return pa.table(
        {
            "text": pa.array(texts, TEXT.type),
            "title": pa.array(titles, TITLE.type),
            "age": pa.array(random.normal(size=rows), pa.float32()),
            LABEL: pa.array(labels.astype(np.int32)),
            HASH: pa.array(RowKeys.span("table", 0, rows).hash(0)),
        }
    )


def laid_down(folder: Path, listener: Any = None) -> LaidDown:
    encoded = folder / "encoded"
    if not encoded.exists():
        encoded.mkdir(parents=True)
        whole = table()
        for place, (begin, rows) in enumerate(((0, 200), (200, ROWS - 200))):  # rows are gathered from both
            with pa.OSFile(str(encoded / f"{place}.arrow"), "wb") as file, pa.ipc.new_file(file, whole.schema) as out:
                out.write_table(whole.slice(begin, rows))
    return LaidDown(
        encoded,
        ["0.arrow", "1.arrow"],
        schema=SCHEMA,
        target=TARGET,
        seed=3,
        resources=Resources(1, 2**33),
        listener=listener or Stopper(),
        checkpoints=folder / "checkpoints",
    )


def padding_share(lengths: list[npt.NDArray[Any]]) -> float:
    """Of what goes into a network, batch by batch, how much is padding."""
    padded = sum(int(padded_length(each).max()) * len(each) for each in lengths)
    return 1 - sum(int(each.sum()) for each in lengths) / padded


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 50), max_size=400), batch_rows=st.integers(1, 9), seed=st.integers(0, 2**64 - 1))
def test_rows_by_length_are_each_there_once_and_the_rest_that_fills_no_batch_stays_last(
    lengths: list[int], batch_rows: int, seed: int
) -> None:
    order = by_length(np.array(lengths, np.int64), batch_rows, seed)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    rest = len(lengths) % batch_rows
    assert order[len(lengths) - rest :].tolist() == list(range(len(lengths) - rest, len(lengths)))
    assert order.tolist() == by_length(np.array(lengths, np.int64), batch_rows, seed).tolist()


def test_an_epoch_has_every_row_once_in_an_order_of_its_seed_and_number(tmp_path: Path) -> None:
    data = laid_down(tmp_path)
    keep = np.arange(ROWS) % 7 > 0

    def rows(number: int, threads: int = 0, start: int = 0) -> list[list[int]]:
        return [batch.rows.tolist() for batch in data.epoch(number, 16, keep=keep, threads=threads, start=start)]

    first = rows(0)
    assert sorted(row for batch in first for row in batch) == np.flatnonzero(keep).tolist()
    assert [len(batch) for batch in first[:-1]] == [16] * (len(first) - 1)
    assert rows(0, threads=1) == rows(0, threads=4) == first
    assert rows(0, threads=2, start=5) == first[5:]
    assert rows(1) != first
    lengths = [np.mean(np.diff(batch.tokens["text"][1])) for batch in data.epoch(0, 16, keep=keep)]
    assert np.abs(np.corrcoef(lengths[:-1], np.arange(len(lengths) - 1))[0, 1]) < 0.5  # batches are shuffled


def test_rows_of_like_length_come_together_so_that_little_is_padded(tmp_path: Path) -> None:
    data = laid_down(tmp_path)
    totals = np.array([len(text) for text in table()["text"].to_pylist()])  # rows in plan order are in no order
    at_random = [totals[at : at + 16] for at in range(0, ROWS, 16)]
    found = [np.diff(batch.tokens["text"][1]) for batch in data.epoch(0, 16)]
    assert sum(int(each.sum()) for each in found) == int(totals.sum())
    assert padding_share(found) < 0.4 < 0.6 < padding_share(at_random)


@pytest.mark.parametrize("stops", [(9, 4), (20,)], ids=str)
def test_a_training_on_texts_that_is_stopped_ends_with_the_same_weights(tmp_path: Path, stops: tuple[int, ...]) -> None:
    model = ps.Network(
        module="text_conv",
        settings={"size": 4, "filters": 4},
        epochs=2,
        batch_rows=32,
        patience=None,
        checkpoint_seconds=0.0,
    )
    whole = model.train(laid_down(tmp_path / "whole"))
    for after in stops:
        with pytest.raises(Stop):
            model.train(laid_down(tmp_path / "stopped", Stopper(after)))
    again = model.train(laid_down(tmp_path / "stopped"))
    assert again.weights == whole.weights
    assert again.summary["history"] == whole.summary["history"]


@pytest.mark.parametrize("network", ["embedding_bag", "text_conv", "gru"])
def test_a_row_is_predicted_as_it_would_be_alone_and_in_its_place(tmp_path: Path, network: str) -> None:
    fitted = ps.Network(module=network, settings={"size": 4}, epochs=1).train(laid_down(tmp_path))
    whole = table(200).select(["text", "title", "age"]).combine_chunks().to_batches()[0]
    batch = Batch(whole, RowKeys.span("table", 0, 200))
    together = fitted.scores(batch)
    assert np.unique(together).size > 100
    alone = np.concatenate([fitted.scores(batch.slice(row, 1)) for row in range(12)])
    assert (together[:12] == alone).all()
    plain = Inputs.of_batch(batch, SCHEMA)  # all rows at once, padded to the longest of all
    from penstock.models.networks.building import scores_of

    expected = scores_of(fitted.module, plain.to_torch()).detach().numpy()
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.tuples(*[st.integers(0, 300)] * 4), min_size=1, max_size=60),
    most=st.sampled_from([1, 16, 1024]),
)
def test_rows_that_are_predicted_together_are_padded_alike_whatever_else_is_there(
    lengths: list[tuple[int, ...]], most: int
) -> None:
    counts = np.array(lengths, np.int64).T
    tokens = {
        str(place): (np.zeros(int(each.sum()), np.int32), np.concatenate([[0], np.cumsum(each)]))
        for place, each in enumerate(counts)
    }
    parts = list(Inputs(len(lengths), np.zeros((len(lengths), 0), np.float32), {}, tokens).alike(most))
    assert sorted(np.concatenate([places for places, _ in parts]).tolist()) == list(range(len(lengths)))
    filled: dict[tuple[int, ...], int] = {}
    for places, rows in parts:
        padded = {tuple(padded_length(counts[:, place]).tolist()) for place in places}
        assert len(padded) == 1  # four columns of text, each padded as its own tokens say
        assert len(places) <= rows <= most
        assert filled.setdefault(padded.pop(), rows) == rows
        assert rows * int(padded_length(counts[:, places]).max()) <= 4096 or rows == 1


def test_short_texts_are_learned_from_on_one_core_and_long_ones_on_all(tmp_path: Path) -> None:
    data = laid_down(tmp_path)
    words = mean_tokens(data)
    assert words == pytest.approx(
        {name: np.mean([len(each) for each in table()[name].to_pylist()]) for name in ("text", "title")}
    )
    model = ps.Network(module="text_conv", batch_rows=32)
    assert model.threads_of(ROWS, SCHEMA, 8, words) == 1
    assert model.threads_of(ROWS, SCHEMA, 8, {"text": 400.0, "title": 5.0}) == 8
