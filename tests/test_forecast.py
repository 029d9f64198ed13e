"""The forecast against what torch's allocator hands out in the run that was forecast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers as tf
from _measure import peak_of

from letheon import recipe as recipes
from letheon.data.template import Encoded
from letheon.errors import InputError
from letheon.evaluation.generation import generate
from letheon.evaluation.teacher_forced import score_answers
from letheon.forecast import Memory, Task, forecast
from letheon.models import Outline
from letheon.parts import adapt, objective_of
from letheon.recipe import Recipe
from letheon.training import loop

# torch tells every second profile of a process that it did not see what was there before.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 2000}
CONFIGS = {
    "llama": tf.LlamaConfig(**SIZES, intermediate_size=160, num_key_value_heads=2),
    "mixture": tf.Qwen3MoeConfig(
        **SIZES,
        intermediate_size=160,
        moe_intermediate_size=96,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
    ),
    "gpt2": tf.GPT2Config(
        n_embd=64, n_layer=3, n_head=4, vocab_size=2000, bos_token_id=0, eos_token_id=0
    ),
}


@dataclass(frozen=True)
class Case:
    """One run: of ``family`` with ``objective``; ``changes`` are put into the recipe."""

    family: str = "llama"
    objective: str = "gradient_difference"
    dtype: torch.dtype = torch.float32
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        raw = {
            "kind": "unlearn",
            "name": "case",
            "model": {"path": "nowhere"},
            "data": {"benchmark": "people"},
            "adapter": {"r": 4},
            "objective": {"name": self.objective},
            "training": {"steps": 3, "batch_size": 6, "weights_every": 99},
            "evaluation": {"batch_tokens": 1200, "max_new_tokens": 20},
        }
        return recipes.override(recipes.resolve(raw, where="test"), self._settings())

    def _settings(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.changes.items()]

    @property
    def task(self) -> Task:
        generator = torch.Generator().manual_seed(0)

        def row(length: int) -> Encoded:
            ids = torch.randint(0, 2000, (length,), generator=generator).tolist()
            return Encoded(ids, [t >= 12 for t in range(length)], [False] * length)

        sides = ([row(30 + k) for k in range(18)] for _ in range(2))
        rows = loop.Rows(*sides, pad_id=0)
        evaluated = [*rows.forget, *rows.retain] * 2
        return Task(objective_of(self.recipe.objective), rows, evaluated, 12)

    def model(self) -> Any:
        torch.manual_seed(0)
        outline = Outline(CONFIGS[self.family], self.dtype, None)
        return adapt(outline.build(), self.recipe.adapter, seed=0)

    def forecast(self, **options: Any) -> Memory:
        return forecast(
            Outline(CONFIGS[self.family], self.dtype, None), self.task, self.recipe, **options
        )


CASES = {
    "adapter": Case(),
    "a reference's scalars": Case(objective="npo"),
    "a reference's distribution": Case(objective="kl"),
    "full weights": Case(changes={"adapter": "null"}),
    "full weights, a second model": Case(objective="kl", changes={"adapter": "null"}),
    "accumulated": Case(changes={"training.accumulate": 3}),
    "Conv1D": Case("gpt2"),
    "experts": Case("mixture"),
    "experts with a reference": Case("mixture", objective="npo"),
    "bf16 weights": Case(dtype=torch.bfloat16),
    "recomputed": Case(changes={"training.gradient_checkpointing": "true"}),
    "recomputed, with a reference": Case(
        objective="kl", changes={"training.gradient_checkpointing": "true"}
    ),
    "offloaded": Case(dtype=torch.bfloat16, changes={"training.offload_optimizer": "true"}),
    "plain LoRA": Case(changes={"adapter.bound": "identity"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_training_step_takes_what_was_forecast(case: Case) -> None:
    recipe, task = case.recipe, case.task

    def train() -> None:
        loop.run(case.model(), task.objective, task.rows, recipe.training)

    # Under the ledger a recomputed block's values live a little longer: a third of this model's.
    rel = 0.15 if recipe.training.gradient_checkpointing else 0.1
    assert case.forecast().step == pytest.approx(peak_of(train), rel=rel)


def test_autocast_is_covered() -> None:
    case = Case(changes={"training.mixed_precision": "bf16"})
    found, plain = case.forecast(), Case().forecast()
    assert found.activations < 0.8 * plain.activations
    assert found.adapter == plain.adapter, "factors stay in fp32"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_evaluation_takes_what_was_forecast(family: str) -> None:
    case = Case(family)
    recipe, task, found = case.recipe, case.task, case.forecast()
    resting = found.optimizer
    batch = recipe.evaluation.batch_tokens

    def answers() -> None:
        score_answers(case.model(), task.evaluated, pad_id=0, batch_tokens=batch)

    def generations() -> None:
        prompts = [row.ids[:12] for row in task.evaluated]
        limits = {"max_new_tokens": 20, "batch_tokens": batch}
        generate(case.model(), prompts, pad_id=0, eos_id=None, **limits)

    assert found.answers - resting == pytest.approx(peak_of(answers), rel=0.15)
    assert found.generations - resting == pytest.approx(peak_of(generations), rel=0.15)


def test_the_parts_are_what_they_are_called() -> None:
    case = Case()
    found, model = case.forecast(), case.model()
    trained = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() * 4 for p in model.parameters()) - trained
    assert found.adapter == trained
    assert found.optimizer == 2 * trained
    assert found.weights == pytest.approx(whole, rel=0.01), "and rotary frequencies"
    assert found.largest == (12, 47)
    assert found.peak == max(found.step, found.answers, found.generations)


def test_what_is_switched_on_to_save_memory_saves_it() -> None:
    plain = Case().forecast()
    pieces = Case(changes={"training.accumulate": 3}).forecast()
    assert pieces.activations < 0.5 * plain.activations
    recomputed = Case(changes={"training.gradient_checkpointing": "true"}).forecast()
    assert recomputed.activations < 0.5 * plain.activations
    offloaded = Case(changes={"training.offload_optimizer": "true"})
    assert offloaded.forecast(on="accelerator").optimizer == 0
    assert offloaded.forecast().optimizer == plain.optimizer
    small = Case(changes={"evaluation.batch_tokens": 200}).forecast()
    assert small.answers < plain.answers
    full = Case(changes={"adapter": "null", "training.parallel": "fsdp2"})
    assert full.forecast(processes=4).optimizer == full.forecast().optimizer // 4


def test_quantised_weights_are_counted_as_they_are_packed() -> None:
    model = Case().model()
    linear = [
        layer.weight.numel()
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and "lm_head" not in name
    ]
    plain = Case().forecast()
    four = Case(changes={"model.quantise": "4bit"}).forecast()
    assert plain.weights - four.weights == sum(4 * n - n * 9 // 16 for n in linear)
    eight = Case(changes={"model.quantise": "8bit"}).forecast()
    assert four.weights < eight.weights < plain.weights


def test_rows_that_do_not_suit_are_refused_as_the_run_refuses_them() -> None:
    with pytest.raises(InputError, match="must reach every process"):
        Case(changes={"training.accumulate": 3}).forecast(processes=4)
