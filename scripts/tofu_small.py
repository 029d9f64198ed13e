"""Make docs/results/tofu-small.md: four methods on TOFU forget10, several seeds.

    python scripts/tofu_small.py --data ../shared/data/tofu

Learning rate and forget weight of each method are the best that ``scripts/search.py tofu`` left in
its file. Seeds decide the adapter's start and the order of rows; the target and the two gold models
are shared. Resumable: a run that is finished, or was killed, goes on from its folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml
from search import RECIPES, TOFU_METHODS, best, settle

TITLE = "TOFU forget10 on a small model trained on the spot"


def prepare(recipe: Path, which: str, home: Path) -> None:
    """Train the model that the recipe names in ``which``."""
    from letheon import recipe as recipes
    from letheon import run

    run.prepare(recipes.load(recipe), which, home=home)


def unlearn(recipe: Path, out: Path, home: Path) -> None:
    """Run the recipe into ``out``."""
    from letheon import recipe as recipes
    from letheon import run

    print(run.unlearn(recipes.load(recipe), out, home=home).path, flush=True)


def write(method: str, seed: int, point: dict[str, float], folder: Path, data: Path) -> Path:
    """Write the recipe of a run, beside those of its target and gold models."""
    recipe = yaml.safe_load((RECIPES / "tofu_forget10_sine.yaml").read_text())
    recipe |= {"name": f"tofu-{method}", "seed": seed}
    recipe["data"]["path"] = str(data)
    recipe["objective"] = {**TOFU_METHODS[method]["objective"], "params": {}}
    recipe["adapter"] |= TOFU_METHODS[method]["adapter"]
    settle(recipe, point)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tofu_target", "tofu_gold"):
        (folder / f"{name}.yaml").write_text((RECIPES / f"{name}.yaml").read_text())
    place = folder / f"{method}-{seed}.yaml"
    place.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return place


def main() -> None:
    """Run what is not there yet, then compare and report."""
    from letheon import compare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--search", type=Path, default=Path("docs/results/tofu-search.jsonl"))
    parser.add_argument("--home", type=Path, default=Path("runs/tofu-small"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path, default=Path("docs/results/tofu-small.md"))
    args = parser.parse_args()
    trials = [json.loads(line) for line in args.search.read_text().splitlines()]
    chosen = {method: point for method, (point, _) in best(trials).items()}
    folder, data = args.home / "recipes", args.data.resolve()
    places = {
        (seed, method): write(method, seed, chosen[method], folder, data)
        for seed in args.seeds
        for method in TOFU_METHODS
    }
    os.environ["OMP_NUM_THREADS"] = "1"  # tiny models; the cores take a run each
    context = multiprocessing.get_context("spawn")
    models = args.home / "models"
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        first = next(iter(places.values()))
        roles = ("model", "selection", "scoring")
        for job in [pool.submit(prepare, first, role, models) for role in roles]:
            job.result()
        jobs = [
            pool.submit(unlearn, place, args.home / str(seed) / method, models)
            for (seed, method), place in places.items()
        ]
        for job in jobs:
            job.result()
    folders = []
    for seed in args.seeds:
        folders.append(args.home / str(seed))
        found = compare.compare(
            [folders[-1] / method for method in TOFU_METHODS],
            command=f"python scripts/tofu_small.py --data PATH-TO-TOFU --seeds {seed}",
            relative_to=folders[-1],
        )
        compare.write(found, folders[-1])
    compare.report(folders, markdown=args.markdown, title=TITLE)


if __name__ == "__main__":
    main()
