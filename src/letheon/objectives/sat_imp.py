"""SatImp: ascent weighted by saturation and importance (Yang et al. 2025, arXiv 2505.11953).

``L_forget = -mean over answer tokens of p^beta1 * (1 - p)^beta2 * NLL``, the weight detached, plus
``retain_weight * L_retain``. The first factor leaves alone what is forgotten, the second what is
still certain. With both powers 0 it is gradient ascent, with beta2 0 it is ``wga``. Two public
sources disagree on the weights: forget 0.1 and retain 1 (a toolkit's configuration, the default
here), or forget 1 and retain 0.1 (the authors' notes for the same toolkit).
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "SatImp"]

from dataclasses import dataclass

from torch import Tensor

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class SatImp(Objective):
    """``beta1`` is the power of a token's probability in its weight, ``beta2`` of the rest."""

    beta1: float = 5.0
    beta2: float = 1.0
    forget_weight: float = 0.1
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
        nll = -self._weight(logp.detach()) * logp
        return LossTerms(
            {
                "forget": Term(nll.sum(), len(nll), "forget_token", -self.forget_weight),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )

    def _weight(self, logp: Tensor) -> Tensor:
        # 1 - p from p would lose its digits near 1; rounding may also leave logp just above 0.
        rest = -logp.clamp(max=0).expm1()
        return (self.beta1 * logp).exp() * rest.pow(self.beta2)


OBJECTIVE = SatImp
