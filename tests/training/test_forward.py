"""Hidden states: those of the layer that was asked for, and what else their gradient reaches."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from letheon.adapters import BoundedLoraConfig
from letheon.data.batch import collate
from letheon.errors import InputError
from letheon.objectives.contract import Needs
from letheon.objectives.rmu import RMU
from letheon.recipe import Training
from letheon.training import loop
from letheon.training.forward import Untouched, answer_views, layer_number
from tiny import VOCAB, tiny_llama, tiny_rows

ROWS = tiny_rows(4, seed=1)


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=4, n_head=2, vocab_size=VOCAB))


@pytest.mark.parametrize(
    ("make", "blocks"),
    [
        (lambda: tiny_llama(seed=0, layers=4), lambda model: model.model.layers),
        (gpt2, lambda model: model.transformer.h),
    ],
    ids=["llama", "gpt2"],
)
def test_a_layers_states_are_what_its_block_puts_out(make: Any, blocks: Any) -> None:
    model = make().eval()
    put_out: dict[int, torch.Tensor] = {}
    for k, block in enumerate(blocks(model), start=1):

        def keep(_: Any, __: Any, out: Any, k: int = k) -> None:
            put_out[k] = out[0] if isinstance(out, tuple) else out

        block.register_forward_hook(keep)
    batch = collate(ROWS, pad_id=0)
    with torch.no_grad():
        view = answer_views(model, batch, hidden=(1, 3, 0.5))
    wanted = {k: out.flatten(0, 1)[batch.before] for k, out in put_out.items()}
    torch.testing.assert_close(view.hidden(1), wanted[1])
    torch.testing.assert_close(view.hidden(3), wanted[3])
    torch.testing.assert_close(view.hidden(0.5), wanted[2])
    assert not torch.allclose(view.hidden(1), wanted[2])


@pytest.mark.parametrize(
    ("layer", "depth", "number"),
    [(0.25, 32, 8), (0.25, 2, 1), (0.01, 12, 1), (1.0, 12, 12), (12, 12, 12), (7, 32, 7)],
)
def test_a_layer_is_a_number_or_a_share(layer: float, depth: int, number: int) -> None:
    assert layer_number(layer, depth) == number


@pytest.mark.parametrize("layer", [3, 1.6])
def test_a_layer_that_is_not_there_is_refused_before_the_first_step(layer: float) -> None:
    rows = loop.Rows(ROWS, ROWS, 0)
    with pytest.raises(InputError, match=f"Got: {layer}, and the model has 2 layers"):
        loop.check(RMU(layer=layer), rows, Training(steps=1, batch_size=2), tiny_llama(seed=0))


@pytest.mark.parametrize("adapter", [True, False])
def test_the_untouched_models_states_are_those_before_training(adapter: bool) -> None:
    model: Any = tiny_llama(seed=0)
    if adapter:
        model = peft.get_peft_model(model, BoundedLoraConfig(r=4, seed=0))
    batch = collate(ROWS, pad_id=0)
    before = answer_views(model, batch, hidden=(1,)).hidden(1).detach()
    untouched = Untouched(model, Needs(retain_reference="distribution", hidden=(1,)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert not torch.allclose(answer_views(model, batch, hidden=(1,)).hidden(1), before)
    found = untouched.reference(batch, {"retain": len(ROWS)}, ()).retain
    assert found is not None
    torch.testing.assert_close(found.hidden(1), before)


def test_blocks_after_the_layer_have_a_gradient_of_zeros() -> None:
    model = tiny_llama(seed=0)
    answer_views(model, collate(ROWS, pad_id=0), hidden=(1,)).hidden(1).sum().backward()
    first, second = model.model.layers
    assert all(p.grad.abs().sum() > 0 for p in first.parameters() if p.ndim == 2)  # type: ignore
    assert all(p.grad is not None and not p.grad.any() for p in second.parameters())
