"""The end-to-end run of ``gpu_check.py``: recipes, models, an equal small search, methods, a page.

Everything is done by letheon's public functions on recipes that are written beside the results, so
each piece resumes as a run does: from its own folder and checkpoint.
"""

from __future__ import annotations

__all__ = ["METHODS", "compared", "plain_recipes", "steps", "write_recipes"]

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from _steps import Clock, Ledger, Step

from letheon import compare, run, ui
from letheon import recipe as recipes
from letheon.errors import DivergedError

NAMES = ("tofu_gptneo125m_target", "tofu_gptneo125m_gold", "tofu_forget10_gptneo125m")
RECIPES = Path(__file__).parents[1] / "recipes"
METHODS: Mapping[str, Mapping[str, Any]] = {
    "gd-lora": {"objective": {"name": "gradient_difference"}, "adapter": {"bound": "identity"}},
    "gd-sine": {"objective": {"name": "gradient_difference"}, "adapter": {"bound": "sine"}},
    "npo-sine": {"objective": {"name": "npo"}, "adapter": {"bound": "sine"}},
}
ROLES = ("model", "selection", "scoring")

# The trials of every method. Guesses from docs/results/tofu-search.jsonl, for a model six times as
# wide.
POINTS: tuple[Mapping[str, float], ...] = (
    {"lr": 5e-4, "forget_weight": 0.2},
    {"lr": 1.5e-3, "forget_weight": 0.2},
)

# Plain LoRA gets so many times the learning rates: a bound's frequency multiplies the gradient.
LORA_GAIN = 4.0

# The search is left out when more of the minutes than this is gone before it: it takes a fifth.
SEARCH_BEFORE = 0.5

# The same architecture and code at a size for one slow core: few authors, a few steps, and
# fp32, because many CPUs only emulate bf16.
SMALL: Mapping[str, Any] = {
    "make": {
        "vocab_size": 1200,
        "config": {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "intermediate_size": 256,
            "attention_types": [[["global", "local"], 1]],
        },
    },
    "data": {"split": "forget01", "retain_units": 1, "unseen_units": 1},
    "train": {
        "steps": 9,
        "batch_size": 8,
        "lr": 3e-3,
        "checkpoint_every": 3,
        "mixed_precision": "no",
    },
    "unlearn": {
        "steps": 6,
        "batch_size": 4,
        "retain_batch_size": 6,
        "probe_every": 3,
        "probe_from": 3,
        "checkpoint_every": 2,
        "mixed_precision": "no",
    },
    "evaluation": {"max_new_tokens": 16, "batch_tokens": 4096},
}


def plain_recipes(*, reduced: bool) -> dict[str, dict[str, Any]]:
    """Return the recipes of target, gold and methods by name, as plain mappings without a path."""
    found = {name: yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) for name in NAMES}
    return {name: _small(raw) for name, raw in found.items()} if reduced else found


def write_recipes(found: Mapping[str, Mapping[str, Any]], out: Path, data: Path) -> None:
    """Write recipes into ``out/recipes`` with the path of the data."""
    folder = out / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in found.items():
        _write(folder / f"{name}.yaml", {**raw, "data": {**raw["data"], "path": str(data)}})


def steps(out: Path, ledger: Ledger, clock: Clock, minutes: float) -> list[Step]:
    """Return the run's steps: target and gold models, the search where it fits, the methods."""

    def step(name: str, work: Any, *arguments: Any) -> Step:
        return Step("run", name, partial(work, out, ledger, clock, *arguments))

    return [
        *(step(f"train-{role}", _train, role) for role in ROLES),
        step("plan", _plan, minutes),
        *(
            step(f"trial-{method}-{k}", _trial, method, k)
            for k in range(len(POINTS))
            for method in METHODS
        ),
        *(step(f"unlearn-{method}", _unlearn, method) for method in METHODS),
    ]


def compared(out: Path, ledger: Ledger, command: str) -> dict[str, Any] | None:
    """Compare the methods that are finished, as in ``comparison.json``; None where none is."""
    done = [method for method in METHODS if ledger.result(f"unlearn-{method}")]
    if not done:
        return None
    phases = [
        {"name": name, "seconds": ledger.seconds(name)}
        for name in [f"train-{role}" for role in ROLES] + [f"unlearn-{method}" for method in done]
    ]
    places = [out / "methods" / method for method in done]
    return compare.compare(places, command=command, relative_to=out, phases=phases)


def point_of(ledger: Ledger, method: str) -> dict[str, float]:
    """Return a method's settings: its best trial's, or the first of the points without a search."""
    if _searched(ledger):
        trials = [row for row in _trials(ledger) if row["method"] == method]
        best: dict[str, float] = min(trials, key=_gap)["point"]
        return best
    return _point(method, 0)


def _gap(trial: Mapping[str, Any]) -> float:
    return min((probe["gate_gap"] for probe in trial["probes"]), default=float("inf"))


def _small(raw: Mapping[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = copy.deepcopy(dict(raw))
    if make := small["model"].get("make"):
        make["config"] |= SMALL["make"]["config"]
        make["vocab_size"] = SMALL["make"]["vocab_size"]
    small["data"]["params"] = dict(SMALL["data"])
    small["training"].pop("epochs", None)
    small["training"] |= SMALL[small["kind"]]
    small["evaluation"] |= SMALL["evaluation"]
    return small


def _write(place: Path, raw: Mapping[str, Any]) -> Path:
    place.write_text(yaml.safe_dump(dict(raw), sort_keys=False))
    return place


def _point(method: str, k: int) -> dict[str, float]:
    point = dict(POINTS[k])
    point["lr"] *= LORA_GAIN if method.endswith("-lora") else 1
    return point


def _recipe(out: Path, method: str, point: Mapping[str, float], name: str) -> recipes.Recipe:
    raw = yaml.safe_load((out / "recipes" / f"{NAMES[2]}.yaml").read_text())
    raw["name"] = f"tofu-gptneo125m-{method}"
    params = {k: v for k, v in point.items() if k != "lr"}
    raw["objective"] = {**METHODS[method]["objective"], "params": params}
    raw["adapter"] |= METHODS[method]["adapter"]
    raw["training"]["lr"] = point["lr"]
    return recipes.load(_write(out / "recipes" / f"{name}.yaml", raw))


def _train(out: Path, ledger: Ledger, clock: Clock, role: str) -> dict[str, Any]:
    loaded = recipes.load(out / "recipes" / f"{NAMES[2]}.yaml")
    made = recipes.load(out / "recipes" / f"{NAMES[0]}.yaml")  # gold's checkpoints come as often
    with ui.watcher() as show:
        watch = clock.watch(show, every=made.training.checkpoint_every)
        run.prepare(loaded, role, home=out / "models", watch=watch)
    return {}


def _plan(out: Path, ledger: Ledger, clock: Clock, minutes: float) -> dict[str, Any]:
    return {"search": ledger.seconds() < SEARCH_BEFORE * 60 * minutes}


def _searched(ledger: Ledger) -> bool:
    return bool((ledger.result("plan") or {}).get("search"))


def _trials(ledger: Ledger) -> list[dict[str, Any]]:
    names = [f"trial-{method}-{k}" for method in METHODS for k in range(len(POINTS))]
    return [row for name in names if (row := ledger.result(name)) and "probes" in row]


def _trial(out: Path, ledger: Ledger, clock: Clock, method: str, k: int) -> dict[str, Any]:
    """Unlearn without a run folder; keeps the probes (validation, the selection gold model)."""
    if not _searched(ledger):
        return {"left_out": "the time for it was gone"}
    point = _point(method, k)
    probes: list[dict[str, float]] = []
    diverged = None
    with ui.watcher() as show:

        def note(event: dict[str, Any]) -> None:
            show(event)
            if event["event"] == "probe":
                probes.append({"step": event["step"], **event["scores"]})

        loaded = _recipe(out, method, point, f"trial-{method}-{k}")
        try:
            run.rehearse(loaded, home=out / "models", watch=clock.watch(note, every=None))
        except DivergedError as error:  # a trial's outcome, not the command's
            diverged = str(error)
    return {
        "method": method,
        "trial": k,
        "instance": 0,
        "point": point,
        "probes": probes,
        "diverged": diverged,
    }


def _unlearn(out: Path, ledger: Ledger, clock: Clock, method: str) -> dict[str, Any]:
    point = point_of(ledger, method)
    loaded = _recipe(out, method, point, method)
    with ui.watcher() as show:
        watch = clock.watch(show, every=loaded.training.checkpoint_every)
        run.unlearn(loaded, out / "methods" / method, home=out / "models", watch=watch)
    return {"point": point}
