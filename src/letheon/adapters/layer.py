"""The layers that replace a model's own: hold the factors, compute, merge, unmerge."""

from __future__ import annotations

__all__ = ["BoundedLoraLayer", "BoundedLoraLinear", "check_rank", "full_name"]

import dataclasses
import math
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.nn.functional import linear

from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.keep import KeptWeight
from letheon.adapters.linear import Change, Plan, bounded_linear, effective_weight
from letheon.adapters.matrices import Matrix, matrices
from letheon.adapters.quantised import is_quantised, plain_layer, reader
from letheon.errors import ModelError

Names = Sequence[str]


class BoundedLoraLayer(nn.Module, BaseTunerLayer):
    """A layer of one or more matrices with any number of named bounded adapters on each.

    Active adapters add up: ``W + sum_k s_k phi_k(omega_k B_k A_k)``. A subclass names in
    ``adapter_layer_names`` its matrices' factors, A and B in turn, and computes in ``forward``.
    An adapter with an informed start has a second, fixed pair ``A0, B0``, called as the first with
    a 0 added, whose change is taken away: ``s (phi(omega B A) - phi(omega B0 A0))``.
    A quantised weight is merged into ``dtype``, since its own format cannot hold the change.
    """

    adapter_layer_names: tuple[str, ...] = ()
    other_param_names: tuple[str, ...] = ("changes", "keep_weight")

    if TYPE_CHECKING:
        # inherited, but hidden from the checker by nn.Module.__getattr__
        active_adapters: list[str]
        disable_adapters: bool
        merged: bool
        get_base_layer: Callable[[], Any]
        set_adapter: Callable[..., None]

    def __init__(
        self, base_layer: nn.Module, name: str, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.name = name
        self.matrices = _adaptable(self.get_base_layer(), name)
        # Not among the factors' names: PEFT makes those of an active adapter trainable.
        self.start_names = tuple(f"{attribute}0" for attribute in self.adapter_layer_names)
        self.other_param_names = (*type(self).other_param_names, *self.start_names)
        for attribute in self.adapter_layer_names + self.start_names:
            self.add_module(attribute, nn.ParameterDict())
        self.changes: dict[str, list[Change]] = {}
        self.keep_weight: dict[str, str] = {}
        self.merged_adapters: list[str] = []
        self._kept: dict[tuple[int, int], KeptWeight] = {}
        self._unmerged: list[Tensor] = []
        self._dtype = dtype
        self._quantised: nn.Module | None = None

    def add(self, adapter: str, config: BoundedLoraConfig, *, plain: bool = False) -> None:
        """Add an adapter: A kaiming-uniform, B zero, on the weight's device.

        Every expert of a stack has factors of its own: ``A [experts, r, in]``,
        ``B [experts, out, r]``. With ``plain`` it is plain LoRA whatever the config's bound. An
        informed start is zero until ``initialise.inform`` or a saved adapter fills it.

        Raises:
            ModelError: the rank is above a matrix's smaller side.
        """
        check_rank(self.name, self.matrices, config.r)
        for index, matrix in enumerate(self.matrices):
            device, dtype = self.weight(index).device, self.float_type(index)
            pair = self._start(config, matrix, device, dtype)
            stores = self._stores(index)
            for store, factor in zip(stores[:2], pair, strict=True):
                store[adapter] = nn.Parameter(factor)
            if config.start != "zero":
                for store, factor in zip(stores[2:], pair, strict=True):
                    store[adapter] = nn.Parameter(torch.zeros_like(factor), requires_grad=False)
        self.changes[adapter] = [
            config.plain_change()
            if plain
            else config.change(matrix.in_features, full_name(self.name, matrix))
            for matrix in self.matrices
        ]
        self.keep_weight[adapter] = config.keep_weight
        for index, change in enumerate(self.changes[adapter]):
            _warn_of_rounding(change, self.float_type(index))
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def scale(self, adapter: str, factor: float) -> None:
        """Let an adapter that this layer may have count ``factor`` times as much as it did."""
        self.changes[adapter] = [
            change._replace(scale=change.scale * factor) for change in self.changes[adapter]
        ]
        self._kept.clear()  # what is kept goes by factors, which are the same

    def activate(self, names: Names) -> None:
        """Compute with the adapters ``names``, and leave alone which of them train."""
        self._active_adapter = list(names)

    def active(self) -> list[str]:
        """Name the active adapters that this layer has."""
        return [name for name in self.active_adapters if name in self.changes]

    def weight(self, index: int = 0) -> Tensor:
        """Return the stored weight of one matrix, or of a stack of them."""
        weight: Tensor = getattr(self.get_base_layer(), self.matrices[index].weight)
        return weight

    def factors(self, names: Names, index: int = 0) -> list[Tensor]:
        """Return ``A1, B1, A2, B2, ...`` of the named adapters on one matrix or stack.

        One with an informed start has two pairs: what trains, and what it started from.
        """
        stores = self._stores(index)
        return [store[name] for name in names for store in stores if name in store]

    def set_start(self, adapter: str, index: int, A: Tensor, B: Tensor) -> None:
        """Let one matrix's factors start from ``A, B``, whose change is taken away from now on."""
        stores = self._stores(index)
        with torch.no_grad():
            for store, value in zip(stores, (A, B, A, B), strict=True):
                store[adapter].copy_(value)

    def plan(self, names: Names, index: int = 0, keeper: KeptWeight | None = None) -> Plan:
        """Return how the named adapters change one stored matrix."""
        changes = tuple(change for name in names for change in self._changes(name, index))
        layer = self.get_base_layer()
        read = reader(layer) if is_quantised(layer) else None
        return Plan(changes, self.matrices[index].transposed, keeper=keeper, reader=read)

    def float_type(self, index: int = 0) -> torch.dtype:
        """Return the type of one matrix's numbers; of a quantised one, that it is merged into."""
        return self._dtype if is_quantised(self.get_base_layer()) else self.weight(index).dtype

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the (active) adapters to the weights; the untouched ones are kept for unmerging.

        A quantised layer gives its place to a plain one, with a warning.

        Raises:
            ModelError: ``safe_merge`` and a merged weight is not finite.
        """
        names = [n for n in check_adapters_to_merge(self, adapter_names) if n in self.changes]
        if not names:
            return
        weights = [self.weight(index) for index in range(len(self.matrices))]
        merged = []
        for index, weight in enumerate(weights):
            plan, factors = self.plan(names, index), self.factors(names, index)
            merged.append(effective_weight(weight, plan, factors, self.float_type(index)))
            if safe_merge and not torch.isfinite(merged[-1]).all():
                raise ModelError(
                    "A merged weight must be finite.", got=self.name, remedy="Check the adapter."
                )
        if is_quantised(self.get_base_layer()):
            self._quantised = self.base_layer
            self._replace_base(plain_layer(self.get_base_layer(), merged[0]))
            # one text for all layers: Python shows it once
            warnings.warn(
                f"Merging dequantises: weights of a quantised base become {self._dtype} ones.",
                stacklevel=2,
            )
        else:
            if self._quantised is None and not self._unmerged:
                self._unmerged = [weight.detach().clone() for weight in weights]
            _overwrite(weights, merged)
        self.merged_adapters.extend(names)
        self._kept.clear()

    def unmerge(self) -> None:
        """Restore the untouched weights, bit by bit; a quantised layer takes its place again."""
        if self._quantised is not None:
            self._replace_base(self._quantised)
            self._quantised = None
        if self._unmerged:
            _overwrite([self.weight(i) for i in range(len(self.matrices))], self._unmerged)
        self._unmerged = []
        self.merged_adapters.clear()

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete one adapter; the first one left becomes active if it was the active one."""
        super().delete_adapter(adapter_name)
        self._kept.clear()

    def _replace_base(self, layer: nn.Module) -> None:
        self.base_layer = layer
        self.matrices = _adaptable(layer, self.name)

    def _enter(self) -> list[str]:
        """Name the adapters to compute with; a merged layer that is disabled is unmerged first."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        return [] if self.disable_adapters or self.merged else self.active()

    def _is_bounded(self, name: str) -> bool:
        return self.changes[name][0].bound.bounded

    def _bounded(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        names: Names,
        factors: Sequence[Tensor],
        key: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Apply the matrix ``key`` (its index, its expert) with the bounded adapters ``names``."""
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        plan = self.plan(names, key[0], self._keeper(names[0], key))
        return bounded_linear(x, weight, bias, plan, factors)

    def _keeper(self, name: str, key: tuple[int, int]) -> KeptWeight | None:
        """Return what keeps an effective weight, where the adapter wants it kept."""
        wish = self.keep_weight[name]
        calm = not (self.training or torch.is_grad_enabled())
        if wish == "step" or (wish == "inference" and calm):
            return self._kept.setdefault(key, KeptWeight())
        self._kept.pop(key, None)
        return None

    def _plain(self, x: Tensor, name: str, index: int, factors: Sequence[Tensor]) -> Tensor:
        A, B, *start = factors
        change = self.changes[name][index]
        x = x.to(A.dtype)
        y = linear(linear(x, A), B)
        if start:
            y = y - linear(linear(x, start[0]), start[1])
        return y * (change.omega * change.scale)

    def _changes(self, name: str, index: int) -> tuple[Change, ...]:
        """Return one adapter's change, and with an informed start what is taken away."""
        change = self.changes[name][index]
        if name not in self._stores(index)[2]:
            return (change,)
        return change, change._replace(scale=-change.scale)

    def _stores(self, index: int) -> list[nn.ParameterDict]:
        """Return where ``A``, ``B``, ``A0`` and ``B0`` of one matrix are, by adapter."""
        of_matrix = slice(2 * index, 2 * index + 2)
        names = self.adapter_layer_names[of_matrix] + self.start_names[of_matrix]
        return [getattr(self, name) for name in names]

    def _start(
        self, config: BoundedLoraConfig, matrix: Matrix, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        if config.fp32_factors:
            dtype = torch.promote_types(dtype, torch.float32)
        stack = () if matrix.experts is None else (matrix.experts,)
        A = torch.empty(*stack, config.r, matrix.in_features, device=device, dtype=dtype)
        B = torch.zeros(*stack, matrix.out_features, config.r, device=device, dtype=dtype)
        generator = self._generator(config, matrix, device)
        for part in A if stack else (A,):
            nn.init.kaiming_uniform_(part, a=math.sqrt(5), generator=generator)
        return A, B

    def _generator(
        self, config: BoundedLoraConfig, matrix: Matrix, device: torch.device
    ) -> torch.Generator | None:
        if config.seed is None or device.type == "meta":
            return None
        seed = zlib.crc32(f"{config.seed}:{full_name(self.name, matrix)}".encode())
        return torch.Generator(device=device).manual_seed(seed)

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        # PEFT's own also casts to the base layer's type, which would round fp32 factors
        device = device or self.weight().device
        for attribute in self.adapter_layer_names + self.start_names:
            factors = getattr(self, attribute)
            if adapter_name in factors and factors[adapter_name].device.type != "meta":
                factors[adapter_name] = factors[adapter_name].to(device)


class BoundedLoraLinear(BoundedLoraLayer):
    """A linear layer (``nn.Linear`` or ``Conv1D``) with bounded adapters."""

    adapter_layer_names = ("bounded_lora_A", "bounded_lora_B")

    @property
    def in_features(self) -> int:
        """The layer's number of inputs."""
        return self.matrices[0].in_features

    @property
    def out_features(self) -> int:
        """The layer's number of outputs."""
        return self.matrices[0].out_features

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map ``x [..., in]`` to ``[..., out]``."""
        active = self._enter()
        bounded = [name for name in active if self._is_bounded(name)]
        if bounded:
            layer = self.get_base_layer()
            factors = self.factors(bounded)
            result = self._bounded(x, layer.weight, layer.bias, bounded, factors)
        else:
            result = self.base_layer(x)
        dtype = result.dtype
        for name in active:
            if not self._is_bounded(name):
                result = result + self._plain(x, name, 0, self.factors([name]))
        return result.to(dtype)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return one adapter's change of the stored weight, in the factors' type."""
        factors = self.factors([adapter])
        dtype, device = factors[0].dtype, factors[0].device
        zero = torch.zeros(self.matrices[0].stored, dtype=dtype, device=device)
        plan = dataclasses.replace(self.plan([adapter]), reader=None)
        return effective_weight(zero, plan, factors, dtype)


def full_name(layer: str, matrix: Matrix) -> str:
    """Name a matrix: as its layer, or after its parameter where a layer has several."""
    return layer if matrix.experts is None else f"{layer}.{matrix.weight}"


def check_rank(name: str, matrices: Sequence[Matrix], r: int) -> None:
    """Raise ModelError when ``r`` is above the smaller side of a matrix of the layer ``name``."""
    for matrix in matrices:
        (rows, cols), least = matrix.shape, min(matrix.shape)
        if r > least:
            raise ModelError(
                "A rank cannot be above its matrix's smaller side: "
                f"{full_name(name, matrix)} is {rows} x {cols}.",
                got=f"r = {r}",
                remedy=f"Set r to {least} or less, or leave this module out of target_modules.",
            )


def _adaptable(layer: nn.Module, name: str) -> tuple[Matrix, ...]:
    found = matrices(layer)
    if not found:
        raise ModelError(
            "Only linear layers and stacked experts with floating-point weights, and linear layers "
            "that bitsandbytes has quantised, can be adapted.",
            got=f"{name} ({type(layer).__name__})",
            remedy="Leave it out of target_modules, or load the model without this quantisation.",
        )
    return found


def _warn_of_rounding(change: Change, dtype: torch.dtype) -> None:
    """Warn where a change of at most ``scale * sup`` an entry is of the size of rounding.

    Entries of 2^-5 to 2^-3, as weights have, lie eps / 64 to eps / 8 apart: of a change of eps / 8,
    about 1e-3 in bf16, a few steps are left.
    """
    if change.bound.bounded and abs(change.scale) < torch.finfo(dtype).eps / 8:
        # one text for all layers: Python shows it once
        warnings.warn(
            f"An adapter whose scale s is below {torch.finfo(dtype).eps / 8:.1g} drowns in the "
            f"rounding of {dtype} weights when it is merged: raise scale or alpha, or load the "
            "model in float32.",
            stacklevel=2,
        )


@torch.no_grad()
def _overwrite(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
