"""Numbers, shares and values in words, the same in a terminal, a notebook and a page. Part of the room of reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "f1": "F1",
    "brier": "Brier score",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
    "mape": "MAPE",
}


def short_number(value: float | None) -> str:
    """A number for people: four digits that count, whole numbers below a million in full.

    Example:
        >>> short_number(1234), short_number(0.000012345), short_number(7654321.0), short_number(2.5)
        ('1,234', '1.234e-05', '7.65 M', '2.5')
    """
    if value is None or not math.isfinite(value):
        return ""
    size = abs(value)
    if size < 1e6 and value == int(value):
        return f"{int(value):,}"
    for bound, unit in ((1e12, ""), (1e9, " G"), (1e6, " M")):
        if bound <= size:
            return f"{value / bound:.3g}{unit}" if unit else f"{value:.4g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def share_text(part: float, whole: float) -> str:
    """A share in percent; what is not quite none or all never looks like it.

    Example:
        >>> share_text(1, 3), share_text(1, 10_000_000), share_text(9_999_999, 10_000_000), share_text(0, 5)
        ('33.3%', '<0.1%', '>99.9%', '0%')
    """
    if not whole or not part:
        return "0%"
    share = part / whole
    if share < 0.001:
        return "<0.1%"
    if part < whole and share > 0.999:
        return ">99.9%"
    return f"{share:.0%}" if part == whole else f"{share:.1%}"


def one_line(text: str) -> str:
    """Text on one line: control characters are shown as what stands for them.

    Example:
        >>> one_line("a\\nb\\x1b[31m")
        'a␊b␛[31m'
    """
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "\ufffd" if 0x7F <= ord(c) < 0xA0 else c for c in text)


def definition_text(definition: Any) -> str:
    """A step or a model as it is written in Python, with those of its settings alone that are not the usual ones.

    Example:
        >>> from penstock.steps.impute import Impute
        >>> from penstock.selector import columns
        >>> definition_text(Impute(columns("age"), "mean"))
        "Impute('age', strategy='mean')"
    """
    settings = []
    for one in dataclasses.fields(definition):
        found = getattr(definition, one.name)
        if one.default is not dataclasses.MISSING and found == one.default:
            continue
        if one.default_factory is not dataclasses.MISSING and found == one.default_factory():
            continue
        patterns = getattr(found, "patterns", None)
        if patterns is not None:  # a selector of columns
            without = "".join(f", not {name!r}" for name in found.excluded)
            settings.append(", ".join(map(repr, patterns)) + without)
        else:
            settings.append(f"{one.name}={found!r}")
    return f"{type(definition).__name__}({', '.join(settings)})"


def values_text(column: Mapping[str, Any]) -> str:
    """A column's values in a line."""
    if numbers := column.get("number"):
        middle = f"{short_number(numbers['mean'])}"
        if numbers["deviation"] is not None:
            middle += f" ± {short_number(numbers['deviation'])}"
        return f"{middle}, {short_number(numbers['minimum'])} to {short_number(numbers['maximum'])}"
    if times := column.get("time"):
        return f"{times['minimum']} to {times['maximum']}"
    if length := column.get("length"):
        unit = {"list": "items", "bytes": "bytes"}.get(column["kind"], "characters")
        low, high = (short_number(length[name]) for name in ("minimum", "maximum"))
        return f"{low} to {high} {unit}" if low != high else f"{low} {unit}"
    top = column.get("top", [])
    present = sum(count for _, count in top) + column.get("other", 0)
    return ", ".join(f"{one_line(str(value)) or repr('')} {share_text(count, present)}" for value, count in top[:5])


def metric_name(name: str) -> str:
    """A metric's name for people.

    Example:
        >>> metric_name("roc_auc"), metric_name("balanced_accuracy")
        ('ROC AUC', 'Balanced accuracy')
    """
    return _METRICS.get(name, name.replace("_", " ").capitalize() if name.islower() else name)


def metric_text(found: Any) -> str:
    """A metric's figure for people.

    Example:
        >>> metric_text(0.92345678), metric_text(None), metric_text(12345.678)
        ('0.9235', 'undefined', '12,346')
    """
    if found is None:
        return "undefined"
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return str(found)
    return f"{found:.4f}" if abs(found) < 100 and (abs(found) >= 1e-3 or found == 0) else short_number(found)
