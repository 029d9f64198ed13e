"""Three requests to forget, one after another: merged, stacked, and stacked with orthogonality.

    python scripts/sequence.py --out runs/sequence

A population's people to forget are parted into three requests. One target model, a gold model for
each request (which never saw any request so far), one first run, and two more for each way. The
same command goes on where a killed one stopped. Prints a Markdown table and writes it, with the
scores it is made of, into OUT; docs/experiments.md says what was found.
"""

from __future__ import annotations

__all__ = ["main", "recipes"]

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from letheon import recipe, run
from letheon.demo import METHODS
from letheon.demo import recipes as demo_recipes
from letheon.ui import number

REQUESTS = 3
MODEL_STEPS = 320
PEOPLE = {
    "n_forget": 15,
    "n_retain": 12,
    "n_unseen": 5,
    "n_authors": 8,
    "n_world": 8,
    "n_general": 12,
    "wordings": 3,
}
WAYS: dict[str, dict[str, Any]] = {
    "merged": {"how": "merged"},
    "stacked": {"how": "stacked"},
    "orthogonal": {"how": "stacked"},
}
SHOWN = ("forget.fact_probability", "forget_quality", "gold_distance")


def recipes(seed: int, steps: int) -> dict[str, dict[str, Any]]:
    """Return the recipes of target, gold and one request, whose ``data`` lack the request."""
    made = demo_recipes(seed, ["gd-sine"])
    data = {"benchmark": "people", "params": {"seed": seed, **PEOPLE, "of": REQUESTS}}
    for each in made.values():
        each["data"] = data
    for name in ("target", "gold"):
        made[name]["training"] = {**made[name]["training"], "steps": MODEL_STEPS}
    idle = ("select", "probe_every", "probe_from")
    request = made.pop("gd-sine")
    training = {k: v for k, v in request["training"].items() if k not in idle}
    request["training"] = {**training, "steps": steps, **METHODS["gd-sine"]["training"]}
    request["gold"] = {"scoring": request["gold"]["scoring"]}
    return {**made, "request": request}


def _put(raw: dict[str, Any], place: Path) -> recipe.Recipe:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return recipe.load(place)


def _request(made: dict[str, dict[str, Any]], out: Path, k: int, way: str, before: Path) -> Path:
    name = "first" if k == 1 else f"{way}-{k}"
    request = made["request"]
    params = {**request["data"]["params"], "request": k}
    raw = {
        **request,
        "name": name,
        "model": {"path": str(out / "target" / "merged")},
        "data": {**request["data"], "params": params},
    }
    if k > 1:
        raw["after"] = {"run": str(before), **WAYS[way]}
    if way == "orthogonal" and k > 1:
        raw["training"] = {**raw["training"], "stabilisers": [{"name": "orthogonal"}]}
    loaded = _put(raw, out / "recipes" / f"{name}.yaml")
    return run.unlearn(loaded, out / name, home=out / "models").path


def _line(way: str, k: int, place: Path) -> list[dict[str, Any]]:
    scores = json.loads((place / "scores.json").read_text(encoding="utf-8"))
    own = {"name": place.name, "scores": scores["scores"], "angles": None}
    told = scores.get("sequence", {"requests": []})
    lines = []
    for number_, entry in enumerate([*told["requests"], own], start=1):
        found = {s["name"]: s["value"] for s in entry["scores"]}
        utility = {s["name"]: s["value"] for s in scores["scores"]}["model_utility"]
        lines.append(
            {
                "way": way,
                "after": k,
                "request": number_,
                **{name: found.get(name) for name in SHOWN},
                "mean_angle": (entry["angles"] or {}).get("mean"),
                "utility": utility,
            }
        )
    return lines


def _cell(value: float | None) -> str:
    return "-" if value is None else number(value)


def _table(lines: list[dict[str, Any]]) -> str:
    heads = list(lines[0])
    rows = [[v if isinstance(v, str) else _cell(v) for v in line.values()] for line in lines]
    body = [heads, ["---", *("--:" for _ in heads[1:])], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in body)


def main() -> None:
    """Run what is missing in ``--out``, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sequence"))
    parser.add_argument("--seed", type=int, default=210, help="of the population and the models")
    parser.add_argument("--steps", type=int, default=30, help="of a request")
    given = parser.parse_args()
    out: Path = given.out
    made = recipes(given.seed, given.steps)
    _put(made["gold"], out / "recipes" / "gold.yaml")
    run.train(_put(made["target"], out / "recipes" / "target.yaml"), out / "target")
    lines: list[dict[str, Any]] = []
    for way in WAYS:
        before = out
        for k in range(1, REQUESTS + 1):
            before = _request(made, out, k, way, before)
            lines += _line(way, k, before)
    (out / "sequence.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    (out / "sequence.md").write_text(_table(lines), encoding="utf-8")
    print(_table(lines))


if __name__ == "__main__":
    main()
