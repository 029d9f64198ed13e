"""One teacher-forced pass over answers: what every score but generation follows from."""

from __future__ import annotations

__all__ = ["TokenScores", "by_length", "score_answers", "statistics"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from letheon.data.batch import Batch, collate
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
                table = [t.cpu().numpy() for t in _of_batch(model, batch)]
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


def statistics(
    logits: Tensor, targets: Tensor, *, on_cpu: bool | None = None
) -> tuple[Tensor, ...]:
    """Return what ``TokenScores`` has of each token but its fact, from logits [N, V], in chunks.

    ``on_cpu``: whether in chunks for a CPU's cache; default by where the logits are.
    """
    small = logits.device.type == "cpu" if on_cpu is None else on_cpu
    tokens = max(1, (_ELEMENTS_CPU if small else _ELEMENTS) // logits.shape[-1])
    chunks = zip(torch.split(logits, tokens), torch.split(targets, tokens), strict=True)
    pieces = [_of_chunk(*chunk) for chunk in chunks]
    return tuple(torch.cat(column) for column in zip(*pieces, strict=True))


def _of_batch(model: Any, batch: Batch) -> tuple[Tensor, ...]:
    # A function of its own: its logits are gone before the next batch's forward pass.
    logits, _ = answer_logits(model, batch)
    return statistics(logits, batch.targets)


def _of_chunk(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    logp = torch.log_softmax(logits.float(), dim=-1)
    p = logp.exp()
    mean = (p * logp).sum(-1)
    # Centred first: the difference of two squares loses half of float32's digits.
    variance = (p * (logp - mean[:, None]).square()).sum(-1)
    token = logp.gather(1, targets[:, None])[:, 0]
    return token, logits.argmax(-1) == targets, mean, variance.sqrt()
