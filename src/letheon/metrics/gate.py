"""The gate "forgotten and kept": what a run must show before it may be said to have forgotten.

A p-value alone is easily fooled: few rows pass by lack of power, and a model driven far past gold
can pass too. So the task must be able to decide (enough rows of enough units, a target that fails
clearly, a second gold model that passes), and the method must pass forget quality, stay as near to
gold as gold models are to each other, and keep the target's utility, without having been stopped by
looking at the gold model that scores it.
"""

from __future__ import annotations

__all__ = ["Criterion", "Kind", "Limits", "Verdict", "judge", "over_seeds"]

from letheon.metrics import gold_distance, model_utility, retain_utility
from letheon.metrics.forget_quality import log_ratios, p_value
from letheon.metrics.intervals import count_units
from letheon.metrics.records import Records
from letheon.metrics.verdict import Criterion, Kind, Limits, Verdict, over_seeds


def judge(
    method: Records,
    *,
    target: Records,
    gold: Records,
    second_gold: Records,
    limits: Limits | None = None,
    oracle: bool = False,
) -> Verdict:
    """Judge one run on one task.

    ``gold`` is the gold model that scores; ``second_gold`` one of another seed. ``oracle`` marks a
    run whose settings or stopping point were chosen by looking at ``gold``.

    Raises:
        MetricError: a split or column that a criterion needs is missing, or rows differ.
    """
    limits = limits or Limits()
    return Verdict(
        (
            *_size(method, gold, limits),
            _target_fails(target, gold, limits),
            _gold_passes(second_gold, gold, limits),
            _forgotten(method, gold, limits),
            _near_gold(method, gold, second_gold, limits),
            _kept(method, target, limits),
            _honest(oracle),
        )
    )


def _size(method: Records, gold: Records, limits: Limits) -> tuple[Criterion, Criterion]:
    ratios, _, names = log_ratios(method, gold)
    n, n_units = len(ratios), count_units(names)
    return (
        Criterion(
            "forget_rows",
            n >= limits.rows,
            n,
            limits.rows,
            f"The forget set has {n} rows with a truth ratio; at least {limits.rows} are needed.",
            "task",
        ),
        Criterion(
            "forget_units",
            n_units >= limits.units,
            n_units,
            limits.units,
            f"They come from {n_units} independent units; at least {limits.units} are needed.",
            "task",
        ),
    )


def _forget_quality(records: Records, gold: Records) -> float:
    mine, theirs, _ = log_ratios(records, gold)
    return p_value(mine, theirs)


def _target_fails(target: Records, gold: Records, limits: Limits) -> Criterion:
    p = _forget_quality(target, gold)
    return Criterion(
        "target_fails",
        p <= limits.target_forget_quality,
        p,
        limits.target_forget_quality,
        f"The target's own forget quality is {p:.2g}; at most "
        f"{limits.target_forget_quality:.0e} shows that there is something to forget.",
        "task",
    )


def _gold_passes(second_gold: Records, gold: Records, limits: Limits) -> Criterion:
    p = _forget_quality(second_gold, gold)
    return Criterion(
        "second_gold_passes",
        p >= limits.forget_quality,
        p,
        limits.forget_quality,
        f"A second gold model's forget quality is {p:.2g}; at least {limits.forget_quality:g} "
        "shows that a model which never knew can pass.",
        "task",
    )


def _forgotten(method: Records, gold: Records, limits: Limits) -> Criterion:
    p = _forget_quality(method, gold)
    return Criterion(
        "forget_quality",
        p >= limits.forget_quality,
        p,
        limits.forget_quality,
        f"Forget quality is {p:.2g}; at least {limits.forget_quality:g} is needed.",
        "method",
    )


def _distance(records: Records, gold: Records) -> float:
    values = [part.value for part in gold_distance.parts(records, gold)]
    return sum(values) / len(values)


def _near_gold(method: Records, gold: Records, second_gold: Records, limits: Limits) -> Criterion:
    distance, spread = _distance(method, gold), _distance(second_gold, gold)
    limit = limits.distance_factor * spread + limits.distance_margin
    return Criterion(
        "gold_distance",
        distance <= limit,
        distance,
        limit,
        f"The distance to gold is {distance:.3f}; at most {limit:.3f} is allowed "
        f"({limits.distance_factor:g} times the {spread:.3f} between two gold models, plus "
        f"{limits.distance_margin:g}).",
        "method",
    )


def _utility(records: Records, limits: Limits) -> float:
    metric = model_utility if limits.utility_score == "model_utility" else retain_utility
    scores: dict[str, float] = {score.name: score.value for score in metric.compute(records)}
    return scores[limits.utility_score]


def _kept(method: Records, target: Records, limits: Limits) -> Criterion:
    kept, before = _utility(method, limits), _utility(target, limits)
    limit = limits.utility * before
    share = f", {kept / before:.1%} of the target's {before:.3f}" if before > 0 else ""
    return Criterion(
        "utility",
        before > 0 and kept >= limit,
        kept,
        limit,
        f"{limits.utility_score.replace('_', ' ').capitalize()} is {kept:.3f}{share}; at least "
        f"{limits.utility:.0%} is needed.",
        "method",
    )


def _honest(oracle: bool) -> Criterion:
    return Criterion(
        "not_oracle",
        not oracle,
        float(oracle),
        0.0,
        "The run was stopped or chosen by looking at the gold model that scores it; it does not "
        "count."
        if oracle
        else "The run was not chosen by looking at the gold model that scores it.",
        "method",
    )
