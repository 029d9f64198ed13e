"""Effective weights kept between calls, and dropped when a factor or the weight changes."""

from __future__ import annotations

__all__ = ["KeptWeight"]

from collections.abc import Sequence

import torch
from torch import Tensor


class KeptWeight:
    """Holds at most one effective weight.

    A change is seen by the tensors' identity, storage and version counter: optimizers,
    ``load_state_dict`` and in-place operations count; writing through ``tensor.data`` does not.
    Two views of the same part of a tensor are the same: a stack's matrices are cut out anew at
    each call.
    """

    def __init__(self) -> None:
        self._effective: Tensor | None = None
        self._tensors: tuple[Tensor, ...] = ()
        self._state: tuple[tuple[int, int], ...] = ()

    def find(self, weight: Tensor, factors: Sequence[Tensor], dtype: torch.dtype) -> Tensor | None:
        """Return the kept weight in ``dtype`` if ``weight`` and ``factors`` are unchanged."""
        if self._effective is None:
            return None
        tensors = (weight, *factors)
        same = (
            self._effective.dtype == dtype
            and len(tensors) == len(self._tensors)
            and all(_same(a, b) for a, b in zip(tensors, self._tensors, strict=True))
            and _state(tensors) == self._state
        )
        if not same:
            self.drop()
        return self._effective

    def keep(self, effective: Tensor, weight: Tensor, factors: Sequence[Tensor]) -> None:
        """Keep ``effective``, replacing what was kept."""
        tensors = (weight, *factors)
        if any(tensor.is_inference() for tensor in tensors):
            return  # such tensors count no versions: a change could not be seen
        self._effective, self._tensors, self._state = effective, tensors, _state(tensors)

    def drop(self) -> None:
        """Free the kept weight."""
        self._effective, self._tensors, self._state = None, (), ()


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    views = a._base is not None and a._base is b._base
    return views and (a.shape, a.stride()) == (b.shape, b.stride())  # the storage is in _state


def _state(tensors: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
