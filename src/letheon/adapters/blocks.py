"""How a matrix is cut: panels for the products, tiles within them for what is done entry by entry.

On a CPU a product of fewer columns runs below the processor's speed, one panel is enough for a
matrix that fits the cache, and a tile is the share of the fast cache that one pointwise operand may
take (measured: bench/adapter_layer.py). An accelerator pays for every kernel it starts, so there
a panel is larger, by calculation for a second-level cache of 50 MB, and often one tile.

A CPU without instructions for a short type emulates its products at a seventh to a two-hundredth of
its fp32 speed (an EPYC with AVX2, 30 GFLOP/s: bf16 5 with the second factor transposed, 0.13
without). There they are done in fp32, block by block, and rounded; sums are in fp32 either way.
"""

from __future__ import annotations

__all__ = ["ACCELERATOR", "CPU", "Blocks", "arithmetic", "as_on", "of"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """The least ``columns`` and ``entries`` of a panel, the most entries of a ``tile``.

    A panel's width is a ``multiple`` of some columns. ``converts``: whether products of short
    types are done in fp32 where the processor has no arithmetic for them.
    """

    columns: int
    entries: int
    tile: int
    multiple: int = 128
    converts: bool = False

    def panels(self, size: int, other: int, width: int | None = None) -> list[slice]:
        """Cut a dimension of ``size`` into equal panels, the last one ragged.

        ``other`` is the size of the dimension that is not cut; ``width`` overrides the choice.
        """
        width = width or self._width(size, other)
        return [slice(start, min(start + width, size)) for start in range(0, size, width)]

    def tiles(self, rows: slice, cols: slice) -> list[slice]:
        """Cut ``rows`` so that a tile of all ``cols`` is small enough."""
        size = rows.stop - rows.start
        count = max(1, -(-size * (cols.stop - cols.start) // self.tile))
        height = -(-size // count)
        cuts = range(rows.start, rows.stop, height)
        return [slice(start, min(start + height, rows.stop)) for start in cuts]

    def _width(self, size: int, other: int) -> int:
        # Equal panels of whole blocks: a narrow last one runs at half the speed.
        least = max(self.columns, -(-self.entries // other))
        count = max(1, size // least)
        return -(-size // (count * self.multiple)) * self.multiple


CPU = Blocks(columns=384, entries=2**18, tile=2**17, converts=True)
ACCELERATOR = Blocks(columns=2048, entries=2**22, tile=2**23)

_SHORT = {torch.bfloat16: "bf16", torch.float16: "fp16"}

_instead: Blocks | None = None


def of(device: torch.device) -> Blocks:
    """Return how matrices on ``device`` are cut."""
    if _instead is not None:
        return _instead
    return CPU if device.type == "cpu" else ACCELERATOR


def arithmetic(x: Tensor) -> torch.dtype:
    """Return the type in which ``x`` is multiplied: its own, or fp32 for one that is emulated."""
    if x.dtype in _SHORT and of(x.device).converts and not _native(x.dtype):
        return torch.float32
    return x.dtype


@contextmanager
def as_on(blocks: Blocks) -> Iterator[None]:
    """Cut as ``blocks`` says in the block, whatever the device: for plans and for tests."""
    global _instead
    before, _instead = _instead, blocks
    try:
        yield
    finally:
        _instead = before


@cache
def _native(dtype: torch.dtype) -> bool:
    """Whether oneDNN, which torch multiplies with, has a kernel for ``dtype`` on this CPU."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{_SHORT[dtype]}_supported")())
