"""How steps are fitted: which statistics can be collected in which scan of the data.

Part of the pipeline's machinery. A statistic has to wait only for steps that change its columns and are not fitted
yet, and not even for such a step when its value can be derived from the same statistic before it (the imputation of
a constant). All statistics that need not wait are collected in one scan, so a fit takes as few scans as its
dependencies have levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.batch import Count
from penstock.engine import Engine, Listener, Station, Task, Transform
from penstock.errors import DataError, PenstockError, UsageError
from penstock.fusion import Chain
from penstock.pipeline import Base, FittedSteps, labels_of, refit
from penstock.schema import Schema
from penstock.source import Note, Source
from penstock.statistic import Statistic
from penstock.step import Columns, FittedStep, Step, Use
from penstock.updating import Earlier

_SEVERAL = -1


@dataclass(frozen=True)
class _Wanted:
    """A statistic that a step needs, and the step through which it is derived, if any."""

    step: int
    name: str
    statistic: Statistic[Any]
    through: int | None = None


@dataclass
class _Scan:
    """What one scan collects: at each position in the row of steps, statistics by key, and who wants them."""

    positions: dict[int, dict[str, list[_Wanted]]] = field(default_factory=dict)
    homes: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, position: int, wanted: _Wanted) -> None:
        """Collect a statistic once, at the first position where it is asked for."""
        home = self.homes.setdefault(key, position)
        self.positions.setdefault(home, {}).setdefault(key, []).append(wanted)


@dataclass
class _Walk:
    """What is known of the columns at one place in the row of steps.

    Attributes:
        schema: by name; types may still change by steps that are not fitted.
        pending: columns whose values are not known yet, and the one step they wait for, or `_SEVERAL`.
        versions: how often each column was written so far; "" stands for the rows themselves.
        rows_pending: whether a step that is not fitted yet will take rows away.
    """

    schema: Schema
    pending: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    rows_pending: bool = False

    def key(self, statistic: Statistic[Any]) -> str:
        """The same for statistics that give the same state at any two places."""
        return f"{statistic.definition} {[self.versions.get(name, 0) for name in ('', *statistic.columns)]}"

    def waits_for(self, statistic: Statistic[Any]) -> set[int]:
        """The steps that have to be fitted before the statistic can be collected here."""
        if self.rows_pending:
            return {_SEVERAL}
        return {self.pending[name] for name in statistic.columns if name in self.pending}

    def excuses(self, error: PenstockError, *, chosen: bool) -> bool:
        """Whether a step that is not fitted yet may still make of a column what the error misses in it.

        Args:
            error: what a later step, or the choice of further steps (``chosen``), did not find.
        """
        return bool(self.pending) and (chosen or any(repr(name) in error.where for name in self.pending))

    def passed(self, place: int, touched: Columns, fitted: FittedStep | None) -> None:
        """Go on past a step."""
        known = fitted is not None and not self.pending.keys() & set(touched.reads)
        for name in touched.writes:
            self.versions[name] = self.versions.get(name, 0) + 1
            if known:
                self.pending.pop(name, None)
            else:
                self.pending[name] = place if fitted is None and name not in self.pending else _SEVERAL
        if touched.rows:
            self.versions[""] = self.versions.get("", 0) + 1
            self.rows_pending = self.rows_pending or not known
        if fitted is not None:
            self.schema = fitted.schema


class _Fit:
    """A fit under way."""

    def __init__(
        self,
        steps: Sequence[Step],
        schema: Schema,
        extend: Callable[[Schema], Sequence[Step]],
        places: Sequence[str],
        protected: Sequence[str],
        *,
        earlier: Earlier | None,
    ) -> None:
        self._earlier = earlier
        self._places = places
        self._protected = frozenset(protected)
        self.given = len(steps)
        self.steps = list(steps)
        self.incoming = schema
        self._extend = extend
        self.states: list[dict[str, Statistic[Any]]] = [{} for _ in steps]
        self.bases: list[dict[str, Base]] = [{} for _ in steps]
        self.fitted: list[FittedStep | None] = [None] * len(steps)
        self._met: list[Schema | None] = [None] * len(steps)  # what each fitted step was fitted to
        self._collected: dict[str, Statistic[Any]] = {}

    def walk(self) -> _Scan:
        """Fit what can be fitted, and gather what the next scan can collect; empty when all is fitted."""
        scan = _Scan()
        walk = _Walk(self.incoming)
        before: dict[int, _Walk] = {}  # the walk as it was before each step that will be fitted after this scan
        place = 0
        while True:
            try:
                if place == self.given:
                    self._lengthen(walk.schema)
                if place == len(self.steps):
                    return scan
                with self._blaming(place):
                    touched = self.steps[place].touches(walk.schema)
            except PenstockError as error:
                if walk.excuses(error, chosen=place == self.given):
                    return scan
                raise
            with self._blaming(place):
                self._refuse_protected(touched)
                if self._met[place] != walk.schema:
                    self.fitted[place] = None  # it was fitted while a step before it was not, whose types were unknown
                if self.fitted[place] is None:
                    here = replace(walk, pending=dict(walk.pending), versions=dict(walk.versions))
                    if self._gather(scan, place, walk, before):
                        before[place] = here
                    self._fit_if_known(place, walk.schema)
            fitted = self.fitted[place]
            walk.passed(place, touched, fitted)
            if fitted is None and (touched.removes or any(name not in walk.schema for name in touched.writes)):
                return scan  # what comes out is not known yet: further steps can't say what they meet
            place += 1

    @contextmanager
    def _blaming(self, place: int) -> Iterator[None]:
        """Say which step an error is about, and where that is defined."""
        try:
            yield
        except PenstockError as error:
            name = self.steps[place].name
            parts = [self._places[place] if place < len(self._places) else "", error.where]
            if f"step {name!r}" not in error.where:
                parts.insert(1, f"step {name!r}")
            error.where = ": ".join(part for part in parts if part)
            raise

    def _refuse_protected(self, touched: Columns) -> None:
        changed = self._protected & {*touched.writes, *touched.removes}
        if changed:
            raise UsageError(
                "a step changes what is to be predicted",
                expected="steps on the features alone",
                got="the target " + ", ".join(map(repr, sorted(changed))),
                remedy="leave the target out of the step's columns",
            )

    def _lengthen(self, schema: Schema) -> None:
        """Choose the further steps by what comes out of the given ones, as far as that is known yet."""
        more = list(self._extend(schema))
        if more == self.steps[self.given :]:
            return
        new: list[None] = [None] * len(more)
        self.steps[self.given :] = more
        self.states[self.given :] = [{} for _ in more]
        self.bases[self.given :] = [{} for _ in more]
        self.fitted[self.given :] = new
        self._met[self.given :] = new

    def _fit_if_known(self, place: int, schema: Schema) -> None:
        names = self.steps[place].statistics(schema)
        if names.keys() <= self.states[place].keys():
            if self._earlier is None:
                values = {name: self.states[place][name].value() for name in names}
                self.fitted[place] = self.steps[place].fit(schema, values)
            else:
                merged = dict(self.states[place])
                self.fitted[place] = self._earlier.fit(place, self.steps[place], schema, self.states[place])
                for name in merged.keys() - self.bases[place].keys():
                    if self.states[place][name] is not merged[name]:
                        self.bases[place][name] = Base(place, merged[name])
            self._met[place] = schema

    def _give(self, place: int, name: str, collected: Statistic[Any]) -> None:
        """Hand a step the statistic that it wants; where the fit goes on from an earlier one, merged with its own."""
        earlier = self._earlier
        self.states[place][name] = collected if earlier is None else earlier.merged(place, name, collected)

    def _derive(self, want: _Wanted, through: int, collected: Statistic[Any]) -> None:
        """Hand a step the statistic that is derived for it from what was collected before another step."""
        base: Statistic[Any] | None = collected
        if self._earlier is not None:
            base = self._earlier.merged_base(want.step, want.name, through, collected)
        fitted = self.fitted[through]
        state = fitted.derive(collected if base is None else base) if fitted is not None else None
        if state is None:
            raise DataError(
                "a step promised to derive a statistic and did not",
                where=f"step {self.steps[through].name!r}",
                got=want.statistic.definition,
                remedy="report this: it is a fault of the step",
            )
        if base is None:
            self._give(want.step, want.name, state)
            return
        self.states[want.step][want.name] = state
        self.bases[want.step][want.name] = Base(through, base)

    def _gather(self, scan: _Scan, place: int, walk: _Walk, before: Mapping[int, _Walk]) -> bool:
        """Ask the scan for what the step lacks; whether it will lack nothing after it."""
        complete = True
        for name, statistic in self.steps[place].statistics(walk.schema).items():
            if name in self.states[place]:
                continue
            waits = walk.waits_for(statistic)
            through = next(iter(waits)) if len(waits) == 1 else _SEVERAL
            if not waits and walk.key(statistic) in self._collected:
                self._give(place, name, self._collected[walk.key(statistic)])
            elif not waits:
                scan.add(walk.key(statistic), place, _Wanted(place, name, statistic))
            elif through in before and self.steps[through].derives(statistic):
                scan.add(before[through].key(statistic), through, _Wanted(place, name, statistic, through))
            else:
                complete = False
        return complete

    def take(self, scan: _Scan, collected: Mapping[str, Statistic[Any]]) -> None:
        """Hand out what a scan collected: first to the steps it was meant for, then to those it is derived for."""
        self._collected.update(collected)
        wanted = [(key, want) for keys in scan.positions.values() for key, wants in keys.items() for want in wants]
        for key, want in wanted:
            if want.through is None:
                self._give(want.step, want.name, collected[key])
        derived = [(key, want, want.through) for key, want in wanted if want.through is not None]
        met = list(self.steps)
        # In the steps' order: what one step derives may be what fits the step through which the next one derives.
        for key, want, through in sorted(derived, key=lambda item: item[1].step):
            if self.fitted[through] is None:
                self.walk()
            if self.steps[: want.step + 1] != met[: want.step + 1]:
                continue  # further steps were chosen anew: they ask again for what they need
            self._derive(want, through, collected[key])

    def schema_at(self, place: int) -> Schema:
        """The schema before a step, as far as it is known."""
        schemas = [fitted.schema for fitted in self.fitted[:place] if fitted is not None]
        return schemas[-1] if schemas else self.incoming


@dataclass(frozen=True)
class _Layout:
    """A scan as stations: chains of fitted steps between the positions at which something is collected."""

    stations: tuple[Station, ...]
    keys: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, fit: _Fit, scan: _Scan, rows: Transform | None, extra: Sequence[Statistic[Any]]) -> _Layout:
        """Laid out from the back: a chain has to put out what its statistics and the chains after it read."""
        positions = sorted(scan.positions)
        labels = labels_of(fit.steps)
        stations: list[Station] = []
        needed: tuple[str, ...] = ()
        for start, position in reversed(list(zip([0, *positions], positions, strict=False))):
            statistics = tuple(wants[0].statistic.empty() for wants in scan.positions[position].values())
            own = [name for statistic in statistics for name in statistic.columns]
            between = [
                (labels[place], fitted) for place in range(start, position) if (fitted := fit.fitted[place]) is not None
            ]
            outputs = tuple(dict.fromkeys((*own, *needed)))
            chain = Chain(between, fit.schema_at(start), Use("fit"), outputs)
            stations.append(Station(chain, statistics))
            needed = chain.inputs
        columns = dict.fromkeys((*needed, *(name for one in extra for name in one.columns)))
        keys = tuple(tuple(scan.positions[position]) for position in positions)
        return cls((Station(rows, tuple(extra)), *reversed(stations)), keys, tuple(columns))


@dataclass(frozen=True)
class Fit:
    """What a fit gave: the fitted steps, the extra statistics of the first scan, the ledger of each scan."""

    steps: FittedSteps
    extra: tuple[Statistic[Any], ...]
    counts: tuple[tuple[Count, ...], ...]


def fit_steps(
    steps: Sequence[Step],
    source: Source,
    engine: Engine,
    listener: Listener,
    *,
    extend: Callable[[Schema], Sequence[Step]] = lambda schema: (),
    rows: Transform | None = None,
    row_columns: Sequence[str] = (),
    extra: Sequence[Statistic[Any]] = (),
    max_rejected: float | None = None,
    places: Sequence[str] = (),
    protected: Sequence[str] = (),
    earlier: Earlier | None = None,
) -> Fit:
    """Fit steps to a source, in as few scans as their dependencies have levels.

    Args:
        steps: what the user wrote.
        source: the data.
        engine: what scans it.
        listener: who is told which scan collects what.
        extend: further steps, from the schema that comes out of ``steps`` (the model's own encoding).
        rows: which rows count: applied to each batch before anything else.
        row_columns: the columns that ``rows`` reads.
        extra: statistics of the raw columns, collected in the first scan.
        max_rejected: the share of rows above which the fit is stopped.
        places: where each of ``steps`` is defined, for messages.
        protected: columns that no step may change: the target.
        earlier: a fit of these steps to other rows, to go on from: the statistics of both are merged.

    Raises:
        UsageError: a step changes a protected column.
        SchemaError: a step meets no column.
        DataError: a step can't be fitted to what is there.
    """
    fit = _Fit(steps, source.schema, extend, places, protected, earlier=earlier)
    found: tuple[Statistic[Any], ...] = ()
    ledgers: list[tuple[Count, ...]] = []
    while True:
        scan = fit.walk()
        asked = () if ledgers else tuple(extra)
        if not scan.positions and not asked:
            break
        layout = _Layout.of(fit, scan, rows, asked)
        names = {*layout.columns, *row_columns}
        task = Task(
            title=f"fit, scan {len(ledgers) + 1}",
            source=source,
            columns=tuple(name for name in source.schema.names if name in names),
            stations=layout.stations,
            max_rejected=max_rejected,
        )
        _say(listener, len(ledgers) + 1, scan, fit.steps)
        folded = engine.fold(task)
        ledgers.append(folded.counts)
        found = found or folded.statistics[0]
        collected = [
            pair
            for keys, statistics in zip(layout.keys, folded.statistics[1:], strict=True)
            for pair in zip(keys, statistics, strict=True)
        ]
        fit.take(scan, dict(collected))
    fitted = refit(fit.steps, source.schema, fit.states, len(ledgers), fit.bases)
    own = tuple(extend(fitted.steps[fit.given - 1].schema if fit.given else source.schema))
    if own == tuple(fit.steps[fit.given :]):
        return Fit(fitted, found, tuple(ledgers))
    # The further steps were chosen from a schema that the fit has changed since: choose them again.
    chosen = (*fit.steps[: fit.given], *own)
    more = fit_steps(
        chosen,
        source,
        engine,
        listener,
        rows=rows,
        row_columns=row_columns,
        max_rejected=max_rejected,
        places=places,
        protected=protected,
    )
    return replace(more, extra=found, counts=(*ledgers, *more.counts))


def _say(listener: Listener, number: int, scan: _Scan, steps: Sequence[Step]) -> None:
    wants = [want for keys in scan.positions.values() for wanted in keys.values() for want in wanted]
    owners = ", ".join(dict.fromkeys(steps[want.step].name for want in wants))
    reason = "the first look" if number == 1 else "they depend on what the scan before gave"
    if owners:
        listener.said(Note(f"scan {number}", f"statistics for {owners}", reason))
