"""What a run was asked to do, and what it took: from its recipe, scores and records."""

from __future__ import annotations

__all__ = ["asked", "cost", "reproduce"]

from collections.abc import Mapping
from typing import Any

from letheon.report.evidence import Evidence
from letheon.report.load import Run, own_words
from letheon.report.provenance import describe_environment
from letheon.report.words import method_name

_KEPT = ("retain", "real_authors", "world_facts")


def asked(run: Run, evidence: Evidence) -> list[tuple[str, str]]:
    """Say what was to be forgotten and kept, from which model, how."""
    told: Mapping[str, Any] = run.scores.get("run") or {}
    benchmark: Mapping[str, Any] = run.scores.get("benchmark") or {}
    method = str(told.get("method") or "")
    name = method_name(method, told.get("bound")) if method else ""
    spelt = f" ({method.replace('_', ' ')})" if name != method else ""
    return _told(
        {
            "To forget": _counted(evidence, "forget"),
            "To keep": _to_keep(run, evidence),
            "Left out": _left_out(run.environment.get("overlap") or 0),
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
    told = {"Command": _command(run), "RUN": _RUN} if run.recipe else {}
    told |= describe_environment(environment)
    if environment.get("accelerator"):
        told["Accelerator"] = str(environment["accelerator"])
    told["Identity of the run"] = run.identity
    told |= {f"sha256 of {name}": str(value) for name, value in sums.items() if value}
    return _told(told)


# The page does not know where it is read: the folder's name alone would be right in one place.
_RUN = (
    "this run's folder, whose recipe.yaml says all of the run. Give the command where the run was "
    "started: relative paths are read from there. It needs the model and the rows that the run "
    "began with: once these are deleted, it cannot be made again."
)


def _command(run: Run) -> str:
    """Return what does the same again, into another folder."""
    processes = (run.environment.get("processes") or {}).get("count") or 1
    program = f"torchrun --nproc-per-node {processes} -m letheon" if processes > 1 else "letheon"
    verb, more = run.settings.get("kind") or "unlearn", ""
    if not run.progress:  # a checkpoint was scored, and nothing trained
        verb, more = "evaluate", " --model CHECKPOINT"
    return f"{program} {verb} RUN/recipe.yaml{more} --out ANOTHER-FOLDER"


def _to_keep(run: Run, evidence: Evidence) -> str:
    counted = {s: f"{_counted(evidence, s)} ({s.replace('_', ' ')})" for s in _KEPT}
    said = own_words(run)
    if said:
        counted["retain"] = (
            f"{said:,} rows that the model itself said before it forgot, because none were given"
        )
    return ", ".join(text for text in counted.values() if not text.startswith(" "))


def _left_out(overlap: int) -> str:
    if not overlap:
        return ""
    rows = "row to keep that was given is" if overlap == 1 else "rows to keep that were given are"
    return f"{overlap:,} {rows} also to be forgotten: forgotten, not kept"


def _counted(evidence: Evidence, split: str) -> str:
    if split not in evidence.counts:
        return ""
    rows, units = evidence.counts[split]
    return f"{rows:,} rows of {units:,} units"


def _told(words: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in words.items() if text]
