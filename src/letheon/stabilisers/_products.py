"""The low-rank products that train, measured through their factors; no change is ever built.

Shapes: ``A [..., r, in]``, ``B [..., out, r]``; the leading dimension is that of a mixture's
experts, each of which is a matrix of its own.
"""

from __future__ import annotations

__all__ = ["Product", "check", "products"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from letheon.adapters.layer import BoundedLoraLayer, full_name
from letheon.adapters.linear import Readable, phase_type
from letheon.errors import InputError

# Rows of a quantised weight that are read at one time.
_ROWS = 1024


@dataclass(frozen=True)
class Product:
    """``gain * B A``: what one adapter adds to one matrix, to first order in ``B A``.

    ``gain = s * omega * phi'(0)``. For plain LoRA it is the change itself; for every bound here
    ``|phi(z)| <= |phi'(0) z|``, so that no entry of the change is larger. ``B`` is what is scaled.
    With an informed ``start`` ``A0, B0`` it is ``gain (B A - B0 A0)``, a product of rank ``2 r``.
    """

    name: str
    A: Tensor
    B: Tensor
    gain: float
    bounded: bool
    weight: Readable
    start: tuple[Tensor, ...] = ()

    def square(self) -> Tensor:
        """Return ``||gain B A||_F^2``, one a matrix ``[...]``, with gradient."""
        A, B = _whole(self.A), _whole(self.B)
        if self.start:
            A0, B0 = self.start
            A, B = torch.cat([A, A0.to(A.dtype)], -2), torch.cat([B, -B0.to(B.dtype)], -1)
        inner = (B.mT @ B) * (A @ A.mT)
        return inner.sum((-2, -1)) * self.gain**2

    def spectral(self) -> Tensor:
        """Return the largest singular value of ``gain B A``, one a matrix ``[...]``.

        With ``B = Q R`` and ``A^T = P S`` it is that of the ``r x r`` matrix ``R S^T``.
        """
        left = torch.linalg.qr(_whole(self.B), mode="r").R
        right = torch.linalg.qr(_whole(self.A).mT, mode="r").R
        values: Tensor = torch.linalg.matrix_norm(left @ right.mT, ord=2)
        return values * abs(self.gain)

    def weight_norm(self) -> Tensor:
        """Return ``||W||_F`` of the untouched weight, one a matrix ``[...]``."""
        if isinstance(self.weight, Tensor):
            whole = _whole(torch.linalg.vector_norm(self.weight, dim=(-2, -1), keepdim=True))
            return whole.squeeze((-2, -1))
        rows, cols = self.weight.shape
        parts = (slice(k, min(k + _ROWS, rows)) for k in range(0, rows, _ROWS))
        squares = [self.weight[part, slice(0, cols)].float().square().sum() for part in parts]
        return torch.stack(squares).sum().sqrt()

    def shrink(self, size: Tensor, limit: Tensor | float) -> None:
        """Scale ``B`` so that ``size [...]``, which is proportional to it, is at most ``limit``."""
        factor = (limit / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1.0)
        self.B.mul_(_beside(factor[..., None, None].to(self.B.dtype), self.B))


def products(model: Any) -> Iterator[Product]:
    """Yield the products of ``model`` that train, in its order."""
    for layer in model.modules():
        if isinstance(layer, BoundedLoraLayer):
            for name in layer.active():
                yield from _of(layer, name)


def check(model: Any, name: str, *, plain: bool = False, scales: bool = True) -> None:
    """Raise InputError when the stabiliser ``name`` has nothing in ``model`` that it can measure.

    With ``plain`` it is for changes that are the low-rank product itself; with ``scales`` it scales
    or clips factors, which takes a change to nothing only where B starts at zero.
    """
    every = list(products(model))
    if not every:
        raise InputError(
            f"The stabiliser {name} measures a change by its low-rank factors.",
            got="a model without an adapter that trains",
            remedy="Add an adapter to the recipe, or use training.weight_decay.",
        )
    if scales and (started := next((each for each in every if each.start), None)):
        raise InputError(
            f"The stabiliser {name} shrinks factors, and with an informed start a smaller product "
            "is not a smaller change.",
            got=f"adapter.start fila on {started.name}",
            remedy="Set adapter.start to zero, or use l2_product.",
        )
    if plain and (bounded := next((each for each in every if each.bounded), None)):
        raise InputError(
            f"The stabiliser {name} is for changes that are a low-rank product, not a bounded "
            "function of one.",
            got=f"a bounded adapter on {bounded.name}",
            remedy="Set adapter.bound to identity, or use clip_change or l2_product.",
        )


def _of(layer: BoundedLoraLayer, name: str) -> Iterator[Product]:
    for index, matrix in enumerate(layer.matrices):
        A, B, *start = layer.factors([name], index)
        if not B.requires_grad:
            continue
        plan = layer.plan([name], index)
        change = plan.changes[0]
        slope = float(change.bound.derivative(torch.zeros(())))
        yield Product(
            full_name(layer.name, matrix),
            A,
            B,
            change.scale * change.omega * slope,
            change.bound.bounded,
            plan.read(layer.weight(index)),
            tuple(start),
        )


def _whole(tensor: Tensor) -> Tensor:
    """Return a factor, which may be sharded over processes, whole and in fp32 (or fp64)."""
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.to(phase_type(whole))


def _beside(factor: Tensor, parameter: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return factor
    mesh = parameter.device_mesh
    return DTensor.from_local(factor, mesh, [Replicate()] * mesh.ndim)
