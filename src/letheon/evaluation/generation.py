"""Batched generation, greedy or sampled, on merged weights."""

from __future__ import annotations

__all__ = ["generate", "merged"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule
from transformers import GenerationConfig

from letheon.data.batch import left_padded
from letheon.evaluation.teacher_forced import by_length


@contextmanager
def merged(model: Any) -> Iterator[Any]:
    """Fold an adapter into the weights for the block, so that every token costs a plain model's.

    Yields the base model, whose weights are put back afterwards; a model without an adapter passes
    through, and so does one of which this process holds a shard only.
    """
    if not isinstance(model, PeftModel) or isinstance(model, FSDPModule):
        yield model
        return
    model.merge_adapter()
    try:
        yield model.get_base_model()
    finally:
        model.unmerge_adapter()


@contextmanager
def _plainly(model: Any) -> Iterator[None]:
    """Take away the generation settings that came with the checkpoint, for the block.

    transformers fills in whatever a call leaves open from them: a repetition penalty or beams of
    the publisher's would make a greedy generation something else.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    eos_id: int | None,
    max_new_tokens: int = 64,
    batch_tokens: int = 8192,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
) -> list[list[int]]:
    """Return the continuation of each prompt as token ids, end-of-sequence left out.

    Prompts are left-padded and batched by length. At ``temperature`` 0 it is the greedy one, which
    does not depend on the batching; above it is sampled, and the same for the same ``seed``,
    prompts and ``batch_tokens``. The global random state stays as it was.
    """
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        **(sampled or {"do_sample": False}),
        pad_token_id=pad_id,
        eos_token_id=eos_id,
    )
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[list[int]] = [[] for _ in prompts]
    try:
        with torch.no_grad(), merged(model) as whole, _plainly(whole), torch.random.fork_rng():
            torch.manual_seed(seed)
            lengths = [len(p) + max_new_tokens for p in prompts]
            for chosen in by_length(lengths, batch_tokens):
                batch = left_padded([prompts[i] for i in chosen], pad_id=pad_id)
                out = whole.generate(
                    input_ids=batch.input_ids.to(device),
                    attention_mask=batch.attention_mask.to(device),
                    generation_config=settings,
                )
                for i, row in zip(chosen, out[:, batch.input_ids.shape[1] :].tolist(), strict=True):
                    found[i] = row[: row.index(eos_id)] if eos_id in row else row
                progress(len(chosen))
    finally:
        model.train(was_training)
    return found
