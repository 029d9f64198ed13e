"""Exact memorisation (MA): the share of answer tokens that the argmax predicts.

``MA(x) = mean over t of [argmax p(. | x_<t) = x_t]``, averaged over examples (Tirumala et al. 2022;
Jang et al. 2022, equation 4).
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute", "share"]

from dataclasses import replace

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_of_column
from letheon.metrics.records import Array, Records
from letheon.metrics.score import Score

PLAIN = {
    "exact_memorisation": (
        "How much of the exact wording of the answers the model continues by itself, word "
        "piece by word piece."
    ),
}


def share(match: Array) -> float:
    """Return the share in [0, 1] of [n] booleans "the argmax is the target".

    Raises:
        MetricError: the answer has no tokens.
    """
    match = np.asarray(match, dtype=bool)
    if match.size == 0:
        raise MetricError(
            "Exact memorisation needs at least one answer token.",
            remedy="Leave out examples with empty answers.",
        )
    return float(match.mean())


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``forget.exact_memorisation`` and ``retain.exact_memorisation``."""
    return [
        replace(score, name=score.name.replace("argmax_match", "exact_memorisation"))
        for score in mean_of_column(records, "argmax_match", unit="share of answer tokens")
    ]
