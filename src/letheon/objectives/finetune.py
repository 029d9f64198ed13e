"""Fine-tuning: plain cross-entropy, of no paper, which trains target and gold models.

``L = NLL_mean(retain)``: the rows to learn are given as the retain side; there is no forget side.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "FineTune"]

from dataclasses import dataclass

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Views
from letheon.objectives.terms import nll_term


@dataclass(frozen=True, kw_only=True)
class FineTune(Objective):
    """Mean negative log-likelihood of the answers, nats per token."""

    @property
    def needs(self) -> Needs:
        """Needs only rows to learn."""
        return Needs(forget=False)

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the one term ``retain``."""
        assert model.retain is not None
        return LossTerms({"retain": nll_term(model.retain, unit="retain_token", weight=1.0)})


OBJECTIVE = FineTune
