"""A bf16 checkpoint is unlearned with fp32 factors and fp32 optimizer state, and merged to bf16."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from letheon.adapters import BoundedLoraConfig
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.npo import NPO
from letheon.recipe import Training
from letheon.training import loop
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(8, seed=1), tiny_rows(9, seed=2), pad_id=0)
IDS = torch.tensor([[5, 9, 23, 4, 17]])
pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint in bf16."""
    tiny_llama(seed=0).bfloat16().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(base: Path, **settings: Any) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    return peft.get_peft_model(model, BoundedLoraConfig(r=4, seed=0, **settings))


def run(model: Any, objective: Any, checkpoint: Path | None = None, **settings: Any) -> list[Any]:
    events: list[dict[str, Any]] = []
    training = Training(**{"steps": 20, "batch_size": 4, "lr": 3e-3, **settings})
    loop.run(model, objective, ROWS, training, watch=events.append, checkpoint=checkpoint)
    return [event["terms"] for event in events if event["event"] == "step"]


def test_it_trains_saves_and_merges(base: Path, tmp_path: Path) -> None:
    model = adapted(base)
    terms = run(model, GradientDifference(), tmp_path / "last.pt")
    assert terms[-1]["forget"] > terms[0]["forget"] + 0.1
    types = {name: p.dtype for name, p in model.named_parameters()}
    assert {t for name, t in types.items() if "bounded_lora" in name} == {torch.float32}
    assert {t for name, t in types.items() if "bounded_lora" not in name} == {torch.bfloat16}
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    moments = [v for state in saved["optimizer"]["state"].values() for v in state.values()]
    assert {value.dtype for value in moments} == {torch.float32}

    model.save_pretrained(tmp_path / "adapter")
    files = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert {value.dtype for value in files.values()} == {torch.float32}
    model.eval()
    with torch.no_grad():
        logits = model(IDS).logits
        fresh = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
        before = fresh(IDS).logits
        again = peft.PeftModel.from_pretrained(fresh, str(tmp_path / "adapter")).eval()
        torch.testing.assert_close(again(IDS).logits, logits)
        model.merge_and_unload().save_pretrained(tmp_path / "merged")
        assert {v.dtype for v in load_file(tmp_path / "merged/model.safetensors").values()} == {
            torch.bfloat16
        }
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
        torch.testing.assert_close(merged(IDS).logits, logits)
    assert (logits - before).abs().max() > 10 * torch.finfo(torch.bfloat16).eps * before.abs().max()


def test_accumulation_changes_its_terms_by_no_more_than_rounding(base: Path) -> None:
    runs = {n: run(adapted(base), NPO(), steps=8, accumulate=n) for n in (1, 4)}
    for mine, other in zip(runs[4], runs[1], strict=True):
        assert mine == pytest.approx(other, rel=2 * torch.finfo(torch.bfloat16).eps)


@pytest.mark.parametrize("settings", [{"scale": 1e-4}, {"lora_alpha": 0.01}])
def test_a_change_that_merging_would_round_away_is_warned_of_once(
    settings: dict[str, float], base: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        adapted(base, **settings)
    (warning,) = caught
    assert "below 0.001 drowns in the rounding of torch.bfloat16" in str(warning.message)


@pytest.mark.parametrize("settings", [{}, {"bound": "identity", "scale": 1e-4}, {"scale": 1e-3}])
def test_other_settings_are_not_warned_of(settings: dict[str, Any], base: Path) -> None:
    adapted(base, **settings)


def test_fp32_weights_take_any_scale() -> None:
    peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, scale=1e-6))
