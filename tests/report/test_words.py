"""Names, numbers and verdicts as sentences."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from letheon.report import verdict, words


def row(passed: bool | None, *, default: bool = False, kind: str = "method", **more: Any) -> Any:
    criterion = {"name": "a", "passed": passed, "words": "A is 1.", "kind": kind}
    gate = None if passed is None else {"passed": passed, "criteria": [criterion]}
    named = {"role": "method", "method": "npo", "bound": "sine", "default": default, "gate": gate}
    return named | more


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(words).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (240, "240"),
        (0.0, "0"),
        (-0.5, "-0.500"),
        (0.001, "0.001"),
        (0.00099, "9.9e-04"),
        (1e-19, "1.0e-19"),
        (99.99, "99.990"),
        (1234.5, "1,234"),
        (4e9, "4.0e+09"),
    ],
)
def test_numbers_are_short_and_never_rounded_to_nothing(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "NPO + sine"),
        ({"bound": "identity"}, "NPO + LoRA"),
        ({"bound": None, "method": "scrub"}, "scrub"),
        ({"default": True, "oracle": True}, "NPO + sine (default, oracle)"),
        ({"forget_source": "revealed"}, "NPO + sine (revealed data)"),
        ({"named": True, "name": "npo-gentle"}, "NPO + sine (npo-gentle)"),
        ({"named": False, "name": "npo-gentle"}, "NPO + sine"),
        ({"role": "gold", "seed": 7}, "gold (seed 7)"),
        ({"role": "target"}, "target"),
    ],
)
def test_labels(more: dict[str, Any], text: str) -> None:
    assert words.label(row(True, **more)) == text


def test_the_verdict_counts_and_names() -> None:
    rows = [row(True, default=True), row(False, bound="tanh"), row(None, role="gold")]
    assert verdict(rows) == (
        "The default method, declared beforehand: passed. "
        "1 of 2 runs forgot and kept: NPO + sine (default)."
    )
    assert verdict([row(False)]) == "0 of 1 run forgot and kept: none."
    over_seeds = [row(True, default=True, seed=1), row(False, default=True, seed=2)]
    assert "declared beforehand, passed 1 of 2. 1 of 2 runs" in verdict(over_seeds)


def test_a_task_that_cannot_decide_is_no_verdict_on_the_method() -> None:
    undecided = row(False, kind="task")
    assert words.gate_word(undecided["gate"]) == "cannot decide"
    assert "cannot decide" in verdict([undecided])
    both = {
        "passed": False,
        "criteria": [*undecided["gate"]["criteria"], *row(False)["gate"]["criteria"]],
    }
    assert [c["kind"] for c in words.failures(both)] == ["task"]


def test_without_a_gold_model_nothing_is_judged() -> None:
    assert verdict([row(None)]).startswith("No method was judged")
    assert words.gate_word(None) == "–"
    assert words.failure_lines([row(None)]) == []


def test_failures_are_told_in_the_gates_words() -> None:
    assert words.failure_lines([row(True), row(False)]) == [("NPO + sine", "A is 1.")]
