"""The demo: fictitious people, a tiny model, five methods under one protocol, a verdict.

Every setting below was fixed on other populations, those of the methods by a search with the same
number of trials for each; the search and what it found are in docs/experiments.md. Every other
objective and procedure runs as well, with any bound, in one setting for all that was not searched.
"""

from __future__ import annotations

__all__ = ["DEFAULT", "METHODS", "method", "recipes", "run"]

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from letheon import compare, registry, ui
from letheon.crew import Crew, Watch
from letheon.errors import InputError, nearest
from letheon.folder import RunFolder

# The method declared beforehand as the one a user should take.
DEFAULT = "gd-sine"

_MODEL: dict[str, Any] = {
    "architecture": "llama",
    "vocab_size": 1600,
    "config": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
}

# As many steps for the gold models, which have fewer rows: five epochs of the target's.
_TRAINING: dict[str, Any] = {
    "steps": 473,
    "batch_size": 32,
    "lr": 4e-3,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "betas": [0.9, 0.95],
    "max_grad_norm": 1.0,
    "checkpoint_every": 200,
}

_UNLEARNING: dict[str, Any] = {
    "steps": 160,
    "batch_size": 12,
    "retain_batch_size": 28,
    "forget_tokens": "facts",
    "probe_every": 20,
    "probe_from": 100,
    "schedule": "cosine",
    "warmup": 0.05,
    "checkpoint_every": 40,
    "select": {},
}


def _method(objective: str, params: dict[str, float], bound: str, lr: float) -> dict[str, Any]:
    return {
        "objective": {"name": objective, "params": params},
        "adapter": {"bound": bound},
        "training": {"lr": lr},
    }


METHODS: dict[str, dict[str, Any]] = {
    "gd-lora": _method("gradient_difference", {"forget_weight": 0.06}, "identity", 6e-3),
    "gd-sine": _method("gradient_difference", {"forget_weight": 0.04}, "sine", 2e-3),
    "gd-tanh": _method("gradient_difference", {"forget_weight": 0.04}, "tanh", 2e-3),
    "npo-lora": _method("npo", {"forget_weight": 0.05, "beta": 0.15}, "identity", 6e-3),
    "npo-sine": _method("npo", {"forget_weight": 0.05, "beta": 0.2}, "sine", 3e-3),
}

_OBJECTIVES, _PROCEDURES = "letheon.objectives", "letheon.procedures"

# What a method without a setting of its own gets: the objective's defaults, but where the forget
# loss has no floor, or is many times a nat, the weight that suited the searched ones.
_FORGET_WEIGHT = 0.05
_STRONG = frozenset(
    {"gradient_ascent", "gradient_difference", "kl", "npo", "dpo", "idk_dpo", "alt_po", "pdu"}
)
_LR = {"identity": 6e-3}
_LR_BOUNDED = 2e-3


def method(name: str) -> dict[str, Any]:
    """Return the setting of a method: one of ``METHODS``, or ``NAME`` or ``NAME-BOUND``.

    ``NAME`` is an objective or a procedure; the bound that of the recipes, ``lora`` for none,
    ``sine`` where it is left out. Raises InputError for an unknown method.
    """
    if name in METHODS:
        return METHODS[name]
    found, bound = _parsed(name)
    lr = _LR.get(bound, _LR_BOUNDED)
    if found in registry.names(_PROCEDURES):
        return _method("", {}, bound, lr) | {"objective": None, "procedure": {"name": found}}
    params = registry.example(_OBJECTIVES, found)
    params |= {"forget_weight": _FORGET_WEIGHT} if found in _STRONG else {}
    return _method(found, params, bound, lr)


def _parsed(name: str) -> tuple[str, str]:
    """Return the objective or procedure and the bound that ``name`` means."""
    # With torch, which the demo itself does without.
    from letheon.adapters import bounds

    first, _, word = name.partition("-")
    bound = {"": "sine", "lora": "identity"}.get(word, word)
    known = [*registry.names(_OBJECTIVES), *registry.names(_PROCEDURES)]
    known.remove("finetune")  # what trains models makes none forget
    if first not in known:
        meant = first if bound in bounds.names() else name
        remedy = nearest(meant, [*METHODS, *known])
    elif bound not in bounds.names():
        remedy = nearest(word, ["lora", *bounds.names()])
    else:
        return first, bound
    raise InputError(
        "A method of the demo is one of its own, or NAME or NAME-BOUND (lora: none): an objective "
        "or a procedure.",
        got=name,
        remedy=remedy,
    )


def recipes(seed: int, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the demo's recipes by name: ``target``, ``gold`` and the methods."""
    data = {"benchmark": "people", "params": {"seed": seed}}
    # A short template, and generations as long as the longest answer: the minutes are few.
    common = {
        "data": data,
        "template": "{question} {answer}",
        "evaluation": {"max_new_tokens": 20},
    }
    models = {
        name: {
            "kind": "train",
            "name": name,
            "seed": seed * 10 + k,
            "model": {"make": _MODEL},
            "train_on": roles,
            "training": _TRAINING,
            **common,
        }
        for k, (name, roles) in enumerate(
            {
                "target": ["forget", "retain", "background"],
                "gold": ["retain", "background"],
            }.items()
        )
    }
    settings = {name: method(name) for name in methods}
    unlearning = {
        name: {
            "kind": "unlearn",
            "name": name,
            "seed": seed,
            "model": {"recipe": "target.yaml"},
            "gold": {
                "selection": {"recipe": "gold.yaml", "seed": seed * 10 + 1},
                "scoring": {"recipe": "gold.yaml", "seed": seed * 10 + 2},
            },
            **setting,
            "training": {**_UNLEARNING, **setting["training"]},
            **common,
        }
        for name, setting in settings.items()
    }
    return models | unlearning


def run(*, seed: int, out: Path, methods: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the demo into ``out`` and return its comparison, also written as ``comparison.json``.

    A killed demo goes on with the same command. Raises InputError for an unknown method (see
    ``method``) and FolderError when ``out`` holds something else.
    """
    chosen = list(methods or METHODS)
    found = recipes(seed, chosen)
    RunFolder(out).claim(f"demo, seed {seed}, {','.join(chosen)}")
    places = _write_recipes(out / "recipes", found)
    phases: list[dict[str, Any]] = []
    first = places[chosen[0]]
    models = out / "models"
    # One job more than cores: three models and five methods would leave a core idle beside the
    # last one.
    size = (os.cpu_count() or 1) + 1
    with ui.Board() as board, Crew(size, board=board) as crew:
        steps = {
            "train target and gold models": [
                _Job("prepare", first, which, models) for which in ("model", "selection", "scoring")
            ],
            "unlearn": [
                _Job("unlearn", places[name], str(out / "methods" / name), models)
                for name in chosen
            ],
        }
        for name, jobs in steps.items():
            began = time.monotonic()
            _do(jobs, crew)
            phases.append({"name": name, "seconds": round(time.monotonic() - began, 1)})
            board.say(f"{name}: {phases[-1]['seconds']:.1f} s")
    comparison = compare.compare(
        [out / "methods" / name for name in chosen],
        command=f"letheon demo --seed {seed}",
        default=DEFAULT,
        relative_to=out,
        phases=phases,
    )
    compare.write(comparison, out)
    compare.report([out], title=f"letheon demo, seed {seed}")
    RunFolder(out).write_manifest()
    return comparison


class _Job(NamedTuple):
    """A worker's task: ``prepare`` the model of a recipe's field, or ``unlearn`` into a folder."""

    verb: str
    recipe: Path
    argument: str
    models: Path


def _write_recipes(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for name, recipe in found.items():
        places[name] = folder / f"{name}.yaml"
        places[name].write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return places


def _do(jobs: Sequence[_Job], crew: Crew) -> None:
    """Run ``jobs``; raises the error of the first that fails."""
    waiting, left = list(jobs), len(jobs)
    while left:
        while waiting and crew.free:
            job = waiting.pop(0)
            crew.start(Path(job.argument).name, _work, job)
        for ended in crew.poll(0.5):
            left -= 1
            if ended.error is not None:
                raise ended.error


def _work(job: _Job, watch: Watch) -> None:
    from letheon import recipe, run

    loaded = recipe.load(job.recipe)
    if job.verb == "prepare":
        run.prepare(loaded, job.argument, home=job.models, watch=watch)
    else:
        run.unlearn(loaded, Path(job.argument), home=job.models, watch=watch)
