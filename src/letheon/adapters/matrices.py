"""Which stored matrices a layer has: one in a linear layer, two stacks in a mixture's experts.

Since transformers 5 the experts of a mixture are one module that holds two parameters,
``gate_up_proj`` (or ``up_proj``) and ``down_proj``, each a stack of one matrix per expert. A class
decorated with transformers' ``use_experts_implementation`` says of itself how they are stored and
used; other classes compute in ways of their own, which nothing here can know.
"""

from __future__ import annotations

__all__ = ["Matrix", "is_opaque_stack", "is_stack", "matrices"]

from typing import NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from letheon.adapters.quantised import is_quantised

_DECLARED = {"has_gate", "has_bias", "is_transposed"}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Matrix(NamedTuple):
    """A parameter of a layer: ``[out, in]``, ``[in, out]`` if ``transposed``.

    With a number of ``experts`` it is a stack, ``[experts, out, in]`` or ``[experts, in, out]``.
    """

    weight: str
    bias: str | None
    out_features: int
    in_features: int
    transposed: bool = False
    experts: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The matrix's ``(out, in)``, whatever its layout."""
        return self.out_features, self.in_features

    @property
    def stored(self) -> tuple[int, int]:
        """The shape of one stored matrix, ``(in, out)`` if transposed."""
        return self.shape[::-1] if self.transposed else self.shape


def matrices(layer: nn.Module) -> tuple[Matrix, ...]:
    """Return the matrices of ``layer`` that can be adapted; none for any other kind of module.

    A weight that bitsandbytes has quantised is one, always ``[out, in]``; other quantised weights
    are none: their stored numbers are not the matrix.
    """
    if is_quantised(layer):
        assert isinstance(layer, nn.Linear)
        return (Matrix("weight", "bias", layer.out_features, layer.in_features),)
    if isinstance(layer, nn.Linear | Conv1D):
        if layer.weight.dtype not in _FLOATS or type(layer.weight).__name__ == "Params4bit":
            return ()
        transposed = isinstance(layer, Conv1D)
        rows, cols = layer.weight.shape
        out, in_ = (cols, rows) if transposed else (rows, cols)
        return (Matrix("weight", "bias", out, in_, transposed),)
    if vars(layer).keys() >= _DECLARED:
        return _stacks(layer)
    return ()


def is_stack(layer: nn.Module) -> bool:
    """Whether ``layer`` is the experts of a mixture, in a form that can be adapted."""
    return any(matrix.experts is not None for matrix in matrices(layer))


def is_opaque_stack(name: str, module: nn.Module) -> bool:
    """Whether the module ``name`` stacks experts in a way that is not known here."""
    stacked = any(parameter.dim() == 3 for parameter in module.parameters(recurse=False))
    return stacked and name.endswith("experts") and not matrices(module)


def _stacks(experts: nn.Module) -> tuple[Matrix, ...]:
    names = ("gate_up_proj" if experts.has_gate else "up_proj", "down_proj")
    own = dict(experts.named_parameters(recurse=False))
    if not all(name in own and own[name].dtype in _FLOATS for name in names):
        return ()
    result = []
    for name in names:
        count, rows, cols = own[name].shape
        transposed = bool(experts.is_transposed)
        out, in_ = (cols, rows) if transposed else (rows, cols)
        bias = f"{name}_bias" if experts.has_bias else None
        result.append(Matrix(name, bias, out, in_, transposed, count))
    return tuple(result)
