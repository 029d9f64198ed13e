"""The success region: how large a share of random settings forgets and keeps, and how far it holds.

A probe passes by the gate's rule on validation paraphrases: forget quality at least 0.05, utility
at least the floor's share of the target's, gold distance within twice that of two gold models plus
0.02. A *run* is one setting on one tuning instance. A setting succeeds when its run on every
instance passes at some probe; settings are drawn independently, so that Wilson's interval over them
is one for the share of the search range. Nothing here is a score of the final models.
"""

from __future__ import annotations

__all__ = ["Limits", "Past", "passing", "past_stop", "region"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median
from typing import Any

from letheon.errors import MetricError
from letheon.metrics.intervals import wilson
from letheon.metrics.verdict import Limits as GateLimits

Probe = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a probe must reach: the least ``utility_ratio``, the largest ``gold_distance``."""

    utility_ratio: float
    gold_distance: float
    forget_quality: float = GateLimits().forget_quality

    def met(self, probe: Probe) -> bool:
        """Whether a probe passes. Raises MetricError when it lacks one of the scores."""
        missing = [name for name in self.__slots__ if name not in probe]
        if missing:
            raise MetricError(
                "The success region goes by forget quality, gold distance and utility.",
                got=f"probes without {', '.join(missing)}",
                remedy="Use data with paraphrases, false answers and an unseen split.",
            )
        return (
            probe["forget_quality"] >= self.forget_quality
            and probe["utility_ratio"] >= self.utility_ratio
            and probe["gold_distance"] <= self.gold_distance
        )


@dataclass(frozen=True, slots=True)
class Past:
    """How far a run stayed within the gate: steps ``first`` to ``last``.

    ``share``: (last - first) / first. ``open``: the run ended while it still passed, so that the
    share is the least it can be.
    """

    first: int
    last: int
    share: float
    open: bool


def passing(trial: Mapping[str, Any], limits: Limits) -> list[bool]:
    """Say of each probe of a run whether it passes; of a run that diverged none does."""
    return [trial["failed"] is None and limits.met(probe) for probe in trial["probes"]]


def past_stop(trial: Mapping[str, Any], limits: Limits) -> Past | None:
    """Return from which step to which the first unbroken row of passing probes goes."""
    held = passing(trial, limits)
    if not any(held):
        return None
    start = held.index(True)
    end = start + sum(1 for _ in takewhile(bool, held[start:])) - 1
    first, last = (trial["probes"][k]["step"] for k in (start, end))
    return Past(first, last, (last - first) / first, end == len(held) - 1)


def region(trials: Sequence[Mapping[str, Any]], limits: Mapping[str, Limits]) -> dict[str, Any]:
    """Return one method's success region from all its ``trials``.

    ``limits`` are by instance. ``anywhere`` and ``at_end`` count the settings whose runs pass at
    some probe, or at the last; ``worst_utility`` is the smallest ``utility_ratio`` of any run's
    last probe, 0 where one diverged, since that model gives no answers.
    """
    by_setting: dict[int, list[Mapping[str, Any]]] = {}
    for trial in trials:
        by_setting.setdefault(trial["trial"], []).append(trial)
    held = {
        number: [passing(run, limits[run["instance"]]) for run in runs]
        for number, runs in by_setting.items()
    }
    past = [found for run in trials if (found := past_stop(run, limits[run["instance"]]))]
    return {
        "anywhere": _share([all(any(run) for run in runs) for runs in held.values()]),
        "at_end": _share([all(run[-1:] == [True] for run in runs) for runs in held.values()]),
        "runs": len(trials),
        "runs_passing": len(past),
        "runs_failed": sum(trial["failed"] is not None for trial in trials),
        "worst_utility": min(_last_utility(trial) for trial in trials),
        "past_stop": _past(past),
    }


def _share(held: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(held), len(held))
    return {
        "passed": sum(held),
        "n": len(held),
        "value": sum(held) / len(held),
        "low": low,
        "high": high,
    }


def _last_utility(trial: Mapping[str, Any]) -> float:
    if trial["failed"] is not None or not trial["probes"]:
        return 0.0
    return float(trial["probes"][-1]["utility_ratio"])


def _past(found: Sequence[Past]) -> dict[str, Any] | None:
    if not found:
        return None
    shares = [each.share for each in found]
    return {
        "median": median(shares),
        "low": min(shares),
        "high": max(shares),
        "n": len(found),
        "open": sum(each.open for each in found),
    }
