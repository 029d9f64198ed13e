"""UNDIAL: self-distillation from lowered logits (Dong et al. 2024, arXiv 2402.10052).

``L_forget = mean over answer tokens of CE(q, p)``, ``q = softmax(z_ref - beta * onehot(answer))``
with the untouched model's logits, plus ``retain_weight * L_retain``. The target is fixed, so the
optimum is finite: an answer whose probability was ``p`` ends at ``p e^-beta / (1 - p + p e^-beta)``
and the others keep their proportions. The original has no retain side, and neither has the
default here (``retain_weight`` 0, no retain rows are read). Deviation: answer tokens only, where
public code averages over prompts and padding as well.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "Undial"]

from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn.functional import cross_entropy

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term


@dataclass(frozen=True, kw_only=True)
class Undial(Objective):
    """``beta`` is what the answer's logit is lowered by, nats."""

    beta: float = 10.0
    forget_weight: float = 1.0
    retain_weight: float = 0.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs the reference's distribution on forget answers; retain rows if they weigh."""
        if not self.retain_weight:
            return Needs(retain=False, forget_reference="distribution")
        kept = retain_needs(self.retain)
        return Needs(forget_reference="distribution", retain_reference=kept)

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the term ``forget`` (per token), and ``retain`` where it weighs."""
        assert model.forget is not None
        assert reference.forget is not None
        ce = model.forget.reduce(partial(_to_lowered, beta=self.beta), reference.forget)
        terms = {"forget": Term(ce.sum(), len(ce), "forget_token", self.forget_weight)}
        if self.retain_weight:
            terms["retain"] = retain_term(
                model, reference, by=self.retain, weight=self.retain_weight
            )
        return LossTerms(terms)


def _to_lowered(
    logits: Tensor, targets: Tensor, reference: Tensor | None, *, beta: float
) -> Tensor:
    assert reference is not None
    answer = targets.unsqueeze(1)
    lowered = reference.detach().scatter_add(1, answer, logits.new_full(answer.shape, -beta))
    return cross_entropy(logits, lowered.softmax(-1), reduction="none")


OBJECTIVE = Undial
