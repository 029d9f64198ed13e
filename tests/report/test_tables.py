"""Cells of the tables against values read off the made-up comparison by hand."""

from __future__ import annotations

from typing import Any

import pytest

from letheon.report import Table, details, over_seeds, table
from letheon.report.tables import scores_table

SPACE = "\u00a0"


def test_headers_name_what_is_there(comparison: dict[str, Any]) -> None:
    found = table(comparison)
    assert [head.replace(SPACE, " ") for head in found.headers] == [
        "Model",
        "Forget quality ↑ (n = 240)",
        "Gold distance ↓ (n = 240)",
        "Model utility ↑ (n = 720)",
        "Seconds",
        "Gate",
    ]
    assert len(found.rows) == len(found.marks) == 7
    assert found.marks[:4] == ["target", "gold", "not passed", "passed"]


def test_cells_hold_value_and_interval(comparison: dict[str, Any]) -> None:
    cells = table(comparison).rows[3]
    assert cells[0] == "GD + sine (default)"
    assert cells[1] == "0.210"
    assert cells[2] == "0.041 [0.029, 0.057]"
    assert cells[-2:] == ["14.2", "passed"]


def test_differing_counts_stand_in_the_cells(comparison: dict[str, Any]) -> None:
    comparison["rows"][0]["scores"]["forget_quality"]["n"] = 200
    found = table(comparison)
    assert found.headers[1] == "Forget quality ↑"
    assert found.rows[0][1] == f"1.2e-19 (n{SPACE}={SPACE}200)"
    assert found.rows[1][1] == f"0.920 (n{SPACE}={SPACE}240)"


def test_missing_scores_and_missing_numbers_are_told_apart(comparison: dict[str, Any]) -> None:
    del comparison["rows"][0]["scores"]["gold_distance"]
    comparison["rows"][1]["scores"]["gold_distance"] = {"value": None, "n": 240}
    found = table(comparison)
    assert [row[2] for row in found.rows[:2]] == ["–", "n/a"]


def test_a_zero_n_is_shown(comparison: dict[str, Any]) -> None:
    for row in comparison["rows"]:
        row["scores"]["forget_quality"]["n"] = 0
    assert table(comparison).headers[1] == f"Forget quality ↑ (n{SPACE}={SPACE}0)"


def test_several_seeds_get_a_column(comparison: dict[str, Any]) -> None:
    comparison["rows"][-1]["seed"] = 4
    found = table(comparison)
    assert found.headers[1] == "Seed"
    assert [row[1] for row in found.rows] == ["3", "101", "3", "3", "3", "3", "4"]


def test_details_prefer_the_plain_name_and_fall_back_to_the_forget_set(
    comparison: dict[str, Any],
) -> None:
    found = details(comparison)
    assert found is not None
    assert found.headers[2].startswith("Fact probability → gold")
    assert found.rows[1][2] == "0.110 [0.088, 0.132]"
    for row in comparison["rows"]:
        row["scores"] = {"forget_quality": row["scores"]["forget_quality"]}
    assert details(comparison) is None


def test_over_seeds_gives_centre_range_and_passes(comparison: dict[str, Any]) -> None:
    def one(seed: int, quality: float, utility: float, passed: bool) -> dict[str, Any]:
        scores = {"forget_quality": {"value": quality}, "model_utility": {"value": utility}}
        row = {"role": "method", "method": "npo", "bound": "sine", "seed": seed, "scores": scores}
        return {"rows": [row | {"gate": {"passed": passed, "criteria": []}}]}

    runs = [one(1, 0.01, 0.5, False), one(2, 0.2, 0.6, True), one(3, 0.9, 0.55, True)]
    found = over_seeds(runs)
    assert found.headers == ["Method", "Runs", "Forget quality ↑", "Model utility ↑", "Gate"]
    # median of the p-values, mean of the utilities
    assert found.rows == [
        ["NPO + sine", "3", "0.200 [0.010, 0.900]", "0.550 [0.500, 0.600]", "2 of 3"]
    ]
    runs[0]["rows"][0]["gate"] = None
    assert over_seeds(runs).rows[0][-1] == "2 of 2"


def test_markdown_escapes_what_would_break_a_table() -> None:
    found = Table(["a", "b|c"], [["x\ny", "1"]], [""]).to_markdown()
    assert found == "| a | b\\|c |\n| --- | --: |\n| x y | 1 |\n"


@pytest.mark.parametrize(("direction", "arrow"), [("up", "↑"), ("down", "↓"), ("gold", "→ gold")])
def test_a_runs_scores_point_where_they_should_go(direction: str, arrow: str) -> None:
    score = {"name": "retain.rouge_l_recall", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    found = scores_table([score | {"direction": direction, "interval": "95% bootstrap"}])
    title = f"Retain ROUGE-L recall {arrow}"
    assert found.rows == [[title, "0.500 [0.400, 0.600]", "9", "95% bootstrap"]]
