"""The outcome: choice, verdicts over seeds, front, cost, and a failure that is kept."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_study import probe, row, trial

from letheon.study import Study, outcome
from letheon.study.execute import chosen


def method(made_up: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in made_up["methods"] if found["name"] == name)


def test_the_smallest_mean_of_the_smallest_on_the_way_is_chosen(study: Study) -> None:
    def both(number: int, first: float, second: float) -> list[dict[str, Any]]:
        # the smallest is not the last
        return [
            trial(number, [probe(10, distance=first), probe(20, distance=9.0)]),
            trial(number, [probe(10, distance=second)], instance="tune-1"),
        ]

    trials = [*both(0, 0.3, 0.3), *both(1, 0.1, 0.4)]
    assert (chosen(study, trials).trial, chosen(study, trials).value) == (1, 0.25)
    assert chosen(study, [*both(0, 0.2, 0.2), *both(1, 0.1, 0.3)]).trial == 0, "the first of equals"
    trials[2]["failed"] = "the loss is nan"
    assert chosen(study, trials).trial == 0, "what diverged is not chosen"


def test_what_a_method_chose_is_kept_with_its_validation(made_up: dict[str, Any]) -> None:
    found = method(made_up, "gd-sine")["chosen"]
    assert (found["trial"], found["value"]) == (1, 0.01)
    assert found["setting"] == {"training.lr": 0.002}
    assert found["validation"]["tune-0"]["step"] == 10


def test_a_trial_that_failed_counts_against_its_method(made_up: dict[str, Any]) -> None:
    found = method(made_up, "npo-lora")["region"]
    assert (found["anywhere"]["passed"], found["anywhere"]["n"]) == (0, 3)
    assert (found["runs_failed"], found["worst_utility"]) == (1, 0.0)
    assert found["past_stop"] is None


def test_four_of_five_seeds_must_hold_at_once(made_up: dict[str, Any]) -> None:
    sine, lora = (method(made_up, name) for name in ("gd-sine", "npo-lora"))
    assert sine["verdict"]["passed"]
    assert sine["passed"] == [False, True, True, True, True]
    assert not lora["verdict"]["passed"]
    assert lora["verdict"]["decidable"]
    counts = {c["name"]: c["value"] for c in lora["verdict"]["criteria"]}
    assert counts["whole_gate"] == 3
    assert counts["forget_rows"] == 5, "a run that diverged says nothing of the task"
    assert lora["failed"] == 1


def test_centres_and_ranges(made_up: dict[str, Any]) -> None:
    found = method(made_up, "gd-sine")["scores"]
    assert found["forget_quality"] == pytest.approx({"value": 0.3, "low": 0.1, "high": 0.5, "n": 5})
    assert found["gold_distance"]["value"] == pytest.approx(0.06)
    assert found["utility_share"]["value"] == pytest.approx(0.99)
    assert method(made_up, "npo-lora")["scores"]["gold_distance"]["n"] == 4
    cost = method(made_up, "gd-sine")["cost"]
    assert (cost["seconds"]["value"], cost["tuning_seconds"]) == (20.0, 30.0)


def test_the_front_is_what_no_other_beats(made_up: dict[str, Any]) -> None:
    assert method(made_up, "gd-sine")["on_front"]
    assert not method(made_up, "npo-lora")["on_front"]
    points = [
        {"scores": {"gold_distance": {"value": d}, "utility_share": {"value": u}}}
        for d, u in ((0.1, 0.9), (0.2, 0.95), (0.2, 0.9), (0.1, 0.9))
    ]
    nothing: dict[str, Any] = {"scores": {"utility_share": None}}
    outcome._mark_front([*points, nothing])
    assert [each["on_front"] for each in (*points, nothing)] == [True, True, False, True, False]


def test_attacks_are_gathered_over_seeds() -> None:
    rows = []
    for seed, value in enumerate((10.0, 30.0)):
        parts = {
            "method": {"relearn_steps": {"value": value}},
            "gold": {"relearn_steps": {"value": 40.0}},
            "difference": {"relearn_steps": {"value": value - 40.0, "low": -50, "high": 0, "n": 9}},
        }
        rows.append(row("m", f"score-{seed}", (1, 1, 1)) | {"attacks": {"relearn": parts}})
    rows.append(row("m", "score-2", (1, 1, 1)) | {"attacks": {"failed": "diverged"}})
    ended = {"method": {"relearn_steps": {"value": 80, "censored": True}}}
    rows.append(row("m", "score-3", (1, 1, 1)) | {"attacks": {"relearn": ended}})
    found = outcome._attacked(rows)["relearn"]["relearn_steps"]
    spread = {"value": -20.0, "low": -30.0, "high": -10.0, "n": 2, "censored": 0}
    assert found["difference"] == spread
    assert found["gold"]["value"] == 40.0
    # a budget that ended first is no number of steps
    assert (found["method"]["value"], found["method"]["censored"]) == (20.0, 1)


def test_the_outcome_can_be_run_again_and_is_small(made_up: dict[str, Any]) -> None:
    assert Study.from_json(made_up["study"]).spec.trials == 3
    assert made_up["runs"][0]["gate"] == {"passed": False, "missed": ["forget_quality"]}
    assert made_up["protocol"]["limits"] == {
        "tune-0": {"gold_distance": 0.05, "utility_ratio": 0.98}
    }
