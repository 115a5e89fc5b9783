"""Bars as SVG to stand inside a page. matplotlib is in the extra `charts`: it is imported when a chart is drawn."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLORS = ("#3465a4", "#f57900", "#73d216", "#75507b", "#c17d11", "#06989a", "#cc0000", "#c4a000")
GREY, LIGHT = "#888a85", "#d3d7cf"


class NoCharts(Exception):
    """matplotlib is not installed."""

    def __init__(self) -> None:
        super().__init__("charts need matplotlib: pip install 'apportion[charts]'")


@dataclass(frozen=True)
class Bars:
    """Stacked bars: `parts` has for each part its length on every bar, in the order of `names`."""

    title: str
    unit: str
    names: Sequence[str]
    parts: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Lines:
    """`lines` has for each name the points (x, y) of its line; log: of the x axis; top: of the y axis."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False
    top: float | None = None


def curves(lines: Lines) -> str:
    """Raises NoCharts."""
    figure, axes = _figure(3.6)
    for number, (name, points) in enumerate(lines.lines.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, color=COLORS[number % len(COLORS)], label=name, linewidth=1.5)
    if lines.log:
        axes.set_xscale("log")
    axes.set_ylim(0.0, lines.top)
    _finished(axes, lines.title, (lines.x, lines.y))
    return svg(figure)


@dataclass(frozen=True)
class Bands:
    """`parts` has for each name its height at every x; they lie one on the other. top: a line above them all."""

    title: str
    x: str
    y: str
    at: Sequence[float]
    parts: Mapping[str, Sequence[float]]
    top: tuple[str, Sequence[float]]


def areas(bands: Bands) -> str:
    """Raises NoCharts."""
    figure, axes = _figure(3.6)
    colors = [
        LIGHT if name == "restarting" else COLORS[number % len(COLORS)] for number, name in enumerate(bands.parts)
    ]
    axes.stackplot(bands.at, *bands.parts.values(), labels=list(bands.parts), colors=colors)
    name, heights = bands.top
    axes.plot(bands.at, heights, color=GREY, linewidth=1.0, label=name)
    axes.set_ylim(0.0)
    _finished(axes, bands.title, (bands.x, bands.y))
    return svg(figure)


def _finished(axes: Any, title: str, units: tuple[str, str]) -> None:
    axes.set_xlabel(units[0])
    axes.set_ylabel(units[1])
    axes.set_title(title, loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def stacked(bars: Bars) -> str:
    """Raises NoCharts."""
    figure, axes = _figure(1.2 + 0.45 * len(bars.names))
    left = [0.0] * len(bars.names)
    for number, (part, lengths) in enumerate(bars.parts.items()):
        color = {"idle": LIGHT, "others": GREY}.get(part, COLORS[number % len(COLORS)])
        axes.barh(range(len(bars.names)), lengths, left=left, color=color, label=part)
        left = [start + length for start, length in zip(left, lengths, strict=True)]
    axes.set_yticks(range(len(bars.names)), bars.names)
    axes.invert_yaxis()
    axes.set_xlabel(bars.unit)
    axes.set_title(bars.title, loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return svg(figure)


def _figure(height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoCharts from None
    figure = Figure(figsize=(8.0, height), layout="constrained")
    return figure, figure.subplots()


def svg(figure: Any) -> str:
    """The figure as an element that an HTML page may hold: no prolog, no namespaces (HTML knows them), no date."""
    from matplotlib import rc_context

    sink = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "apportion", "text.parse_math": False}):
        figure.savefig(sink, format="svg", metadata=nothing)
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", text, count=2)
