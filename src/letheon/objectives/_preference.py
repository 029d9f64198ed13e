"""Direct preference optimisation with the forget answer as the one that is not preferred."""

from __future__ import annotations

__all__ = ["Preference"]

from dataclasses import dataclass

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import softplus

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term
from letheon.objectives.view import AnswerView


@dataclass(frozen=True, kw_only=True)
class Preference(Objective):
    """``beta`` is the inverse temperature, per nat of an answer's summed log-probability.

    Subclasses say which answer is preferred to a forget question.
    """

    beta: PositiveFloat = 0.1
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs all three sides and the reference's scalars on forget and preferred answers."""
        return Needs(
            preferred=True,
            forget_reference="scalars",
            preferred_reference="scalars",
            retain_reference=retain_needs(self.retain),
        )

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (per example) and ``retain``.

        ``-log sigmoid(x)`` is computed as ``softplus(-x)``, which is finite for every x.
        """
        assert model.forget is not None
        margin = _gain(model.preferred, reference.preferred) - _gain(model.forget, reference.forget)
        loss = (2 / self.beta) * softplus(-self.beta * margin)
        return LossTerms(
            {
                "forget": Term(
                    loss.sum(), model.forget.n_examples, "forget_example", self.forget_weight
                ),
                "retain": retain_term(model, reference, by=self.retain, weight=self.retain_weight),
            }
        )


def _gain(model: AnswerView | None, reference: AnswerView | None) -> Tensor:
    """How much likelier than in the untouched model each answer is, nats, [B]."""
    assert model is not None
    assert reference is not None
    return model.sequence_logp() - reference.sequence_logp()
