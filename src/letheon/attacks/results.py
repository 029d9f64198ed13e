"""Numbers of each model -> scores with intervals, and the method's difference to gold, by unit."""

from __future__ import annotations

__all__ = ["scores"]

from collections.abc import Mapping
from typing import Any

import numpy as np

from letheon.attacks.contract import Attack, Resamples, Role, Statistic
from letheon.metrics.intervals import bootstrapped, count_units
from letheon.metrics.records import Columns


def scores(attack: Attack, columns: Mapping[Role, Columns]) -> dict[str, dict[str, Any]]:
    """Return ``{role or "difference": {name: {value, low, high, n}}}``.

    Units are resampled, the same ones for every model, so that the interval of the difference
    (method - gold) is that of pairs; without a gold model there are neither its scores nor a
    difference. A value that was not reached is ``attack.limit`` and has ``censored: true``; so has
    a difference of which one side is. The ends of such an interval are at the limit too where
    resamples do not reach it.
    """
    resamples = Resamples(columns["method"]["unit"])
    found = {
        role: attack.statistics(one, resamples, columns["target"]) for role, one in columns.items()
    }
    mine, limit = found["method"], attack.limit
    written: dict[str, dict[str, Any]] = {"gold": {}} | {
        role: {
            name: _score(name, statistic, limit, resamples)
            for name, statistic in statistics.items()
            if name in mine
        }
        for role, statistics in found.items()
    }
    written["difference"] = {
        name: _score(name, _minus(mine[name], gold, limit), limit, resamples)
        | _censored(mine[name], gold)
        for name, gold in found.get("gold", {}).items()
        if name in mine
    }
    return written


def _score(name: str, statistic: Statistic, limit: float, resamples: Resamples) -> dict[str, Any]:
    values = np.where(np.isposinf(statistic.values), limit, statistic.values)
    score = bootstrapped(
        name,
        float(values[0]),
        values[1:],
        n=len(statistic.rows),
        n_units=[count_units(resamples.units[statistic.rows])],
        direction="gold",
        unit="",
    )
    found = {"value": score.value, "low": score.low, "high": score.high, "n": score.n}
    return found | _censored(statistic)


def _minus(mine: Statistic, gold: Statistic, limit: float) -> Statistic:
    ends = [np.where(np.isposinf(s.values), limit, s.values) for s in (mine, gold)]
    return Statistic(ends[0] - ends[1], mine.rows)


def _censored(*statistics: Statistic) -> dict[str, bool]:
    return {"censored": True} if any(np.isposinf(s.values[0]) for s in statistics) else {}
