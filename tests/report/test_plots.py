"""Line plots: where points land, what is left out, and that no spike is thinned away."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from letheon.report.plots import Series, _ticks, line_plot, progress_plots


def paths(plot: str) -> list[list[tuple[float, float]]]:
    """Read the lines of the plot (not of its legend) back as points."""
    figure = ElementTree.fromstring(plot)
    svg = figure.find("svg")
    assert svg is not None
    drawn = [path.attrib["d"] for path in svg.findall("path")]
    number = r"(-?[\d.]+)"
    found = [re.findall(f"[ML]{number} {number}", one) for one in drawn]
    return [[(float(x), float(y)) for x, y in one] for one in found]


def test_points_land_in_proportion() -> None:
    ((low, middle, high),) = paths(line_plot("a", [Series("s", [(0, 0.0), (1, 5.0), (4, 10.0)])]))
    assert low[0] < middle[0] < high[0]
    assert low[1] > middle[1] > high[1]  # SVG counts from the top
    assert middle[1] == pytest.approx((low[1] + high[1]) / 2, abs=0.11)
    assert (middle[0] - low[0]) * 4 == pytest.approx(high[0] - low[0], abs=0.5)


def test_a_log_axis_makes_powers_evenly_spaced() -> None:
    points = [(0, 1e-4), (1, 1e-2), (2, 1.0), (3, 0.0)]
    ((a, b, c),) = paths(line_plot("a", [Series("s", points)], log=True))
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.11)


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_what_is_not_finite_breaks_the_line(gap: float | None) -> None:
    plot = line_plot("a", [Series("s", [(0, 1.0), (1, 2.0), (2, gap), (3, 1.0), (4, 2.0)])])
    assert plot.count("M") - plot.count("<M") == 2
    assert "nan" not in plot
    assert len(paths(plot)[0]) == 4


def test_nothing_to_draw_is_no_plot() -> None:
    assert line_plot("a", []) == ""
    assert line_plot("a", [Series("s", [(0, None)])]) == ""
    assert progress_plots([]) == []
    assert progress_plots([{"event": "phase", "name": "a", "seconds": 1}]) == []


def test_one_point_and_a_flat_line_are_drawn() -> None:
    assert len(paths(line_plot("a", [Series("s", [(5, 0.0)])]))[0]) == 1
    assert len(paths(line_plot("a", [Series("s", [(5, 3.0), (6, 3.0)])]))[0]) == 2


def test_thinning_keeps_the_ends_of_every_stretch() -> None:
    values = [0.0] * 5000
    values[3141] = 100.0
    ((*points,),) = paths(line_plot("a", [Series("s", list(enumerate(values)))]))
    assert len(points) <= 240
    assert min(y for _, y in points) == 10.0  # the spike, at the plot's top edge
    assert all(a[0] <= b[0] for a, b in pairwise(points))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 5, 10]), (0.1, 0.9, [0.2, 0.4, 0.6, 0.8]), (-3.5, 0.2, [-3, -2, -1, 0])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert _ticks(low, high) == pytest.approx(ticks)


def test_progress_gives_a_plot_per_quantity() -> None:
    steps = [
        {"event": "step", "step": n, "terms": {"forget": n, "retain": 1.0}, "grad_norm": 1.0 / n}
        for n in (1, 2)
    ]
    matrices = [{"name": "a", "max_abs": 0.1}, {"name": "b", "max_abs": 0.4}]
    plots = progress_plots([*steps, {"event": "weights", "step": 2, "matrices": matrices}])
    titles = [ElementTree.fromstring(plot).findtext("figcaption") for plot in plots]
    assert titles == ["Loss terms", "Gradient norm (log)", "Largest weight change, max |dW|"]
    assert len(paths(plots[0])) == 2


def test_names_are_escaped() -> None:
    plot = line_plot("a<b", [Series("<script>", [(0, 1.0)]), Series("b", [(0, 2.0)])])
    assert "<script>" not in plot
    ElementTree.fromstring(plot)
