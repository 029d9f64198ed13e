"""Batches: encoded rows -> padded tensors whose masks come from lengths, never from ids.

Shapes: B rows, T tokens of the longest, N answer tokens of all rows together (row-major).
"""

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
    """Right-padded rows and where their answers are.

    ``input_ids`` and ``attention_mask`` [B, T] int64. Of the answer tokens: the position ``before``
    each among B * T (where the logits that predict it stand), the tokens themselves as
    ``targets``, their ``rows``, all [N] int64, and whether they belong to ``facts``, [N] bool.
    ``lengths``: how many each row has. What has a shape of N is made here, where numbers are at
    hand: on an accelerator to look for a mask's entries would wait for all work before it.
    """

    input_ids: Tensor
    attention_mask: Tensor
    before: Tensor
    targets: Tensor
    rows: Tensor
    facts: Tensor
    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on ``device``."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.before.to(device),
            self.targets.to(device),
            self.rows.to(device),
            self.facts.to(device),
            self.lengths,
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

    A row's first token is never an answer's: nothing predicts it.

    Raises :class:`~letheon.errors.DataError` when there is no row.
    """
    _some(rows)
    width = max(len(row.ids) for row in rows)
    places = [[t for t in range(1, len(row.ids)) if row.answer[t]] for row in rows]
    every = [(b, t) for b, found in enumerate(places) for t in found]
    return Batch(
        torch.tensor([_right(row.ids, width, pad_id) for row in rows], dtype=torch.long),
        torch.tensor([_right([1] * len(row.ids), width, 0) for row in rows], dtype=torch.long),
        torch.tensor([b * width + t - 1 for b, t in every], dtype=torch.long),
        torch.tensor([rows[b].ids[t] for b, t in every], dtype=torch.long),
        torch.tensor([b for b, _ in every], dtype=torch.long),
        torch.tensor([rows[b].facts[t] for b, t in every], dtype=torch.bool),
        tuple(map(len, places)),
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
