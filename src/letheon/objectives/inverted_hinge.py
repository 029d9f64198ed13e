"""Inverted hinge (LoKU, Cha et al. 2025, arXiv 2408.06621): the runner-up overtakes the answer.

``L_forget = mean over answer tokens t of 1 + p_t - max over v != t of p_v``, with the model's
probabilities, plus ``retain_weight * L_retain``. It lies in [0, 2]: the paper's outer
``max(0, .)`` never acts on probabilities and is left out. Its gradient in the logits is bounded.
Deviations: answer tokens only, where public code also counts every position that carries a label;
logits are always turned into probabilities, where public code takes logits that happen to lie in
[0, 1] for probabilities. FILA, the paper's initialisation, is an adapter setting.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "InvertedHinge"]

from dataclasses import dataclass

from torch import Tensor

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class InvertedHinge(Objective):
    """``forget_weight`` and ``retain_weight`` scale the two sides."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides; a reference distribution for ``retain="kl"``."""
        return Needs(retain_reference=retain_needs(self.retain))

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (per token) and ``retain``."""
        assert model.forget is not None
        hinge = model.forget.reduce(_hinge)
        return LossTerms(
            {
                "forget": Term(hinge.sum(), len(hinge), "forget_token", self.forget_weight),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


def _hinge(logits: Tensor, targets: Tensor, _: Tensor | None) -> Tensor:
    p = logits.softmax(-1)
    answer = targets.unsqueeze(1)
    runner_up = p.scatter(1, answer, 0.0).amax(1)
    return 1 + p.gather(1, answer).squeeze(1) - runner_up


OBJECTIVE = InvertedHinge
