"""What `letheon plan` predicts against what a run takes, for several shapes at real widths.

Each shape is built and trained for two steps in a process of its own, under torch's profiler, whose
allocation events give the peak of all tensors, the weights included. The ratio is prediction over
measurement: 1.05 means five per cent too much. ``resident_vs_plan_...`` is the largest resident set
of the same run without a profiler, over the prediction plus what the process takes before it.

    python bench/plan.py --json ratios.json [--only gpt2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import transformers as tf
from _measure import peak_of, show, write
from _rows import random_rows

from letheon import processes
from letheon import recipe as recipes
from letheon.forecast import Task, forecast
from letheon.models import Outline
from letheon.parts import adapt, objective_of
from letheon.recipe import Recipe
from letheon.training import loop


class Shape(NamedTuple):
    """A configuration and the settings of its run; ``rows`` of each side, ``tokens`` of each."""

    config: Callable[[], Any]
    dtype: torch.dtype = torch.float32
    objective: str = "gradient_difference"
    rows: int = 8
    tokens: int = 64
    adapter: bool = True
    training: Mapping[str, Any] = MappingProxyType({})


SHAPES = {
    "llama3_8b_two_layers": Shape(
        lambda: tf.LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=2,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
        ),
        torch.bfloat16,
        objective="npo",
        rows=4,
        tokens=48,
    ),
    "gpt2": Shape(tf.GPT2Config),
    "gpt2_recomputed": Shape(tf.GPT2Config, training={"gradient_checkpointing": True}),
    "gpt_neox_160m_accumulated": Shape(
        lambda: tf.GPTNeoXConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            vocab_size=50304,
        ),
        rows=16,
        training={"accumulate": 4},
    ),
    "qwen3_06b_six_layers_kl": Shape(
        lambda: tf.Qwen3Config(
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=6,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151936,
            tie_word_embeddings=True,
        ),
        torch.bfloat16,
        objective="kl",
        rows=4,
    ),
    "phi15_two_layers_full_weights": Shape(
        lambda: tf.PhiConfig(
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=2,
            num_attention_heads=32,
            vocab_size=51200,
        ),
        rows=4,
        adapter=False,
    ),
    "qwen3_moe": Shape(
        lambda: tf.Qwen3MoeConfig(
            hidden_size=512,
            intermediate_size=1024,
            moe_intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=64,
            num_experts=16,
            num_experts_per_tok=4,
            vocab_size=32000,
        ),
    ),
}


def recipe_of(shape: Shape) -> Recipe:
    """Return the run's recipe; its model and data are given otherwise."""
    settings = {"steps": 2, "batch_size": shape.rows, "weights_every": 1000, **shape.training}
    raw = {
        "kind": "unlearn",
        "name": "plan",
        "model": {"path": "built here"},
        "data": {"benchmark": "people"},
        "adapter": {} if shape.adapter else None,
        "objective": {"name": shape.objective},
        "training": settings,
    }
    return recipes.resolve(raw, where="bench/plan.py")


def task_of(shape: Shape) -> Task:
    """Return rows of random tokens, the second half of each an answer."""
    asked = shape.tokens // 2
    forget, retain = (
        random_rows(
            2 * shape.rows,
            shape.tokens,
            asked=asked,
            vocabulary=shape.config().vocab_size,
            seed=side,
        )
        for side in range(2)
    )
    rows = loop.Rows(forget, retain, pad_id=0)
    choice = recipes.Choice(name=shape.objective)
    return Task(objective_of(choice), rows, rows.forget, asked)


def train(shape: Shape) -> None:
    """Build the shape's model and train it."""
    recipe, task = recipe_of(shape), task_of(shape)
    torch.manual_seed(0)
    model = adapt(Outline(shape.config(), shape.dtype, None).build(), recipe.adapter, seed=0)
    loop.run(model, task.objective, task.rows, recipe.training)


def measured(name: str, how: str) -> dict[str, int]:
    """Train in a process of its own; return its peaks in bytes."""
    command = [sys.executable, __file__, "--measure", how, "--only", name]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, int] = json.loads(out.splitlines()[-1])
    return found


def measure(shape: Shape, how: str) -> dict[str, int]:
    """Return the peak of tensors, or of the process and what it was before."""
    torch.set_num_threads(1)
    if how == "tensors":
        return {"tensors": peak_of(lambda: train(shape))}
    before = processes.resident_bytes()
    train(shape)
    return {"before": before, "resident": processes.resident_bytes()}


def ratios_of(name: str) -> dict[str, float]:
    """Compare one shape."""
    shape = SHAPES[name]
    outline = Outline(shape.config(), shape.dtype, None)
    predicted = forecast(outline, task_of(shape), recipe_of(shape)).step
    tensors, process = measured(name, "tensors"), measured(name, "process")
    print(f"{name}: plan {predicted / 1e6:.0f} MB, tensors {tensors['tensors'] / 1e6:.0f} MB")
    return {
        f"plan_vs_measured_{name}": predicted / tensors["tensors"],
        f"resident_vs_plan_{name}": process["resident"] / (predicted + process["before"]),
    }


def main() -> None:
    """Compare every shape, print it, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--only", choices=SHAPES, help="one shape")
    parser.add_argument("--measure", choices=("tensors", "process"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(SHAPES[arguments.only], arguments.measure)))
        return
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    for name in [arguments.only] if arguments.only else SHAPES:
        ratios |= show(ratios_of(name))
    write(ratios, arguments.json)


if __name__ == "__main__":
    main()
