"""The bounded layer against the obvious implementation, plain LoRA and full fine-tuning.

One forward and backward of one linear layer on one thread, T = 1024 tokens, rank 16, sine, all
gradients that training needs (the input's included). "Obvious" materialises phi(omega B A) under
autograd and multiplies a second time. ``kept_...`` is the option ``keep_weight="step"``, which
holds the effective weight between forward and backward. ``tiny_step_...`` is a whole training step
of the demo's model (hidden 128, 4 layers, 40 rows of 30 tokens): sine against plain LoRA.

A CPU without bf16 arithmetic emulates bf16 products so slowly that nobody would wait for them; our
layer converts to fp32 there, and so do the baselines, whole matrices at a time (which counts in
their memory). The first line says whether that is so.

    python bench/adapter_layer.py --json ratios.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from _measure import Variant, interleaved, median_ratio, peak_of, show, write
from peft import get_peft_model
from torch import Tensor

from letheon.adapters import BoundedLoraConfig, blocks, bounds
from letheon.adapters.keep import KeptWeight
from letheon.adapters.linear import Change, Plan, bounded_linear

TOKENS, RANK, OMEGA = 1024, 16, 100.0
CASES = {
    "fp32_768x3072": (torch.float32, 768, 3072),
    "bf16_2048x8192": (torch.bfloat16, 2048, 8192),
}
BASELINES = ("obvious", "lora", "full")


class _Converted(torch.autograd.Function):
    """``x W^T`` computed in fp32, x and W being of a shorter type."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x.float() @ weight.float().t()).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        wide = grad.float()
        for_weight = (wide.t() @ x.float()).to(x.dtype) if ctx.needs_input_grad[1] else None
        return (wide @ weight.float()).to(x.dtype), for_weight


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a linear map as fast as this CPU can in the type of ``x``."""
    if blocks.arithmetic(x) == x.dtype:
        return torch.nn.functional.linear(x, weight)
    return _Converted.apply(x, weight)


def layer_variants(
    dtype: torch.dtype, n_in: int, n_out: int, *, tokens: int = TOKENS, device: str = "cpu"
) -> dict[str, Variant]:
    """Build the five ways to run one layer on the same numbers; each leaves no gradient behind."""
    torch.manual_seed(0)
    x = torch.randn(tokens, n_in).to(device, dtype).requires_grad_()
    frozen = (torch.randn(n_out, n_in) * 0.02).to(device, dtype)
    trained = frozen.clone().requires_grad_()
    A = (torch.randn(RANK, n_in) / n_in**0.5).to(device).requires_grad_()
    B = (torch.randn(n_out, RANK) * 0.01).to(device).requires_grad_()
    grad = torch.randn(tokens, n_out).to(device, dtype)
    change = Change(bounds.get("sine"), OMEGA, 2 / n_in**0.5)
    plan, kept = Plan((change,)), Plan((change,), keeper=KeptWeight())

    def obvious() -> Tensor:
        product = torch.sin(OMEGA * (B @ A)).to(dtype)
        return linear(x, frozen) + change.scale * linear(x, product)

    def lora() -> Tensor:
        return linear(x, frozen) + 2.0 * linear(linear(x, A.to(dtype)), B.to(dtype))

    def with_kept() -> Tensor:
        with torch.no_grad():
            A.mul_(1)  # as an optimizer's step would: the kept weight is built anew
        return bounded_linear(x, frozen, None, kept, (A, B))

    forwards: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: bounded_linear(x, frozen, None, plan, (A, B)),
        "kept": with_kept,
        "obvious": obvious,
        "lora": lora,
        "full": lambda: linear(x, trained),
    }
    leaves = (x, trained, A, B)

    def step(forward: Callable[[], Tensor]) -> Variant:
        def run() -> None:
            forward().backward(grad)
            for leaf in leaves:
                leaf.grad = None

        return run

    return {name: step(forward) for name, forward in forwards.items()}


def layer_ratios(case: str, *, rounds: int) -> dict[str, float]:
    """Measure one case: time and memory against each baseline."""
    variants = layer_variants(*CASES[case])
    times = interleaved(variants, rounds=rounds)
    peaks = {name: peak_of(run) for name, run in variants.items()}
    ratios = {}
    for ours, prefix in (("ours", ""), ("kept", "kept_")):
        for other in BASELINES:
            ratio = median_ratio(times[ours], times[other])
            ratios[f"{prefix}time_vs_{other}_{case}"] = ratio
            ratios[f"{prefix}memory_vs_{other}_{case}"] = peaks[ours] / peaks[other]
    return ratios


def tiny_step(bound: str) -> Variant:
    """Build one training step of a model of the demo's size."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        vocab_size=512,
    )
    model = get_peft_model(transformers.LlamaForCausalLM(config), BoundedLoraConfig(bound=bound))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, 512, (40, 30))

    def run() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    """Measure everything, print it, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    converted = blocks.arithmetic(torch.empty(0, dtype=torch.bfloat16)) == torch.float32
    print("bf16 products:", "converted to fp32, none on this CPU" if converted else "native")
    ratios: dict[str, float] = {}
    for case in CASES:
        print(f"{case}: {arguments.rounds} rounds of five variants, minutes", flush=True)
        ratios |= show(layer_ratios(case, rounds=arguments.rounds))
    tiny = interleaved({b: tiny_step(b) for b in ("sine", "identity")}, rounds=31)
    step = median_ratio(tiny["sine"], tiny["identity"])
    ratios |= show({"tiny_step_time_sine_vs_identity": step})
    write(ratios, arguments.json)


if __name__ == "__main__":
    main()
