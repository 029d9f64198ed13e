"""Probability of the true answer: per token, or among the options of a control set.

``exp(-nll)`` per example, the geometric mean of its token probabilities; for real authors and world
facts ``p / (p + sum of p_wrong)`` over the options (Maini et al. 2024, TOFU, section 2.2.1).
"""

from __future__ import annotations

__all__ = ["CONTROLS", "PLAIN", "compute", "of_answer", "of_options", "per_example"]

import numpy as np
from scipy.special import logsumexp

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_score
from letheon.metrics.records import FloatArray, Records, column, numbers, units
from letheon.metrics.score import Score

PLAIN = {
    "probability": "How probable the model finds the true answers, word for word.",
}

CONTROLS = ("real_authors", "world_facts")


def of_answer(nll: FloatArray) -> FloatArray:
    """Return ``exp(-nll)`` [n] of the mean NLL per token [n], in nats."""
    return np.asarray(np.exp(-nll))


def of_options(nll: FloatArray, wrong_nll: FloatArray) -> FloatArray:
    """Return [n] the share of the answer's probability among the answer and [n, k] wrong options.

    A NaN in ``wrong_nll`` is an option that a row does not have.

    Raises:
        MetricError: a row has no wrong option.
    """
    absent = np.isnan(wrong_nll)
    if absent.all(axis=1).any():
        raise MetricError(
            "A control set needs at least one wrong option in every row.",
            got=f"{int(absent.all(axis=1).sum())} of {len(nll)} rows without",
            remedy="Give each example of the control set perturbed answers.",
        )
    wrong = np.where(absent, -np.inf, -wrong_nll)
    total = logsumexp(np.column_stack([-nll, wrong]), axis=1)
    return np.asarray(np.exp(-nll - total))


def per_example(records: Records, split: str) -> FloatArray:
    """Return [n] probabilities: among options on control sets, else of the answer."""
    nll = numbers(records, split, "nll")
    if split not in CONTROLS:
        return of_answer(nll)
    return of_options(nll, column(records, split, "perturbed_nll").astype(np.float64))


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``forget.probability``, ``retain.probability`` and those of the control sets there."""
    splits = ["forget", "retain", *(split for split in CONTROLS if split in records)]
    return [
        mean_score(
            f"{split}.probability",
            per_example(records, split),
            units(records, split),
            split=split,
            direction="gold" if split == "forget" else "up",
            unit="probability among options" if split in CONTROLS else "probability per token",
        )
        for split in splits
    ]
