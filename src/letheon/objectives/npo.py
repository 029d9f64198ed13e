"""Negative preference optimisation (Zhang et al. 2024, arXiv 2404.05868).

``L_forget = mean over examples of (2 / beta) * softplus(beta * (logp - logp_ref))`` with the
summed answer log-probabilities of the model and of the untouched model, plus
``retain_weight * L_retain``. As beta -> 0 its gradient becomes that of gradient ascent; an example
already forgotten weighs nothing.
"""

from __future__ import annotations

__all__ = ["NPO", "OBJECTIVE"]

from dataclasses import dataclass

from torch.nn.functional import softplus

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class NPO(Objective):
    """``beta`` is the inverse temperature, per nat of the answer's summed log-probability."""

    beta: float = 0.1
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides and the reference's scalars on forget answers."""
        return Needs(forget_reference="scalars", retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (per example) and ``retain``."""
        assert model.forget is not None
        assert reference.forget is not None
        ratio = model.forget.sequence_logp() - reference.forget.sequence_logp()
        npo = (2 / self.beta) * softplus(self.beta * ratio)
        return LossTerms(
            {
                "forget": Term(
                    npo.sum(), model.forget.n_examples, "forget_example", self.forget_weight
                ),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


OBJECTIVE = NPO
