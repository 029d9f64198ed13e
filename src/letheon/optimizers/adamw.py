"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): torch's own, in one fused kernel."""

from __future__ import annotations

__all__ = ["OPTIMIZER", "AdamW"]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from letheon.optimizers.contract import Optimizer


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Everything is in ``training``: lr, betas, weight_decay."""

    def make(
        self,
        params: Sequence[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> torch.optim.Optimizer:
        """Return torch's AdamW."""
        return torch.optim.AdamW(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


OPTIMIZER = AdamW
