"""ROUGE-L of greedy generations: recall with stemming (TOFU), F1 without (MUSE).

Lin 2004. With ``L`` the length of the longest common subsequence of words, recall is ``L`` over
the target's words, precision ``L`` over the prediction's, F1 their harmonic mean.
"""

from __future__ import annotations

__all__ = ["PLAIN", "RougeL", "compute", "rouge_l", "score_texts"]

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from letheon.metrics.intervals import mean_of_column
from letheon.metrics.records import FloatArray, Records
from letheon.metrics.score import Score

PLAIN = {
    "rouge_l_recall": (
        "How much of the true answer stands, in order, in what the model writes when asked."
    ),
    "rouge_l_f1": (
        "How alike the model's own answer and the true answer are, in words and their order."
    ),
}


class RougeL(NamedTuple):
    """Recall and F1 of one prediction, each in [0, 1]."""

    recall: float
    f1: float


@cache
def _scorer(stem: bool) -> Any:
    # rouge_score pulls in all of nltk, a second or two that a report should not pay
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=stem)


def rouge_l(prediction: str, target: str, stem: bool = True) -> RougeL:
    """Return ROUGE-L of ``prediction`` against ``target``; 0 where either has no words.

    Words are lower-cased runs of letters a to z and digits; ``stem`` applies Porter's stemmer to
    words of more than three letters.
    """
    score = _scorer(stem).score(target, prediction)["rougeL"]
    return RougeL(float(score.recall), float(score.fmeasure))


def score_texts(generations: Sequence[str], answers: Sequence[str]) -> dict[str, FloatArray]:
    """Return the [n] columns ``rouge_l_recall`` (stemmed) and ``rouge_l_f1`` (not stemmed).

    Raises:
        ValueError: the two lists differ in length.
    """
    pairs = list(zip(generations, answers, strict=True))
    recall = [rouge_l(text, answer, stem=True).recall for text, answer in pairs]
    f1 = [rouge_l(text, answer, stem=False).f1 for text, answer in pairs]
    return {
        "rouge_l_recall": np.array(recall, dtype=np.float64),
        "rouge_l_f1": np.array(f1, dtype=np.float64),
    }


def compute(records: Records, gold: Records | None = None) -> list[Score]:
    """Return ``SPLIT.rouge_l_recall`` and, where the column exists, ``SPLIT.rouge_l_f1``."""
    scores = mean_of_column(records, "rouge_l_recall", unit="recall, stemmed", controls=True)
    if all("rouge_l_f1" in records[split] for split in ("forget", "retain")):
        scores += mean_of_column(records, "rouge_l_f1", unit="F1, not stemmed")
    return scores
