"""FILA, an informed start of an adapter: what forgetting needs of a weight and keeping does not.

Cha et al. 2025 (LoKU, arXiv 2408.06621). Of a weight ``W [out, in]`` with importances
``I = F_forget / (F_retain + 1e-5)`` and row weights ``d_i = sqrt(sum_j I_ij)``:
``U S V^T = SVD_r(diag(d) W)``, ``S' = S / gain``, ``A = (V sqrt(S'))^T [r, in]``,
``B = diag(1 / (d + 1e-5)) U sqrt(S') [out, r]``, so that ``gain B A`` is the part of ``W`` that
matters most for the forget set. ``F`` is the token-weighted mean, over batches, of the squared
gradient of each weight (of the mean negative log-likelihood of a batch's answer tokens).

Departures. The original writes ``W - (alpha / r) B A`` into the weight; here ``W`` stays, and the
start is taken away inside the adapter: ``W + s (phi(omega B A) - phi(omega B0 A0))``. For plain
LoRA (gain ``alpha / r``) that is the original, function and gradients. For a bounded ``phi`` it is
a reconstruction: gain ``s omega phi'(0)``, and where a phase ``omega B0 A0`` would exceed ``REACH``
the pair is scaled down, both factors alike, so that it does not: within it every bound's slope is
above half of that at zero. The start is then the same direction, of a smaller size. A matrix of
which no weight matters at all (an expert that no token went to) keeps the ordinary start.
"""

from __future__ import annotations

__all__ = ["REACH", "Loss", "fila", "inform", "squared_gradients", "within_reach"]

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from letheon.adapters.layer import BoundedLoraLayer

# Computes a batch's mean negative log-likelihood, with gradient, and its number of answer tokens.
Loss = Callable[[], tuple[Tensor, int]]

REACH = 0.4
_EPSILON = 1e-5
# Weights whose squared gradients are held at one time: 1 GiB for both sides in fp32.
_AT_ONCE = 2**27


@torch.no_grad()
def fila(weight: Tensor, importance: Tensor, *, r: int, gain: float) -> tuple[Tensor, Tensor]:
    """Return ``A [r, in]`` and ``B [out, r]`` of ``weight [out, in]``, in fp32."""
    d = importance.float().sum(1).sqrt()
    u, s, vt = torch.linalg.svd(d[:, None] * weight.float(), full_matrices=False)
    root = (s[:r] / gain).sqrt()
    return root[:, None] * vt[:r], u[:, :r] * root / (d[:, None] + _EPSILON)


@torch.no_grad()
def within_reach(A: Tensor, B: Tensor, *, omega: float) -> tuple[Tensor, Tensor]:
    """Scale both factors alike so that no entry of ``omega B A`` is above ``REACH``."""
    rows = max(1, 2**22 // A.shape[1])
    parts = torch.split(B, rows)
    largest = max(float((omega * part @ A).abs().max()) for part in parts)
    shrunk = min(1.0, REACH / largest) ** 0.5 if largest else 1.0
    return A * shrunk, B * shrunk


def squared_gradients(weights: Sequence[Tensor], losses: Sequence[Loss]) -> list[Tensor]:
    """Return the token-weighted mean squared gradient of each weight, in fp32.

    Of the gradients themselves only one weight's are held at a time.
    """
    hook: Any = Tensor.register_post_accumulate_grad_hook  # untyped in torch
    totals = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    tokens = 0

    def collect(total: Tensor, weight: Tensor) -> None:
        assert weight.grad is not None
        total.addcmul_(weight.grad.float(), weight.grad.float(), value=count)
        weight.grad = None

    handles = [
        hook(weight, lambda w, total=total: collect(total, w))
        for weight, total in zip(weights, totals, strict=True)
    ]
    try:
        for loss in losses:
            value, count = loss()
            value.backward()  # type: ignore[no-untyped-call]
            tokens += count
    finally:
        for handle in handles:
            handle.remove()
    return [total / tokens for total in totals]


def inform(model: Any, forget: Sequence[Loss], retain: Sequence[Loss]) -> None:
    """Give every matrix of the adapter that trains its informed start.

    ``model`` is a fresh PEFT model whose config says ``start="fila"``; the losses run it, and are
    run once for every part of the weights that is looked at in one go.
    """
    fixed = [p for p in model.parameters() if p.requires_grad]
    for part in _parts(list(_matrices(model))):
        weights = [layer.weight(index) for layer, _, index in part]
        try:
            for weight in weights:
                weight.requires_grad_(True)
            for parameter in fixed:
                parameter.requires_grad_(False)
            pair = [squared_gradients(weights, losses) for losses in (forget, retain)]
        finally:
            for weight in weights:
                weight.requires_grad_(False)
            for parameter in fixed:
                parameter.requires_grad_(True)
        for (layer, name, index), f, k in zip(part, *pair, strict=True):
            _start(layer, name, index, f / (k + _EPSILON))


def _matrices(model: Any) -> Iterator[tuple[BoundedLoraLayer, str, int]]:
    for layer in model.modules():
        if isinstance(layer, BoundedLoraLayer):
            for name in layer.active():
                yield from ((layer, name, index) for index in range(len(layer.matrices)))


def _parts(
    matrices: Sequence[tuple[BoundedLoraLayer, str, int]],
) -> Iterator[list[tuple[BoundedLoraLayer, str, int]]]:
    part: list[tuple[BoundedLoraLayer, str, int]] = []
    size = 0
    for each in matrices:
        entries = each[0].weight(each[2]).numel()
        if part and size + entries > _AT_ONCE:
            yield part
            part, size = [], 0
        part, size = [*part, each], size + entries
    yield part


def _start(layer: BoundedLoraLayer, name: str, index: int, importance: Tensor) -> None:
    matrix, change = layer.matrices[index], layer.changes[name][index]
    A, B, *_ = (factor.detach().clone() for factor in layer.factors([name], index))
    weight = layer.weight(index).detach()
    slope = float(change.bound.derivative(torch.zeros(())))
    stack = [...] if matrix.experts is None else list(range(matrix.experts))
    for part in stack:
        W, importance_of = (
            t[part].mT if matrix.transposed else t[part] for t in (weight, importance)
        )
        if not importance_of.any():
            continue
        gain = change.scale * change.omega * slope
        pair = fila(W, importance_of, r=A.shape[-2], gain=gain)
        if change.bound.bounded:
            pair = within_reach(*pair, omega=change.omega)
        A[part], B[part] = pair
    layer.set_start(name, index, A, B)
