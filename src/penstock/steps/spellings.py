"""A step that brings nearly identical spellings of a category together: `MergeSpellings`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from penstock.errors import UsageError
from penstock.schema import Field, Schema
from penstock.selector import ColumnsLike, as_selector
from penstock.statistic import Statistic
from penstock.statistics.frequencies import Frequencies
from penstock.step import Columns, Step, TableStep, Use
from penstock.steps.arguments import chosen_of
from penstock.steps.text import folded

MOST_VALUES = 20_000
"""Columns of more distinct values are left as they are: those are names or texts, and no categories."""
_SHORTEST = 5
_QUOTES = "['’‘\"“”`´]"
_BETWEEN = r"(\p{L})[-_./,;:&\s]+(\p{L})"
_AT_END = r"[.,;:\s]+$"


@dataclass(frozen=True)
class MergeSpellings(Step):
    """Near-identical spellings of a category become the most frequent one.

    Two spellings are one where they differ in case, in compatible forms of characters, in quotes, or in the signs
    between words ("New-York", "new york"): the key collision of OpenRefine, but for the order of words. Signs that can
    mean something stay ("A+", "C#", "<=50K"), and so do all signs of values with digits.

    Typing errors are merged on evidence alone. A rare value is one if it differs by one letter (added, left out, other,
    or swapped with its neighbour; Damerau 1964) from exactly one value that is ``ratio`` times as frequent; both have
    five letters or more, begin alike and have no digits. And the column must be one with typing errors: at least
    ``evidence`` of its rare values have to be such. So in clean data, where rare values are rare but right, nothing is
    merged.

    A value that was not seen is merged by its key too. A column of more than 20,000 distinct values is left as it is.

    Args:
        columns: columns of categories.
        typing_errors: whether typing errors are merged.
        ratio: how many times as frequent the right value is, at least.
        evidence: the share (0 to 1) of the rare values that have to look like typing errors, and five at least.

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
        >>> [(merge.value, merge.form) for merge in fitted.merges]
        [('new-york', 'New York')]
    """

    columns: ColumnsLike
    typing_errors: bool = True
    ratio: float = 5.0
    evidence: float = 0.6

    name = "merge_spellings"
    cleans = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_selector(self.columns))
        for setting, low, high in (("ratio", 1.0, float("inf")), ("evidence", 0.0, 1.0)):
            if not low <= getattr(self, setting) <= high:
                raise UsageError(
                    "out of range",
                    where=f"{self.name}: {setting}",
                    expected=f"from {low:g}" + (f" to {high:g}" if high < 2 else ""),
                    got=str(getattr(self, setting)),
                )

    def touches(self, schema: Schema) -> Columns:
        """The columns, read and written."""
        names = tuple(field.name for field in self._fields(schema))
        return Columns(names, names)

    def _fields(self, schema: Schema) -> tuple[Field, ...]:
        return chosen_of(self.columns, schema, self.name, "text")

    def statistics(self, schema: Schema) -> Mapping[str, Statistic[Any]]:
        """How often each value occurs."""
        return {field.name: Frequencies(field.name) for field in self._fields(schema)}

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
        merges: the values that are changed by it.
    """

    keys: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()


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

    def expressions(self, inputs: Mapping[str, pl.Expr], use: Use) -> Mapping[str, pl.Expr]:
        """Each value by the form of its key; one of a new key stays."""
        return {
            name: pl.coalesce(
                key_of(inputs[name]).replace_strict(
                    list(forms.keys), list(forms.forms), default=None, return_dtype=pl.String
                ),
                inputs[name],
            )
            for name, forms in self.columns
            if forms.keys
        }


def key_of(text: pl.Expr) -> pl.Expr:
    """What spellings of one value have in common."""
    plain = folded(text.str.normalize("NFKC")).str.replace_all(r"\s+", " ").str.strip_chars(" ")
    words = plain.str.replace_all(_QUOTES, "")
    for _ in range(2):  # a letter between two signs is part of both matches
        words = words.str.replace_all(_BETWEEN, "$1 $2")
    words = words.str.replace_all(_AT_END, "")
    # Where nothing but signs is left, or where there are digits, signs are what tells values apart.
    return pl.when(plain.str.contains(r"\p{Nd}") | ~words.str.contains(r"\p{L}")).then(plain).otherwise(words)


def _forms(step: MergeSpellings, column: str, frequencies: Any) -> Forms:
    if frequencies.distinct > MOST_VALUES or frequencies.distinct == 0:
        return Forms()
    table = frequencies.table()
    values = pl.Series("value", table.column("value"))
    counts = dict(zip(values.to_list(), table.column("count").to_pylist(), strict=True))
    keys = pl.DataFrame([values]).select(key_of(pl.col("value"))).to_series().to_list()
    groups: dict[str, list[str]] = defaultdict(list)
    for value, key in zip(values.to_list(), keys, strict=True):
        groups[key].append(value)
    forms = {key: min(group, key=lambda value: (-counts[value], value)) for key, group in groups.items()}
    totals = {key: sum(counts[value] for value in group) for key, group in groups.items()}
    errors = dict(_typing_errors(step, totals)) if step.typing_errors else {}
    merges = []
    for key, group in groups.items():
        target = errors.get(key, key)
        reason = "one letter differs, and it is rare" if key in errors else "the same but for case, signs or spaces"
        merges += [
            Merge(column, value, forms[target], counts[value], totals[target], reason)
            for value in group
            if value != forms[target]
        ]
    known = sorted(groups)
    return Forms(tuple(known), tuple(forms[errors.get(key, key)] for key in known), tuple(merges))


def _typing_errors(step: MergeSpellings, totals: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Keys that are typing errors, and the keys that were meant; none where the column shows too little evidence."""
    words = sorted(key for key in totals if len(key) >= _SHORTEST and key.replace(" ", "").isalpha())
    near: dict[str, set[str]] = defaultdict(set)
    by_gap: dict[str, list[str]] = defaultdict(list)
    for word in words:
        for gap in {word, *(word[:place] + word[place + 1 :] for place in range(1, len(word)))}:
            by_gap[gap].append(word)
    for group in by_gap.values():
        # More words than this around one gap are a family of names, and no errors of one of them.
        if 1 < len(group) <= 50:
            for word in group:
                near[word] |= {
                    other
                    for other in group
                    if totals[other] >= step.ratio * totals[word] and one_edit_apart(word, other)
                }
    found = {word: next(iter(others)) for word, others in near.items() if len(others) == 1}
    if not found:
        return
    most = max(totals[word] for word in found)
    rare = [word for word in words if totals[word] <= most]
    if len(found) >= 5 and len(found) >= step.evidence * len(rare):
        yield from sorted((word, meant) for word, meant in found.items() if meant not in found)


def one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter was added, left out, replaced, or swapped with its neighbour; the first letter apart.

    Damerau, "A technique for computer detection and correction of spelling errors", CACM 7 (1964).

    Example:
        >>> [one_edit_apart("boston", other) for other in ("bostn", "bosston", "bostom", "botson", "boston", "oston")]
        [True, True, True, True, False, False]
    """
    if one == other or one[:1] != other[:1] or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, others = one[start:], other[start:]
    if len(one) == len(other):
        swapped = len(rest) >= 2 and rest[:2] == others[1::-1] and rest[2:] == others[2:]
        return rest[1:] == others[1:] or swapped
    longer, shorter = (rest, others) if len(rest) > len(others) else (others, rest)
    return longer[1:] == shorter
