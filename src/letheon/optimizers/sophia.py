"""Sophia (SOUL, EMNLP 2024): a coordinate's step is its mean gradient over its curvature, clipped.

With gradient ``g``, coordinate by coordinate, at step ``t`` (from 0):

    m     <- b1 m + (1 - b1) g
    h     <- b2 h + (1 - b2) g^2           where t is a multiple of ``every``
    theta <- (1 - lr wd) theta - lr sign(m) min(|m| / (rho bs h + 1e-15), 1)

No coordinate moves by more than ``lr`` (beside the decay), and where ``h`` is small the step is
that of sign descent: each step is bounded, where a bounded adapter bounds the whole way.

Sources: Jia et al., SOUL, EMNLP 2024 (formula, rho 0.04, bs 5120, betas 0.9 and 0.95, decay 0.1, as
read in its code); Liu et al., Sophia, arXiv 2305.14342. ``h`` is the squared gradient of the
unlearning loss itself. SOUL's public trainer has no refresh beside the step, so ``every`` is 1 by
default: every step refreshes with its own gradient (our reading). Sophia-G instead
(Gauss-Newton-Bartlett) refreshes every tenth step with a gradient of its own, that of the loss on
labels sampled from the model, squared and times the batch: an estimate of the Gauss-Newton
diagonal, for another backward pass. Neither corrects the averages' start at 0. Deviation: with a
larger ``every`` the 1st step refreshes, then the (1 + every)th, ...: ``h`` is not 0 all over.
"""

from __future__ import annotations

__all__ = ["OPTIMIZER", "Sophia", "SophiaStep"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from letheon.errors import RecipeError
from letheon.optimizers.contract import Optimizer
from letheon.recipe import Training

_TINY = 1e-15
_Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Sophia(Optimizer):
    """``betas`` and ``weight_decay`` have their home here, as SOUL's differ from AdamW's.

    ``every``: steps from one refresh of ``h`` to the next. ``batch``: ``bs`` of the formula, a
    constant that only scales ``rho``, whatever the batch really is.
    """

    betas: tuple[_Share, _Share] = (0.9, 0.95)
    rho: Annotated[float, Field(gt=0)] = 0.04
    batch: Annotated[float, Field(gt=0)] = 5120
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    every: Annotated[int, Field(ge=1)] = 1

    def make(
        self,
        params: Sequence[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> torch.optim.Optimizer:
        """Return the optimizer.

        Raises RecipeError where ``training`` sets what would silently not be used.
        """
        for name, value in (("betas", betas), ("weight_decay", weight_decay)):
            if value != Training.model_fields[name].default:
                raise RecipeError(
                    f"Sophia takes {name} from its own params, since its defaults are not AdamW's.",
                    got=f"training.{name} = {value}",
                    remedy=f"Set training.optimizer.params.{name} instead.",
                )
        return SophiaStep(
            params,
            lr=lr,
            betas=self.betas,
            scale=self.rho * self.batch,
            weight_decay=self.weight_decay,
            every=self.every,
        )


class SophiaStep(torch.optim.Optimizer):
    """The torch optimizer: elementwise, so that a shard is updated as the whole would be.

    ``scale`` is ``rho bs``. State per parameter: ``momentum`` and ``hessian`` in its shape and
    type, and ``step``, how many were done.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        scale: float,
        weight_decay: float,
        every: int,
    ) -> None:
        options: dict[str, Any] = {"lr": lr, "betas": betas, "scale": scale, "every": every}
        super().__init__(params, options | {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient, with one parameter's temporaries at a time.

        ``closure`` is not supported: a step uses the gradients that are there.
        """
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {"step": 0, "momentum": torch.zeros_like(parameter)}
            state["hessian"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        momentum = state["momentum"].mul_(first).add_(grad, alpha=1 - first)
        if state["step"] % group["every"] == 0:
            state["hessian"].mul_(second).addcmul_(grad, grad, value=1 - second)
        state["step"] += 1
        size = momentum.abs().div_(state["hessian"].mul(group["scale"]).add_(_TINY)).clamp_(max=1)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcmul_(momentum.sign(), size, value=-group["lr"])


OPTIMIZER = Sophia
