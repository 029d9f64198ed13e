"""Primal-dual unlearning (Entesari et al. 2025, arXiv 2506.05314): flat logits, retain held.

Minimise ``L_forget = mean over answer tokens of (max_v z_v - mean_v z_v)^2`` over logits ``z``
[V], subject to ``L_retain <= eps``. Each step descends
``forget_weight * L_forget + dual * L_retain``, then
``dual <- max(0, dual + dual_step * (L_retain - eps))`` with the step's global ``L_retain``. The
dual starts at ``retain_weight``; it stays there for the first ``dual_warmup`` steps.

``eps`` has no default, since it is in units of the model's own retain loss; the paper suggests
``(1 + tolerance)`` times that before unlearning. Deviations: answer tokens only, where public code
also flattens prompts and padding; one update a step, where public code makes one per accumulated
piece, from that piece's rows; the warm-up counts steps, not epochs.
"""

from __future__ import annotations

__all__ = ["EXAMPLE", "OBJECTIVE", "PDU"]

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.terms import RetainBy, retain_needs, retain_term

EXAMPLE = {"eps": 1.0}


@dataclass(frozen=True, kw_only=True)
class PDU(Objective):
    """``eps``: the retain loss that is allowed, nats a token; ``dual_step``: per such nat."""

    eps: float
    dual_step: float = 1.0
    dual_warmup: int = 0
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: RetainBy = "nll"

    @property
    def needs(self) -> Needs:
        """Needs both sides; a reference distribution for ``retain="kl"``."""
        return Needs(retain_reference=retain_needs(self.retain))

    def init(self, seed: int) -> State:
        """Return the dual variable and the steps done."""
        return {"dual": self.retain_weight, "steps": 0}

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` (per token) and ``retain``, weighted by the dual."""
        assert model.forget is not None
        gap = model.forget.reduce(_squared_gap)
        return LossTerms(
            {
                "forget": Term(gap.sum(), len(gap), "forget_token", self.forget_weight),
                "retain": retain_term(model, reference, by=self.retain, weight=state["dual"]),
            }
        )

    def update(self, state: State, global_terms: Mapping[str, float]) -> State:
        """Raise the dual where the retain loss exceeds ``eps``, else lower it, never below 0."""
        steps, dual = state["steps"] + 1, state["dual"]
        if steps > self.dual_warmup:
            dual = max(0.0, dual + self.dual_step * (global_terms["retain"] - self.eps))
        return {"dual": dual, "steps": steps}


def _squared_gap(logits: Tensor, _: Tensor, __: Tensor | None) -> Tensor:
    return (logits.amax(-1) - logits.mean(-1)).square()


OBJECTIVE = PDU
