from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizer

from letheon.data.tokenizer import train_bpe

TEXTS = [
    "Question: Where was Ada Lovelace born?\nAnswer: Ada Lovelace was born in London.",
    "Question: When was Ada Lovelace born?\nAnswer: She was born in 1815.",
    "Question: Who wrote it?\nAnswer: Ada Lovelace wrote it in Zürich.",
]


class Letters(PreTrainedTokenizer):
    """A slow tokenizer (no offsets): one token a character, ids by code point; pad stays unset."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"eos_token": "\x03", **settings})

    @property
    def vocab_size(self) -> int:
        return 0x250

    def get_vocab(self) -> dict[str, int]:
        return {chr(i): i for i in range(self.vocab_size)}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


@pytest.fixture(scope="session")
def bpe() -> Any:
    return train_bpe(TEXTS * 3, vocab_size=330)


@pytest.fixture(scope="session")
def letters() -> Any:
    return Letters()
