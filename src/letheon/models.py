"""Models and tokenizers: loaded from a folder or the hub, or made on the spot."""

from __future__ import annotations

__all__ = ["Loaded", "answer_logits", "checksum", "load", "make", "save"]

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from letheon.data.batch import Batch
from letheon.data.tokenizer import train_bpe
from letheon.errors import ModelError, nearest
from letheon.recipe import Make, ModelSource

# Letheon shows progress of its own.
transformers.utils.logging.disable_progress_bar()

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Loaded:
    """A causal language model with its tokenizer and the checksum of its weights."""

    model: Any
    tokenizer: Any
    checksum: str


def load(source: ModelSource) -> Loaded:
    """Load ``source.path``, a folder or a hub name.

    Raises ModelError when there is no such model or it is not a causal language model.
    """
    path = str(source.path)
    options = {"revision": source.revision} if source.revision else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=source.dtype, **options)
    except (OSError, ValueError) as error:
        raise ModelError(
            "A model is a folder with config.json, weights and tokenizer, or a hub name.",
            got=f"{path} ({str(error).splitlines()[0]})",
            remedy="Check the path; without a network only local folders and cached models load.",
        ) from None
    commit = getattr(model.config, "_commit_hash", None)
    return Loaded(model, tokenizer, checksum(Path(path)) or f"{path}@{commit}")


def make(spec: Make, texts: Iterable[str], *, seed: int) -> Loaded:
    """Make a model with random weights; a byte-pair tokenizer is trained on ``texts``.

    Raises ModelError for an unknown architecture or configuration field.
    """
    tokenizer: Any
    if spec.tokenizer is not None:
        tokenizer = AutoTokenizer.from_pretrained(spec.tokenizer)
    else:
        tokenizer = train_bpe(texts, vocab_size=spec.vocab_size)
    config = _config(spec, tokenizer)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    return Loaded(model, tokenizer, f"made:{seed}")


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write an ordinary checkpoint with its tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def answer_logits(model: Any, batch: Batch, **options: Any) -> tuple[Tensor, Any]:
    """Run ``model`` over ``batch``; return the logits that predict its N answer tokens, [N, V].

    The head is given only those positions, one before each answer token, so logits of prompts and
    padding never exist. The second value is the model's whole output; ``options`` go to the model.
    """
    before = batch.answer_mask[:, 1:]

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][:, :-1][before], *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        out = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
            **options,
        )
    finally:
        handle.remove()
    return out.logits, out


def checksum(folder: Path) -> str:
    """Return the sha256 over a folder's weight files, or an empty string where there are none."""
    files = sorted(p for pattern in _WEIGHTS for p in folder.glob(pattern))
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            sha.update(hashlib.file_digest(stream, "sha256").digest())
    return sha.hexdigest() if files else ""


def _config(spec: Make, tokenizer: Any) -> Any:
    try:
        config = AutoConfig.for_model(spec.architecture)
    except ValueError:
        raise ModelError(
            "A model is made from an architecture that transformers knows.",
            got=spec.architecture,
            remedy=nearest(spec.architecture, ("gpt2", "gpt_neox", "llama", "phi", "qwen3")),
        ) from None
    known = set(config.to_dict())
    for key in spec.config:
        if key not in known:
            raise ModelError(
                f"model.make.config holds fields of the {spec.architecture} configuration.",
                got=key,
                remedy=nearest(key, known),
            )
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return AutoConfig.for_model(spec.architecture, **{**spec.config, **special})
