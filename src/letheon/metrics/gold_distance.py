"""Gold distance: how far the forget set's numbers are from the gold model's, over or under.

Mean of ``|model - gold|`` over five numbers in [0, 1]: fact-token probability, ROUGE-L recall,
extraction strength, Min-K AUC (forget against unseen) and KS D of the truth ratio (which is a
distance already). Unlike forget quality it has no direction that can be overdone and does not fade
with n. Its yardstick is the distance of gold models to each other: call it with a second gold
model's records. Where the data mark no fact tokens (TOFU), probability per token of the whole
answer takes the first place; the part's name and the unit's words then say so.
"""

from __future__ import annotations

__all__ = ["PLAIN", "Part", "compute", "parts"]

from dataclasses import dataclass

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.fact_probability import marked
from letheon.metrics.forget_quality import ks_statistic, weighted_ks
from letheon.metrics.intervals import bootstrapped, count_units, unit_weights, weighted_mean
from letheon.metrics.membership import auc, evidence, weighted_auc
from letheon.metrics.probability import per_example
from letheon.metrics.records import Array, FloatArray, Records, aligned, numbers, units
from letheon.metrics.score import Score
from letheon.metrics.truth_ratio import of_split

PLAIN = {
    "gold_distance": (
        "How far the model's behaviour on the data is from the gold model's, in either "
        "direction; 0 is the same."
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the five: its distance, the [resamples] draws of it, and the rows counted."""

    name: str
    value: float
    draws: FloatArray
    n: int


def _probability(records: Records, gold: Records, weights: FloatArray) -> Part:
    if not (_has_facts(records) or _has_facts(gold)):
        mine, theirs = per_example(records, "forget"), per_example(gold, "forget")
        return _difference("probability", mine, theirs, weights)
    mine, mask = marked(records, "forget")
    theirs, their_mask = marked(gold, "forget")
    if (mask != their_mask).any():
        raise MetricError(
            "Both models must be scored on the same fact tokens.",
            got=f"{int((mask != their_mask).sum())} rows marked for one model only",
            remedy="Evaluate both models on the same data.",
        )
    return _difference("fact_probability", mine, theirs, weights[:, mask])


def _has_facts(records: Records) -> bool:
    nll = records["forget"].get("fact_nll")
    return nll is not None and not bool(np.isnan(nll).all())


def _difference(name: str, mine: FloatArray, gold: FloatArray, weights: FloatArray) -> Part:
    change = mine - gold
    return Part(
        name, abs(float(change.mean())), np.abs(weighted_mean(change, weights)), len(change)
    )


def _membership(records: Records, gold: Records, weights: FloatArray) -> Part:
    splits = ("forget", "unseen")
    others = unit_weights(units(records, "unseen"), split="unseen")
    mine, mine_unseen = (evidence(records, split, "min_k") for split in splits)
    theirs, their_unseen = (evidence(gold, split, "min_k") for split in splits)
    drawn = weighted_auc(mine, mine_unseen, weights, others) - weighted_auc(
        theirs, their_unseen, weights, others
    )
    distance = abs(auc(mine, mine_unseen) - auc(theirs, their_unseen))
    return Part("min_k_auc", distance, np.abs(drawn), len(mine) + len(mine_unseen))


def _truth_ratio(records: Records, gold: Records, weights: FloatArray) -> Part:
    mine, mask = of_split(records, "forget")
    theirs, their_mask = of_split(gold, "forget")
    drawn = weighted_ks(mine, theirs, weights[:, mask], weights[:, their_mask])
    return Part("ks_d", ks_statistic(mine, theirs), drawn, len(mine))


def parts(records: Records, gold: Records | None) -> list[Part]:
    """Return the five parts, resampled together: the same units in every part and both models.

    Raises:
        MetricError: gold is missing or of other rows, or a split or column is missing.
    """
    for split in ("forget", "unseen"):
        reference = aligned(records, gold, split)
    weights = unit_weights(units(records, "forget"), split="forget")
    columns = [
        _difference(
            name, numbers(records, "forget", name), numbers(reference, "forget", name), weights
        )
        for name in ("rouge_l_recall", "extraction_strength")
    ]
    return [
        _probability(records, reference, weights),
        *columns,
        _membership(records, reference, weights),
        _truth_ratio(records, reference, weights),
    ]


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``gold_distance`` and ``gold_distance.PART`` for its five parts.

    Raises:
        MetricError: as ``parts``.
    """
    five = parts(records, gold)
    names, others = units(records, "forget"), units(records, "unseen")
    note = "" if five[0].name == "fact_probability" else " (no fact tokens marked: probability)"
    mean = Part(
        "",
        float(np.mean([part.value for part in five])),
        np.mean([part.draws for part in five], axis=0),
        len(names),
    )
    return [
        _score("gold_distance", mean, names, others, f"mean of 5 distances to gold{note}"),
        *(
            _score(f"gold_distance.{part.name}", part, names, others, "distance to gold")
            for part in five
        ),
    ]


def _score(name: str, part: Part, names: Array, others: Array, unit: str) -> Score:
    both = part.name in ("", "min_k_auc")
    return bootstrapped(
        name,
        part.value,
        part.draws,
        n=part.n,
        n_units=[count_units(names), count_units(others)] if both else [count_units(names)],
        direction="down",
        unit=unit,
    )
