"""How far adapters have moved each matrix, and whether the bound acts."""

from __future__ import annotations

__all__ = ["WeightChange", "weight_change"]

from typing import TypedDict

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from letheon.adapters import blocks
from letheon.adapters.layer import BoundedLoraLayer, full_name
from letheon.adapters.linear import Change, Stored, stored


class WeightChange(TypedDict):
    """One adapted matrix.

    ``norm`` (Frobenius) and ``max_abs`` are of the active adapters' summed change. ``active_share``
    is the share of entries, over the bounded adapters, whose slope has fallen below half of the
    slope at zero: ``|phi'(z)| < |phi'(0)| / 2``. It is 0 where all adapters are plain LoRA.
    """

    name: str
    norm: float
    max_abs: float
    active_share: float


@torch.no_grad()
def weight_change(model: nn.Module) -> list[WeightChange]:
    """Measure every adapted matrix of ``model``, in the model's order, a few rows at a time.

    A stack of experts is one entry, named after its parameter.
    """
    if isinstance(model, PeftModel):
        model = model.get_base_model()
    layers = (m for m in model.modules() if isinstance(m, BoundedLoraLayer))
    return [
        _measure(layer, index)
        for layer in layers
        if layer.active()
        for index in range(len(layer.matrices))
    ]


def _measure(layer: BoundedLoraLayer, index: int) -> WeightChange:
    names, matrix = layer.active(), layer.matrices[index]
    plan = layer.plan(names, index)
    # Of a model that is sharded over processes a factor is whole only when it is asked for.
    shards = layer.factors(names, index)
    factors = [f.full_tensor() if isinstance(f, DTensor) else f for f in shards]
    rows, cols = matrix.stored
    bounded = sum(map(_counts, plan.changes))
    height = max(1, blocks.of(factors[0].device).tile // cols)
    squares, peak, active = 0.0, 0.0, 0
    for part in [...] if matrix.experts is None else range(matrix.experts):
        changes = stored(plan, [factor[part] for factor in factors])
        for start in range(0, rows, height):
            delta, n_active = _rows(changes, slice(start, min(start + height, rows)))
            squares += float(delta.square().sum(dtype=torch.float64))
            peak = max(peak, float(delta.abs().max()))
            active += n_active
    entries = rows * cols * (matrix.experts or 1)
    share = active / (entries * bounded) if bounded else 0.0
    name = full_name(layer.name, matrix)
    return WeightChange(name=name, norm=squares**0.5, max_abs=peak, active_share=share)


def _counts(change: Change) -> bool:
    # An informed start, which is taken away, is no adapter of its own.
    return change.bound.bounded and change.scale > 0


def _rows(changes: list[Stored], rows: slice) -> tuple[Tensor, int]:
    """Return the change of some rows and how many of their entries lie where the bound acts."""
    total, active = torch.zeros(()), 0
    for change, left, right in changes:
        phase = left[rows] @ right
        total = total.to(phase.device) + change.scale * change.bound.value(phase)
        if _counts(change):
            half = change.bound.derivative(phase.new_zeros(())).abs() / 2
            active += int((change.bound.derivative(phase).abs() < half).sum())
    return total, active
