"""A study's figures as SVG text: the front, and shares with their intervals, a line a method."""

from __future__ import annotations

__all__ = ["front_plot", "interval_plot", "study_plots"]

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from letheon.report.plots import _axes, _span, _x, _y

_WIDTH, _LABEL, _ROW, _TOP, _BOTTOM = 360, 120, 18, 6, 24

# A name, its value, and the ends of its interval.
Row = tuple[str, float, float, float]
Point = tuple[float, float]


def study_plots(study: Mapping[str, Any]) -> list[str]:
    """Draw a study: the front, both success regions, how far one may run past the stop."""
    methods = study["methods"]
    found = [front_plot(study)]
    for name, title in (
        ("anywhere", "Settings that pass at some probe"),
        ("at_end", "Settings that pass at the last probe"),
    ):
        shares = [(m["name"], m["region"][name]) for m in methods]
        rows = [(name, s["value"], s["low"], s["high"]) for name, s in shares]
        found.append(interval_plot(f"{title}, share", rows, end=1.0))
    past = [(m["name"], m["region"]["past_stop"]) for m in methods if m["region"]["past_stop"]]
    rows = [(name, p["median"], p["low"], p["high"]) for name, p in past]
    found.append(interval_plot("Steps past the stop, over the first passing step", rows))
    return [plot for plot in found if plot]


def front_plot(study: Mapping[str, Any]) -> str:
    """Draw gold distance against utility share: runs small, methods' means numbered.

    "" when no run has both.
    """
    means: list[tuple[Mapping[str, Any], Point]] = []
    for method in study["methods"]:
        point = _point(method["scores"].get("gold_distance"), method["scores"]["utility_share"])
        if point is not None:
            means.append((method, point))
    if not means:
        return ""
    runs = [
        point
        for run in study["runs"]
        if (point := _point(run["scores"].get("gold_distance"), {"value": run["utility_share"]}))
    ]
    every = [*(point for _, point in means), *runs]
    xs, ys = _span([x for x, _ in every]), _span([y for _, y in every])

    def at(point: Point) -> str:
        return f'cx="{_x(point[0], xs):.1f}" cy="{_y(point[1], ys):.1f}"'

    dots = "".join(f'<circle class="run" {at(point)} r="2"/>' for point in runs)
    marks = "".join(
        f'<circle class="mark{" front" if method["on_front"] else ""}" {at(point)} r="4"/>'
        f'<text x="{_x(point[0], xs) + 6:.1f}" y="{_y(point[1], ys) - 5:.1f}">{number}</text>'
        for number, (method, point) in enumerate(means, start=1)
    )
    names = "".join(
        f"<li>{number} {escape(method['name'])}</li>"
        for number, (method, _) in enumerate(means, start=1)
    )
    title = "Utility share (up is better) by gold distance (left is better); green: on the front"
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 300 180" role="img" '
        f'aria-label="{title}">{_axes(xs, ys, log=False)}{dots}{marks}</svg>'
        f"<ul>{names}</ul></figure>"
    )


def interval_plot(title: str, rows: Sequence[Row], *, end: float | None = None) -> str:
    """Draw a dot with its interval for each row, from 0 to ``end``; "" without rows."""
    if not rows:
        return ""
    scale = end or max(high for *_, high in rows) or 1.0
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def x(value: float) -> str:
        return f"{_LABEL + value / scale * (_WIDTH - _LABEL - 14):.1f}"

    lines = []
    for k, (name, value, low, high) in enumerate(rows):
        y = _TOP + _ROW * (k + 0.5)
        lines.append(
            f'<text x="{_LABEL - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<path class="line c0" d="M{x(low)} {y:.1f}L{x(high)} {y:.1f}"/>'
            f'<circle class="mark" cx="{x(value)}" cy="{y:.1f}" r="4"/>'
        )
    ticks = "".join(
        f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        f'<text x="{x(t)}" y="{height - 8}" text-anchor="middle">{t:.3g}</text>'
        for t in (0.0, scale / 2, scale)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{ticks}{''.join(lines)}</svg></figure>"
    )


def _point(x: Mapping[str, Any] | None, y: Mapping[str, Any] | None) -> Point | None:
    if not x or not y or x["value"] is None or y["value"] is None:
        return None
    return float(x["value"]), float(y["value"])
