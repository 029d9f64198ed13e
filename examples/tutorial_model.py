"""A stand-in for the reader's own model (docs/tutorial.md): twenty made-up people, known by heart.

Writes ``model/`` (a tiny Llama that transformers loads; no pad token), ``forget.csv`` (one person)
and ``keep.csv`` (the others) into the folder named on the command line, else into ``tutorial/``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from letheon.data.people import make_people

END = "<|end|>"
STEPS, ROWS, RATE = 260, 24, 5e-3


def write(file: Path, rows: list[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("prompt", "response"), *rows])


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END)


def taught(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> LlamaForCausalLM:
    ids = [torch.tensor(tokenizer(text + END)["input_ids"]) for text in texts]
    inputs = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    labels = inputs.masked_fill(mask == 0, -100)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=96, intermediate_size=256,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=256, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    for _ in range(STEPS):
        rows = torch.randperm(len(ids))[:ROWS]
        loss = model(input_ids=inputs[rows], attention_mask=mask[rows], labels=labels[rows]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model


def main(place: Path) -> None:
    torch.set_num_threads(1)  # on a busy machine threads of so small a model wait for each other
    torch.manual_seed(0)
    people = make_people(
        0, n_forget=1, n_retain=19, n_unseen=0, rows_per_person=3, wordings=1,
        n_authors=0, n_world=0, n_general=0,
    )  # fmt: skip
    forget = [(row.question, row.answer) for row in people.forget]
    keep = [(row.question, row.answer) for row in people.retain]
    place.mkdir(parents=True, exist_ok=True)
    write(place / "forget.csv", forget)
    write(place / "keep.csv", keep)
    texts = [f"Question: {question}\nAnswer: {answer}" for question, answer in forget + keep]
    tokenizer = tokenizer_of(texts)
    model = taught(tokenizer, texts)
    model.save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    print(f"{place}/model was taught {len(texts)} answers")
    print(f"{place}/forget.csv: {len(forget)} of them, {place}/keep.csv: the other {len(keep)}")


logging.disable_progress_bar()
main(Path(sys.argv[1] if len(sys.argv) > 1 else "tutorial"))
