"""Adapters on top of each other: those of earlier requests stay on and fixed, the newest trains.

The newest adapter is called ``default`` and the earlier ones ``earlier0``, ``earlier1``, ...; all
are active, so the weight is ``W + sum_k s_k phi_k(omega_k B_k A_k)``, and are merged together.
"""

from __future__ import annotations

__all__ = ["NEWEST", "bare", "fixed", "lay", "on_top", "without_trained"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model

from letheon.adapters.config import BoundedLoraConfig
from letheon.adapters.layer import BoundedLoraLayer

NEWEST = "default"


def lay(model: Any, folders: Sequence[Path], *, numbers: bool = True) -> Any:
    """Put the saved adapters in ``folders``, the oldest first, on ``model``: active and fixed.

    ``numbers``: whether their weights are read, or only their shapes put on (for a plan).
    """
    names = [f"earlier{k}" for k in range(len(folders))]
    for name, folder in zip(names, folders, strict=True):
        if not numbers:
            config = BoundedLoraConfig.from_pretrained(str(folder))
            model = _added(model, config, name)
        elif isinstance(model, PeftModel):
            model.load_adapter(str(folder), adapter_name=name)
        else:
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    if names:
        _activate(model, names)
    return model


def on_top(model: Any, config: BoundedLoraConfig) -> Any:
    """Put a fresh adapter, which alone will train, on ``model`` and the adapters it has."""
    earlier = list(model.peft_config) if isinstance(model, PeftModel) else []
    model = _added(model, config, NEWEST)
    if earlier:
        _activate(model, [*earlier, NEWEST])
    return model


def bare(model: Any) -> None:
    """Take all adapters off a plain model whose layers carry some, in place; merge nothing.

    For a model that was given as an object, where whoever put the adapters on did not finish.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, BoundedLoraLayer)]
    for name, layer in found:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    vars(model).pop("peft_config", None)  # peft would say that it was here before


def fixed(model: Any) -> list[str]:
    """Name the active adapters of a PEFT model that do not train."""
    training = {
        name
        for layer in _layers(model)
        for name in layer.active()
        for index in range(len(layer.matrices))
        if any(factor.requires_grad for factor in layer.factors([name], index))
    }
    return [name for name in model.base_model.active_adapters if name not in training]


@contextmanager
def without_trained(model: Any) -> Iterator[Any]:
    """Switch off, in the block, what trains: the model as it was before this request."""
    earlier = fixed(model)
    if not earlier:
        with model.disable_adapter():
            yield model
        return
    layers = _layers(model)
    before = [layer.active_adapters for layer in layers]
    try:
        for layer in layers:
            layer.activate(earlier)
        yield model
    finally:
        for layer, names in zip(layers, before, strict=True):
            layer.activate(names)


def _added(model: Any, config: BoundedLoraConfig, name: str) -> Any:
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    return get_peft_model(model, config, adapter_name=name)


def _activate(model: Any, names: list[str]) -> None:
    model.base_model.set_adapter(names)  # which lets all of them train
    for layer in _layers(model):
        below = [name for name in names if name in layer.changes and name != NEWEST]
        for index in range(len(layer.matrices)):
            for factor in layer.factors(below, index):
                factor.requires_grad_(False)


def _layers(model: Any) -> list[BoundedLoraLayer]:
    return [module for module in model.modules() if isinstance(module, BoundedLoraLayer)]
