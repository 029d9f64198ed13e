"""Counts the memory of tensors as it is taken and given back, without looking at their numbers.

Under torch's fake tensors, which have shapes and no numbers, a step of any model can be run and its
memory counted on any machine. What a kernel takes and gives back inside one operation is not seen.
"""

from __future__ import annotations

__all__ = ["Ledger"]

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within ``with Ledger() as ledger`` every storage that comes to be is counted once.

    ``now`` and ``peak`` are bytes; ``restart`` forgets the peak.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def restart(self) -> None:
        """Count the peak from now on."""
        self.peak = self.now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        weakref.finalize(storage, self._give_back, key, size)

    def _give_back(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
