"""The layer that replaces a linear layer: holds the factors, computes, merges, unmerges."""

from __future__ import annotations

__all__ = ["BoundedLoraLinear"]

import math
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.keep import KeptWeight
from letheon.adapters.linear import Change, Plan, bounded_linear, effective_weight
from letheon.errors import ModelError


class BoundedLoraLinear(nn.Module, BaseTunerLayer):
    """A linear layer (``nn.Linear`` or ``Conv1D``) with any number of named bounded adapters.

    Active adapters add up: ``W + sum_k s_k phi_k(omega_k B_k A_k)``.
    """

    adapter_layer_names = ("bounded_lora_A", "bounded_lora_B")
    other_param_names = ("changes", "keep_weight")

    if TYPE_CHECKING:
        # inherited, but hidden from the checker by nn.Module.__getattr__
        active_adapters: list[str]
        disable_adapters: bool
        merged: bool
        get_base_layer: Callable[[], Any]
        set_adapter: Callable[..., None]

    def __init__(self, base_layer: nn.Module, name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        layer = self.get_base_layer()
        self.name = name
        self.transposed = isinstance(layer, Conv1D)
        shape = _matrix_shape(layer, name)
        self.out_features, self.in_features = shape[::-1] if self.transposed else shape
        self.bounded_lora_A = nn.ParameterDict()
        self.bounded_lora_B = nn.ParameterDict()
        self.changes: dict[str, Change] = {}
        self.keep_weight: dict[str, str] = {}
        self.merged_adapters: list[str] = []
        self._kept = KeptWeight()
        self._unmerged: Tensor | None = None
        self._plans: dict[tuple[str, ...], Plan] = {}

    def add(self, adapter: str, config: BoundedLoraConfig, change: Change) -> None:
        """Add an adapter: A kaiming-uniform, B zero, on the weight's device.

        Raises:
            ModelError: the rank is above the matrix's smaller side.
        """
        check_rank(self.name, (self.out_features, self.in_features), config.r)
        weight = self.get_base_layer().weight
        dtype = torch.promote_types(weight.dtype, torch.float32) if config.fp32_factors else None
        like = {"device": weight.device, "dtype": dtype or weight.dtype}
        A = torch.empty(config.r, self.in_features, **like)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=self._generator(config, A.device))
        self.bounded_lora_A[adapter] = nn.Parameter(A)
        self.bounded_lora_B[adapter] = nn.Parameter(
            torch.zeros(self.out_features, config.r, **like)
        )
        self.changes[adapter] = change
        self.keep_weight[adapter] = config.keep_weight
        self._plans.clear()
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map ``x [..., in]`` to ``[..., out]``."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        active = self.active() if not (self.disable_adapters or self.merged) else []
        bounded = tuple(name for name in active if self.changes[name].bound.bounded)
        result: Tensor = self._bounded(x, bounded) if bounded else self.base_layer(x)
        dtype = result.dtype
        for name in active:
            if not self.changes[name].bound.bounded:
                result = result + self._plain(x, name)
        return result.to(dtype)

    def active(self) -> list[str]:
        """Name the active adapters that this layer has."""
        return [name for name in self.active_adapters if name in self.changes]

    def factors(self, names: list[str] | tuple[str, ...]) -> list[Tensor]:
        """Return ``A1, B1, A2, B2, ...`` of the named adapters."""
        pairs = ((self.bounded_lora_A[name], self.bounded_lora_B[name]) for name in names)
        return [factor for pair in pairs for factor in pair]

    def plan(self, names: list[str] | tuple[str, ...]) -> Plan:
        """Return how the named adapters change the stored weight."""
        return Plan(tuple(self.changes[name] for name in names), self.transposed)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the (active) adapters to the weight; the untouched weight is kept for unmerging.

        Raises:
            ModelError: ``safe_merge`` and the merged weight is not finite.
        """
        names = [n for n in check_adapters_to_merge(self, adapter_names) if n in self.changes]
        if not names:
            return
        weight = self.get_base_layer().weight
        with torch.no_grad():
            merged = effective_weight(weight, self.plan(names), self.factors(names), weight.dtype)
            if safe_merge and not torch.isfinite(merged).all():
                raise ModelError(
                    "A merged weight must be finite.", got=self.name, remedy="Check the adapter."
                )
            if self._unmerged is None:
                self._unmerged = weight.detach().clone()
            weight.copy_(merged)
        self.merged_adapters.extend(names)
        self._kept.drop()

    def unmerge(self) -> None:
        """Restore the untouched weight, bit by bit."""
        if self._unmerged is not None:
            with torch.no_grad():
                self.get_base_layer().weight.copy_(self._unmerged)
        self._unmerged = None
        self.merged_adapters.clear()

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete one adapter; the first one left becomes active if it was the active one."""
        super().delete_adapter(adapter_name)
        self._plans.clear()
        self._kept.drop()

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return one adapter's change of the stored weight, in the factors' type."""
        A, B = self.factors([adapter])
        zero = torch.zeros_like(self.get_base_layer().weight, dtype=A.dtype)
        return effective_weight(zero, self.plan([adapter]), [A, B], A.dtype)

    def _bounded(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        layer = self.get_base_layer()
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return bounded_linear(x, layer.weight, layer.bias, self._plan(names), self.factors(names))

    def _plan(self, names: tuple[str, ...]) -> Plan:
        """Return the plan of the active adapters, with a keeper where weights are to be kept."""
        wish = self.keep_weight[names[0]]
        calm = not (self.training or torch.is_grad_enabled())
        keep = wish == "step" or (wish == "inference" and calm)
        if not keep:
            self._kept.drop()
        key = (*names, "kept") if keep else names
        if key not in self._plans:
            changes = tuple(self.changes[name] for name in names)
            keeper = self._kept if keep else None
            self._plans[key] = Plan(changes, self.transposed, keeper=keeper)
        return self._plans[key]

    def _plain(self, x: Tensor, name: str) -> Tensor:
        A, B = self.bounded_lora_A[name], self.bounded_lora_B[name]
        change = self.changes[name]
        return linear(linear(x.to(A.dtype), A), B) * (change.omega * change.scale)

    def _generator(self, config: BoundedLoraConfig, device: torch.device) -> torch.Generator | None:
        if config.seed is None or device.type == "meta":
            return None
        seed = zlib.crc32(f"{config.seed}:{self.name}".encode())
        return torch.Generator(device=device).manual_seed(seed)

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        # PEFT's own also casts to the base layer's type, which would round fp32 factors
        device = device or self.get_base_layer().weight.device
        for factors in (self.bounded_lora_A, self.bounded_lora_B):
            if adapter_name in factors and factors[adapter_name].device.type != "meta":
                factors[adapter_name] = factors[adapter_name].to(device)


def check_rank(name: str, shape: tuple[int, int], r: int) -> None:
    """Raise ModelError when ``r`` is above the smaller side of the matrix ``name``."""
    if r > min(shape):
        raise ModelError(
            f"A rank cannot be above its matrix's smaller side: {name} is {shape[0]} x {shape[1]}.",
            got=f"r = {r}",
            remedy=f"Set r to {min(shape)} or less, or leave this module out of target_modules.",
        )


def _matrix_shape(layer: nn.Module, name: str) -> tuple[int, int]:
    if isinstance(layer, (nn.Linear, Conv1D)) and layer.weight.is_floating_point():
        rows, cols = layer.weight.shape
        return rows, cols
    raise ModelError(
        "Only linear layers with floating-point weights can be adapted.",
        got=f"{name} ({type(layer).__name__})",
        remedy="Leave it out of target_modules, or load the model without quantisation.",
    )
