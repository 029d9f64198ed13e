"""What a finished run says on a terminal: its scores before and after, and the verdict."""

from __future__ import annotations

__all__ = ["run_lines", "score_lines"]

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from letheon.folder import RunFolder
from letheon.report.sequence import sequence_tables
from letheon.report.words import number, shortfall

Score = Mapping[str, Any]

# What tells most where there is no verdict: how likely the answers are, and whether they are said.
_FIRST = (".probability", ".rouge_l_recall", "_quality", "gold_distance", "model_utility")
_ARROWS = {"up": "up", "down": "down", "gold": "to gold"}


def run_lines(scores: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the lines that sum up ``scores.json`` of the run in ``folder``."""
    found = sorted(scores["scores"], key=lambda score: not score["name"].endswith(_FIRST))
    lines = score_lines(found, scores.get("before") or ())
    reasons = {entry["name"]: entry["reason"] for entry in scores["skipped"]}
    if reasons:
        lines += ["", f"not possible here: {', '.join(reasons)}. Why: {folder / RunFolder.SCORES}"]
    if "gate" in reasons:
        lines.append(f"no verdict: {reasons['gate']}")
    lines += _sequence_lines(scores)
    if missed := shortfall(scores.get("ended")):
        lines += ["", missed]
    gate = scores.get("gate")
    if gate is not None:
        lines += ["", "forgotten and kept: " + ("passed" if gate["passed"] else "not passed")]
        lines += [
            f"  {'ok  ' if criterion['passed'] else 'FAIL'} {criterion['words']}"
            for criterion in gate["criteria"]
        ]
    return [*lines, "", f"run folder: {folder}"]


def score_lines(scores: Sequence[Score], before: Iterable[Score] = ()) -> list[str]:
    """Return a line a score: its value ``before`` where it is known, its own, interval and n."""
    target = {score["name"]: score["value"] for score in before}
    head = [f"{'':<26} {'before':>8} {'after':>8}"] if target else []
    return [*head, *(_line(score, target) for score in scores)]


def _line(score: Score, target: Mapping[str, float]) -> str:
    was = f" {number(target[score['name']]):>8}" if score["name"] in target else ""
    low, high = (number(score[end]) for end in ("low", "high"))
    span = f"[{low}, {high}]" if score["low"] is not None else ""
    return (
        f"{score['name']:<26}{was} {number(score['value']):>8} {span:<18} "
        f"n={score['n']:<4} {_ARROWS[score['direction']]}"
    )


def _sequence_lines(scores: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, table in sequence_tables([(scores["run"]["name"], scores.get("sequence"))]):
        lines += ["", title]
        for row in table.rows:
            cells = zip(table.headers[1:], row[1:], strict=True)
            said = ", ".join(f"{head.rstrip(' ↑↓→')} {cell}" for head, cell in cells if cell)
            lines.append(f"  {row[0]}: {said}")
    return lines
