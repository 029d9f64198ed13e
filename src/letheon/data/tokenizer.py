"""Small tokenizers: byte-level BPE trained on the spot, or GPT-2's two files."""

from __future__ import annotations

__all__ = ["END", "PAD", "gpt2_from_files", "train_bpe"]

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from letheon.errors import ModelError

END = "<|end|>"
PAD = "<|pad|>"

_BYTES = 256


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE: end token ``END`` (id 0), pad token ``PAD`` (id 1), no begin token.

    Every byte is in the vocabulary, so any text can be spelled. The same texts give the same
    vocabulary; ``vocab_size`` is an upper limit where the texts are too few to fill it.

    Raises :class:`~letheon.errors.ModelError` for a size that does not hold the bytes.
    """
    smallest = _BYTES + 2
    if vocab_size < smallest:
        raise ModelError(
            f"A byte-level vocabulary holds {_BYTES} bytes and two special tokens.",
            got=f"vocab_size {vocab_size}",
            remedy=f"Ask for at least {smallest}.",
        )
    tokenizer = _byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def gpt2_from_files(folder: str | Path) -> PreTrainedTokenizerFast:
    """Read GPT-2's tokenizer from ``vocab.json`` and ``merges.txt``; it has no pad token.

    Raises :class:`~letheon.errors.ModelError` when a file is missing.
    """
    vocab, merges = (Path(folder) / name for name in ("vocab.json", "merges.txt"))
    for file in (vocab, merges):
        if not file.is_file():
            raise ModelError(
                "GPT-2's tokenizer is vocab.json and merges.txt in one folder.",
                got=f"no {file}",
                remedy="Name the folder that holds both files.",
            )
    tokenizer = _byte_level(BPE.from_file(str(vocab), str(merges)))
    text = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=text, eos_token=text)


def _byte_level(model: BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer
