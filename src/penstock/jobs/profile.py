"""Profile: what the data are like, from one fold of mergeable statistics over all columns in one scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.engine import Engine, Listener, Station, Task
from penstock.errors import DataError, SchemaError, UsageError
from penstock.jobs.drift import drift_of
from penstock.jobs.profile_columns import (
    MOST_CORRELATED,
    column_figures,
    figure,
    statistics_for,
    values_of,
)
from penstock.jobs.profile_target import TargetFacts, associations, target_facts
from penstock.jobs.profile_warnings import warnings_of
from penstock.schema import Schema
from penstock.source import Note, Source
from penstock.statistic import Statistic

__all__ = ["Profile", "profile", "statistics_for"]

FORMAT = 1
_MOST_PAIRS = 50


@dataclass(frozen=True, eq=False)
class Profile:
    """What some data are like: a value of JSON values, that shows itself in a terminal and in a notebook.

    Attributes:
        document: everything that is known, as JSON values: ``rows``, ``columns`` (of each ``name``, ``role``,
            ``kind``, ``missing``, ``distinct`` and figures of its kind), ``correlations``, ``duplicates``,
            ``target``, ``drift``, ``warnings``, ``notes``.

    Example:
        >>> import tempfile, pathlib
        >>> import penstock as ps
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = file.write_text("age,city\\n" + "31,Ulm\\n45,Bern\\n" * 20)
        >>> found = ps.profile(file)
        >>> found.rows, found["age"]["number"]["mean"], found["city"]["top"]
        (40, 38, [['Bern', 20], ['Ulm', 20]])
    """

    document: Mapping[str, Any]
    _values: Mapping[str, Mapping[str, Any]] | None = field(default=None, repr=False)
    _notes: tuple[Note, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        schema: Schema,
        statistics: Sequence[Statistic[Any]],
        notes: Sequence[Note] = (),
        *,
        target: str | None = None,
    ) -> Profile:
        """The profile of data that these statistics have taken in.

        Args:
            schema: the columns, as they were read.
            statistics: those of `statistics_for`, and maybe others.
            notes: what was inferred when the data were read.
            target: the column to predict, where there is one.
        """
        values = values_of(statistics)
        whole = {one.kind: one.value() for one in statistics if one.kind in ("correlation", "duplicates", "sample")}
        sample = whole["sample"]
        columns = [column_figures(one, values[one.name], sample.rows) for one in schema if one.name in values]
        document: dict[str, Any] = {"format": FORMAT, "rows": sample.rows, "columns": columns}
        doubled = whole["duplicates"]
        document["duplicates"] = {
            "rows": doubled.duplicates,
            "exact": doubled.exact,
            "error": figure(doubled.error),
        }
        document["sample"] = {"rows": sample.table.num_rows, "complete": sample.complete}
        document["correlations"] = _correlations(whole["correlation"], columns)
        if target is not None:
            facts: TargetFacts = target_facts(schema[target], values.get(target, {}), sample.rows)
            document["target"] = facts.to_json()
            alone = associations(sample, facts)
            for column in columns:
                if column["name"] in alone:
                    column["association"] = alone[column["name"]]
        document["notes"] = [
            {"topic": note.topic, "text": note.text, "reason": note.reason, "override": note.override} for note in notes
        ]
        document["warnings"] = warnings_of(document, notes)
        return cls(document, values, tuple(notes))

    def against(self, other: Profile, on: str = "the other data") -> Profile:
        """The same with what changed from here to ``other``: drift.

        Raises:
            UsageError: one of them was read from JSON, which has no distributions to compare.
        """
        if self._values is None or other._values is None:
            raise UsageError(
                "a profile from JSON can't be compared",
                expected="two profiles of data",
                got="one that was read",
                remedy="profile both again: penstock profile A --against B",
            )
        drift = {"rows": other.rows, **drift_of(self._values, other._values, on)}
        document = {**self.document, "drift": drift}
        document["warnings"] = warnings_of(document, self._notes)
        return Profile(document, self._values, self._notes)

    def value(self, column: str, kind: str) -> Any:
        """The value of one statistic of a column, by its kind, such as "histogram".

        Raises:
            UsageError: the profile was read from JSON, which has figures only.
        """
        if self._values is None:
            raise UsageError(
                "a profile from JSON has no distributions", expected="one of data", got="one that was read"
            )
        return self._values[column][kind]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.document["rows"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column["name"] for column in self.document["columns"])

    @property
    def warnings(self) -> tuple[Mapping[str, Any], ...]:
        """What to look at, the gravest first: ``code``, ``severity``, ``columns``, ``reason``, ``remedy``."""
        return tuple(self.document["warnings"])

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        """The figures of one column.

        Raises:
            SchemaError: there is none of this name.
        """
        for column in self.document["columns"]:
            if column["name"] == name:
                found: Mapping[str, Any] = column
                return found
        raise SchemaError(
            "no such column", expected="one of " + ", ".join(map(repr, self.columns[:20])), got=repr(name)
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is its inverse."""
        return dict(self.document)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Profile:
        """A profile from what `to_json` gave.

        Raises:
            DataError: it is no profile, or of a format that this version can't read.
        """
        if value.get("format") != FORMAT or not isinstance(value.get("columns"), list):
            raise DataError(
                "not a profile that this version can read",
                expected=f"format {FORMAT}",
                got=repr(value.get("format")),
                remedy="profile the data again",
            )
        return cls(dict(value))

    def __repr__(self) -> str:
        from penstock.report.text import profile_text

        return profile_text(self.document)

    def _repr_html_(self) -> str:
        from penstock.report.notebook import profile_html

        return profile_html(self.document)


def profile(
    source: Source,
    *,
    engine: Engine,
    listener: Listener,
    target: str | None = None,
    against: Source | None = None,
    on: str = "the other data",
    seed: int = 0,
    max_rejected: float | None = None,
) -> Profile:
    """Profile a source, in one scan.

    Args:
        source: the rows.
        engine: what scans them.
        listener: who is told what was decided.
        target: the column to predict: how each column goes together with it.
        against: other rows, to be compared; another scan.
        on: what those are, in words.
        seed: of the sample of rows.
        max_rejected: the share of rows above which it is stopped.

    Raises:
        SchemaError: the target is none of the columns.
        TooManyRejected: too many rows can't be read.
    """
    if target is not None and target not in source.schema:
        raise SchemaError(
            "the target is none of the columns",
            where="--target",
            expected="one of " + ", ".join(map(repr, source.schema.names)),
            got=repr(target),
            remedy="name a column of the data",
        )
    found = _fold(source, target, engine, seed, max_rejected)
    left_out = found.document["correlations"].get("left_out", 0)
    if left_out:
        listener.said(
            Note(
                "correlations",
                f"of the first {MOST_CORRELATED} columns of numbers, {left_out:,} are left out",
                "their number grows with the square of the columns",
                "fewer columns",
            )
        )
    if against is not None:
        known = {one.name: one.kind for one in source.schema if one.name in against.schema}
        found = found.against(_fold(against.with_roles(known), None, engine, seed, max_rejected), on)
    masking = engine.resources.masking
    return found if masking is None else replace(found, document=masking.profile(found.document))


def _fold(source: Source, target: str | None, engine: Engine, seed: int, max_rejected: float | None) -> Profile:
    task = Task(
        "profile",
        source,
        source.schema.names,
        (Station(None, statistics_for(source.schema, target, seed=seed)),),
        max_rejected=max_rejected,
    )
    folded = engine.fold(task)
    found = Profile.of(source.schema, folded.statistics[0], source.notes, target=target)
    rejected = sum(count.rejected for count in folded.counts)
    document = {**found.document, "rejected": rejected, "rejected_example": engine.example if rejected else ""}
    document["warnings"] = warnings_of(document, found._notes)
    return Profile(document, found._values, found._notes)


def _correlations(value: Any, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(value.columns)
    matrix = [[None if math.isnan(v) else round(float(v), 4) for v in row] for row in value.matrix]
    pairs = [[first, second, round(r, 6)] for first, second, r in value.pairs()[:_MOST_PAIRS]]
    candidates = sum(column["kind"] in ("number", "boolean") for column in columns)
    found: dict[str, Any] = {"columns": names, "matrix": matrix, "pairs": pairs}
    return {**found, "left_out": candidates - len(names)} if candidates > len(names) else found
