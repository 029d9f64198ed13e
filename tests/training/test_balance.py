"""The forget weight by the gradients: the ratio it gives, and that it survives a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from letheon.adapters import BoundedLoraConfig
from letheon.errors import InputError
from letheon.objectives.contract import Objective
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.npo import NPO
from letheon.objectives.pdu import PDU
from letheon.objectives.simnpo import SimNPO
from letheon.recipe import Balance, Training
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


def run(
    objective: Objective, *, checkpoint: Path | None = None, until: int = 99, **settings: Any
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    events: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "step" and event["step"] == until:
            raise KeyboardInterrupt

    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))
    training = Training(**{"steps": 4, "batch_size": 4, "lr": 1e-2, **settings})
    loop.run(model, objective, ROWS, training, watch=watch, checkpoint=checkpoint)
    return events, trained_state(model)


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def norms(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    found = of(events, "balance")
    return [{k: event[k] for k in ("step", "factor", "forget", "retain")} for event in found]


def gradient(weights: dict[str, float]) -> float:
    """Return the norm of the gradient of the first step, by the loop itself without the rule."""
    return float(of(run(GradientDifference(**weights), steps=1)[0], "step")[0]["grad_norm"])


def test_the_factor_gives_the_sides_gradients_their_ratio() -> None:
    """Against the loop's own gradient norms with one side's weight at zero."""
    rule = Balance(ratio=0.25)
    objective = GradientDifference(forget_weight=3.0, retain_weight=2.0)
    (found,) = of(run(objective, balance=rule)[0], "balance")
    forget = gradient({"forget_weight": 3.0, "retain_weight": 0.0})
    retain = gradient({"forget_weight": 0.0, "retain_weight": 2.0})
    assert found["step"] == 1
    assert found["forget"] == pytest.approx(forget, rel=1e-5)
    assert found["retain"] == pytest.approx(retain, rel=1e-5)
    assert found["factor"] * forget == pytest.approx(0.25 * retain, rel=1e-5)


def test_it_trains_as_the_forget_weight_that_it_found_does() -> None:
    events, params = run(GradientDifference(forget_weight=3.0), balance=Balance(ratio=0.5))
    weight = 3.0 * of(events, "balance")[0]["factor"]
    same, wanted = run(GradientDifference(forget_weight=weight))
    torch.testing.assert_close(params, wanted, rtol=1e-4, atol=1e-6)
    for mine, other in zip(of(events, "step"), of(same, "step"), strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], rel=1e-5)


def test_the_objectives_own_forget_weight_cancels_out() -> None:
    _, one = run(NPO(forget_weight=1.0), balance=Balance(ratio=0.5, every=1))
    _, two = run(NPO(forget_weight=9.0), balance=Balance(ratio=0.5, every=1))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_it_is_set_again_every_so_many_steps_and_the_same_however_a_step_is_cut() -> None:
    rule = Balance(ratio=0.5, every=3)
    whole, params = run(NPO(), steps=5, balance=rule)
    assert [event["step"] for event in of(whole, "balance")] == [1, 4]
    cut, other = run(NPO(), steps=5, balance=rule, accumulate=4)
    for mine, theirs in zip(norms(cut), norms(whole), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    torch.testing.assert_close(params, other, rtol=1e-3, atol=1e-5)


def test_a_resumed_run_keeps_the_factor_and_the_own_state(tmp_path: Path) -> None:
    objective, rule = PDU(eps=1.0), Balance(ratio=0.5)
    settings: dict[str, Any] = {"steps": 5, "balance": rule, "checkpoint_every": 2}
    whole, params = run(objective, **settings)
    last = tmp_path / "last.pt"
    with pytest.raises(KeyboardInterrupt):
        run(objective, **settings, checkpoint=last, until=3)
    state = torch.load(last, weights_only=True)["state"]
    assert state["factor"] == of(whole, "balance")[0]["factor"]
    assert state["own"]["steps"] == 2
    rest, resumed = run(objective, **settings, checkpoint=last)
    assert not of(rest, "balance")
    assert [e["terms"] for e in of(rest, "step")] == [e["terms"] for e in of(whole, "step")][2:]
    torch.testing.assert_close(resumed, params, rtol=0, atol=0)


def test_a_side_without_a_gradient_leaves_the_weight_alone() -> None:
    objective = GradientDifference(retain_weight=0.0)
    (found,) = of(run(objective, balance=Balance(ratio=0.5))[0], "balance")
    assert (found["factor"], found["retain"]) == (1.0, 0.0)


def test_what_is_forgotten_is_not_blown_up_again() -> None:
    """A SimNPO far from its margin has next to no gradient; later factors stay below the first."""
    saturated = SimNPO(beta=50.0)
    (found,) = of(run(saturated, balance=Balance(ratio=0.5))[0], "balance")
    assert found["forget"] < 1e-6 * found["retain"]
    assert found["factor"] == 1.0
    events, _ = run(NPO(), steps=30, balance=Balance(ratio=0.5, every=1))
    first, *later = (event["factor"] for event in of(events, "balance"))
    assert max(later) <= first
    assert min(later) < max(later)
    wanted = [0.5 * e["retain"] / e["forget"] for e in of(events, "balance")]
    assert [min(first, each) for each in wanted] == pytest.approx([first, *later])
    assert max(wanted) > first


@pytest.mark.parametrize(
    ("objective", "lacks"),
    [
        (GradientAscent(), "GradientAscent, which lacks one of the two"),
        (GradientDifference(retain="kl"), "which compares with the untouched model"),
    ],
)
def test_what_cannot_be_balanced_is_refused(objective: Objective, lacks: str) -> None:
    training = Training(steps=1, batch_size=4, balance=Balance(ratio=1))
    with pytest.raises(InputError, match=lacks):
        loop.check(objective, ROWS, training, tiny_llama(seed=0))
