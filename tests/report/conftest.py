"""A made-up comparison with the values a real one may have, and a made-up run's progress."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letheon.folder import RunFolder
from letheon.metrics.records import Records, write

COMMAND = "letheon demo --seed 3 --out runs/demo"


def score(value: float, low: float | None = None, high: float | None = None, n: int = 240) -> Any:
    return {"value": value, "low": low, "high": high, "n": n}


def scores(quality: float, distance: float | None, utility: float, rest: float) -> Any:
    found = {
        "forget_quality": score(quality),
        "model_utility": score(utility, utility - 0.021, utility + 0.019, n=720),
        "ks_d": score(min(1.0, 2 * rest), rest, min(1.0, 3 * rest)),
        "forget.fact_probability": score(rest, rest * 0.8, min(1.0, rest * 1.2)),
        "forget.rouge_l_recall": score(0.3 + rest / 2, 0.28 + rest / 2, 0.33 + rest / 2),
        "forget.extraction_strength": score(rest / 2, rest / 3, rest / 1.5),
        "min_k_auc": score(0.5 + rest / 2, 0.46 + rest / 2, min(1.0, 0.54 + rest / 2), n=480),
    }
    if distance is not None:
        found["gold_distance"] = score(distance, distance * 0.7, distance * 1.4)
    return found


def criterion(name: str, passed: bool, value: float, limit: float, kind: str = "method") -> Any:
    words = f"{name.replace('_', ' ').capitalize()} is {value:g}; the limit is {limit:g}."
    return {
        "name": name,
        "passed": passed,
        "value": value,
        "limit": limit,
        "words": words,
        "kind": kind,
    }


def gate(quality: float, distance: float, utility: float, rows: int = 240) -> Any:
    criteria = [
        criterion("forget_rows", rows >= 200, rows, 200, kind="task"),
        criterion("forget_quality", quality >= 0.05, quality, 0.05),
        criterion("gold_distance", distance <= 0.078, distance, 0.078),
        criterion("model_utility", utility >= 0.98, utility, 0.98),
    ]
    return {"passed": all(c["passed"] for c in criteria), "criteria": criteria}


def method(
    name: str, bound: str, values: tuple[float, float, float, float], seed: int = 3, **more: Any
) -> dict[str, Any]:
    quality, distance, utility, rest = values
    return {
        "task": "fictitious-people",
        "role": "method",
        "method": name,
        "bound": bound,
        "seed": seed,
        "forget_source": "given",
        "oracle": False,
        "scores": scores(quality, distance, utility, rest),
        "cost": {"seconds": 14.23, "peak_bytes": 4.1e8},
        "gate": gate(quality, distance, utility / 0.64),
        "default": False,
        "run": f"methods/{name}-{bound}",
    } | more


def reference(role: str, seed: int, values: tuple[float, float | None, float, float]) -> Any:
    return {
        "task": "fictitious-people",
        "role": role,
        "method": None,
        "bound": None,
        "seed": seed,
        "scores": scores(*values),
        "cost": {"seconds": 41.0, "peak_bytes": None},
        "gate": None,
    }


def make_comparison(seed: int = 3) -> dict[str, Any]:
    return {
        "schema": 1,
        "task": {"name": "fictitious-people", "n_forget": 240, "n_retain": 960},
        "rows": [
            reference("target", seed, (1.2e-19, 0.47, 0.64, 0.93)),
            reference("gold", 101, (0.92, 0.029, 0.638, 0.11)),
            method("gradient_difference", "identity", (3.1e-4, 0.11, 0.631, 0.04), seed),
            method("gradient_difference", "sine", (0.21, 0.041, 0.633, 0.1), seed, default=True),
            method("gradient_difference", "tanh", (0.08, 0.06, 0.6, 0.09), seed),
            method("npo", "identity", (7e-9, 0.2, 0.58, 0.3), seed),
            method("npo", "sine", (0.06, 0.05, 0.634, 0.08), seed),
        ],
        "phases": [{"name": "target", "seconds": 41.2}, {"name": "unlearn", "seconds": 71.8}],
        "environment": {
            "schema": 1,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "platform": "Linux 6.1 x86_64",
            "cpu": {"model": "Example CPU 3000", "count": 2},
            "git": {"commit": "0123456789abcdef", "dirty": True},
        },
        "command": COMMAND,
    }


def make_progress(steps: int = 300) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        wave = math.sin(step * 1.7) / 20
        terms = {"forget": -0.2 - step / 90 + wave, "retain": 0.2 + 1 / (step + 3) - wave / 3}
        norm = 3 * math.exp(-step / 80) * (1 + 4 * wave)
        events.append({"event": "step", "step": step, "terms": terms, "grad_norm": norm})
        if step % 20 == 0:
            matrices = [{"name": "mlp.0", "norm": 1.0, "max_abs": 0.05 * math.tanh(step / 100)}]
            events.append({"event": "weights", "step": step, "matrices": matrices})
            probe = {"forget_quality": step / steps / 4}
            events.append({"event": "probe", "step": step, "scores": probe, "best": True})
    return [*events, {"event": "stop", "step": steps, "reason": "steps"}]


def make_run(path: Path, verdict: Any) -> RunFolder:
    folder = RunFolder(path)
    folder.claim("abc")
    named = [
        {"name": name, "direction": "up", "unit": "1", "interval": "95% bootstrap"} | one
        for name, one in scores(0.21, 0.041, 0.633, 0.1).items()
    ]
    benchmark = {"name": "fictitious-people", "version": "1"}
    folder.write_json(
        "scores.json", {"schema": 1, "benchmark": benchmark, "scores": named} | verdict
    )
    folder.write_json("environment.json", make_comparison()["environment"])
    folder.write_text("recipe.yaml", "seed: 3\nobjective: {name: gradient_difference}\n")
    lines = [json.dumps(event) + "\n" for event in make_progress()]
    folder.write_text("progress.jsonl", "".join(lines))
    return folder


@pytest.fixture
def comparison() -> dict[str, Any]:
    return make_comparison()


@pytest.fixture
def demo_folder(tmp_path: Path, comparison: dict[str, Any]) -> Path:
    """Return a folder with a comparison and the runs that its methods name."""
    folder = RunFolder(tmp_path / "demo")
    folder.claim("demo")
    folder.write_json("comparison.json", comparison)
    for row in comparison["rows"]:
        if row["role"] == "method":
            make_run(folder.at(row["run"]), {"gate": row["gate"]})
    return folder.path


EVIL = "<script>document.title = 'broken'</script><b>bold</b>"


def make_records(known: float, unit: str = "p") -> Records:
    """Return records of 40 forget rows of 8 units; ``known`` is how much better the truth is."""
    draw = np.random.default_rng(int(known * 10)).normal(0.0, 0.5, (40, 4))
    names = np.array([f"forget/{k}" for k in range(40)])
    columns = {
        "id": names,
        "unit": np.array([f"{unit}{k // 5}" for k in range(40)]),
        "nll": np.exp(-known + draw[:, 0]),
        "rouge_l_recall": np.full(40, min(1.0, known / 4)),
        "paraphrased_nll": 2.0 - known + draw[:, 1],
        "perturbed_nll": 2.0 + draw[:, 2:4],
    }
    return {"forget": columns}


def text_line(key: int, generation: str, *, question: str = "", facts: bool = True) -> str:
    row: dict[str, Any] = {
        "split": "forget",
        "id": f"forget/{key}",
        "question": question or f"Where was person {key} born?",
        "answer": f"They were born in Gannesse{key}.",
        "generation": generation,
    }
    spans = [[18, 26 + len(str(key))]]
    return json.dumps(row | ({"facts": spans} if facts else {})) + "\n"


def kept_line(key: int, generation: str) -> str:
    row = {
        "split": "retain",
        "id": f"retain/{key}",
        "question": f"Where was neighbour {key} born?",
        "answer": f"They were born in Tolvane{key}.",
        "generation": generation,
    }
    return json.dumps(row) + "\n"


def make_recorded(place: Path, *, public: bool, evil: bool = False) -> RunFolder:
    """Make a run with records and texts, and its target and gold models in ``models`` above it."""
    run = make_run(place / "methods/npo", {"gate": gate(0.2, 0.04, 0.99)})
    run.write_json("environment.json", make_comparison()["environment"] | {"public": public})
    run.write_text("recipe.yaml", "model:\n  path: my/model\n")
    write(make_records(0.2, unit=EVIL if evil else "p"), run.at("examples.parquet"))
    run.at("reference").mkdir()
    told = {"target": "They were born in Gannesse{}.", "gold": "In Briira.", "npo": "Born in {}."}
    for name, known in (("target", 3.0), ("gold", 0.0)):
        model = RunFolder(place / f"models/{name}-0123")
        model.claim(name)
        write(make_records(known), model.at("examples.parquet"))
        shutil.copy(model.at("examples.parquet"), run.at(f"reference/{name}.parquet"))
        model.at("private").mkdir()
        lines = [text_line(k, told[name].format(k)) for k in range(40)]
        lines += [kept_line(k, f"They were born in Tolvane{k}.") for k in range(3)]
        model.write_text("private/texts.jsonl", "".join(lines))
    run.at("private").mkdir()
    lines = [text_line(k, told["npo"].format(k)) for k in range(40)]
    lines += [kept_line(0, "In Briira.")]
    lines += [kept_line(k, f"They were born in Tolvane{k}.") for k in (1, 2)]
    if evil:
        lines[0] = text_line(0, EVIL, question=EVIL)
    run.write_text("private/texts.jsonl", "".join(lines))
    events = [*make_progress(), {"event": "kept", "step": 280, "scores": {}}]
    run.write_text("progress.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    run.write_manifest()
    return run


@pytest.fixture
def public_run(tmp_path: Path) -> RunFolder:
    return make_recorded(tmp_path, public=True)


@pytest.fixture
def own_run(tmp_path: Path) -> RunFolder:
    return make_recorded(tmp_path, public=False)


@pytest.fixture
def evil_run(tmp_path: Path) -> RunFolder:
    """Return a public run with markup in the names, units and texts of its data."""
    run = make_recorded(tmp_path / EVIL.replace("/", "-"), public=True, evil=True)
    scores = run.read_json("scores.json")
    scores["benchmark"]["name"] = EVIL
    scores["scores"].append(scores["scores"][0] | {"name": EVIL, "interval": EVIL})
    scores["gate"]["criteria"][0] |= {"name": EVIL, "words": EVIL, "passed": False}
    run.write_json("scores.json", scores)
    run.write_text("recipe.yaml", json.dumps({"model": {"path": EVIL}}))
    return run
