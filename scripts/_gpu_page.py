"""The page of ``gpu_check.py``: the comparison by ``letheon report``, then settings and benches."""

from __future__ import annotations

__all__ = ["facts", "page"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _gpu_run
import torch
from _steps import Ledger

from letheon import compare
from letheon.folder import environment

TITLES = {
    "full": "On one accelerator: tests, benches, and a GPT-Neo of 134M parameters on TOFU",
    "reduced": "A reduced run of scripts/gpu_check.py, whose numbers mean nothing",
}


def facts(ledger: Ledger, names: Sequence[str], size: str) -> dict[str, Any]:
    """Return what ``gpu.json`` holds: the machine, the steps' results and seconds, the settings."""
    methods = {m: ledger.result(f"unlearn-{m}") for m in _gpu_run.METHODS}
    return {
        "schema": 1,
        "size": size,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "environment": environment(),
        "steps": {name: ledger.latest(name) for name in names},
        "searched": (ledger.result("plan") or {}).get("search"),
        "points": {m: found["point"] for m, found in methods.items() if found},
        "trials": [ledger.result(f"trial-{m}-{k}") for k in range(2) for m in _gpu_run.METHODS],
        "seconds": round(ledger.seconds(), 1),
    }


def page(found: Mapping[str, Any], comparison: Mapping[str, Any] | None, out: Path) -> str:
    """Return the page as Markdown; the run's part only where a method is finished."""
    title = TITLES[found["size"]]
    if comparison is None:
        text = f"# {title}\n"
    else:
        place = out / "page.md"
        compare.report([out], markdown=place, title=title)
        text = place.read_text(encoding="utf-8") + "\n" + _settings(found)
    return "\n".join([text, *_benches(found), *_tests(found)])


def _settings(found: Mapping[str, Any]) -> str:
    how = (
        "best of two trials each, by the smallest gate gap on validation paraphrases and the "
        "selection gold model (trials in gpu/gpu.json)"
        if found["searched"]
        else "guesses from a smaller model: not tuned"
    )
    lines = [f"{how[0].upper()}{how[1:]}.\n"]
    lines += [f"- {method}: {_pairs(point)}" for method, point in found["points"].items()]
    return "\n".join(["## Settings\n", *lines, ""])


def _benches(found: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, result in found["steps"].items():
        if name.startswith("bench-") and result and not result.get("failed"):
            rows = [f"| `{key}` | {value:.3f} |" for key, value in result["ratios"].items()]
            table = "\n".join(["| Ratio | Value |", "| --- | --: |", *rows])
            parts.append(
                f"## {name.replace('-', ': ').capitalize()}\n\n{result['words']}\n\n{table}\n"
            )
    return parts


def _tests(found: Mapping[str, Any]) -> list[str]:
    result = found["steps"].get("tests")
    card = found["accelerator"] or "no accelerator"
    return [f"## Tests\n\n`pytest --gpu -m gpu` ({card}): {result['summary']}\n"] if result else []


def _pairs(point: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in point.items())
