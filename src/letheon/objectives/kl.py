"""Gradient ascent held to the untouched model by KL (Maini et al. 2024, arXiv 2401.06121).

``L = -forget_weight * NLL_mean(forget) + retain_weight * KL_mean(ref || model)(retain)``
(TOFU). Deviation: KL over answer tokens only, where public code also averages over prompt and
padding positions.
"""

from __future__ import annotations

__all__ = ["KL", "OBJECTIVE"]

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Views
from letheon.objectives.terms import nll_term, retain_term


@dataclass(frozen=True, kw_only=True)
class KL(Objective):
    """``forget_weight`` and ``retain_weight`` scale the two sides."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    @property
    def needs(self) -> Needs:
        """Needs both sides and the reference's distribution on retain answers."""
        return Needs(retain_reference="distribution")

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (negative weight) and ``retain`` (KL)."""
        assert model.forget is not None
        return LossTerms(
            {
                "forget": nll_term(model.forget, unit="forget_token", weight=-self.forget_weight),
                "retain": retain_term(model, reference, by="kl", weight=self.retain_weight),
            }
        )


OBJECTIVE = KL
