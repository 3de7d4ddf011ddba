"""The sections on the model: how good it is, what it leans on, where it errs. Part of the room of reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.report import charts
from penstock.report.html import (
    Html,
    bars,
    details,
    figure,
    grid,
    heat,
    join,
    listed,
    part,
    section,
    table,
    text,
    value,
)
from penstock.report.words import metric_name, metric_text, share_text, short_number

MOST_CLASSES = 12
MOST_CURVES = 8
MOST_SLICES = 60
MOST_BARS = 20
MOST_DEPENDENCE = 24
MOST_MISTAKES = 20
MOST_VALUES = 16
MOST_HIDDEN = 60
MOST_WHOLE = 3
"""Values of a row up to which long ones have the room to be read."""
_CUT = re.compile(r"(.{200})\.\.\. \(([\d,]+) characters\)", re.DOTALL)
"""What the statistic of mistakes makes of a long text."""
# ---------------------------------------------------------------------- evaluation


def evaluation_section(document: Mapping[str, Any]) -> Html:
    """How good it is: metrics with intervals, curves, the confusion matrix, slices."""
    found = document.get("evaluation")
    if not found:
        return Html("")
    rejected = found.get("rejected") or 0
    lead = f"Judged on {found['rows']:,} rows: {found.get('on', 'labelled rows')}."
    if rejected:
        lead += f" {rejected:,} rows could not be judged."
    return section(
        "evaluation",
        "How good it is",
        _metrics(found),
        part("Curves", *_curves(found)),
        part("Confusion", *_confusion(found)),
        part("Slices", _slices(found), lead=text("The same metrics on parts of the rows.")),
        lead=text(lead),
    )


def _metrics(found: Mapping[str, Any]) -> Html:
    intervals = found.get("intervals") or {}
    rows = []
    for name, score in found["metrics"].items():
        low, high = intervals.get(name) or (None, None)
        between = "" if low is None or high is None else f"{metric_text(low)} – {metric_text(high)}"
        rows.append([text(metric_name(name)), f"<b>{text(metric_text(score))}</b>", text(between)])
    if any(row[2] for row in rows):
        return table(["Metric", "Value", "95% interval"], rows, numbers=(1, 2), name="narrow")
    return table(["Metric", "Value"], [row[:2] for row in rows], numbers=(1,), name="narrow")


def _curves(found: Mapping[str, Any]) -> Iterator[Html]:
    curves = found.get("curves") or {}
    if any(name in curves for name in ("roc", "precision_recall", "calibration", "lift")):
        yield grid(_of_class(curves, ""))
        return
    chosen = list(curves.items())[:MOST_CURVES]
    for name, of_class in chosen:
        if isinstance(of_class, Mapping):
            drawn = grid(_of_class(of_class, str(name)))
            yield Html(f"<h4>{value(name)}</h4>{drawn}") if drawn else Html("")
    if len(curves) > len(chosen):
        yield Html(f'<p class="muted">The first {len(chosen)} of {len(curves):,} classes.</p>')


def _of_class(curves: Mapping[str, Any], name: str) -> Iterator[Html]:
    of = f" of {name}" if name else ""
    diagonal = [(0.0, 0.0), (1.0, 1.0)]
    roc, pr = _points(curves.get("roc")), _points(curves.get("precision_recall"))
    if len(roc) > 1:
        drawn = charts.line(roc, f"ROC curve{of}", against=diagonal, x="false positive rate", square=True)
        yield figure(drawn, "True positive rate", text("ROC: dashed is guessing"))
    if len(pr) > 1:
        drawn = charts.line(pr, f"Precision by recall{of}", x="recall", square=True)
        yield figure(drawn, "Precision", text("Precision and recall over all thresholds"))
    calibration = _named(curves.get("calibration"), "predicted", "observed")
    if len(calibration) > 1:
        drawn = charts.line(
            calibration, f"Calibration{of}", against=diagonal, x="predicted probability", square=True, dots=True
        )
        yield figure(drawn, "Share observed", text("Calibration: on the dashed line, probabilities are what they say"))
    lift = _named(curves.get("lift"), "share", "gain")
    if len(lift) > 1:
        full = lift if lift[0][0] == 0.0 else [(0.0, 0.0), *lift]
        drawn = charts.line(full, f"Gain{of}", against=diagonal, x="share of rows, most likely first", square=True)
        yield figure(drawn, "Share of positives found", text("Gain: dashed is chance"))


def _points(found: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in found or [] if x is not None and y is not None]


def _named(found: Any, x: str, y: str) -> list[tuple[float, float]]:
    return [(float(one[x]), float(one[y])) for one in found or [] if one.get(x) is not None and one.get(y) is not None]


def _confusion(found: Mapping[str, Any]) -> Iterator[Html]:
    matrix, classes = found.get("confusion_matrix"), [str(label) for label in found.get("classes") or []]
    if not matrix or not classes:
        return
    threshold = found.get("threshold")
    lead = "Rows are the truth, columns what was predicted; cells are dark by the share of their row."
    if threshold is not None:
        lead += f" The threshold is {short_number(threshold)}."
    yield Html(f'<p class="lead">{text(lead)}</p>')
    if len(classes) <= MOST_CLASSES:
        cells = []
        for row in matrix:
            whole = sum(row)
            cells.append([(count / whole if whole else None, f"{count:,}") for count in row])
        yield heat(classes, cells, "is \\ predicted")
        return
    wrong = sorted(
        ((count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) if i != j and count),
        key=lambda one: (-one[0], one[1], one[2]),
    )
    rows = [
        [value(classes[i], 40), value(classes[j], 40), text(f"{count:,}"), text(share_text(count, sum(matrix[i])))]
        for count, i, j in wrong[:MOST_BARS]
    ]
    yield Html(f'<p class="muted">There are {len(classes):,} classes: these are mixed up most.</p>')
    yield table(["Is", "Predicted as", "Rows", "Of its class"], rows, numbers=(2, 3))


def _slices(found: Mapping[str, Any]) -> Html:
    slices = listed(found, "slices")
    if not slices:
        return Html("")
    names = list(dict.fromkeys(name for one in slices for name in one.get("metrics", {})))[:5]
    rows = [
        [
            value(one["column"], 40),
            value(one["value"], 60),
            text(f"{one['rows']:,}"),
            *(text(metric_text(one["metrics"].get(name))) for name in names),
        ]
        for one in slices[:MOST_SLICES]
    ]
    left = len(slices) - MOST_SLICES
    more = f'<p class="muted">{left:,} more slices in the JSON.</p>' if left > 0 else ""
    head = ["Column", "Value", "Rows", *map(metric_name, names)]
    return join([table(head, rows, numbers=range(2, len(head))), more])


# ---------------------------------------------------------------------- explanation


def explanation_section(document: Mapping[str, Any]) -> Html:
    """What it leans on, and how its predictions change with each column."""
    found = document.get("explanation") or {}
    importance = (document.get("model") or {}).get("importance") or {}
    return section(
        "explanation",
        "What it leans on",
        part("Importance in the model", _importance(importance)),
        part(
            "Permutation importance",
            _permutation(listed(found, "permutation")),
            lead=text("How much worse it does when a column’s values are shuffled among the rows."),
        ),
        part(
            "Contribution to predictions",
            _shap(listed(found, "shap")),
            lead=text("The mean size of each column’s SHAP value."),
        ),
        part(
            "Partial dependence",
            grid(_dependence(listed(found, "dependence"))),
            lead=text("The mean prediction, had every row this value."),
        ),
    )


def _importance(importance: Mapping[str, Any]) -> Html:
    found = sorted(importance.items(), key=lambda pair: (-float(pair[1]), pair[0]))
    drawn = bars([(value(name, 40), float(share), text(f"{share:.1%}")) for name, share in found[:MOST_BARS]])
    return join([drawn, _left(len(found) - MOST_BARS, "columns")])


def _permutation(found: Sequence[Mapping[str, Any]]) -> Html:
    found = sorted(found, key=lambda one: (-float(one["drop"]), str(one["column"])))
    rows = []
    for one in found[:MOST_BARS]:
        said = text(_figure(one["drop"], 3))
        if one.get("low") is not None and one.get("high") is not None:
            between = text(f"{_figure(one['low'], 2)} to {_figure(one['high'], 2)}")
            said = Html(f"{said} <small>({between})</small>")
        rows.append((value(one["column"], 40), max(float(one["drop"]), 0.0), said))
    return join([bars(rows), _left(len(found) - MOST_BARS, "columns")])


def _shap(found: Sequence[Mapping[str, Any]]) -> Html:
    found = sorted(found, key=lambda one: (-float(one["mean_abs"]), str(one["column"])))
    rows = [
        (value(one["column"], 40), float(one["mean_abs"]), text(_figure(one["mean_abs"], 3)))
        for one in found[:MOST_BARS]
    ]
    return join([bars(rows), _left(len(found) - MOST_BARS, "columns")])


def _figure(found: Any, digits: int) -> str:
    return short_number(float(f"{float(found):.{digits}g}"))


def _left(count: int, what: str) -> Html:
    return Html(f'<p class="muted">{count:,} more {what} weigh less.</p>' if count > 0 else "")


def _dependence(found: Sequence[Mapping[str, Any]]) -> Iterator[Html]:
    for one in found[:MOST_DEPENDENCE]:
        points = [point for point in one["points"] if point.get("y") is not None]
        if one.get("kind") == "number":
            drawn = [(float(p["x"]), float(p["y"])) for p in points if p.get("x") is not None]
            if len(drawn) > 1:
                yield figure(
                    charts.line(drawn, f"Partial dependence on {one['column']}", height=140), value(one["column"], 60)
                )
            continue
        rows = [(value(p["x"], 32), float(p["y"]), text(_figure(p["y"], 3))) for p in points[:10]]
        if rows:
            yield figure(bars(rows), value(one["column"], 60))


# ---------------------------------------------------------------------- mistakes


def mistakes_section(document: Mapping[str, Any]) -> Html:
    """The rows that it is most wrong about."""
    lines = [f"<li>{_mistake(one)}</li>" for one in listed(document, "mistakes")[:MOST_MISTAKES]]
    return section(
        "mistakes",
        "The worst mistakes",
        f'<ol class="mistakes">{"".join(lines)}</ol>' if lines else "",
        lead=text("Where the loss is greatest: wrong labels and missing features are often found here."),
    )


def _mistake(one: Mapping[str, Any]) -> Html:
    chance = one.get("probability")
    expected = value(_plain(one.get("expected")), 60)
    sure = f" <i>({expected}: {share_text(chance, 1.0)})</i>" if chance is not None else ""
    values = list(dict(one.get("values") or {}).items())
    longest = 240 if len(values) <= MOST_WHOLE else 80
    shown = [f"<span><i>{value(name, 40)}</i> {_item(item, longest)}</span>" for name, item in values[:MOST_HIDDEN]]
    more = details(f"and {len(values) - MOST_VALUES:,} more values", *shown[MOST_VALUES:])
    return Html(
        f"<div><b>{expected}</b>, predicted {value(_plain(one.get('predicted')), 60)}{sure}"
        f"<small>{value(one.get('path') or '–', 60)}, row {int(one.get('row') or 0):,}</small></div>"
        f'<div class="row">{join(shown[:MOST_VALUES])}{more}</div>'
    )


def _item(found: Any, longest: int) -> Html:
    """A value of a row; of one that was cut before, how long it was."""
    cut = _CUT.fullmatch(found) if isinstance(found, str) else None
    if cut is None:
        return value(_plain(found), longest)
    return Html(f"{value(cut[1][: longest - 1] + '…', longest)} <i>{text(cut[2])} characters</i>")


def _plain(found: Any) -> Any:
    return short_number(found) if isinstance(found, float) else found
