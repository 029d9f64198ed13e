"""Tiny models and rows that tests share."""

from __future__ import annotations

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from letheon import registry
from letheon.data.template import Encoded
from letheon.objectives.contract import Objective

VOCAB = 64


def tiny_llama(*, seed: int, layers: int = 2, hidden: int = 32) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=VOCAB,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=1,
        )
    )


def tiny_rows(n: int, *, seed: int) -> list[Encoded]:
    """Random rows of 4 to 9 tokens with answers of 1 to 5 tokens."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        prompt, answer = rng.randint(3, 4), rng.randint(1, 5)
        ids = [rng.randrange(2, VOCAB) for _ in range(prompt + answer)]
        marks = [False] * prompt + [True] * answer
        rows.append(Encoded(ids, marks, [False] * len(ids)))
    return rows


def made_objective(name: str) -> Objective:
    """Return an objective with its defaults, and with its example's values where it has none."""
    params = registry.example("letheon.objectives", name)
    objective: Objective = registry.make("letheon.objectives", name, params)
    return objective
