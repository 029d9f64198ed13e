"""Model utility: the harmonic mean of nine numbers on what must be kept.

{retain, real authors, world facts} x {probability, ROUGE-L recall, truth ratio} (Maini et al. 2024,
section 2.2.1). Without both control sets there is no model utility: see ``retain_utility``.
"""

from __future__ import annotations

__all__ = ["PLAIN", "SPLITS_KEPT", "compute", "harmonic_mean", "utility"]

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import bootstrapped, count_units, unit_weights, weighted_mean
from letheon.metrics.probability import per_example
from letheon.metrics.records import FloatArray, Records, numbers, units
from letheon.metrics.score import Score
from letheon.metrics.truth_ratio import VARIANTS, Variant, of_split, suffix, utility_share

PLAIN = {
    "model_utility": (
        "How much of what the model should still know it still knows, in one number from 0 to 1."
    ),
}

SPLITS_KEPT = ("retain", "real_authors", "world_facts")


def harmonic_mean(values: FloatArray) -> FloatArray:
    """Return the harmonic mean over the last axis of numbers >= 0; 0 where one of them is 0."""
    least = values.min(axis=-1)
    inverse = 1 / np.where(values > 0, values, 1.0)
    return np.asarray(np.where(least > 0, values.shape[-1] / inverse.sum(axis=-1), 0.0))


def _parts(records: Records, split: str, variant: Variant) -> tuple[FloatArray, FloatArray]:
    """Return the three means [3] of ``split`` and their draws [resamples, 3]."""
    weights = unit_weights(units(records, split), split=split)
    ratio, mask = of_split(records, split, variant)
    columns = (
        (per_example(records, split), weights),
        (numbers(records, split, "rouge_l_recall"), weights),
        (utility_share(ratio), weights[:, mask]),
    )
    means = np.array([values.mean() for values, _ in columns])
    return means, np.column_stack([weighted_mean(*pair) for pair in columns])


def utility(records: Records, splits: tuple[str, ...], name: str, variant: Variant) -> Score:
    """Return the harmonic mean of three numbers of each of ``splits``, resampled by unit.

    Raises:
        MetricError: a split or a column is missing.
    """
    parts = [_parts(records, split, variant) for split in splits]
    return bootstrapped(
        f"{name}{suffix(variant)}",
        float(harmonic_mean(np.concatenate([means for means, _ in parts]))),
        harmonic_mean(np.concatenate([draws for _, draws in parts], axis=1)),
        n=sum(len(units(records, split)) for split in splits),
        n_units=[count_units(units(records, split)) for split in splits],
        direction="up",
        unit=f"harmonic mean of {3 * len(splits)}, {variant} truth ratio",
    )


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``model_utility`` and ``model_utility_arithmetic``.

    Raises:
        MetricError: a control set or a column is missing; nothing is put in its place.
    """
    absent = [split for split in SPLITS_KEPT if split not in records]
    if absent:
        raise MetricError(
            "Model utility is over retain, real_authors and world_facts.",
            got=f"records without {', '.join(absent)}",
            remedy="Evaluate the control sets, or use retain_utility, which is named so.",
        )
    return [utility(records, SPLITS_KEPT, "model_utility", variant) for variant in VARIANTS]
