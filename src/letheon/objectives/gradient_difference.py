"""Gradient difference, ascent with descent on retain data (Maini et al. 2024, arXiv 2401.06121).

``L = -forget_weight * NLL_mean(forget) + retain_weight * L_retain`` (TOFU; with a bounded adapter
the method of arXiv 2509.24166, whose weights are not known: 1 and 1 are those of the same line of
work). ``retain="kl"`` replaces the retain likelihood by KL to the untouched model.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "GradientDifference"]

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Views
from letheon.objectives.terms import RetainBy, nll_term, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class GradientDifference(Objective):
    """``forget_weight`` and ``retain_weight`` scale the two sides."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides; a reference distribution for ``retain="kl"``."""
        return Needs(retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (negative weight) and ``retain``."""
        assert model.forget is not None
        return LossTerms(
            {
                "forget": nll_term(model.forget, unit="forget_token", weight=-self.forget_weight),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


OBJECTIVE = GradientDifference
