"""Membership inference: AUC of forget rows against rows never trained on, by four attacks.

Every attack gives a row a number that is high when the row looks trained on: the log-likelihood
(loss; Yeom et al. 2018), minus NLL over compressed length (zlib; Carlini et al. 2021), Min-K (Shi
et al. 2023) and Min-K++ (Zhang et al. 2024). An AUC of 0.5 says the two sets look the same; a high
one that the forget set still looks trained on. A gold model's AUC need not be 0.5: the two sets
can differ in difficulty, so the value to reach is gold's.
"""

from __future__ import annotations

__all__ = [
    "ATTACKS",
    "PLAIN",
    "auc",
    "compute",
    "evidence",
    "min_k",
    "min_k_pp",
    "weighted_auc",
    "zlib_bytes",
]

import zlib

import numpy as np

from letheon.errors import MetricError
from letheon.metrics.intervals import bootstrapped, count_units, unit_weights
from letheon.metrics.records import FloatArray, Records, numbers, units
from letheon.metrics.score import Score

PLAIN = {
    "loss_auc": (
        "Can an outsider tell from the model's confidence which texts it was trained on? "
        "0.5 is guessing, 1 is always."
    ),
    "zlib_auc": (
        "The same guess by an outsider, corrected for how ordinary each text is. 0.5 is guessing."
    ),
    "min_k_auc": (
        "The same guess by an outsider who looks only at the least expected words. 0.5 is guessing."
    ),
    "min_k_pp_auc": (
        "The same guess, with the least expected words measured against what else could "
        "have stood there. 0.5 is guessing."
    ),
}

ATTACKS = ("loss", "zlib", "min_k", "min_k_pp")

# below this the vocabulary's distribution is one spike and float32 holds no spread at all
_LEAST_STD = 1e-6


def min_k(token_logp: FloatArray, k: float = 0.4) -> float:
    """Return the mean of the lowest share ``k`` of an answer's [n] token log p, in nats.

    ``max(1, floor(k n))`` tokens are taken, as in the authors' code but for one-token answers.

    Raises:
        MetricError: the answer has no tokens or ``k`` is not in (0, 1].
    """
    token_logp = np.asarray(token_logp, dtype=np.float64)
    if token_logp.size == 0 or not 0 < k <= 1:
        raise MetricError(
            "Min-K needs at least one token and 0 < k <= 1.",
            got=f"{token_logp.size} tokens, k = {k}",
            remedy="Leave out empty answers; the usual k is 0.4.",
        )
    count = max(1, int(k * token_logp.size + 1e-9))
    return float(np.partition(token_logp, count - 1)[:count].mean())


def min_k_pp(token_logp: FloatArray, mean: FloatArray, std: FloatArray, k: float = 0.4) -> float:
    """Return ``min_k`` of ``(log p - mean) / std``.

    ``mean`` and ``std`` [n] are those of log p over the vocabulary under p itself, per position.
    Deviation: ``std`` is taken as at least 1e-6.
    """
    centred = np.asarray(token_logp, dtype=np.float64) - np.asarray(mean, dtype=np.float64)
    return min_k(centred / np.maximum(np.asarray(std, dtype=np.float64), _LEAST_STD), k)


def zlib_bytes(text: str) -> int:
    """Return the length in bytes of the zlib-compressed UTF-8 ``text``."""
    return len(zlib.compress(text.encode("utf-8")))


def evidence(records: Records, split: str, attack: str) -> FloatArray:
    """Return [n] numbers of ``split`` that are high where a row looks trained on.

    Raises:
        MetricError: a column is missing, or ``attack`` is none of ``ATTACKS``.
    """
    if attack == "loss":
        return -numbers(records, split, "nll")
    if attack == "zlib":
        return -numbers(records, split, "nll") / numbers(records, split, "zlib_bytes")
    if attack not in ATTACKS:
        raise MetricError(
            "Unknown membership attack.", got=attack, remedy=f"Valid: {', '.join(ATTACKS)}."
        )
    return numbers(records, split, attack)


def weighted_auc(
    members: FloatArray, others: FloatArray, wm: FloatArray, wo: FloatArray
) -> FloatArray:
    """Return the [resamples] AUCs under row weights [resamples, n] and [resamples, m].

    AUC = P(member > other) + P(member = other) / 2.
    """
    order = np.argsort(others, kind="stable")
    below = np.zeros((len(wo), len(others) + 1))
    np.cumsum(wo[:, order], axis=1, out=below[:, 1:])
    ranked = others[order]
    less = below[:, np.searchsorted(ranked, members, side="left")]
    at_most = below[:, np.searchsorted(ranked, members, side="right")]
    won = np.einsum("rn,rn->r", wm, less + at_most) / 2
    return np.asarray(won / (wm.sum(axis=1) * wo.sum(axis=1)))


def auc(members: FloatArray, others: FloatArray) -> float:
    """Return the share of pairs in which the member's number is higher, ties counting a half."""
    ones = np.ones((1, len(members))), np.ones((1, len(others)))
    return float(weighted_auc(members, others, *ones)[0])


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``loss_auc``, ``zlib_auc``, ``min_k_auc`` and ``min_k_pp_auc``.

    n counts the rows of both sets; the interval resamples the units of each.

    Raises:
        MetricError: ``forget`` or ``unseen`` or one of their columns is missing.
    """
    names = {split: units(records, split) for split in ("forget", "unseen")}
    weights = {split: unit_weights(name, split=split) for split, name in names.items()}
    scores = []
    for attack in ATTACKS:
        members, others = (evidence(records, split, attack) for split in ("forget", "unseen"))
        scores.append(
            bootstrapped(
                f"{attack}_auc",
                auc(members, others),
                weighted_auc(members, others, weights["forget"], weights["unseen"]),
                n=len(members) + len(others),
                n_units=[count_units(name) for name in names.values()],
                direction="gold",
                unit="AUC of forget against unseen",
            )
        )
    return scores
