"""Linear layers of a short type on a CPU that has no arithmetic for it.

There torch emulates a product's every number, two hundred times slower than in fp32 where the
second factor is not transposed, which is every backward pass. Such layers are computed as the
adapted ones are, in fp32 and block by block (see ``blocks``), with the same rounding.
"""

from __future__ import annotations

__all__ = ["ConvertedLinear", "convert"]

from torch import Tensor, nn
from torch.nn.functional import linear

from letheon.adapters.blocks import arithmetic
from letheon.adapters.linear import Plan, bounded_linear


class ConvertedLinear(nn.Linear):
    """A linear layer that is converted block by block where its type would be emulated."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name for it)
        """Map ``input [..., in]`` to ``[..., out]``."""
        if input.dtype != self.weight.dtype or arithmetic(input) == input.dtype:
            return linear(input, self.weight, self.bias)
        return bounded_linear(input, self.weight, self.bias, Plan(()), ())


def convert(model: nn.Module) -> None:
    """Let the plain linear layers of ``model`` whose type this machine emulates be converted."""
    for layer in model.modules():
        if type(layer) is nn.Linear and _is_emulated(layer.weight):
            layer.__class__ = ConvertedLinear


def _is_emulated(weight: Tensor) -> bool:
    return weight.is_floating_point() and arithmetic(weight) != weight.dtype
