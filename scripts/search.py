"""Search for a task's settings: the same trials for every method, never on what is shown.

A trial is one unlearning run whose probes (validation paraphrases, the selection gold model) are
all kept; the scoring gold model and the scoring paraphrases are not looked at. Every method has
the same points; plain LoRA's learning rates are ``LORA_GAIN`` times the others', because the
frequency of a bounded adapter multiplies its gradient (see docs/experiments.md). Resumable: trials
already in the file are skipped. Ends with the best point of each method: the smallest mean over
populations of the smallest ``gate_gap`` on the way.

    python scripts/search.py people --out docs/results/demo-search.jsonl --instances 301 302
    python scripts/search.py tofu --data ../shared/data/tofu --out docs/results/tofu-search.jsonl
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"


def _grid(**axes: Sequence[float]) -> list[dict[str, float]]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


# The trials by task and objective: the learning rate and parameters of the objective.
POINTS: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]] = {
    "people": {
        "gradient_difference": [
            {"lr": 2e-3, "forget_weight": 0.04},
            {"lr": 2e-3, "forget_weight": 0.06},
        ],
        "npo": [
            {"lr": 2e-3, "forget_weight": 0.05, "beta": 0.15},
            {"lr": 3e-3, "forget_weight": 0.05, "beta": 0.2},
        ],
    },
    "tofu": {
        objective: _grid(lr=(1.5e-3, 3e-3), forget_weight=(0.1, 0.3))
        for objective in ("gradient_difference", "npo")
    },
}
LORA_GAIN = {"people": 3.0, "tofu": 4.0}

TOFU_METHODS = {
    "gd-lora": {"objective": {"name": "gradient_difference"}, "adapter": {"bound": "identity"}},
    "gd-sine": {"objective": {"name": "gradient_difference"}, "adapter": {"bound": "sine"}},
    "npo-lora": {"objective": {"name": "npo"}, "adapter": {"bound": "identity"}},
    "npo-sine": {"objective": {"name": "npo"}, "adapter": {"bound": "sine"}},
}


class Job(NamedTuple):
    """A trial, or with ``trial`` None the training of the model that ``method`` names."""

    task: str
    method: str
    trial: int | None
    instance: int
    home: Path
    data: Path | None


def recipe_of(job: Job) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Return the recipes of a trial by name, the trial's as ``trial``, and its point."""
    from letheon import demo

    if job.task == "people":
        name = job.method if job.trial is not None else demo.DEFAULT
        found = json.loads(json.dumps(demo.recipes(job.instance, [name])))
        recipe = found.pop(name)
    else:
        recipe = yaml.safe_load((RECIPES / "tofu_forget10_sine.yaml").read_text())
        recipe["data"]["path"] = str(job.data)
        recipe["seed"] = job.instance
        name = job.method if job.trial is not None else "gd-sine"
        recipe["objective"] = {**TOFU_METHODS[name]["objective"], "params": {}}
        recipe["adapter"] |= TOFU_METHODS[name]["adapter"]
        found = {
            name: yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
            for name in ("tofu_target", "tofu_gold")
        }
    point: dict[str, float] = {}
    if job.trial is not None:
        point = dict(POINTS[job.task][recipe["objective"]["name"]][job.trial])
        point["lr"] *= LORA_GAIN[job.task] if recipe["adapter"]["bound"] == "identity" else 1
        settle(recipe, point)
    return {**found, "trial": recipe}, point


def settle(recipe: dict[str, Any], point: Mapping[str, float]) -> None:
    """Put a point's settings into a recipe."""
    recipe["training"]["lr"] = point["lr"]
    recipe["objective"]["params"] |= {k: v for k, v in point.items() if k != "lr"}


def work(job: Job) -> dict[str, Any]:
    """Run a job; returns what the file keeps of a trial."""
    from letheon import recipe as recipes
    from letheon import run

    found, point = recipe_of(job)
    folder = job.home / "recipes" / f"{job.task}-{job.instance}-{job.method}-{job.trial}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in found.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    loaded = recipes.load(folder / "trial.yaml")
    models = job.home / f"models-{job.task}"
    if job.trial is None:
        run.prepare(loaded, job.method, home=models)
        return {}
    events: list[dict[str, Any]] = []
    failed = None
    try:
        run.rehearse(loaded, home=models, watch=events.append)
    except ArithmeticError as error:
        failed = str(error)
    return {
        "task": job.task,
        "method": job.method,
        "trial": job.trial,
        "instance": job.instance,
        "point": point,
        "probes": [{"step": e["step"], **e["scores"]} for e in events if e["event"] == "probe"],
        "failed": failed,
    }


def best(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[dict[str, float], float]]:
    """Return each method's best point and its mean gate gap over the instances."""
    gaps: dict[tuple[str, int], list[float]] = defaultdict(list)
    points = {}
    for row in rows:
        key = row["method"], row["trial"]
        gaps[key].append(min((p["gate_gap"] for p in row["probes"]), default=float("inf")))
        points[key] = row["point"]
    found: dict[str, tuple[dict[str, float], float]] = {}
    for (method, trial), values in sorted(gaps.items()):
        mean = sum(values) / len(values)
        if method not in found or mean < found[method][1]:
            found[method] = points[method, trial], mean
    return found


def main() -> None:
    """Run the trials that are not in the file yet."""
    from letheon import demo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(POINTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path("runs/search"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--instances", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    data = args.data.resolve() if args.data else None
    methods = list(demo.METHODS) if args.task == "people" else list(TOFU_METHODS)
    rows = [json.loads(x) for x in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(r["method"], r["trial"], r["instance"]) for r in rows}
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        # TOFU's instances are seeds of the adapter and the row order; its models are shared.
        own_models = args.instances if args.task == "people" else args.instances[:1]
        models = [
            Job(args.task, which, None, instance, args.home, data)
            for instance in own_models
            for which in ("model", "selection")
        ]
        list(pool.map(work, models))
        jobs = [
            Job(args.task, method, trial, instance, args.home, data)
            for trial in range(len(POINTS[args.task]["npo"]))
            for instance in args.instances
            for method in methods
            if (method, trial, instance) not in done
        ]
        with args.out.open("a") as log:
            for row in pool.map(work, jobs):
                rows.append(row)
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(row["instance"], row["method"], row["point"], row["probes"][-1:], flush=True)
    for method, (point, gap) in best(rows).items():
        print(f"{method}: {point}, mean gate gap {gap:.3f}")


if __name__ == "__main__":
    main()
