"""A learning rate for each side of the loss: two optimizers over the same parameters.

The forget side is every term whose unit is of forget or preferred answers, the retain side the
rest. Each side has its own gradient, clipped by itself, and its own moments, so that neither
hides in the other's second moment; the steps are taken one after the other, forgetting first.
One forward pass serves both: the forget terms' backward pass keeps its graph for the other's.
"""

from __future__ import annotations

__all__ = ["TwoRates", "backward"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from letheon.objectives.contract import LossTerms, Unit

_FORGET = ("forget", "preferred")


class TwoRates(torch.optim.Optimizer):
    """Steps ``forget`` with the forget side's gradient, then ``retain`` with the other.

    ``forget``'s learning rate stays the multiple of ``retain``'s that it is at the start, whatever
    a schedule sets. A parameter's ``grad`` is the retain side's, except in ``forgetting()``; what
    a stabiliser adds belongs to it. ``state_dict`` has the form of one optimizer of two groups.
    """

    def __init__(self, forget: torch.optim.Optimizer, retain: torch.optim.Optimizer) -> None:
        self._sides = (forget, retain)
        self._params: list[Tensor] = list(retain.param_groups[0]["params"])
        self._ratio = forget.param_groups[0]["lr"] / retain.param_groups[0]["lr"]
        self._forget: list[Tensor | None] = [None] * len(self._params)
        super().__init__(self._params, {})
        self._show_groups()

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Let every ``grad`` be the forget side's in the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def gather(self, accelerator: Accelerator, limit: float | None) -> dict[str, float]:
        """Average over processes, clip each side to the norm ``limit``; return norms before that.

        ``both`` is the norm of the sum, which one optimizer would have stepped by.
        """
        with self.forgetting():
            self._average(accelerator)
            forget = self._grads()
        self._average(accelerator)
        retain = self._grads()
        both = [a + b for a, b in zip(forget, retain, strict=True)]
        norms = {"both": _norm(both), "forget": _norm(forget), "retain": _norm(retain)}
        for side, grads in (("forget", forget), ("retain", retain)):
            if limit is not None and norms[side] > limit:
                torch._foreach_mul_(grads, limit / norms[side])
        return norms

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take both steps; ``closure`` is not supported."""
        assert closure is None
        forget, retain = self._sides
        forget.param_groups[0]["lr"] = retain.param_groups[0]["lr"] * self._ratio
        with self.forgetting():
            forget.step()
        retain.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop both sides' gradients."""
        super().zero_grad(set_to_none)
        self._forget = [None] * len(self._params)

    def state_dict(self) -> dict[str, Any]:
        """Return both states; the retain side's parameters are numbered after the forget side's."""
        forget, retain = (side.state_dict() for side in self._sides)
        n = len(self._params)
        state = forget["state"] | {n + k: values for k, values in retain["state"].items()}
        groups = [g | {"params": [n + k for k in g["params"]]} for g in retain["param_groups"]]
        return {"state": state, "param_groups": [*forget["param_groups"], *groups]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put both states back."""
        n = len(self._params)
        forget, retain = state_dict["param_groups"]
        for side, group, first in zip(self._sides, (forget, retain), (0, n), strict=True):
            own = {k - first: v for k, v in state_dict["state"].items() if first <= k < first + n}
            plain = group | {"params": [k - first for k in group["params"]]}
            side.load_state_dict({"state": own, "param_groups": [plain]})
        self._show_groups()

    def _show_groups(self) -> None:
        # a side's groups are new objects after a load
        self.param_groups = [group for side in self._sides for group in side.param_groups]

    def _swap(self) -> None:
        for k, parameter in enumerate(self._params):
            parameter.grad, self._forget[k] = self._forget[k], parameter.grad

    def _average(self, accelerator: Accelerator) -> None:
        for parameter in self._params:
            if parameter.grad is None:  # every process must take part
                parameter.grad = torch.zeros_like(parameter)
            if accelerator.num_processes > 1:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")

    def _grads(self) -> list[Tensor]:
        return [p.grad for p in self._params if p.grad is not None]


def backward(
    terms: LossTerms,
    counts: Mapping[Unit, int],
    accelerator: Accelerator,
    two: TwoRates | None,
) -> None:
    """Add the gradients of a piece's share of the loss; for ``two`` rates each side's by itself."""
    if two is None:
        accelerator.backward(terms.total(counts) * accelerator.num_processes)
        return
    forget = {k: t for k, t in terms.terms.items() if t.unit.startswith(_FORGET)}
    retain = {k: t for k, t in terms.terms.items() if k not in forget}
    with two.forgetting():
        share = LossTerms(forget).total(counts) * accelerator.num_processes
        accelerator.backward(share, retain_graph=True)
    accelerator.backward(LossTerms(retain).total(counts) * accelerator.num_processes)


def _norm(grads: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
