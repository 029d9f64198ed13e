"""Attacks in tables and plots, against cells read off made-up scores by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from letheon.report import attacks, html, markdown
from letheon.report.attacked import attacks_compared, attacks_over_seeds, attacks_plots


def score(value: float, *, censored: bool = False) -> dict[str, Any]:
    found = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 4}
    return found | ({"censored": True} if censored else {})


def made(*, mine: bool = False, gold: bool = True, leak: float = 0.5) -> dict[str, Any]:
    steps = {
        "method": score(40.0 if mine else 12.5, censored=mine),
        "gold": score(40.0 if gold else 30.0, censored=gold),
        "difference": score(-27.5, censored=mine or gold),
    }
    told = {"method": score(leak), "gold": score(0.25), "difference": score(leak - 0.25)}
    curve = {
        "name": "unrelated text",
        "steps": [0, 5],
        "values": {"method": [0.1, 0.2], "gold": [0.1, 0.1], "target": [0.8]},
    }
    entry = {"settings": {}, "seconds": 1.0, "skipped": [], "note": "Ship <merged>."}
    return {
        "relearn": entry
        | {
            "headline": ["relearn_steps", "absent"],
            "scores": {k: {"relearn_steps": v} for k, v in steps.items()} | {"target": {}},
            "curves": [curve],
        },
        "sample": entry
        | {
            "headline": ["leak_at_4"],
            "scores": {k: {"leak_at_4": v} for k, v in told.items()}
            | {"target": {"leak_at_4": score(1.0)}},
        },
    }


@pytest.fixture
def attacked(comparison: dict[str, Any]) -> dict[str, Any]:
    comparison["rows"][0]["name"] = "target"
    comparison["rows"][1]["name"] = "gold"
    comparison["rows"][3]["attacks"] = made()
    return comparison


@pytest.mark.parametrize(
    ("mine", "gold", "shown", "difference"),
    [
        (False, True, "12.500 [12.400, 12.600]", "< -27.5"),
        (True, False, "> 40", "> -27.5"),
        (True, True, "> 40", "unknown"),
        (False, False, "12.500 [12.400, 12.600]", "-27.500 [-27.600, -27.400]"),
    ],
)
def test_a_budget_that_ended_leaves_a_bound(
    mine: bool, gold: bool, shown: str, difference: str
) -> None:
    row = attacks({"attacks": made(mine=mine, gold=gold)}).rows[0]
    assert (row[0], row[1], row[4]) == ("relearn: steps", shown, difference)
    assert row[3] == "–"


def test_a_comparison_shows_leading_scores_with_differences(attacked: dict[str, Any]) -> None:
    laid = attacks_compared(attacked)
    assert laid is not None
    assert laid.headers == ["Model", "relearn: steps", "sample: leak at 4"]
    target, gold, method = laid.rows
    assert target[1:] == ["–", "1.000 [0.900, 1.100]"]
    assert gold[1:] == ["> 40", "0.250 [0.150, 0.350]"]
    assert method[0] == "GD + sine (default)"
    assert method[1:] == ["12.500 Δ < -27.5", "0.500 Δ 0.250 [0.150, 0.350]"]
    assert laid.marks == ["target", "gold", "passed"]


def test_without_attacks_there_is_no_table(comparison: dict[str, Any]) -> None:
    assert attacks_compared(comparison) is None
    assert attacks_over_seeds([comparison]) is None
    assert "attack" not in markdown([comparison]).lower()
    page = html(comparison)
    assert "After each attack" not in page
    assert "No attack was tried" in page


def test_over_seeds_the_differences_are_gathered(attacked: dict[str, Any]) -> None:
    other = copy.deepcopy(attacked)
    other["rows"][3]["attacks"] = made(leak=0.75)
    laid = attacks_over_seeds([attacked, other])
    assert laid is not None
    assert laid.rows == [
        ["GD + sine (default)", "2", "known for 0 of 2", "0.375 [0.250, 0.500]"],
    ]
    page = markdown([attacked, other])
    assert page.count("### Attacks") == 2
    assert "Δ sample: leak at 4" in page


def test_curves_show_gold_and_target_once_and_the_target_as_a_level() -> None:
    (plot,) = attacks_plots([("a", {"attacks": made()}), ("b", {"attacks": made()}), ("c", None)])
    assert plot.count('<path class="line') == 8  # four lines, and their keys
    assert "Relearning from unrelated text" in plot
    assert [plot.count(f"</svg>{name}</li>") for name in ("gold", "target", "a", "b")] == [1] * 4


def test_curves_of_other_steps_are_left_out() -> None:
    other = made()
    other["relearn"]["curves"][0]["steps"] = [0, 6]
    (plot,) = attacks_plots([("a", {"attacks": made()}), ("b", {"attacks": other})])
    assert "b</li>" not in plot
