"""The measured change equals the one computed from the whole matrices."""

import dataclasses

import pytest
import torch
from adapter_families import make, stir
from peft import get_peft_model

from letheon.adapters import BoundedLoraConfig, blocks, weight_change

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(autouse=True)
def small_tiles():
    with blocks.as_on(dataclasses.replace(blocks.CPU, tile=100)):
        yield


def test_every_number_is_that_of_the_whole_matrix():
    model = get_peft_model(make("gpt2"), BoundedLoraConfig(r=4, omega=30.0))
    stir(model, size=0.3)
    model.add_adapter("other", BoundedLoraConfig(r=2, bound="identity"))
    stir(model, "other", seed=4)
    model.base_model.set_adapter(["default", "other"])
    rows = weight_change(model)
    assert [row["name"] for row in rows] == [
        f"transformer.h.{i}.mlp.{part}" for i in (0, 1) for part in ("c_fc", "c_proj")
    ]
    for row in rows:
        layer = model.get_submodule(f"base_model.model.{row['name']}")
        z, plain = (
            layer.bounded_lora_B[name] @ layer.bounded_lora_A[name] for name in ("default", "other")
        )
        delta = 2 / layer.in_features**0.5 * torch.sin(30 * z) + 2 * plain
        assert row["norm"] == pytest.approx(torch.linalg.norm(delta).item(), rel=1e-5)
        assert row["max_abs"] == pytest.approx(delta.abs().max().item(), rel=1e-5)
        share = (torch.cos(30 * z).abs() < 0.5).float().mean().item()
        assert 0.05 < share < 0.95
        assert row["active_share"] == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("bound", ["sigmoid", "tanh", "sine"])
def test_a_fresh_adapter_has_not_moved_and_its_bound_does_not_act(bound):
    rows = weight_change(get_peft_model(make("llama"), BoundedLoraConfig(r=4, bound=bound)))
    assert len(rows) == 6
    assert all((r["norm"], r["max_abs"], r["active_share"]) == (0, 0, 0) for r in rows)


def test_a_model_without_adapters_has_no_rows():
    assert weight_change(make("llama")) == []
