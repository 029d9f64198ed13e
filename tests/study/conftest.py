"""A made-up study whose outcome has every case; nothing is trained for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_study import lost, probe, row, spec, trial, write

from letheon.study import Study, load, outcome
from letheon.study.jobs import result_of

SEEDS = 5


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The tiny study, loaded."""
    return load(write(tmp_path / "in"))


@pytest.fixture
def made_up(tmp_path: Path) -> dict[str, Any]:
    """An outcome: gd-sine passes on 4 of 5 seeds, npo-lora on 3 of 5, one of which diverged."""
    raw = spec(score=[{"seed": k} for k in range(SEEDS)], trials=3)
    loaded = load(write(tmp_path / "in", raw))
    out = tmp_path / "out"
    limit = result_of(out, "limit/tune-0")
    limit.parent.mkdir(parents=True)
    limit.write_text(json.dumps({"schema": 1, "gold_distance": 0.05, "utility_ratio": 0.98}))
    sine = [
        trial(0, [probe(10, utility=0.5), probe(20), probe(30)]),
        trial(1, [probe(10, distance=0.01), probe(20), probe(30, quality=0.01, utility=0.7)]),
        trial(2, [probe(10, quality=1e-9, distance=0.2)] * 3),
    ]
    lora = [
        trial(0, [probe(10, distance=0.2)], "the loss is nan", method="npo-lora"),
        trial(1, [probe(10, distance=0.3), probe(20, distance=0.25)], method="npo-lora"),
        trial(2, [probe(10, distance=0.25), probe(20, distance=0.4)], method="npo-lora"),
    ]
    rows = []
    for k in range(SEEDS):
        name = f"score-{k}"
        reference = row("second_gold", name, (0.9, 0.02, 1.0)) | {"role": "gold"}
        rows.append(reference)
        rows.append(row("gd-sine", name, (0.1 * (k + 1), 0.04 + 0.01 * k, 0.99), passed=k > 0))
        rows.append(
            lost("npo-lora", name)
            if k == 4
            else row("npo-lora", name, (0.2, 0.1, 0.9), passed=k > 0)
        )
    return outcome.outcome(loaded, out, {"gd-sine": sine, "npo-lora": lora}, rows, "letheon study")
