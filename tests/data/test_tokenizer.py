from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from letheon.data.tokenizer import END, PAD, gpt2_from_files, train_bpe
from letheon.errors import ModelError

TEXTS = ["low lower lowest", "new newer newest", "wide wider widest"] * 4


def test_any_text_survives(bpe: object) -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=280)
    text = "Zürich, 東京 and \n tabs\t too"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens_and_size() -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=270)
    assert len(tokenizer) == 270
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (END, 0)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == (PAD, 1)
    assert tokenizer.bos_token is None
    assert tokenizer("low")["input_ids"] == tokenizer.encode("low")


def test_the_commonest_pair_is_merged_first() -> None:
    # "w" + "e" stands 4 x 4 times (lower, lowest, newer, newest): more than any other pair.
    assert "we" in train_bpe(TEXTS, vocab_size=259).get_vocab()


def test_another_process_gets_the_same_vocabulary() -> None:
    code = (
        "import json; from letheon.data.tokenizer import train_bpe;"
        f"print(json.dumps(train_bpe({TEXTS!r}, vocab_size=290).get_vocab()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == train_bpe(TEXTS, vocab_size=290).get_vocab()


def test_a_size_below_the_bytes_is_an_error() -> None:
    with pytest.raises(ModelError, match="256 bytes"):
        train_bpe(TEXTS, vocab_size=100)


def test_gpt2_reads_its_two_files(tmp_path: Path) -> None:
    vocab = {"l": 0, "o": 1, "w": 2, "lo": 3, "low": 4, "<|endoftext|>": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(ModelError, match=r"merges\.txt"):
        gpt2_from_files(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nl o\nlo w\n")
    tokenizer = gpt2_from_files(tmp_path)
    assert tokenizer("lowlo")["input_ids"] == [4, 3]
    assert tokenizer.eos_token_id == 5
    assert tokenizer.pad_token_id is None
