"""SimNPO: preference optimisation without a reference (Fan et al. 2024, arXiv 2410.07163).

``L_forget = mean over examples of (2 / beta) * softplus(-beta * (nll - delta))``, ``nll`` an
answer's mean negative log-likelihood per token, plus ``retain_weight * L_retain``. Lengths are
normalised where NPO compares with the untouched model. An example whose ``nll`` is far above
``delta`` weighs nothing; as beta -> 0 the gradient becomes that of ascent on the mean over
examples. Defaults are those of the paper's TOFU runs as listed by public code.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "SimNPO"]

from dataclasses import dataclass

from torch.nn.functional import softplus

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, answer_lengths, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class SimNPO(Objective):
    """``beta`` is per nat of the mean log-likelihood of a token, ``delta`` a margin in nats."""

    beta: float = 4.5
    delta: float = 0.0
    forget_weight: float = 0.125
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides; a reference distribution for ``retain="kl"`` only."""
        return Needs(retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (per example) and ``retain``."""
        assert model.forget is not None
        nll = -model.forget.sequence_logp() / answer_lengths(model.forget)
        simnpo = (2 / self.beta) * softplus(-self.beta * (nll - self.delta))
        return LossTerms(
            {
                "forget": Term(
                    simnpo.sum(), model.forget.n_examples, "forget_example", self.forget_weight
                ),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


OBJECTIVE = SimNPO
