"""The laws of steps, on every step that the registry knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from picture_data import EXAMPLES as PICTURE_STEPS
from picture_data import PICTURES, pictures

from penstock.batch import Batch
from penstock.registry import find, names
from penstock.schema import Field, Role, Schema
from penstock.statistic import Statistic
from penstock.step import Check, Columns, FittedStep, Step, TableStep, Use
from penstock.steps.bins import Bin
from penstock.steps.columns import Cast, Drop, Rename, Select
from penstock.steps.dates import PARTS, PERIODS, DateParts
from penstock.steps.derive import Derive
from penstock.steps.encode import OneHot, Ordinal
from penstock.steps.frequency_encode import FrequencyEncode
from penstock.steps.impute import Impute
from penstock.steps.majority import RepairByMajority
from penstock.steps.missing import DropMissing, RejectMissing
from penstock.steps.outliers import Clip, FlagOutliers, RejectOutliers
from penstock.steps.power import Power
from penstock.steps.quantile_transform import QuantileTransform
from penstock.steps.scale import MinMax, Robust, Standardize
from penstock.steps.spellings import MergeSpellings
from penstock.steps.target_encode import TargetEncode
from penstock.steps.text import NormalizeText
from penstock.steps.tokenize import Tokenize
from penstock.steps.tokens import Hash, MultiHot, TfIdf
from penstock.steps.validate import Validate
from penstock.testing.steps import batch_of, check_step

SCHEMA = Schema(
    (
        Field("key", pa.string(), Role.key),
        Field("number", pa.float64(), Role.number),
        Field("short", pa.float32(), Role.number),
        Field("whole", pa.float64(), Role.integer),
        Field("truth", pa.bool_(), Role.boolean),
        Field("color", pa.string(), Role.category),
        Field("note", pa.string(), Role.text),
        Field("time", pa.timestamp("us"), Role.time),
        Field("label", pa.string(), Role.target, values=Role.category),
    )
)
ROW = st.fixed_dictionaries(
    {
        "key": st.text("ab01", max_size=3),
        "number": st.none() | st.floats(-1e6, 1e6, allow_subnormal=False),
        "short": st.none() | st.floats(-1e3, 1e3, allow_subnormal=False, width=32),
        "whole": st.none() | st.integers(-20, 20).map(float),
        "truth": st.none() | st.booleans(),
        "color": st.none() | st.sampled_from(["red", "green", "blue", "é"]),
        "note": st.none() | st.sampled_from(["", "3", " 4.5 ", "true", "2024-01-31", "NaN", "words of text"]),
        "time": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
        "label": st.none() | st.sampled_from(["yes", "no"]),
    }
)
FULL = {
    "key": "k",
    "number": 1.5,
    "short": 0.25,
    "whole": 3.0,
    "truth": True,
    "color": "red",
    "note": "5",
    "time": datetime(2024, 1, 31),
    "label": "yes",
}
NEW = {**FULL, "number": -7e7, "short": 9e5, "whole": 1e4, "color": "violet", "note": "1e300", "label": "unseen"}

EXAMPLES: dict[str, tuple[Step, ...]] = {
    "impute": (
        Impute("numeric"),
        Impute("numeric", "mean"),
        Impute(["whole", "color", "truth", "note"], "most_frequent"),
        Impute("numeric", "constant", 0.5),
        Impute(["color", "label"], "constant", "none"),
        Impute("numeric", by=("color", "truth"), indicator=True),
        Impute(["short", "whole"], "mean", by="time"),
        Impute(["color", "truth", "whole"], "most_frequent", by=("number", "note")),
    ),
    "clip": (Clip("numeric", (0.1, 0.9)), Clip("numeric", method="mad"), Clip(["whole"], (0.0, 1.0))),
    "flag_outliers": (FlagOutliers("numeric", method="zscore", factor=1), FlagOutliers(["short"], method="mad")),
    "reject_outliers": (
        RejectOutliers("numeric", method="iqr", factor=0.5),
        RejectOutliers(["number"], (0.1, 0.9), "quantile", when_predicting=True),
    ),
    "standardize": (Standardize("numeric"),),
    "min_max": (MinMax("numeric"), MinMax(["whole"], range=(-3, 5))),
    "robust": (Robust("numeric"),),
    "one_hot": (
        OneHot(["color", "truth"]),
        OneHot(["color", "note"], max_categories=2),
        OneHot("color", drop="first", unseen="reject"),
        OneHot("color", max_categories=2, unseen="infrequent"),
    ),
    "ordinal": (Ordinal(["color", "truth", "label"]), Ordinal(["color"], max_categories=2)),
    "select": (Select(["whole", "color"]),),
    "drop": (Drop("numeric"), Drop(["key", "label"])),
    "cast": tuple(
        Cast(columns, kind)  # type: ignore[arg-type]
        for kind, columns in {
            "float32": ["numeric", "truth", "note", "time"],
            "float64": ["number", "truth", "note", "time"],
            "int32": ["numeric", "truth", "note"],
            "int64": ["whole", "note", "time"],
            "boolean": ["whole", "truth", "note"],
            "text": ["number", "truth", "color", "time"],
            "category": ["whole", "truth", "note", "label"],
            "time": ["note", "time", "number"],
        }.items()
    ),
}
EXAMPLES |= {
    "rename": (Rename({"number": "*", "color": ""}), Rename({"number": "short", "short": "number", "key": "id"})),
    "derive": (
        Derive({"ratio": "number / whole", "number": "number // 3 + whole % 7 + whole / 49"}),
        Derive({"sort": "case when whole > 3 then color when truth then 'x' end", "long": "length(note) > 3"}),
        Derive(
            {"a": "exp(number) + log(short)", "b": "number ** 2 / 3", "c": "days_between(time, date('2024-02-28'))"}
        ),
        Derive(
            {"one": "1 + 1", "time": "max(time, date('1950-01-01'))", "n": "sin(number) * tan(whole) + short ** 0.5"}
        ),
    ),
    "date_parts": (
        DateParts("time", PARTS, tuple(PERIODS), since="2000-02-29 12:00"),
        DateParts(["time"], (), ("month",), keep=True),
    ),
    "drop_missing": (
        DropMissing(["number", "color"]),
        DropMissing("features", how="all", when_predicting=True),
        DropMissing(["label", "time"]),
    ),
    "reject_missing": (RejectMissing(["number", "note"], when_predicting=True), RejectMissing("numeric", how="all")),
    "validate": (
        Validate(
            {"number": {"min": -100, "below": 1e5, "not_null": True}, "whole": {"type": "integer", "values": [3, 1]}}
        ),
        Validate({"note": {"type": "number", "min": 4, "max_length": 5}, "time": {"above": "1950-01-01"}}),
        Validate({"color": {"values": ["red", "é"], "pattern": "[a-z]+"}, "label": {"not_null": True}}),
    ),
}
EXAMPLES |= {
    "normalize_text": (
        NormalizeText(["color", "note"]),
        NormalizeText(["note"], spaces="trim", unicode=None, case="casefold", missing=("words",)),
    ),
    "merge_spellings": (MergeSpellings(["color", "note"]), MergeSpellings("color", typing_errors=False)),
    "repair_by_majority": (
        RepairByMajority(["note", "whole", "truth"], "color", share=0.6, least=1),
        RepairByMajority(["short", "color", "number"], ("whole", "time", "truth"), least=1, missing=False),
    ),
    "tfidf": (
        TfIdf(["note", "color"], min_df=1),
        TfIdf("note", "char", (1, 3), max_features=5, sublinear=True, norm=None),
        TfIdf("note", "word", (1, 2), min_df=3),
    ),
    "hash": (Hash(["color", "note"], width=8), Hash("note", 16, "word", norm="l2")),
    "multi_hot": (
        MultiHot(["note", "color"], separator=" "),
        MultiHot("note", separator="e", min_df=2, max_features=2),
    ),
    "tokenize": (
        Tokenize(["color", "note"], min_count=1),
        Tokenize("note", "pieces", 12, min_count=1, max_tokens=4),
        Tokenize("note", "characters", 8, ngrams=3, lowercase=False),
        Tokenize(["note", "color"], "jieba", 4, ngrams=2, unicode=None, vocabulary="hash"),
    ),
    "target_encode": (
        TargetEncode(["color", "truth"]),
        TargetEncode("note", smooth=2.0, folds=3, target="labels"),
        TargetEncode(["color", "note"], centered=True, keep=True),
    ),
}
EXAMPLES |= {
    "power": (Power("numeric"), Power(["number", "short"], standardize=False)),
    "quantile_transform": (
        QuantileTransform("numeric"),
        QuantileTransform(["number", "short"], "normal", quantiles=3),
    ),
    "bin": (
        Bin("numeric", 3),
        Bin(["number", "whole"], 4, "uniform", output="label"),
        Bin(["short"], edges=[-1, 0.5, 7], output="one_hot"),
    ),
    "frequency_encode": (FrequencyEncode(["color", "truth", "note"]), FrequencyEncode("color", share=False)),
}
EXAMPLES["one_hot"] += (
    OneHot(["color", "note"], max_columns=0),
    OneHot("color", max_categories=2, drop="first", unseen="infrequent", max_columns=0),
)
EXAMPLES |= PICTURE_STEPS
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
LOSSY = (OneHot, Ordinal)
"""Steps whose inverse gives null for what is lost: rare categories, nulls after ``drop``."""
COARSE = (Bin, MultiHot, Power, QuantileTransform)
"""Steps whose inverse gives values near those that went in at best; their own tests say how near."""


def test_every_step_of_the_registry_has_an_example() -> None:
    assert set(names("steps")) <= set(EXAMPLES), "add examples of the new step, so that its laws are checked"


@pytest.mark.parametrize("name", sorted(set(names("steps")) & set(EXAMPLES)))
def test_the_registry_and_the_step_agree_on_its_name(name: str) -> None:
    assert find("steps", name).name == name
    assert all(type(step) is find("steps", name) for step in EXAMPLES[name])


def as_batch(rows: list[dict[str, Any]], start: int) -> Batch:
    return batch_of(SCHEMA, {name: [row[name] for row in rows] for name in SCHEMA.names}, path="rows", start=start)


def check(step: Step, rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    first = as_batch([FULL, *rows], 0)
    second = as_batch(more, len(first))
    kept = not isinstance(step, LOSSY) or (step.max_categories is None and getattr(step, "drop", None) is None)
    exact = None if isinstance(step, COARSE) else kept
    check_step(step, [first, second], SCHEMA, others=[as_batch([NEW, FULL], 1000)], exact_inverse=exact)


@pytest.mark.parametrize("step", [step for steps in EXAMPLES.values() for step in steps], ids=str)
def test_the_laws_hold(step: Step) -> None:
    if step.name in PICTURE_STEPS:
        exact = True if "wide" not in step.touches(PICTURES).reads else None
        batches = [pictures("rows", 12, 0), pictures("rows", 9, 12, start=12)]
        check_step(step, batches, PICTURES, others=[pictures("rows", 6, 3, start=1000)], exact_inverse=exact)
        return

    @settings(max_examples=4, deadline=None, phases=PHASES)
    @given(st.lists(ROW, max_size=12), st.lists(ROW, max_size=6))
    def laws(rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
        check(step, rows, more)

    laws()


CALLS = count(1)


@dataclass(frozen=True)
class Broken(Step):
    """A step that breaks one law, or none."""

    fault: str

    name = "broken"

    def touches(self, schema: Schema) -> Columns:
        reads = () if self.fault == "reads more" else ("number",)
        writes = () if self.fault == "writes more" else ("number",)
        return Columns(reads, writes)

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedStep:
        return FittedBroken(self, schema, CALLS)


@dataclass(frozen=True)
class FittedBroken(TableStep):
    step: Broken
    schema: Schema
    calls: count[int]

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        number = inputs["number"]
        faults = {
            "neighbours": number - number.mean(),
            "order": number.cum_sum(),
            "not a number": (number * 0.0 + 1.0) / (number - number),
            "learns": number + next(self.calls),
        }
        return {
            "number": faults.get(self.step.fault, number * 2.0),
            **({"whole": number} if self.step.fault == "another" else {}),
        }

    def checks(self, inputs: Mapping[str, pl.Expr], use: Use) -> Sequence[Check]:
        return (Check(inputs["number"] < 1e3, "large", "number", "too large"),) if self.step.fault == "rejects" else ()

    def inverse_expressions(self, outputs: Mapping[str, pl.Expr]) -> Mapping[str, pl.Expr]:
        return {"number": outputs["number"] / (3.0 if self.step.fault == "inverse" else 2.0)}


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("neighbours", "a row alone gives what it gives in a batch"),
        ("order", "the order of the rows changes nothing"),
        ("not a number", "numbers are finite"),
        ("learns", "transforming twice gives the same"),
        ("reads more", "depends on columns it does not read"),
        ("writes more", "'number' is unchanged"),
        ("another", "'whole' is unchanged"),
        ("rejects", "no row goes where `rows` is false"),
        ("inverse", "the inverse of 'number' is what went in"),
    ],
)
def test_a_step_that_breaks_a_law_is_found(fault: str, law: str) -> None:
    rows = [FULL, {**FULL, "number": 2e3}, {**FULL, "number": None}, {**FULL, "number": -7.25}]
    check(Broken("none"), rows, rows)
    with pytest.raises(AssertionError, match=f"broken law: .*{re.escape(law)}"):
        check(Broken(fault), rows, rows)


def test_a_step_that_can_be_changed_is_found() -> None:
    @dataclass
    class Loose(Step):
        columns: tuple[str, ...] = ("number",)

        def touches(self, schema: Schema) -> Columns:
            return Columns(self.columns, ())

        def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedStep:
            return Drop("note").fit(schema, values)

    with pytest.raises(AssertionError, match="Loose is frozen"):
        check(Loose(), [FULL], [])


def test_derived_statistics_are_compared_with_those_of_the_output() -> None:
    @dataclass(frozen=True)
    class Promising(Step):
        columns: tuple[str, ...] = ("number",)

        name = "promising"

        def touches(self, schema: Schema) -> Columns:
            return Columns(self.columns, self.columns)

        def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedStep:
            return FittedPromising(self, schema)

        def derives(self, statistic: Statistic[Any]) -> bool:
            return True

    @dataclass(frozen=True)
    class FittedPromising(TableStep):
        step: Promising
        schema: Schema

        def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
            return {"number": inputs["number"] * 2.0}

        def derive(self, statistic: Statistic[Any]) -> Statistic[Any]:
            return statistic

    with pytest.raises(AssertionError, match="the derived moments of 'number' is that of the output"):
        check(Promising(), [FULL], [])
