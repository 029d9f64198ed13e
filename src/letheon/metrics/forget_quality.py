"""Forget quality: can the truth ratios on the forget set be told from the gold model's?

The p-value of the two-sample Kolmogorov-Smirnov test of the truth ratio against a model trained
without the forget set (Maini et al. 2024, section 2.2.2), and its statistic D. A p-value depends on
n: a few rows pass by lack of power, so n is part of the unit's words and D carries the interval.
The test takes rows as independent, D's interval resamples units, the same ones in both models.
"""

from __future__ import annotations

__all__ = [
    "PLAIN",
    "compute",
    "critical_ks",
    "ks_statistic",
    "log_ratios",
    "p_value",
    "quality",
    "weighted_ks",
]

import warnings

import numpy as np
from scipy.stats import ks_2samp

from letheon.errors import MetricError
from letheon.metrics.intervals import bootstrapped, count_units, unit_weights
from letheon.metrics.records import Array, FloatArray, Records, aligned, units
from letheon.metrics.score import Score
from letheon.metrics.truth_ratio import VARIANTS, Variant, of_split, suffix

PLAIN = {
    "forget_quality": (
        "Can the model be told from one that never saw the data? Below 0.05 it can; it is "
        "the chance of such a difference by luck alone."
    ),
    "ks_d": (
        "The widest gap between this model and the gold model in how they weigh true "
        "against false answers; 0 is none."
    ),
}


def p_value(mine: FloatArray, gold: FloatArray) -> float:
    """Return the p-value in [0, 1] of the two-sided, two-sample test of [n] against [m] numbers.

    It is exact for samples of up to 10,000, but for a few cases of D near 0 where rounding takes
    scipy's sum above 1: it then uses the asymptotic distribution, which gives 1 as well.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
        return float(ks_2samp(mine, gold).pvalue)


def weighted_ks(mine: FloatArray, gold: FloatArray, wm: FloatArray, wg: FloatArray) -> FloatArray:
    """Return the [resamples] D: the largest distance of the two weighted distribution functions.

    ``wm`` [resamples, n] and ``wg`` [resamples, m] weight the rows.
    """
    grid = np.unique(np.concatenate([mine, gold]))
    return np.asarray(np.abs(_cdf(mine, wm, grid) - _cdf(gold, wg, grid)).max(axis=1))


def _cdf(values: FloatArray, weights: FloatArray, grid: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    below = np.zeros((len(weights), len(values) + 1))
    np.cumsum(weights[:, order], axis=1, out=below[:, 1:])
    at = np.searchsorted(values[order], grid, side="right")
    return np.asarray(below[:, at] / below[:, -1:])


def ks_statistic(mine: FloatArray, gold: FloatArray) -> float:
    """Return D in [0, 1] of [n] against [m] numbers."""
    return float(weighted_ks(mine, gold, np.ones((1, len(mine))), np.ones((1, len(gold))))[0])


def critical_ks(n: int, p: float) -> float:
    """Return the largest D of two samples of ``n`` numbers whose p-value is ``p`` or more.

    By the asymptotic distribution's leading term, ``sqrt(-ln(p / 2) / n)``: 0.136 for 200 rows
    and 0.05.
    """
    return float(np.sqrt(-np.log(p / 2) / n))


def log_ratios(
    records: Records, gold: Records | None, variant: Variant = "geometric"
) -> tuple[FloatArray, FloatArray, Array]:
    """Return ``log r`` [m] of the model and of gold on the forget set, and the [m] units.

    Raises:
        MetricError: gold is missing or of other rows, or a column is missing.
    """
    gold = aligned(records, gold, "forget")
    mine, mask = of_split(records, "forget", variant)
    theirs, theirs_mask = of_split(gold, "forget", variant)
    if (mask != theirs_mask).any():
        raise MetricError(
            "Both models must have truth ratios in the same rows.",
            got=f"{int((mask != theirs_mask).sum())} rows with one for one model only",
            remedy="Evaluate both models on the same data.",
        )
    return mine, theirs, units(records, "forget")[mask]


def quality(records: Records, gold: Records | None, variant: Variant = "geometric") -> Score:
    """Return the p-value as a score; a p-value has no interval, see ``ks_d``."""
    mine, theirs, _ = log_ratios(records, gold, variant)
    return Score(
        f"forget_quality{suffix(variant)}",
        p_value(mine, theirs),
        None,
        None,
        len(mine),
        "up",
        f"p-value, KS test of {len(mine)} against {len(theirs)} {variant} truth ratios",
        "none: a p-value; ks_d has one",
    )


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``forget_quality``, ``forget_quality_arithmetic`` and ``ks_d`` (geometric).

    Raises:
        MetricError: as ``log_ratios``.
    """
    mine, theirs, names = log_ratios(records, gold)
    weights = unit_weights(names, split="forget")
    statistic = bootstrapped(
        "ks_d",
        ks_statistic(mine, theirs),
        weighted_ks(mine, theirs, weights, weights),
        n=len(mine),
        n_units=[count_units(names)],
        direction="down",
        unit="KS distance of geometric truth ratios to gold's",
    )
    return [*(quality(records, gold, variant) for variant in VARIANTS), statistic]
