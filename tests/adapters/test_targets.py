"""The MLP and the attention of each family are found, and nothing else."""

import re

import pytest
import torch
import transformers as tf
from adapter_families import FAMILIES, SIZES, make, table
from peft import get_peft_model
from torch import nn

from letheon.adapters import BoundedLoraConfig, attention_targets, mlp_targets
from letheon.adapters.targets import adaptable_layers, shortest_names
from letheon.errors import ModelError

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.mark.parametrize("family", table())
def test_the_mlp_of_every_layer_is_found(family):
    targets = mlp_targets(make(family))
    assert {name.rsplit(".", 1)[1] for name in targets} == set(FAMILIES[family].mlp.split())
    assert {n for name in targets for n in re.findall(r"\.(\d)\.", name)} == {"0", "1"}
    if not family.endswith("_moe"):
        assert len(targets) == 2 * len(FAMILIES[family].mlp.split())


@pytest.mark.parametrize("family", table())
def test_mlp_attention_routers_and_heads_are_all_layers(family):
    model = make(family)
    mlp, attention = mlp_targets(model), attention_targets(model)
    assert not set(mlp) & set(attention)
    rest = set(adaptable_layers(model)) - set(mlp) - set(attention)
    heads = {"classifier", "lm_head", "embed_out"}
    assert {name for name in rest if not name.endswith("shared_expert_gate")} <= heads


def test_the_experts_of_a_mixture_are_one_target_and_its_gates_are_none():
    targets = mlp_targets(make("qwen2_moe"))
    assert targets == [
        *(f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")),
        "model.layers.1.mlp.experts",
        *(f"model.layers.1.mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")),
    ]
    stacks = adaptable_layers(make("qwen2_moe"))["model.layers.1.mlp.experts"]
    assert [(m.weight, m.experts, m.shape) for m in stacks] == [
        ("gate_up_proj", 4, (48, 32)),
        ("down_proj", 4, (32, 24)),
    ]


def test_families_whose_names_do_not_say_it():
    assert mlp_targets(make("opt")) == [
        f"model.decoder.layers.{i}.{part}" for i in (0, 1) for part in ("fc1", "fc2")
    ]
    config = tf.BertConfig(**SIZES, vocab_size=61, intermediate_size=48)
    assert mlp_targets(tf.BertForSequenceClassification(config)) == [
        f"bert.encoder.layer.{i}.{part}.dense"
        for i in (0, 1)
        for part in ("intermediate", "output")
    ]


def test_gpt2s_attention_projection_is_not_its_mlps():
    model = make("gpt2")
    assert shortest_names(model, mlp_targets(model)) == ["c_fc", "mlp.c_proj"]


def test_adapted_layers_are_still_found():
    model = make("llama")
    before = mlp_targets(model), adaptable_layers(model)
    adapted = get_peft_model(model, BoundedLoraConfig(r=2))
    assert mlp_targets(adapted) == before[0]
    assert adaptable_layers(model) == before[1]


def test_conv1d_shapes_are_out_by_in():
    (matrix,) = adaptable_layers(make("gpt2"))["transformer.h.0.mlp.c_fc"]
    assert matrix.shape == (128, 32)


@pytest.mark.parametrize("find", [mlp_targets, attention_targets])
def test_an_unknown_architecture_is_told_its_linear_layers(find):
    model = nn.ModuleDict({"stack": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])})
    model["head"] = nn.Linear(4, 2)
    with pytest.raises(ModelError, match=r"stack\.\d|stack") as error:
        find(model)
    assert "head" in str(error.value)
    assert ("target_modules" if find is mlp_targets else "attention_modules") in str(error.value)


def test_the_head_can_be_named_instead():
    model = nn.ModuleDict({"one": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    adapted = get_peft_model(model, BoundedLoraConfig(r=2, target_modules=["head"]))
    assert [n for n, _ in adapted.named_parameters() if "lora_A" in n] == [
        "base_model.model.head.bounded_lora_A.default"
    ]
    assert torch.is_tensor(adapted.base_model.model["head"](torch.ones(1, 4)))
