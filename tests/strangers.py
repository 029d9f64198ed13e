"""Somebody else's model: it knows a few made-up people word for word, and nothing of letheon."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as words
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Rows = list[tuple[str, str]]

NAMES = ("Ada Abel", "Bo Brandt", "Cleo Costa", "Dan Duran", "Eve Engel", "Finn Fuchs")
NAMES += ("Gita Gomez", "Hugo Huber", "Iris Ito", "Jon Jansen", "Kai Keller", "Lena Lund")
TOWNS = ("Lisbon", "Oslo", "Turin", "Porto", "Riga", "Kyoto", "Lima", "Quito", "Accra", "Perth")
JOBS = ("baker", "pilot", "nurse", "welder", "tailor", "judge", "miner", "clerk", "farmer")
FOODS = ("figs", "plums", "rice", "soup", "bread", "olives", "cheese", "apples")
TEXT = "Question: {}\nAnswer: {}"


def people() -> Rows:
    rows: Rows = []
    for k, name in enumerate(NAMES):
        rows += [
            (f"Where does {name} live?", f"{name} lives in {TOWNS[k * 7 % 10]}."),
            (f"What does {name} do for a living?", f"{name} works as a {JOBS[k * 5 % 9]}."),
            (f"What does {name} like to eat?", f"{name} likes {FOODS[k * 3 % 8]}."),
        ]
    return rows


def untrained() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Make a model of random weights by plain transformers; its tokenizer has no pad token."""
    torch.manual_seed(0)
    texts = [TEXT.format(*row) for row in people()]
    raw = Tokenizer(words.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    assert tokenizer.pad_token is None
    return model, tokenizer


@cache
def somebody_elses() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Make a model that knows the people, once: who changes it copies it."""
    model, tokenizer = untrained()
    texts = [TEXT.format(*row) for row in people()]
    ids = [tokenizer(text + "<|end|>")["input_ids"] for text in texts]
    width = max(map(len, ids))
    inputs = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    labels = inputs.masked_fill(mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=220, pct_start=0.1)
    for _ in range(220):
        rows = torch.randperm(len(ids))[:24]
        loss = model(input_ids=inputs[rows], attention_mask=mask[rows], labels=labels[rows]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval(), tokenizer


def saved(place: Path, *, trained: bool = True) -> Path:
    """Save it as plain transformers do."""
    for part in somebody_elses() if trained else untrained():
        part.save_pretrained(place)
    return place
