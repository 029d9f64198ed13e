"""The PEFT tuner: finds a model's target layers, checks them and replaces them."""

from __future__ import annotations

__all__ = ["BoundedLoraModel"]

from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from torch import nn

from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.layer import BoundedLoraLinear, check_rank
from letheon.adapters.register import PREFIX, register
from letheon.adapters.targets import (
    attention_targets,
    linear_shapes,
    mlp_targets,
    shortest_names,
)


class BoundedLoraModel(BaseTuner):
    """A model with bounded adapters on its MLPs and, if asked for, plain LoRA on its attention."""

    prefix = PREFIX
    tuner_layer_cls = BoundedLoraLinear
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
        return peft_config

    def _prepare_model(self, peft_config: BoundedLoraConfig, model: nn.Module) -> None:
        """Check every target before the first one is replaced."""
        for name, shape in linear_shapes(model).items():
            if self._check_target_module_exists(peft_config, name):
                check_rank(name, shape, peft_config.r)

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
        layer = target if isinstance(target, BoundedLoraLinear) else None
        new = layer or BoundedLoraLinear(target, current_key)
        change = peft_config.plain_change() if plain else peft_config.change(new.in_features)
        new.add(adapter_name, peft_config, change)
        if layer is None:
            if adapter_name not in self.active_adapters:
                new.requires_grad_(False)
            self._replace_module(parent, target_name, new, target)


def _is_attention(config: BoundedLoraConfig, key: str) -> bool:
    if not config.attention:
        return False
    names = config.attention_modules or []
    return any(key == name or key.endswith(f".{name}") for name in names)


register(BoundedLoraConfig, BoundedLoraModel)
