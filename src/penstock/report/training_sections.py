"""The section on the models: which were tried, what was learned, and how. Part of the room of reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.report import charts
from penstock.report.html import Html, figure, grid, join, listed, pairs, part, section, table, text, value
from penstock.report.words import metric_name, metric_text, share_text, short_number

MOST_MODELS = 30
MOST_LISTED = 12


def training_section(document: Mapping[str, Any]) -> Html:
    """The models that were tried, and how the one that was kept learned."""
    return section(
        "training",
        "Models",
        part("Leaderboard", _leaderboard(document), _members(document)),
        part("What was learned", _settings(document)),
        part("Learning", _learning(document)),
    )


def _members(document: Mapping[str, Any]) -> Html:
    """Of what a prediction is the mean, where it is one of several models."""
    members = listed(document, "members")
    if len(members) < 2:
        return Html("")
    whole = sum(float(one["weight"]) for one in members)
    said = ", ".join(f"{value(one['model'])} {share_text(float(one['weight']), whole)}" for one in members)
    return Html(f"<p>A prediction is the mean of {said}.</p>")


_CURVES = {
    "accuracy": "share of the validation rows whose class was right",
    "gradient_norm": "mean length of the gradient before it is clipped: it should neither vanish nor explode",
    "dead_units": "share of the last hidden layer's units that are zero for every validation row",
}
"""What else a network tells of each epoch, and what it means."""


def _settings(document: Mapping[str, Any]) -> Html:
    """What the model says of itself in single figures and short lists."""
    rows = []
    for name, found in (document.get("model") or {}).items():
        if name in ("name", "metric", "rows", "history", "importance"):
            continue
        if isinstance(found, list) and 0 < len(found) <= MOST_LISTED and not any(map(_nested, found)):
            rows.append((_words(name), text(", ".join(map(_setting, found)))))
        elif isinstance(found, Mapping) and found and not any(map(_nested, found.values())):
            pairs_of = [f"{_words(str(key))} {_setting(one)}" for key, one in list(found.items())[:MOST_LISTED]]
            rows.append((_words(name), text(", ".join(pairs_of))))
        elif isinstance(found, (int, float, str)):
            rows.append((_words(name), value(_setting(found), 200)))
    return pairs(rows)


def _nested(found: Any) -> bool:
    return isinstance(found, (list, Mapping))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _leaderboard(document: Mapping[str, Any]) -> Html:
    entries = listed(document, "leaderboard")
    if not entries:
        return Html("")
    metric = metric_name(str(entries[0].get("metric", "score")))
    rows = []
    for entry in entries[:MOST_MODELS]:
        settings = ", ".join(f"{name} {_setting(found)}" for name, found in dict(entry.get("settings") or {}).items())
        mark = " <b>kept</b>" if entry.get("kept") else ""
        rows.append(
            [
                f"{value(entry['model'])}{mark}",
                text(metric_text(entry.get("score"))),
                text("" if entry.get("seconds") is None else f"{short_number(round(entry['seconds'], 1))} s"),
                value(entry["reason"], 300) if entry.get("reason") else "",
                f'<span class="muted">{value(settings, 200)}</span>' if settings else "",
            ]
        )
    more = len(entries) - MOST_MODELS
    below = f'<p class="muted">{more:,} more were tried.</p>' if more > 0 else ""
    return join([table(["Model", metric, "Took", "Why", "Settings"], rows, numbers=(1, 2)), below])


def _setting(found: Any) -> str:
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return short_number(float(f"{found:.4g}")) if isinstance(found, float) else f"{found:,}"
    return str(found)


def _learning(document: Mapping[str, Any]) -> Html:
    model = document.get("model") or {}
    history = [entry for entry in listed(model, "history") if isinstance(entry, Mapping)]
    lines = {
        name: [(float(entry["step"]), float(entry[name])) for entry in history if entry.get(name) is not None]
        for name in ("validation", "train")
    }
    first, second = (lines["validation"], lines["train"]) if lines["validation"] else (lines["train"], [])
    if len(first) < 2:
        return Html("")
    metric = metric_name(str(model.get("metric") or "loss"))
    # What a network tells is told after each epoch.
    unit = "epoch" if any(entry.get("gradient_norm") is not None for entry in history) else "step"
    title = f"{metric} by {unit}"
    drawn = charts.line(first, title, against=second, x=unit)
    judged = "training rows, after the epoch" if model.get("held_out_rows") == 0 else "validation rows"
    told = charts.legend(judged, "training rows") if second else text("while it learned")
    others = []
    for name, about in _CURVES.items():
        points = [(float(entry["step"]), float(entry[name])) for entry in history if entry.get(name) is not None]
        if len(points) > 1:
            other = f"{metric_name(_words(name))} by {unit}"
            others.append(figure(charts.line(points, other, x=unit), text(other), text(about)))
    return grid([figure(drawn, text(title), told), *others])
