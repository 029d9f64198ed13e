"""Several line plots on one sheet: an SVG file that stands alone, for pages that take pictures."""

from __future__ import annotations

__all__ = ["Panel", "sheet"]

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from letheon.report.plots import HEIGHT, WIDTH, Series, drawing

_GAP, _TITLE, _LINE, _FOOT = 16, 24, 15, 16
_COLOURS = ("#2563a8", "#c2571a", "#2e7d4f", "#9b3fa0", "#8a6d00", "#c0294a")
_DARK = ("#7fb2ec", "#f09a63", "#77c698", "#d68bdb", "#d9bb4a", "#f28099")


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot of up to six lines; ``log`` is of y."""

    title: str
    series: Sequence[Series]
    log: bool = False


def sheet(panels: Sequence[Panel], *, label: str, columns: int = 3) -> str:
    """Return an SVG document with ``panels`` row by row; ``label`` says in words what it shows.

    It has no script and no font of its own, and follows a dark page. A panel without a point to
    draw is left out.
    """
    drawn = [(panel, found) for panel in panels if (found := drawing(panel.series, log=panel.log))]
    height = _TITLE + HEIGHT + _LINE * max((len(p.series) for p, _ in drawn), default=0) + _GAP
    columns = min(columns, len(drawn)) or 1
    rows = -(-len(drawn) // columns)
    places = [((k % columns) * (WIDTH + _GAP), (k // columns) * height) for k in range(len(drawn))]
    cells = "".join(
        f'<g transform="translate({x} {y})">{_cell(panel, inner)}</g>'
        for (x, y), (panel, inner) in zip(places, drawn, strict=True)
    )
    size = f"{columns * (WIDTH + _GAP)} {rows * height + _FOOT}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
        f'aria-label="{escape(label)}"><style>{_style()}</style>'
        f'<rect class="paper" width="100%" height="100%"/>{cells}</svg>\n'
    )


def _cell(panel: Panel, inner: str) -> str:
    legend = "".join(
        f'<path class="line c{k}" d="M48 {y}L68 {y}"/><text x="74" y="{y + 4}">'
        f"{escape(one.name)}</text>"
        for k, one in enumerate(panel.series)
        for y in (_TITLE + HEIGHT + _LINE * k + 6,)
    )
    title = f'<text class="title" x="48" y="16">{escape(panel.title)}</text>'
    return f'{title}<g transform="translate(0 {_TITLE})">{inner}</g>{legend}'


def _style() -> str:
    def colours(values: Sequence[str]) -> str:
        return "".join(f".c{k}{{stroke:{value}}}" for k, value in enumerate(values))

    return (
        ".paper{fill:#fff}text{font:11px sans-serif;fill:#444}.title{font-weight:600;fill:#111}"
        ".line{fill:none;stroke-width:1.6}.grid{stroke:#ddd}"
        f"{colours(_COLOURS)}@media(prefers-color-scheme:dark){{.paper{{fill:#14171b}}"
        f"text{{fill:#b8bec6}}.title{{fill:#eee}}.grid{{stroke:#30363d}}{colours(_DARK)}}}"
    )
