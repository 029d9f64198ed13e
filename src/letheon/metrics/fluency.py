"""Fluency of generations on the forget set: repetition, and perplexity under the untouched model.

Unlearning that ends in loops or noise has not forgotten, it has broken the model. Repetition is
``1 - distinct / all`` n-grams (Welleck et al. 2019, "Neural Text Generation with Unlikelihood
Training", seq-rep-n).
"""

from __future__ import annotations

__all__ = ["PLAIN", "compute", "repetition"]

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_score
from letheon.metrics.records import Records, column, numbers, units
from letheon.metrics.score import Score

PLAIN = {
    "fluency.repetition": (
        "How often the model's answers repeat themselves: a high value means a broken "
        "model, not a forgetful one."
    ),
    "fluency.perplexity": (
        "How strange the model's answers look to the model before unlearning: a high "
        "value means broken language."
    ),
}


def repetition(tokens: Sequence[Hashable] | str, n: int = 3) -> float:
    """Return the share of n-grams in [0, 1] that repeat an earlier one; 0 when there are none.

    ``tokens`` are token ids or words; a string is split at white space.

    >>> repetition("a b c a b c", n=3)
    0.25
    """
    parts = tokens.split() if isinstance(tokens, str) else list(tokens)
    grams = [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``fluency.repetition`` and, with ``reference_nll``, ``fluency.perplexity``.

    The perplexity is ``exp`` of the mean over generations of their mean NLL per token; empty
    generations (NaN) are left out of it and of its n.
    """
    repeated = mean_score(
        "fluency.repetition",
        numbers(records, "forget", "repetition"),
        units(records, "forget"),
        split="forget",
        direction="down",
        unit="share of 3-grams, forget set",
    )
    if "reference_nll" not in records["forget"]:
        return [repeated]
    return [repeated, _perplexity(records)]


def _perplexity(records: Records) -> Score:
    nll = column(records, "forget", "reference_nll").astype(np.float64)
    kept = ~np.isnan(nll)
    if not kept.any():
        raise MetricError(
            "Perplexity needs at least one generation that is not empty.",
            got=f"{len(nll)} rows without reference_nll",
            remedy="Generate again, or leave out fluency.",
        )
    mean = mean_score(
        "fluency.perplexity",
        nll[kept],
        units(records, "forget")[kept],
        split="forget",
        direction="down",
        unit="perplexity under the untouched model, forget set",
    )
    return replace(
        mean,
        value=float(np.exp(mean.value)),
        low=None if mean.low is None else float(np.exp(mean.low)),
        high=None if mean.high is None else float(np.exp(mean.high)),
    )
