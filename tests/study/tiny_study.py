"""A study at tiny size: two methods, two trials, one instance to tune on and two to score."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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


def probe(
    step: int, quality: float = 0.5, utility: float = 1.0, distance: float = 0.03
) -> dict[str, Any]:
    """Return a probe as a trial keeps it; by default one that passes."""
    return {
        "step": step,
        "forget_quality": quality,
        "utility_ratio": utility,
        "gold_distance": distance,
        "gate_gap": distance,
    }


def trial(
    number: int, probes: Sequence[dict[str, Any]], failed: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return a trial's result."""
    return {
        "schema": 1,
        "method": "gd-sine",
        "trial": number,
        "instance": "tune-0",
        "setting": {"training.lr": 0.001 * (number + 1)},
        "probes": list(probes),
        "failed": failed,
        "seconds": 10.0,
        "peak_bytes": 1000,
        **more,
    }


def row(method: str, instance: str, values: Sequence[float], passed: bool = True) -> dict[str, Any]:
    """Return a final run's row: forget quality, gold distance and utility share are ``values``."""
    quality, distance, share = values
    names = ("forget_quality", "gold_distance", "model_utility")
    scores = {
        name: {"value": value, "low": value / 2, "high": value * 2, "n": 200}
        for name, value in zip(names, (quality, distance, share * 0.9), strict=True)
    }
    scores["forget_quality"] |= {"low": None, "high": None}
    criteria = [
        {"name": name, "passed": ok, "value": 1.0, "limit": 1.0, "words": f"{name}.", "kind": kind}
        for name, ok, kind in (("forget_rows", True, "task"), ("forget_quality", passed, "method"))
    ]
    return {
        "role": "method",
        "name": method,
        "instance": instance,
        "setting": {"training.lr": 0.001},
        "failed": None,
        "scores": scores,
        "utility_share": share,
        "gate": {"passed": passed, "criteria": criteria},
        "cost": {"seconds": 20.0, "peak_bytes": 2**20 * 300},
        "attacks": {},
    }


def lost(method: str, instance: str) -> dict[str, Any]:
    """Return the row of a final run that diverged."""
    nothing = {"scores": {}, "utility_share": None, "gate": None, "cost": None, "failed": "nan"}
    return row(method, instance, (1.0, 1.0, 1.0)) | nothing
