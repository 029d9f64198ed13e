"""CE-U: cross-entropy towards what is left without the answer (Yang 2025, arXiv 2503.01224).

``L_forget = mean over answer tokens of CE(q, p)``, ``q`` the model's own distribution, detached,
with the answer's logit at minus infinity, plus ``retain_weight * L_retain``. In the logits ``z``
the gradient is ``p - q``: ``p_t`` on the answer, ``-p_t p_v / (1 - p_t)`` on any other ``v``. It
vanishes as the answer does, so that nothing is pushed further. An answer's first ``ignore_first``
tokens are left alone (a footnote of the paper). The original has no retain side, and neither has
the default here (``retain_weight`` 0, no retain rows are read).

Deviation: the sum is divided by all answer tokens, the ignored ones too, since that is what a step
counts; public code divides by the others. With ``training.forget_tokens: facts`` an answer is its
facts' tokens, and the first of them would be ignored: set ``ignore_first`` to 0.
"""

from __future__ import annotations

__all__ = ["CEU", "OBJECTIVE"]

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, places, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class CEU(Objective):
    """``ignore_first``: how many tokens at an answer's start are not forgotten."""

    ignore_first: int = 1
    forget_weight: float = 1.0
    retain_weight: float = 0.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs forget rows; retain rows, and their reference for "kl", if they weigh."""
        if not self.retain_weight:
            return Needs(retain=False)
        return Needs(retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the term ``forget`` (per token), and ``retain`` where it weighs."""
        assert model.forget is not None
        ce = model.forget.reduce(_to_the_others)
        kept = ce.masked_fill(places(model.forget) < self.ignore_first, 0.0)
        terms = {"forget": Term(kept.sum(), len(ce), "forget_token", self.forget_weight)}
        if self.retain_weight:
            terms["retain"] = retain_term(
                model, reference, by=self.retain, weight=self.retain_weight
            )
        return LossTerms(terms)


def _to_the_others(logits: Tensor, targets: Tensor, _: Tensor | None) -> Tensor:
    others = logits.detach().scatter(1, targets.unsqueeze(1), -torch.inf)
    return cross_entropy(logits, others.softmax(-1), reduction="none")


OBJECTIVE = CEU
