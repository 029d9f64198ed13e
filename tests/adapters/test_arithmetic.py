"""Scaled and negated adapters: exact for every bound, in memory, merged and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from letheon.adapters import BoundedLoraConfig, bounds
from letheon.adapters.arithmetic import gains, negate, set_gain
from letheon.errors import ModelError
from tiny import tiny_llama

IDS = torch.tensor([[3, 4, 5, 6]])


def trained(bound: str = "sine", **settings: Any) -> Any:
    """An adapted model with factors that have moved."""
    config = BoundedLoraConfig(r=4, bound=bound, seed=0, **settings)
    model = peft.get_peft_model(tiny_llama(seed=0, layers=1), config)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1, generator=generator)
    return model.eval()


def changes(model: Any) -> list[Tensor]:
    """The weights of the merged model, less the untouched ones."""
    merged = model.merge_and_unload()
    before = dict(tiny_llama(seed=0, layers=1).named_parameters())
    return [p.detach() - before[name].detach() for name, p in merged.named_parameters()]


@pytest.mark.parametrize("bound", bounds.names())
@pytest.mark.parametrize("gain", [-1.0, -0.3, 2.5])
def test_a_change_is_scaled_outside_its_bound(bound: str, gain: float) -> None:
    model = trained(bound, attention=True)
    set_gain(model, 7.0)
    set_gain(model, gain)
    with torch.no_grad():
        said = model(IDS).logits
    for scaled, one in zip(changes(model), changes(trained(bound, attention=True)), strict=True):
        torch.testing.assert_close(scaled, gain * one, rtol=1e-4, atol=1e-6)
    again = trained(bound, attention=True, gain=gain).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, said)


def test_negating_twice_is_nothing_and_a_kept_weight_is_not_taken_for_another() -> None:
    model = trained()
    with torch.no_grad():
        first = model(IDS).logits  # keeps the effective weights
        negate(model)
        negated = model(IDS).logits
        negate(model)
        torch.testing.assert_close(model(IDS).logits, first)
    assert (negated - first).abs().max() > 1e-3


def test_a_gain_is_saved_with_its_adapter(tmp_path: Path) -> None:
    model = trained()
    set_gain(model, -0.4)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(seed=0, layers=1), str(tmp_path)).eval()
    assert gains(loaded) == {"default": -0.4}
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("gain", [0.0, float("nan"), float("inf")])
def test_a_gain_that_leaves_nothing_is_refused(gain: float) -> None:
    with pytest.raises(ModelError, match="finite number other than 0"):
        set_gain(trained(), gain)
    with pytest.raises(ModelError, match="finite number other than 0"):
        BoundedLoraConfig(gain=gain)
