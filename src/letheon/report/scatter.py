"""Numbered points in a plane, with a legend that names them: forgetting against utility."""

from __future__ import annotations

__all__ = ["Dot", "scatter", "tradeoffs"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from letheon.report.plots import Scale, at_x, at_y, axes, span, svg
from letheon.report.words import gate_word, label, number

# Beyond this factor between largest and smallest a linear axis heaps the small ones up.
_WIDE = 5.0
_NEAR = 11.0


@dataclass(frozen=True, slots=True)
class Dot:
    """A named point; ``kind`` is a CSS class: front, gold, target or none."""

    name: str
    x: float
    y: float
    kind: str = ""


def scatter(title: str, dots: Sequence[Dot], *, small: Sequence[tuple[float, float]] = ()) -> str:
    """Return a ``<figure>`` of numbered dots and ``small`` unnamed points; "" without dots.

    x is on a log axis where its values, all positive, are far apart.
    """
    if not dots:
        return ""
    every = [*((dot.x, dot.y) for dot in dots), *small]
    least, most = span([x for x, _ in every])
    log = 0 < least < most / _WIDE
    xs = _padded(span([_along(x, log) for x, _ in every]))
    ys = _padded(span([y for _, y in every]))
    places = [(at_x(_along(x, log), xs), at_y(y, ys)) for x, y in every]
    points = "".join(
        f'<circle class="run" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in places[len(dots) :]
    )
    labels = _labels(places[: len(dots)])
    marks = "".join(
        f'<g data-run="{escape(dot.name)}"><circle class="{_class(dot)}" cx="{x:.1f}" '
        f'cy="{y:.1f}" r="4"/><text x="{left:.1f}" y="{top:.1f}">{k}</text></g>'
        for k, (dot, (x, y), (left, top)) in enumerate(
            zip(dots, places[: len(dots)], labels, strict=True), start=1
        )
    )
    names = "".join(
        f'<li data-run="{escape(dot.name)}">{k} {escape(dot.name)}</li>'
        for k, dot in enumerate(dots, start=1)
    )
    words = "; ".join(f"{dot.name}: {number(dot.x)}, {number(dot.y)}" for dot in dots)
    picture = svg(f"{axes(xs, ys, log_x=log)}{points}{marks}", title=title, words=f"{words}.")
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}<ul>{names}</ul></figure>"


def tradeoffs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Plot a comparison: gold distance against utility; again without the models that began.

    The utility is the models' on all that is kept, or on the retain rows where there is no more.
    Empty where no row has both.
    """
    name = next((n for n in ("model_utility", "retain_utility") if _has(rows, n)), "")
    if not name:
        return []
    whole = [row for row in rows if _both(row, name)]
    methods = [row for row in whole if row["role"] == "method"]
    words = name.replace("_", " ").capitalize()
    found = [
        scatter(f"{words} (up is better) by gold distance (left is better)", _dots(whole, name))
    ]
    if 1 < len(methods) < len(whole):  # the target is so far off that they lie on each other
        found.append(scatter(f"{words} by gold distance, methods alone", _dots(methods, name)))
    return found


def _dots(rows: Sequence[Mapping[str, Any]], name: str) -> list[Dot]:
    return [
        Dot(label(row), _value(row, "gold_distance"), _value(row, name), _kind(row)) for row in rows
    ]


def _class(dot: Dot) -> str:
    return f"mark {dot.kind}".strip()


def _labels(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Put each dot's number beside it, and below one that would otherwise be written over."""
    found: list[tuple[float, float]] = []
    for x, y in places:
        choices = [
            (x + 6, y - 5),
            (x + 6, y + 12),
            (x - 14, y - 5),
            (x - 14, y + 12),
            (x - 3, y - 9),
        ]
        free = [c for c in choices if all(math.dist(c, other) > _NEAR for other in found)]
        found.append((free or choices)[0])
    return found


def _padded(scale: Scale) -> Scale:
    pad = (scale[1] - scale[0]) * 0.06
    return scale[0] - pad, scale[1] + pad


def _along(x: float, log: bool) -> float:
    return math.log10(x) if log else x


def _has(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(_both(row, name) for row in rows)


def _both(row: Mapping[str, Any], name: str) -> bool:
    found = [row["scores"].get(each, {}).get("value") for each in ("gold_distance", name)]
    return None not in found


def _value(row: Mapping[str, Any], name: str) -> float:
    return float(row["scores"][name]["value"])


def _kind(row: Mapping[str, Any]) -> str:
    if row["role"] != "method":
        return str(row["role"])
    return "front" if gate_word(row.get("gate")) == "passed" else ""
