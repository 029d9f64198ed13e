"""Truth ratio: how probable false answers are beside a paraphrase of the true one.

``r = P(false) / P(paraphrase)`` with ``P = exp(-mean NLL per token)`` (Maini et al. 2024, equation
1). Over several false answers, ``geometric`` takes ``exp(-mean NLL)``, ``arithmetic`` the mean of
``exp(-NLL)``; the original code uses the former for forget quality and the latter inside model
utility, here the variant is part of a score's name and geometric is the default. All is computed in
logarithms: after gradient ascent an NLL can be in the hundreds, where ``r`` itself overflows.
"""

from __future__ import annotations

__all__ = [
    "PLAIN",
    "VARIANTS",
    "Variant",
    "compute",
    "forget_share",
    "log_truth_ratio",
    "of_split",
    "suffix",
    "truth_ratio",
    "utility_share",
]

from typing import Literal, get_args

import numpy as np
from scipy.special import logsumexp

from letheon.errors import MetricError
from letheon.metrics.intervals import mean_score
from letheon.metrics.records import Array, FloatArray, Records, column, units
from letheon.metrics.score import Score

PLAIN = {
    "truth_ratio": (
        "Does the model still prefer the true answer to false ones of the same form? On "
        "what is to be forgotten, 1 means that it no longer tells them apart; on what is "
        "to be kept, 1 means that it always does."
    ),
}

Variant = Literal["geometric", "arithmetic"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


def suffix(variant: Variant) -> str:
    """Return what a score's name ends with: nothing for the default, geometric."""
    return "" if variant == "geometric" else f"_{variant}"


def log_truth_ratio(
    paraphrased_nll: FloatArray, perturbed_nll: FloatArray, variant: Variant = "geometric"
) -> FloatArray:
    """Return ``log r`` [n] from the mean NLL per token of paraphrase [n] and false answers [n, k].

    A NaN in ``perturbed_nll`` is an answer that a row does not have; a row without any is NaN.
    """
    absent = np.isnan(perturbed_nll)
    counts = (~absent).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if variant == "geometric":
            log_false = np.where(absent, 0.0, -perturbed_nll).sum(axis=1) / counts
        else:
            terms = np.where(absent, -np.inf, -perturbed_nll)
            log_false = logsumexp(terms, axis=1) - np.log(counts)
        ratio = log_false + paraphrased_nll
    return np.asarray(np.where(counts > 0, ratio, np.nan))


def truth_ratio(
    paraphrased_nll: FloatArray, perturbed_nll: FloatArray, variant: Variant = "geometric"
) -> FloatArray:
    """Return ``r`` [n]; arguments as in ``log_truth_ratio``. Beyond float64's range it is inf."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_truth_ratio(paraphrased_nll, perturbed_nll, variant)))


def forget_share(log_ratio: FloatArray) -> FloatArray:
    """Return ``min(r, 1/r)`` [n]: 1 where true and false are equally probable."""
    return np.asarray(np.exp(-np.abs(log_ratio)))


def utility_share(log_ratio: FloatArray) -> FloatArray:
    """Return ``max(0, 1 - r)`` [n]: 1 where false answers have no probability."""
    return np.asarray(-np.expm1(np.minimum(log_ratio, 0.0)))


def of_split(
    records: Records, split: str, variant: Variant = "geometric"
) -> tuple[FloatArray, Array]:
    """Return ``log r`` [m] of the rows of ``split`` that have one, and the mask [n] of those rows.

    Raises:
        MetricError: a column is missing, no row has alternates, or a row has a paraphrase without
            false answers or the reverse.
    """
    paraphrased = column(records, split, "paraphrased_nll").astype(np.float64)
    perturbed = column(records, split, "perturbed_nll").astype(np.float64)
    has_true, has_false = ~np.isnan(paraphrased), ~np.isnan(perturbed).all(axis=1)
    if not has_true.any() or (has_true != has_false).any():
        raise MetricError(
            "The truth ratio needs a paraphrase and at least one false answer in the same rows.",
            got=f"split {split!r}: {int(has_true.sum())} of {len(paraphrased)} rows with a "
            f"paraphrase, {int(has_false.sum())} with false answers",
            remedy="Give the examples both, or leave out the metrics built on the truth ratio.",
        )
    ratio = log_truth_ratio(paraphrased[has_true], perturbed[has_true], variant)
    if not np.isfinite(ratio).all():
        raise MetricError(
            "The truth ratio needs finite NLLs.",
            got=f"split {split!r}: {int((~np.isfinite(ratio)).sum())} rows with log r not finite",
            remedy="Evaluate the last checkpoint before the model diverged.",
        )
    return ratio, has_true


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``SPLIT.truth_ratio`` and ``SPLIT.truth_ratio_arithmetic``.

    Forget: mean of ``min(r, 1/r)``. Retain and the control sets there: mean of ``max(0, 1 - r)``.
    """
    splits = ["forget", "retain"]
    splits += [split for split in ("real_authors", "world_facts") if split in records]
    return [_score(records, split, variant) for variant in VARIANTS for split in splits]


def _score(records: Records, split: str, variant: Variant) -> Score:
    ratio, mask = of_split(records, split, variant)
    forget = split == "forget"
    return mean_score(
        f"{split}.truth_ratio{suffix(variant)}",
        forget_share(ratio) if forget else utility_share(ratio),
        units(records, split)[mask],
        split=split,
        direction="gold" if forget else "up",
        unit=f"mean {'min(r, 1/r)' if forget else 'max(0, 1 - r)'}, {variant}",
    )
