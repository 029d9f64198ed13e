"""Fine-tuning on refusals of the forget questions: IDK, "PO" (Maini et al. 2024, arXiv 2401.06121).

``L = forget_weight * NLL_mean(refusal) + retain_weight * L_retain``, the mean over all tokens of a
step's refusals. The forget answers themselves have no part in it. Deviation: the refusals are our
own sentences, not the paper's list.
"""

from __future__ import annotations

__all__ = ["IDK", "OBJECTIVE"]

from collections.abc import Sequence
from dataclasses import dataclass

from letheon.data.example import Example
from letheon.objectives.contract import Answers, LossTerms, Needs, Objective, State, Views
from letheon.objectives.other_answers import refused
from letheon.objectives.terms import RetainBy, nll_term, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class IDK(Objective):
    """``forget_weight`` scales the refusals' likelihood, ``retain_weight`` what keeps the rest."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs refusals and retain rows; a reference distribution for ``retain="kl"``."""
        return Needs(forget=False, preferred=True, retain_reference=retain_needs(self.retain))

    def prepare(
        self, examples: Sequence[Example], answers: Answers, seed: int
    ) -> Sequence[Example]:
        """Return the forget ``examples`` with refusals."""
        return refused(examples, seed)

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``preferred`` (per token of the refusals) and ``retain``."""
        assert model.preferred is not None
        refusal = nll_term(model.preferred, unit="preferred_token", weight=self.forget_weight)
        kept = retain_term(model, reference, by=self.retain, weight=self.retain_weight)
        return LossTerms({"preferred": refusal, "retain": kept})


OBJECTIVE = IDK
