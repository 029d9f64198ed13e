"""Answer views: what a model says about the answers of a batch.

Shapes: B examples, N answer tokens of all examples together (row-major), V vocabulary, H hidden.
An objective sees nothing but views, so whether logits are held, chunked or cached is not its
business. For classification an answer is one token over the classes.
"""

from __future__ import annotations

__all__ = ["AnswerView", "CachedAnswers", "HeldLogits", "Layer", "Reduction"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import Tensor

# A layer by its number, from 1 (0 is the embeddings), or by its share of the depth: 0.5 is the
# middle.
Layer = int | float
# (logits_nV, targets_n, other_nV or None) -> one value per token, [n]
Reduction = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class AnswerView(Protocol):
    """What a model says about the answers of B examples."""

    @property
    def rows(self) -> Tensor:
        """The example each answer token belongs to, [N] int64."""
        ...

    @property
    def n_examples(self) -> int:
        """B."""
        ...

    def logp(self) -> Tensor:
        """Log-probability of each answer token, nats, [N] fp32."""
        ...

    def sequence_logp(self) -> Tensor:
        """Summed log-probability of each answer, nats, [B] fp32."""
        ...

    def reduce(self, fn: Reduction, other: AnswerView | None = None) -> Tensor:
        """Apply ``fn`` over the vocabulary in chunks of tokens; [N].

        ``other`` is a second view of the same answers (the reference), chunked alike.
        """
        ...

    def hidden(self, layer: Layer) -> Tensor:
        """Hidden states of one layer at the answer tokens' positions, [N, H]."""
        ...


@dataclass(frozen=True)
class HeldLogits:
    """A view that holds the logits of its answer tokens.

    ``logits`` [N, V] any float type, ``targets`` [N] int64, ``rows`` [N] int64, ``lengths`` the
    answer tokens of each example; ``states`` maps a layer to [N, H] where an objective asked for
    hidden states.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    lengths: tuple[int, ...]
    states: dict[Layer, Tensor] | None = None
    chunk: int = 1024

    @property
    def n_examples(self) -> int:
        """B."""
        return len(self.lengths)

    def logp(self) -> Tensor:
        """Log-probability of each answer token, [N]."""
        return self.reduce(_token_logp)

    def sequence_logp(self) -> Tensor:
        """Summed log-probability of each answer, [B]."""
        return _sum_rows(self.logp(), self.rows, self.n_examples)

    def reduce(self, fn: Reduction, other: AnswerView | None = None) -> Tensor:
        """Apply ``fn`` in chunks of tokens, with fp32 logits; [N]."""
        if other is not None and not isinstance(other, HeldLogits):
            raise TypeError("a reduction over two views needs two views with logits")
        pieces = []
        for start in range(0, max(len(self.targets), 1), self.chunk):
            part = slice(start, start + self.chunk)
            second = None if other is None else other.logits[part].float()
            pieces.append(fn(self.logits[part].float(), self.targets[part], second))
        return torch.cat(pieces)

    def hidden(self, layer: Layer) -> Tensor:
        """Hidden states of ``layer`` at the answer tokens' positions, [N, H]."""
        if self.states is None or layer not in self.states:
            raise KeyError(f"hidden states of layer {layer} were not asked for in Needs.hidden")
        return self.states[layer]

    def split(self, *sizes: int) -> list[HeldLogits]:
        """Part the view into its first ``sizes[0]`` examples, the next ``sizes[1]``, the rest."""
        cuts = [*accumulate(sizes, initial=0), len(self.lengths)]
        return [self._part(a, b) for a, b in pairwise(cuts)]

    def _part(self, first: int, last: int) -> HeldLogits:
        examples = slice(first, last)
        tokens = slice(sum(self.lengths[:first]), sum(self.lengths[:last]))
        states = self.states and {k: v[tokens] for k, v in self.states.items()}
        return HeldLogits(
            self.logits[tokens],
            self.targets[tokens],
            self.rows[tokens] - first,
            self.lengths[examples],
            states,
            self.chunk,
        )


@dataclass(frozen=True)
class CachedAnswers:
    """Scalars of the reference, computed once per example: log-probabilities and nothing else."""

    token_logp: Sequence[Tensor]

    @property
    def rows(self) -> Tensor:
        """The example each answer token belongs to, [N]."""
        lengths = torch.tensor([len(t) for t in self.token_logp])
        return torch.arange(len(lengths)).repeat_interleave(lengths).to(self.token_logp[0].device)

    @property
    def n_examples(self) -> int:
        """B."""
        return len(self.token_logp)

    def logp(self) -> Tensor:
        """Log-probability of each answer token, [N]."""
        return torch.cat(list(self.token_logp))

    def sequence_logp(self) -> Tensor:
        """Summed log-probability of each answer, [B]."""
        return torch.stack([t.sum() for t in self.token_logp])

    def reduce(self, fn: Reduction, other: AnswerView | None = None) -> Tensor:
        """Not available: only scalars are cached."""
        raise TypeError("this reference is cached scalars; declare 'distribution' in Needs")

    def hidden(self, layer: Layer) -> Tensor:
        """Not available: only scalars are cached."""
        raise TypeError("this reference is cached scalars; declare 'distribution' in Needs")


def _token_logp(logits: Tensor, targets: Tensor, _: Tensor | None) -> Tensor:
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def _sum_rows(values: Tensor, rows: Tensor, n: int) -> Tensor:
    return torch.zeros(n, dtype=values.dtype, device=values.device).index_add(0, rows, values)
