"""The MLP and the attention of each family are found, and nothing else."""

import pytest
import torch
import transformers as tf
from adapter_families import MAKERS, MLP_NAMES, SIZES, make
from peft import get_peft_model
from torch import nn

from letheon.adapters import BoundedLoraConfig, attention_targets, mlp_targets
from letheon.adapters.targets import linear_shapes, shortest_names
from letheon.errors import ModelError

# PEFT 0.21 still reads the attribute that transformers 5.23 has renamed
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

OTHERS = {
    "opt": lambda: tf.OPTForCausalLM(
        tf.OPTConfig(**SIZES, vocab_size=61, ffn_dim=48, word_embed_proj_dim=32)
    ),
    "bert": lambda: tf.BertForSequenceClassification(
        tf.BertConfig(**SIZES, vocab_size=61, intermediate_size=48)
    ),
}


@pytest.mark.parametrize("family", list(MAKERS))
def test_the_mlp_of_every_layer_is_found(family):
    targets = mlp_targets(make(family))
    assert {name.rsplit(".", 1)[1] for name in targets} == MLP_NAMES[family]
    assert len(targets) == 2 * len(MLP_NAMES[family])
    assert all(".mlp." in name for name in targets)


@pytest.mark.parametrize("family", list(MAKERS))
def test_mlp_attention_and_heads_are_all_linear_layers(family):
    model = make(family)
    mlp, attention = mlp_targets(model), attention_targets(model)
    assert not set(mlp) & set(attention)
    rest = set(linear_shapes(model)) - set(mlp) - set(attention)
    assert rest == ({"classifier"} if family == "vit" else {"lm_head", "embed_out"} & rest)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("opt", "model.decoder.layers.{}.{}"),
        ("bert", "bert.encoder.layer.{}.{}.dense"),
    ],
)
def test_families_whose_names_do_not_say_it(family, expected):
    model = OTHERS[family]()
    parts = ("fc1", "fc2") if family == "opt" else ("intermediate", "output")
    assert mlp_targets(model) == [expected.format(i, part) for i in (0, 1) for part in parts]


def test_gpt2s_attention_projection_is_not_its_mlps():
    model = make("gpt2")
    assert shortest_names(model, mlp_targets(model)) == ["c_fc", "mlp.c_proj"]


def test_adapted_layers_are_still_found():
    model = make("llama")
    before = mlp_targets(model), linear_shapes(model)
    adapted = get_peft_model(model, BoundedLoraConfig(r=2))
    assert mlp_targets(adapted) == before[0]
    assert linear_shapes(model) == before[1]


def test_conv1d_shapes_are_out_by_in():
    assert linear_shapes(make("gpt2"))["transformer.h.0.mlp.c_fc"] == (128, 32)


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
