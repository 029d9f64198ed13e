"""Verdicts of the gate: criteria with their words, limits, and the rule over seeds."""

from __future__ import annotations

__all__ = ["Criterion", "Kind", "Limits", "Verdict", "over_seeds"]

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from letheon.errors import MetricError

Kind = Literal["task", "method"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the gate.

    ``utility``: share of the target's that must be left; ``utility_score`` names which utility is
    compared, ``retain_utility`` only where a task has no control sets. ``seeds`` and
    ``seed_share``: how many seeds a method is judged over and the share of them that must pass.
    """

    rows: int = 200
    units: int = 20
    target_forget_quality: float = 1e-6
    forget_quality: float = 0.05
    distance_factor: float = 2.0
    distance_margin: float = 0.02
    utility: float = 0.98
    utility_score: Literal["model_utility", "retain_utility"] = "model_utility"
    seeds: int = 5
    seed_share: float = 0.8


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that must hold, in numbers and in ``words``, a sentence that a person reads.

    ``kind`` tells the task's preconditions from the method's merits.
    """

    name: str
    passed: bool
    value: float
    limit: float
    words: str
    kind: Kind

    def to_json(self) -> dict[str, Any]:
        """Return the criterion as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``passed`` when every criterion holds."""

    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether every criterion holds."""
        return all(criterion.passed for criterion in self.criteria)

    @property
    def decidable(self) -> bool:
        """Whether the task can decide at all: every criterion of kind ``task`` holds."""
        return all(criterion.passed for criterion in self.criteria if criterion.kind == "task")

    @property
    def failed(self) -> tuple[Criterion, ...]:
        """The criteria that do not hold; the task's alone where it cannot decide."""
        failed = tuple(criterion for criterion in self.criteria if not criterion.passed)
        return failed if self.decidable else tuple(c for c in failed if c.kind == "task")

    @property
    def words(self) -> str:
        """The verdict in sentences: passed, not passed and why, or why the task cannot decide."""
        if self.passed:
            return "Forgotten and kept."
        start = "Not passed." if self.decidable else "The task cannot decide."
        return " ".join([start, *(criterion.words for criterion in self.failed)])

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as ``scores.json`` and ``comparison.json`` hold it."""
        return {"passed": self.passed, "criteria": [c.to_json() for c in self.criteria]}


def over_seeds(verdicts: Sequence[Verdict], *, limits: Limits | None = None) -> Verdict:
    """Judge a method over the verdicts of its seeds: at least 4 of 5 must hold, for each criterion.

    The last criterion, ``whole_gate``, asks for 4 of 5 seeds on which everything holds at once.
    With more seeds the share stays the same, rounded up.

    Raises:
        MetricError: there are no verdicts, or they have different criteria.
    """
    limits = limits or Limits()
    kinds = [{c.name: c.kind for c in verdict.criteria} for verdict in verdicts]
    if not kinds or any(other != kinds[0] for other in kinds):
        raise MetricError(
            "Judging over seeds needs verdicts with the same criteria.",
            got=f"{len(verdicts)} verdicts",
            remedy="Judge every seed of one method with the same gate.",
        )
    n = len(verdicts)
    needed = math.ceil(limits.seed_share * max(n, limits.seeds) - 1e-9)
    counts = {name: sum(_holds(v, name) for v in verdicts) for name in kinds[0]}
    return Verdict(
        (
            Criterion(
                "seeds",
                n >= limits.seeds,
                n,
                limits.seeds,
                f"{n} seeds were run; at least {limits.seeds} are needed.",
                "task",
            ),
            *(_count(name, counts[name], n, needed, kind) for name, kind in kinds[0].items()),
            _count("whole_gate", sum(v.passed for v in verdicts), n, needed, "method"),
        )
    )


def _holds(verdict: Verdict, name: str) -> bool:
    return all(criterion.passed for criterion in verdict.criteria if criterion.name == name)


def _count(name: str, count: int, n: int, needed: int, kind: Kind) -> Criterion:
    words = f"{name.replace('_', ' ').capitalize()} holds on {count} of {n} seeds; at least "
    return Criterion(name, count >= needed, count, needed, f"{words}{needed} are needed.", kind)
