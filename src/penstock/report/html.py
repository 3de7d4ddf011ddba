"""Text, tables and bars as HTML; whatever comes from data is escaped here. Part of the room of reports."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NewType

from penstock.report.words import one_line

Html = NewType("Html", str)
"""What may stand in a page as it is; anything else is text, and goes through `text`."""

_NEGATIVE = ' class="neg"'
REST = '<i class="rest">'
LONGEST = 120
"""Characters of a value that are shown."""


def text(value: object) -> Html:
    """Any text, escaped: no markup, no control characters.

    Example:
        >>> text("a<b & \\x07")
        'a&lt;b &amp; ␇'
    """
    plain = one_line(str(value)).encode("utf-8", "replace").decode("utf-8")
    return Html(html.escape(plain, quote=True))


def value(found: object, longest: int = LONGEST, *, counted: bool = True) -> Html:
    """A value that comes from data: escaped, cut where it is long, and apart from the direction of its neighbours.

    Example:
        >>> value("<b>"), value(None), value("a" * 1000, 3)
        ('<bdi>&lt;b&gt;</bdi>', '<i>missing</i>', '<bdi>aaa…</bdi> <i>1,000 characters</i>')
    """
    if found is None:
        return Html("<i>missing</i>")
    plain = str(found)
    if plain == "":
        return Html("<i>empty</i>")
    if plain != plain.strip(" "):  # spaces at the ends are what is odd about a value, and would not be seen
        inner = plain.strip(" ")
        before = len(plain) - len(plain.lstrip(" ")) if inner else 0
        plain = "␣" * before + inner + "␣" * (len(plain) - before - len(inner))
    if len(plain) <= longest:
        return Html(f"<bdi>{text(plain)}</bdi>")
    rest = f" <i>{len(plain):,} characters</i>" if counted else ""
    return Html(f"<bdi>{text(plain[:longest])}…</bdi>{rest}")


def join(parts: Iterable[str]) -> Html:
    """Several pieces one after the other."""
    return Html("".join(parts))


def section(name: str, title: str, *content: str, lead: str = "") -> Html:
    """A section of the page; nothing where it has no content."""
    inner = join(content)
    if not inner:
        return Html("")
    above = f'<p class="lead">{lead}</p>' if lead else ""
    return Html(f'<section id="{name}"><h2>{text(title)}</h2>{above}{inner}</section>')


def part(title: str, *content: str, lead: str = "") -> Html:
    """A part of a section under its own heading; nothing where it has no content."""
    inner = join(content)
    above = f'<p class="lead">{lead}</p>' if lead else ""
    return Html(f"<h3>{text(title)}</h3>{above}{inner}") if inner else Html("")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), name: str = "") -> Html:
    """A table that scrolls in its own box; nothing where it has no rows.

    Args:
        head: the columns' titles, text.
        rows: cells that are HTML.
        numbers: places of the columns that are aligned right.
        name: a class of its own.
    """
    right = set(numbers)

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if place in right else f"<{tag}>{cell}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    if not body:
        return Html("")
    top = f"<thead><tr>{cells([text(title) for title in head], 'th')}</tr></thead>"
    return Html(f'<div class="scroll" tabindex="0"><table class="{name}">{top}<tbody>{body}</tbody></table></div>')


def bars(rows: Iterable[tuple[str, float, str]], *, most: float | None = None, name: str = "") -> Html:
    """Horizontal bars: a label (HTML), a length, and what is said of it (HTML).

    Args:
        rows: the bars; one whose label begins with `REST` is no value like the others, and is drawn lighter.
        most: the length of a whole bar; None for the longest of them.
        name: a class of its own.
    """
    rows = list(rows)
    whole = max((abs(length) for _, length, _ in rows), default=0.0) if most is None else most
    lines = []
    for label, length, said in rows:
        share = min(abs(length) / whole, 1.0) * 100 if whole else 0.0
        rest = ' class="rest"' if label.startswith(REST) else ""
        lines.append(
            f'<li{rest}><span class="l">{label}</span><span class="b"><i style="width:{share:.2f}%"></i></span>'
            f'<span class="v">{said}</span></li>'
        )
    return Html(f'<ul class="bars {name}">{"".join(lines)}</ul>') if lines else Html("")


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """Names (text) and values (HTML) beside one another; what has no value is left out."""
    inner = "".join(f"<dt>{text(name)}</dt><dd>{said}</dd>" for name, said in rows if said)
    return Html(f'<dl class="pairs">{inner}</dl>') if inner else Html("")


def tiles(rows: Iterable[tuple[str, str, str]]) -> Html:
    """Large figures: a name (text), the figure (HTML), what is said below (HTML)."""
    inner = "".join(
        f'<div class="tile"><span>{text(name)}</span><b>{said}</b><small>{below}</small></div>'
        for name, said, below in rows
    )
    return Html(f'<div class="tiles">{inner}</div>') if inner else Html("")


def figure(drawn: str, title: str, below: str = "") -> Html:
    """A chart with its title (HTML) and what is said below (HTML)."""
    under = f"<figcaption>{below}</figcaption>" if below else ""
    return Html(f"<figure><h4>{title}</h4>{drawn}{under}</figure>")


def grid(figures: Iterable[str], name: str = "") -> Html:
    """Small charts beside one another, as many as there is room for."""
    inner = join(figures)
    return Html(f'<div class="grid {name}">{inner}</div>') if inner else Html("")


def code(lines: str) -> Html:
    """Text as it was typed, scrolling in its own box."""
    plain = "\n".join(str(text(line)) for line in lines.splitlines())
    return Html(f'<div class="scroll" tabindex="0"><pre>{plain}</pre></div>')


def heat(labels: Sequence[str], rows: Sequence[Sequence[tuple[float | None, str]]], corner: str = "") -> Html:
    """A square of numbers with cells as dark as they are large: of each a share from -1 to 1, and its text."""
    lines = []
    for label, row in zip(labels, rows, strict=True):
        cells = "".join(
            "<td></td>"
            if share is None
            else f'<td{_NEGATIVE if share < 0 else ""} style="--v:{min(abs(share), 1.0) * 55:.0f}%">{text(said)}</td>'
            for share, said in row
        )
        lines.append(f"<tr><th>{value(label, 24, counted=False)}</th>{cells}</tr>")
    head = "".join(f"<th>{value(label, 16, counted=False)}</th>" for label in labels)
    top = f"<thead><tr><th>{text(corner)}</th>{head}</tr></thead>"
    return Html(
        f'<div class="scroll" tabindex="0"><table class="heat">{top}<tbody>{"".join(lines)}</tbody></table></div>'
    )


def details(title: str, *content: str) -> Html:
    """Content that is folded away until it is asked for, or printed."""
    inner = join(content)
    return Html(f"<details><summary>{text(title)}</summary>{inner}</details>") if inner else Html("")


def listed(found: Mapping[str, Any], name: str) -> list[Any]:
    """What stands under a name as a list; an empty one where there is nothing."""
    inner = found.get(name)
    return list(inner) if isinstance(inner, (list, tuple)) else []
