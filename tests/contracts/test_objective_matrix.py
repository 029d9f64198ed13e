"""Every objective trains a bounded adapter, a plain LoRA and full weights."""

from __future__ import annotations

import math
from typing import Any

import peft
import pytest
import torch

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.recipe import Training
from letheon.training import loop
from tiny import made_objective, tiny_llama, tiny_rows

NAMES = registry.names("letheon.objectives")
ROWS = loop.Rows(tiny_rows(4, seed=1), tiny_rows(4, seed=2), 0, tiny_rows(4, seed=3))


@pytest.mark.parametrize("weights", ["sine", "identity", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_two_steps_have_finite_terms_and_move_a_parameter(name: str, weights: str) -> None:
    model: Any = tiny_llama(seed=0)
    if weights != "full":
        model = peft.get_peft_model(model, BoundedLoraConfig(r=4, bound=weights, seed=0))
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    events: list[dict[str, Any]] = []
    objective = made_objective(name)
    training = Training(steps=2, batch_size=2, lr=1e-2, weights_every=5)
    loop.run(model, objective, ROWS, training, watch=events.append)
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == 2
    for step in steps:
        assert step["terms"]
        assert all(math.isfinite(value) for value in step["terms"].values())
        assert math.isfinite(step["grad_norm"])
        assert step["grad_norm"] > 0
    moved = {k for k, p in model.named_parameters() if not torch.equal(p, before[k])}
    assert moved
    assert moved <= {k for k, p in model.named_parameters() if p.requires_grad}
