"""The laws of statistics, on every one that the registry knows, and that the check of them finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from picture_data import picture_blocks

from penstock.audit import Changes
from penstock.batch import Batch, RowKeys
from penstock.registry import find, names
from penstock.statistic import Statistic
from penstock.statistics.bounded_frequencies import BoundedFrequencies
from penstock.statistics.calendar import Calendar
from penstock.statistics.channel_moments import ChannelMoments
from penstock.statistics.classification import Classification
from penstock.statistics.correlation import Correlation
from penstock.statistics.count import Count
from penstock.statistics.distinct import Distinct
from penstock.statistics.documents import DocumentFrequencies
from penstock.statistics.duplicates import Duplicates
from penstock.statistics.frequencies import Frequencies
from penstock.statistics.grouped import GroupedHistograms, GroupedMeans
from penstock.statistics.grouped_frequencies import GroupedFrequencies
from penstock.statistics.histogram import Histogram
from penstock.statistics.lengths import Lengths
from penstock.statistics.mistakes import Mistakes
from penstock.statistics.moments import Moments
from penstock.statistics.picture_sizes import PictureSizes
from penstock.statistics.regression import Regression
from penstock.statistics.sample import Sample
from penstock.statistics.sliced import Sliced
from penstock.statistics.target_folds import TargetCounts, TargetMoments
from penstock.statistics.tokens import Tokenizer
from penstock.testing.statistics import check_statistic


@dataclass(frozen=True)
class Example:
    """A statistic to check: how to make one, whether its state is of integers, what may stand for null."""

    make: Callable[[], Statistic[Any]]
    exact: bool
    fills: tuple[Any, ...] = ()


EXAMPLES: dict[str, list[Example]] = {
    "count": [Example(lambda: Count("number"), True, (0.0,)), Example(lambda: Count("text"), True, ("a",))],
    "moments": [
        Example(lambda: Moments("number"), False, (0.5, -7.0)),
        Example(lambda: Moments("whole"), False, (3,)),
        Example(lambda: Moments("truth"), False),
        Example(lambda: Moments("time"), False),
    ],
    "histogram": [
        Example(lambda: Histogram("number"), True, (0.5, -0.0)),
        Example(lambda: Histogram("number", buckets=16), True, (0.5, -1e300)),
        Example(lambda: Histogram("whole"), True, (3, -4)),
        Example(lambda: Histogram("truth"), True, (True,)),
        Example(lambda: Histogram("time", buckets=8), True),
    ],
    "frequencies": [
        Example(lambda: Frequencies("text"), True, ("a", "not there")),
        Example(lambda: Frequencies("text", bound=2), True, ("a",)),
        Example(lambda: Frequencies("whole"), True, (3,)),
        Example(lambda: Frequencies("truth"), True, (False,)),
        Example(lambda: Frequencies("time"), True),
    ],
    "bounded_frequencies": [
        Example(lambda: BoundedFrequencies("text"), True),
        Example(lambda: BoundedFrequencies("text", most=2), True),
        Example(lambda: BoundedFrequencies("whole", most=5), True),
        Example(lambda: BoundedFrequencies("truth", most=1), True),
    ],
    "distinct": [
        Example(lambda: Distinct("number", precision=4), True, (0.5, -0.0)),
        Example(lambda: Distinct("text"), True, ("a", "not there")),
        Example(lambda: Distinct("text", precision=4), True, ("a",)),
        Example(lambda: Distinct("whole"), True, (3,)),
        Example(lambda: Distinct("time"), True),
    ],
    "classification": [
        Example(lambda: Classification("label", ["a", "b"]), False),
        Example(lambda: Classification("truth", ["a", "b"]), False),
    ],
    "regression": [Example(lambda: Regression("number"), False)],
    "document_frequencies": [
        Example(lambda: DocumentFrequencies("text", Tokenizer("char", (1, 2)).to_json()), True),
        Example(lambda: DocumentFrequencies("label", Tokenizer("value").to_json()), True),
        Example(lambda: DocumentFrequencies("label", Tokenizer("word", (1, 2)).to_json()), True),
        Example(lambda: DocumentFrequencies("label", Tokenizer("items", separator="t").to_json()), True),
    ],
    "target_counts": [
        Example(lambda: TargetCounts("text", "label"), True),
        Example(lambda: TargetCounts("truth", "text", folds=2, seed=7), True),
    ],
    "target_moments": [
        Example(lambda: TargetMoments("text", "number"), False),
        Example(lambda: TargetMoments("label", "whole", folds=3), False),
    ],
    "changes": [Example(lambda: Changes(2), True)],
    "sliced": [
        Example(lambda: Sliced("text", "count", {"column": "number"}, values=["a"]), True),
        Example(lambda: Sliced("number", "distinct", {"column": "text"}, edges=[-1.0, 2.5]), True),
        Example(lambda: Sliced("time", "moments", {"column": "number"}, edges=[0.0]), False),
    ],
    "grouped_means": [
        Example(lambda: GroupedMeans(["text"], "number"), False),
        Example(lambda: GroupedMeans(["truth", "whole"], "time"), False),
    ],
    "grouped_histograms": [
        Example(lambda: GroupedHistograms(["text"], "number"), True),
        Example(lambda: GroupedHistograms(["truth", "whole"], "number", most=200), True),
    ],
    "grouped_frequencies": [
        Example(lambda: GroupedFrequencies(["text"], "whole"), True),
        Example(lambda: GroupedFrequencies(["truth", "label"], "text", bound=3), True),
    ],
    "mistakes": [
        Example(lambda: Mistakes("label", ["a", "b"], {"text": "words", "whole": "w"}, rows=3), True),
        Example(lambda: Mistakes("truth", ["a", "b"]), True),
    ],
    "correlation": [
        Example(lambda: Correlation(["number", "whole"]), False),
        Example(lambda: Correlation(["whole", "truth", "time", "number"]), False),
        Example(lambda: Correlation(["whole"]), False),
    ],
    "lengths": [Example(lambda: Lengths("text"), True), Example(lambda: Lengths("label"), True)],
    "calendar": [Example(lambda: Calendar("time"), True)],
    "duplicates": [
        Example(lambda: Duplicates(["text", "truth"]), True),
        Example(lambda: Duplicates(["whole", "label", "time"], bound=16), True),
        Example(lambda: Duplicates(["text", "whole"], bound=16), True),
    ],
    "picture_sizes": [Example(lambda: PictureSizes("file"), True)],
    "channel_moments": [
        *(Example(lambda name=name: ChannelMoments(name), True) for name in ("picture", "gray", "clip")),
        Example(lambda: ChannelMoments("wide"), False),
    ],
    "sample": [
        Example(lambda: Sample(["number", "truth", "time"], ["text", "label"], size=30), True),
        Example(lambda: Sample([], ["whole", "text"], size=1, seed=3), True),
        Example(lambda: Sample(["whole"]), True),
    ],
}
PICTURED = ("picture_sizes", "channel_moments")
"""Statistics of pictures: they are checked on other batches."""


def blocks(seed: int, sizes: tuple[int, ...]) -> list[Batch]:
    """Batches with every type of column, nulls among them, and the columns that a prediction adds."""
    rng = np.random.default_rng(seed)
    out, start = [], 0
    for rows in sizes:
        null = rng.random(rows) < (0.0 if len(out) == 1 else 0.3)
        chance = np.round(rng.random(rows), 2)
        columns = {
            "number": pa.array(rng.normal(size=rows) * 10.0 ** rng.integers(-5, 5, rows), mask=null),
            "whole": pa.array(rng.integers(0, 40, rows).astype(float), mask=null),
            "truth": pa.array(rng.random(rows) < 0.3, mask=null),
            "time": pa.array(rng.integers(0, 2**50, rows), pa.timestamp("us"), mask=null),
            "text": pa.array(rng.choice(["a", "b", "é", ""], rows).tolist(), pa.string(), mask=null),
            "label": pa.array(rng.choice(["a", "b", "other"], rows).tolist(), pa.string(), mask=null),
            "probability_a": pa.array(1.0 - chance),
            "probability_b": pa.array(chance),
        }
        label = pa.array(np.where(chance > 0.5, "b", "a").tolist(), pa.string())
        out.append((columns, label, start))
        start += rows
    return [
        Batch(pa.record_batch({**columns, "prediction": label}), RowKeys.span("file", at, len(label)))
        for columns, label, at in out
    ]


def changed_cells(batches: list[Batch]) -> list[Batch]:
    """Batches of the columns of an audit."""
    out = []
    for batch in batches:
        columns = {
            "path": batch.keys.path_column(),
            "row": pa.array(batch.keys.rows),
            "column": batch.column("prediction"),
            "before": batch.column("text"),
            "after": batch.column("label"),
            "step": batch.column("prediction"),
        }
        out.append(Batch(pa.record_batch(columns), batch.keys))
    return out


def numeric_prediction(batches: list[Batch]) -> list[Batch]:
    """The same with predicted numbers in place of classes."""
    out = []
    for batch in batches:
        place = batch.columns.schema.get_field_index("prediction")
        rows = batch.columns.set_column(place, "prediction", batch.column("probability_a"))
        out.append(batch.with_columns(rows))
    return out


@pytest.mark.parametrize("sizes", [(40, 25, 1, 60, 33), (200, 0, 3), (0,), (1,)], ids=str)
@pytest.mark.parametrize("name", sorted({*names("statistics"), *EXAMPLES}))
def test_every_registered_statistic_keeps_the_laws(name, sizes):
    assert name in EXAMPLES, f"the statistic {name!r} is registered and has no example here: add one"
    for seed, example in enumerate(EXAMPLES[name]):
        batches = blocks(seed, sizes)
        if name == "changes":
            batches = changed_cells(batches)
        if name == "regression":
            batches = numeric_prediction(batches)
        if name in PICTURED:
            batches = picture_blocks(seed, tuple(min(size, 40) for size in sizes))
        check_statistic(example.make, batches, exact=example.exact, fills=example.fills)


@pytest.mark.parametrize("name", names("statistics"))
def test_a_statistic_is_registered_under_its_kind(name):
    assert find("statistics", name).kind == name
    assert all(type(example.make()) is find("statistics", name) for example in EXAMPLES[name])


class Sum(Statistic[int]):
    """A right one, to be broken: the sum of whole numbers."""

    kind = "sum"
    schema = pa.schema([("total", pa.int64()), ("nulls", pa.int64())])

    def __init__(self, column: str) -> None:
        self.column, self.total, self.nulls = column, 0, 0

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def parameters(self) -> dict[str, Any]:
        return {"column": self.column}

    def update(self, batch: Batch) -> None:
        values = batch.column(self.column)
        self.total += int(sum(v for v in values.to_pylist() if v is not None))
        self.nulls += values.null_count

    def merge(self, other: Sum) -> None:
        self.total += other.total
        self.nulls += other.nulls

    def value(self) -> int:
        return self.total

    def state(self) -> pa.Table:
        return pa.table([[self.total], [self.nulls]], schema=self.schema)

    def load(self, state: pa.Table) -> None:
        self.total, self.nulls = state["total"][0].as_py(), state["nulls"][0].as_py()

    def with_nulls_as(self, value: Any) -> Sum:
        new = self.empty()
        new.total = self.total + self.nulls * int(value)
        return new


class LosesNulls(Sum):
    def load(self, state: pa.Table) -> None:
        self.total = state["total"][0].as_py()


class MergeOverwrites(Sum):
    def merge(self, other: Sum) -> None:
        self.total, self.nulls = other.total, other.nulls + self.nulls


class MergeTakesAway(Sum):
    def merge(self, other: Sum) -> None:
        super().merge(other)
        other.total = 0


class CountsMerges(Sum):
    def merge(self, other: Sum) -> None:
        super().merge(other)
        self.total += 1 if other.total and self.total != other.total else 0


class ValueForgets(Sum):
    def value(self) -> int:
        self.total += 1
        return self.total


class CountsBatches(Sum):
    def update(self, batch: Batch) -> None:
        super().update(batch)
        self.total += 1


class ReadsUnderNulls(Sum):
    def update(self, batch: Batch) -> None:
        values = batch.column(self.column)
        self.total += int(np.frombuffer(values.buffers()[1])[: len(values)].sum())
        self.nulls += values.null_count


class DriftingSchema(Sum):
    def state(self) -> pa.Table:
        table = super().state()
        return table.append_column("more", [[1]]) if self.total else table

    def load(self, state: pa.Table) -> None:
        super().load(state)


class Unnamed(Sum):
    kind = ""


class BadParameters(Sum):
    def parameters(self) -> dict[str, Any]:
        return {"column": self.column, "more": 1}


class UnserialisableParameters(Sum):
    def parameters(self) -> dict[str, Any]:
        return {"column": {self.column}}


class DefinedByData(Sum):
    @property
    def definition(self) -> str:
        return f"sum {self.total}"


class ReadsMore(Sum):
    def update(self, batch: Batch) -> None:
        super().update(batch)
        self.total += batch.columns.num_columns * len(batch)


class FillsWrongly(Sum):
    def with_nulls_as(self, value: Any) -> Sum:
        new = self.empty()
        new.total = self.total
        return new


class DoesNotKnow(Sum):
    def with_nulls_as(self, value: Any) -> Any:
        return None


def test_a_right_statistic_passes():
    check_statistic(lambda: Sum("whole"), blocks(0, (40, 25, 60)), exact=True, fills=[3])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (LosesNulls, "after others"),
        (MergeOverwrites, "merged with an empty one is itself"),
        (MergeTakesAway, "merge leaves the other as it was"),
        (CountsMerges, "any grouping of the blocks gives the same"),
        (ValueForgets, "value"),
        (CountsBatches, "a batch without rows changes nothing"),
        (ReadsUnderNulls, "what lies in memory under a null"),
        (DriftingSchema, "schema of a state does not depend"),
        (Unnamed, "has a kind"),
        (BadParameters, "parameters rebuild it"),
        (UnserialisableParameters, "parameters are JSON values"),
        (DefinedByData, "definition does not depend on the data"),
        (ReadsMore, "reads no columns but those it names"),
        (FillsWrongly, "the same as nulls really replaced"),
        (DoesNotKnow, r"with_nulls_as\(3\) is known"),
    ],
)
def test_a_broken_law_is_found_and_named(broken, message):
    with pytest.raises(AssertionError, match=message) as caught:
        check_statistic(lambda: broken("whole"), blocks(0, (40, 25, 60)), exact=True, fills=[3])
    assert str(caught.value).startswith(broken.__name__)


def test_a_float_state_is_held_to_the_tolerance():
    class Drifts(Sum):
        def value(self) -> float:
            return float(self.total)

        def merge(self, other: Sum) -> None:
            grown = self.total and other.total
            super().merge(other)
            self.total += round(self.total * 1e-3) if grown else 0

    with pytest.raises(AssertionError, match="any grouping"):
        check_statistic(lambda: Drifts("whole"), blocks(0, (40, 25, 60)), exact=False)
    check_statistic(lambda: Drifts("whole"), blocks(0, (40, 25, 60)), exact=False, tolerance=1e-2)
