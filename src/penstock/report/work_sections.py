"""The sections on the work: what cleaning did, what was rejected, what took how long, how to do it again. Part of the
room of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.report.html import Html, bars, code, details, join, listed, pairs, part, section, table, text, value
from penstock.report.words import share_text

MOST_CLEANED = 80
MOST_EXAMPLES = 3
MOST_REJECTED = 25
MOST_INPUTS = 50
MOST_STEPS = 60


def cleaning_section(document: Mapping[str, Any]) -> Html:
    """How many cells each step changed, and why, with examples."""
    found = [one for one in listed(document, "cleaning") if one.get("changed")]
    rows = []
    for one in sorted(found, key=lambda one: -int(one["changed"]))[:MOST_CLEANED]:
        share = one.get("share")
        rows.append(
            [
                value(one["step"], 40),
                value(one["column"], 40),
                text(f"{one['changed']:,}"),
                text("" if share is None else share_text(share, 1.0)),
                value(one.get("reason") or "–", 200),
                _examples(listed(one, "examples")),
            ]
        )
    left = len(found) - MOST_CLEANED
    more = f'<p class="muted">{left:,} more in the JSON.</p>' if left > 0 else ""
    changed = sum(int(one["changed"]) for one in found)
    lead = f"{changed:,} cells were changed. Nothing was changed in the files."
    head = ["Step", "Column", "Cells", "Share", "Why", "For example"]
    return section("cleaning", "What cleaning did", table(head, rows, numbers=(2, 3)), more, lead=text(lead))


def _examples(found: Sequence[Mapping[str, Any]]) -> Html:
    return Html(
        "<br>".join(f"{value(one.get('before'), 40)} → {value(one.get('after'), 40)}" for one in found[:MOST_EXAMPLES])
    )


def rejected_section(document: Mapping[str, Any]) -> Html:
    """The rows that left, by reason, and the first of them as they came."""
    found = document.get("rejected") or {}
    if not found.get("rows"):
        return Html("")
    by = [
        [
            value(one["step"], 40),
            value(one["column"], 40) if one["column"] is not None else text("–"),
            value(one["reason"] or one["code"], 200),
            text(f"{one['rows']:,}"),
        ]
        for one in found["by"][:MOST_STEPS]
    ]
    first = [
        [
            f"{value(one['path'] or '–', 60)} <i>{_place(one)}</i>",
            value(one["column"], 40) if one["column"] is not None else text("–"),
            value(one["reason"], 160),
            value(one["value"], 60),
            f'<span class="muted">{value(one["record"], 160)}</span>',
        ]
        for one in found["first"][:MOST_REJECTED]
    ]
    lead = f"{found['rows']:,} rows were rejected; each is kept with its reason and as it came"
    lead += f" in {found['folder']}." if found.get("folder") else "."
    return section(
        "rejected",
        "Rejected rows",
        table(["Step", "Column", "Because", "Rows"], by, numbers=(3,)),
        part(
            "The first of them",
            table(["Where", "Column", "Because", "Value", "The row as it came"], first, name="wide"),
        ),
        lead=text(lead),
    )


def _place(one: Mapping[str, Any]) -> str:
    return f"line {one['line']:,}" if one.get("line") is not None else f"row {one['row'] or 0:,}"


def work_section(document: Mapping[str, Any]) -> Html:
    """The ledger and the timings."""
    return section("work", "What it took", part("Rows", _ledger(document)), part("Time", *_timings(document)))


def _ledger(document: Mapping[str, Any]) -> Html:
    steps = listed(document.get("ledger") or {}, "steps")
    rows = [
        [value(one["step"], 60), *(text(f"{one[name]:,}" if one[name] else "–") for name in _COUNTS)]
        for one in steps[:MOST_STEPS]
    ]
    return table(["Step", *(name.capitalize() for name in _COUNTS)], rows, numbers=range(1, 6))


_COUNTS = ("in", "made", "out", "rejected", "dropped")


def _timings(document: Mapping[str, Any]) -> list[Html]:
    timings = document.get("timings") or {}
    seconds = {name: float(taken) for name, taken in (timings.get("seconds") or {}).items() if taken is not None}
    parts = [bars([(value(name), taken, text(_seconds(taken))) for name, taken in seconds.items()])]
    rows = [
        [
            value(one["pass"]),
            text(f"{one['rows']:,}"),
            text(_seconds(one["seconds"])),
            text(_stages(one.get("busy") or {})),
            text(_stages(one.get("waiting") or {})),
            text(f"{one['held'] / 2**20:,.0f} MiB" if one.get("held") else ""),
        ]
        for one in listed(timings, "passes")[:MOST_STEPS]
    ]
    head = ["Pass", "Rows", "Took", "Busy, all threads", "Waiting", "Held at the end"]
    return [*parts, table(head, rows, numbers=(1, 2, 5))]


def _stages(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_seconds(taken)}" for name, taken in found.items() if taken and taken >= 0.001) or "–"


def _seconds(taken: float) -> str:
    if taken < 1:
        return f"{taken * 1000:.0f} ms"
    if taken < 60:
        return f"{taken:.3g} s"
    minutes, rest = divmod(round(taken), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def reproduce_section(document: Mapping[str, Any]) -> Html:
    """The command, the pipeline file, the seed, the versions and the inputs."""
    known = document.get("inputs")
    inputs = listed(known, "first") if isinstance(known, Mapping) else listed(document, "inputs")
    rows = [
        [value(one["path"], 120), text(f"{one['size']:,}"), f"<code>{value(one['digest'], 40)}</code>"]
        for one in inputs[:MOST_INPUTS]
    ]
    left = (int(known["count"]) if isinstance(known, Mapping) else len(inputs)) - len(rows)
    versions = ", ".join(f"{name} {found}" for name, found in (document.get("versions") or {}).items())
    resources = document.get("resources") or {}
    lent = f"{resources['cores']} cores, {resources['memory'] / 2**30:.3g} GiB" if resources else ""
    seed = document.get("seed")
    return section(
        "reproduce",
        "How to do it again",
        code(str(document["command"])) if document.get("command") else "",
        pairs(
            [
                ("Seed", text("" if seed is None else seed)),
                ("Versions", text(versions)),
                ("Machine lent", text(lent)),
                ("Started", text(document.get("started") or "")),
                ("Finished", text(document.get("finished") or "")),
                ("Saved in", value(document["output"], 400) if document.get("output") else ""),
            ]
        ),
        details("The pipeline file", code(str(document["config"]))) if document.get("config") else "",
        part(
            "Inputs",
            join(
                [
                    table(["File", "Bytes", "Fingerprint"], rows, numbers=(1,)),
                    f'<p class="muted">{left:,} more files.</p>' if left > 0 else "",
                ]
            ),
        ),
    )


def told_seconds(found: float) -> str:
    """A duration for people.

    Example:
        >>> told_seconds(0.5), told_seconds(75)
        ('500 ms', '1 min 15 s')
    """
    return _seconds(found)
