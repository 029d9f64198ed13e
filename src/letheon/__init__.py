"""Make a trained transformer forget what it is told to forget, keep the rest, and prove both.

The names below are imported when they are first asked for, so that ``import letheon`` and the
report stay free of torch.
"""

from __future__ import annotations

__all__ = [
    "BoundedLoraConfig",
    "Recipe",
    "__version__",
    "evaluate",
    "load_recipe",
    "train",
    "unlearn",
]

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from letheon.adapters import BoundedLoraConfig
    from letheon.objects import unlearn
    from letheon.recipe import Recipe
    from letheon.recipe import load as load_recipe
    from letheon.run import evaluate, train

__version__ = "0.1.0"

_HOMES = {
    "BoundedLoraConfig": ("letheon.adapters", "BoundedLoraConfig"),
    "Recipe": ("letheon.recipe", "Recipe"),
    "evaluate": ("letheon.run", "evaluate"),
    "load_recipe": ("letheon.recipe", "load"),
    "train": ("letheon.run", "train"),
    "unlearn": ("letheon.objects", "unlearn"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'letheon' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
