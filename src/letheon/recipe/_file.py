"""Recipes as files: read with overrides, resolved, written back."""

from __future__ import annotations

__all__ = ["assigned", "dump", "load", "override", "resolve"]

from collections.abc import Callable, Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from letheon.recipe._fields import Gold, ModelSource
from letheon.recipe._recipe import Recipe
from letheon.recipe._yaml import explain, parse_override, put, read


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate the recipe at ``path``.

    ``overrides`` are ``dotted.key=value`` strings, values in YAML. Recipes named inside are
    looked up beside this one. Raises RecipeError for a missing file, broken YAML, an unknown key
    (naming the nearest valid one) or a value that breaks a rule.
    """
    path = Path(path)
    raw = read(path)
    for override in overrides:
        put(raw, *parse_override(override))
    return resolve(raw, where=str(path), base=path.parent)


def resolve(raw: Mapping[str, Any], *, where: str, base: Path | None = None) -> Recipe:
    """Validate a plain mapping as a recipe; ``where`` names it in errors."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise explain(error, where, Recipe) from None
    return recipe if base is None else _anchor(recipe, base)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return ``recipe`` with ``dotted.key=value`` strings applied; raises as ``load`` does."""
    raw = recipe.model_dump(mode="json")
    for each in overrides:
        put(raw, *parse_override(each))
    return resolve(raw, where=recipe.name)


def assigned(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what ``dotted.key=value`` strings say, as a mapping; raises as ``load`` does."""
    raw: dict[str, Any] = {}
    for each in overrides:
        put(raw, *parse_override(each))
    return raw


def dump(recipe: Recipe, *, beside: Path | None = None) -> str:
    """Return the resolved recipe as YAML.

    ``beside``: the folder of the file that it becomes; recipes inside are named from there, so that
    ``load`` finds them.
    """
    if beside is not None:
        place = beside.resolve()
        recipe = _renamed(recipe, lambda name: relpath(Path(name).resolve(), place))
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _anchor(recipe: Recipe, base: Path) -> Recipe:
    return _renamed(recipe, lambda name: str(base / name))


def _renamed(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    """Return ``recipe`` with the relative names of recipes inside changed."""

    def at(source: ModelSource | None) -> ModelSource | None:
        if source is None or source.recipe is None or Path(source.recipe).is_absolute():
            return source
        return source.model_copy(update={"recipe": change(source.recipe)})

    gold = Gold(selection=at(recipe.gold.selection), scoring=at(recipe.gold.scoring))
    return recipe.model_copy(update={"model": at(recipe.model), "gold": gold})
