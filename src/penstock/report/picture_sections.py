"""The section of pictures and clips: mistakes, samples, and what augmentations make. Part of the room of reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.report.html import Html, join, listed, part, section, text, value
from penstock.report.words import share_text, short_number

_ADDRESS = re.compile(r"data:image/(png|webp|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
_MOST_SIDE = 1_024
_ROOM = 96
"""The side of the place that a picture stands in [px]."""


def pictures_section(document: Mapping[str, Any]) -> Html:
    """Rows with pictures and clips: those that it is most wrong about, some others, and what it learned from."""
    found = document.get("pictures")
    if not isinstance(found, Mapping):
        return Html("")
    rows = [*listed(found, "mistakes"), *listed(found, "samples")]
    kinds = {one.get("kind") for row in rows for one in listed(row, "columns")}
    kinds |= {one.get("kind") for one in listed(found, "augmented")}
    title = "Clips" if kinds == {"clip"} else "Pictures and clips" if "clip" in kinds else "Pictures"
    of = str(found.get("of") or "rows")
    frames = " Of each clip the frames that the model looks at, or some of them." if "clip" in kinds else ""
    learned = " How good it is they don’t say." if of.endswith("learned from") else ""
    drawn = f"Drawn at random, of each class a few, from the {of}.{learned}"
    return section(
        "pictures",
        title,
        part(
            "The most confident mistakes",
            _cards(listed(found, "mistakes"), named=True),
            lead=text(f"Of the {of}: wrong labels are often found here.{frames}"),
        ),
        part(
            "Some predictions",
            _cards(listed(found, "samples")),
            lead=text(drawn + ("" if listed(found, "mistakes") else frames)),
        ),
        part(
            "Augmentations",
            before_and_after(listed(found, "augmented")),
            lead=text("Each as it is laid down, and as the first epochs learned from it."),
        ),
    )


def shows_mistakes(document: Mapping[str, Any]) -> bool:
    """Whether the mistakes stand here as pictures, and have nothing to say beside them."""
    found = document.get("pictures")
    there = isinstance(found, Mapping) and bool(listed(found, "mistakes"))
    return there and not any(one.get("values") for one in listed(document, "mistakes"))


def _cards(rows: Sequence[Mapping[str, Any]], *, named: bool = False) -> Html:
    numbered = any(row.get("row") for row in rows)  # else each is a file of its own
    inner = join(_card(row, named, numbered) for row in rows)
    strips = any(len(listed(one, "images")) > 1 for row in rows for one in listed(row, "columns"))
    return Html(f'<ul class="pictures{" strips" if strips else ""}">{inner}</ul>') if inner else Html("")


def _card(row: Mapping[str, Any], named: bool, numbered: bool) -> Html:
    """A row: its pictures, what it is, what was predicted where that is another, and where it is."""
    expected, predicted = (_label(row.get(name)) for name in ("expected", "predicted"))
    chance = row.get("probability")
    share = f" {text(share_text(float(chance), 1.0))}" if chance is not None else ""
    where = str(row.get("path") or "") + (f", row {int(row.get('row') or 0):,}" if numbered else "")
    said = f"{expected}, predicted {predicted}"
    shown = join(_images(listed(one, "images"), f"{said} ({one.get('column')})") for one in listed(row, "columns"))
    if not shown:
        return Html("")
    right = expected == predicted
    below = f"<b>{value(expected, 32, counted=False)}</b>"
    if chance is None:  # a number is never quite right
        below += f"<span>predicted {value(predicted, 32, counted=False)}</span>"
    elif right:
        below += f'<span class="right">✓{share}</span>'
    else:
        below += f'<span class="wrong">predicted {value(predicted, 32, counted=False)}{share}</span>'
    name = f"<small>{value(where, 60, counted=False)}</small>" if named and where else ""
    return Html(f'<li title="{text(where)}">{shown}{below}{name}</li>')


def _label(found: Any) -> str:
    return short_number(found) if isinstance(found, float) else str(found)


def _images(images: Sequence[Mapping[str, Any]], said: str) -> Html:
    """The images of one column beside one another; a clip's are read out once."""
    tags = list(_tags(images, said))
    return Html(f'<div class="frames">{join(tags)}</div>') if tags else Html("")


def _tags(images: Sequence[Mapping[str, Any]], said: str) -> Iterator[Html]:
    for number, one in enumerate(images):
        data, sizes = one.get("data"), [one.get(name) for name in ("width", "height")]
        good = all(isinstance(size, int) and 0 < size <= _MOST_SIDE for size in sizes)
        if not good or not isinstance(data, str) or not _ADDRESS.fullmatch(data):
            continue
        width, height = (int(size or 0) for size in sizes)
        # What is small is shown larger by a whole number, its pixels as they are.
        times = max(1, _ROOM // max(width, height))
        dots = ' class="dots"' if times > 1 else ""
        alt = said + (f": frame {number + 1} of {len(images)}" if len(images) > 1 else "")
        yield Html(f'<img{dots} src="{data}" alt="{text(alt)}" width="{width * times}" height="{height * times}">')


def before_and_after(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Pictures, each as it was (``before``, with its ``label``) and beside it what was made of it (``after``)."""
    lines = []
    for one in rows:
        before = _images(listed(one, "before"), f"{one.get('label')} before")
        after = join(
            _images(images, f"{one.get('label')} in epoch {number}")
            for number, images in enumerate(listed(one, "after"), 1)
            if isinstance(images, (list, tuple))
        )
        if before and after:
            label = f"<b>{value(_label(one.get('label')), 32, counted=False)}</b>"
            lines.append(
                f'<li><div>{before}{label}</div><i aria-hidden="true">→</i><div class="after">{after}</div></li>'
            )
    return Html(f'<ul class="augmented">{"".join(lines)}</ul>') if lines else Html("")
