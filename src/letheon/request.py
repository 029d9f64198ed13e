"""A request to forget without a recipe: a model and files -> the recipe that a run then keeps.

Every setting that is not given comes from a rule below, none of which saw the request's rows be
forgotten. The rules are our reconstructions; docs/own-data.md says how they did.
"""

from __future__ import annotations

__all__ = ["recipe_of"]

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from letheon import models, registry
from letheon import recipe as recipes
from letheon.adapters import bounds
from letheon.data.example import Corpus
from letheon.errors import InputError, nearest
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
    overrides: Sequence[str] = (),
) -> Recipe:
    """Return the recipe that makes ``model`` (a folder or hub name) forget the rows of a file.

    Without ``retain`` the untouched model's own words are retained (see own_words).
    ``method``: an objective or procedure, default ``gradient_difference``. ``bound``: of the
    adapter, default ``sine``; ``none`` for plain LoRA. ``overrides``: ``training.steps=200``, for
    any key of the recipe. Reads the files, the tokenizer and the model's config, no weights.

    Raises InputError for an unknown method or bound, RecipeError, DataError and ModelError as a
    run does.
    """
    raw: dict[str, Any] = {
        "kind": "unlearn",
        "name": _name(forget),
        "model": {"path": model},
        "data": {"forget": str(forget)}
        | ({"own_words": _OWN_WORDS} if retain is None else {"retain": str(retain)}),
        **_method(method or _METHOD),
        "adapter": {"bound": _bound(bound or _BOUND), "omega": "auto", "scale": "auto"},
        "training": {"steps": 1},
    } | ({} if template is None else {"template": template})
    early = [each for each in overrides if not each.startswith(("training.", "evaluation."))]
    first = _resolved(raw, early)
    outline = models.outline(first.model, ())
    corpus = corpus_of(first.data)
    raw["training"] = _training(first, corpus, outline.config.get_text_config().hidden_size)
    if any(each.startswith("training.epochs=") for each in overrides):
        del raw["training"]["steps"]
    raw["evaluation"] = {"max_new_tokens": _spoken(corpus, outline.tokenizer)}
    return _resolved(raw, overrides)


def _resolved(raw: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    for each in overrides:
        recipes.put(raw, *recipes.parse_override(each))
    return recipes.resolve(raw, where="the request")


def _name(forget: str | Path) -> str:
    """Return a run's name from a file's."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(forget).stem).strip("-._")
    return f"forget-{plain}" if plain else "forget"


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
    return {"objective": {"name": name, "params": registry.example(_OBJECTIVES, name)}}


def _bound(name: str) -> str:
    found = "identity" if name == "none" else name
    if found not in bounds.names():
        valid = ["none", *bounds.names()]
        raise InputError("--bound names a bound, or none.", got=name, remedy=nearest(name, valid))
    return found


def _training(recipe: Recipe, corpus: Corpus, width: int) -> dict[str, Any]:
    """Return the loop's settings for a model of hidden size ``width``."""
    balanced = recipe.procedure is None and suits(objective_of(recipe.objective))
    return {
        "steps": _STEPS,
        "batch_size": min(_ROWS, len(corpus.forget)),
        "retain_batch_size": _KEPT,
        "lr": float(f"{_RATE / math.sqrt(width):.1e}"),
        "max_grad_norm": 1.0,
        "probe_every": _PROBE_EVERY,
        "checkpoint_every": _PROBE_EVERY,
        "select": {"score": "swap_gap"},
        "stop_at": {"score": "swap_gap", "direction": "down", "value": 0.0},
    } | ({"balance": {"ratio": 1.0, "every": 5}} if balanced else {})


def _spoken(corpus: Corpus, tokenizer: Any) -> int:
    """Return how many tokens are generated: a little more than the longest answer has."""
    longest = max(len(tokenizer(row.answer)["input_ids"]) for row in corpus.forget)
    return int(min(longest + _SPARE, _MOST))
