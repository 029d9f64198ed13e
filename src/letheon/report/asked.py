"""What a run was asked to do, and what it took: from its recipe, scores and records."""

from __future__ import annotations

__all__ = ["asked", "cost", "reproduce"]

from collections.abc import Mapping
from typing import Any

from letheon.report.evidence import Evidence
from letheon.report.load import Run
from letheon.report.provenance import describe_environment
from letheon.report.words import method_name

_KEPT = ("retain", "real_authors", "world_facts")


def asked(run: Run, evidence: Evidence) -> list[tuple[str, str]]:
    """Say what was to be forgotten and kept, from which model, how."""
    told: Mapping[str, Any] = run.scores.get("run") or {}
    benchmark: Mapping[str, Any] = run.scores.get("benchmark") or {}
    kept = [f"{_counted(evidence, split)} ({split.replace('_', ' ')})" for split in _KEPT]
    method = str(told.get("method") or "")
    name = method_name(method, told.get("bound")) if method else ""
    spelt = f" ({method.replace('_', ' ')})" if name != method else ""
    return _told(
        {
            "To forget": _counted(evidence, "forget"),
            "To keep": ", ".join(k for k in kept if not k.startswith(" ")),
            "Data": " ".join(str(benchmark[k]) for k in ("name", "version") if benchmark.get(k)),
            "Model": run.model,
            "Method": f"{name}{spelt}",
            "Seed": str(told["seed"]) if told.get("seed") is not None else "",
        }
    )


def cost(run: Run) -> list[tuple[str, str]]:
    """Say what the run took."""
    spent: Mapping[str, Any] = (run.scores.get("run") or {}).get("cost") or {}
    phases = [event for event in run.progress if event["event"] == "phase"]
    steps = [event["step"] for event in run.progress if event["event"] == "step"]
    peak = spent.get("peak_bytes")
    return _told(
        {
            "Unlearning": f"{spent['seconds']:,.1f} s" if spent.get("seconds") else "",
            "Steps": f"{max(steps):,}" if steps else "",
            "Peak memory": f"{peak / 2**20:,.0f} MiB" if peak else "",
            "Phases": ", ".join(f"{p['name']} {p['seconds']:,.0f} s" for p in phases),
        }
    )


def reproduce(run: Run) -> list[tuple[str, str]]:
    """Say all that is needed to make the run again: command, versions, checksums."""
    environment = run.environment
    sums = {**(environment.get("data") or {}), "model": environment.get("model")}
    told = {"Command": "letheon unlearn recipe.yaml" if run.recipe else ""}
    told |= describe_environment(environment)
    if environment.get("accelerator"):
        told["Accelerator"] = str(environment["accelerator"])
    told["Identity of the run"] = run.identity
    told |= {f"sha256 of {name}": str(value) for name, value in sums.items() if value}
    return _told(told)


def _counted(evidence: Evidence, split: str) -> str:
    if split not in evidence.counts:
        return ""
    rows, units = evidence.counts[split]
    return f"{rows:,} rows of {units:,} units"


def _told(words: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in words.items() if text]
