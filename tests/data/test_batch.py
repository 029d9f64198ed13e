from __future__ import annotations

from typing import Any

import pytest
import torch

from letheon.data.batch import collate, left_padded, pad_id
from letheon.data.template import Encoded, Template
from letheon.errors import DataError

T, F = True, False
ROWS = [
    Encoded([5, 6, 7, 9], [F, F, T, T], [F, F, T, F]),
    Encoded([5, 9], [F, T], [F, F]),
]


def test_rows_are_padded_on_the_right() -> None:
    batch = collate(ROWS, pad_id=9)
    assert batch.input_ids.tolist() == [[5, 6, 7, 9], [5, 9, 9, 9]]
    assert len(batch) == 2


def test_answer_tokens_are_found_with_the_position_before_each() -> None:
    batch = collate(ROWS, pad_id=9)
    assert batch.before.tolist() == [1, 2, 4], "in two rows of four tokens"
    assert batch.targets.tolist() == [7, 9, 9]
    assert batch.rows.tolist() == [0, 0, 1]
    assert batch.facts.tolist() == [T, F, F]
    assert batch.lengths == (2, 1)


def test_a_first_token_is_no_answer() -> None:
    row = Encoded([5, 6], [T, T], [T, T])
    batch = collate([row, Encoded([5], [T], [F])], pad_id=0)
    assert batch.targets.tolist() == [6]
    assert batch.lengths == (1, 0)


def test_a_real_end_token_equal_to_the_pad_token_is_attended() -> None:
    # Trap 1: a mask made by ids != pad_id would drop the end tokens.
    assert collate(ROWS, pad_id=9).attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_the_pad_id_is_of_no_consequence_to_the_masks() -> None:
    one, other = collate(ROWS, pad_id=0), collate(ROWS, pad_id=9)
    assert torch.equal(one.attention_mask, other.attention_mask)
    assert torch.equal(one.before, other.before)


def test_moving_keeps_everything() -> None:
    batch = collate(ROWS, pad_id=0)
    moved = batch.to("cpu")
    assert torch.equal(moved.input_ids, batch.input_ids)
    for name in ("input_ids", "attention_mask", "before", "targets", "rows", "facts"):
        assert torch.equal(getattr(moved, name), getattr(batch, name)), name
    assert moved.lengths == (2, 1)
    assert batch.input_ids.dtype is torch.int64
    assert batch.facts.dtype is torch.bool


def test_prompts_are_padded_on_the_left() -> None:
    ids, seen = left_padded([[1, 2, 3], [4]], pad_id=0)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert seen.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_nothing_is_no_batch() -> None:
    with pytest.raises(DataError, match="at least one row"):
        collate([], pad_id=0)
    with pytest.raises(DataError, match="at least one row"):
        left_padded([], pad_id=0)


def test_a_tokenizer_without_pad_token_works(letters: Any) -> None:
    assert letters.pad_token_id is None
    assert pad_id(letters) == letters.eos_token_id
    rows = [Template().encode(letters, "q", "a"), Template().encode(letters, "q", "ab")]
    assert collate(rows, pad_id=pad_id(letters)).attention_mask.sum() == sum(
        len(row.ids) for row in rows
    )
