"""A profile or a fitted pipeline in a notebook: a few lines of HTML with a style of their own. Part of the room of
reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.report.html import join, pairs, table, text, value
from penstock.report.text import spark, summary_line
from penstock.report.words import metric_name, metric_text, share_text, short_number, values_text

MOST_COLUMNS = 30
MOST_WARNINGS = 8
MOST_STEPS = 30
MOST_LEAN = 5
_STYLE = """<style>
.penstock{font-size:13px;line-height:1.45;max-width:900px;font-variant-numeric:tabular-nums}
.penstock p{margin:0 0 8px}.penstock .m,.penstock i{opacity:.7;font-style:normal}
.penstock .scroll{overflow-x:auto}
.penstock table{border-collapse:collapse;margin:6px 0 10px;font-size:13px}
.penstock th,.penstock td{text-align:left;padding:3px 14px 3px 0;border:0;border-bottom:1px solid rgba(128,128,128,.3);
background:none;white-space:nowrap}
.penstock th{font-weight:500;opacity:.7}.penstock .n{text-align:right}
.penstock dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:6px 0}
.penstock dt{opacity:.7;font-weight:400}.penstock dd{margin:0}
.penstock td:last-child{white-space:normal;min-width:240px}
.penstock .spark{opacity:.75;font-family:monospace;letter-spacing:-.05em}
</style>"""


def _boxed(*parts: str) -> str:
    return f'{_STYLE}<div class="penstock">{join(parts)}</div>'


def profile_html(document: Mapping[str, Any]) -> str:
    """A profile: a line on the table, a line for each column, the warnings.

    Args:
        document: the profile as JSON values.
    """
    columns = document["columns"]
    judged = any(column.get("association") for column in columns)
    rows = []
    for column in columns[:MOST_COLUMNS]:
        score = (column.get("association") or {}).get("score")
        distinct = "" if column.get("distinct") is None else short_number(column["distinct"])
        about = "~" if distinct and not column["distinct_exact"] else ""
        rows.append(
            [
                f"<b>{value(column['name'], 40)}</b>",
                text(column["role"]),
                text(share_text(column["missing"], document["rows"]) if column["missing"] else "–"),
                text(about + distinct),
                *([text("" if score is None else f"{score:.2f}")] if judged else []),
                f'<span class="spark">{text(spark(column))}</span>',
                value(values_text(column), 90),
            ]
        )
    head = ["Column", "Role", "Missing", "Distinct", *(["Alone"] if judged else []), "", "Values"]
    left = len(columns) - MOST_COLUMNS
    more = f'<p class="m">and {left:,} more columns</p>' if left > 0 else ""
    lines = [
        f"<p><b>{', '.join(value(name, 40) for name in one['columns']) or 'The table'}</b>: {text(one['reason'])} "
        f'<span class="m">→ {text(one["remedy"])}</span></p>'
        for one in document["warnings"][:MOST_WARNINGS]
    ]
    rest = len(document["warnings"]) - MOST_WARNINGS
    if rest > 0:
        lines.append(f'<p class="m">and {rest:,} more warnings</p>')
    numbers = (2, 3, 4) if judged else (2, 3)
    return _boxed(f"<p>{text(summary_line(document))}</p>", table(head, rows, numbers=numbers), more, *lines)


def pipeline_html(facts: Mapping[str, Any], *, title: str, target: str, steps: list[str], model: str) -> str:
    """A fitted pipeline: what it predicts and how well, its steps, what it leans on.

    Args:
        facts: what it was fitted on and how well it did (`penstock.artifact.Saved.facts`).
        title: what it is, in a line.
        target: the column and the task.
        steps: its steps, one line each.
        model: its model, in a line.
    """
    judged = facts.get("evaluation") or {}
    intervals = judged.get("intervals") or {}
    rows = []
    for name, score in (judged.get("metrics") or {}).items():
        low, high = intervals.get(name) or (None, None)
        between = "" if low is None else f"{metric_text(low)} – {metric_text(high)}"
        rows.append([text(metric_name(name)), text(metric_text(score)), text(between)])
    importance = sorted(((facts.get("model") or {}).get("importance") or {}).items(), key=lambda pair: -pair[1])
    leans = ", ".join(f"{value(name, 40)} <i>{share:.0%}</i>" for name, share in importance[:MOST_LEAN])
    shown = [str(value(step, 160)) for step in steps[:MOST_STEPS]]
    if len(steps) > MOST_STEPS:
        shown.append(f"<i>and {len(steps) - MOST_STEPS:,} more</i>")
    return _boxed(
        f"<p><b>{text(title)}</b></p>",
        pairs(
            [
                ("predicts", value(target, 120) if target else ""),
                ("model", value(model, 200) if model else ""),
                ("steps", "<br>".join(shown)),
                ("learned from", text(f"{facts['rows']:,} rows") if facts.get("rows") else ""),
                ("leans on", leans),
                ("judged on", text(f"{judged['rows']:,} rows: {judged.get('on', '')}") if judged else ""),
            ]
        ),
        table(["Metric", "Value", "95% interval"], rows, numbers=(1, 2)),
    )
