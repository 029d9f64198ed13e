"""What a study must not do: choose a method by what it is then scored with."""

from __future__ import annotations

__all__ = ["check"]

from importlib.util import find_spec
from itertools import product

from letheon import registry
from letheon.errors import InputError, nearest
from letheon.recipe import Recipe
from letheon.study.jobs import model_name
from letheon.study.space import setting
from letheon.study.spec import Study, recipe_of


def check(study: Study) -> list[str]:
    """Return what tuning and scoring share, in sentences; most studies should share nothing.

    Raises InputError when the gold model that scores was also tuned or stopped with (an oracle),
    when a recipe cannot be made, selects by another score than the study, or lacks a gold model;
    when an attack or a setting of it is unknown.
    """
    first = next(iter(study.spec.methods))
    recipes = {name: recipe_of(study, name, first) for name in study.instances}
    for name, recipe in recipes.items():
        _check_gold(study, name, recipe)
    for method, found in study.spec.methods.items():
        values = setting(study.spec.name, method, 0, found.search)
        _check_rule(study, recipe_of(study, study.tuned[0], method, values))
    _check_attacks(study)
    notes = []
    for tune, score in product(study.tuned, study.scored):
        if recipes[tune].data == recipes[score].data:
            _check_leak(study, (tune, recipes[tune]), (score, recipes[score]))
            notes.append(
                f"{score} is selected on the same rows as {tune}, with another gold model and "
                "other paraphrases"
            )
    return notes


def _check_gold(study: Study, name: str, recipe: Recipe) -> None:
    selection, scoring = recipe.gold.selection, recipe.gold.scoring
    if recipe.kind != "unlearn" or selection is None or scoring is None:
        raise InputError(
            "A study's base is an unlearning recipe with a gold model to select with and another "
            "to score with.",
            got=f"{name}, kind {recipe.kind}, gold {recipe.gold}",
            remedy="Give the base gold.selection and gold.scoring.",
        )
    if model_name(study, recipe, selection) == model_name(study, recipe, scoring):
        raise InputError(
            "A run that is stopped by the gold model that scores it is an oracle.",
            got=f"{name}: gold.selection equals gold.scoring",
            remedy="Give gold.scoring another seed.",
        )


def _check_leak(study: Study, tune: tuple[str, Recipe], score: tuple[str, Recipe]) -> None:
    used, final = tune[1].gold.selection, score[1].gold.scoring
    assert used is not None
    assert final is not None
    if model_name(study, tune[1], used) == model_name(study, score[1], final):
        raise InputError(
            "Settings are not chosen with the gold model that scores them, on the same data.",
            got=f"gold.selection of {tune[0]} is gold.scoring of {score[0]}",
            remedy="Give one of them another seed, or tune on other data.",
        )


def _check_rule(study: Study, recipe: Recipe) -> None:
    rule = recipe.training.select
    if rule is None or rule.score != study.spec.select or rule.direction != "down":
        raise InputError(
            "A final run keeps the checkpoint that tuning would have chosen: training.select goes "
            "by the study's score, downwards.",
            got=f"{recipe.name} with training.select {rule}, select {study.spec.select}",
            remedy=f"Set training.select of the base to {{score: {study.spec.select}}}.",
        )


def _check_attacks(study: Study) -> None:
    if not study.spec.attacks:
        return
    valid = registry.names("letheon.attacks") if find_spec("letheon.attacks") else []
    for name, settings in study.spec.attacks.items():
        if name not in valid:
            raise InputError("attacks names attacks.", got=name, remedy=nearest(name, valid))
        registry.make("letheon.attacks", name, settings)
