"""What an optimizer of a recipe is: hyper-parameters that make a torch optimizer."""

from __future__ import annotations

__all__ = ["Optimizer"]

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Optimizer(ABC):
    """Subclasses are frozen dataclasses of what ``training`` does not set for every optimizer."""

    @abstractmethod
    def make(
        self,
        params: Sequence[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> torch.optim.Optimizer:
        """Return the optimizer of ``params``; the loop sets its learning rate at every step."""
