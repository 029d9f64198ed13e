"""Search for the demo's settings: the same random trials for every method, on other populations.

Every trial draws learning rate, forget weight and alpha / r from one space with one seed, so all
methods see the same points. A trial is one unlearning run whose probes (validation paraphrases, the
selection gold model) are all kept; the scoring gold model and the scoring paraphrases are not
looked at. Resumable: trials already in the file are skipped.

    python scripts/demo_search.py --out search.jsonl --populations 200 201 --trials 12
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def draw(trial: int) -> dict[str, float]:
    rng = random.Random(f"demo-search/{trial}")
    return {
        "lr": 10 ** rng.uniform(math.log10(2e-4), math.log10(5e-3)),
        "forget_weight": 10 ** rng.uniform(math.log10(0.03), math.log10(1.0)),
        "gain": rng.choice([1, 2, 4]),
    }


def recipe_of(method: str, point: dict[str, float], population: int) -> dict[str, Any]:
    from letheon import demo

    found = demo.recipes(population, [method])[method]
    found["objective"]["params"]["forget_weight"] = point["forget_weight"]
    found["adapter"]["alpha"] = point["gain"] * 16
    found["training"]["lr"] = point["lr"]
    return found


def work(job: tuple[str, int, int, str]) -> dict[str, Any]:
    method, trial, population, home = job
    import yaml

    from letheon import recipe as recipes
    from letheon import run

    point = draw(trial)
    folder = Path(home) / "recipes" / str(population)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{method}-{trial}.yaml"
    file.write_text(yaml.safe_dump(recipe_of(method, point, population)))
    events: list[dict[str, Any]] = []
    failed = None
    try:
        run.rehearse(
            recipes.load(file), home=Path(home) / f"models-{population}", watch=events.append
        )
    except ArithmeticError as error:
        failed = str(error)
    probes = [{"step": e["step"], **e["scores"]} for e in events if e["event"] == "probe"]
    return {
        "method": method,
        "trial": trial,
        "population": population,
        "point": point,
        "probes": probes,
        "failed": failed,
    }


def prepare(job: tuple[int, str, str]) -> None:
    population, which, home = job
    import yaml

    from letheon import demo, run
    from letheon import recipe as recipes

    folder = Path(home) / "recipes" / str(population)
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in demo.recipes(population, list(demo.METHODS)).items():
        file = folder / f"{name}.yaml"
        if not file.exists():
            file.write_text(yaml.safe_dump(found))
    loaded = recipes.load(folder / f"{demo.DEFAULT}.yaml")
    run.prepare(loaded, which, home=Path(home) / f"models-{population}")


def main() -> None:
    from letheon import demo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", default="runs/demo-search")
    parser.add_argument("--populations", type=int, nargs="+", default=[200, 201])
    parser.add_argument("--trials", type=int, nargs="+", default=[12], help="COUNT or FIRST LAST")
    parser.add_argument("--methods", nargs="+", default=list(demo.METHODS))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    trials = range(*args.trials) if len(args.trials) == 2 else range(args.trials[0])
    done = set()
    if args.out.exists():
        rows = [json.loads(line) for line in args.out.read_text().splitlines()]
        done = {(r["method"], r["trial"], r["population"]) for r in rows}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        models = [
            (p, which, args.home)
            for p in args.populations
            for which in ("model", "selection", "scoring")
        ]
        list(pool.map(prepare, models))
        jobs = [
            (m, t, p, args.home)
            for t in trials
            for p in args.populations
            for m in args.methods
            if (m, t, p) not in done
        ]
        with args.out.open("a") as log:
            for row in pool.map(work, jobs):
                log.write(json.dumps(row) + "\n")
                log.flush()
                best = max(
                    row["probes"], key=lambda p: p["utility_ratio"] >= 0.97 and -p["gold_distance"]
                )
                print(
                    row["method"], row["trial"], row["population"], row["point"], best, flush=True
                )


if __name__ == "__main__":
    main()
