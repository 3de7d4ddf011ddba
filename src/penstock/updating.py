"""Fitted steps taken further: the states of an earlier fit and those of new rows, merged, and what came of each.

Part of the pipeline's machinery, used by `fitting.py`. A statistic of an earlier fit and the same one of new rows give,
merged, that of all rows, as long as both saw the values that the steps before them now make. Where a step before has
changed by the update, the earlier rows are not there to be looked at again: what is merged is near, and said to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from penstock.errors import PenstockError
from penstock.fusion import column
from penstock.pipeline import FittedSteps
from penstock.schema import Field, Role, Schema
from penstock.source import Note
from penstock.statistic import Statistic
from penstock.step import FittedStep, Step, TableStep, Use

How: TypeAlias = Literal["exact", "near", "kept", "encoding", "new"]
_SHOWN = 5


@dataclass(frozen=True)
class Merged:
    """What became of one statistic of a step.

    Attributes:
        step: the step's name in the ledger.
        statistic: its name in the step: as a rule a column's.
        how: "exact": as on all rows at once. "near": a step before it has changed since the earlier rows were seen.
            "kept": the step goes by what it was, since with the new rows other columns or categories would come out
            than those that the model knows. "encoding": the same, since it is the model's own encoding, with which its
            weights were learned. "new": of the new rows alone, since there was none.
        reason: why, in words; empty for what is exact.
    """

    step: str
    statistic: str
    how: How
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return {"step": self.step, "statistic": self.statistic, "how": self.how, "reason": self.reason}


class Earlier:
    """An earlier fit of the same steps, for a fit that goes on from it.

    Args:
        steps: the earlier fit.
        bound: whether what comes out of each step has to stay what it is: columns, types, categories and their codes.
            A model that has learned from them knows no others.
        fixed: the place from which on steps go by what they were: the model's own encoding. None for no such.

    Example:
        >>> import pyarrow as pa
        >>> from penstock.schema import Role
        >>> from penstock.statistics.count import Count
        >>> from penstock.testing.steps import batch_of
        >>> schema = Schema((Field("x", pa.float64(), Role.number),))
        >>> first, second = Count("x"), Count("x")
        >>> first.update(batch_of(schema, {"x": [1.0, 2.0]}))
        >>> second.update(batch_of(schema, {"x": [3.0]}))
        >>> earlier = Earlier(FittedSteps(schema, ("count",), (), ({"x": first},)), bound=False)
        >>> earlier.merged(0, "x", second).value().rows, first.value().rows
        (3, 2)
    """

    def __init__(self, steps: FittedSteps, *, bound: bool, fixed: int | None = None) -> None:
        self.steps = steps
        self._fixed = len(steps.steps) if fixed is None else fixed
        self._bound = bound
        self._merges: dict[tuple[int, int], Statistic[Any]] = {}
        self._alive: list[Statistic[Any]] = []  # what a merge's key names has to stay where it is
        self._kept: dict[tuple[int, str], str] = {}

    def merged(self, place: int, name: str, today: Statistic[Any]) -> Statistic[Any]:
        """A statistic of a step, of the earlier rows and of today's; today's, where there was none."""
        own = self.base(place, name, place)
        return self._merge(self._own(place, name) if own is None else own, today)

    def _own(self, place: int, name: str) -> Statistic[Any] | None:
        """What a step was fitted from."""
        return self.steps.states[place].get(name) if place < len(self.steps.states) else None

    def base(self, place: int, name: str, through: int) -> Statistic[Any] | None:
        """What is beside an earlier statistic, if it was derived through this step, or left as it was at it."""
        base = self.steps.bases[place].get(name) if place < len(self.steps.bases) else None
        return base.statistic if base is not None and base.through == through else None

    def merged_base(self, place: int, name: str, through: int, today: Statistic[Any]) -> Statistic[Any] | None:
        """What a statistic is derived from, of the earlier rows and of today's; None where the earlier is not known."""
        was = self.base(place, name, through)
        return self._merge(was, today) if was is not None and was.definition == today.definition else None

    def _merge(self, was: Statistic[Any] | None, today: Statistic[Any]) -> Statistic[Any]:
        if was is None or was.definition != today.definition:
            return today
        key = (id(was), id(today))
        if key not in self._merges:
            both = was.from_state(was.state())
            both.merge(today)
            self._merges[key] = both
            self._alive += [was, today]
        return self._merges[key]

    def fit(self, place: int, step: Step, schema: Schema, states: dict[str, Statistic[Any]]) -> FittedStep:
        """The step fitted from merged states; those that would make of its columns others than they were are replaced,
        in ``states``, by the earlier ones."""
        if not self._bound or place >= len(self.steps.steps) or not _alike(self._before(place), schema):
            return _fit(step, schema, states)
        was = self.steps.states[place]
        offered = {name: state for name, state in states.items() if name in was}
        settled = {**states, **{name: was[name] for name in offered}}
        self._settle(place, step, schema, settled, offered)
        for name, state in offered.items():
            if settled[name] is not state:
                self._kept[place, name] = self._why(place, step, schema, {**settled, name: state})
        if place >= self._fixed:
            for name in offered:
                self._kept.setdefault((place, name), "")
                settled[name] = was[name]
        states.update(settled)
        return _fit(step, schema, states)

    def _why(self, place: int, step: Step, schema: Schema, states: Mapping[str, Statistic[Any]]) -> str:
        """What would be another if the step went by these states."""
        try:
            return _difference(self.steps.steps[place].schema, _fit(step, schema, states).schema)
        except PenstockError as error:
            return error.message

    def _leaves(self, place: int, step: Step, schema: Schema, states: Mapping[str, Statistic[Any]]) -> bool:
        """Whether the step, gone by these states, leaves its columns what they were."""
        try:
            return _alike(_fit(step, schema, states).schema, self.steps.steps[place].schema)
        except PenstockError:  # such as too many categories: its reason is told by `_why`
            return False

    def _settle(
        self,
        place: int,
        step: Step,
        schema: Schema,
        settled: dict[str, Statistic[Any]],
        offered: Mapping[str, Statistic[Any]],
    ) -> None:
        """Take as many of the offered states as leave the columns what they are: all, or by halves."""
        if self._leaves(place, step, schema, {**settled, **offered}):
            settled.update(offered)
        elif len(offered) > 1:
            names = list(offered)
            for half in (names[: len(names) // 2], names[len(names) // 2 :]):
                self._settle(place, step, schema, settled, {name: offered[name] for name in half})

    def _before(self, place: int) -> Schema:
        return self.steps.steps[place - 1].schema if place else self.steps.incoming

    def is_kept(self, place: int, name: str) -> bool:
        """Whether a state is the earlier one."""
        return (place, name) in self._kept

    def account(self, today: FittedSteps) -> tuple[Merged, ...]:
        """What became of every statistic, once all steps are fitted."""
        tainted = _Tainted()
        before: list[_Tainted] = []
        found = []
        schema = today.incoming
        for place, fitted in enumerate(today.steps):
            before.append(tainted.copy())
            found += [self._of(place, name, today, before) for name in today.states[place]]
            earlier = self.steps.steps[place] if place < len(self.steps.steps) else None
            tainted.passed(earlier, fitted, schema, today.labels[place])
            schema = fitted.schema
        return tuple(found)

    def _of(self, place: int, name: str, today: FittedSteps, before: Sequence[_Tainted]) -> Merged:
        label, state = today.labels[place], today.states[place][name]
        was = self._own(place, name)
        if was is None or was.definition != state.definition:
            return Merged(label, name, "new", "the earlier fit had none")
        if self.is_kept(place, name):
            return Merged(label, name, "encoding" if place >= self._fixed else "kept", self._kept[place, name])
        base = today.bases[place].get(name)
        derived = base is not None and self.base(place, name, base.through) is not None
        source = before[base.through] if base is not None and derived else before[place]
        culprit = source.why(state.columns)
        if culprit:
            return Merged(label, name, "near", f"it follows {culprit!r}, which has changed since the earlier rows")
        return Merged(label, name, "exact")


class _Tainted:
    """Columns whose values are no longer those that the earlier rows had there, and the step that changed them."""

    def __init__(self, columns: Mapping[str, str] | None = None, rows: str = "") -> None:
        self.columns = dict(columns or {})
        self.rows = rows

    def copy(self) -> _Tainted:
        return _Tainted(self.columns, self.rows)

    def why(self, names: Sequence[str]) -> str:
        """The step because of which these columns are others now; empty where they are not."""
        return self.rows or next((self.columns[name] for name in names if name in self.columns), "")

    def passed(self, earlier: FittedStep | None, today: FittedStep, schema: Schema, label: str) -> None:
        """Go on past a step."""
        touched = today.step.touches(schema)
        changed, rows = _changes(earlier, today, schema)
        moved = self.why(touched.reads)
        for name in {*touched.writes, *changed, *(set(today.schema.names) - set(schema.names))}:
            if name in changed or moved:
                self.columns[name] = label if name in changed else moved
            else:
                self.columns.pop(name, None)
        if touched.rows and (rows or moved):
            self.rows = self.rows or (label if rows else moved)


def _changes(earlier: FittedStep | None, today: FittedStep, schema: Schema) -> tuple[set[str], bool]:
    """The columns that a step makes otherwise than it did, and whether it takes other rows away."""
    written = {*today.step.touches(schema).writes, *(set(today.schema.names) - set(schema.names))}
    if earlier is not None and type(earlier) is type(today) and earlier == today:
        return set(), False
    if not (isinstance(earlier, TableStep) and isinstance(today, TableStep)):
        return written, True
    inputs, use = {name: column(name) for name in schema.names}, Use("fit")
    was, now = earlier.expressions(inputs, use), today.expressions(inputs, use)
    same = {name for name in now if name in was and was[name].meta.eq(now[name])}
    before, after = earlier.checks(inputs, use), today.checks(inputs, use)
    rows = len(before) != len(after) or not all(
        one.predicate.meta.eq(other.predicate) for one, other in zip(before, after, strict=True)
    )
    return written - same, rows


def _fit(step: Step, schema: Schema, states: Mapping[str, Statistic[Any]]) -> FittedStep:
    return step.fit(schema, {name: states[name].value() for name in step.statistics(schema)})


def _alike(one: Schema, other: Schema) -> bool:
    """Whether two schemas are the same to what comes after: reasons are words, and whole numbers are numbers too (an
    imputed 2.5 among them makes them so)."""
    return [_plain(each) for each in one] == [_plain(each) for each in other]


def _plain(field: Field) -> Field:
    return replace(field, reason="", role=_number(field.role), values=field.values and _number(field.values))


def _number(role: Role) -> Role:
    return Role.number if role is Role.integer else role


def _difference(known: Schema, found: Schema) -> str:
    """In words, what a schema has that another has not."""
    more = [name for name in found.names if name not in known]
    fewer = [name for name in known.names if name not in found]
    for each in found:
        if each.name in known:
            more += [one for one in _named(each) if one not in set(_named(known[each.name]))]
            fewer += [one for one in _named(known[each.name]) if one not in set(_named(each))]
    told = [
        f"{len(names):,} {what}: " + ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
        for names, what in ((more, "new"), (fewer, "gone"))
        if names
    ]
    return "; ".join(told)


def _named(field: Field) -> tuple[str, ...]:
    return field.categories or field.parts or ()


def notes_of(merged: Sequence[Merged]) -> list[Note]:
    """What became of the statistics, for people: a note for all that is exact, and one for each other step and way.

    Example:
        >>> print(notes_of([Merged("standardize", "x", "near", "it follows 'impute', which has changed")])[0])
        step 'standardize': nearly as on all rows: 'x' (it follows 'impute', which has changed); to override: train anew
    """
    notes = []
    exact = list(dict.fromkeys(one.step for one in merged if one.how == "exact"))
    if exact:
        count = sum(one.how == "exact" for one in merged)
        text = f"{count:,} are those of all rows, the earlier ones too: " + ", ".join(exact)
        notes.append(Note("statistics", text, "states are merged, and the earlier rows are not read"))
    ways = {
        "near": "nearly as on all rows",
        "kept": "as it was, what is new counts as unseen",
        "encoding": "as it was",
        "new": "of the new rows alone",
    }
    why = {
        "kept": "the model has no place for it",
        "encoding": "the model's own encoding: its weights were learned with it",
    }
    for how, text in ways.items():
        for step in dict.fromkeys(one.step for one in merged if one.how == how):
            ones = [one for one in merged if one.how == how and one.step == step]
            told = [one for one in ones if one.reason] if how == "encoding" else ones
            shown = [repr(one.statistic) + (f" ({one.reason})" if one.reason and how in why else "") for one in told]
            names = ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
            if how == "encoding" and names:
                names = f"what is new counts as unseen, in {names}"
            notes.append(
                Note(
                    f"step {step!r}", f"{text}: {names}" if names else text, why.get(how, ones[0].reason), "train anew"
                )
            )
    return notes
