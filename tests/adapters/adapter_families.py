"""Tiny models of every family, made from their real transformers config classes."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import transformers as tf

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT = SIZES | ENDS | {"vocab_size": 61, "intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = TEXT | {"num_key_value_heads": 1, "head_dim": 16}
IMAGE = SIZES | {"image_size": 16, "patch_size": 8, "num_channels": 1, "num_labels": 5}
GPT2 = ENDS | {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 61, "n_positions": 64}
NEO = ENDS | {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "attention_types": [[["global", "local"], 1]],
    "vocab_size": 61,
    "max_position_embeddings": 64,
}
OPT = SIZES | ENDS | {"vocab_size": 61, "ffn_dim": 48, "word_embed_proj_dim": 32}
EXPERTS = {"num_experts_per_tok": 2}
QWEN_MOE = GROUPED | EXPERTS | {"num_experts": 4, "moe_intermediate_size": 24}
SHARED = {
    "num_key_value_heads": 1,
    "shared_expert_intermediate_size": 40,
    "num_experts": 4,
    "moe_intermediate_size": 24,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


class Family(NamedTuple):
    """How a tiny model is made, the last names of its MLPs' layers, and whether it is a mixture."""

    make: Callable[[], Any]
    mlp: str
    fast: bool = False
    image: bool = False
    mixture: bool = False


GATED = "gate_proj up_proj down_proj"
FAMILIES = {
    "llama": Family(lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**TEXT)), GATED),
    "llama_tied": Family(
        lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**TEXT, tie_word_embeddings=True)), GATED
    ),
    "llama_biased": Family(
        lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**TEXT, mlp_bias=True, attention_bias=True)),
        GATED,
    ),
    "mistral": Family(lambda: tf.MistralForCausalLM(tf.MistralConfig(**GROUPED)), GATED),
    "qwen2": Family(
        lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**TEXT, num_key_value_heads=1)), GATED
    ),
    "qwen3": Family(lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**GROUPED)), GATED),
    "olmo2": Family(lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**TEXT)), GATED),
    "gemma3": Family(lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**GROUPED)), GATED),
    "phi": Family(lambda: tf.PhiForCausalLM(tf.PhiConfig(**TEXT)), "fc1 fc2"),
    "phi3": Family(lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**TEXT)), "gate_up_proj down_proj"),
    "gpt2": Family(lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2)), "c_fc c_proj", fast=True),
    "gpt_neo": Family(lambda: tf.GPTNeoForCausalLM(tf.GPTNeoConfig(**NEO)), "c_fc c_proj"),
    "gpt_neox": Family(
        lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**TEXT)), "dense_h_to_4h dense_4h_to_h"
    ),
    "opt": Family(lambda: tf.OPTForCausalLM(tf.OPTConfig(**OPT)), "fc1 fc2"),
    "qwen3_moe": Family(
        lambda: tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**QWEN_MOE)),
        "experts",
        fast=True,
        mixture=True,
    ),
    # a dense layer and a shared expert beside the routed ones
    "qwen2_moe": Family(
        lambda: tf.Qwen2MoeForCausalLM(
            tf.Qwen2MoeConfig(**TEXT, **EXPERTS, **SHARED, mlp_only_layers=[0])
        ),
        f"experts {GATED}",
        mixture=True,
    ),
    "mixtral": Family(
        lambda: tf.MixtralForCausalLM(
            tf.MixtralConfig(**GROUPED, **EXPERTS, num_local_experts=4, sliding_window=None)
        ),
        "experts",
        mixture=True,
    ),
    # stored as [in, out], with biases, gate and up interleaved
    "gpt_oss": Family(
        lambda: tf.GptOssForCausalLM(
            tf.GptOssConfig(**GROUPED, **EXPERTS, num_local_experts=4, rope_parameters=ROPE)
        ),
        "experts",
        mixture=True,
    ),
    "vit": Family(
        lambda: tf.ViTForImageClassification(tf.ViTConfig(**IMAGE, intermediate_size=48)),
        "fc1 fc2",
        fast=True,
        image=True,
    ),
    "deit": Family(
        lambda: tf.DeiTForImageClassification(tf.DeiTConfig(**IMAGE, intermediate_size=48)),
        "fc1 fc2",
        image=True,
    ),
    "dinov2": Family(
        lambda: tf.Dinov2ForImageClassification(tf.Dinov2Config(**IMAGE, mlp_ratio=2)),
        "fc1 fc2",
        image=True,
    ),
}


def table(*, image=None):
    """Return the families as test parameters: a few always run, the others with --slow."""
    return [
        pytest.param(name, marks=() if family.fast else pytest.mark.slow)
        for name, family in FAMILIES.items()
        if image is None or family.image == image
    ]


def make(family):
    torch.manual_seed(0)
    return FAMILIES[family].make().eval()


def inputs(family):
    generator = torch.Generator().manual_seed(1)
    if FAMILIES[family].image:
        return {"pixel_values": torch.randn(3, 1, 16, 16, generator=generator)}
    ids = torch.randint(3, 61, (3, 9), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model, family):
    values = inputs(family)
    if FAMILIES[family].image:
        values = {name: value.to(model.dtype) for name, value in values.items()}
    with torch.no_grad():
        return model(**values).logits


def stir(model, adapter="default", *, size=0.05, seed=2):
    """Move B away from zero, so that the adapter does something that its bound acts on."""
    generator = torch.Generator().manual_seed(seed)
    name_of_b = re.compile(rf"bounded_lora_(\w+_)?B\.{adapter}$")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name_of_b.search(name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
