"""Small line plots as SVG text: no script, no file, colours from the page's style sheet."""

from __future__ import annotations

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Scale",
    "Series",
    "at_x",
    "at_y",
    "axes",
    "drawing",
    "line_plot",
    "progress_plots",
    "span",
    "svg",
]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 300, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 10, 26
_POINTS = 240
_COLOURS = 6

Scale = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A named line: points (x, y) in order of x; a y that is None or not finite breaks the line."""

    name: str
    points: Sequence[tuple[float, float | None]]


def progress_plots(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Plot a run's progress: loss terms, gradient norm, largest weight change, probe scores.

    A dashed line stands at the step whose parameters were kept. What the events do not hold is
    left out.
    """
    kept = next((event["step"] for event in events if event["event"] == "kept"), None)
    steps = [event for event in events if event["event"] == "step"]
    weights = [event for event in events if event["event"] == "weights"]
    probes = [event for event in events if event["event"] == "probe"]
    largest = Series("max |dW|", [(event["step"], _largest(event)) for event in weights])
    norm = Series("gradient norm", [(event["step"], event.get("grad_norm")) for event in steps])
    plots = [
        line_plot("Loss terms", _by_name(steps, "terms"), mark=kept),
        line_plot("Gradient norm (log)", [norm], log=True, mark=kept),
        line_plot("Largest weight change, max |dW|", [largest], mark=kept),
        line_plot("Probe", _by_name(probes, "scores"), mark=kept),
    ]
    return [plot for plot in plots if plot]


def line_plot(
    title: str,
    series: Sequence[Series],
    *,
    log: bool = False,
    mark: float | None = None,
    along: str = "step",
) -> str:
    """Return a ``<figure>`` with one line a series; "" when there is nothing to draw.

    ``log`` draws log10 of y and leaves out what is not positive. ``mark`` is an x to draw a dashed
    line at; ``along`` says what x is.
    """
    inner = drawing(series, log=log, mark=mark)
    if not inner:
        return ""
    words = "; ".join(filter(None, map(_told, series)))
    at = f" The dashed line is at {along} {mark:g}." if mark is not None else ""
    picture = svg(inner, title=f"{title} by {along}", words=f"{words}.{at}")
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}{_legend(series)}</figure>"


def svg(inner: str, *, title: str, words: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return ``inner`` as a picture with its name and, in words, what it shows."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
        f"<desc>{escape(words)}</desc>{inner}</svg>"
    )


def drawing(series: Sequence[Series], *, log: bool = False, mark: float | None = None) -> str:
    """Return axes and lines, ``WIDTH`` by ``HEIGHT``; "" when there is nothing to draw."""
    drawn = [Series(one.name, _thin(list(_usable(one.points, log)))) for one in series]
    points = [(x, y) for one in drawn for x, y in one.points if y is not None]
    if not points:
        return ""
    xs = span([x for x, _ in points])
    ys = span([y for _, y in points])
    lines = "".join(
        f'<path class="line c{index % _COLOURS}" d="{_path(one, xs, ys)}"/>'
        for index, one in enumerate(drawn)
    )
    return axes(xs, ys, log_y=log) + lines + _upright(mark, xs)


def _told(one: Series) -> str:
    """Say where a line begins and ends."""
    known = [(x, y) for x, y in one.points if y is not None and math.isfinite(y)]
    if not known:
        return ""
    (first, low), (last, high) = known[0], known[-1]
    return f"{one.name}: {low:.3g} at {first:g}, {high:.3g} at {last:g}"


def _upright(mark: float | None, xs: Scale) -> str:
    if mark is None or not xs[0] <= mark <= xs[1]:
        return ""
    x = f"{at_x(mark, xs):.1f}"
    return f'<line class="kept" x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'


def _by_name(events: Sequence[Mapping[str, Any]], field: str) -> list[Series]:
    names = dict.fromkeys(name for event in events for name in event.get(field) or {})
    return [
        Series(
            name.replace("_", " "),
            [(event["step"], (event.get(field) or {}).get(name)) for event in events],
        )
        for name in names
    ]


def _largest(event: Mapping[str, Any]) -> float | None:
    values = [matrix.get("max_abs") for matrix in event.get("matrices") or []]
    return max((value for value in values if value is not None), default=None)


def _usable(
    points: Sequence[tuple[float, float | None]], log: bool
) -> Iterator[tuple[float, float | None]]:
    for x, y in points:
        if y is None or not math.isfinite(y) or (log and y <= 0):
            yield x, None
        else:
            yield x, math.log10(y) if log else y


def _thin(points: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Keep the lowest and the highest point of each stretch, so that no spike is hidden."""
    if len(points) <= _POINTS:
        return points
    size = math.ceil(2 * len(points) / _POINTS)
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        known = [point for point in stretch if point[1] is not None]
        ends = {min(known, key=_height), max(known, key=_height)} if known else {stretch[0]}
        kept += sorted(ends, key=lambda point: point[0])
    return kept


def _height(point: tuple[float, float | None]) -> float:
    return point[1] or 0.0


def span(values: Sequence[float]) -> Scale:
    """Return the range of ``values``, widened where it is a point."""
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) / 2 or 1.0
        return low - pad, high + pad
    return low, high


def _path(series: Series, xs: Scale, ys: Scale) -> str:
    words, pen = [], "M"
    for x, y in series.points:
        if y is None:
            pen = "M"
            continue
        words.append(f"{pen}{at_x(x, xs):.1f} {at_y(y, ys):.1f}")
        pen = "L"
    return "".join(words)


def at_x(x: float, span: Scale) -> float:
    """Return where a value lies from the left, in the picture's units."""
    return _LEFT + (x - span[0]) / (span[1] - span[0]) * (WIDTH - _LEFT - _RIGHT)


def at_y(y: float, span: Scale) -> float:
    """Return where a value lies from the top, in the picture's units."""
    return HEIGHT - _BOTTOM - (y - span[0]) / (span[1] - span[0]) * (HEIGHT - _TOP - _BOTTOM)


def axes(xs: Scale, ys: Scale, *, log_x: bool = False, log_y: bool = False) -> str:
    """Return grid lines with their values; a log axis has log10 of its values as its scale."""
    marks = []
    for tick in _ticks(*ys):
        y = f"{at_y(tick, ys):.1f}"
        words = f"{10**tick:.2g}" if log_y else f"{tick:.4g}"
        marks.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        marks.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{words}</text>')
    for tick in _ticks(*xs):
        x = f"{at_x(tick, xs):.1f}"
        words = f"{10**tick:.2g}" if log_x else f"{tick:g}"
        marks.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{words}</text>')
    return "".join(marks)


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    """List round values (1, 2 or 5 times a power of ten apart) between two bounds."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    gap = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= raw)
    first = math.ceil(low / gap)
    return [index * gap for index in range(first, math.floor(high / gap) + 1)]


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    items = (
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
        f'<path class="line c{index % _COLOURS}" d="M0 4L24 4"/></svg>{escape(one.name)}</li>'
        for index, one in enumerate(series)
    )
    return f"<ul>{''.join(items)}</ul>"
