"""One self-contained HTML page of a run, a model or a profile. Part of the room of reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import penstock
from penstock.report.data_sections import data_section, warnings_list
from penstock.report.html import Html, join, text, tiles, value
from penstock.report.model_sections import (
    evaluation_section,
    explanation_section,
    mistakes_section,
)
from penstock.report.picture_sections import pictures_section, shows_mistakes
from penstock.report.style import STYLE
from penstock.report.training_sections import training_section
from penstock.report.unsupervised_sections import unsupervised_section, unsupervised_sentence
from penstock.report.words import metric_name, metric_text, share_text, short_number
from penstock.report.work_sections import (
    cleaning_section,
    rejected_section,
    reproduce_section,
    told_seconds,
    work_section,
)

GENERATOR = "Penstock"
_MAIN_METRICS = ("roc_auc", "accuracy", "r2", "rmse", "mae", "log_loss", "f1", "average_precision")
_MOST_TILES = 4


def page(document: Mapping[str, Any]) -> str:
    """A page that stands by itself: no network, no script, for a phone and for paper, in the light and in the dark.

    Args:
        document: the facts of a fitted pipeline (``rows``, ``ledger``, ``inputs``, ``profile``, ``evaluation``,
            ``leaderboard``, ``model``, ``explanation``, ``mistakes``, ``pictures``, ``cleaning``) and what
            `penstock.report.document` adds (``title``, ``kind``, ``target``, ``rejected``, ``timings``, ``command``,
            ``config``, ``seed``, ``versions``, ``resources``). What is missing is left out.

    Returns:
        The page. The same document gives the same text.

    Raises:
        MissingExtra: matplotlib is not installed.

    Example:
        >>> found = page({"title": "An empty one"})
        >>> "<h1>An empty one</h1>" in found, "http" in found
        (True, False)
    """
    profile = document.get("profile")
    sections = [
        data_section(profile) if profile else Html(""),
        cleaning_section(document),
        unsupervised_section(document),
        training_section(document),
        evaluation_section(document),
        explanation_section(document),
        pictures_section(document),
        Html("") if shows_mistakes(document) else mistakes_section(document),
        rejected_section(document),
        work_section(document),
        reproduce_section(document),
    ]
    title = str(document.get("title") or "Report")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="generator" content="{GENERATOR} {text(penstock.__version__)}">'
        f"<title>{text(title)}</title><style>{STYLE.strip()}</style></head>\n"
        f"<body>{_header(document, title, sections)}\n<main>{join(sections)}</main>\n"
        f"<footer><p>Made by Penstock {text(penstock.__version__)}. This page holds everything it shows; "
        "it asks nothing of any network.</p></footer></body></html>\n"
    )


def _header(document: Mapping[str, Any], title: str, sections: Iterable[Html]) -> Html:
    kind = str(document.get("kind") or "")
    above = f'<p class="kind">{text(kind)}</p>' if kind else ""
    told = _sentence(document)
    grave = [one for one in (document.get("profile") or {}).get("warnings", []) if one["severity"] == "high"]
    return join(
        [
            "<header>",
            above,
            f"<h1>{value(title)}</h1>" if "title" in document and len(title) > 120 else f"<h1>{text(title)}</h1>",
            f'<p class="sentence">{told}</p>' if told else "",
            tiles(_tiles(document)),
            warnings_list(grave),
            _contents(sections),
            "</header>",
        ]
    )


def _contents(sections: Iterable[Html]) -> Html:
    """Links to the sections that are there."""
    links = []
    for one in sections:
        found = re.match(r'<section id="([a-z]+)"><h2>([^<]*)</h2>', one)
        if found:
            links.append(f'<a href="#{found[1]}">{found[2]}</a>')
    return Html(f"<nav>{''.join(links)}</nav>") if len(links) > 1 else Html("")


def _sentence(document: Mapping[str, Any]) -> Html:
    """What came of it, in a sentence or two."""
    if told := unsupervised_sentence(document):
        return told
    target, model, judged = document.get("target"), document.get("model") or {}, document.get("evaluation")
    profile = document.get("profile")
    if not target or not model:
        return _profile_sentence(profile) if profile else Html("")
    main = _main_metric(judged)
    parts = [f"Predicts {value(target['column'], 60)}"]
    if judged and main:
        low, high = (judged.get("intervals") or {}).get(main) or (None, None)
        between = f" ({metric_text(low)} to {metric_text(high)})" if low is not None and high is not None else ""
        score = f"{metric_name(main)} {metric_text(judged['metrics'][main])}"
        parts.append(f" with <b>{text(score)}</b>{text(between)} on {judged['rows']:,} rows that it had not seen")
    name = model.get("name") or document.get("model_name")
    if name or document.get("rows"):
        by = f" by {text(name)}" if name else ""
        parts.append(f". Learned{by}" + (f" from {document['rows']:,} rows" if document.get("rows") else ""))
    return Html("".join(parts) + ".")


def _profile_sentence(profile: Mapping[str, Any]) -> Html:
    warnings = profile["warnings"]
    grave = sum(one["severity"] != "low" for one in warnings)
    said = f"{profile['rows']:,} rows of {len(profile['columns']):,} columns; "
    if not warnings:
        return text(said + "nothing to warn of.")
    things = f"{len(warnings):,} thing{'s' if len(warnings) != 1 else ''} to look at"
    return text(said + things + (f", {grave:,} of them first." if 0 < grave < len(warnings) else "."))


def _main_metric(judged: Mapping[str, Any] | None) -> str | None:
    metrics = (judged or {}).get("metrics") or {}
    return next((name for name in _MAIN_METRICS if metrics.get(name) is not None), next(iter(metrics), None))


def _tiles(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    judged, profile = document.get("evaluation"), document.get("profile")
    if judged:
        intervals = judged.get("intervals") or {}
        main = list(judged["metrics"]) if "without_target" in judged else _MAIN_METRICS
        metrics = [name for name in main if judged["metrics"].get(name) is not None][:_MOST_TILES]
        for name in metrics:
            low, high = intervals.get(name) or (None, None)
            below = f"{metric_text(low)} – {metric_text(high)}" if low is not None else ""
            yield metric_name(name), text(metric_text(judged["metrics"][name])), text(below)
    rows = document.get("rows") or (profile or {}).get("rows")
    if rows:
        yield ("Rows learned from" if judged else "Rows"), text(short_number(rows)), text("")
    if profile:
        columns = profile["columns"]
        yield "Columns", text(f"{len(columns):,}"), text("")
        if judged:
            return
        missing, doubled = sum(column["missing"] for column in columns), profile["duplicates"]
        yield "Cells missing", text(share_text(missing, profile["rows"] * len(columns))), text("")
        sure = doubled["rows"] > 3 * doubled["error"]
        shown = short_number(doubled["rows"]) if sure else "0"
        yield "Duplicate rows", text(shown), text("" if doubled["exact"] else "estimated")
    taken = sum(float(s or 0) for s in ((document.get("timings") or {}).get("seconds") or {}).values())
    if taken:
        yield "Took", text(told_seconds(taken)), text("")
