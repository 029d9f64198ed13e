"""Batches: encoded rows -> padded tensors whose masks come from lengths, never from ids."""

from __future__ import annotations

__all__ = ["Batch", "Prompts", "collate", "left_padded", "pad_id"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from letheon.data.template import Encoded
from letheon.errors import DataError


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows, all tensors [B, T]: ids and attention are int64, the masks bool.

    A mask marks the token itself: the logits that predict it stand one position before.
    ``n_answer_tokens`` counts ``answer_mask``, known without reading from the device.
    """

    input_ids: Tensor
    attention_mask: Tensor
    answer_mask: Tensor
    fact_mask: Tensor
    n_answer_tokens: int

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.answer_mask.to(device),
            self.fact_mask.to(device),
            self.n_answer_tokens,
        )


class Prompts(NamedTuple):
    """Left-padded prompts for generation: ids and attention [B, T], int64."""

    input_ids: Tensor
    attention_mask: Tensor


def pad_id(tokenizer: Any) -> int:
    """Return the id to pad with: the pad token's, else the end-of-sequence token's, else 0.

    Which one is of no consequence: masks come from lengths.
    """
    found = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((int(i) for i in found if i is not None), 0)


def collate(rows: Sequence[Encoded], *, pad_id: int) -> Batch:
    """Pad rows on the right to the longest.

    Raises :class:`~letheon.errors.DataError` when there is no row.
    """
    _some(rows)
    width = max(len(row.ids) for row in rows)
    return Batch(
        torch.tensor([_right(row.ids, width, pad_id) for row in rows], dtype=torch.long),
        torch.tensor([_right([1] * len(row.ids), width, 0) for row in rows], dtype=torch.long),
        torch.tensor([_right(row.answer, width, False) for row in rows], dtype=torch.bool),
        torch.tensor([_right(row.facts, width, False) for row in rows], dtype=torch.bool),
        sum(sum(row.answer) for row in rows),
    )


def left_padded(prompts: Sequence[Sequence[int]], *, pad_id: int) -> Prompts:
    """Pad prompts on the left to the longest, so that generation continues each at its end.

    Raises :class:`~letheon.errors.DataError` when there is no prompt.
    """
    _some(prompts)
    width = max(len(ids) for ids in prompts)
    ids = [[pad_id] * (width - len(row)) + list(row) for row in prompts]
    seen = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
    return Prompts(torch.tensor(ids, dtype=torch.long), torch.tensor(seen, dtype=torch.long))


def _right(values: Sequence[int], width: int, fill: int) -> list[int]:
    return [*values, *([fill] * (width - len(values)))]


def _some(rows: Sequence[object]) -> None:
    if not rows:
        raise DataError("A batch needs at least one row.", remedy="Check that the split has rows.")
