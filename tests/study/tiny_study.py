"""A study at tiny size: two methods, two trials, one instance to tune on and two to score."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

import pipeline

SELECT = {"score": "gold_distance", "direction": "down"}
BASE = pipeline.changed(pipeline.UNLEARN, name="base", training__steps=4, training__probe_every=2)

SPEC: dict[str, Any] = {
    "name": "tiny",
    "base": "base.yaml",
    "tune": [{"seed": 5}],
    "score": [{"seed": 0}, {"seed": 1}],
    "trials": 2,
    "select": "gold_distance",
    "methods": {
        "gd-sine": {
            "set": {"objective.name": "gradient_difference", "adapter.bound": "sine"},
            "search": {
                "training.lr": {"low": 1e-4, "high": 1e-2, "log": True},
                "objective.params.forget_weight": {"low": 0.1, "high": 1.0},
            },
        },
        "npo-lora": {
            "set": {"objective.name": "npo", "adapter.bound": "identity"},
            "search": {"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        },
    },
}


def spec(**values: Any) -> dict[str, Any]:
    """Return the tiny study's file with values put at ``a__b`` keys."""
    return pipeline.changed(SPEC, **values)


def write(folder: Path, raw: dict[str, Any] | None = None, base: dict[str, Any] = BASE) -> Path:
    """Write a study with the recipes that it needs."""
    pipeline.write(folder, copy.deepcopy(base))
    place = folder / "study.yaml"
    place.write_text(yaml.safe_dump(raw or SPEC, sort_keys=False), encoding="utf-8")
    return place
