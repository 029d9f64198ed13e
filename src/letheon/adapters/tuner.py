"""The PEFT tuner: finds a model's target layers, checks them and replaces them."""

from __future__ import annotations

__all__ = ["BoundedLoraModel"]

import copy
import math
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from torch import nn

from letheon.adapters.automatic import spread
from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.experts import BoundedLoraExperts
from letheon.adapters.layer import BoundedLoraLayer, BoundedLoraLinear, check_rank, full_name
from letheon.adapters.matrices import Matrix, is_stack, matrices
from letheon.adapters.quantised import dequantise, float_type
from letheon.adapters.register import PREFIX, register
from letheon.adapters.targets import (
    adaptable_layers,
    attention_targets,
    mlp_targets,
    shortest_names,
)
from letheon.errors import ModelError


class BoundedLoraModel(BaseTuner):
    """A model with bounded adapters on its MLPs and, if asked for, plain LoRA on its attention."""

    prefix = PREFIX
    tuner_layer_cls = BoundedLoraLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(
        self, peft_config: BoundedLoraConfig, model_config: dict[str, Any]
    ) -> BoundedLoraConfig:
        """Fill in the targets that the user left open."""
        model = self.model
        if peft_config.target_modules is None:
            peft_config.target_modules = shortest_names(model, mlp_targets(model))
        if peft_config.attention and peft_config.attention_modules is None:
            peft_config.attention_modules = shortest_names(model, attention_targets(model))
        return self._own(peft_config) if peft_config.automatic else peft_config

    def _own(self, config: BoundedLoraConfig) -> BoundedLoraConfig:
        """Put a copy in the config's place: the same config may be given to another model."""
        name = next(name for name, known in self.peft_config.items() if known is config)
        own = copy.copy(config)
        own.numbers = dict(config.numbers)
        self.peft_config[name] = own
        return own

    def _prepare_model(self, peft_config: BoundedLoraConfig, model: nn.Module) -> None:
        """Check every target before the first one is replaced."""
        holders = _holders(model)
        for name, found in adaptable_layers(model).items():
            if self._check_target_module_exists(peft_config, name):
                check_rank(name, found, peft_config.r)
                _check_unshared(name, model.get_submodule(name), holders)
                if peft_config.numbers and not _is_attention(peft_config, name):
                    _check_numbers(peft_config, name, found)

    @staticmethod
    def _check_target_module_exists(config: BoundedLoraConfig, key: str) -> bool:
        if check_target_module_exists(config, key):
            return True
        return _is_attention(config, key)

    def _create_and_replace(
        self,
        peft_config: BoundedLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        plain = not check_target_module_exists(peft_config, current_key)
        if peft_config.automatic and not plain:
            _fill_in(peft_config, current_key, target)
        layer = target if isinstance(target, BoundedLoraLayer) else None
        new = layer or _new_layer(target, current_key, float_type(self.model))
        new.add(adapter_name, peft_config, plain=plain)
        if layer is None:
            if adapter_name not in self.active_adapters:
                new.requires_grad_(False)
            self._replace_module(parent, target_name, new, target)

    def merge_and_unload(
        self,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:
        """Return the model with its adapters in its weights; of a quantised base, dequantised."""
        merged: nn.Module = super().merge_and_unload(progressbar, safe_merge, adapter_names)
        dequantise(merged)
        return merged

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # PEFT's own looks for a `weight`, which stacked experts lack, to copy it and its device:
        # here the base layer is the same module throughout, and factors start on its device
        setattr(parent, child_name, new_module)


def _holders(model: nn.Module) -> dict[int, list[str]]:
    """Map each parameter's identity to the names of the modules that hold it themselves."""
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    return holders


def _check_unshared(name: str, layer: nn.Module, holders: dict[int, list[str]]) -> None:
    for parameter in layer.parameters(recurse=False):
        others = [other for other in holders[id(parameter)] if other != name]
        if others:
            raise ModelError(
                "A weight that two layers share cannot be adapted in one of them: merged, it "
                "would change both.",
                got=f"{name}, whose weight {others[0]} has too",
                remedy=f"Leave {name} out of target_modules, or untie the two.",
            )


def _check_numbers(config: BoundedLoraConfig, name: str, found: tuple[Matrix, ...]) -> None:
    missing = [full_name(name, m) for m in found if full_name(name, m) not in config.numbers]
    if missing:
        raise ModelError(
            "The numbers that 'auto' chose are for the matrices they were made for.",
            got=f"none for {missing[0]}",
            remedy="Make a new config with omega or scale 'auto' for this model.",
        )


def _fill_in(config: BoundedLoraConfig, name: str, target: nn.Module) -> None:
    """Let the weights of a layer choose its numbers, unless they came with the config."""
    adapted = isinstance(target, BoundedLoraLayer)
    layer = target.get_base_layer() if isinstance(target, BoundedLoraLayer) else target
    for matrix in matrices(layer):
        full = full_name(name, matrix)
        if full in config.numbers:
            continue
        if adapted and target.merged:
            raise ModelError(
                "omega and scale 'auto' go by untouched weights.",
                got=f"{full} with a merged adapter",
                remedy="Unmerge it first.",
            )
        deviation = spread(full, layer, matrix) if config.scale == "auto" else math.nan
        config.numbers[full] = config.measure(matrix.in_features, deviation)


def _new_layer(target: nn.Module, name: str, dtype: torch.dtype) -> BoundedLoraLayer:
    kind = BoundedLoraExperts if is_stack(target) else BoundedLoraLinear
    return kind(target, name, dtype)


def _is_attention(config: BoundedLoraConfig, key: str) -> bool:
    if not config.attention:
        return False
    names = config.attention_modules or []
    return any(key == name or key.endswith(f".{name}") for name in names)


register(BoundedLoraConfig, BoundedLoraModel)
