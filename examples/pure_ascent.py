"""Pure gradient ascent on a tiny model: plain LoRA runs away, the sine stays within its bound."""

from __future__ import annotations

import warnings

import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from letheon import BoundedLoraConfig
from letheon.adapters import weight_change


def ascend(bound: str, steps: int = 120) -> tuple[float, float]:
    """Return the largest change of a weight and the largest logit after ``steps`` of ascent."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=50,
        num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    settings = BoundedLoraConfig(r=4, bound=bound, seed=0, target_modules=["down_proj", "lm_head"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(LlamaForCausalLM(config), settings)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    ids = torch.randint(0, 50, (4, 12))
    for _ in range(steps):
        optimizer.zero_grad()
        (-model(input_ids=ids, labels=ids).loss).backward()
        optimizer.step()
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    return max(change["max_abs"] for change in weight_change(model)), float(logits.abs().max())


for name in ("identity", "sine", "tanh"):
    change, logit = ascend(name)
    print(f"{name:<9} largest change of a weight {change:8.3f}   largest logit {logit:9.1f}")
