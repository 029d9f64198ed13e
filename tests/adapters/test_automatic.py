"""Omega and s that a matrix's own weights choose: what they come to, and that they stay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_families import logits, make, stir
from peft import PeftModel, get_peft_model, inject_adapter_in_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from letheon.adapters import BoundedLoraConfig, BoundedLoraLinear, blocks, bounds
from letheon.adapters.layer import BoundedLoraLayer, full_name
from letheon.errors import ModelError, RecipeError
from letheon.parts import adapt
from letheon.recipe import Adapter, resolve

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(autouse=True)
def small_tiles() -> Any:
    """Read weights in several ragged tiles even at this size."""
    with blocks.as_on(blocks.Blocks(columns=8, entries=100, tile=210, multiple=8)):
        yield


def auto(**settings: Any) -> BoundedLoraConfig:
    return BoundedLoraConfig(**{"r": 4, "omega": "auto", "scale": "auto", "seed": 3, **settings})


def layers(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, BoundedLoraLayer)]


def changes(model: nn.Module) -> dict[str, tuple[float, float]]:
    return {
        full_name(layer.name, matrix): (change.omega, change.scale)
        for layer in layers(model)
        for matrix, change in zip(layer.matrices, layer.changes["default"], strict=True)
    }


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
@pytest.mark.parametrize("bound", [b for b in bounds.names() if bounds.get(b).bounded])
def test_s_is_the_weights_deviation_and_the_start_is_that_of_plain_lora(
    family: str, bound: str
) -> None:
    model = get_peft_model(make(family), auto(bound=bound, lora_alpha=12))
    slope = float(bounds.get(bound).derivative(torch.zeros(())))
    assert layers(model)
    for layer in layers(model):
        for index, change in enumerate(layer.changes["default"]):
            std = layer.weight(index).double().std(correction=0).item()
            assert change.scale == pytest.approx(std, rel=1e-5)
            assert change.scale * change.omega * slope == pytest.approx(12 / 4, rel=1e-5)


def test_one_of_the_two_can_be_automatic() -> None:
    model = get_peft_model(make("llama"), auto(scale="fan_in", lora_alpha=8))
    for layer in layers(model):
        expected = (layer.in_features**0.5, 2 / layer.in_features**0.5)
        assert changes(model)[layer.name] == pytest.approx(expected, rel=1e-5)
    model = get_peft_model(make("llama"), auto(omega=7.0))
    assert {omega for omega, _ in changes(model).values()} == {7.0}


def test_a_step_moves_the_weights_as_plain_lora_does() -> None:
    """One learning rate for both: AdamW's first step, from the same A."""
    moved: list[Tensor] = []
    for config in (auto(), BoundedLoraConfig(r=4, bound="identity", seed=3)):
        model = get_peft_model(make("llama"), config)
        adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        model(input_ids=torch.arange(3, 20)[None], labels=torch.arange(3, 20)[None]).loss.backward()
        adam.step()
        found = [m.get_delta_weight("default") for m in layers(model)]
        moved.append(torch.cat([delta.flatten() for delta in found]))
    assert moved[1].abs().max() > 1e-4
    torch.testing.assert_close(moved[0], moved[1], rtol=2e-3, atol=1e-8)


def test_without_a_bound_it_is_plain_lora() -> None:
    config = auto(bound="identity", lora_alpha=6)
    assert (config.omega, config.scale, config.automatic) == (1, 1, False)


def test_saved_numbers_are_used_whatever_has_become_of_the_weights(tmp_path: Path) -> None:
    model = get_peft_model(make("llama"), auto())
    stir(model, size=0.5)
    before, said = changes(model), logits(model.eval(), "llama")
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make("llama"), tmp_path).eval()
    assert changes(loaded) == before
    assert logits(loaded, "llama").equal(said)
    merged, copy = make("llama"), make("llama")
    for each in (merged, copy):
        each.load_state_dict(model.merge_and_unload().state_dict())
    torch.testing.assert_close(logits(merged, "llama"), said, rtol=0, atol=1e-5)
    assert changes(get_peft_model(make("llama"), auto())) == before
    again = PeftModel.from_pretrained(merged, tmp_path)
    assert changes(again) == before
    assert changes(get_peft_model(copy, auto())) != before


def test_transformers_own_way_saves_them_too(tmp_path: Path) -> None:
    model = make("llama")
    model.add_adapter(auto())
    model.save_pretrained(tmp_path)
    other = make("llama")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2)
    other.load_adapter(str(tmp_path))
    assert changes(other) == changes(model)


def test_a_config_can_be_given_to_several_models() -> None:
    config = auto()
    one, two = make("llama"), make("llama")
    with torch.no_grad():
        for parameter in two.parameters():
            parameter.mul_(2)
    one, two = (inject_adapter_in_model(config, model) for model in (one, two))
    assert config.numbers == {}
    for name, (omega, s) in changes(one).items():
        assert changes(two)[name] == pytest.approx((omega / 2, s * 2), rel=1e-4)


def test_a_second_adapter_reads_the_untouched_weights() -> None:
    model = get_peft_model(make("llama"), auto())
    stir(model, size=0.5)
    model.add_adapter("second", auto())
    for layer in layers(model):
        assert layer.changes["second"] == layer.changes["default"]
    model.merge_adapter(["default"])
    with pytest.raises(ModelError, match=r"go by untouched weights.*with a merged adapter"):
        model.add_adapter("third", auto())


def test_attention_stays_plain() -> None:
    model = get_peft_model(make("gpt2"), auto(attention=True))
    plain = {layer.name: layer.changes["default"][0] for layer in layers(model)}
    bounded = [name for name, change in plain.items() if change.bound.bounded]
    assert bounded == list(model.peft_config["default"].numbers)
    assert {plain[name].scale for name in plain.keys() - set(bounded)} == {2}


def test_all_linear_targets_have_numbers() -> None:
    model = get_peft_model(make("llama"), auto(target_modules="all-linear"))
    assert {"q_proj", "up_proj"} < {name.rpartition(".")[2] for name in changes(model)}


def test_other_layers_numbers_are_refused() -> None:
    config = get_peft_model(make("llama"), auto()).peft_config["default"]
    config.target_modules = ["q_proj"]
    with pytest.raises(ModelError, match=r"none for model\.layers\.0\.self_attn\.q_proj"):
        get_peft_model(make("llama"), config)


def test_a_matrix_of_one_number_has_no_deviation() -> None:
    model = make("llama")
    torch.nn.init.zeros_(model.model.layers[1].mlp.up_proj.weight)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj, whose entries are all the"):
        get_peft_model(model, auto())
    get_peft_model(make("llama"), auto(scale="fan_in"))


def test_without_weights_there_are_no_numbers() -> None:
    with torch.device("meta"):
        model = get_peft_model(make("llama"), auto())
    assert all(math.isnan(s) for _, s in changes(model).values())
    with FakeTensorMode():
        model = get_peft_model(make("llama"), auto(seed=None))
        assert all(math.isnan(s) for _, s in changes(model).values())


def test_a_quantised_weight_is_read_as_the_numbers_it_stands_for() -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(96, 10, quant_type="nf4")
    layer.weight.data = torch.randn(10, 96)
    layer = layer.to("cpu")
    whole = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    model = inject_adapter_in_model(auto(target_modules=["0"]), nn.Sequential(layer))
    assert isinstance(model[0], BoundedLoraLinear)
    assert model[0].changes["default"][0].scale == pytest.approx(whole.std(correction=0).item())


def test_a_recipe_can_ask_for_it() -> None:
    adapter = Adapter.model_validate({"r": 4, "omega": "auto", "scale": "auto"})
    model = adapt(make("llama"), adapter, seed=3)
    assert changes(model) == changes(get_peft_model(make("llama"), auto()))
    raw = {"kind": "unlearn", "name": "x", "adapter": {"scale": "automatic"}}
    with pytest.raises(RecipeError, match=r"adapter\.scale.*automatic"):
        resolve(
            raw
            | {
                "model": {"path": "x"},
                "data": {"benchmark": "people"},
                "objective": {"name": "npo"},
                "training": {"steps": 1},
            },
            where="here",
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"omega": "atuo"}, "omega is a positive number or 'auto'"),
        ({"scale": "atuo"}, "'fan_in' or 'auto'.*Did you mean auto"),
    ],
)
def test_wrong_words(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BoundedLoraConfig(**settings)
