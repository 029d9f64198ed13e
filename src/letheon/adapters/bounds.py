"""The bounded functions an adapter's low-rank product passes through.

Each bound is a scalar function ``phi`` applied elementwise to ``z = omega * B A`` (Garg et al.,
"Stable Forgetting", arXiv 2509.24166; sine after Sine-LoRA, arXiv 2403.19243), with ``phi(0) = 0``
so that a fresh adapter changes nothing. A new bound is one entry of ``_BOUNDS``.
"""

from __future__ import annotations

__all__ = ["Bound", "get", "names"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardtanh, softsign

from letheon.errors import ModelError, nearest


@dataclass(frozen=True, slots=True)
class Bound:
    """A scalar function of a tensor of any shape, its derivative, and ``sup |value|``.

    Both functions return a new tensor of their argument's shape and type.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    sup: float

    @property
    def bounded(self) -> bool:
        """Whether the change of a weight stays in a compact set: false for plain LoRA."""
        return math.isfinite(self.sup)

    def __reduce__(self) -> tuple[object, ...]:
        # lambdas do not pickle; adapted models do
        return get, (self.name,)


def _sigmoid_derivative(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return 2 * s * (1 - s)


_BOUNDS = {
    bound.name: bound
    for bound in (
        Bound("identity", torch.clone, torch.ones_like, math.inf),
        Bound("sine", torch.sin, torch.cos, 1.0),
        Bound("tanh", torch.tanh, lambda z: 1 - torch.tanh(z).square(), 1.0),
        # centred and stretched to the others' range: 2 sigmoid(z) - 1 = tanh(z / 2), slope 1/2 at 0
        Bound("sigmoid", lambda z: 2 * torch.sigmoid(z) - 1, _sigmoid_derivative, 1.0),
        Bound("hard_tanh", hardtanh, lambda z: (z.abs() < 1).to(z.dtype), 1.0),
        Bound("softsign", softsign, lambda z: (1 + z.abs()).pow(-2), 1.0),
    )
}


def names() -> list[str]:
    """Name every bound, sorted."""
    return sorted(_BOUNDS)


def get(name: str) -> Bound:
    """Return the bound called ``name``.

    Raises:
        ModelError: there is no such bound; names the nearest one.
    """
    if name not in _BOUNDS:
        raise ModelError("There is no such bound.", got=name, remedy=nearest(name, _BOUNDS))
    return _BOUNDS[name]
