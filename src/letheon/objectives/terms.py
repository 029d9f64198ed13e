"""Terms that several objectives share: negative log-likelihood and the two ways to retain."""

from __future__ import annotations

__all__ = [
    "RetainBy",
    "answer_lengths",
    "kl_term",
    "nll_term",
    "places",
    "retain_needs",
    "retain_term",
]

from typing import Literal

import torch
from torch import Tensor

from letheon.objectives.contract import ReferenceKind, Term, Unit, Views
from letheon.objectives.view import AnswerView

RetainBy = Literal["nll", "kl"]


def nll_term(view: AnswerView, *, unit: Unit, weight: float) -> Term:
    """Mean negative log-likelihood per answer token, nats."""
    return Term(-view.logp().sum(), len(view.rows), unit, weight)


def kl_term(view: AnswerView, reference: AnswerView, *, unit: Unit, weight: float) -> Term:
    """Mean KL(reference || model) per answer token, nats.

    Over answer tokens only: prompts and padding have no part in it.
    """
    return Term(view.reduce(_kl, reference).sum(), len(view.rows), unit, weight)


def retain_term(model: Views, reference: Views, *, by: RetainBy, weight: float) -> Term:
    """What keeps the rest: likelihood of retained answers, or closeness to the untouched model."""
    assert model.retain is not None
    if by == "nll":
        return nll_term(model.retain, unit="retain_token", weight=weight)
    assert reference.retain is not None
    return kl_term(model.retain, reference.retain, unit="retain_token", weight=weight)


def retain_needs(by: RetainBy) -> ReferenceKind:
    """What ``retain_term`` needs of the reference."""
    return "distribution" if by == "kl" else "none"


def answer_lengths(view: AnswerView) -> Tensor:
    """Return how many tokens each answer has, [B] int64."""
    rows = view.rows
    zeros = torch.zeros(view.n_examples, dtype=rows.dtype, device=rows.device)
    return zeros.index_add(0, rows, torch.ones_like(rows))


def places(view: AnswerView) -> Tensor:
    """Return each token's place in its answer, counted from 0, [N] int64."""
    lengths = answer_lengths(view)
    first = lengths.cumsum(0) - lengths
    return torch.arange(len(view.rows), device=first.device) - first[view.rows]


def _kl(logits: Tensor, _: Tensor, reference: Tensor | None) -> Tensor:
    assert reference is not None
    logp = torch.log_softmax(logits, dim=-1)
    ref = torch.log_softmax(reference, dim=-1)
    return (ref.exp() * (ref - logp)).sum(-1)
