"""Greedy generation: batched as one by one, plain, weights restored."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import peft
import pytest
import torch
from transformers import GenerationConfig

from letheon.adapters import BoundedLoraConfig
from letheon.evaluation import generation
from letheon.evaluation.generation import generate, merged
from tiny import VOCAB, tiny_llama

PAD, EOS = 1, 0


def prompts(n: int, *, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(2, VOCAB) for _ in range(rng.randint(1, 9))] for _ in range(n)]


def lively(seed: int = 3) -> Any:
    """A model whose greedy continuations differ and sometimes end."""
    model = tiny_llama(seed=seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(8)
    return model


def adapted() -> Any:
    model = peft.get_peft_model(lively(), BoundedLoraConfig(r=4, seed=0, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bounded_lora_B" in name:
                p.normal_(generator=torch.Generator().manual_seed(1))
    return model


def obvious(model: Any, prompt: list[int], n: int) -> list[int]:
    """Continue one prompt by the argmax, the whole text read again for every token."""
    ids = list(prompt)
    model.eval()
    for _ in range(n):
        with torch.no_grad():
            new = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if new == EOS:
            break
        ids.append(new)
    return ids[len(prompt) :]


def run(model: Any, texts: list[list[int]], **options: Any) -> list[list[int]]:
    return generate(model, texts, pad_id=PAD, eos_id=EOS, max_new_tokens=10, **options)


@pytest.mark.parametrize("make", [lively, adapted], ids=["plain", "adapted"])
def test_batched_is_the_argmax_one_by_one(make: Any) -> None:
    model, texts = make(), prompts(12)
    expected = [obvious(model, text, 10) for text in texts]
    assert len({tuple(row) for row in expected}) > 6, "the prompts must not all say the same"
    for budget in (1, 60, 8192):
        assert run(model, texts, batch_tokens=budget) == expected


def test_padding_with_the_end_token_changes_nothing() -> None:
    model, texts = lively(), prompts(8, seed=1)
    padded = generate(model, texts, pad_id=EOS, eos_id=EOS, max_new_tokens=10)
    assert padded == run(model, texts)


def test_a_generation_ends_before_the_end_token() -> None:
    model, texts = lively(), prompts(40, seed=2)
    found = run(model, texts)
    assert any(len(row) < 10 for row in found), "one of these texts must end by itself"
    assert all(EOS not in row for row in found)
    without = generate(model, texts, pad_id=PAD, eos_id=None, max_new_tokens=10)
    assert all(len(row) == 10 for row in without)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 5.0},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "temperature": 3.0, "top_k": 5},
        {"no_repeat_ngram_size": 1, "min_new_tokens": 9},
        {"suppress_tokens": list(range(2, 40))},
        {"max_length": 3},
    ],
    ids=lambda s: next(iter(s)),
)
@pytest.mark.parametrize("make", [lively, adapted], ids=["plain", "adapted"])
def test_settings_that_came_with_the_checkpoint_do_not_count(
    make: Any, settings: dict[str, Any]
) -> None:
    model, texts = make(), prompts(6)
    expected = run(model, texts)
    base = model.get_base_model() if make is adapted else model
    own = GenerationConfig(**settings)
    base.generation_config = own
    assert run(model, texts) == expected
    assert base.generation_config is own


def test_merged_restores_weights_and_mode() -> None:
    model = adapted().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ids = torch.tensor([prompts(1)[0]])
    with torch.no_grad():
        unmerged = model(input_ids=ids).logits
        with merged(model) as whole:
            torch.testing.assert_close(whole(input_ids=ids).logits, unmerged, atol=1e-4, rtol=1e-4)
    run(model, prompts(2))
    assert model.training
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_merged_restores_weights_after_an_error() -> None:
    model = adapted()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), merged(model):
        raise RuntimeError("stop")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_nor_do_they_where_an_adapter_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a model of which each process holds a shard."""
    model, texts = adapted(), prompts(5)
    wanted = generate(model, texts, pad_id=PAD, eos_id=None, max_new_tokens=8)
    own = model.get_base_model().generation_config = GenerationConfig(suppress_tokens=[*range(40)])
    monkeypatch.setattr(generation, "merged", nullcontext)
    assert generate(model, texts, pad_id=PAD, eos_id=None, max_new_tokens=8) == wanted
    assert model.get_base_model().generation_config is own
