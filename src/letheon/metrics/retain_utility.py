"""Retain utility: the harmonic mean of the three retain numbers, where there are no control sets.

Probability, ROUGE-L recall and truth ratio of the retain split. It is not model utility: nothing
outside the training data is in it, and the two must not be compared.
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute"]

from letheon.metrics.model_utility import utility
from letheon.metrics.records import Records
from letheon.metrics.score import Score
from letheon.metrics.truth_ratio import VARIANTS

PLAIN = {
    "retain_utility": (
        "How well the model still answers the rows that were to be kept, in one number from 0 to 1."
    ),
}


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``retain_utility`` and ``retain_utility_arithmetic``.

    Raises:
        MetricError: the retain split or one of its columns is missing.
    """
    return [utility(records, ("retain",), "retain_utility", variant) for variant in VARIANTS]
