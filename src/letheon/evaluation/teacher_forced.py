"""One teacher-forced pass over answers: what every score but generation follows from."""

from __future__ import annotations

__all__ = ["TokenScores", "by_length", "score_answers", "statistics"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from letheon.data.batch import collate
from letheon.data.template import Encoded
from letheon.models import answer_logits

# Log-probabilities over the vocabulary that are worked on at once. Of an accelerator: 128 MiB in
# fp32. Of a CPU: what stays in its cache over the passes of ``statistics``.
_ELEMENTS = 2**25
_ELEMENTS_CPU = 2**18


@dataclass(frozen=True)
class TokenScores:
    """Per answer token, [n]: log-probability (nats), whether the argmax is the token, mean and
    standard deviation of log-probability over the vocabulary under the model's distribution, and
    whether the token belongs to a fact.
    """

    logp: np.ndarray
    match: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    fact: np.ndarray


def score_answers(
    model: Any,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] = lambda n: None,
) -> list[TokenScores]:
    """Return the token scores of every row, in order, from one forward pass each.

    Rows are batched by length up to ``batch_tokens`` padded tokens. ``progress`` is told how many
    rows each batch finished.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[TokenScores | None] = [None] * len(rows)
    try:
        with torch.no_grad():
            for chosen in by_length([len(r.ids) for r in rows], batch_tokens):
                batch = collate([rows[i] for i in chosen], pad_id=pad_id).to(device)
                logits, _ = answer_logits(model, batch)
                table = [t.cpu().numpy() for t in statistics(logits, batch.targets)]
                facts = batch.facts.cpu().numpy()
                cuts = np.cumsum(batch.lengths)[:-1]
                parts = [np.split(column, cuts) for column in (*table, facts)]
                for k, i in enumerate(chosen):
                    found[i] = TokenScores(*(part[k] for part in parts))
                progress(len(chosen))
    finally:
        model.train(was_training)
    return [scores for scores in found if scores is not None]


def by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group row numbers of similar length so that rows times longest is at most ``batch_tokens``.

    A row longer than that is a batch of its own.
    """
    chosen: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # Sorted downwards: the first row of a batch is its longest.
        if chosen and (len(chosen) + 1) * lengths[chosen[0]] > batch_tokens:
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen


def statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Return what ``TokenScores`` has of each token but its fact, from logits [N, V], in chunks."""
    pieces: list[list[Tensor]] = [[], [], [], []]
    elements = _ELEMENTS_CPU if logits.device.type == "cpu" else _ELEMENTS
    tokens = max(1, elements // logits.shape[-1])
    chunks = zip(torch.split(logits, tokens), torch.split(targets, tokens), strict=True)
    for part, target in chunks:
        logp = torch.log_softmax(part.float(), dim=-1)
        p = logp.exp()
        mean = (p * logp).sum(-1)
        # Centred first: the difference of two squares loses half of float32's digits.
        variance = (p * (logp - mean[:, None]).square()).sum(-1)
        token = logp.gather(1, target[:, None])[:, 0]
        for store, value in zip(
            pieces,
            (token, part.argmax(-1) == target, mean, variance.sqrt()),
            strict=True,
        ):
            store.append(value)
    return tuple(torch.cat(p) for p in pieces)
