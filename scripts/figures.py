"""The paper's figures, remade: norms along an ascent, and what each setting does to them.

Runs on fictitious people with a tiny model (``letheon.demo``'s recipes, made smaller), on
populations that no table of ours shows. A run is one call of ``run.rehearse``; what is kept of it
is small and committed, one JSON line a run in ``docs/results/figures/*.jsonl``. Resumable: what is
in the files is not run again. ``--pages`` only remakes the pictures and the page.

    low python scripts/figures.py --out docs/results
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SEEDS = (401, 402, 403)
SENSITIVITY_SEEDS = SEEDS[:1]
PEOPLE = {"n_forget": 10, "n_retain": 12, "n_unseen": 6, "n_authors": 8, "n_world": 8}
MODEL = {"hidden_size": 64, "intermediate_size": 256}
TARGET = {"steps": 260, "batch_size": 32}
STEPS = 100
# Of the demo's methods: the learning rate of plain LoRA is three times a bounded adapter's.
RATES = {"identity": 6e-3, "sine": 2e-3, "tanh": 2e-3}

Settings = Mapping[str, Any]


def _held(name: str, **params: Any) -> Settings:
    return {"training": {"stabilisers": [{"name": name, "params": params}]}}


BOUNDS: Mapping[str, Settings] = {
    "LoRA": {},
    "sine": {"adapter": {"bound": "sine"}},
    "tanh": {"adapter": {"bound": "tanh"}},
}
# One setting each, of a size that acts here and not tuned for anything.
HELD: Mapping[str, Settings] = {
    "clip_factors 0.1": _held("clip_factors", limit=0.1),
    "clip_change 0.5": _held("clip_change", limit=0.5),
    "spectral_norm 1": _held("spectral_norm", limit=1.0),
    "l2_product 0.01": _held("l2_product", weight=0.01),
    "weight decay 1": {"training": {"weight_decay": 1.0}},
    "gradient clipping 0.1": {"training": {"max_grad_norm": 0.1}},
    "a tenth of the rate": {"training": {"lr": RATES["identity"] / 10}},
}
TWO_SIDES: Mapping[str, Settings] = {
    "forget_lr a tenth": {"training": {"forget_lr": RATES["identity"] / 10}},
    "LoRA from FILA": {"adapter": {"start": "fila"}},
    "sine from FILA": {"adapter": {"bound": "sine", "start": "fila"}},
}
SENSITIVITY: Mapping[str, Mapping[str, Settings]] = {
    "omega": {f"{v:g}": {"adapter": {"bound": "sine", "omega": v}} for v in (10, 30, 100, 300)},
    "bound size (scale)": {
        f"{v:g}": {"adapter": {"bound": "sine", "scale": v}} for v in (0.01, 0.03, 0.125, 0.5)
    },
    "rank": {f"{v}": {"adapter": {"bound": "sine", "r": v}} for v in (2, 8, 32)},
    "rank, LoRA": {f"{v}": {"adapter": {"r": v}} for v in (2, 8, 32)},
    "forget weight": {
        f"{v:g}": {"adapter": {"bound": "sine"}, "weight": v} for v in (0.03, 0.1, 0.3, 3)
    },
    "forget weight, LoRA": {f"{v:g}": {"weight": v} for v in (0.03, 0.1, 0.3, 3)},
}


class Job(NamedTuple):
    """A run: its figure, the name of its variant, the population, what it changes."""

    figure: str
    variant: str
    seed: int
    settings: Settings

    @property
    def key(self) -> tuple[str, str, int]:
        return self.figure, self.variant, self.seed


def jobs() -> Iterator[Job]:
    """Yield every run, figure by figure."""
    both = {**BOUNDS, **HELD}
    for figure, variants in (("ascent", both), ("difference", {**both, **TWO_SIDES})):
        for seed in SEEDS:
            for name, settings in variants.items():
                yield Job(figure, name, seed, settings)
    for seed in SENSITIVITY_SEEDS:
        for axis, settings_of in SENSITIVITY.items():
            for name, settings in settings_of.items():
                yield Job("sensitivity", f"{axis} = {name}", seed, settings)


def recipe_of(job: Job, home: Path) -> Path:
    """Write the recipes of a run; return the place of its own."""
    import yaml

    from letheon import demo

    found = demo.recipes(job.seed, ["gd-sine"])
    target, recipe = found["target"], found["gd-sine"]
    for each in (target, recipe):
        each["data"] = {"benchmark": "people", "params": {"seed": job.seed, **PEOPLE}}
    make = target["model"]["make"]
    target["model"] = {"make": make | {"config": make["config"] | MODEL}}
    target["training"] = target["training"] | TARGET
    adapter = {"bound": "identity"} | dict(job.settings.get("adapter", {}))
    recipe |= {"adapter": adapter, "gold": {}, "evaluation": {"max_new_tokens": 20}}
    if job.figure == "ascent":
        recipe["objective"] = {"name": "gradient_ascent", "params": {}}
    else:
        weight = {"forget_weight": job.settings.get("weight", 1.0)}
        recipe["objective"] = {"name": "gradient_difference", "params": weight}
    recipe["training"] = {
        "steps": STEPS,
        "batch_size": 8,
        "retain_batch_size": 16,
        "lr": RATES[adapter["bound"]],
        "weights_every": 5,
        **job.settings.get("training", {}),
    }
    folder = home / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "target.yaml").write_text(yaml.safe_dump(target))
    (folder / "run.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "run.yaml"


def work(job: Job, home: Path) -> dict[str, Any]:
    """Do a run; return the line that is kept of it."""
    from letheon import recipe, run

    events: list[dict[str, Any]] = []
    failed = None
    loaded = recipe.load(recipe_of(job, home))
    began = time.process_time()
    try:
        run.rehearse(loaded, home=home / f"models-{job.seed}", watch=events.append)
    except ArithmeticError as error:
        failed = str(error)
    seconds = time.process_time() - began
    head = {"figure": job.figure, "variant": job.variant, "seed": job.seed}
    row = {**head, "points": points(events), "probes": probes(events)}
    return {**row, "failed": failed, "cpu_seconds": round(seconds, 1)}


def points(events: list[dict[str, Any]]) -> list[list[float | None]]:
    """Reduce events to one row every five steps.

    Its columns: step, largest gradient norm since the last row, ``||dW||`` and ``max |dW|`` over
    all matrices, mean share of entries where the bound acts, retain and forget term of the step.
    """
    found: list[list[float | None]] = []
    norms, terms = [0.0], {}
    for event in events:
        if event["event"] == "step":
            norms.append(event["grad_norm"])
            terms = event["terms"]
        if event["event"] == "weights":
            every = event["matrices"]
            size = math.sqrt(sum(m["norm"] ** 2 for m in every))
            peak = max(m["max_abs"] for m in every)
            active = sum(m["active_share"] for m in every) / len(every)
            values = (max(norms), size, peak, active, terms.get("retain"), terms.get("forget"))
            found.append([event["step"], *(None if v is None else _short(v) for v in values)])
            norms = [0.0]
    return found


def probes(events: list[dict[str, Any]]) -> list[list[float]]:
    """Reduce events to ``[step, forget probability, utility as a share of the target's]``."""
    names = ("forget_probability", "utility_ratio")
    return [
        [e["step"], *(_short(e["scores"][name]) for name in names)]
        for e in events
        if e["event"] == "probe"
    ]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Do the runs that are not in the files yet, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--home", type=Path, default=Path("runs/figures"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--pages", action="store_true", help="draw what is there, run nothing")
    args = parser.parse_args()
    folder = args.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    from _figures_page import read, write

    done = {(r["figure"], r["variant"], r["seed"]) for r in read(folder)}
    todo = [job for job in jobs() if job.key not in done and job.seed in args.seeds]
    for job in [] if args.pages else todo:
        row = work(job, args.home)
        with (folder / f"{job.figure}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(*job.key, row["probes"][-1:], row["failed"] or "", row["cpu_seconds"], flush=True)
    write(read(folder), args.out)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
