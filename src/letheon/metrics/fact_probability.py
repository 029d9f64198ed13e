"""Probability of the fact tokens alone: what cannot be guessed from the question or the template.

``exp(-fact_nll)`` per example. A model trained on the format but not on the facts already predicts
most tokens of an answer, which hides the difference between knowing and not knowing.
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute", "marked"]

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_score
from letheon.metrics.probability import of_answer
from letheon.metrics.records import Array, FloatArray, Records, column, units
from letheon.metrics.score import Score

PLAIN = {
    "fact_probability": (
        "How probable the model finds the words that state the fact itself, leaving out "
        "what anybody could guess."
    ),
}


def marked(records: Records, split: str) -> tuple[FloatArray, Array]:
    """Return the probabilities [m] of the rows with fact tokens, and the mask [n] of those rows.

    Raises:
        MetricError: the column is missing or no row marks fact tokens.
    """
    nll = column(records, split, "fact_nll").astype(np.float64)
    has_facts = ~np.isnan(nll)
    if not has_facts.any():
        raise MetricError(
            f"No example of split {split!r} marks fact tokens.",
            got=f"{len(nll)} rows without",
            remedy="Mark facts in the data, or use probability instead.",
        )
    return of_answer(nll[has_facts]), has_facts


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``forget.fact_probability`` and ``retain.fact_probability``.

    Rows without fact tokens are left out; n counts the others.
    """
    scores = []
    for split in ("forget", "retain"):
        values, mask = marked(records, split)
        scores.append(
            mean_score(
                f"{split}.fact_probability",
                values,
                units(records, split)[mask],
                split=split,
                direction="gold" if split == "forget" else "up",
                unit="probability per fact token",
            )
        )
    return scores
