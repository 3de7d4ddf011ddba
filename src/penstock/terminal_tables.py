"""What notes, progress, ledgers, metrics and errors look like: values in, renderables out; nothing is printed here.

Made for 80 columns, with or without color.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.resources import show_bytes

if TYPE_CHECKING:
    from penstock.batch import Count
    from penstock.engine import Figures
    from penstock.jobs.doctor import Finding
    from penstock.source import Note

MOST_ROLES = 25
"""Rows of the table of roles; more columns are only counted."""
_TOPIC = 16
_FIRST = ("loss", "train", "validation", "accuracy")
"""Figures of a training that are told first: of the last batch, and of the last epoch."""


def note_lines(note: Note) -> RenderableType:
    """One note: its topic, what was decided and why, and how to decide otherwise."""
    text = Text(note.text)
    if note.reason:
        text.append(f" ({note.reason})", "dim")
    if note.override:
        text.append("\nto override: ", "dim").append(note.override, "dim cyan")
    return _pairs([(note.topic, text)])


def _pairs(rows: Iterable[tuple[str, Text | str]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", min_width=_TOPIC, max_width=30, overflow="fold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), text)
    return grid


def roles_table(notes: Sequence[Note]) -> RenderableType:
    """The columns' roles in a table, with the reasons."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column(
        f"column ({len(notes)})", style="bold", min_width=12, max_width=30, overflow="ellipsis", no_wrap=True
    )
    table.add_column("role", style="green", min_width=8, no_wrap=True)
    table.add_column("because", style="dim", overflow="ellipsis", no_wrap=True, ratio=1)
    for note in notes[:MOST_ROLES]:
        table.add_row(Text(note.topic.removeprefix("role of ").strip("'\"")), Text(note.text), Text(note.reason))
    below = Text()
    if len(notes) > MOST_ROLES:
        below.append(f"and {len(notes) - MOST_ROLES:,} more (--json tells all)\n", "dim")
    below.append("to override: ", "dim").append(notes[0].override, "dim cyan")
    below.append(" in a pipeline file, or --roles NAME=ROLE,...", "dim")
    return Padding(Group(table, below), (1, 0, 1, 0), expand=False)


# ---------------------------------------------------------------------- progress


def progress_lines(figures: Figures, *, ascii_only: bool = False) -> RenderableType:
    """Lines that are drawn again and again: how far, at what cost, and of a training its figures."""
    first = Table.grid(padding=(0, 2, 0, 0))
    cells: list[RenderableType] = [Text(figures.title, "bold")]
    share = _share(figures)
    if share is not None:
        bar = ProgressBar(total=1.0, completed=share, width=30)
        cells += [Text("#" * round(30 * share) + "." * (30 - round(30 * share))) if ascii_only else bar]
        cells += [Text(f"{share:4.0%}"), Text(_left(figures))]
    for _ in cells:
        first.add_column(no_wrap=True)
    first.add_row(*cells)
    lines = [Text("  " + line, "dim", no_wrap=True, overflow="ellipsis") for line in (_cost(figures), _told(figures))]
    return Group(first, *(line for line in lines if line.plain.strip()))


def progress_text(figures: Figures) -> Text:
    """One line for a log."""
    share = _share(figures)
    so_far = [f"{share:.0%}"] if share is not None else []
    left = [_left(figures)] if share is not None else []
    parts = [f"{figures.title}: {' '.join(so_far) or 'running'}", _cost(figures), *left, _told(figures)]
    return Text(", ".join(filter(None, parts)))


def finished_line(figures: Figures) -> RenderableType:
    """What is left of the progress of one pass."""
    return _pairs([(figures.title, Text(f"{figures.rows:,} rows in {duration(figures.seconds)}{_rate(figures)}"))])


def _share(figures: Figures) -> float | None:
    if figures.total_bytes:
        return min(1.0, figures.nbytes / figures.total_bytes)
    if figures.total_rows:
        return min(1.0, figures.rows / figures.total_rows)
    return None


def _left(figures: Figures) -> str:
    share = _share(figures) or 0.0
    if share <= 0.02 or figures.seconds < 1:
        return ""
    return duration(figures.seconds * (1 - share) / share) + " left"


def _rate(figures: Figures) -> str:
    return f", {_short(figures.rows / figures.seconds)} rows/s" if figures.seconds >= 0.1 and figures.rows else ""


def _cost(figures: Figures) -> str:
    in_flight = f"{show_bytes(figures.in_flight)} in flight, " if figures.in_flight else ""
    return f"{figures.rows:,} rows{_rate(figures)}, {in_flight}{show_bytes(figures.held)} held"


def _told(figures: Figures) -> str:
    """The figures of a training: what is of most use first, as a narrow terminal shows no more."""
    order = sorted(figures.values, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return ", ".join(f"{name.replace('_', ' ')} {figures.values[name]:.4g}" for name in order)


def _short(count: float) -> str:
    for unit in ("", " k", " M"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} G"


def duration(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> duration(0.0252), duration(12.3), duration(75), duration(7384)
        ('25 ms', '12.3 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# ---------------------------------------------------------------------- results


def ledger_table(counts: Sequence[Count]) -> RenderableType:
    """The ledger: what each step did to the number of rows. Neighbours that changed nothing share a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("step", style="bold", overflow="fold")
    for name in ("in", "made", "out", "rejected", "dropped"):
        table.add_column(name, justify="right", no_wrap=True)
    for idle, group in groupby(counts, _is_idle):
        for line in _lines(list(group), idle):
            table.add_row(*line)
    return Padding(table, (1, 0, 0, 0), expand=False)


def _is_idle(count: Count) -> bool:
    return count.rows_in == count.out and not (count.made or count.rejected or count.dropped)


def _lines(counts: Sequence[Count], idle: bool) -> Iterable[tuple[RenderableType, ...]]:
    if idle and len(counts) > 1:
        first, last = counts[0], counts[-1]
        name = f"{first.step} to {last.step} ({len(counts)} steps)"
        yield (Text(name), *_numbers(first.rows_in, 0, last.out, 0, 0))
        return
    for count in counts:
        yield (Text(count.step), *_numbers(count.rows_in, count.made, count.out, count.rejected, count.dropped))


def _numbers(rows_in: int, made: int, out: int, rejected: int, dropped: int) -> tuple[Text, ...]:
    return (
        Text(f"{rows_in:,}"),
        _or_dash(made),
        Text(f"{out:,}"),
        _or_dash(rejected, "yellow"),
        _or_dash(dropped),
    )


def _or_dash(count: int, style: str = "") -> Text:
    return Text(f"{count:,}", style) if count else Text("-", "dim")


def metrics_table(
    metrics: Mapping[str, Any], on: str = "", intervals: Mapping[str, Sequence[float]] | None = None
) -> RenderableType:
    """Metrics by name with their intervals; a metric that is undefined says so."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("metric", style="bold")
    table.add_column("value", justify="right", style="green")
    if intervals:
        table.add_column("95 % interval", justify="right", style="dim")
    for name, value in metrics.items():
        ends = (intervals or {}).get(name)
        shown = [Text(f"{ends[0]:,.3g} to {ends[1]:,.3g}" if ends else "")] if intervals else []
        table.add_row(Text(name), Text(number(value)), *shown)
    title = Text(f"judged on {on}", "dim") if on else Text()
    return Padding(Group(table, title) if on else table, (1, 0, 0, 0), expand=False)


def leaderboard_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The candidates with their scores, best first; what was kept is marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("candidate", style="bold", overflow="fold")
    table.add_column(str(rows[0]["metric"]), justify="right", style="green")
    table.add_column("kept")
    table.add_column("why", style="dim", overflow="fold")
    for row in rows:
        score = "" if row["score"] is None else f"{row['score']:.5f}"
        table.add_row(
            Text(str(row["model"])), Text(score), Text("yes" if row["kept"] else ""), Text(str(row["reason"]))
        )
    return Padding(table, (1, 0, 0, 0), expand=False)


def importance_tables(found: Mapping[str, Any], most: int = 20) -> list[RenderableType]:
    """What a model leans on: a row for each column, and the partial dependence of those that matter most."""
    means = {one["column"]: one["mean_abs"] for one in found["shap"]}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("column", style="bold", overflow="fold")
    table.add_column(f"{found['metric']} without it", justify="right", style="green")
    table.add_column("", min_width=_BAR)
    if means:
        table.add_column("mean contribution", justify="right")
    largest = max((one["drop"] for one in found["permutation"]), default=0.0)
    for one in found["permutation"][:most]:
        bar = "█" * round(_BAR * max(one["drop"], 0.0) / largest) if largest > 0 else ""
        mean = [number(means[one["column"]]) if one["column"] in means else ""] if means else []
        table.add_row(Text(str(one["column"])), f"{one['drop']:+.5f}", Text(bar, "cyan"), *mean)
    told = f"{found['rows']:,} rows; {found['metric']} {number(found['loss'])} with all columns; the mean of shuffling"
    tables: list[RenderableType] = [Padding(Group(table, Text(told, "dim")), (1, 0, 0, 0), expand=False)]
    for one in found["dependence"][:3]:
        points = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        points.add_column(Text(str(one["column"])), style="bold", max_width=30, overflow="ellipsis", no_wrap=True)
        points.add_column("mean prediction", justify="right", style="green")
        for point in one["points"]:
            shown = f"{point['x']:,.6g}" if isinstance(point["x"], (int, float)) else str(point["x"])
            points.add_row(Text(shown), number(point["y"]))
        tables.append(Padding(points, (1, 0, 0, 0), expand=False))
    return tables


_BAR = 12
_OF_SLICES = ("accuracy", "f1", "roc_auc", "log_loss", "rmse", "mae", "r2")
_WITH_INTERVAL = ("roc_auc", "log_loss", "rmse")


def slices_tables(slices: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """The main metrics by slice, a table for each column."""
    tables: list[RenderableType] = []
    for column in dict.fromkeys(one["column"] for one in slices):
        own = [one for one in slices if one["column"] == column]
        names = [name for name in _OF_SLICES if name in own[0]["metrics"]]
        sure = next((name for name in _WITH_INTERVAL if name in names), None)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column(Text(str(column)), style="bold", max_width=30, overflow="ellipsis", no_wrap=True)
        for name in ("rows", *names, *([f"{sure} 95 %"] if sure else [])):
            table.add_column(name, justify="right")
        for one in own:
            figures = [number(one["metrics"][name]) for name in names]
            if sure:
                ends = one.get("intervals", {}).get(sure)
                figures.append(" to ".join(f"{end:,.2f}" if abs(end) >= 0.1 else f"{end:.2g}" for end in ends or ()))
            table.add_row(Text(str(one["value"])), f"{one['rows']:,}", *figures)
        tables.append(Padding(table, (1, 0, 0, 0), expand=False))
    return tables


def number(value: Any) -> str:
    """A metric for people.

    Example:
        >>> number(0.923456), number(1234), number(None)
        ('0.9235', '1,234', 'undefined')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "undefined"
    if isinstance(value, float):
        return f"{value:,.4f}" if 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def confusion_table(details: Mapping[str, Any], most: int = 8) -> RenderableType | None:
    """How many rows of each class were predicted as which; None where there are no classes or too many for a table."""
    classes, matrix = details.get("classes"), details.get("confusion_matrix")
    if not classes or matrix is None or len(classes) > most:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("is \\ predicted as", style="bold", max_width=20, overflow="ellipsis", no_wrap=True)
    for label in classes:
        table.add_column(Text(str(label)), justify="right", max_width=14, overflow="ellipsis", no_wrap=True)
    for label, counts in zip(classes, matrix, strict=True):
        table.add_row(Text(str(label)), *(Text(f"{int(count):,}") for count in counts))
    return Padding(table, (1, 0, 0, 0), expand=False)


def findings_table(title: str, findings: Sequence[Finding]) -> RenderableType:
    """What the doctor found, with what to do where it is not good."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=4)
    grid.add_column(style="bold", min_width=_TOPIC)
    grid.add_column(overflow="fold")
    for one in findings:
        mark = (
            Text("ok", "green") if one.good else Text("--", "yellow") if title == "extras" else Text("bad", "bold red")
        )
        text = Text(one.text)
        if not one.good and one.remedy:
            text.append("\n" + one.remedy, "cyan")
        grid.add_row(mark, Text(one.name), text)
    return Padding(Group(Text(title, "dim"), grid), (1, 0, 0, 0), expand=False)


def facts(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Names and values below one another; what has no value is left out. Long values are never cut."""
    return Padding(_pairs((name, Text(text)) for name, text in rows if text), (1, 0, 0, 0), expand=False)


def next_command(text: str) -> RenderableType:
    """The command to type next; on one line, so that it can be copied."""
    return Group(Text(), Text("next:", "dim"), Text(f"  {text}", "cyan", no_wrap=True, overflow="ignore"))


def error_lines(parts: Mapping[str, str], title: str = "error: ") -> RenderableType:
    """An error in its four parts."""
    where = f"{parts['where']}: " if parts.get("where") else ""
    first = Text(title, "bold red", overflow="fold").append(where + parts["message"], "bold")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(min_width=11, style="dim")
    grid.add_column(overflow="fold")
    for name in ("expected", "got", "remedy"):
        if parts.get(name):
            grid.add_row(f"  {name}:", Text(parts[name], "cyan" if name == "remedy" else ""))
    return Group(first, grid) if grid.row_count else first


def shown_path(path: Path) -> str:
    """A path as a person would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
