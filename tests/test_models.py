"""Models: logits at answers only, loading what is whole, making what an architecture allows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from letheon import models
from letheon.data.batch import collate
from letheon.errors import ModelError
from letheon.recipe import Make, ModelSource
from tiny import VOCAB, tiny_rows

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": VOCAB,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES)),
    "llama-tied": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "gpt2": lambda: tf.GPT2LMHeadModel(
        tf.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=VOCAB, n_positions=64)
    ),
    "gpt_neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SIZES)),
    "phi": lambda: tf.PhiForCausalLM(tf.PhiConfig(**SIZES)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(
        tf.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_answer_logits_are_the_full_logits_at_those_positions(family: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    encoded = tiny_rows(5, seed=3)
    batch = collate(encoded, pad_id=1)
    with torch.no_grad():
        found, _ = models.answer_logits(model, batch)
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    rows = [
        full[b, t - 1]
        for b, row in enumerate(encoded)
        for t in range(len(row.ids))
        if row.answer[t]
    ]
    torch.testing.assert_close(found, torch.stack(rows), atol=1e-5, rtol=1e-5)
    again = model(input_ids=batch.input_ids).logits
    assert again.shape[:2] == batch.input_ids.shape, "the head is free again"


def test_answer_logits_carry_gradients_and_free_the_head_after_an_error() -> None:
    model = FAMILIES["llama"]()
    batch = collate(tiny_rows(2, seed=3), pad_id=1)
    logits, _ = models.answer_logits(model, batch)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    outside = replace(batch, input_ids=batch.input_ids + VOCAB)
    with pytest.raises(IndexError):
        models.answer_logits(model, outside)
    assert model(input_ids=batch.input_ids).logits.shape[1] == batch.input_ids.shape[1]


# --- loading


def test_a_loaded_model_is_the_saved_one(target: Path, tmp_path: Path) -> None:
    loaded = models.load(ModelSource(path=str(target)))
    models.save(loaded.model, loaded.tokenizer, tmp_path / "copy")
    again = models.load(ModelSource(path=str(tmp_path / "copy")))
    assert again.checksum == loaded.checksum == models.checksum(target) != ""
    for (name, mine), (_, other) in zip(
        again.model.named_parameters(), loaded.model.named_parameters(), strict=True
    ):
        assert torch.equal(mine, other), name


def test_tied_weights_are_not_missing_ones(tmp_path: Path, target: Path) -> None:
    tokenizer = models.load(ModelSource(path=str(target))).tokenizer
    config = tf.LlamaConfig(**SIZES | {"vocab_size": 300}, tie_word_embeddings=True)
    models.save(tf.LlamaForCausalLM(config), tokenizer, tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied/model.safetensors")
    models.load(ModelSource(path=str(tmp_path / "tied")))


def config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def halve(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def shrink_vocabulary(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:200].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config(folder, vocab_size=200)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"garbage!" * 9), "header"),
        (halve, "not fully covered"),
        (lambda f: (f / "model.safetensors").unlink(), "no file named model.safetensors"),
        (drop_weight, r"1 weights are not in it, the first model\.norm\.weight"),
        (lambda f: config(f, hidden_size=48), "other shapes than its config.json"),
        (lambda f: config(f, num_hidden_layers=2), "9 weights are not in it"),
        (lambda f: config(f, model_type="nope"), "model type `nope`"),
        (lambda f: (f / "config.json").write_text("{"), "not a valid JSON"),
        (lambda f: (f / "config.json").unlink(), "model_type"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer does not load"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer does not load"),
        (lambda f: (f / "tokenizer.json").write_text('{"added_tokens": []}'), "tokenizer does not"),
        (shrink_vocabulary, "300 tokens, 200 embeddings"),
    ],
)
def test_a_spoilt_folder_is_refused_in_one_line(
    target: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(target, tmp_path / "model"))
    spoil(folder)
    with pytest.raises(ModelError, match=words) as caught:
        models.load(ModelSource(path=str(folder)))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "LOAD REPORT" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["/nope/model", "../nope", "nobody-knows/this-model", "a/b/c d"])
def test_an_unknown_model_is_refused(path: str) -> None:
    with pytest.raises(ModelError, match="A model is a folder with"):
        models.load(ModelSource(path=path))


# --- making


def test_a_made_model_depends_on_its_seed_alone() -> None:
    spec = Make(vocab_size=280, config={"hidden_size": 16, "num_attention_heads": 2})
    spec.config["num_hidden_layers"] = 1
    spec.config["num_key_value_heads"] = 2
    first, again, other = (models.make(spec, ["one two"] * 3, seed=s) for s in (1, 1, 2))
    weights = [made.model.model.layers[0].mlp.up_proj.weight for made in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.checksum == again.checksum != other.checksum
    assert first.model.config.eos_token_id == first.tokenizer.eos_token_id


def test_a_field_may_be_called_by_its_other_name() -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    small |= {"num_hidden_layers": 1, "moe_intermediate_size": 8, "num_experts": 3}
    made = models.make(
        Make(architecture="qwen3_moe", vocab_size=280, config=small), ["a b"], seed=1
    )
    assert made.model.model.layers[0].mlp.experts.down_proj.shape == (3, 16, 8)


def test_a_given_tokenizer_is_part_of_the_checksum(target: Path) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    trained = models.make(Make(vocab_size=280, config=small), ["a b"], seed=1)
    given = models.make(Make(tokenizer=str(target), config=small), [], seed=1)
    assert given.model.config.vocab_size == len(given.tokenizer) == 300
    assert given.checksum != trained.checksum


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ({"architecture": "lama"}, r"Got: lama. Did you mean llama\?"),
        ({"architecture": "vit"}, "cannot make a causal language model of this vit"),
        ({"config": {"hiden_size": 3}}, r"Got: hiden_size. Did you mean hidden_size\?"),
        ({"config": {"hidden_size": "abc"}}, "expected int, got str"),
        ({"config": {"hidden_size": 32, "num_attention_heads": 3}}, "not a multiple"),
        ({"config": {"num_attention_heads": 0}}, "zero"),
        ({"config": {"hidden_size": -32}}, "negative dimension"),
        ({"tokenizer": "/nope"}, "/nope, whose tokenizer does not load"),
    ],
)
def test_what_no_architecture_allows_is_refused(make: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        models.make(Make(**{"vocab_size": 280, **make}), ["a b"], seed=0)
    assert "\n" not in str(caught.value)
