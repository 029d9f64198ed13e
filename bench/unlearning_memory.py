"""Peak memory of unlearning under every objective, against gradient difference.

Each run is three steps of the whole loop on a Llama of 38 million parameters made on the spot, in
fp32, with 4 forget and 4 retain rows of 48 tokens a step, out of 64 forget rows: what the loop
keeps of the untouched model is made within the run. Counted is what it allocates beside the model:
activations, gradients, AdamW's state, references. ``..._adapter`` trains a sine adapter of rank 16,
``..._full`` every weight. An objective whose reference is scalars must stay within 1.05.
``checkpointed_...`` is gradient difference with ``gradient_checkpointing`` against without.
Offloading is not measured here: on a CPU the optimizer's state is in CPU memory anyhow.

    python bench/unlearning_memory.py --json ratios.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from _measure import peak_bytes, show, write
from _rows import random_rows
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.data.template import Encoded
from letheon.objectives.contract import Objective
from letheon.recipe import Training
from letheon.training import loop

VOCAB, TOKENS, PROMPT, BATCH = 8192, 48, 16, 4
BASELINE = "gradient_difference"


def model_of(kind: str) -> Any:
    """Make the model, with an adapter or without."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=VOCAB,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    return get_peft_model(model, BoundedLoraConfig(seed=0)) if kind == "adapter" else model


def _rows(*, seed: int) -> list[Encoded]:
    return random_rows(64, TOKENS, asked=PROMPT, vocabulary=VOCAB, seed=seed)


def peak(kind: str, objective: Objective, rows: loop.Rows, **settings: Any) -> int:
    """Return the bytes that a run allocates at most beside its model."""
    training = Training(steps=3, batch_size=BATCH, lr=1e-6, **settings)
    model = model_of(kind)
    return peak_bytes(lambda: loop.run(model, objective, rows, training) and None)


def ratios_of(kind: str, objectives: Iterable[str]) -> dict[str, float]:
    """Measure every objective on an adapter or on full weights."""
    rows = loop.Rows(_rows(seed=1), _rows(seed=2), 0, _rows(seed=3))
    kept = "letheon.objectives"
    made = {n: registry.make(kept, n, registry.example(kept, n)) for n in objectives}
    base = peak(kind, made[BASELINE], rows)
    print(f"{BASELINE}, {kind}: {base / 2**20:.0f} MiB beside the model", flush=True)
    ratios: dict[str, float] = {}
    for name in objectives:
        if name != BASELINE:
            ratio = peak(kind, made[name], rows) / base
            ratios |= show({f"memory_vs_{BASELINE}_{name}_{kind}": ratio})
    less = peak(kind, made[BASELINE], rows, gradient_checkpointing=True) / base
    return ratios | show({f"checkpointed_memory_vs_{BASELINE}_{kind}": less})


def main() -> None:
    """Measure everything, print it, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    ratios: dict[str, float] = {}
    for kind in ("adapter", "full"):
        ratios |= ratios_of(kind, registry.names("letheon.objectives"))
    write(ratios, arguments.json)


if __name__ == "__main__":
    main()
