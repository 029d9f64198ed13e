"""How the truth ratios of a run lie beside those of gold and target: what forget quality tests."""

from __future__ import annotations

__all__ = ["truth_blocks", "truth_plot"]

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from letheon.report.blocks import figures, paragraph
from letheon.report.plots import Series, line_plot

_WORDS = (
    "For each question: how probable false answers are beside the true one, r. A line rises by one "
    "row at each row's r. Forgotten as if never known is where this run's line lies on gold's; "
    "the widest gap between the two is KS D, and forget quality is the chance of such a gap."
)


def truth_blocks(ratios: Mapping[str, Sequence[float]]) -> list[Markup]:
    """Show the distributions, by the name of each model; nothing without any."""
    plot = truth_plot(ratios)
    return [paragraph(_WORDS, "note"), figures([plot], large=True)] if plot else []


def truth_plot(ratios: Mapping[str, Sequence[float]]) -> str:
    """Draw the share of rows up to each truth ratio; natural logarithms in, log10 drawn."""
    series = [Series(name.replace("_", " "), _steps(values)) for name, values in ratios.items()]
    return line_plot("Share of rows up to this truth ratio (log10)", series, along="log10 r")


def _steps(values: Sequence[float]) -> list[tuple[float, float | None]]:
    ordered = sorted(value / math.log(10) for value in values)
    n = len(ordered)
    # Both corners of each step, so that a line through them is the staircase.
    corners = [((x, k / n), (x, (k + 1) / n)) for k, x in enumerate(ordered)]
    return [corner for pair in corners for corner in pair]
