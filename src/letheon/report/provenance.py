"""How a comparison was made: its name, command, seeds, phases, versions and hardware."""

from __future__ import annotations

__all__ = ["describe_environment", "heading", "made", "method_seeds"]

from collections.abc import Mapping
from typing import Any


def heading(comparison: Mapping[str, Any]) -> str:
    """Name a comparison by its task and, where its methods have one seed, that seed."""
    task = comparison.get("task") or {}
    name = str(task.get("name") or comparison["rows"][0].get("task") or "comparison")
    seeds = method_seeds(comparison)
    return f"{name}, seed {seeds[0]}" if len(seeds) == 1 else name


def method_seeds(comparison: Mapping[str, Any]) -> list[int]:
    """List the seeds of a comparison's methods, sorted."""
    rows = (row for row in comparison["rows"] if row["role"] == "method")
    return sorted({row["seed"] for row in rows if row.get("seed") is not None})


def made(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Say what made a comparison: command, task, seeds, phases with their seconds."""
    phases = comparison.get("phases") or []
    return _told(
        {
            "Command": str(comparison.get("command") or ""),
            "Task": _pairs(comparison.get("task") or {}),
            "Seeds": ", ".join(str(seed) for seed in method_seeds(comparison)),
            "Phases": ", ".join(f"{phase['name']} {phase['seconds']:.0f} s" for phase in phases),
        }
    )


def describe_environment(environment: Mapping[str, Any]) -> dict[str, str]:
    """Turn ``environment.json`` into words: versions, hardware, code."""
    cpu = environment.get("cpu") or {}
    hardware = [f"{cpu.get('model')}, {cpu.get('count')} cores"] if cpu else []
    hardware += [str(environment["platform"])] if environment.get("platform") else []
    hardware += [str(device) for device in environment.get("accelerators") or []]
    git = environment.get("git") or {}
    code = str(git.get("commit") or "")[:12] + (" with local changes" if git.get("dirty") else "")
    versions = _pairs(environment.get("versions") or {})
    return _told({"Versions": versions, "Hardware": "; ".join(hardware), "Code": code})


def _told(words: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in words.items() if text}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in values.items() if value is not None
    )
