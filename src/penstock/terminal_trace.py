"""What the findings of a trace look like in a terminal: values in, renderables out; nothing is printed here.

Beside `terminal_tables.py`. Made for 80 columns, with or without color.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from penstock.resources import show_bytes
from penstock.terminal_tables import duration, facts
from penstock.trace_findings import STAGES

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_PASSES = 12


def trace_tables(found: Mapping[str, Any]) -> list[RenderableType]:
    """Where the time went, as tables; the last says what would make it faster."""
    tables: list[RenderableType] = [_whole(found)]
    if found["passes"]:
        tables.append(_passes(found["passes"]))
    if found["slowest"]:
        tables.append(_slowest(found["slowest"]))
    tables += [_shares(found[name], found["seconds"], name) for name in ("training", "parts") if found[name]]
    tables.append(facts([("faster" if not at else "", text) for at, text in enumerate(found["advice"])]))
    return tables


def _whole(found: Mapping[str, Any]) -> RenderableType:
    rows = [("job", f"{found['title']}, {found['outcome']} after {duration(found['seconds'])}")]
    if found["passes"]:
        share = _percent(found["in_passes"], found["seconds"])
        rows.append(("passes", f"{len(found['passes']):,}, {share} of the time"))
    rows.append(("critical", found["critical"]))
    if found["memory"]:
        held = f"{show_bytes(found['peak_held'])} held at most, of {show_bytes(found['memory'])}"
        rows.append(("memory", f"{held} ({_percent(found['peak_held'], found['memory'])})"))
    disk = found["disk"]
    if disk["count"]:
        rows.append(("disk", f"{disk['count']:,} waits, {duration(disk['seconds'])}, {disk['share']:.0%} of the time"))
    if found["left_out"]:
        rows.append(("note", found["left_out"]))
    return facts(rows)


def _passes(passes: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table("pass", "took", "cores", *STAGES, "memory", "work")
    shown = sorted(range(len(passes)), key=lambda at: -passes[at]["seconds"])[:MOST_PASSES]
    for at in sorted(shown):
        one = passes[at]
        shares = [one["stages"][stage] for stage in STAGES]
        waits = [one["waiting"].get(name, 0.0) for name in ("memory", "work")]
        cores = f"{one['busy_cores']:.1f}/{one['cores']}"
        table.add_row(Text(one["title"]), duration(one["seconds"]), cores, *(f"{x:.0%}" for x in (*shares, *waits)))
    below = "plan, read, map, take: shares of the work; memory, work: of the threads' time, waited for it"
    if len(passes) > MOST_PASSES:
        below += f"; the longest {MOST_PASSES} of {len(passes)}"
    table.caption = below
    return Padding(table, (1, 0, 0, 0), expand=False)


def _slowest(chunks: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table("slowest chunks", "took", "rows", "bytes", *STAGES[1:])
    for one in chunks:
        name = Text(f"{one.get('chunk', '?')} of {one.get('pass', '?')}")
        parts = [duration(one.get(stage, 0.0)) for stage in STAGES[1:]]
        size = show_bytes(one.get("bytes", 0))
        table.add_row(name, duration(one.get("took", 0.0)), f"{one.get('rows', 0):,}", size, *parts)
    return Padding(table, (1, 0, 0, 0), expand=False)


def _shares(parts: Sequence[Mapping[str, Any]], seconds: float, title: str) -> RenderableType:
    table = _table(title, "took", "share")
    for one in parts:
        table.add_row(Text(one["name"]), duration(one["seconds"]), _percent(one["seconds"], seconds))
    return Padding(table, (1, 0, 0, 0), expand=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption_justify="left", caption_style="dim")
    table.add_column(first, style="bold", max_width=26, overflow="ellipsis", no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"
