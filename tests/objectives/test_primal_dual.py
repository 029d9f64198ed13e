"""The dual variable of PDU: it rises, falls, is saved, and is the same however a step is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.errors import RecipeError
from letheon.objectives.pdu import PDU
from letheon.recipe import Training
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


def after(objective: PDU, retain_losses: list[float]) -> list[float]:
    state, found = objective.init(0), []
    for value in retain_losses:
        state = objective.update(state, {"forget": 0.0, "retain": value})
        found.append(state["dual"])
    return found


def test_the_dual_follows_the_constraint_and_never_falls_below_zero() -> None:
    found = after(PDU(eps=1.0, dual_step=0.5), [2.0, 2.0, -4.0, 1.0, 3.0])
    assert found == pytest.approx([1.5, 2.0, 0.0, 0.0, 1.0])


def test_a_warm_up_keeps_the_dual_where_it_starts() -> None:
    found = after(PDU(eps=1.0, retain_weight=0.3, dual_warmup=2), [2.0, 2.0, 2.0])
    assert found == pytest.approx([0.3, 0.3, 1.3])


def test_without_eps_it_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"Got: no eps\."):
        registry.make("letheon.objectives", "pdu", {})


def run(steps: int, *, checkpoint: Path | None = None, until: int = 99, cut: int = 1) -> list[dict]:
    events: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "step" and event["step"] == until:
            raise KeyboardInterrupt

    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))
    training = Training(steps=steps, batch_size=4, lr=1e-2, checkpoint_every=2, accumulate=cut)
    objective = PDU(eps=1.0, dual_step=0.5)
    loop.run(model, objective, ROWS, training, watch=watch, checkpoint=checkpoint)
    return [e["terms"] for e in events if e["event"] == "step"]


def test_it_survives_a_resume_and_is_the_same_for_every_accumulation(tmp_path: Path) -> None:
    whole, last = run(5), tmp_path / "last.pt"
    with pytest.raises(KeyboardInterrupt):
        run(5, checkpoint=last, until=3)
    state = torch.load(last, weights_only=True)["state"]
    expected = after(PDU(eps=1.0, dual_step=0.5), [terms["retain"] for terms in whole[:2]])
    assert state == {"dual": pytest.approx(expected[-1]), "steps": 2}
    assert run(5, checkpoint=last) == whole[2:]
    for one, other in zip(whole, run(5, cut=4), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
