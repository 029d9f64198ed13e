"""Gradient ascent on the forget set (Jang et al. 2022, arXiv 2210.01504).

``L = -forget_weight * NLL_mean(forget)``, the mean over all forget answer tokens of the step.
Nothing holds the model back: without a stop rule or a bound it runs away.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "GradientAscent"]

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Views
from letheon.objectives.terms import nll_term


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Objective):
    """``forget_weight`` scales the ascent."""

    forget_weight: float = 1.0

    @property
    def needs(self) -> Needs:
        """Needs forget rows only."""
        return Needs(retain=False)

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the term ``forget``: NLL per token, with a negative weight."""
        assert model.forget is not None
        return LossTerms(
            {"forget": nll_term(model.forget, unit="forget_token", weight=-self.forget_weight)}
        )


OBJECTIVE = GradientAscent
