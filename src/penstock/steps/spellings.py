"""A step that brings nearly identical spellings of a category together: `MergeSpellings`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.bounded_frequencies import BoundedFrequencies
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of
from penstock.steps.text import folded, narrowed
from penstock.steps.typing_errors import typing_errors

MOST_VALUES = 20_000
"""Columns of more distinct values are left as they are: those are names or texts, and no categories."""
_FEWEST_LETTERS = 3
_QUOTES = "['’‘\"“”`´]"
_BETWEEN = r"\b[-./,;:&\s]+\b"
_AT_END = r"[.,;:\s]+$"


@dataclass(frozen=True)
class MergeSpellings(Step):
    """Near-identical spellings of a category become the most frequent one.

    Two spellings are one where they differ in case, in full-width and half-width characters, in quotes, or in the signs
    between words ("New-York", "new york"): the key collision of OpenRefine, but for the order of words. Signs that can
    mean something stay ("A+", "C#", "<=50K"), and so do all signs of values with digits. In values with digits or of
    fewer than three letters case can mean something ("5m", "5M"): there only a spelling that the other is ``ratio``
    times as frequent as is merged. A value that was not seen is merged by its key too.

    Typing errors are merged on evidence: one letter differs in a word, or in several, the value is rare beside the one
    meant, and the column is one with typing errors; see `penstock.steps.typing_errors.typing_errors`. In clean data,
    where rare values are rare but right, nothing is merged. Numbers, codes and ideographs never are.

    A column of more than 20,000 distinct values is left as it is. Ties go to the lesser text; the order of the rows
    changes nothing.

    Args:
        columns: columns of categories.
        typing_errors: whether typing errors are merged.
        ratio: how many times as frequent the right value is, at least.
        evidence: the share (0 to 1) of the rare values that have to look like typing errors, and three at least.

    Raises:
        UsageError: an argument is out of its range.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Role
        >>> from penstock.testing.steps import batch_of, fit_step
        >>> schema = Schema((Field("city", pa.string(), Role.category),))
        >>> batch = batch_of(schema, {"city": ["New York", "New York", "new-york", "Boston"]})
        >>> fitted = fit_step(MergeSpellings("city"), schema, [batch])
        >>> fitted.transform(batch, Use()).column("city").to_pylist()
        ['New York', 'New York', 'New York', 'Boston']
        >>> [(merge.value, merge.form, merge.reason) for merge in fitted.merges]
        [('new-york', 'New York', 'the same but for case, signs or spaces')]
    """

    columns: ColumnsLike
    typing_errors: bool = True
    ratio: float = 10.0
    evidence: float = 0.5

    name = "merge_spellings"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        for setting, low, high in (("ratio", 1.0, float("inf")), ("evidence", 0.0, 1.0)):
            given = getattr(self, setting)
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
                raise UsageError(
                    "out of range",
                    where=f"{self.name}: {setting}",
                    expected=f"a number from {low:g}" + (f" to {high:g}" if high < 2 else ""),
                    got=repr(given),
                )

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text")

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """How often each value occurs."""
        return {field.name: BoundedFrequencies(field.name, MOST_VALUES) for field in self._fields(schema)}

    def fit(self, schema: Schema, values: Mapping[str, Any]) -> FittedMergeSpellings:
        """Find which spellings are one."""
        fields = self._fields(schema)
        return FittedMergeSpellings(
            self, schema, tuple((field.name, _forms(self, field.name, values[field.name])) for field in fields)
        )


@dataclass(frozen=True, slots=True)
class Merge:
    """One spelling that became another.

    Attributes:
        column: the column.
        value: as it was.
        form: what it becomes.
        count: how often it was seen.
        form_count: how often the other was.
        reason: in words.
    """

    column: str
    value: str
    form: str
    count: int
    form_count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of one column.

    Attributes:
        keys: the keys of values seen.
        forms: what a value of each key becomes.
        merges: the values that are changed.
        rare: those of them whose keys are not in ``keys``: merged as they are written, and no others like them.
    """

    keys: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()
    rare: tuple[Merge, ...] = ()

    def of(self, text: pl.Expr) -> pl.Expr:
        """Each text in its form; one of a new key stays."""
        found = [text]
        for inputs, olds, news in (
            (key_of(text), self.keys, self.forms),
            (text, [merge.value for merge in self.rare], [merge.form for merge in self.rare]),
        ):
            if olds:
                found.insert(0, inputs.replace_strict(list(olds), list(news), default=None, return_dtype=pl.String))
        return pl.coalesce(found)


@dataclass(frozen=True)
class FittedMergeSpellings(TableStep):
    """`MergeSpellings` with the forms that were found."""

    step: MergeSpellings
    schema: Schema
    columns: tuple[tuple[str, Forms], ...]

    @property
    def merges(self) -> tuple[Merge, ...]:
        """Every spelling that becomes another."""
        return tuple(merge for _, forms in self.columns for merge in forms.merges)

    def reason(self, column: str) -> str:
        """How many spellings were merged, and why."""
        reasons = [merge.reason for merge in self.merges if merge.column == column]
        counted = [f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(sorted(reasons))]
        return f"spellings merged: {'; '.join(counted)}" if counted else ""

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Each value by the form of its key; one of a new key stays."""
        return {name: forms.of(inputs[name]) for name, forms in self.columns if forms.keys or forms.rare}


def key_of(text: pl.Expr) -> pl.Expr:
    """What spellings of one value have in common."""
    plain = folded(narrowed(text).str.normalize("NFC")).str.replace_all(r"\s+", " ").str.strip_chars(" ")
    words = plain.str.replace_all(_QUOTES, "").str.replace_all("_", " ", literal=True)
    words = words.str.replace_all(_BETWEEN, " ").str.replace_all(_AT_END, "")
    # Where nothing but signs is left, or where there are digits, signs are what tells values apart.
    return pl.when(plain.str.contains(r"\p{N}") | ~words.str.contains(r"\p{L}")).then(plain).otherwise(words)


def _is_delicate(key: str) -> bool:
    """Whether the case of letters can tell values of this key apart."""
    letters = sum(map(str.isalpha, key))
    cased = key != key.upper()
    return cased and (letters < _FEWEST_LETTERS or any(character.isnumeric() for character in key))


def _forms(step: MergeSpellings, column: str, counts: Mapping[str, int] | None) -> Forms:
    if not counts:  # None: there are too many values
        return Forms()
    values = pl.Series("value", list(counts), dtype=pl.String)
    groups: dict[str, list[str]] = defaultdict(list)
    for value, key in zip(counts, values.to_frame().select(key_of(pl.col("value"))).to_series(), strict=True):
        groups[key].append(value)
    # Most frequent first; they come ascending, so of equal ones the least text is first.
    ordered = {key: sorted(group, key=lambda value: -counts[value]) for key, group in groups.items()}
    totals = {key: sum(counts[value] for value in group) for key, group in groups.items()}
    found = typing_errors(totals, step.ratio, step.evidence) if step.typing_errors else []
    errors = {error.value: error for error in found}
    target = {key: errors[key].meant if key in errors else key for key in sorted(groups)}
    merges: list[Merge] = []
    rare: list[Merge] = []
    for key, meant in target.items():
        form = ordered[meant][0]
        reason = "the same but for case, signs or spaces" if key == meant else _described(errors[key].words)
        total = counts[form] if _is_delicate(key) else totals[meant]
        found_here = [Merge(column, value, form, counts[value], total, reason) for value in groups[key]]
        changed = [merge for merge in found_here if merge.value != form]
        if _is_delicate(key):
            changed = [merge for merge in changed if merge.form_count >= step.ratio * merge.count]
            rare += changed
        merges += changed
    known = [key for key in target if not _is_delicate(key)]
    return Forms(tuple(known), tuple(ordered[target[key]][0] for key in known), tuple(merges), tuple(rare))


def _described(words: int) -> str:
    if words == 0:
        return "the same but for spaces, and it is rare"
    return (
        "one letter differs, and it is rare" if words == 1 else f"one letter differs in {words} words, and it is rare"
    )
