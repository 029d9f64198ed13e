"""What a recipe can name: the folders are the registry, bounds are one file's entries."""

from __future__ import annotations

__all__ = ["entries"]

import ast
import math
from collections.abc import Iterator
from pathlib import Path

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
        return {name: _range(sup) for name, sup in sorted(_bounds())}
    package = _FOLDERS[kind]
    return {name: registry.summary(package, name) for name in registry.names(package)}


def _bounds() -> Iterator[tuple[str, float]]:
    """Read names and suprema off the source: importing it takes torch, and seconds."""
    source = Path(__file__).with_name("adapters") / "bounds.py"
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="Bound"), args=[ast.Constant(value=str(name)), *_, sup]):
                finite = isinstance(sup, ast.Constant)
                yield name, float(ast.literal_eval(sup)) if finite else math.inf


def _range(sup: float) -> str:
    return f"values within [-{sup:g}, {sup:g}]" if math.isfinite(sup) else "plain LoRA, no bound"
