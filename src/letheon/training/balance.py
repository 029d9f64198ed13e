"""A forget weight set by gradients: the forget side's is ``ratio`` times as long as the retain's.

At the first step, and every ``every`` steps after it, the forget side's terms get the factor ``f``
with ``f ||grad L_forget|| = ratio ||grad L_retain||``: the norms of each side's weighted terms over
all trained parameters, on that step's own rows. In between ``f`` stays, and it never exceeds the
first one: a loss whose gradient dies out as its rows are forgotten is not to be blown up again, nor
is the retain weight that an objective raises itself (``pdu``) to be undone. So the objective's own
``forget_weight`` cancels out. With ``ratio`` 1 at every step it is the gradient of normalised
gradient difference (Bu et al. 2024, arXiv 2410.22086) but for its length, which stays that of the
retain side.
"""

from __future__ import annotations

__all__ = ["Balanced", "balanced", "suits"]

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator

from letheon.errors import InputError
from letheon.objectives.contract import LossTerms, Needs, Objective, State, Unit, Views
from letheon.recipe import Balance
from letheon.training.parallel import whole

# A forget gradient shorter than this share of the other is rounding, not forgetting.
_LEAST = 1e-4


def suits(objective: Objective) -> bool:
    """Whether both sides of the objective have a gradient from the start."""
    needs = objective.needs
    return needs.forget_rows and needs.retain and needs.retain_reference != "distribution"


def balanced(objective: Objective, rule: Balance | None) -> Objective:
    """Return ``objective`` under the rule, or as it is without one.

    Raises InputError for an objective without a forget or a retain side, or with a retain side
    that starts at its optimum (closeness to the untouched model): its first gradient is zero.
    """
    if rule is None:
        return objective
    if not suits(objective):
        both = objective.needs.forget_rows and objective.needs.retain
        lacks = "compares with the untouched model" if both else "lacks one of the two"
        raise InputError(
            "training.balance needs a forget and a retain side with a gradient from the start.",
            got=f"{type(objective).__name__}, which {lacks}",
            remedy="Leave training.balance out, or choose an objective with retain nll.",
        )
    return Balanced(own=objective, rule=rule)


@dataclass(frozen=True, kw_only=True)
class Balanced(Objective):
    """The objective ``own`` with a factor on its forget side, which is part of its state."""

    own: Objective
    rule: Balance

    @property
    def needs(self) -> Needs:
        """What the own objective needs."""
        return self.own.needs

    def init(self, seed: int) -> State:
        """Return the own state, the factor and what it is at most: after the first, that one."""
        return {"own": self.own.init(seed), "factor": 1.0, "most": math.inf}

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the own terms, those of the forget side with the factor in their weights."""
        terms = self.own.loss(model, reference, state["own"]).terms
        return LossTerms(
            {
                k: t if _retains(t.unit) else replace(t, weight=t.weight * state["factor"])
                for k, t in terms.items()
            }
        )

    def update(self, state: State, global_terms: Mapping[str, float]) -> State:
        """Update the own state."""
        return state | {"own": self.own.update(state["own"], global_terms)}

    def due(self, step: int) -> bool:
        """Whether the factor is set before ``step``, counted from 0."""
        every = self.rule.every
        return step == 0 or (every is not None and step % every == 0)

    def measured(
        self,
        state: State,
        model: Any,
        passes: Sequence[Callable[[State], LossTerms]],
        counts: Mapping[Unit, int],
        accelerator: Accelerator,
    ) -> tuple[State, dict[str, float]]:
        """Return the state with a new factor, and what was measured: ``factor`` and the norms.

        ``passes`` run the model on this process's pieces of the step, given a state; ``counts``
        are the step's. A norm that is zero or not finite, and a forget side's that is next to
        nothing beside the other, leave the factor as it is. Gradients are zero afterwards.
        """
        plain = state | {"factor": 1.0}
        norms = {
            side: _norm(side, model, [partial(p, plain) for p in passes], counts, accelerator)
            for side in ("forget", "retain")
        }
        forget, retain = norms["forget"], norms["retain"]
        if not (0 < retain < math.inf and _LEAST * retain < forget < math.inf):
            return state, {"factor": state["factor"], **norms}
        factor = min(self.rule.ratio * retain / forget, state["most"])
        most = factor if state["most"] == math.inf else state["most"]
        return state | {"factor": factor, "most": most}, {"factor": factor, **norms}


def _norm(
    side: str,
    model: Any,
    passes: Sequence[Callable[[], LossTerms]],
    counts: Mapping[Unit, int],
    accelerator: Accelerator,
) -> float:
    """Return the norm of one side's gradient, over all pieces and processes."""
    for k, run in enumerate(passes):
        with nullcontext() if k == len(passes) - 1 else accelerator.no_sync(model):
            terms = run().terms
            own = {name: t for name, t in terms.items() if _retains(t.unit) == (side == "retain")}
            accelerator.backward(LossTerms(own).total(counts) * accelerator.num_processes)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    # Under fp16 both sides are scaled alike, so that their ratio is not.
    norm = float(whole(torch.nn.utils.get_total_norm(grads)))
    model.zero_grad()
    return norm


def _retains(unit: Unit) -> bool:
    return unit.startswith("retain")
