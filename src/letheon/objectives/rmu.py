"""Representation misdirection for unlearning: RMU (Li et al. 2024, arXiv 2403.03218).

``L = forget_weight * mean_t MSE(h_t, coeff * u) + retain_weight * mean_t MSE(h_t, h_ref_t)``: h_t
[H] is one layer's hidden state where answer token t is predicted, MSE the mean over H, u [H] a
fixed random direction of length 1 whose entries are drawn uniformly from [0, 1) before it is
normalised, h_ref that of the untouched model; the first mean is over forget answers, the second
over retain answers. What suits a model depends on the size of its states. ``coeff`` is the paper's
for a model of 7 billion parameters (H = 4096).

Deviations: ``retain_weight`` (the paper's alpha) is 1, as everywhere here, where the paper has 1200
for that model. Answer tokens only, where the paper has all tokens of raw text. Whatever trains is
trained (every MLP with an adapter), where the paper trains three MLP matrices up to the layer; the
gradient of what comes after it is zero.
"""

from __future__ import annotations

__all__ = ["OBJECTIVE", "RMU"]

from dataclasses import dataclass

import torch
from pydantic import PositiveFloat
from torch import Tensor

from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.view import Layer


@dataclass(frozen=True, kw_only=True)
class RMU(Objective):
    """``layer``: a block by its number, from 1, or by its share of the depth.

    The default is the paper's, the eighth of 32 blocks (number 7 where one counts from 0).
    ``coeff`` is the length of the state that forget answers are driven to.
    """

    layer: Layer = 0.25
    coeff: PositiveFloat = 6.5
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for layer 0: nothing that trains comes before the embeddings."""
        if self.layer <= 0:
            raise ValueError("the layer of rmu is at least 1, or a share of the depth above 0")

    @property
    def needs(self) -> Needs:
        """Needs both sides, their hidden states, and those of the reference on retain answers."""
        return Needs(retain_reference="distribution", hidden=(self.layer,))

    def init(self, seed: int) -> State:
        """Return the seed of the direction; how long it is, the first view tells."""
        return seed

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        """Return the terms ``forget`` and ``retain``, both per answer token."""
        assert model.forget is not None
        assert model.retain is not None
        assert reference.retain is not None
        states = model.forget.hidden(self.layer)
        away = _squared(states, self.coeff * _direction(states, state))
        stay = _squared(model.retain.hidden(self.layer), reference.retain.hidden(self.layer))
        return LossTerms(
            {
                "forget": Term(away.sum(), len(away), "forget_token", self.forget_weight),
                "retain": Term(stay.sum(), len(stay), "retain_token", self.retain_weight),
            }
        )


def _direction(states: Tensor, seed: int) -> Tensor:
    """Return the random direction for ``states`` [N, H]: [H], fp32, of length 1."""
    # On the CPU, so that it is the same on every device.
    generator = torch.Generator().manual_seed(seed)
    entries = torch.rand(states.shape[-1], generator=generator)
    direction: Tensor = entries / entries.norm()
    return direction.to(states.device)


def _squared(states: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference of each token's state, [N] fp32."""
    difference: Tensor = states.float() - wanted.float()
    return difference.square().mean(-1)


OBJECTIVE = RMU
