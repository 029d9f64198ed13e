"""PrivLeak: the Min-K AUC relative to the gold model's, in per cent; 0 is gold.

``100 ((1 - AUC) - (1 - AUC_gold)) / (1 - AUC_gold)`` with the AUC of forget against unseen (Shi et
al. 2024, MUSE, equation 2). Far below 0: the forget set still looks trained on. Far above: it looks
less likely than text never seen, which gives it away as well.
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute", "privleak"]

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import bootstrapped, count_units, unit_weights
from letheon.metrics.membership import auc, evidence, weighted_auc
from letheon.metrics.records import FloatArray, Records, aligned, units
from letheon.metrics.score import Score

PLAIN = {
    "privleak": (
        "How much more (or less) an outsider can tell about the data than from the gold "
        "model, in per cent; 0 is the same."
    ),
}

_SPLITS = ("forget", "unseen")


def privleak(auc: FloatArray, gold_auc: FloatArray) -> FloatArray:
    """Return PrivLeak in per cent; not finite where ``gold_auc`` is 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * (gold_auc - auc) / (1 - gold_auc))


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``privleak``, resampled by unit, the same units in both models.

    Raises:
        MetricError: gold is missing or of other rows, a split or ``min_k`` is missing, or gold
            tells the two sets apart perfectly (nothing to divide by).
    """
    for split in _SPLITS:
        gold = aligned(records, gold, split)
    mine = [evidence(records, split, "min_k") for split in _SPLITS]
    theirs = [evidence(gold or {}, split, "min_k") for split in _SPLITS]
    gold_auc = auc(*theirs)
    if gold_auc == 1:
        raise MetricError(
            "PrivLeak needs a gold model whose Min-K AUC is below 1.",
            got="1: forget and unseen rows differ in more than membership",
            remedy="Choose unseen rows of the forget set's kind.",
        )
    names = [units(records, split) for split in _SPLITS]
    weights = [unit_weights(name, split=split) for name, split in zip(names, _SPLITS, strict=True)]
    return [
        bootstrapped(
            "privleak",
            float(privleak(np.asarray(auc(*mine)), np.asarray(gold_auc))),
            privleak(weighted_auc(*mine, *weights), weighted_auc(*theirs, *weights)),
            n=sum(len(name) for name in names),
            n_units=[count_units(name) for name in names],
            direction="gold",
            unit="per cent of gold's, Min-K",
        )
    ]
