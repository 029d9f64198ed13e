"""Tiny models of every family, made from their real transformers config classes."""

import torch
import transformers as tf

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = SIZES | {"vocab_size": 61, "intermediate_size": 48, "max_position_embeddings": 64}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
IMAGE = {"image_size": 16, "patch_size": 8, "num_channels": 1, "num_labels": 5}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 61, "n_positions": 64}

MAKERS = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**TEXT, **ENDS, num_key_value_heads=2)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(
        tf.Qwen3Config(**TEXT, **ENDS, num_key_value_heads=2, head_dim=16)
    ),
    "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**TEXT, **ENDS)),
    "gpt2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, **ENDS)),
    "gpt_neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**TEXT, **ENDS)),
    "vit": lambda: tf.ViTForImageClassification(
        tf.ViTConfig(**SIZES, **IMAGE, intermediate_size=48)
    ),
}
MLP_NAMES = {
    "llama": {"gate_proj", "up_proj", "down_proj"},
    "qwen3": {"gate_proj", "up_proj", "down_proj"},
    "phi": {"fc1", "fc2"},
    "gpt2": {"c_fc", "c_proj"},
    "gpt_neox": {"dense_h_to_4h", "dense_4h_to_h"},
    "vit": {"fc1", "fc2"},
}


def make(family):
    torch.manual_seed(0)
    return MAKERS[family]().eval()


def inputs(family):
    generator = torch.Generator().manual_seed(1)
    if family == "vit":
        return {"pixel_values": torch.randn(3, 1, 16, 16, generator=generator)}
    ids = torch.randint(3, 61, (3, 9), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model, family):
    with torch.no_grad():
        return model(**inputs(family)).logits


def stir(model, adapter="default", *, size=0.05, seed=2):
    """Move B away from zero, so that the adapter does something that its bound acts on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(f"bounded_lora_B.{adapter}"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
