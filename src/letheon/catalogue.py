"""What a recipe can name: the folders are the registry, bounds are one file's entries."""

from __future__ import annotations

__all__ = ["entries"]

import math

from letheon import registry
from letheon.errors import RecipeError, nearest

_FOLDERS = {
    "attacks": "letheon.attacks",
    "benchmarks": "letheon.benchmarks",
    "metrics": "letheon.metrics",
    "objectives": "letheon.objectives",
    "optimizers": "letheon.optimizers",
    "procedures": "letheon.procedures",
    "stabilisers": "letheon.stabilisers",
}
_KINDS = (*_FOLDERS, "bounds")


def entries(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Return names and one line each, by kind; all kinds, or the one asked for.

    Raises RecipeError for an unknown kind.
    """
    if kind is not None and kind not in _KINDS:
        raise RecipeError(
            "There are these kinds of things to list.", got=kind, remedy=nearest(kind, _KINDS)
        )
    return {k: _entries(k) for k in sorted(_KINDS) if kind in (None, k)}


def _entries(kind: str) -> dict[str, str]:
    if kind == "bounds":
        from letheon.adapters import bounds

        return {name: _range(bounds.get(name).sup) for name in bounds.names()}
    package = _FOLDERS[kind]
    return {name: registry.summary(package, name) for name in registry.names(package)}


def _range(sup: float) -> str:
    return f"values within [-{sup:g}, {sup:g}]" if math.isfinite(sup) else "plain LoRA, no bound"
