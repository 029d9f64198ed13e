"""A study's figures as SVG text: the front, and shares with their intervals, a line a method."""

from __future__ import annotations

__all__ = ["front_plot", "interval_plot", "study_plots"]

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from letheon.report.plots import svg
from letheon.report.scatter import Dot, scatter
from letheon.report.words import number

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

    "" when no method has both.
    """
    dots = [
        Dot(method["name"], *point, "front" if method["on_front"] else "")
        for method in study["methods"]
        if (
            point := _point(
                method["scores"].get("gold_distance"), method["scores"]["utility_share"]
            )
        )
    ]
    runs = [
        point
        for run in study["runs"]
        if (point := _point(run["scores"].get("gold_distance"), {"value": run["utility_share"]}))
    ]
    title = "Utility share (up is better) by gold distance (left is better); green: on the front"
    return scatter(title, dots, small=runs)


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
            f'<g data-run="{escape(name)}">'
            f'<text x="{_LABEL - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<path class="line c0" d="M{x(low)} {y:.1f}L{x(high)} {y:.1f}"/>'
            f'<circle class="mark" cx="{x(value)}" cy="{y:.1f}" r="4"/></g>'
        )
    ticks = "".join(
        f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        f'<text x="{x(t)}" y="{height - 8}" text-anchor="middle">{t:.3g}</text>'
        for t in (0.0, scale / 2, scale)
    )
    words = "; ".join(
        f"{name}: {number(value)} [{number(low)}, {number(high)}]"
        for name, value, low, high in rows
    )
    picture = svg(
        ticks + "".join(lines), title=title, words=f"{words}.", width=_WIDTH, height=height
    )
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


def _point(x: Mapping[str, Any] | None, y: Mapping[str, Any] | None) -> Point | None:
    if not x or not y or x["value"] is None or y["value"] is None:
        return None
    return float(x["value"]), float(y["value"])
