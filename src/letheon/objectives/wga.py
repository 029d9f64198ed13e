"""Weighted gradient ascent (Wang et al. 2025, arXiv 2502.19301): less ascent on unlikely tokens.

``L_forget = -mean over answer tokens of p^beta * NLL``, the weight ``p^beta`` detached, plus
``retain_weight * L_retain``. With beta 0 it is gradient ascent; with beta 1 the gradient is that
of the mean probability, which cannot run away.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "WGA"]

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class WGA(Objective):
    """``beta`` is the power of a token's probability in its weight."""

    beta: float = 1.0
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides; a reference distribution for ``retain="kl"``."""
        return Needs(retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (weighted NLL, negative weight) and ``retain``."""
        assert model.forget is not None
        logp = model.forget.logp()
        nll = -(self.beta * logp.detach()).exp() * logp
        return LossTerms(
            {
                "forget": Term(nll.sum(), len(nll), "forget_token", -self.forget_weight),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


OBJECTIVE = WGA
