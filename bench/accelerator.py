"""The bounded layer and a whole unlearning step on an accelerator, in bf16, as ratios.

``layer``: forward and backward of one layer of 4096 x 14336, 8192 tokens, rank 16, sine, against
the obvious implementation, plain LoRA, full fine-tuning and the three matrix products that a layer
with an input gradient cannot do without (``gpu_layer_vs_three_gemms``).
``step``: forget and retain rows in one forward pass under bf16 autocast, loss, backward, AdamW, of
the model of recipes/tofu_gptneo125m_target.yaml with sine adapters on its MLPs, against PEFT's own
LoRA of the same rank on the same layers with the same loss, for GD and NPO.

Times are between events on the card, interleaved, as medians of ratios within a round; peaks are
bytes allocated beyond what was there before the call. On a CPU all of it is small and says nothing.

    python bench/accelerator.py layer --json ratios.json
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import peft
import torch
import yaml
from _device import DEVICE, interleaved, peak_bytes
from _measure import Variant, median_ratio, show
from _rows import random_rows
from adapter_layer import layer_variants
from transformers import AutoConfig, AutoModelForCausalLM

from letheon.adapters import BoundedLoraConfig, blocks
from letheon.adapters.layer import BoundedLoraLayer
from letheon.data.batch import collate
from letheon.objectives.contract import Objective, Views
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.npo import NPO
from letheon.recipe import Make
from letheon.training.forward import Untouched, answer_views, by_side

RECIPE = Path(__file__).parents[1] / "recipes" / "tofu_gptneo125m_target.yaml"
RANK = 16
FULL_LAYER = {"tokens": 8192, "n_in": 4096, "n_out": 14336}
SMALL_LAYER = {"tokens": 128, "n_in": 128, "n_out": 448}
SMALL_MODEL = {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "intermediate_size": 256}
OBJECTIVES: Mapping[str, Objective] = {"gd": GradientDifference(), "npo": NPO()}
FORGET, RETAIN, LENGTH = 16, 24, 64


def layer(*, reduced: bool) -> dict[str, Any]:
    """Measure one layer's forward and backward pass."""
    size = SMALL_LAYER if reduced else FULL_LAYER
    tokens, n_in, n_out = size["tokens"], size["n_in"], size["n_out"]
    variants = layer_variants(torch.bfloat16, n_in, n_out, tokens=tokens, device=DEVICE)
    variants["three_gemms"] = three_gemms(tokens, n_in, n_out)
    peaks = {name: peak_bytes(run) for name, run in variants.items()}
    times = interleaved(variants, rounds=3 if reduced else 25)
    ratios = {}
    for ours, prefix in (("ours", "layer"), ("kept", "kept_layer")):
        for other in ("obvious", "lora", "full", "three_gemms"):
            ratios[f"gpu_{prefix}_vs_{other}"] = median_ratio(times[ours], times[other])
            if other != "three_gemms":
                ratios[f"gpu_{prefix}_memory_vs_{other}"] = peaks[ours] / peaks[other]
    words = f"One layer {n_in} x {n_out}, bf16, {tokens} tokens, rank {RANK}, sine."
    return {"words": words, "ratios": ratios, "seconds": medians(times), "peak_bytes": peaks}


def three_gemms(tokens: int, n_in: int, n_out: int) -> Variant:
    """Build the products alone: y = x W^T, dx = dy W, dW = dy^T x."""
    x = torch.randn(tokens, n_in, device=DEVICE, dtype=torch.bfloat16)
    weight = torch.randn(n_out, n_in, device=DEVICE, dtype=torch.bfloat16)
    grad = torch.randn(tokens, n_out, device=DEVICE, dtype=torch.bfloat16)

    def run() -> None:
        torch.mm(x, weight.t())
        torch.mm(grad, weight)
        torch.mm(grad.t(), x)

    return run


def step(*, reduced: bool) -> dict[str, Any]:
    """Measure one unlearning step of a model with sine adapters and with PEFT's LoRA."""
    ratios: dict[str, float] = {}
    seconds, peaks = {}, {}
    for name, objective in OBJECTIVES.items():
        variants = {
            kind: unlearning_step(adapted(kind, reduced=reduced), objective)
            for kind in ("sine", "peft")
        }
        bytes_ = {kind: peak_bytes(run) for kind, run in variants.items()}
        times = interleaved(variants, rounds=3 if reduced else 15)
        ratios[f"step_time_vs_peft_{name}"] = median_ratio(times["sine"], times["peft"])
        ratios[f"step_memory_vs_peft_{name}"] = bytes_["sine"] / bytes_["peft"]
        seconds |= {f"{name}_{kind}": value for kind, value in medians(times).items()}
        peaks |= {f"{name}_{kind}": value for kind, value in bytes_.items()}
    words = (
        f"One unlearning step, bf16 autocast, {FORGET} forget and {RETAIN} retain rows of {LENGTH} "
        f"tokens, rank {RANK} on the MLPs: sine adapters against PEFT's LoRA."
    )
    return {"words": words, "ratios": ratios, "seconds": seconds, "peak_bytes": peaks}


def adapted(kind: str, *, reduced: bool) -> Any:
    """Make the recipe's model with random weights and adapters of a kind, sine or peft."""
    spec = Make(**yaml.safe_load(RECIPE.read_text())["model"]["make"])
    if reduced:
        config = spec.config | SMALL_MODEL | {"attention_types": [[["global", "local"], 1]]}
        spec = spec.model_copy(update={"config": config, "vocab_size": 1000})
    torch.manual_seed(0)
    made = AutoConfig.for_model(spec.architecture, **spec.config, vocab_size=spec.vocab_size)
    model = AutoModelForCausalLM.from_config(made)
    bounded = peft.get_peft_model(model, BoundedLoraConfig(r=RANK, seed=0, task_type="CAUSAL_LM"))
    if kind == "peft":
        names = sorted({m.name for m in bounded.modules() if isinstance(m, BoundedLoraLayer)})
        config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=names)
        bounded = peft.get_peft_model(bounded.unload(), config)
    return bounded.to(DEVICE).train()


def unlearning_step(model: Any, objective: Objective) -> Variant:
    """Build one step: one forward pass, loss, backward, AdamW."""
    vocabulary = model.config.vocab_size
    every = random_rows(FORGET + RETAIN, LENGTH, asked=LENGTH // 4, vocabulary=vocabulary)
    batch = collate(every, pad_id=0).to(DEVICE)
    sides = {"forget": FORGET, "retain": RETAIN}
    forget, counted = list(range(FORGET)), [sum(row.answer) for row in every]
    counts = {
        "forget_token": sum(counted[:FORGET]),
        "forget_example": FORGET,
        "retain_token": sum(counted[FORGET:]),
        "retain_example": RETAIN,
    }
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    untouched = Untouched(model, objective.needs)
    untouched.cache({"forget": every[:FORGET]}, pad_id=0)

    short = torch.empty(0, dtype=torch.bfloat16, device=DEVICE)
    native = blocks.arithmetic(short) == short.dtype  # a CPU that emulates bf16 gets fp32

    def run() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=native):
            reference = untouched.reference(batch, sides, forget)
            views = Views(**by_side(answer_views(model, batch), sides))
        terms = objective.loss(views, reference, objective.init(0))
        terms.total(counts).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Return each variant's median seconds."""
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Measure what is named, print it, write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("layer", "step"), help="default both")
    parser.add_argument("--json", type=Path, help="where to write; with one of the two only")
    parser.add_argument("--reduced", action="store_true", help="small; always so on a CPU")
    arguments = parser.parse_args()
    if arguments.json and not arguments.what:
        parser.error("--json needs layer or step")
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    reduced = arguments.reduced or DEVICE == "cpu"
    for name, measure in {"layer": layer, "step": step}.items():
        if arguments.what in (None, name):
            found = measure(reduced=reduced)
            print(f"{DEVICE}: {found['words']}", flush=True)
            show(found["ratios"])
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
