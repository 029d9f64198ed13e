"""Extraction strength: how short a prefix of the answer suffices to get the rest verbatim.

``1 - k/n`` with ``k`` the smallest index from which every argmax prediction of the teacher-forced
pass is the target; 0 when the last one is wrong (Carlini et al. 2021, in the form of Wang et al.
2024, "Towards Effective Evaluations and Comparisons for LLM Unlearning Methods").
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute", "strength"]

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_of_column
from letheon.metrics.records import Array, Records
from letheon.metrics.score import Score

PLAIN = {
    "extraction_strength": (
        "How little of an answer has to be shown before the model writes the rest of it "
        "word for word."
    ),
}


def strength(match: Array) -> float:
    """Return the strength in [0, 1] of one answer, from [n] booleans "the argmax is the target".

    >>> strength(np.array([False, True, True, True]))
    0.75

    Raises:
        MetricError: the answer has no tokens.
    """
    match = np.asarray(match, dtype=bool)
    if match.size == 0:
        raise MetricError(
            "Extraction strength needs at least one answer token.",
            remedy="Leave out examples with empty answers.",
        )
    right_at_the_end = np.minimum.accumulate(match[::-1]).sum()
    return float(right_at_the_end / match.size)


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``forget.extraction_strength`` and ``retain.extraction_strength``."""
    return mean_of_column(records, "extraction_strength", unit="share of the answer")
