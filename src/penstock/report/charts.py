"""Charts as SVG that follow the page's colours: the one file that draws. Part of the room of reports.

matplotlib draws with colours that stand for CSS variables, so that one drawing serves the light and the dark. All
are as wide as a phone, and are enlarged, not redrawn. The same figures give the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.errors import MissingExtra
from penstock.report.html import Html, text
from penstock.report.words import one_line, short_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 340
"""Of every chart [px]."""
_COLOURS = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "accent": "#010206",
    "tint": "#010207",
    "second": "#010208",
    "paper": "#010209",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "penstock",
    "text.parse_math": False,
    "font.size": 11.0,
    "axes.edgecolor": _COLOURS["line"],
    "axes.linewidth": 1.0,
    "axes.labelcolor": _COLOURS["muted"],
    "axes.labelsize": 11.0,
    "xtick.color": _COLOURS["muted"],
    "ytick.color": _COLOURS["muted"],
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 1.0,
    "text.color": _COLOURS["ink"],
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}
_MOST_POINTS = 120


@functools.cache
def _require() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "charts need matplotlib",
            expected="matplotlib installed",
            got=str(error),
            remedy="pip install matplotlib",
        ) from error


@contextmanager
def _drawing(height: int, *, left: float = 6.0, bottom: float = 24.0) -> Iterator[tuple[Figure, Axes]]:
    """A figure of the page's style with one pair of axes; margins in pixels."""
    _require()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # The reader's browser has the glyphs that the font here, used for measuring alone, has not.
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcParams.update(mpl.rcParamsDefault)
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        box = (left / WIDTH, bottom / height, (WIDTH - left - 8) / WIDTH, (height - bottom - 8) / height)
        yield figure, figure.add_axes(box)


def _svg(figure: Figure, said: str) -> Html:
    """The drawing for a page: colours as variables, no ids that another drawing has, nothing that is not drawn."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    found = file.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", found, flags=re.S)
    for name, colour in _COLOURS.items():
        found = found.replace(colour, f"var(--{name})")
    found = re.sub(r"<[^>]*>", _short, found)
    found = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", re.sub(r">\s+<", "><", found))
    while (fewer := re.sub(r"<g></g>|<g/>", "", found)) != found:
        found = fewer
    size = re.search(r'viewBox="([^"]*)"', found)
    assert size is not None
    inner = found[found.index(">") + 1 :].strip()
    return Html(f'<svg viewBox="{size[1]}" role="img" aria-label="{text(said)}">{_apart(inner)}')


def _short(tag: re.Match[str]) -> str:
    """A tag with hundredths of a pixel, and without what the style sheet says or says nothing."""
    found = re.sub(r"\s+", " ", re.sub(r"(\.\d\d)\d+", r"\1", tag[0]))
    found = re.sub(r' transform="rotate\(-0 [^"]*"| stroke-linejoin: \w+;?| stroke-linecap: (square|butt);?', "", found)
    found = re.sub(r" ?font-family: [^;]*;", "", found)
    return re.sub(r'^<g id="[^"]*"', "<g", found)


def _apart(drawn: str) -> str:
    """The same with ids of its own: equal ones on a page would be mixed up."""
    ids = dict.fromkeys(re.findall(r' id="([^"]+)"', drawn))
    digest = hashlib.blake2b(drawn.encode(), digest_size=4).hexdigest()
    for place, name in enumerate(ids):
        drawn = drawn.replace(f'"{name}"', f'"c{digest}{place}"').replace(f"#{name}", f"#c{digest}{place}")
    return drawn


def _ticks(axes: Axes, axis: str, most: int = 5, share: bool = False, whole: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    found = axes.xaxis if axis == "x" else axes.yaxis
    found.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole))
    found.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}" if share else short_number(float(f"{x:.10g}"))))


def histogram(bins: Mapping[str, Any], said: str) -> Html:
    """Counts by bins (see `penstock.jobs.profile_columns.number_bins` and ``time_bins``) as areas."""
    counts = [float(count) for count in bins["counts"]]
    with _drawing(112) as (figure, axes):
        _hide(axes)
        if "values" in bins:
            _by_value(axes, bins["values"], counts)
        elif "unit" in bins:
            _by_time(axes, bins["edges"], counts)
        else:
            edges = [float(edge) for edge in bins["edges"]]
            axes.stairs(counts, edges, fill=True, color=_COLOURS["accent"], linewidth=0)
            axes.set_xlim(edges[0], edges[-1])
            if bins.get("scale") == "log":
                axes.set_xscale("log")
                _log_ticks(axes, edges[0], edges[-1])
            else:
                _ticks(axes, "x")
        axes.set_ylim(0, max([*counts, 1.0]) * 1.02)
        return _svg(figure, said)


def _hide(axes: Axes) -> None:
    axes.set_yticks([])
    axes.spines["bottom"].set_color(_COLOURS["line"])


def _by_value(axes: Axes, values: Sequence[float], counts: Sequence[float]) -> None:
    """One bar for each value: where the values lie evenly at their places, else side by side."""
    places = [float(value) for value in values]
    gaps = [b - a for a, b in itertools.pairwise(places)]
    even = bool(gaps) and max(places) - min(places) <= 3 * len(places) * min(gaps)
    at = places if even else [float(place) for place in range(len(places))]
    width = (min(gaps) if even else 1.0) * 0.82
    axes.bar(at, counts, width, color=_COLOURS["accent"], linewidth=0)
    axes.set_xlim(at[0] - width, at[-1] + width)
    if even:
        _ticks(axes, "x")
        return
    step = -(-len(at) // 6)
    axes.set_xticks(at[::step], [short_number(value) for value in places[::step]])


def _by_time(axes: Axes, edges: Sequence[str], counts: Sequence[float]) -> None:
    axes.stairs(counts, range(len(edges)), fill=True, color=_COLOURS["accent"], linewidth=0)
    axes.set_xlim(0, len(edges) - 1)
    last = len(edges) - 2
    at = sorted({0, last // 2, last}) if last > 3 else [0, last]
    axes.set_xticks(
        [place + 0.5 for place in dict.fromkeys(at)], [edges[place].replace("T", " ") for place in dict.fromkeys(at)]
    )
    labels = axes.get_xticklabels()
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    step = max(1, -(-(last - first) // 4))
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(first, last + 1, step)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short_number(x)))


def counts_by(labels: Sequence[str], counts: Sequence[float], said: str) -> Html:
    """Bars of counts under short labels, such as the hours of the day."""
    with _drawing(84) as (figure, axes):
        _hide(axes)
        axes.bar(range(len(counts)), counts, 0.82, color=_COLOURS["accent"], linewidth=0)
        step = -(-len(labels) // 12)
        axes.set_xticks(range(0, len(labels), step), labels[::step])
        axes.set_ylim(0, max([*counts, 1.0]) * 1.02)
        return _svg(figure, said)


def line(
    points: Sequence[tuple[float, float]],
    said: str,
    *,
    against: Sequence[tuple[float, float]] = (),
    x: str = "",
    square: bool = False,
    shares: bool = False,
    dots: bool = False,
    times: bool = False,
    height: int = 200,
) -> Html:
    """A line, and maybe another one to compare it with, which is drawn dashed.

    Args:
        points: the line.
        said: what is read out in place of the drawing.
        against: the other line.
        x: what is to the right, in words.
        square: whether both axes go from 0 to 1.
        shares: whether what is upwards is told in percent.
        dots: whether the points are marked.
        times: whether what is to the right is microseconds since 1970.
        height: [px].
    """
    points = thinned(points)
    with _drawing(height, left=38, bottom=38 if x else 24) as (figure, axes):
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        if against:
            other = thinned(against)
            axes.plot(*zip(*other, strict=True), color=_COLOURS["second"], linewidth=1.4, dashes=(4, 3), clip_on=False)
        axes.plot(*zip(*points, strict=True), color=_COLOURS["accent"], clip_on=False)
        if dots:
            # Short strokes with round ends: a marker would be a shape of its own for each chart.
            for at, height_of in points:
                axes.plot([at, at], [height_of, height_of], color=_COLOURS["accent"], linewidth=5, clip_on=False)
        if square:
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
        _time_ticks(axes, points) if times else _ticks(axes, "x", whole=all(at.is_integer() for at, _ in points))
        _ticks(axes, "y", 3 if height < 120 else 4, shares)
        if not any(height_of for _, height_of in (*points, *against)):
            axes.set_ylim(0, 1)  # of nothing but zeros the axis would go below it
        axes.set_xlabel(one_line(x))
        return _svg(figure, said)


def legend(line: str, dashed: str) -> Html:
    """What the two lines of a chart are, in words."""
    keys = f'<i class="key"></i>{text(line)}<i class="key dashed"></i>{text(dashed)}'
    return Html(f'<span class="legend">{keys}</span>')


def _time_ticks(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    import numpy as np

    ends = [points[0][0], points[-1][0]]
    axes.set_xticks(ends, [str(np.datetime64(int(end), "us"))[:10] for end in ends])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many of the points as can be told apart, the first and the last among them."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(place * step)] for place in range(_MOST_POINTS)]
