"""Two learning rates for the two sides of the loss, against two plain optimizers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from letheon.adapters import BoundedLoraConfig
from letheon.errors import InputError, RecipeError
from letheon.objectives.gradient_ascent import GradientAscent
from letheon.objectives.gradient_difference import GradientDifference
from letheon.recipe import Choice, Training, resolve
from letheon.training import loop
from letheon.training.checkpoint import trained_state
from letheon.training.forward import Untouched
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)
OBJECTIVE = GradientDifference(forget_weight=0.5)
SETTINGS = {"steps": 5, "batch_size": 3, "lr": 1e-2, "forget_lr": 2e-3, "weight_decay": 0.1}


def adapted() -> Any:
    return peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))


def run(model: Any, **settings: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    checkpoint = settings.pop("checkpoint", None)
    training = Training(**{**SETTINGS, **settings})
    loop.run(model, OBJECTIVE, ROWS, training, watch=events.append, checkpoint=checkpoint)
    return [event for event in events if event["event"] == "step"]


def assert_same(found: Any, wanted: Any) -> None:
    torch.testing.assert_close(trained_state(found), trained_state(wanted), rtol=0, atol=1e-5)


def two_plain_optimizers(limit: float) -> tuple[Any, list[dict[str, float]]]:
    """Step by each term's own gradient, clipped, with an AdamW of its own."""
    training = Training(**SETTINGS)
    model = adapted().train()
    params = [p for p in model.parameters() if p.requires_grad]
    forget = torch.optim.AdamW(params, lr=2e-3, weight_decay=0.0)
    retain = torch.optim.AdamW(params, lr=1e-2, weight_decay=0.1)
    accelerator = loop.accelerator_for(training)
    untouched = Untouched(model, OBJECTIVE.needs)
    pairing = loop.pairing_of(OBJECTIVE, ROWS, training, 1, 0)
    norms = []
    for step in range(5):
        terms = loop.terms(model, untouched, OBJECTIVE, ROWS, pairing.step(step), None, accelerator)
        every = {}
        for side, term in terms.terms.items():
            loss = term.weight * term.sum / term.count
            every[side] = torch.autograd.grad(loss, params, retain_graph=True)
        both = [a + b for a, b in zip(every["forget"], every["retain"], strict=True)]
        norms.append({side: length(grads) for side, grads in [*every.items(), ("both", both)]})
        for side, optimizer in (("forget", forget), ("retain", retain)):
            shrunk = min(1.0, limit / norms[-1][side])
            for parameter, grad in zip(params, every[side], strict=True):
                parameter.grad = grad * shrunk
            optimizer.step()
    return model, norms


def length(grads: Any) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in grads))


def test_each_side_has_its_own_gradient_clipping_and_moments() -> None:
    model = adapted()
    events = run(model, max_grad_norm=0.1)
    wanted, norms = two_plain_optimizers(0.1)
    assert_same(model, wanted)
    for event, norm in zip(events, norms, strict=True):
        assert event["grad_norm"] == pytest.approx(norm["both"], rel=1e-4)
        assert event["forget_grad_norm"] == pytest.approx(norm["forget"], rel=1e-4)
        assert event["retain_grad_norm"] == pytest.approx(norm["retain"], rel=1e-4)
    assert norms[-1]["retain"] > 0.1


@pytest.mark.parametrize("settings", [{"accumulate": 3}, {"gradient_checkpointing": True}])
def test_pieces_and_recomputing_change_nothing(settings: dict[str, Any]) -> None:
    found, wanted = adapted(), adapted()
    run(found, **settings)
    run(wanted)
    assert_same(found, wanted)


def test_a_killed_run_goes_on_with_both_states(tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.pt"
    whole, resumed = adapted(), adapted()
    run(whole)
    run(adapted(), steps=2, checkpoint=checkpoint)
    assert [event["step"] for event in run(resumed, checkpoint=checkpoint)] == [3, 4, 5]
    assert_same(resumed, whole)


def test_the_schedule_moves_both_rates() -> None:
    """With a rate that falls to nothing both sides stop; a forget rate left alone would go on."""
    few, many = adapted(), adapted()
    run(few, steps=12, schedule="linear", forget_lr=1e-9, lr=1e-12)
    run(many, steps=12, schedule="linear", forget_lr=1e-2, lr=1e-12)
    start = trained_state(adapted())
    moved = [
        max(float((v - start[k]).abs().max()) for k, v in trained_state(m).items())
        for m in (few, many)
    ]
    # Adam's steps are at most about the rate: their sum over a linear schedule is half of 12 * lr
    assert moved[0] < 1e-7
    assert 1e-2 < moved[1] < 0.5 * 12 * 1e-2 * 1.2


def test_a_penalty_is_of_the_retain_side() -> None:
    stabilisers = (Choice(name="l2_product", params={"weight": 10.0}),)
    plain = run(adapted(), steps=2)
    events = run(adapted(), steps=2, stabilisers=stabilisers)
    assert events[1]["penalty"] > 0
    assert events[1]["forget_grad_norm"] == pytest.approx(plain[1]["forget_grad_norm"])
    assert events[1]["retain_grad_norm"] != pytest.approx(plain[1]["retain_grad_norm"], rel=1e-3)


def test_an_objective_of_one_side_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="Got: an objective with one side"):
        loop.check(GradientAscent(), ROWS, Training(**SETTINGS), adapted())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"offload_optimizer": True}, "forget_lr and offload_optimizer"),
        ({"parallel": "fsdp2"}, "forget_lr goes with parallel ddp"),
        ({"mixed_precision": "fp16"}, "forget_lr goes with mixed_precision"),
        ({"forget_lr": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    raw = {"kind": "unlearn", "name": "a", "model": {"path": "x"}, "data": {"benchmark": "people"}}
    raw |= {"objective": {"name": "npo"}, "training": {**SETTINGS, **settings}}
    with pytest.raises(RecipeError, match=said):
        resolve(raw, where="it")
