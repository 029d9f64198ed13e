"""A request to forget without a recipe: a model and files -> the recipe that a run then keeps.

Every setting that is not given comes from a rule below, none of which saw the request's rows be
forgotten. The rules are our reconstructions; docs/own-data.md says how they did.
"""

from __future__ import annotations

__all__ = ["name_of", "recipe_of", "recipe_or_request"]

import dataclasses
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from letheon import models, registry
from letheon import recipe as recipes
from letheon.adapters import bounds
from letheon.data.example import Corpus
from letheon.errors import InputError, nearest
from letheon.given import NOTHING, Given
from letheon.objectives.contract import Objective
from letheon.parts import corpus_of, objective_of
from letheon.recipe import Recipe
from letheon.training.balance import suits

_OBJECTIVES, _PROCEDURES = "letheon.objectives", "letheon.procedures"

_METHOD = "gradient_difference"
_BOUND = "sine"

# A step sees every row of a small request, and twice as many to keep.
_ROWS = 8
_KEPT = 16
_STEPS = 120
_PROBE_EVERY = 5
# Of AdamW on a low-rank change: 3e-4 at a width of 4096, 2e-3 at 96. With the rules for the bound
# (docs/rules.md) a rate that suits plain LoRA suits a bounded adapter.
_RATE = 0.02
# Rows that the model says itself, where none are given to retain.
_OWN_WORDS = 64
# Generated answers may be longer than the longest to forget, and no longer than this.
_SPARE, _MOST = 8, 256


def recipe_of(
    model: str,
    forget: str | Path,
    retain: str | Path | None = None,
    *,
    method: str | None = None,
    bound: str | None = None,
    template: str | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    given: Given = NOTHING,
) -> Recipe:
    """Return the recipe that makes ``model`` (a folder or hub name) forget the rows of a file.

    Without ``retain`` the untouched model's own words are retained (see own_words).
    ``method``: an objective or procedure, default ``gradient_difference``. ``bound``: of the
    adapter, default ``sine``; ``none`` for plain LoRA. ``settings``: values of the recipe's keys,
    ``{"training.steps": 200}``. ``given``: objects in place of model, files and method. Reads the
    files, the tokenizer and the model's config, no weights.

    Raises InputError for an unknown method or bound, RecipeError, DataError and ModelError as a
    run does.
    """
    raw: dict[str, Any] = {
        "kind": "unlearn",
        "name": name_of(forget),
        "model": {"path": model},
        "data": {"forget": str(forget)}
        | ({"own_words": _OWN_WORDS} if retain is None else {"retain": str(retain)}),
        **(_told(given.objective) if given.objective else _method(method or _METHOD)),
        "adapter": {"bound": _bound(bound or _BOUND), "omega": "auto", "scale": "auto"},
        "training": {"steps": 1},
    } | ({} if template is None else {"template": template})
    early = {k: v for k, v in settings.items() if not k.startswith(("training.", "evaluation."))}
    first = _resolved(raw, early)
    outline = given.model.outline if given.model else models.outline(first.model, ())
    corpus = corpus_of(first.data, given.rows)
    if _gives_away(Path(forget).stem, corpus):
        raw["name"] = "forget"
        warnings.warn(
            f"The name of {Path(forget).name} says what its rows are about, and recipe.yaml keeps "
            "it: rename the file before its run is shared.",
            stacklevel=2,
        )
    objective = given.objective or (None if first.procedure else objective_of(first.objective))
    width = outline.config.get_text_config().hidden_size
    raw["training"] = _training(corpus, width, objective)
    if "training.epochs" in settings:
        del raw["training"]["steps"]
    raw["evaluation"] = {"max_new_tokens": _spoken(corpus, outline.tokenizer)}
    return _resolved(raw, settings)


def recipe_or_request(
    recipe: Path | None, words: Mapping[str, str | None], overrides: Sequence[str]
) -> Recipe:
    """Return the recipe of a command that names one, or gives ``words`` in its place.

    ``words``: values of ``model``, ``forget``, ``retain``, ``method``, ``bound``, ``template``;
    None where not given. ``overrides``: ``training.steps=200``. Raises InputError for both or
    neither, and as ``recipe_of`` or ``recipe.load`` do.
    """
    given = {name: value for name, value in words.items() if value is not None}
    options = ", ".join(f"--{name}" for name in given)
    if recipe is not None:
        if given:
            raise InputError(
                "A recipe says all of a run.",
                got=f"{recipe} and {options}",
                remedy="Change its keys with --set, or leave the recipe out.",
            )
        return recipes.load(recipe, overrides)
    if not {"model", "forget"} <= given.keys():
        raise InputError(
            "Without a recipe a run needs --model and --forget.",
            got=options or "neither",
            remedy="For example: letheon unlearn --model ./my-model --forget forget.jsonl",
        )
    settings = dict(map(recipes.parse_override, overrides))
    return recipe_of(settings=settings, **given)  # type: ignore[arg-type]


def _resolved(raw: dict[str, Any], settings: Mapping[str, Any]) -> Recipe:
    for key, value in settings.items():
        recipes.put(raw, key, value)
    return recipes.resolve(raw, where="the request")


def name_of(forget: str | Path) -> str:
    """Return a run's name from that of what it forgets."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(forget).stem).strip("-._")
    return plain if plain.startswith("forget") else f"forget-{plain}".rstrip("-")


def _gives_away(stem: str, corpus: Corpus) -> bool:
    """Whether every word of a file's name is one of the rows to forget: a person's name, say."""
    told = {word for row in corpus.forget for word in _words(f"{row.question} {row.answer}")}
    named = _words(stem) - {"forget"}
    return bool(named) and named <= told


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{3,}", text.casefold()))


def _method(name: str) -> dict[str, Any]:
    procedures = registry.names(_PROCEDURES)
    if name in procedures:
        return {"objective": None, "procedure": {"name": name}}
    objectives = [each for each in registry.names(_OBJECTIVES) if each != "finetune"]
    if name not in objectives:
        raise InputError(
            "--method names an objective or a procedure.",
            got=name,
            remedy=nearest(name, [*objectives, *procedures]),
        )
    kind = registry.load(_OBJECTIVES, name).OBJECTIVE
    params = registry.example(_OBJECTIVES, name)
    if any(f.name == "retain_weight" and f.default == 0 for f in dataclasses.fields(kind)):
        params["retain_weight"] = 1.0  # its paper has no rows to keep, a request has
    return {"objective": {"name": name, "params": params}}


def _told(objective: Objective) -> dict[str, Any]:
    """Return what a recipe says of an objective that is an object: its file's name if it is ours.

    What a caller's own one computes a recipe cannot say.
    """
    kind = type(objective)
    package, _, file = kind.__module__.rpartition(".")
    params: dict[str, Any] = dataclasses.asdict(objective)  # type: ignore[call-overload]
    name = file if package == _OBJECTIVES else kind.__name__
    return {"objective": {"name": name, "params": params}}


def _bound(name: str) -> str:
    found = "identity" if name == "none" else name
    if found not in bounds.names():
        valid = ["none", *bounds.names()]
        raise InputError("--bound names a bound, or none.", got=name, remedy=nearest(name, valid))
    return found


def _training(corpus: Corpus, width: int, objective: Objective | None) -> dict[str, Any]:
    """Return the settings for a model of hidden size ``width``; a procedure has no objective."""
    found: dict[str, Any] = {
        "steps": _STEPS,
        "batch_size": min(_ROWS, len(corpus.forget)),
        "retain_batch_size": _KEPT,
        "lr": float(f"{_RATE / math.sqrt(width):.1e}"),
        "max_grad_norm": 1.0,
        "select": {"score": "swap_gap"},
    }
    if objective is None:  # it is probed when its training is over
        return found
    found |= {
        "probe_every": _PROBE_EVERY,
        "checkpoint_every": _PROBE_EVERY,
        "stop_at": {"score": "swap_gap", "direction": "down", "value": 0.0},
    }
    # Towards other answers the first gradient is long, and a model that knows its rows has next to
    # none on those to keep: balanced, such an objective would hardly move.
    if suits(objective) and not objective.needs.preferred:
        found["balance"] = {"ratio": 1.0, "every": 5}
    return found


def _spoken(corpus: Corpus, tokenizer: Any) -> int:
    """Return how many tokens are generated: a little more than the longest answer has."""
    longest = max(len(tokenizer(row.answer)["input_ids"]) for row in corpus.forget)
    return int(min(longest + _SPARE, _MOST))
