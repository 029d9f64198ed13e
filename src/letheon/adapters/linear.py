"""The adapted linear map as one autograd function that keeps nothing of the weight's size.

``y = x (W + sum_k s_k phi_k(omega_k B_k A_k))^T + b`` with one matrix product on the effective
weight, which is built in panels, used and dropped, and built again in the backward pass. Saved for
backward are ``x``, ``W`` and the factors. Shapes: ``x [..., in]``, ``A [r, in]``, ``B [out, r]``;
the stored weight is ``[out, in]`` (``nn.Linear``) or ``[in, out]`` (transformers' ``Conv1D``).

Everything below works on the stored layout: ``phase = omega L R`` with ``L, R = B, A`` or, for the
transposed layout, ``A^T, B^T``. Phase and bound are computed in fp32 whatever the weight's type
(fp64 for fp64 factors): at omega 100 the eight bits of bf16 would lose the sine's argument.

A quantised weight is read through ``Plan.reader`` a tile at a time; it takes no gradient.
"""

from __future__ import annotations

__all__ = [
    "Change",
    "Plan",
    "Readable",
    "block",
    "bounded_linear",
    "effective_weight",
    "phase_type",
    "stored",
]

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from letheon.adapters.bounds import Bound

# A product of fewer columns runs below the processor's speed; one panel is enough for a matrix
# that fits the cache; a tile is the share of the fast cache one pointwise operand may take.
PANEL_COLUMNS = {torch.float32: 384, torch.float64: 384, torch.bfloat16: 384, torch.float16: 384}
PANEL_MULTIPLE = 128
PANEL_ELEMENTS = 2**18
TILE_ELEMENTS = 2**17
# An accelerator works on a piece in as many threads and pays for every piece's launches: a panel is
# larger there, by calculation for a second-level cache of 50 MB, and one tile.
ACCELERATOR_PANEL_ELEMENTS = 2**22
ACCELERATOR_TILE_ELEMENTS = 2**23


class Change(NamedTuple):
    """``scale * phi(omega * B A)``: one adapter's settings without its factors."""

    bound: Bound
    omega: float
    scale: float


class Readable(Protocol):
    """A matrix whose blocks can be read: a tensor, or a quantised weight."""

    shape: Any

    def __getitem__(self, block: tuple[slice, slice], /) -> Tensor:
        """Return the entries of some rows and columns."""


class WeightKeeper(Protocol):
    """Gives back an effective weight it kept, if neither weight nor factors have changed since."""

    def find(self, weight: Tensor, factors: Sequence[Tensor], dtype: torch.dtype) -> Tensor | None:
        """Return the kept weight, or None."""

    def keep(self, effective: Tensor, weight: Tensor, factors: Sequence[Tensor]) -> None:
        """Keep ``effective`` until weight or factors change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to compute: the changes, the stored layout, the panel's width (None: chosen by size).

    With a ``keeper`` the effective weight is kept between forward and backward (and further
    forwards) instead of being built panel by panel. A ``reader`` makes the stored numbers of a
    quantised weight readable.
    """

    changes: tuple[Change, ...]
    transposed: bool = False
    panel: int | None = None
    keeper: WeightKeeper | None = None
    reader: Callable[[Tensor], Readable] | None = None

    def read(self, weight: Tensor) -> Readable:
        """Return the matrix that ``weight`` stores."""
        return weight if self.reader is None else self.reader(weight)


class Stored(NamedTuple):
    """A change in the stored layout: ``left [m, r]`` (holds omega already), ``right [r, n]``."""

    change: Change
    left: Tensor
    right: Tensor

    def columns(self, cols: slice) -> Stored:
        """Return the change of some columns only."""
        return self._replace(right=self.right[:, cols].contiguous())

    def phase(self, rows: slice) -> Tensor:
        """Return ``omega L R`` for some rows."""
        return self.left[rows] @ self.right


def phase_type(factor: Tensor) -> torch.dtype:
    """Return the type phases are computed in: fp32, or fp64 for fp64 factors."""
    return torch.float64 if factor.dtype == torch.float64 else torch.float32


def stored(plan: Plan, factors: Sequence[Tensor]) -> list[Stored]:
    """Pair every change of ``plan`` with its factors ``A1, B1, A2, B2, ...`` in stored layout."""
    result = []
    for index, change in enumerate(plan.changes):
        A, B = factors[2 * index], factors[2 * index + 1]
        left, right = (A.t(), B.t()) if plan.transposed else (B, A)
        dtype = phase_type(A)
        result.append(Stored(change, left.to(dtype) * change.omega, right.to(dtype)))
    return result


def block(
    weight: Readable, changes: Sequence[Stored], rows: slice, cols: slice, into: Tensor
) -> Tensor:
    """Write ``weight[rows, cols]`` with ``changes`` added, rounded once, into ``into``."""
    panel = [change.columns(cols) for change in changes]
    for tile in _tiles(rows, cols, into.device):
        phases = [change.phase(tile) for change in panel]
        _add_values(panel, phases, weight[tile, cols], _inside(into, tile, rows))
    return into


@torch.no_grad()
def effective_weight(
    weight: Tensor, plan: Plan, factors: Sequence[Tensor], dtype: torch.dtype
) -> Tensor:
    """Build the whole effective weight in the stored layout, without a gradient.

    Of a stack ``[count, ...]`` with factors ``[count, ...]`` it is built one matrix at a time.
    """
    matrix = plan.read(weight)
    rows, cols = (slice(0, size) for size in matrix.shape[-2:])
    into = torch.empty(matrix.shape, dtype=dtype, device=weight.device)
    if into.dim() == 2:
        return block(matrix, stored(plan, factors), rows, cols, into)
    for part in range(len(weight)):
        changes = stored(plan, [factor[part] for factor in factors])
        block(weight[part], changes, rows, cols, into[part])
    return into


def bounded_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, factors: Sequence[Tensor]
) -> Tensor:
    """Apply the adapted linear map to ``x [..., in]``; the product is computed in ``x``'s type.

    ``factors`` are ``A1, B1, A2, B2, ...``, two for every change of ``plan``. Differentiable once
    in ``x``, ``weight``, ``bias`` and ``factors``.
    """
    with _without_autocast(x):
        apply: Any = _BoundedLinear.apply  # untyped in torch
        result: Tensor = apply(x, weight, bias, plan, *factors)
    return result


class _BoundedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, *factors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *factors)
        ctx.plan = plan
        flat = x.reshape(-1, x.shape[-1])
        n_out = plan.read(weight).shape[1 if plan.transposed else 0]
        bias = None if bias is None else bias.to(x.dtype)
        y = _forward(flat, weight, bias, plan, factors)
        return y.view(*x.shape[:-1], n_out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *factors = ctx.saved_tensors
        needs = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        with _without_autocast(grad):
            pass_ = _Backward(x.reshape(-1, x.shape[-1]), flat, weight, ctx.plan, factors, needs)
            pass_.run()
        grad_x = None if pass_.grad_x is None else pass_.grad_x.view(x.shape)
        grad_bias = flat.sum(0) if needs[2] else None
        return grad_x, pass_.grad_weight, grad_bias, None, *pass_.factor_gradients()


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, factors: Sequence[Tensor]
) -> Tensor:
    kept = _kept(weight, plan, factors, x.dtype, build=True)
    if kept is not None:
        return _product(x, kept, bias, plan)
    matrix, changes = plan.read(weight), stored(plan, factors)
    every = _full(matrix)
    panels = list(_panels(matrix, plan, 1 if plan.transposed else 0, x))
    scratch = _Scratch(x)
    y = x.new_empty((x.shape[0], panels[-1].stop)) if len(panels) > 1 else None
    for panel in panels:
        rows, cols = (every[0], panel) if plan.transposed else (panel, every[1])
        effective = block(matrix, changes, rows, cols, scratch.block("weight", rows, cols))
        if y is None:
            return _product(x, effective, bias, plan)
        torch.mm(x, effective if plan.transposed else effective.t(), out=y[:, panel])
    assert y is not None
    return y if bias is None else y.add_(bias)


class _Scratch:
    """Memory that the panels of one pass share: fresh pages cost as much as the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._buffers: dict[str, Tensor] = {}

    def block(self, name: str, rows: slice, cols: slice) -> Tensor:
        """Return an uninitialised block; one name's blocks overwrite each other, largest first."""
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        if name not in self._buffers:
            self._buffers[name] = self._like.new_empty(shape[0] * shape[1])
        return self._buffers[name][: shape[0] * shape[1]].view(shape)


class _Backward:
    """One backward pass in panels of the input's columns, so that each is written once."""

    def __init__(
        self,
        x: Tensor,
        grad: Tensor,
        weight: Tensor,
        plan: Plan,
        factors: Sequence[Tensor],
        needs: Sequence[bool],
    ) -> None:
        self.x, self.grad, self.plan, self.factors = x, grad, plan, factors
        self.weight = plan.read(weight)
        self.needs_x, self.needs_weight, self.needs_factor = needs[0], needs[1], needs[4:]
        self.changes = stored(plan, factors)
        self.scratch = _Scratch(x)
        self.needs_change = [
            self.needs_factor[2 * k] or self.needs_factor[2 * k + 1]
            for k in range(len(self.changes))
        ]
        self.grad_x = torch.empty_like(x) if self.needs_x else None
        self.grad_weight = torch.empty_like(weight) if self.needs_weight else None
        self.left = [torch.zeros_like(c.left) for c in self.changes]
        self.right = [torch.zeros_like(c.right) for c in self.changes]
        self.kept = _kept(weight, plan, factors, x.dtype, build=False) if self.needs_x else None

    def run(self) -> None:
        every = _full(self.weight)
        dimension = 0 if self.plan.transposed else 1
        for panel in _panels(self.weight, self.plan, dimension, self.x):
            rows, cols = (panel, every[1]) if self.plan.transposed else (every[0], panel)
            self._panel(panel, rows, cols)

    def _panel(self, panel: slice, rows: slice, cols: slice) -> None:
        product = None
        if self.needs_weight or any(self.needs_change):
            x = self.x[:, panel]
            pair = (x, self.grad) if self.plan.transposed else (self.grad, x)
            product = self.scratch.block("product", rows, cols)
            torch.mm(pair[0].t(), pair[1], out=product)
        if self.grad_weight is not None and product is not None:
            self.grad_weight[rows, cols] = product
        effective = self._pointwise(product, rows, cols)
        if self.grad_x is not None and effective is not None:
            by = effective.t() if self.plan.transposed else effective
            torch.mm(self.grad, by, out=self.grad_x[:, panel])

    def _pointwise(self, product: Tensor | None, rows: slice, cols: slice) -> Tensor | None:
        """Return the effective block (if asked for) and add to the factors' gradients."""
        built = None
        if self.needs_x and self.kept is None:
            built = self.scratch.block("weight", rows, cols)
        changes = [change.columns(cols) for change in self.changes]
        wanted = any(self.needs_change) or built is not None
        for tile in _tiles(rows, cols, self.x.device) if wanted else ():
            phases = [change.phase(tile) for change in changes]
            if built is not None:
                _add_values(changes, phases, self.weight[tile, cols], _inside(built, tile, rows))
            if product is not None:
                self._factors(changes, phases, _inside(product, tile, rows), tile, cols)
        return built if self.kept is None else self.kept[rows, cols]

    def _factors(
        self,
        changes: Sequence[Stored],
        phases: Sequence[Tensor],
        product: Tensor,
        tile: slice,
        cols: slice,
    ) -> None:
        for index, (change, left, right) in enumerate(changes):
            if self.needs_change[index]:
                masked = change.bound.derivative(phases[index])
                # mixed types in one pointwise operation are several times slower
                masked.mul_(product.to(masked.dtype))
                self.left[index][tile].addmm_(masked, right.t())
                self.right[index][:, cols].addmm_(left[tile].t(), masked)

    def factor_gradients(self) -> Iterator[Tensor | None]:
        """Yield the gradients of ``A1, B1, A2, B2, ...`` in the factors' own types."""
        for index, stored_change in enumerate(self.changes):
            if not self.needs_change[index]:
                yield from (None, None)
                continue
            change, dtype = stored_change.change, self.factors[2 * index].dtype
            left = self.left[index].mul_(change.scale * change.omega).to(dtype)
            right = self.right[index].mul_(change.scale).to(dtype)
            yield from (left.t(), right.t()) if self.plan.transposed else (right, left)


def _kept(
    weight: Tensor, plan: Plan, factors: Sequence[Tensor], dtype: torch.dtype, *, build: bool
) -> Tensor | None:
    if plan.keeper is None:
        return None
    effective = plan.keeper.find(weight, factors, dtype)
    if effective is None and build:
        effective = effective_weight(weight, plan, factors, dtype)
        plan.keeper.keep(effective, weight, factors)
    return effective


def _product(x: Tensor, effective: Tensor, bias: Tensor | None, plan: Plan) -> Tensor:
    by = effective if plan.transposed else effective.t()
    return x @ by if bias is None else torch.addmm(bias, x, by)


def _add_values(
    changes: Sequence[Stored], phases: Sequence[Tensor], weight: Tensor, into: Tensor
) -> None:
    """Write ``weight + sum_k s_k phi_k(phase_k)`` into ``into``, rounded once."""
    last = len(changes) - 1
    total = weight
    for index, ((change, _, _), phase) in enumerate(zip(changes, phases, strict=True)):
        value = change.bound.value(phase)
        # a strided conversion is several times slower than a strided copy and a conversion
        total = total.contiguous().to(value.dtype) if total.dtype != value.dtype else total
        if index == last and into.dtype == value.dtype:
            torch.add(total, value, alpha=change.scale, out=into)
            return
        total = torch.add(total, value, alpha=change.scale)
    into.copy_(total)


def _inside(panel: Tensor, tile: slice, rows: slice) -> Tensor:
    """Return the rows ``tile`` of a panel that starts at ``rows``."""
    return panel[tile.start - rows.start : tile.stop - rows.start]


def _full(weight: Readable) -> tuple[slice, slice]:
    return slice(0, weight.shape[0]), slice(0, weight.shape[1])


def _panels(weight: Readable, plan: Plan, dimension: int, x: Tensor) -> Iterator[slice]:
    """Cut a dimension of the stored weight into panels, the last one ragged."""
    size, other = weight.shape[dimension], weight.shape[1 - dimension]
    width = plan.panel or _panel_width(size, other, x.dtype, x.device)
    return (slice(start, min(start + width, size)) for start in range(0, size, width))


def _panel_width(size: int, other: int, dtype: torch.dtype, device: torch.device) -> int:
    """Choose equal panels of whole blocks: a narrow last one runs at half the speed."""
    elements = PANEL_ELEMENTS if device.type == "cpu" else ACCELERATOR_PANEL_ELEMENTS
    least = max(PANEL_COLUMNS.get(dtype, 384), -(-elements // other))
    count = max(1, size // least)
    return -(-size // (count * PANEL_MULTIPLE)) * PANEL_MULTIPLE


def _tiles(rows: slice, cols: slice, device: torch.device) -> list[slice]:
    """Cut ``rows`` so that a tile of all ``cols`` stays in the cache."""
    elements = TILE_ELEMENTS if device.type == "cpu" else ACCELERATOR_TILE_ELEMENTS
    size = rows.stop - rows.start
    count = max(1, -(-size * (cols.stop - cols.start) // elements))
    height = -(-size // count)
    cuts = range(rows.start, rows.stop, height)
    return [slice(start, min(start + height, rows.stop)) for start in cuts]


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
