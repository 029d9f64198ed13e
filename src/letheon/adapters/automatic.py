"""Omega and s from a matrix's own untouched weights, in place of guesses.

``s = SPREADS * std(W)``: no entry moves further than that many standard deviations of the matrix's
entries, whatever the model's scale. ``omega = (lora_alpha / r) / (s |phi'(0)|)``: around zero the
change is then ``(lora_alpha / r) B A`` to first order, as in plain LoRA, whose learning rate
carries over. A reconstruction, no paper's: at ``std(W)`` 0.02 and ``alpha = 2r`` the two give
omega 100, the bounded paper's example (docs/rules.md).

The numbers go by name into the saved config, so that a merged, quantised or further trained base
cannot change them.
"""

from __future__ import annotations

__all__ = ["SPREADS", "Numbers", "measure", "spread"]

import math
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from letheon.adapters import blocks
from letheon.adapters.bounds import Bound
from letheon.adapters.linear import Readable
from letheon.adapters.matrices import Matrix
from letheon.adapters.quantised import is_quantised, reader
from letheon.errors import ModelError

SPREADS = 1.0


class Numbers(TypedDict):
    """One matrix's ``omega`` and ``s`` of ``W + s * phi(omega * B A)``."""

    omega: float
    s: float


def measure(
    bound: Bound, *, gain: float, omega: float | None, s: float | None, deviation: float
) -> Numbers:
    """Fill in what is None: ``s`` from the weights' ``deviation``, ``omega`` from ``gain`` and s.

    ``gain`` is ``lora_alpha / r``.
    """
    s = _rounded(SPREADS * deviation) if s is None else s
    omega = _rounded(gain / (s * _slope(bound))) if omega is None else omega
    return Numbers(omega=omega, s=s)


@torch.no_grad()
def spread(name: str, layer: nn.Module, matrix: Matrix) -> float:
    """Return the standard deviation of a matrix's entries, of all experts of a stack together.

    A quantised weight is read as the numbers it stands for. Without numbers (on the meta device,
    in a plan) it is NaN, so that nothing could be computed with it. Raises ModelError when all
    entries are the same.
    """
    weight: Tensor = getattr(layer, matrix.weight)
    if weight.is_meta or isinstance(weight, FakeTensor):
        return math.nan
    parts: list[Any] = list(weight) if matrix.experts is not None else [weight]
    if is_quantised(layer):
        parts = [reader(layer)(weight)]
    moments = torch.stack([_moments(part, weight.device) for part in parts]).sum(0)
    count, total, squares = moments.tolist()
    found = math.sqrt(max(0.0, squares / count - (total / count) ** 2))
    if not found > 0:
        raise ModelError(
            "scale auto goes by how far a matrix's entries lie apart.",
            got=f"{name}, whose entries are all the same or not finite",
            remedy="Set scale to a number, or leave this module out of target_modules.",
        )
    return found


def _slope(bound: Bound) -> float:
    with unset_fake_temporarily():  # a plan's tensors have no numbers
        return float(bound.derivative(torch.zeros((), device="cpu")).abs())


def _moments(matrix: Readable, device: torch.device) -> Tensor:
    """Return the number, the sum and the sum of squares of the entries, a few rows at a time."""
    rows, cols = (slice(0, size) for size in matrix.shape)
    result = torch.zeros(3, dtype=torch.float64, device=device)
    for tile in blocks.of(device).tiles(rows, cols):
        part = matrix[tile, cols].double()
        result += torch.stack([torch.ones_like(part).sum(), part.sum(), part.square().sum()])
    return result


def _rounded(value: float) -> float:
    # Six digits: the order in which a machine adds up has no say in the numbers of a run.
    return float(f"{value:.6g}")
