"""The sections on the data: columns, what to look at, correlations, drift, duplicates. Part of the room of reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from penstock.report import charts
from penstock.report.html import REST, Html, bars, details, figure, grid, heat, join, part, section, table, text, value
from penstock.report.words import share_text, short_number

MOST_DRAWN = 80
"""Columns that are drawn; the others stand in the table."""
MOST_LISTED = 600
"""Columns of the table."""
MOST_WARNINGS = 60
MOST_HEAT = 14
MOST_PAIRS = 15
MOST_DRIFT = 40
_SEVERITY = {"high": "look first", "medium": "look", "low": "note"}
_WEEKDAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_MONTHS = ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D")
_HOURS = tuple(str(hour) for hour in range(24))


def data_section(profile: Mapping[str, Any]) -> Html:
    """Everything that is known of the data."""
    columns = profile["columns"]
    return section(
        "data",
        "The data",
        part("What to look at", warnings_list(profile["warnings"])),
        part("Columns", *_columns(profile, columns)),
        _goes_together(profile),
        _drift(profile),
        _notes(profile),
        lead=text(_lead(profile)),
    )


def _lead(profile: Mapping[str, Any]) -> str:
    columns, rows = profile["columns"], profile["rows"]
    missing = sum(column["missing"] for column in columns)
    doubled = profile["duplicates"]
    parts = [f"{rows:,} rows and {len(columns):,} columns."]
    parts.append(
        f"{share_text(missing, rows * len(columns))} of all cells are missing." if missing else "No cell is missing."
    )
    if doubled["rows"] > 3 * doubled["error"]:
        about = "" if doubled["exact"] else "About "
        parts.append(f"{about}{doubled['rows']:,} rows are like an earlier one in every column.")
    else:
        parts.append("No row repeats another one." if doubled["exact"] else "Hardly a row repeats another one.")
    return " ".join(parts)


def warnings_list(warnings: Sequence[Mapping[str, Any]]) -> Html:
    """What a person should look at, with the remedy."""
    lines = []
    for one in warnings[:MOST_WARNINGS]:
        names = ", ".join(value(name) for name in one["columns"]) or "The table"
        lines.append(
            f'<li class="{text(one["severity"])}"><span class="s">{text(_SEVERITY.get(one["severity"], ""))}</span>'
            f"<span><b>{names}</b>: {text(one['reason'])}<small>{text(one['remedy'])}</small></span></li>"
        )
    if not lines:
        return Html("")
    left = len(warnings) - MOST_WARNINGS
    more = f'<p class="muted">and {left:,} more, in the JSON</p>' if left > 0 else ""
    return Html(f'<ul class="warnings">{"".join(lines)}</ul>{more}')


# ---------------------------------------------------------------------- columns


def _columns(profile: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> Iterator[Html]:
    drawn = _most_telling(profile)
    if len(drawn) < len(columns):
        yield Html(
            f'<p class="lead">{len(drawn):,} of {len(columns):,} columns are drawn: the target, those with warnings, '
            "those that tell most of the target, then the first ones. The table below has "
            f"{'all' if len(columns) <= MOST_LISTED else f'the first {MOST_LISTED:,}'}.</p>"
        )
    yield grid(_card(profile, column) for column in columns if column["name"] in drawn)
    listing = _table(profile, columns[:MOST_LISTED])
    yield details("All columns as a table", listing) if len(drawn) == len(columns) else listing


def _most_telling(profile: Mapping[str, Any]) -> set[str]:
    """The names of the columns that are drawn."""
    columns = profile["columns"]
    if len(columns) <= MOST_DRAWN:
        return {column["name"] for column in columns}
    target = profile.get("target", {}).get("column")
    warned = {name for one in profile["warnings"] for name in one["columns"]}

    def rank(place: int) -> tuple[Any, ...]:
        column = columns[place]
        score = (column.get("association") or {}).get("score") or 0.0
        return (column["name"] != target, column["name"] not in warned, -score, place)

    return {columns[place]["name"] for place in sorted(range(len(columns)), key=rank)[:MOST_DRAWN]}


def _card(profile: Mapping[str, Any], column: Mapping[str, Any]) -> Html:
    """One column: its name and role, its distribution, its figures, and what it tells of the target."""
    rows = profile["rows"]
    tags = [column["role"]]
    if column["missing"]:
        tags.append(f"{share_text(column['missing'], rows)} missing")
    title = f'{value(column["name"], 60)}<span class="tag">{text(", ".join(tags))}</span>'
    below = f"<figcaption>{_said(column)}</figcaption>"
    return figure(join([_drawn(column, rows), below, _alone(profile, column)]), title)


def _drawn(column: Mapping[str, Any], rows: int) -> Html:
    bins = column.get("bins")
    if bins and bins["counts"]:
        return charts.histogram(bins, f"Distribution of {column['name']}: {_plain(column)}")
    top = column.get("top")
    if not top:
        return Html("")
    present = rows - column["missing"]
    shown = [(value(name, 32), float(count), text(share_text(count, present))) for name, count in top[:6]]
    left = present - sum(count for _, count in top[:6])
    if left > 0:
        others = column["distinct"] - len(shown)
        shown.append(
            (
                Html(f"{REST}{others:,} other{'s' if others != 1 else ''}</i>"),
                float(left),
                text(share_text(left, present)),
            )
        )
    return bars(shown, most=float(present) if column["distinct"] <= 3 else None)


def _said(column: Mapping[str, Any]) -> str:
    found = _plain(column)
    hidden = [
        f"{column['bins'][side]:,} {word}"
        for side, word in (("below", "further left"), ("above", "further right"))
        if column.get("bins", {}).get(side)
    ]
    return text(", ".join([found, *hidden]))


def _plain(column: Mapping[str, Any]) -> str:
    """The figures of a column as text."""
    if numbers := column.get("number"):
        median = numbers["quantiles"]["0.5"]
        said = (
            f"{short_number(numbers['minimum'])} to {short_number(numbers['maximum'])}, median {short_number(median)}"
        )
        said += f", mean {short_number(numbers['mean'])}"
        return said + (f" ± {short_number(numbers['deviation'])}" if numbers["deviation"] is not None else "")
    if times := column.get("time"):
        return f"{times['minimum']} to {times['maximum']}, by {_UNIT_WORDS.get(column['bins']['unit'], 'time')}"
    if length := column.get("length"):
        unit = {"list": "items", "bytes": "bytes"}.get(column["kind"], "characters")
        said = f"{short_number(length['minimum'])} to {short_number(length['maximum'])} {unit}"
        return f"{said}, median {short_number(length['median'])}; {_distinct(column)}".removesuffix("; ")
    return _distinct(column)


_UNIT_WORDS = {"s": "second", "m": "minute", "h": "hour", "D": "day", "W": "week", "M": "month", "Y": "year"}


def _distinct(column: Mapping[str, Any]) -> str:
    count = column.get("distinct")
    if count is None:
        return ""
    about = "" if column["distinct_exact"] else "about "
    return f"{about}{count:,} different value{'' if count == 1 else 's'}"


def _alone(profile: Mapping[str, Any], column: Mapping[str, Any]) -> Html:
    """The target's mean by this column, where there is a target."""
    found = column.get("association")
    if not found or found["score"] is None:
        return Html("")
    measure = "R²" if found["measure"] == "r2" else "AUC"
    target = profile["target"]
    what = f"share of {target['positive']}" if target["task"] == "binary" else f"mean {target['column']}"
    alone = text(f"{measure} {found['score']:.2f} alone")
    heading = Html(f'<p class="alone">{text(what)}<span class="tag">{alone}</span></p>')
    points = [point for point in found.get("points", []) if point["y"] is not None]
    shares = target["task"] == "binary"
    if column["kind"] in ("category", "boolean"):
        return join([heading, _means(column, points, shares)]) if points else Html(f"<figcaption>{alone}</figcaption>")
    numbers = [(float(point["x"]), float(point["y"])) for point in points if point.get("x") is not None]
    if len(numbers) < 2:
        return Html(f"<figcaption>{alone}</figcaption>")
    said = f"{what} by {column['name']}"
    return join(
        [heading, charts.line(numbers, said, height=92, shares=shares, dots=True, times=column["kind"] == "time")]
    )


def _means(column: Mapping[str, Any], points: Sequence[Mapping[str, Any]], shares: bool) -> Html:
    """The target's mean by value, as bars; of a truth value, sampled as a number, under its name."""
    lines = []
    for point in points[:6]:
        name = point.get("value", point.get("x"))
        if column["kind"] == "boolean" and name is not None:
            name = "true" if name else "false"
        said = share_text(point["y"], 1.0) if shares else short_number(float(f"{point['y']:.4g}"))
        lines.append((value(name, 32), float(point["y"]), text(said)))
    return bars(lines, name="means")


def _table(profile: Mapping[str, Any], columns: Iterable[Mapping[str, Any]]) -> Html:
    rows = profile["rows"]
    judged = "target" in profile
    head = ["Column", "Role", "Missing", "Distinct", *(["Alone"] if judged else []), "Values"]
    lines = []
    for column in columns:
        score = (column.get("association") or {}).get("score")
        distinct = "" if column.get("distinct") is None else short_number(column["distinct"])
        if distinct and not column["distinct_exact"]:
            distinct = f"~{distinct}"
        cells: list[str] = [
            value(column["name"], 60),
            text(column["role"]),
            text(share_text(column["missing"], rows) if column["missing"] else "–"),
            text(distinct),
        ]
        if judged:
            cells.append(text("" if score is None else f"{score:.3f}"))
        lines.append([*cells, _top(column, rows) if column.get("top") else text(_plain(column))])
    return table(head, lines, numbers=(2, 3, 4) if judged else (2, 3))


def _top(column: Mapping[str, Any], rows: int) -> Html:
    present = rows - column["missing"]
    return Html(
        ", ".join(f"{value(name, 40)} <i>{text(share_text(count, present))}</i>" for name, count in column["top"][:4])
    )


def _calendar(profile: Mapping[str, Any]) -> Iterator[Html]:
    for column in profile["columns"]:
        times = column.get("time")
        if not times:
            continue
        for name, labels, word in (
            ("hours", _HOURS, "hour of the day"),
            ("weekdays", _WEEKDAYS, "day of the week"),
            ("months", _MONTHS, "month of the year"),
        ):
            if name == "hours" and times["dates"]:
                continue
            said = f"{column['name']} by {word}"
            yield figure(charts.counts_by(labels, times[name], said), f"{value(column['name'], 40)} by {word}")


# ---------------------------------------------------------------------- together, apart


def _goes_together(profile: Mapping[str, Any]) -> Html:
    found = profile.get("correlations", {})
    pairs = found.get("pairs", [])
    calendar = part("Times", grid(list(_calendar(profile))[:9]))
    if not pairs:
        return calendar
    left = found.get("left_out", 0)
    lead = "Pearson’s correlation of columns of numbers, over the rows in which both have a value."
    if left:
        lead += f" The first {len(found['columns']):,} columns are compared; {left:,} are left out."
    chosen = _strongest(found)
    places = [found["columns"].index(name) for name in chosen]
    cells = [[_cell(found["matrix"][i][j], i == j) for j in places] for i in places]
    strongest = bars(
        [(Html(f"{value(a, 30)} × {value(b, 30)}"), abs(r), text(f"{r:+.2f}")) for a, b, r in pairs[:MOST_PAIRS]],
        most=1.0,
    )
    return join(
        [
            calendar,
            part(
                "Columns that go together",
                heat(chosen, cells),
                strongest if len(found["columns"]) > MOST_HEAT else "",
                lead=text(lead),
            ),
        ]
    )


def _cell(correlation: float | None, itself: bool) -> tuple[float | None, str]:
    return (None, "") if correlation is None or itself else (correlation, f"{correlation:.2f}")


def _strongest(found: Mapping[str, Any]) -> list[str]:
    """The columns of the strongest pairs, in the table's order, as many as a square can show."""
    names: dict[str, None] = {}
    for first, second, _ in found["pairs"]:
        for name in (first, second):
            if len(names) < MOST_HEAT:
                names[name] = None
    return [name for name in found["columns"] if name in names]


def _drift(profile: Mapping[str, Any]) -> Html:
    drift = profile.get("drift")
    if not drift:
        return Html("")
    rows = []
    for column in drift["columns"][:MOST_DRIFT]:
        index, statistic = column["index"], column.get("statistic")
        test = {"kolmogorov-smirnov": "KS", "chi-square": "χ²"}.get(column.get("test", ""), "")
        moved = ""
        if column.get("before") != column.get("after") and None not in (column.get("before"), column.get("after")):
            of = "median length" if column.get("of") == "lengths" else "median"
            moved = f"{of} {_middle(column['before'])} → {_middle(column['after'])}"
        elif column.get("new"):
            moved = f"{column['new_rows']:,} rows with new values: " + ", ".join(value(v, 30) for v in column["new"])
        rows.append(
            [
                value(column["name"], 60),
                text("" if index is None else f"{index:.3f}"),
                text(f"{test} {short_number(float(f'{statistic:.3g}'))}" if statistic is not None else ""),
                text("" if column.get("p") is None else ("<0.001" if column["p"] < 0.001 else f"{column['p']:.3f}")),
                moved,
            ]
        )
    lead = (
        f"Against {drift['on']} ({drift['rows']:,} rows). Of the population stability index, below 0.1 is usual and "
        "above 0.25 another population. The tests (Kolmogorov and Smirnov’s KS, and χ²) find even what is too small to "
        "matter, where there are many rows."
    )
    left = len(drift["columns"]) - MOST_DRIFT
    more = (
        f'<p class="muted">The {MOST_DRIFT} columns that moved most; {left:,} more in the JSON.</p>' if left > 0 else ""
    )
    listing = table(["Column", "Index", "Test", "p", "What moved"], rows, numbers=(1, 3))
    return part("Drift", listing, more, lead=text(lead))


def _middle(found: Any) -> Html:
    return value(found) if isinstance(found, str) else text(short_number(found))


def _notes(profile: Mapping[str, Any]) -> Html:
    notes = profile.get("notes", [])
    rows = [
        [value(note["topic"]), value(note["text"]), value(note["reason"] or "–"), value(note["override"] or "–")]
        for note in notes[:MOST_LISTED]
    ]
    return details(
        "What was inferred when the data were read", table(["Of", "Decided", "Because", "To override"], rows)
    )
