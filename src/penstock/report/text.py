"""A profile for a terminal: aligned, quiet, for 80 columns or more. Part of the room of reports."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from penstock.report.words import metric_text, one_line, share_text, short_number, values_text

MOST_COLUMNS = 40
"""Columns that a person is shown; JSON and the page have them all."""
MOST_WARNINGS = 12
_MARKS = {"high": ("!!", "bold red"), "medium": ("! ", "yellow"), "low": ("- ", "dim")}
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*#@"
_WIDTH = 12
_STEPS = 12
_METRICS = 8
_VALUES = 66
"""Columns of a terminal from which the values are shown."""
_DRAWN = 94
"""From which they are drawn too, where there is a target."""


class ProfileView:
    """What a person sees of a profile: a line on the table, a line for each column, the warnings.

    As wide as the console that prints it; below 66 columns the values are left out.

    Args:
        document: the profile as JSON values.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The renderables, for rich."""
        width, ascii_only = options.max_width, options.ascii_only
        yield Text()
        yield Text(summary_line(self._document), "bold")
        yield Padding(_columns(self._document, width, ascii_only), (1, 0, 0, 0))
        if self._document["warnings"]:
            yield Padding(_warnings(self._document["warnings"], ascii_only), (1, 0, 0, 0), expand=False)


def profile_text(document: Mapping[str, Any], width: int | None = None) -> str:
    """The same as plain text, as wide as the terminal, 100 columns at most."""
    wide = min(shutil.get_terminal_size((100, 24)).columns if width is None else width, 100)
    file = io.StringIO()
    console = Console(file=file, width=wide, emoji=False, markup=False, highlight=False, color_system=None)
    console.print(ProfileView(document))
    return "\n".join(line.rstrip() for line in file.getvalue().strip("\n").splitlines())


def summary_line(document: Mapping[str, Any]) -> str:
    """The table in a line."""
    columns = document["columns"]
    cells = document["rows"] * len(columns)
    missing = sum(column["missing"] for column in columns)
    doubled = document["duplicates"]
    parts = [f"{document['rows']:,} rows", f"{len(columns):,} columns"]
    parts.append(f"{share_text(missing, cells)} of the cells missing" if missing else "no cell missing")
    if doubled["rows"] > 3 * doubled["error"]:
        parts.append(f"{'' if doubled['exact'] else 'about '}{doubled['rows']:,} duplicate rows")
    else:
        parts.append("no duplicate rows" if doubled["exact"] else "no duplicate rows to speak of")
    return ", ".join(parts)


def pipeline_text(facts: Mapping[str, Any], *, title: str, steps: Sequence[str], model: str) -> str:
    """A fitted pipeline in a few lines: what it predicts and how well, its steps, what it leans on.

    Args:
        facts: what it was fitted on and how well it did (`penstock.artifact.Saved.facts`).
        title: what it is, in a line.
        steps: its steps, by name.
        model: its model, in a line.
    """
    judged = facts.get("evaluation") or {}
    intervals = judged.get("intervals") or {}
    told = []
    for name, score in list((judged.get("metrics") or {}).items())[:_METRICS]:
        low, high = intervals.get(name) or (None, None)
        between = f" ({metric_text(low)} to {metric_text(high)})" if low is not None else ""
        told.append(f"{name} {metric_text(score)}{between}")
    importance = sorted(((facts.get("model") or {}).get("importance") or {}).items(), key=lambda pair: -pair[1])
    shown = ", ".join(steps[:_STEPS]) + (f", ... ({len(steps)})" if len(steps) > _STEPS else "")
    lines = [
        ("model", model),
        ("steps", shown or "none"),
        ("learned from", f"{facts['rows']:,} rows" if facts.get("rows") else ""),
        ("leans on", ", ".join(f"{one_line(str(name))} {share:.0%}" for name, share in importance[:5])),
        ("judged on", f"{judged['rows']:,} rows: {judged.get('on', '')}" if judged else ""),
        *(("", one) for one in told),
    ]
    return "\n".join([one_line(title), *(f"  {name:<13}{one_line(text)}" for name, text in lines if text)])


def _columns(document: Mapping[str, Any], width: int, ascii_only: bool) -> RenderableType:
    columns = document["columns"]
    judged = any(column.get("association") for column in columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=width >= _VALUES, padding=(0, 1, 0, 0))
    table.add_column(
        "column", style="bold", min_width=8, max_width=max(8, width // 4), no_wrap=True, overflow="ellipsis"
    )
    table.add_column("role", style="green", no_wrap=True)
    table.add_column("missing", justify="right", no_wrap=True)
    table.add_column("distinct", justify="right", no_wrap=True)
    if judged:
        table.add_column("alone", justify="right", no_wrap=True)
    drawn = width >= (_DRAWN if judged else _VALUES)
    if drawn:
        table.add_column("", no_wrap=True, style="cyan", width=_WIDTH)
    if width >= _VALUES:
        table.add_column("values", no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
    for column in columns[:MOST_COLUMNS]:
        cells = [
            Text(one_line(column["name"])),
            Text(column["role"]),
            Text(share_text(column["missing"], document["rows"])) if column["missing"] else Text("-", "dim"),
            Text(_distinct(column)),
        ]
        if judged:
            cells.append(_score(column))
        if drawn:
            cells.append(Text(spark(column, _ASCII if ascii_only else _BLOCKS)))
        if width >= _VALUES:
            cells.append(Text(values_text(column)))
        table.add_row(*cells)
    below = []
    if len(columns) > MOST_COLUMNS:
        below.append(Text(f"and {len(columns) - MOST_COLUMNS:,} more columns (--to report.html, --json)", "dim"))
    if judged:
        measure = "R²" if document["target"]["task"] == "regression" else "AUC"
        rows = document["sample"]["rows"]
        on = f"{rows:,} rows" if document["sample"]["complete"] else f"a sample of {rows:,} rows"
        below.append(Text(f"alone: the {measure} with which the column alone tells the target, on {on}", "dim"))
    return Group(table, *below)


def _distinct(column: Mapping[str, Any]) -> str:
    if column.get("distinct") is None:
        return ""
    return short_number(column["distinct"]) if column["distinct_exact"] else f"~{short_number(column['distinct'])}"


def _score(column: Mapping[str, Any]) -> Text:
    score = (column.get("association") or {}).get("score")
    return Text("" if score is None else f"{score:.2f}")


def spark(column: Mapping[str, Any], blocks: str = _BLOCKS, width: int = _WIDTH) -> str:
    """A column's distribution as a row of blocks; empty where there is none.

    Example:
        >>> spark({"bins": {"counts": [1, 4, 2]}})
        '▂█▄'
    """
    counts = _counts(column)
    if len(counts) > width:  # neighbours together, as even as whole numbers allow
        ends = [round(place * len(counts) / width) for place in range(width + 1)]
        counts = [sum(counts[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    most = max(counts, default=0)
    if not most:
        return ""
    # What there is of, however little, is told from nothing.
    return "".join(blocks[max(1, round(count / most * (len(blocks) - 1))) if count else 0] for count in counts)


def _counts(column: Mapping[str, Any]) -> Sequence[float]:
    if "bins" in column:
        counts: Sequence[float] = column["bins"]["counts"]
        return counts
    return [count for _, count in column.get("top", [])]


def _warnings(warnings: Sequence[Mapping[str, Any]], ascii_only: bool) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(style="bold", max_width=28, overflow="fold")
    grid.add_column(overflow="fold", ratio=1)
    for one in warnings[:MOST_WARNINGS]:
        mark, style = _MARKS[one["severity"]]
        arrow = "->" if ascii_only else "→"
        text = Text(one_line(one["reason"])).append(f" {arrow} {one_line(one['remedy'])}", "dim")
        grid.add_row(Text(mark, style), Text(", ".join(map(one_line, one["columns"])) or "the table"), text)
    if len(warnings) <= MOST_WARNINGS:
        return grid
    return Group(grid, Text(f"and {len(warnings) - MOST_WARNINGS:,} more (--to report.html, --json)", "dim"))
