"""Search for the demo's settings: the same six trials for every method, on another population.

The points are a grid of learning rate and forget weight, the same for all methods. A trial is one
unlearning run whose probes (validation paraphrases, the selection gold model) are all kept; the
scoring gold model and the scoring paraphrases are not looked at. Resumable: trials already in the
file are skipped.

    python scripts/demo_search.py --out search.jsonl --populations 200
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

POINTS = [
    {"lr": lr, "forget_weight": weight} for weight in (0.1, 0.04) for lr in (5e-4, 1.5e-3, 4e-3)
]


def recipe_of(method: str, point: dict[str, float], population: int) -> dict[str, Any]:
    from letheon import demo

    found = demo.recipes(population, [method])[method]
    found["objective"]["params"]["forget_weight"] = point["forget_weight"]
    found["training"]["lr"] = point["lr"]
    return found


def work(job: tuple[str, int, int, str]) -> dict[str, Any]:
    method, trial, population, home = job
    import yaml

    from letheon import recipe as recipes
    from letheon import run

    point = POINTS[trial]
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
    parser.add_argument("--populations", type=int, nargs="+", default=[200])
    parser.add_argument("--methods", nargs="+", default=list(demo.METHODS))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
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
            for t in range(len(POINTS))
            for p in args.populations
            for m in args.methods
            if (m, t, p) not in done
        ]
        with args.out.open("a") as log:
            for row in pool.map(work, jobs):
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(row["method"], row["point"], row["probes"][-1:], flush=True)


if __name__ == "__main__":
    main()
