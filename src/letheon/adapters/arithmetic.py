"""Arithmetic on whole adapters: what one adds may be scaled or subtracted, whatever its bound.

An adapter's change is ``gain * s * phi(omega * B A)``. The gain stands outside ``phi``, so scaling
is exact for every bound, where scaling ``B`` would be so for plain LoRA alone. Active adapters of
one model add up: of two, one with a negative gain is subtracted.
"""

from __future__ import annotations

__all__ = ["gains", "negate", "principal_angles", "read_factors", "set_gain"]

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from letheon.adapters.config import check_gain
from letheon.adapters.layer import BoundedLoraLayer


def set_gain(model: Any, gain: float, adapter: str = "default") -> None:
    """Let ``adapter`` of a PEFT model count ``gain`` times; its saved config says so.

    Raises ModelError for a gain that is zero or not finite.
    """
    check_gain(gain)
    config = model.peft_config[adapter]
    for layer in _layers(model):
        layer.scale(adapter, gain / config.gain)
    config.gain = gain


def negate(model: Any, adapter: str = "default") -> None:
    """Let ``adapter`` take away what it added, or add what it took away."""
    set_gain(model, -model.peft_config[adapter].gain, adapter)


def gains(model: Any) -> dict[str, float]:
    """Return the gain of each adapter of a PEFT model."""
    return {name: config.gain for name, config in model.peft_config.items()}


def read_factors(folder: Path) -> dict[str, Tensor]:
    """Return every ``A [r, in]`` of a saved adapter, or stack of them, by its matrix's name."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.endswith("_A")}


def principal_angles(one: Tensor, other: Tensor) -> Tensor:
    """Return the principal angles between two row spaces, in degrees, the smallest first.

    ``one [..., r, n]`` and ``other [..., k, n]``, of full rank, give ``[..., min(r, k)]``.
    """
    bases = (torch.linalg.qr(rows.double().mT).Q for rows in (one, other))
    first, second = bases
    cosines = torch.linalg.svdvals(first.mT @ second)
    return torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))


def _layers(model: Any) -> list[BoundedLoraLayer]:
    return [module for module in model.modules() if isinstance(module, BoundedLoraLayer)]
