"""The section on what a model without a target found: clusters, components, anomalies. Part of the room of reports."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.report import charts
from penstock.report.html import Html, bars, figure, grid, join, listed, part, section, table, text, value
from penstock.report.picture_sections import before_and_after
from penstock.report.words import metric_name, metric_text, share_text, short_number

MOST_GROUPS, MOST_COMPONENTS, MOST_POINTS, MOST_ROWS, MOST_VALUES = 30, 12, 1_000, 10, 24
_WIDTH, _HEIGHT, _EDGE = 340.0, 250.0, 22.0
_HUES = (212, 28, 150, 330, 265, 55, 185, 0, 95, 300)
"""Of groups on a picture, in degrees; later groups begin with the first again."""
_TITLES = {
    "clustering": "Clusters",
    "decomposition": "Components",
    "anomaly_detection": "Anomalies",
    "reconstruction": "Reconstruction",
}
_HISTOGRAMS = {
    "distance": "How far rows are from the center of their cluster",
    "reconstruction_error": "Mean squared error of the standardized features: what is to the right is unlike the rest",
    "anomaly_score": "About 0.5 is usual, near 1 is set apart at once",
}


def unsupervised_section(document: Mapping[str, Any]) -> Html:
    """What was found: a picture of the rows, sizes of clusters, what components explain, how errors are spread."""
    found = (document.get("evaluation") or {}).get("without_target") or {}
    model = document.get("model") or {}
    if not found:
        return Html("")
    task = str(found.get("task"))
    sample = int(found.get("sample_rows") or 0)
    return section(
        "found",
        _TITLES.get(task, "What was found"),
        grid(_charts(found, model)),
        part(
            "Pictures, and what comes back of them",
            before_and_after(
                [
                    {"before": [one["before"]], "after": [[one["after"]]], "label": metric_text(one["error"])}
                    for one in listed(model, "restored")
                ]
            ),
            lead=text("Of the rows held back, from the least error to the greatest."),
        ),
        part("Sizes", _sizes(listed(found, "groups")), lead=text("Of the rows that it was judged on.")),
        part(
            "What tells each cluster",
            _told_by(listed(model, "told_by")),
            lead=text("The features by which its center differs most from the mean of all rows, in deviations."),
        ),
        part(
            "What components are made of",
            _made_of(listed(model, "made_of"), listed(model, "explained_by")),
            lead=text("The features that weigh most in each."),
        ),
        part(
            "Most unlike the rest",
            _unlike(listed(found, "unlike")),
            lead=text("The rows that are judged most unlike the others: an error, or what is rare."),
        ),
        lead=text(f"The pictures show a sample of {sample:,} of the rows that it was judged on."),
    )


def unsupervised_sentence(document: Mapping[str, Any]) -> Html:
    """What came of it, in a sentence; nothing where the model predicts a target."""
    target, model = document.get("target") or {}, document.get("model") or {}
    judged = document.get("evaluation") or {}
    begin = {
        "clustering": f"{short_number(model.get('clusters'))} clusters of rows",
        "decomposition": f"Rows in {short_number(model.get('components'))} components of "
        f"{short_number(model.get('dimensions'))} features",
        "anomaly_detection": "Rows that are unlike the rest",
        "reconstruction": f"Rows given back through {short_number(model.get('size'))} numbers",
    }.get(str(target.get("task")))
    if begin is None:
        return Html("")
    name, score = next(iter((judged.get("metrics") or {}).items()), (None, None))
    said = text(begin)
    if name is not None:
        shown = share_text(score, 1.0) if name in ("anomalies", "explained_variance") and score else metric_text(score)
        said = Html(f"{said}: <b>{text(metric_name(name).lower())} {text(shown)}</b>")
        said = Html(f"{said} on {judged['rows']:,} rows that it had not seen")
    by, rows = document.get("model_name"), document.get("rows")
    learned = f". Learned{f' by {text(by)}' if by else ''}" + (f" from {rows:,} rows" if rows else "")
    return Html(f"{said}{learned}.")


def _charts(found: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[Html]:
    scatter = found.get("scatter") or {}
    points = listed(scatter, "points")[:MOST_POINTS]
    groups = listed(found, "groups")
    if len(points) > 1:
        drawn = scatter_of(points, [str(one["name"]) for one in groups], anomalies=found["task"] == "anomaly_detection")
        turned = found["task"] != "decomposition"
        about = "The two directions in which the rows differ most" if turned else "The first two components"
        if found["task"] == "anomaly_detection":
            about += "; anomalies are filled"
        elif groups:
            about += "; each cluster has its color and number"
        yield figure(drawn, "Rows on a plane", text(about))
    shares = [float(share) for share in listed(model, "explained_by")]
    if len(shares) > 1:
        summed = [(float(count), share) for count, share in enumerate([0.0, *itertools.accumulate(shares)])]
        line = charts.line(
            summed,
            "Explained variance by components",
            x="components",
            shares=True,
            dots=len(shares) < 20,
        )
        yield figure(line, "Explained variance, summed up", text("Share of the variance of the rows learned from"))
        labels = [str(number) for number in range(1, len(shares) + 1)]
        scree = charts.counts_by(labels, shares, "Explained variance of each component")
        yield figure(scree, "Explained variance by component", text("The scree: where it levels off, little is left"))
    scores = [(float(n), float(s)) for n, s in dict(model.get("silhouette_by_clusters") or {}).items() if s is not None]
    if len(scores) > 1:
        line = charts.line(scores, "Silhouette by number of clusters", x="clusters", dots=True)
        yield figure(line, "Silhouette by number of clusters", text("On a sample; the highest was taken"))
    bins = found.get("histogram") or {}
    if bins.get("counts"):
        name = str(bins["column"])
        title = name.replace("_", " ").capitalize()
        yield figure(charts.histogram(bins, f"{title} of rows"), text(title), text(_HISTOGRAMS.get(name, "")))


def _sizes(groups: Sequence[Mapping[str, Any]]) -> Html:
    whole = sum(int(one["rows"]) for one in groups)
    rows = []
    for one in groups[:MOST_GROUPS]:
        said = f"{one['rows']:,} ({share_text(one['rows'], whole)})"
        if one.get("silhouette") is not None:
            said += f", silhouette {metric_text(one['silhouette'])}"
        rows.append((value(one["name"], 40), float(one["rows"]), text(said)))
    left = len(groups) - MOST_GROUPS
    return join([bars(rows), Html(f'<p class="muted">{left:,} smaller ones.</p>' if left > 0 else "")])


def _told_by(clusters: Sequence[Sequence[Sequence[Any]]]) -> Html:
    rows = [[text(str(number)), _features(told)] for number, told in enumerate(clusters[:MOST_GROUPS])]
    return table(["Cluster", "Features"], rows)


def _made_of(components: Sequence[Sequence[Sequence[Any]]], shares: Sequence[float]) -> Html:
    rows = [
        [text(str(number)), text(share_text(share, 1.0)), _features(told)]
        for number, (told, share) in enumerate(zip(components, shares, strict=False), 1)
    ]
    return table(["Component", "Explains", "Features"], rows[:MOST_COMPONENTS], numbers=(1,))


def _unlike(rows: Sequence[Mapping[str, Any]]) -> Html:
    lines = []
    for one in rows[:MOST_ROWS]:
        values = list(dict(one.get("values") or {}).items())
        shown = [
            f"<span><i>{value(name, 40)}</i> {value(_plain(item), 80)}</span>" for name, item in values[:MOST_VALUES]
        ]
        where = f"{value(one.get('path') or '–', 60)}, row {int(one.get('row') or 0):,}"
        lines.append(
            f"<li><div><b>{text(metric_text(one.get('loss')))}</b><small>{where}</small></div>"
            f'<div class="row">{join(shown)}</div></li>'
        )
    return Html(f'<ol class="mistakes">{join(lines)}</ol>' if lines else "")


def _plain(found: Any) -> Any:
    return short_number(found) if isinstance(found, float) else found


def _features(told: Sequence[Sequence[Any]]) -> Html:
    """Names with signed figures."""
    inner = join(
        f"<span>{value(name, 40, counted=False)} <i>{text(f'{float(figure_of):+.2f}')}</i></span>"
        for name, figure_of in told
    )
    return Html(f'<div class="row">{inner}</div>')


# ---------------------------------------------------------------------- rows on a plane


def scatter_of(points: Sequence[Sequence[float]], names: Sequence[str], *, anomalies: bool = False) -> Html:
    """Rows as dots, each as (x, y, group); clusters by color, with their names at their middles.

    Args:
        points: the rows.
        names: of the groups; empty where there are none.
        anomalies: whether the second group is to stand out, and the first to stay behind.
    """
    places = [_bounds([float(point[axis]) for point in points]) for axis in (0, 1)]
    dots = []
    # Those that stand out are drawn last, over the others.
    for x, y, group in sorted(points, key=lambda point: int(point[2]) if anomalies else 0):
        at = f'cx="{_place(x, places[0], _WIDTH):.1f}" cy="{_HEIGHT - _place(y, places[1], _HEIGHT):.1f}"'
        dots.append(f'<circle {at} r="2.6" {_looks(int(group), bool(names), anomalies)}/>')
    labels = []
    for group, name in enumerate(names if not anomalies else ()):
        own = [point for point in points if int(point[2]) == group]
        if own:
            x, y = (math.fsum(float(point[axis]) for point in own) / len(own) for axis in (0, 1))
            at = f'x="{_place(x, places[0], _WIDTH):.1f}" y="{_HEIGHT - _place(y, places[1], _HEIGHT) + 5:.1f}"'
            labels.append(
                f'<text {at} text-anchor="middle" font-size="15" font-weight="650" fill="var(--ink)" '
                f'stroke="var(--paper)" stroke-width="4" paint-order="stroke">{value(name, 12, counted=False)}</text>'
            )
    said = f"{len(points):,} rows on a plane" + (f", in {len(names)} groups" if names else "")
    frame = f'<path d="M0 {_HEIGHT - 1}H{_WIDTH}" stroke="var(--line)"/>'
    plain = join(labels).replace("<bdi>", "").replace("</bdi>", "")
    begin = f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{text(said)}">'
    return Html(f"{begin}{frame}{''.join(dots)}{plain}</svg>")


def _looks(group: int, grouped: bool, anomalies: bool) -> str:
    if anomalies:
        return 'fill="var(--bad)"' if group == 1 else 'fill="none" stroke="var(--second)" stroke-opacity=".6"'
    if not grouped:
        return 'fill="var(--accent)" fill-opacity=".6"'
    return f'fill="hsl({_HUES[group % len(_HUES)]} 62% 52%)" fill-opacity=".75"'


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _place(found: float, bounds: tuple[float, float], size: float) -> float:
    low, high = bounds
    return _EDGE + (found - low) / (high - low) * (size - 2 * _EDGE)
